//! The slab: connections, the rooms they read, and what goes between them and the lanes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use cluster::Transport;
use cluster::gateway::{self, Wish};
use model::{AskBody, End, EndCode, MoveTo, Now, Seed};
use session::log::{Logs, News, Request, SessionKey};
use session::server::{self, Action, AskNo, Session};
use tokio::time::Instant;

use super::conn::{Conn, Input};
use super::ready::{Bell, ReadyList};
use super::run::ShardContext;
use super::timers::Timers;
use super::{Drain, Newcomer, Route, SHARD_SESSIONS_MAX, Socket, ToShard, Wave};
use crate::edge::Shared;
use crate::frames::EdgeFrames;
use crate::lane::{self, ToLane};

/// One read of a socket: as much as its buffer usually holds.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Pause before what a full lane did not take is offered again.
const LANE_RETRY_MS: u64 = 5;

/// A shard's state; owned by its thread.
pub(super) struct Core {
    pub(super) number: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) logs: Logs,
    pub(super) conns: Vec<Option<Box<Conn>>>,
    pub(super) vacant: Vec<u32>,
    ready: Arc<ReadyList>,
    rings: Vec<u32>,
    rung: Vec<u32>,
    pub(super) timers: Timers,
    pub(super) scratch: Vec<u8>,
    /// What a lane must be told and had no room for. Bounded by rooms and sessions: each is told
    /// of a watch or a detach once.
    unsent: VecDeque<ToLane>,
    /// Told to everybody already, and to whoever was let in just before.
    drained: Option<Drain>,
    pub(super) seed: Seed,
    pub(super) now: Now,
}

impl Core {
    pub(super) fn new(context: ShardContext) -> Core {
        let shared = context.shared;
        let now = shared.clock.now();
        Core {
            number: context.number,
            logs: Logs::new(Arc::clone(&shared.limits), Arc::new(EdgeFrames)),
            shared,
            conns: Vec::new(),
            vacant: Vec::new(),
            ready: Arc::default(),
            rings: Vec::new(),
            rung: Vec::new(),
            timers: Timers::default(),
            scratch: vec![0; SCRATCH_BYTES],
            unsent: VecDeque::new(),
            drained: None,
            seed: context.seed,
            now,
        }
    }

    /// A new turn of the task.
    pub(super) fn begin(&mut self, waker: &Waker) {
        self.ready.register(waker);
        self.now = self.shared.clock.now();
    }

    /// Takes one message.
    pub(super) fn take(&mut self, message: ToShard) {
        let now = self.now;
        match message {
            ToShard::Open(newcomer) => self.open(*newcomer),
            ToShard::Feed(room, feed) => self.logs.handle_feed(now, &room, &feed),
            ToShard::Segment(segment, result) => self.logs.handle_segment(now, &segment, result),
            ToShard::Answer(key, ask, answer) => {
                self.with(key, |conn, logs| {
                    conn.session.handle_answer(now, AskNo(ask), answer, logs)
                });
            }
            ToShard::Detached(key, session, room, why) => self.with(key, |conn, logs| {
                // The slab's place may be another session's by now.
                if conn.known.as_ref().is_some_and(|(known, _)| *known == session) {
                    conn.session.handle_detached(now, &room, why, logs);
                }
            }),
            ToShard::Replaced(key, session, generation) => self.with(key, |conn, logs| {
                // Who was asked to move may stay until its new connection has every room.
                if conn.known == Some((session, generation)) && !conn.session.is_moving() {
                    conn.session.handle_drain(
                        now,
                        server::Drain::End(End::new(EndCode::Replaced)),
                        logs,
                    );
                }
            }),
            ToShard::Drain(drain) => {
                self.drain(&drain);
                self.drained = Some(drain);
            }
        }
    }

