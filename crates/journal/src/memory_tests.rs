//! The memory engine passes the suite, and its faults do what they say.

use std::sync::Arc;

use bytes::Bytes;
use model::{AppendError, ContentKind, HistoryAnchor, StateKey};

use crate::conformance::Subject;
use crate::conformance::owner::{Owner, about, post, room, user};
use crate::memory::Damage;
use crate::{Fault, Journal, Memory, ReadError, conformance_suite};

struct InMemory(Memory);

impl Subject for InMemory {
    fn open(&mut self) -> Arc<dyn Journal> {
        self.0.restart();
        Arc::new(self.0.clone())
    }

    fn break_next_commit(&mut self, applied: bool) {
        self.0.fail_next(if applied { Fault::UnknownApplied } else { Fault::UnknownLost });
    }

    fn rows_read(&self) -> Option<u64> {
        Some(self.0.rows_read())
    }
}

conformance_suite!(InMemory(Memory::new()));

#[tokio::test]
async fn ordered_faults_come_in_order_and_then_no_more() {
    let memory = Memory::new();
    let claimed = memory.claim(0, 1, 1).await.expect("no fault was ordered");
    memory.fail_next(Fault::Unavailable);
    memory.fail_next(Fault::NoSpace);
    let append = || {
        let part = model::RoomBatch {
            room: model::RoomName::new("lobby").expect("valid"),
            log: model::LogId::none(),
            records: Vec::new(),
            erasures: Vec::new(),
            states: Vec::new(),
        };
        memory.append(0, claimed.fence, model::Batch { rooms: vec![part] })
    };
    assert!(matches!(append().await[..], [Err(AppendError::Unavailable(_))]));
    assert_eq!(append().await, vec![Err(AppendError::NoSpace)]);
    assert_eq!(append().await, vec![Ok(())]);
    memory.set_full(true);
    assert_eq!(append().await, vec![Err(AppendError::NoSpace)]);
    assert!(!memory.health().writable);
}

#[tokio::test]
async fn a_held_append_is_carried_out_even_if_nobody_waits_for_it() {
    let memory = Memory::new();
    let claimed = memory.claim(0, 1, 1).await.expect("no fault was ordered");
    let held = memory.hold_appends().await;
    drop(memory.append(0, claimed.fence, model::Batch::default()));
    tokio::task::yield_now().await;
    assert_eq!(memory.appends_in_flight(), 1);
    drop(held);
    while memory.appends_in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_trim_of_everything_leaves_no_row_of_an_entry() {
    let memory = Memory::new();
    let journal: Arc<dyn Journal> = Arc::new(memory.clone());
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    for target in (1..40).step_by(2) {
        let mut part = owner.part(&lobby, vec![post("x"), about(ContentKind::Edit, target)]).await;
        let reaction = StateKey::Reaction(target, user("ann"), "x".into());
        part.states =
            vec![(StateKey::Fold(target), Some(Bytes::new())), (reaction, Some(Bytes::new()))];
        assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    }
    assert!(memory.rows() > 100);
    assert_eq!(journal.trim(0, owner.fence, &lobby, 41).await, Ok(()));
    // The slot, the room, and the room in the slot's list.
    assert_eq!(memory.rows(), 3);
}

#[tokio::test]
async fn damage_is_told_by_every_read_that_meets_it_and_by_no_other() {
    for damage in [Damage::Lost, Damage::PayloadLost, Damage::Flipped] {
        let memory = Memory::new();
        let journal: Arc<dyn Journal> = Arc::new(memory.clone());
        let lobby = room("lobby");
        let mut owner = Owner::claim(&journal, 0, 1, 1).await;
        owner.write(&lobby, (0..9).map(|_| post("x")).collect()).await;
        memory.damage(&lobby, 5, damage);
        let corrupt = |error| matches!(error, Some(ReadError::Corrupt(_)));
        assert!(corrupt(journal.range(&lobby, 3, 4, 99).await.err()), "{damage:?}");
        assert!(corrupt(journal.range_back(&lobby, 7, 4, 99).await.err()), "{damage:?}");
        let around = journal.page(&lobby, HistoryAnchor::Around(5), 3, 99, None).await;
        assert!(corrupt(around.err()), "{damage:?}");
        let ids = journal.ids(&lobby, 1, 9).await;
        assert_eq!(corrupt(ids.err()), damage == Damage::Lost, "ids read no payload");
        assert_eq!(journal.range(&lobby, 1, 4, 99).await.expect("untouched").len(), 4);
        assert_eq!(journal.range_back(&lobby, 10, 4, 99).await.expect("untouched").len(), 4);
        assert!(journal.page(&lobby, HistoryAnchor::Newest, 4, 99, None).await.is_ok());
    }
}
