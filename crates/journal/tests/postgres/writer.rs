//! An owner that goes on whatever happens, and remembers what was acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::conformance::owner::{ALL, post, record, room};
use journal::postgres::{Postgres, Settings};
use journal::{Claimed, Journal};
use model::{AppendError, Batch, LogId, Record, RoomBatch, RoomName};

use super::server::PATIENCE;

pub(crate) fn open(settings: &Settings, nonce: u64) -> Arc<dyn Journal> {
    Arc::new(Postgres::open(settings.clone(), nonce).expect("opened"))
}

pub(crate) struct Writer {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) slot: u32,
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    pub(crate) room: RoomName,
    pub(crate) claimed: Claimed,
    log: LogId,
    head: u64,
    slot_pos: u64,
    /// Entries that were answered "committed".
    pub(crate) acknowledged: Vec<Record>,
}

impl Writer {
    pub(crate) async fn start(journal: &Arc<dyn Journal>, slot: u32, nonce: u64) -> Writer {
        let mut writer = Writer::without_claim(journal, slot, nonce);
        writer.claim().await;
        writer
    }

    pub(crate) fn without_claim(journal: &Arc<dyn Journal>, slot: u32, nonce: u64) -> Writer {
        let claimed = Claimed { old_fence: 0, fence: 0, slot_pos: 0 };
        Writer {
            journal: Arc::clone(journal),
            slot,
            epoch: nonce,
            nonce,
            room: room_of(slot),
            claimed,
            log: LogId::none(),
            head: 0,
            slot_pos: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Claims and reads where the room stands, until both succeed.
    pub(crate) async fn claim(&mut self) {
        let started = Instant::now();
        loop {
            match self.journal.claim(self.slot, self.epoch, self.nonce).await {
                Ok(claimed) => {
                    if self.look(claimed).await {
                        return;
                    }
                }
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes over what a claim found; false if the room cannot be read.
    pub(crate) async fn look(&mut self, claimed: Claimed) -> bool {
        let Ok(head) = self.journal.head(&self.room).await else { return false };
        (self.claimed, self.slot_pos) = (claimed, claimed.slot_pos);
        let minted = LogId::new(&format!("L{}", claimed.fence)).expect("valid");
        (self.log, self.head) = head.map_or((minted, 0), |head| (head.log, head.head));
        true
    }

    pub(crate) fn part(&mut self, text: &str) -> RoomBatch {
        self.head += 1;
        self.slot_pos += 1;
        let fence = self.claimed.fence;
        let record = record(self.head, self.head, self.slot_pos, fence, post(text));
        RoomBatch {
            room: self.room.clone(),
            log: self.log.clone(),
            records: vec![record],
            erasures: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Appends one entry.
    pub(crate) async fn append(&mut self, text: &str) -> Result<(), AppendError> {
        let part = self.part(text);
        let records = part.records.clone();
        let batch = Batch { rooms: vec![part] };
        let result = self.journal.append(self.slot, self.claimed.fence, batch).await.remove(0);
        if result.is_ok() {
            self.acknowledged.extend(records);
        }
        result
    }

    /// Every acknowledged entry is where it was acknowledged, and nothing is there twice.
    pub(crate) async fn check(&self, journal: &Arc<dyn Journal>) -> Vec<Record> {
        let stored = journal.range(&self.room, 1, ALL, usize::MAX).await.expect("readable, dense");
        for record in &self.acknowledged {
            assert_eq!(Some(record), stored.get(record.seq as usize - 1));
        }
        assert!(stored.windows(2).all(|two| two[0].slot_pos < two[1].slot_pos));
        assert!(stored.windows(2).all(|two| two[0].fence <= two[1].fence));
        stored
    }
}

/// The room that a writer of this slot writes.
pub(crate) fn room_of(slot: u32) -> RoomName {
    room(&format!("room{slot}"))
}