    fn open(&mut self, newcomer: Newcomer) {
        if self.conns.len() >= SHARD_SESSIONS_MAX && self.vacant.is_empty() {
            tracing::error!("a shard is full; a connection was closed");
            return;
        }
        let socket = match newcomer.socket.unpark() {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, "a socket could not be registered"),
        };
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.conns.push(None);
            (self.conns.len() - 1) as u32
        });
        let bell = Bell::new(index, &self.ready);
        let seed = Seed::new(self.seed.next_u64());
        let session = Session::new(self.now, SessionKey(index), newcomer.wire, seed, &self.logs);
        let conn = Conn {
            session,
            input: Input::new(&socket),
            socket,
            wire: newcomer.wire,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            shown: newcomer.shown.map(Box::new),
            known: None,
            armed_us: None,
            farewell: None,
            is_unread: false,
            is_last_word_said: false,
            _place: newcomer.place,
        };
        self.conns[index as usize] = Some(Box::new(conn));
        let mut received = newcomer.received;
        if !received.is_empty() {
            self.received(index, &mut received);
        }
        self.serve(index);
        if let Some(drain) = self.drained.clone() {
            self.drain_one(index, &drain);
        }
    }

    /// Changes one session, then does what it wants done.
    fn with(&mut self, key: SessionKey, change: impl FnOnce(&mut Conn, &mut Logs)) {
        if let Some(Some(conn)) = self.conns.get_mut(key.0 as usize) {
            change(conn, &mut self.logs);
            self.after(key.0);
        }
    }

    fn drain(&mut self, drain: &Drain) {
        for index in 0..self.conns.len() as u32 {
            self.drain_one(index, drain);
        }
    }

    fn drain_one(&mut self, index: u32, drain: &Drain) {
        match drain {
            Drain::End { end, spread_ms } => {
                let (now, later) = (self.now, self.seed.below(*spread_ms));
                let mut end = end.clone();
                end.retry_after_ms = end.retry_after_ms.map(|ms| ms + later);
                self.with(SessionKey(index), |conn, logs| {
                    conn.session.handle_drain(now, server::Drain::End(end), logs);
                });
            }
            Drain::Move(wave) => self.move_one(index, wave),
        }
    }

    /// Asks one session to go elsewhere, if it is among those whose turn it is.
    fn move_one(&mut self, index: u32, wave: &Wave) {
        let Some(Some(conn)) = self.conns.get(index as usize) else {
            return;
        };
        if conn.farewell.is_some() || conn.session.is_moving() || !wave.take() {
            return;
        }
        let transport = match conn.socket {
            Socket::Tcp(_) => Transport::WebSocket,
            Socket::Pipe(_) => Transport::Grpc,
        };
        let wish = Wish { transport: Some(transport), exclude: Some(&self.shared.node) };
        let places = gateway::offers(wave.view.nodes.values(), &wish, &mut self.seed);
        let url = places.first().map(|front| front.url.clone());
        let user = conn.session.user().map(|user| &user.id);
        let resume_token = user.zip(conn.known.as_ref()).map(|(user, (session, generation))| {
            self.shared.door.resume_token(session, user, *generation, self.now)
        });
        let resume_token = resume_token.unwrap_or_default();
        let to = MoveTo { url, resume_token, within_ms: wave.within_ms };
        let now = self.now;
        self.with(SessionKey(index), |conn, logs| {
            conn.session.handle_drain(now, server::Drain::Move(to), logs);
        });
    }

    /// Sees to sessions whose sockets rang; answers whether more did.
    pub(super) fn answer_rings(&mut self, at_most: usize) -> bool {
        if self.rung.is_empty() {
            self.ready.take(&mut self.rings);
            std::mem::swap(&mut self.rings, &mut self.rung);
        }
        for _ in 0..at_most {
            let Some(index) = self.rung.pop() else { break };
            if let Some(Some(conn)) = self.conns.get(index as usize) {
                conn.bell.answered();
                self.serve(index);
            }
        }
        !self.rung.is_empty()
    }

    /// Walks rooms with news; answers whether the walk goes on.
    pub(super) fn walk(&mut self, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some(news) = self.logs.poll_news() else {
                return false;
            };
            self.tell(&news);
        }
        true
    }

    /// The way of a delivery: the session looks, and what there is goes out. Whatever else it may want
    /// done is rare, and seen to apart.
    fn tell(&mut self, news: &News) {
        let index = news.session.0;
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        conn.session.handle_news(self.now, news, &mut self.logs);
        if conn.is_last_word_said || conn.session.has_action() || self.write(index) {
            self.after(index);
        }
    }

    /// Calls whom time has come for; answers false: all of them are called.
    pub(super) fn timers(&mut self) -> bool {
        let now = self.now;
        if self.logs.poll_timeout().is_some_and(|at| now.reached(at)) {
            self.logs.handle_timeout(now);
        }
        while let Some(key) = self.timers.due(now) {
            let Some(Some(conn)) = self.conns.get_mut(key.0 as usize) else {
                continue;
            };
            conn.armed_us = None;
            if conn.farewell.as_ref().is_some_and(|it| it.deadline_us <= now.mono_us) {
                self.close(key.0);
                continue;
            }
            if conn.session.poll_timeout(&self.logs).is_some_and(|at| now.reached(at)) {
                conn.session.handle_timeout(now, &mut self.logs);
            }
            self.after(key.0);
        }
        self.logs.has_news()
    }

    /// Tells the lanes what the logs want of them.
    pub(super) fn settle(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            if let Err(message) = self.shared.lanes.send(message) {
                self.unsent.push_front(message);
                break;
            }
        }
        self.requests();
    }

    /// When the task wants to be woken, if nothing else happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let unsent = (!self.unsent.is_empty()).then(|| self.now.plus_ms(LANE_RETRY_MS).mono_us);
        let logs = self.logs.poll_timeout().map(|at| at.mono_us);
        let at_us = [self.timers.next_us(), unsent, logs].into_iter().flatten().min()?;
        Some(self.shared.clock.instant(Now { mono_us: at_us, wall_ms: 0 }))
    }

    pub(super) fn requests(&mut self) {
        while let Some(request) = self.logs.poll_request() {
            self.send(match request {
                Request::Watch { room } => ToLane::Watch(self.number, room),
                Request::Unwatch { room } => ToLane::Unwatch(self.number, room),
                Request::Fetch(segment) => ToLane::Segment(self.number, segment),
            });
        }
    }

    /// Tells a lane what it must not miss.
    fn send(&mut self, message: ToLane) {
        if !self.unsent.is_empty() {
            self.unsent.push_back(message);
        } else if let Err(message) = self.shared.lanes.send(message) {
            self.unsent.push_back(message);
        }
    }

    /// Reads and writes.
    fn serve(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        if conn.farewell.is_some() {
            return self.say_farewell(index);
        }
        self.read(index);
        self.after(index);
    }

    /// Does what a session wants done: actions, then what there is to write, until it is quiet.
    pub(super) fn after(&mut self, index: u32) {
        loop {
            while let Some(Some(conn)) = self.conns.get_mut(index as usize)
                && let Some(action) = conn.session.poll_action()
            {
                self.act(index, action);
            }
            self.requests();
            if !self.write(index) {
                break;
            }
        }
        self.arm(index);
        self.end_heard_out(index);
    }

    pub(super) fn act(&mut self, index: u32, action: Action) {
        match action {
            Action::Authenticate { token, name, resume_token } => {
                self.authenticate(index, token, name, resume_token);
            }
            Action::Ask { no, ask } => {
                let route = Route { shard: self.number, session: SessionKey(index), ask: no.0 };
                // The room's watch comes first.
                self.requests();
                let message = ToLane::Ask(route.pack(), ask);
                if matches!(&message, ToLane::Ask(_, ask) if matches!(ask.body, AskBody::Detach { .. }))
                {
                    return self.send(message);
                }
                let refused = if self.unsent.is_empty() {
                    self.shared.lanes.send(message).err()
                } else {
                    Some(message)
                };
                if let Some(message) = refused {
                    let (now, busy) = (self.now, lane::busy(&message));
                    if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
                        conn.session.handle_answer(now, no, busy, &mut self.logs);
                    }
                }
            }
            Action::Close { code } => self.begin_farewell(index, code.code() as u16),
        }
    }
}
