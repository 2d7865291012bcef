//! The memory engine passes the suite, and its faults do what they say.

use std::sync::Arc;

use model::AppendError;

use crate::conformance::Subject;
use crate::{Fault, Journal, Memory, conformance_suite};

struct InMemory(Memory);

impl Subject for InMemory {
    fn open(&mut self) -> Arc<dyn Journal> {
        self.0.restart();
        Arc::new(self.0.clone())
    }

    fn break_next_commit(&mut self, applied: bool) {
        self.0.fail_next(if applied {
            Fault::UnknownApplied
        } else {
            Fault::UnknownLost
        });
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
    assert!(matches!(
        append().await[..],
        [Err(AppendError::Unavailable(_))]
    ));
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
