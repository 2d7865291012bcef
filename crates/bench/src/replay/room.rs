//! One room's day: who comes, what they say, who leaves; and what each of them was told.
//!
//! # Invariants
//! - Whatever is said is said when everybody who has come is being told the room, so that all present must
//!   see it; a session's own messages go out in the log's order.
//! - At most [`IN_FLIGHT_MAX`] messages of the room are unacknowledged, and at most [`ARRIVING_MAX`]
//!   sessions are on their way in.
//! - A session leaves when its messages are acknowledged and it was told all that was acknowledged by then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Catchup, Message, MessageContent, MessageId, RoomName, Seq};
use parlour_client::{Event, NotPublished, Published, Reading};
use tokio::time::Instant;

use super::outcome::{Outcome, Progress};
use super::pace::{Pace, Speed};
use crate::conversation::{Deed, Nick, Script};
use crate::crowd::{Crowd, Key};
use crate::history::{Author, History, Reader};
use crate::measure::monotonic_us;
use crate::target::Dialer;

/// Messages of one room without an acknowledgement. Below the burst of 50 that a session may publish, as
/// they may all be one person's.
const IN_FLIGHT_MAX: usize = 32;
/// Sessions of one room that are on their way in.
const ARRIVING_MAX: usize = 16;
/// Without any progress for so long, although something is owed, the room is given up: several times the
/// longest pause before a client dials again.
const STALLED_AFTER: Duration = Duration::from_secs(90);

/// What all rooms of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dialer: Dialer,
    pub(super) speed: Speed,
    pub(super) readers: usize,
    pub(super) progress: Progress,
}

/// One session.
#[derive(Debug)]
struct Person {
    name: String,
    /// `None` for those who only read.
    nick: Option<Nick>,
    author: Author,
    /// Once the room is read.
    reader: Option<Reader>,
    unacknowledged: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Is here, or on the way in, and stays.
    Staying,
    /// Leaves as soon as it has its answers.
    Leaving,
    /// Leaves once it was told this entry.
    LeavingAt(Seq),
    /// Told its client to close.
    Gone,
}

/// A room's sessions and its checker. Owned by one task.
#[derive(Debug)]
pub(super) struct RoomReplay {
    shared: Arc<Shared>,
    script: Script,
    next_step: usize,
    pace: Pace,
    crowd: Crowd,
    /// By the crowd's key.
    people: Vec<Option<Person>>,
    /// Who is the session of a nick now.
    by_nick: Vec<Option<Key>>,
    history: History,
    /// When each message was to be sent, in the machine's monotonic microseconds.
    sent_us: HashMap<MessageId, u64>,
    arriving: usize,
    in_flight: usize,
    dismissed: bool,
    moved: Instant,
    outcome: Outcome,
}

impl RoomReplay {
    pub(super) fn new(shared: Arc<Shared>, script: Script) -> RoomReplay {
        let now = Instant::now();
        let first_ms = script.steps.first().map_or(0, |step| step.at_ms);
        RoomReplay {
            pace: Pace::new(shared.speed, now, first_ms),
            by_nick: vec![None; script.nicks.len()],
            history: History::new(script.room.as_str()),
            shared,
            script,
            next_step: 0,
            crowd: Crowd::default(),
            people: Vec::new(),
            sent_us: HashMap::new(),
            arriving: 0,
            in_flight: 0,
            dismissed: false,
            moved: now,
            outcome: Outcome::default(),
        }
    }

