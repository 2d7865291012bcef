//! Somebody at a client: the client's machine over simulated connections, with plans and a history.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use model::{Encoding, MessageContent, Now, Position, RoomName, Seed};
use session::client::{Action, Client, Event, Options, Reading, SocketNo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::etcd::Etcd;
use crate::net::{Dialling, Net, Pipe};
use crate::nodes::Site;
use crate::record::Record;
use crate::time::Time;
use crate::trace::{Trace, note};

/// How often it looks whether its plans have changed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// What is shared with the world. Clones share it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) record: Record,
    /// Whether it goes on publishing.
    pub(crate) is_publishing: bool,
}

impl Shared {
    pub(crate) fn new(record: Record, is_publishing: bool) -> Shared {
        Shared(Arc::new(Mutex::new(State { record, is_publishing })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its plans.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// The edges that it knows.
    pub(crate) edges: Vec<String>,
    pub(crate) reads: Vec<RoomName>,
    pub(crate) writes: Vec<RoomName>,
    /// Microseconds between two messages, at most.
    pub(crate) every_us: u64,
}

/// Runs until its runtime ends.
pub(crate) struct Person {
    plan: Plan,
    client: Client,
    links: Vec<(SocketNo, Link)>,
    net: Net,
    etcd: Etcd,
    time: Time,
    trace: Trace,
    seed: Seed,
    shared: Shared,
    zero: Instant,
    began_us: u64,
    alarm: Pin<Box<Sleep>>,
    publish_at_us: u64,
    events: VecDeque<Event>,
}

enum Link {
    Dialling(Dialling),
    Up(Socket),
}

/// A connection to an edge: see `Edge::session` for what is said on it.
struct Socket {
    pipe: Pipe,
    out: BytesMut,
    received: BytesMut,
    scratch: Box<[u8]>,
}

impl Person {
    pub(crate) fn new(
        plan: Plan,
        site: &Site,
        trace: Trace,
        mut seed: Seed,
        shared: Shared,
    ) -> Person {
        let time = site.time.clone();
        let now = Now { mono_us: time.now_us(), wall_ms: time.wall_ms() };
        let options = Options::new("").name(plan.name.clone());
        let mut client = Client::new(now, options, Seed::new(seed.next_u64()));
        for room in &plan.reads {
            let wish = Reading::after(Position::origin());
            client.subscribe(room, wish).expect("a few rooms are allowed");
        }
        let publish_at_us = time.now_us() + seed.below(plan.every_us);
        Person {
            client,
            links: Vec::new(),
            zero: Instant::now(),
            began_us: time.now_us(),
            alarm: Box::pin(sleep_until(Instant::now())),
            plan,
            net: site.net.clone(),
            etcd: site.etcd.clone(),
            time,
            trace,
            seed,
            shared,
            publish_at_us,
            events: VecDeque::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// The moment, finer than the world's.
    fn now(&self) -> Now {
        let mono_us = self.began_us + self.zero.elapsed().as_micros() as u64;
        Now { mono_us, wall_ms: self.time.wall_ms() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.act();
            self.transmit();
            self.tell();
            if self.client.is_over() {
                return Poll::Ready(());
            }
            let mut moved = false;
            for at in (0..self.links.len()).rev() {
                moved |= self.poll_link(cx, at);
            }
            moved |= self.publish();
            if moved {
                continue;
            }
            let now = self.now();
            if self.client.poll_timeout().is_some_and(|at| now.reached(at)) {
                self.client.handle_timeout(now);
                continue;
            }
            let next_us = self.client.poll_timeout().map_or(u64::MAX, |at| at.mono_us);
            let next_us = next_us.min(self.publish_at_us).max(now.mono_us + 1) - now.mono_us;
            let wait = Duration::from_micros(next_us).min(LOOK_EVERY);
            self.alarm.as_mut().reset(Instant::now() + wait);
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Dial { socket, url, is_moved } => {
                    let edges = &self.plan.edges;
                    let edge = match is_moved {
                        true => url,
                        false => edges[self.seed.below(edges.len() as u64) as usize].clone(),
                    };
                    let dialling = self.net.dial(&self.plan.name, &edge);
                    self.links.push((socket, Link::Dialling(dialling)));
                }
                Action::Close { socket } => self.links.retain(|(other, _)| *other != socket),
            }
        }
    }

    fn transmit(&mut self) {
        for (number, link) in &mut self.links {
            let Link::Up(socket) = link else { continue };
            while socket.out.len() < READ_BYTES
                && let Some(frame) = self.client.poll_transmit(*number)
            {
                let mut bytes = Vec::new();
                wire::codec::encode_client(Encoding::Proto, &frame, &mut bytes);
                socket.out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                socket.out.extend_from_slice(&bytes);
            }
        }
    }

    /// Whether something happened.
    fn poll_link(&mut self, cx: &mut Context<'_>, at: usize) -> bool {
        let now = self.now();
        let (number, link) = &mut self.links[at];
        let number = *number;
        match link {
            Link::Dialling(dialling) => match Pin::new(dialling).poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(pipe)) => {
                    let (out, received) = (BytesMut::new(), BytesMut::new());
                    let scratch = vec![0; READ_BYTES].into();
                    *link = Link::Up(Socket { pipe, out, received, scratch });
                    self.client.handle_connected(now, number);
                    true
                }
                Poll::Ready(Err(_)) => {
                    self.links.remove(at);
                    self.client.handle_dial_failed(now, number, None);
                    true
                }
            },
            Link::Up(socket) => match socket.poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Some(frame)) => {
                    match wire::codec::decode_server(Encoding::Proto, &frame) {
                        Ok(frame) => self.client.handle_frame(now, number, frame),
                        Err(why) => self.client.handle_unreadable(now, number, &why.message),
                    }
                    true
                }
                Poll::Ready(None) => {
                    self.links.remove(at);
                    self.client.handle_closed(now, number, None);
                    true
                }
            },
        }
    }

