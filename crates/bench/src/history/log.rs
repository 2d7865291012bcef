//! What was sent to a room, and where each message stands.

use std::collections::HashMap;

use model::Seq;

/// Entries on each side of a violation that are shown.
const AROUND: Seq = 4;

/// A session that publishes: its messages in the order in which it sent them.
type Sends = Vec<u32>;

#[derive(Debug)]
struct Message {
    id: Box<str>,
    text: Box<str>,
    /// What was acknowledged when it was sent: it can only stand above.
    floor: Seq,
    at: Option<Seq>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Acknowledged,
    /// Given up; whether a copy may stand in the log all the same.
    GivenUp(bool),
}

/// How a message's number fits what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Fits,
    /// It stands at another number already.
    Elsewhere(Seq),
    /// Another message stands there.
    Occupied(u32),
    /// It stands below something that was acknowledged before it was sent.
    BelowFloor(Seq),
    /// It was refused for good.
    GivenUp,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    messages: Vec<Message>,
    by_id: HashMap<Box<str>, u32>,
    by_seq: HashMap<Seq, u32>,
    authors: Vec<Sends>,
    head: Seq,
}

impl Log {
    pub(super) fn add_author(&mut self) -> u32 {
        self.authors.push(Sends::new());
        u32::try_from(self.authors.len() - 1).expect("a room has fewer than 2^32 authors")
    }

    pub(super) fn sent(&mut self, author: u32, id: &str, text: &str) {
        let message =
            u32::try_from(self.messages.len()).expect("a room has fewer than 2^32 messages");
        self.messages.push(Message {
            id: id.into(),
            text: text.into(),
            floor: self.head,
            at: None,
            fate: Fate::Open,
        });
        self.by_id.insert(id.into(), message);
        self.authors[author as usize].push(message);
    }

    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn id(&self, message: u32) -> &str {
        &self.messages[message as usize].id
    }

    pub(super) fn text(&self, message: u32) -> &str {
        &self.messages[message as usize].text
    }

    pub(super) fn head(&self) -> Seq {
        self.head
    }

    /// Answers whether it is the first acknowledgement of this message.
    pub(super) fn acknowledge(&mut self, message: u32, seq: Seq) -> bool {
        self.head = self.head.max(seq);
        let fate = &mut self.messages[message as usize].fate;
        std::mem::replace(fate, Fate::Acknowledged) != Fate::Acknowledged
    }

    pub(super) fn give_up(&mut self, message: u32, may_have_been_sent: bool) {
        self.messages[message as usize].fate = Fate::GivenUp(may_have_been_sent);
    }

    pub(super) fn place(&mut self, message: u32, seq: Seq) -> Placed {
        let known = &mut self.messages[message as usize];
        match known.at {
            Some(at) if at == seq => return Placed::Fits,
            Some(at) => return Placed::Elsewhere(at),
            None => {}
        }
        if let Some(other) = self.by_seq.get(&seq) {
            return Placed::Occupied(*other);
        }
        known.at = Some(seq);
        self.by_seq.insert(seq, message);
        match known.fate {
            Fate::GivenUp(false) => Placed::GivenUp,
            _ if seq <= known.floor => Placed::BelowFloor(known.floor),
            _ => Placed::Fits,
        }
    }

    /// Messages that stand before one that their author had sent earlier.
    pub(super) fn out_of_order(&self) -> Vec<(Seq, String)> {
        let mut found = Vec::new();
        for sends in &self.authors {
            let mut placed =
                sends.iter().filter_map(|m| Some((self.messages[*m as usize].at?, *m)));
            let Some(mut before) = placed.next() else {
                continue;
            };
            for (at, message) in placed {
                if at < before.0 {
                    let (id, earlier) = (self.id(message), self.id(before.1));
                    let what = format!("{id} stands at {at}, and its author sent {earlier} first");
                    found.push((at, what));
                }
                before = before.max((at, message));
            }
        }
        found
    }

    /// Messages that nobody answers for.
    pub(super) fn unacknowledged(&self) -> Vec<String> {
        let open = self.messages.iter().filter(|message| message.fate != Fate::Acknowledged);
        open.map(|message| {
            let Message { id, text, fate, .. } = message;
            match fate {
                Fate::GivenUp(_) => format!("{id} {text:?} was refused for good"),
                _ => format!("{id} {text:?} was never answered"),
            }
        })
        .collect()
    }

    /// The entries around `seq`, for a person.
    pub(super) fn around(&self, seq: Seq) -> Vec<String> {
        let numbers = seq.saturating_sub(AROUND)..=seq.saturating_add(AROUND);
        numbers
            .filter_map(|seq| self.by_seq.get(&seq).map(|message| self.show(seq, Some(*message))))
            .collect()
    }

    pub(super) fn show(&self, seq: Seq, message: Option<u32>) -> String {
        match message {
            Some(message) => format!("{seq} {} {:?}", self.id(message), self.text(message)),
            None => format!("{seq} (never sent)"),
        }
    }
}