    /// The whole day.
    pub(super) async fn run(mut self) -> Outcome {
        for nth in 0..self.shared.readers {
            self.come(&format!("reader-{nth}"), None);
        }
        loop {
            self.advance();
            let wake_at = self.wake_at();
            if self.dismissed && self.crowd.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                (key, event) = self.crowd.next() => self.handle_event(key, event),
                () = tokio::time::sleep_until(wake_at) => {
                    if self.has_stalled() {
                        self.give_up();
                        break;
                    }
                }
            }
        }
        self.outcome.findings.add(self.history.finish());
        self.outcome
    }

    /// Takes every step that may be taken now.
    fn advance(&mut self) {
        while let Some(step) = self.script.steps.get_mut(self.next_step) {
            let due = self.pace.due(step.at_ms);
            if due.is_some_and(|due| due > Instant::now()) {
                return;
            }
            let nick = step.nick;
            match &mut step.deed {
                Deed::Come if self.arriving >= ARRIVING_MAX => return,
                Deed::Come => {
                    let name = self.script.nicks[nick].clone();
                    self.by_nick[nick] = Some(self.come(&name, Some(nick)));
                }
                Deed::Say(_) if self.arriving > 0 || self.in_flight >= IN_FLIGHT_MAX => return,
                Deed::Say(text) => {
                    let text = std::mem::take(text);
                    self.say(nick, text, due);
                }
                Deed::Leave => {
                    if let Some(key) = self.by_nick[nick].take() {
                        self.dismiss(key);
                    }
                }
            }
            self.next_step += 1;
        }
        if !self.dismissed && self.arriving == 0 && self.in_flight == 0 {
            self.dismissed = true;
            (0..self.people.len()).for_each(|key| self.dismiss(key));
        }
    }

    fn come(&mut self, name: &str, nick: Option<Nick>) -> Key {
        let mut connection = self.shared.dialer.connection(name);
        // The snapshot is not looked at, so one post is enough.
        let wished = connection.client().subscribe(&self.script.room, Reading::recent(1));
        wished.expect("a client that has no room yet takes one");
        let key = self.crowd.add(connection);
        if self.people.len() <= key {
            self.people.resize_with(key + 1, || None);
        }
        self.people[key] = Some(Person {
            name: name.to_owned(),
            nick,
            author: self.history.author(),
            reader: None,
            unacknowledged: 0,
            stage: Stage::Staying,
        });
        self.arriving += 1;
        self.moved = Instant::now();
        self.outcome.sessions += 1;
        key
    }

    /// A session that ended against its will says nothing; its end was noted as a fault.
    fn say(&mut self, nick: Nick, text: String, due: Option<Instant>) {
        let Some(key) = self.by_nick[nick] else {
            return;
        };
        let (Some(person), Some(member)) = (self.people[key].as_mut(), self.crowd.member(key))
        else {
            return;
        };
        let late = due.map_or(Duration::ZERO, |due| due.elapsed());
        let content = MessageContent::post(&*text);
        let content = wire::codec::content(&content).expect("a post can be published");
        match member.client().publish(&self.script.room, content) {
            Ok(id) => {
                self.history.sent(person.author, id.as_str(), &text);
                self.sent_us.insert(id, monotonic_us() - late.as_micros() as u64);
                person.unacknowledged += 1;
                self.in_flight += 1;
                self.moved = Instant::now();
            }
            Err(error) => self.outcome.fault(format!("{}: {error}", person.name)),
        }
    }

    /// The session leaves once it has all that it is owed.
    fn dismiss(&mut self, key: Key) {
        let Some(person) = self.people.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        if person.stage == Stage::Staying {
            person.stage = Stage::Leaving;
            self.let_go(key);
        }
    }

    /// Sees a leaving session off, if it has all that it is owed.
    fn let_go(&mut self, key: Key) {
        let Some(person) = self.people[key].as_mut() else {
            return;
        };
        let Some(reader) = person.reader else { return };
        if person.stage == Stage::Leaving && person.unacknowledged == 0 {
            person.stage = Stage::LeavingAt(self.history.leaves(reader));
        }
        if let Stage::LeavingAt(seq) = person.stage
            && self.history.told(reader) >= seq
        {
            self.history.left(reader);
            person.stage = Stage::Gone;
            if let Some(member) = self.crowd.member(key) {
                member.client().close();
            }
        }
    }

    fn handle_event(&mut self, key: Key, event: Event) {
        match event {
            Event::Message(message) => self.handle_message(key, &message),
            Event::Published(published) => self.handle_published(key, &published),
            Event::NotPublished(given_up) => self.handle_not_published(key, &given_up),
            Event::Subscribed { subscription, .. } => {
                let explicit = matches!(subscription.catchup, Catchup::Snapshot(_));
                self.handle_subscribed(key, subscription.head, explicit);
            }
            Event::Truncated { first, .. } => {
                if let Some(reader) = self.reader(key) {
                    self.history.truncated(reader, first);
                    self.let_go(key);
                }
            }
            Event::Violation(what) => self.outcome.violation(what),
            Event::Unsubscribed { why, again: false, .. } => {
                self.handle_fault(key, &format!("lost the room: {}", why.message));
            }
            Event::NotSubscribed { refusal, .. } => {
                self.handle_fault(key, &format!("may not read: {}", refusal.message));
            }
            Event::Ended { code, message } => self.handle_ended(key, code, &message),
            _ => {}
        }
    }

    fn handle_subscribed(&mut self, key: Key, head: Seq, explicit: bool) {
        let Some(person) = self.people[key].as_mut() else {
            return;
        };
        self.moved = Instant::now();
        match person.reader {
            None => {
                person.reader = Some(self.history.reader(&person.name, head));
                self.arriving -= 1;
            }
            Some(reader) if explicit => self.history.snapshot(reader, head),
            Some(_) => {}
        }
        self.let_go(key);
    }

    fn handle_message(&mut self, key: Key, message: &Message) {
        let Some(reader) = self.reader(key) else {
            return;
        };
        self.moved = Instant::now();
        let text = message.content.text();
        self.history.received(reader, message.seq, message.id.as_str(), text);
        if let Some(sent_us) = self.sent_us.get(&message.id) {
            self.outcome.delivery.record(monotonic_us().saturating_sub(*sent_us));
        }
        self.shared.progress.delivered();
        self.let_go(key);
    }

    fn handle_published(&mut self, key: Key, published: &Published) {
        self.history.acknowledged(published.id.as_str(), published.seq);
        if let Some(sent_us) = self.sent_us.get(&published.id) {
            self.outcome.publish.record(monotonic_us().saturating_sub(*sent_us));
        }
        self.shared.progress.acknowledged();
        self.answered(key);
    }

    fn handle_not_published(&mut self, key: Key, given_up: &NotPublished) {
        self.history.given_up(given_up.id.as_str(), given_up.may_have_been_sent);
        self.outcome.fault(format!("{}: {given_up}", self.script.room));
        self.answered(key);
    }

    /// One message less is in flight.
    fn answered(&mut self, key: Key) {
        self.moved = Instant::now();
        self.in_flight -= 1;
        if let Some(person) = self.people[key].as_mut() {
            person.unacknowledged -= 1;
        }
        self.let_go(key);
    }

    /// Its own wish, or against it.
    fn handle_ended(&mut self, key: Key, code: u32, message: &str) {
        if self.people[key].as_ref().is_some_and(|person| person.stage != Stage::Gone) {
            self.handle_fault(key, &format!("was ended: {message} ({code})"));
        }
        self.remove(key);
    }

    /// The session cannot go on, and the run is not clean.
    fn handle_fault(&mut self, key: Key, what: &str) {
        if let Some(person) = self.people[key].as_mut() {
            let fault = format!("{}: {} {what}", self.script.room, person.name);
            self.outcome.fault(fault);
            if person.stage != Stage::Gone {
                person.stage = Stage::Gone;
                if let Some(member) = self.crowd.member(key) {
                    member.client().close();
                }
            }
        }
    }

    fn remove(&mut self, key: Key) {
        self.moved = Instant::now();
        if let Some(person) = self.people[key].take() {
            self.arriving -= usize::from(person.reader.is_none());
            // Its key will be somebody else's.
            if let Some(of_nick) = person.nick.map(|nick| &mut self.by_nick[nick]) {
                of_nick.take_if(|of_nick| *of_nick == key);
            }
        }
        if let Some(mut connection) = self.crowd.remove(key) {
            self.outcome.count_client(connection.client().counters());
        }
    }

    fn reader(&self, key: Key) -> Option<Reader> {
        self.people[key].as_ref().and_then(|person| person.reader)
    }

    /// When something is due although nobody says anything.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let step = self.script.steps.get(self.next_step);
        let due = step.and_then(|step| self.pace.due(step.at_ms)).filter(|due| *due > now);
        let patience_ends = if self.is_owed() { self.moved } else { now } + STALLED_AFTER;
        due.map_or(patience_ends, |due| due.min(patience_ends))
    }

    fn is_owed(&self) -> bool {
        self.arriving > 0 || self.in_flight > 0 || self.dismissed
    }

    fn has_stalled(&self) -> bool {
        self.is_owed() && self.moved.elapsed() >= STALLED_AFTER
    }

    fn give_up(&mut self) {
        let Self { arriving, in_flight, .. } = self;
        let staying = self.crowd.len();
        self.outcome.fault(format!(
            "{}: nothing moved for {} s: {arriving} sessions on their way in, {in_flight} messages \
             unacknowledged, {staying} sessions left",
            self.script.room,
            STALLED_AFTER.as_secs(),
        ));
    }

    /// The room's name.
    pub(super) fn room(&self) -> &RoomName {
        &self.script.room
    }
}
