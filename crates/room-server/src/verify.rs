//! Superseded owners stop reading, too: all fences are verified once a second, in one query.
//!
//! An owner that is cut off from the journal would otherwise serve an old head for as long as nobody
//! publishes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::slots::{Slots, ToSlot};

/// Milliseconds between two checks.
const CHECK_MS: u64 = 1_000;
/// Milliseconds without a check that succeeded after which subscribers are detached.
const UNVERIFIED_MS: u64 = 3_000;

const _: () = assert!(UNVERIFIED_MS >= 3 * CHECK_MS);

/// Runs until the server is gone.
pub(crate) async fn run(slots: Weak<Slots>) {
    let mut ticks = interval(Duration::from_millis(CHECK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verified_at = Instant::now();
    let mut trusted = true;
    loop {
        ticks.tick().await;
        let Some(slots) = slots.upgrade() else { return };
        if check(&slots).await {
            verified_at = Instant::now();
        }
        let trust = verified_at.elapsed() < Duration::from_millis(UNVERIFIED_MS);
        if trust != trusted {
            trusted = trust;
            if trust {
                tracing::info!("the journal answers again; rooms are read again");
            } else {
                tracing::error!(
                    "the journal cannot confirm who owns the rooms; nobody reads them here"
                );
            }
            for (_, inbox) in slots.started() {
                let _ = inbox.send(ToSlot::Verified(trust)).await;
            }
        }
    }
}

/// One check; whether the journal answered in time.
async fn check(slots: &Arc<Slots>) -> bool {
    let fences = slots.shared.fences();
    let answer = slots.shared.journal.verify(&fences);
    let Ok(Ok(lost)) = timeout(Duration::from_millis(CHECK_MS), answer).await else {
        return false;
    };
    for slot in lost {
        if let Some((_, fence)) = fences.iter().find(|(held, _)| *held == slot) {
            let _ = slots.inbox(slot).send(ToSlot::Fenced { fence: *fence }).await;
        }
    }
    true
}