    /// Whether a message was given to the client.
    fn publish(&mut self) -> bool {
        let now_us = self.now().mono_us;
        if now_us < self.publish_at_us || self.plan.writes.is_empty() {
            return false;
        }
        self.publish_at_us = now_us + 1 + self.seed.below(self.plan.every_us);
        let mut state = self.shared.lock();
        // Whoever waits for many answers waits.
        if !state.is_publishing || self.client.unacknowledged() > 60 {
            return false;
        }
        let at = self.seed.below(self.plan.writes.len() as u64) as usize;
        let room = &self.plan.writes[at];
        let text = state.record.next_text(room);
        let content = wire::codec::content(&MessageContent::post(&*text)).expect("a post");
        let id = self.client.publish(room, content).expect("there is space");
        state.record.sent(now_us, room, id, &text);
        true
    }

    fn tell(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.events.push_back(event);
        }
        if self.events.is_empty() {
            return;
        }
        let now_us = self.now().mono_us;
        let mut state = self.shared.lock();
        let record = &mut state.record;
        let (trace, who) = (&self.trace, self.plan.name.as_str());
        for event in self.events.drain(..) {
            match event {
                Event::Connected(_) => {
                    record.counts.connected += 1;
                    note!(trace, who, "connected");
                }
                Event::Moved(_) => {
                    record.counts.moved += 1;
                    note!(trace, who, "moved");
                }
                Event::Subscribed { room, subscription, .. } => {
                    note!(
                        trace,
                        who,
                        "reads {room} at {}: {}",
                        subscription.head,
                        how(&subscription)
                    );
                    record.subscribed(&room, &subscription, self.etcd.epoch(&room));
                }
                Event::Message(message) => {
                    note!(trace, who, "told {} of {}", message.seq, message.room);
                    record.received(&message);
                }
                Event::Truncated { room, first } => record.truncated(&room, first),
                Event::Published(told) => {
                    note!(
                        trace,
                        who,
                        "published at {} of {}, duplicate: {}",
                        told.seq,
                        told.room,
                        told.duplicate
                    );
                    record.published(now_us, &told);
                }
                Event::NotPublished(told) => {
                    note!(trace, who, "gave up: {told}");
                    record.not_published(&told);
                }
                Event::Violation(what) => {
                    note!(trace, who, "violation: {what}");
                    record.violations.push(what);
                }
                Event::Ended { code, message } => {
                    note!(trace, who, "ended: {code} {message}");
                    record.ended = Some(message);
                }
                Event::Disconnected { again_in_ms } => {
                    note!(trace, who, "disconnected, again in {again_in_ms}");
                }
                Event::Unsubscribed { room, why, .. } => {
                    note!(trace, who, "does not read {room}: {:?}", why.code);
                }
                Event::NotSubscribed { room, refusal } => {
                    note!(trace, who, "may not read {room}: {:?}", refusal.code);
                    record.violations.push(format!("{room} cannot be read: {}", refusal.message));
                }
                _ => {}
            }
        }
    }
}

fn how(subscription: &model::Subscription) -> String {
    match &subscription.catchup {
        model::Catchup::Resumed { missed } => format!("resumed, {missed} missed"),
        model::Catchup::Snapshot(snapshot) => format!("snapshot, {:?}", snapshot.reason),
    }
}

impl Socket {
    /// The next frame; `None` once the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.pipe).poll_write(cx, &self.out) {
                Poll::Ready(Ok(count)) => self.out.advance(count),
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        loop {
            if let Some(frame) = take_message(&mut self.received) {
                return Poll::Ready(Some(frame));
            }
            let mut buffer = ReadBuf::new(&mut self.scratch);
            match Pin::new(&mut self.pipe).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.received.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return Poll::Ready(None),
            }
        }
    }
}

/// The payload of the first whole WebSocket message, unmasked as servers write them.
fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let (header, length) = match *received.as_ref() {
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
        }
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        _ => return None,
    };
    if received.len() < header + length {
        return None;
    }
    received.advance(header);
    Some(received.split_to(length).freeze())
}
