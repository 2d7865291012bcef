//! The near side: a client with its shell, and an application that remembers what it was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    Catchup, Content, ContentKind, Digest, MessageId, Now, RefusalCode, RoomName, Seed, Seq,
};
use session::client::{Action, Client, Event, Options, Reading, SocketNo};

use super::service::{Service, ann, is_forbidden};

const READ: [&str; 2] = ["read", "busy"];
const WRITTEN: [&str; 3] = ["read", "busy", "written"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Published(Seq),
    NotPublished { may_have_been_sent: bool },
}

#[derive(Debug)]
pub(crate) struct Person {
    now: Now,
    client: Client,
    /// Connections, and whether each stands or is being dialled.
    sockets: BTreeMap<SocketNo, bool>,
    wishes: Vec<(RoomName, MessageId)>,
    outcomes: BTreeMap<MessageId, Outcome>,
    /// The last entry that the application was told, by room.
    told: BTreeMap<RoomName, Seq>,
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("valid")
}

fn content() -> Content {
    Content {
        kind: ContentKind::Post,
        target: 0,
        key: String::new(),
        remove: false,
        digest: Digest::default(),
        body: Bytes::new(),
    }
}

impl Person {
    pub(crate) fn new(seed: u64) -> Person {
        let now = Now { mono_us: 1_000_000, wall_ms: 1_000_000 };
        let mut client = Client::new(now, Options::new("ws://here/v1/ws"), Seed::new(seed + 1));
        for name in READ {
            client.subscribe(&room(name), Reading::default()).expect("two rooms are allowed");
        }
        Person {
            now,
            client,
            sockets: BTreeMap::new(),
            wishes: Vec::new(),
            outcomes: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn wished(&self) -> usize {
        self.wishes.len()
    }

    pub(crate) fn publishes_sent(&self) -> u64 {
        self.client.counters().publishes_sent
    }

    pub(crate) fn publish(&mut self, random: &mut fastrand::Rng) {
        let room = room(random.choice(WRITTEN).expect("not empty"));
        let id = self.client.publish(&room, content()).expect("far below the bound");
        self.wishes.push((room, id));
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// One frame from the service.
    pub(crate) fn hear(&mut self, service: &mut Service) {
        if let Some((socket, frame)) = service.poll() {
            self.client.handle_frame(self.now, socket, frame);
        }
    }

    pub(crate) fn moves(&self) -> u64 {
        self.client.counters().moves
    }

    /// A dial comes to its end; without one, the client's own time comes.
    pub(crate) fn wait(&mut self, service: &mut Service) {
        let dialing = self.sockets.iter_mut().find(|(_, stands)| !**stands);
        if let Some((socket, stands)) = dialing {
            let socket = *socket;
            if service.accept(socket) {
                *stands = true;
                return self.client.handle_connected(self.now, socket);
            }
            self.sockets.remove(&socket);
            return self.client.handle_dial_failed(self.now, socket, Some(50));
        }
        // On a connection no further than a refusal waits: silence is for the service to break.
        let reach_us = if self.sockets.is_empty() { 31_000_000 } else { 6_000_000 };
        let due = self.client.poll_timeout().filter(|at| at.mono_us < self.now.mono_us + reach_us);
        if let Some(at) = due {
            let ms = at.mono_us.saturating_sub(self.now.mono_us).div_ceil(1_000);
            self.now = self.now.plus_ms(ms);
            self.client.handle_timeout(self.now);
        }
    }

    pub(crate) fn lose_connection(&mut self, socket: SocketNo, code: Option<u16>) {
        self.sockets.remove(&socket);
        self.client.handle_closed(self.now, socket, code);
    }

    /// Everything that the machine has to say goes where it belongs.
    pub(crate) fn drain(&mut self, service: &mut Service) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Dial { socket, .. } => _ = self.sockets.insert(socket, false),
                Action::Close { socket } => {
                    if self.sockets.remove(&socket).is_some_and(|stands| stands) {
                        service.hang_up(socket);
                    }
                }
            }
        }
        for socket in self.sockets.keys() {
            while let Some(frame) = self.client.poll_transmit(*socket) {
                service.receive(*socket, frame);
            }
        }
        while let Some(event) = self.client.poll_event() {
            self.told(event);
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Subscribed { room, subscription, .. } => {
                if let Catchup::Snapshot(_) = subscription.catchup {
                    self.told.insert(room, subscription.head);
                }
            }
            Event::Message(message) => {
                let told = self.told.get_mut(&message.room).expect("subscribed first");
                assert_eq!(message.seq, *told + 1, "{}: without a hole", message.room);
                *told = message.seq;
            }
            Event::Truncated { room, first } => {
                let told = self.told.get_mut(&room).expect("subscribed first");
                *told = (*told).max(first - 1);
            }
            Event::Published(published) => {
                self.settle(published.id, Outcome::Published(published.seq));
            }
            Event::NotPublished(not) => {
                let code = not.refusal.as_ref().expect("the session goes on").code;
                let expected = match code {
                    RefusalCode::Forbidden => is_forbidden(&not.id),
                    code => code == RefusalCode::Undecidable && not.may_have_been_sent,
                };
                assert!(expected, "{not:?}");
                let may_have_been_sent = not.may_have_been_sent;
                self.settle(not.id, Outcome::NotPublished { may_have_been_sent });
            }
            Event::Violation(what) => panic!("the service keeps the rules: {what}"),
            Event::Ended { message, .. } => panic!("the session never ends: {message}"),
            _ => {}
        }
    }

    fn settle(&mut self, id: MessageId, outcome: Outcome) {
        let former = self.outcomes.insert(id.clone(), outcome);
        assert_eq!(former, None, "{id} has one outcome");
    }

    pub(crate) fn is_settled(&self, service: &Service) -> bool {
        let caught_up = |name: &&str| {
            let head = service.logs.get(&room(name)).map_or(0, super::service::Log::head);
            self.told.get(&room(name)) == Some(&head)
        };
        self.client.unacknowledged() == 0 && READ.iter().all(caught_up)
    }

    /// The promises, against what stands in the logs.
    pub(crate) fn check(&self, service: &Service) {
        assert_eq!(self.outcomes.len(), self.wishes.len(), "every publish has an outcome");
        for (name, log) in &service.logs {
            let own: Vec<_> = log.entries.iter().filter(|m| m.from == ann()).collect();
            let wished: Vec<_> = self.wishes.iter().filter(|(room, _)| room == name).collect();
            let mut rest = wished.iter();
            for entry in &own {
                let stands = rest.any(|(_, id)| *id == entry.id);
                assert!(stands, "{name}: {} at {} is doubled or out of order", entry.id, entry.seq);
            }
            for (_, id) in wished {
                let at = own.iter().find(|m| m.id == *id).map(|m| m.seq);
                match self.outcomes[id] {
                    Outcome::Published(seq) => assert_eq!(at, Some(seq), "{name}: {id}"),
                    Outcome::NotPublished { may_have_been_sent } => {
                        assert!(
                            at.is_none() || may_have_been_sent,
                            "{name}: {id} stands at {at:?}"
                        );
                    }
                }
            }
        }
    }
}
