//! Retention: a slow walk over all rooms that trims what no rule keeps.
//!
//! It only finds out where a room should begin. Trimming itself goes through the slot's task, under its
//! fence, so that the room and its readers learn of it in order. Rooms are walked in small pages with
//! a pause between them: retention has all the time in the world.

use std::sync::{Arc, Weak};
use std::time::Duration;

use journal::{Journal, ReadError, RoomEntry, RoomHead};
use model::{RoomName, Seq, SlotNo, pattern_matches};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::config::RetentionRule;
use crate::slots::{Slots, ToSlot};

/// Rooms looked at between two pauses.
const PAGE_ROOMS: usize = 64;
/// The pause, in milliseconds.
const PAUSE_MS: u64 = 10;
/// Entries read at once when bytes are summed up.
const SUM_ENTRIES: usize = 256;
/// Bytes read at once when bytes are summed up.
const SUM_BYTES: usize = 4 * 1024 * 1024;

/// Runs until the server is gone; at once if there is nothing to do.
pub(crate) async fn run(slots: Weak<Slots>) {
    let mut last_round_ms = 0;
    loop {
        let interval = {
            let Some(slots) = slots.upgrade() else { return };
            let config = &slots.shared.config;
            if !config.retention.iter().any(RetentionRule::bounds) {
                return;
            }
            Duration::from_millis(config.retention_interval_ms)
        };
        let Some(started_ms) = round(&slots, last_round_ms).await else {
            return;
        };
        last_round_ms = started_ms;
        sleep(interval).await;
    }
}

/// One walk over all rooms; when it began, or `None` if the server is gone.
async fn round(slots: &Weak<Slots>, last_round_ms: u64) -> Option<u64> {
    let started_ms = slots.upgrade()?.shared.clock.now().wall_ms;
    let mut after: Option<RoomName> = None;
    loop {
        let slots = slots.upgrade()?;
        let journal = Arc::clone(&slots.shared.journal);
        let Ok(page) = journal.rooms(None, after.as_ref(), PAGE_ROOMS).await else {
            return Some(last_round_ms);
        };
        for entry in &page {
            visit(&slots, entry, started_ms, last_round_ms).await;
        }
        drop(slots);
        match page.last() {
            Some(last) if page.len() == PAGE_ROOMS => after = Some(last.room.clone()),
            _ => return Some(started_ms),
        }
        sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

async fn visit(slots: &Slots, entry: &RoomEntry, now_ms: u64, last_round_ms: u64) {
    if !slots.shared.serves(entry.slot) {
        // Its owner looks after it.
        return;
    }
    let rules = &slots.shared.config.retention;
    let Some(rule) = rules.iter().find(|r| pattern_matches(&r.pattern, entry.room.as_str())) else {
        return;
    };
    let bound = Bound { journal: &*slots.shared.journal, entry, rule, now_ms, last_round_ms };
    match bound.first().await {
        Ok(first) if first > entry.head.first => {
            trim(slots, entry.slot, &entry.room, first).await;
        }
        Ok(_) | Err(ReadError::Trimmed { .. }) => {}
        Err(why) => tracing::warn!(room = %entry.room, ?why, "retention cannot read a room"),
    }
}

async fn trim(slots: &Slots, slot: SlotNo, room: &RoomName, first: Seq) {
    let (reply, done) = oneshot::channel();
    let word = ToSlot::Trim { room: room.clone(), first, reply };
    if slots.inbox(slot).send(word).await.is_ok() && done.await == Ok(true) {
        slots.shared.counters.trims.add(1);
    }
}

/// Where a room should begin.
struct Bound<'a> {
    journal: &'a dyn Journal,
    entry: &'a RoomEntry,
    rule: &'a RetentionRule,
    now_ms: u64,
    last_round_ms: u64,
}

impl Bound<'_> {
    fn head(&self) -> &RoomHead {
        &self.entry.head
    }

    /// The first entry to keep.
    async fn first(&self) -> Result<Seq, ReadError> {
        let mut first = self.head().first;
        if let Some(most) = self.rule.entries_max {
            first = first.max((self.head().head + 1).saturating_sub(most));
        }
        if let Some(age_ms) = self.rule.age_ms {
            first = first.max(self.first_since(self.now_ms.saturating_sub(age_ms), first).await?);
        }
        // Only what grew since the last round can have grown beyond its bytes.
        if let Some(bytes_max) = self.rule.bytes_max
            && self.head().at_ms >= self.last_round_ms
        {
            first = first.max(self.first_within(bytes_max, first).await?);
        }
        Ok(first)
    }

    /// The first entry, from `from` on, that was written at `cutoff_ms` or later. Times never fall in a
    /// room: a binary search.
    async fn first_since(&self, cutoff_ms: u64, from: Seq) -> Result<Seq, ReadError> {
        if self.head().at_ms < cutoff_ms {
            return Ok(self.head().head + 1);
        }
        let (mut low, mut high) = (from, self.head().head);
        while low < high {
            let middle = low + (high - low) / 2;
            let records = self.journal.range(&self.entry.room, middle, 1, 1).await?;
            match records.first() {
                Some(record) if record.at_ms < cutoff_ms => low = middle + 1,
                Some(_) => high = middle,
                None => break,
            }
        }
        Ok(low)
    }

    /// The first entry of the newest that fit into `bytes_max`.
    async fn first_within(&self, bytes_max: u64, from: Seq) -> Result<Seq, ReadError> {
        let mut before = self.head().head + 1;
        let mut left = bytes_max;
        while before > from {
            let page =
                self.journal.range_back(&self.entry.room, before, SUM_ENTRIES, SUM_BYTES).await?;
            if page.is_empty() {
                break;
            }
            for record in page.iter().rev() {
                match left.checked_sub(record.payload.len() as u64) {
                    Some(rest) => left = rest,
                    None => return Ok(record.seq + 1),
                }
                before = record.seq;
            }
        }
        Ok(from)
    }
}
