//! An owner of one slot, as simple as a test needs it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    AppendError, Batch, ContentKind, Digest, Epoch, Fence, LogId, MessageId, Record, RoomBatch,
    RoomName, Seq, SessionId, SlotNo, UserId,
};

use crate::{Claimed, Journal};

/// More than any test's rooms hold.
pub const ALL: usize = 1_000_000;

pub fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a valid name")
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("a valid id")
}

/// Content that is still without a number.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: ContentKind,
    pub target: Seq,
    pub text: String,
}

pub fn post(text: &str) -> Draft {
    Draft { kind: ContentKind::Post, target: 0, text: text.to_owned() }
}

pub fn about(kind: ContentKind, target: Seq) -> Draft {
    Draft { kind, target, text: format!("{kind:?} of {target}") }
}

pub struct Owner {
    pub journal: Arc<dyn Journal>,
    pub slot: SlotNo,
    pub epoch: Epoch,
    pub nonce: u64,
    pub fence: Fence,
    pub slot_pos: u64,
    rooms: HashMap<RoomName, (LogId, Seq, u64)>,
}

impl Owner {
    pub async fn claim(
        journal: &Arc<dyn Journal>,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> Owner {
        let claim = journal.claim(slot, epoch, nonce).await;
        Owner::of(journal, slot, (epoch, nonce), claim.expect("the claim passes"))
    }

    /// The owner that this claim made.
    pub fn of(
        journal: &Arc<dyn Journal>,
        slot: SlotNo,
        (epoch, nonce): (Epoch, u64),
        claimed: Claimed,
    ) -> Owner {
        let Claimed { fence, slot_pos, .. } = claimed;
        let journal = Arc::clone(journal);
        Owner { journal, slot, epoch, nonce, fence, slot_pos, rooms: HashMap::new() }
    }

    /// Claims, and forgets what it held in memory.
    pub async fn claim_again(&mut self) -> Claimed {
        let claim = self.journal.claim(self.slot, self.epoch, self.nonce).await;
        let claimed = claim.expect("the claim passes");
        self.fence = claimed.fence;
        self.slot_pos = claimed.slot_pos;
        self.rooms.clear();
        claimed
    }

    /// The room's part of a batch, numbered where the room stands.
    pub async fn part(&mut self, name: &RoomName, drafts: Vec<Draft>) -> RoomBatch {
        if !self.rooms.contains_key(name) {
            let head = self.journal.head(name).await.expect("readable");
            let at = match head {
                Some(head) => (head.log, head.head, head.ordinal),
                None => (LogId::new(&format!("L{}", self.fence)).expect("valid"), 0, 0),
            };
            self.rooms.insert(name.clone(), at);
        }
        let (log, seq, ordinal) = self.rooms.get_mut(name).expect("just put");
        let records = drafts
            .into_iter()
            .map(|draft| {
                *seq += 1;
                *ordinal += u64::from(draft.kind == ContentKind::Post);
                self.slot_pos += 1;
                record(*seq, *ordinal, self.slot_pos, self.fence, draft)
            })
            .collect();
        RoomBatch {
            room: name.clone(),
            log: log.clone(),
            records,
            erasures: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Appends; where that fails the owner forgets the room, as a real one would.
    pub async fn append(&mut self, parts: Vec<RoomBatch>) -> Vec<Result<(), AppendError>> {
        let names: Vec<_> = parts.iter().map(|part| part.room.clone()).collect();
        let batch = Batch { rooms: parts };
        let results = self.journal.append(self.slot, self.fence, batch).await;
        assert_eq!(results.len(), names.len(), "one result a part");
        for (name, result) in names.iter().zip(&results) {
            if result.is_err() {
                self.rooms.remove(name);
            }
        }
        results
    }

    /// Appends to one room, successfully.
    pub async fn write(&mut self, name: &RoomName, drafts: Vec<Draft>) -> Vec<Record> {
        let part = self.part(name, drafts).await;
        let records = part.records.clone();
        assert_eq!(self.append(vec![part]).await, vec![Ok(())]);
        records
    }
}

/// A record with everything in it that a row has a place for.
pub fn record(seq: Seq, ordinal: u64, slot_pos: u64, fence: Fence, draft: Draft) -> Record {
    let key = if draft.kind == ContentKind::Reaction { "👍" } else { "" };
    Record {
        seq,
        ordinal,
        slot_pos,
        at_ms: 1_760_000_000_000 + seq,
        user: user(if seq.is_multiple_of(2) { "ann" } else { "bob" }),
        session: (!seq.is_multiple_of(3)).then(|| SessionId::new("s7Qx").expect("valid")),
        id: MessageId::new(&format!("id-{slot_pos:08}")).expect("valid"),
        kind: draft.kind,
        target: draft.target,
        key: key.to_owned(),
        remove: false,
        digest: Digest::of(draft.kind, draft.target, key, false, &draft.text),
        fence,
        payload: Bytes::from(draft.text.into_bytes()),
    }
}
