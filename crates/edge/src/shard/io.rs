//! Bytes in and out of one connection, and its end.

use std::task::{Context, Poll};

use model::limits;
use session::log::SessionKey;
use session::server::{Next, ReadFault, Slices};
use wire::{codec, ws};

use super::Socket;
use super::conn::{Conn, Farewell, Read};
use super::core::Core;

/// Reads of one socket before the next one has its turn.
const READS_PER_TURN: usize = 4;
/// Writes of one socket before the next one has its turn.
const WRITES_PER_TURN: usize = 8;
/// How long a connection whose session is over may take to close.
const FAREWELL_MS: u64 = 2_000;

impl Core {
    /// Reads while there is something and the session wants it.
    pub(super) fn read(&mut self, index: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 0..=READS_PER_TURN {
            let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
                break;
            };
            if conn.farewell.is_some() || conn.is_last_word_said {
                break;
            }
            conn.is_unread = !conn.session.wants_read(&self.logs);
            if conn.is_unread {
                break;
            }
            if turn == READS_PER_TURN {
                conn.waker.wake_by_ref();
                break;
            }
            let waker = conn.waker.clone();
            match conn.socket.poll_read(&mut Context::from_waker(&waker), &mut scratch) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.received(index, &mut scratch[..count]);
                    self.after(index);
                }
                // The end of a gRPC client's frames is not the end of what it wants to hear.
                Poll::Ready(Ok(_)) if matches!(conn.socket, Socket::Pipe(_)) => {
                    conn.is_last_word_said = true;
                    break;
                }
                Poll::Ready(_) => {
                    self.close(index);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Ends a session whose client will say no more, once everything is answered.
    pub(super) fn end_heard_out(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get(index as usize) else {
            return;
        };
        if conn.is_last_word_said && conn.farewell.is_none() && !conn.session.is_busy(&self.logs) {
            self.close(index);
        }
    }

    /// Gives what was read to the session, frame by frame.
    pub(super) fn received(&mut self, index: u32, bytes: &mut [u8]) {
        let now = self.now;
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        let Conn { session, input, wire, .. } = &mut **conn;
        let encoding = wire.encoding();
        let frame_bytes_max = match session.is_open() {
            true => limits::FRAME_BYTES_MAX,
            false => limits::HELLO_BYTES_MAX,
        };
        let logs = &mut self.logs;
        let mut closes = false;
        input.take(encoding, bytes, frame_bytes_max, |read| match read {
            Read::Frame(bytes) => {
                let frame = codec::decode_client(encoding, bytes)
                    .map_err(|why| ReadFault::Unreadable(why.message));
                session.handle_frame(now, frame, logs);
            }
            Read::Ping(payload) => {
                let mut pong = Vec::with_capacity(payload.len() + ws::HEADER_BYTES_MAX);
                ws::pong_into(payload, &mut pong);
                session.handle_ping(now, &pong);
            }
            Read::Pong => session.handle_ping(now, &[]),
            Read::Close => closes = true,
            Read::Fault(fault) => session.handle_frame(now, Err(fault), logs),
        });
        if closes {
            self.begin_farewell(index, CLOSE_NORMAL);
        }
    }

    /// Writes what there is; answers whether that made the session want something done.
    pub(super) fn write(&mut self, index: u32) -> bool {
        let has_action = self.write_turn(index);
        // A socket that was left unread has no waker of its own: what waits in it would wait for ever.
        if let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && conn.is_unread
            && conn.session.wants_read(&self.logs)
        {
            conn.is_unread = false;
            conn.waker.wake_by_ref();
        }
        has_action
    }

    fn write_turn(&mut self, index: u32) -> bool {
        let now = self.now;
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return false;
        };
        if conn.farewell.is_some() {
            return false;
        }
        let Conn { session, socket, waker, .. } = &mut **conn;
        let mut cx = Context::from_waker(waker);
        for _ in 0..WRITES_PER_TURN {
            let mut slices = Slices::new();
            let Next::Bytes(_) = session.poll_transmit(now, &mut self.logs, &mut slices) else {
                return session.has_action();
            };
            let written = socket.poll_write(&mut cx, slices.as_io());
            match written {
                Poll::Ready(Ok(count)) if count > 0 => {
                    session.handle_written(count, &self.logs);
                    if !session.has_output() {
                        return session.has_action();
                    }
                }
                Poll::Pending => {
                    session.handle_written(0, &self.logs);
                    return session.has_action();
                }
                Poll::Ready(_) => {
                    self.close(index);
                    return false;
                }
            }
        }
        conn.waker.wake_by_ref();
        conn.session.has_action()
    }

    /// The session is over: says so, and closes in order.
    pub(super) fn begin_farewell(&mut self, index: u32, code: u16) {
        let deadline_us = self.now.plus_ms(FAREWELL_MS).mono_us;
        let Some(Some(conn)) = self.conns.get(index as usize) else {
            return;
        };
        if conn.session.is_cut() {
            return self.close(index);
        }
        let mut bytes = conn.session.half_written().to_vec();
        self.leave(index);
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        if matches!(conn.socket, Socket::Tcp(_)) {
            ws::close_into(code, "", &mut bytes);
        }
        conn.farewell = Some(Box::new(Farewell::new(bytes, deadline_us)));
        self.timers.arm(SessionKey(index), deadline_us);
        self.say_farewell(index);
    }

    /// Goes on closing.
    pub(super) fn say_farewell(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        let Conn { farewell, socket, waker, .. } = &mut **conn;
        let Some(farewell) = farewell else { return };
        let mut scratch = [0u8; 4_096];
        let mut cx = Context::from_waker(waker);
        if farewell.poll(socket, &mut cx, &mut scratch).is_ready() {
            self.free(index);
        }
    }

    /// The connection is gone.
    pub(super) fn close(&mut self, index: u32) {
        self.leave(index);
        self.free(index);
    }

    /// The session leaves its rooms and the directory.
    fn leave(&mut self, index: u32) {
        let now = self.now;
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        conn.session.handle_closed(now, &mut self.logs);
        if let Some((session, generation)) = conn.known.take() {
            self.shared.directory.leave(&session, generation);
        }
        while let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && let Some(action) = conn.session.poll_action()
        {
            self.act(index, action);
        }
        self.requests();
    }

    fn free(&mut self, index: u32) {
        if self.conns.get_mut(index as usize).and_then(Option::take).is_some() {
            self.vacant.push(index);
        }
    }

    /// Keeps one timer for the session's earliest wish.
    pub(super) fn arm(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        if conn.farewell.is_some() {
            return;
        }
        let Some(at) = conn.session.poll_timeout(&self.logs) else {
            return;
        };
        if conn.armed_us.is_none_or(|armed_us| at.mono_us < armed_us) {
            conn.armed_us = Some(at.mono_us);
            self.timers.arm(SessionKey(index), at.mono_us);
        }
    }
}

/// The answer to a client that closes by itself.
const CLOSE_NORMAL: u16 = 1000;
