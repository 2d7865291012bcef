use super::*;

fn me() -> NodeId {
    NodeId::new("me").expect("valid")
}

fn record(owner: &str, epoch: Epoch, revision: u64) -> SlotRecord {
    SlotRecord { owner: NodeId::new(owner).expect("valid"), epoch, revision }
}

fn at(ms: u64) -> Now {
    Now::default().plus_ms(ms)
}

/// A machine that was told of `known` and ordered to take the slot over.
fn ordered(known: Option<SlotRecord>) -> Slot {
    let mut slot = Slot::new(me());
    slot.handle_record(at(0), known);
    slot.handle_order(at(0), Order::TakeOver);
    slot
}

/// A machine that serves epoch 1 under fence 1.
fn serving() -> Slot {
    let mut slot = ordered(Some(record("me", 1, 1)));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(0), Reply::Claimed { old: 0, fence: 1 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 1 }));
    slot.handle_reply(at(0), Reply::TailRead);
    assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 1, old: 0 }));
    assert_eq!(slot.poll_step(), None);
    slot
}

/// Lets the retry's time come.
fn wait(slot: &mut Slot) {
    let at = slot.poll_timeout().expect("a retry is due");
    slot.handle_timeout(at);
}

#[test]
fn a_slot_nobody_owned_is_swapped_claimed_and_read_before_it_is_served() {
    let mut slot = ordered(None);
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 0, epoch: 1 }));
    assert_eq!(slot.poll_step(), None, "one step at a time");
    slot.handle_reply(at(1), Reply::Swapped(Some(record("me", 1, 9))));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    assert_eq!(slot.serving(), None);
    slot.handle_reply(at(2), Reply::Claimed { old: 4, fence: 5 });
    assert_eq!(slot.serving(), None, "the tail was not read");
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 5 }));
    slot.handle_reply(at(3), Reply::TailRead);
    assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 5, old: 4 }));
    assert_eq!(slot.serving(), Some(5));
}

#[test]
fn a_slot_of_ones_own_is_claimed_without_the_registry() {
    let mut slot = ordered(Some(record("me", 3, 7)));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 3 }));
}

#[test]
fn a_refused_claim_swaps_to_the_stored_epoch_plus_one() {
    let mut slot = ordered(Some(record("me", 3, 7)));
    slot.poll_step();
    slot.handle_reply(at(1), Reply::ClaimRefused { stored: 8 });
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 7, epoch: 9 }));
    slot.handle_reply(at(2), Reply::Swapped(Some(record("me", 9, 8))));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 9 }));
}

#[test]
fn a_claim_that_no_one_answers_is_made_again_after_a_growing_wait() {
    let mut slot = ordered(Some(record("me", 1, 1)));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(0), Reply::ClaimLost);
    assert_eq!(slot.poll_step(), None);
    assert_eq!(slot.poll_timeout(), Some(at(RETRY_MS_MIN)));
    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(100), Reply::ClaimLost);
    assert_eq!(slot.poll_timeout(), Some(at(100 + 2 * RETRY_MS_MIN)));
    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(200), Reply::Claimed { old: 1, fence: 2 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));
}

#[test]
fn a_swap_whose_reply_was_lost_is_found_done() {
    let mut slot = ordered(Some(record("dead", 4, 7)));
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 7, epoch: 5 }));
    slot.handle_reply(at(0), Reply::SwapLost);
    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 7, epoch: 5 }));
    // A conflict, with our own record in the way.
    slot.handle_reply(at(50), Reply::Swapped(Some(record("me", 5, 8))));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 5 }));
}

#[test]
fn who_loses_the_swap_leaves_the_slot_to_the_winner() {
    let mut slot = ordered(Some(record("dead", 4, 7)));
    slot.poll_step();
    slot.handle_reply(at(0), Reply::Swapped(Some(record("winner", 5, 8))));
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)), "who waits is told");
    assert_eq!(slot.poll_step(), None);
    assert_eq!(slot.poll_timeout(), None, "it does not steal it back");
}

#[test]
fn a_registry_that_went_back_is_swapped_past_what_the_journal_holds() {
    let mut slot = ordered(Some(record("me", 7, 20)));
    slot.poll_step();
    slot.handle_reply(at(0), Reply::ClaimRefused { stored: 7 });
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 20, epoch: 8 }));
    slot.handle_reply(at(0), Reply::Swapped(Some(record("dead", 6, 3))));
    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 3, epoch: 8 }));
}

#[test]
fn an_unknown_append_is_settled_by_a_claim_and_the_tail_behind_it() {
    let mut slot = serving();
    slot.handle_order(at(9), Order::Reclaim);
    assert_eq!(slot.serving(), None);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(9), Reply::Claimed { old: 1, fence: 2 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));
    slot.handle_reply(at(9), Reply::TailRead);
    assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 2, old: 1 }));
}

#[test]
fn a_reclaim_asked_for_while_one_is_under_way_claims_once_more_after_serving_once() {
    for ordered_before_the_claim_answers in [true, false] {
        let mut slot = serving();
        slot.handle_order(at(0), Order::Reclaim);
        assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
        if ordered_before_the_claim_answers {
            slot.handle_order(at(0), Order::Reclaim);
        }
        slot.handle_reply(at(0), Reply::Claimed { old: 1, fence: 2 });
        slot.poll_step();
        if !ordered_before_the_claim_answers {
            slot.handle_order(at(0), Order::Reclaim);
        }
        slot.handle_reply(at(0), Reply::TailRead);
        assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 2, old: 1 }));
        assert_eq!(slot.poll_step(), None);
        wait(&mut slot);
        assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
        slot.handle_reply(at(0), Reply::Claimed { old: 2, fence: 3 });
        slot.poll_step();
        slot.handle_reply(at(0), Reply::TailRead);
        assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 3, old: 2 }));
        assert_eq!(slot.poll_timeout(), None);
    }
}

#[test]
fn a_tail_that_cannot_be_read_is_read_again_before_serving() {
    let mut slot = ordered(Some(record("me", 1, 1)));
    slot.poll_step();
    slot.handle_reply(at(0), Reply::Claimed { old: 0, fence: 1 });
    slot.poll_step();
    slot.handle_reply(at(0), Reply::TailLost);
    assert_eq!(slot.serving(), None);
    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 1 }));
}

#[test]
fn a_fenced_owner_drops_its_rooms_and_comes_back_only_if_the_registry_still_names_it() {
    let mut slot = serving();
    slot.handle_reply(at(0), Reply::Fenced { fence: 1 });
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Fenced)));
    assert_eq!(slot.serving(), None);
    let mut other = slot.clone();

    wait(&mut slot);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));

    other.handle_record(at(1), Some(record("other", 2, 2)));
    wait(&mut other);
    assert_eq!(other.poll_step(), Some(Step::Drop(DropReason::Moved)));
    assert_eq!(other.poll_step(), None);
    assert_eq!(other.poll_timeout(), None);
}

#[test]
fn the_verdict_on_a_former_claim_is_ignored() {
    let mut slot = serving();
    slot.handle_order(at(0), Order::Reclaim);
    slot.poll_step();
    slot.handle_reply(at(0), Reply::Claimed { old: 1, fence: 2 });
    slot.handle_reply(at(0), Reply::Fenced { fence: 1 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));
}

#[test]
fn a_higher_epoch_of_another_node_ends_serving() {
    let mut slot = serving();
    slot.handle_record(at(0), Some(record("other", 1, 2)));
    assert_eq!(slot.serving(), Some(1), "not a higher epoch");
    slot.handle_record(at(0), Some(record("other", 2, 3)));
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)));
    assert_eq!(slot.serving(), None);
}

#[test]
fn an_older_record_is_inert() {
    let mut slot = serving();
    slot.handle_record(at(0), Some(record("other", 9, 1)));
    assert_eq!(slot.serving(), Some(1));
}

#[test]
fn a_reply_to_a_step_that_was_given_up_is_swallowed_and_the_next_step_waits_for_it() {
    let mut slot = ordered(Some(record("me", 1, 1)));
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_order(at(0), Order::Release);
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Released)));
    slot.handle_order(at(0), Order::TakeOver);
    assert_eq!(slot.poll_step(), None, "the first claim has not answered");
    slot.handle_reply(at(1), Reply::Claimed { old: 0, fence: 1 });
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(2), Reply::Claimed { old: 1, fence: 2 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));
}

/// Whatever replies come in whatever order, serving is preceded by a claim and a tail of that claim, and
/// nothing is appended between a transfer and the next claim.
#[test]
fn random_replies_never_make_it_serve_without_a_claim_and_its_tail() {
    let mut given = 0;
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut slot = ordered(Some(record("me", 1, 1)));
        let mut claimed: Option<Fence> = None;
        let mut read: Option<Fence> = None;
        let mut out: Option<Step> = None;
        let mut fence = 0;
        for ms in 0..200 {
            while let Some(step) = slot.poll_step() {
                match step {
                    Step::Serve { fence, .. } => {
                        assert_eq!((claimed, read), (Some(fence), Some(fence)), "seed {seed}");
                    }
                    Step::Drop(DropReason::Given { .. }) => given += 1,
                    Step::Drop(_) => {}
                    step => {
                        let before = out.replace(step);
                        let free = matches!(before, None | Some(Step::Freeze));
                        assert!(free, "seed {seed}: two steps out");
                    }
                }
            }
            if matches!(out, Some(Step::Transfer { .. })) {
                claimed = None;
                assert_eq!(slot.appending(), None, "seed {seed}");
            }
            let now = at(ms * 100);
            match random.u32(0..9) {
                0 => slot.handle_order(now, Order::Reclaim),
                1 => slot.handle_order(now, Order::TakeOver),
                2 => slot.handle_reply(now, Reply::Fenced { fence: random.u64(0..=fence) }),
                3 if random.u32(0..4) == 0 => slot.handle_order(now, Order::Release),
                8 => slot.handle_order(now, Order::Give { to: to("taker") }),
                _ => match (out.take(), random.bool()) {
                    (Some(Step::Cas { epoch, .. }), true) => {
                        slot.handle_reply(now, Reply::Swapped(Some(record("me", epoch, 2 + ms))));
                    }
                    (Some(Step::Cas { .. }), false) => slot.handle_reply(now, Reply::SwapLost),
                    (Some(Step::Claim { .. }), true) => {
                        fence += 1;
                        claimed = Some(fence);
                        slot.handle_reply(now, Reply::Claimed { old: fence - 1, fence });
                    }
                    (Some(Step::Claim { epoch }), false) => {
                        let lost = random.bool();
                        let refused = Reply::ClaimRefused { stored: epoch };
                        slot.handle_reply(now, if lost { Reply::ClaimLost } else { refused });
                    }
                    (Some(Step::ReadTail { fence }), true) => {
                        read = Some(fence);
                        slot.handle_reply(now, Reply::TailRead);
                    }
                    (Some(Step::ReadTail { .. }), false) => slot.handle_reply(now, Reply::TailLost),
                    (Some(Step::Freeze), _) => slot.handle_reply(now, Reply::Flushed),
                    (Some(Step::Transfer { epoch, .. }), true) => {
                        slot.handle_reply(now, Reply::Transferred { epoch: epoch + 1 });
                    }
                    (Some(Step::Transfer { .. }), false) => {
                        slot.handle_reply(now, Reply::TransferFailed);
                    }
                    _ => {}
                },
            }
            slot.handle_timeout(now);
        }
    }
    assert!(given > 1_000, "{given}");
}

fn to(name: &str) -> NodeId {
    NodeId::new(name).expect("valid")
}

fn given(epoch: Epoch) -> Option<Step> {
    Some(Step::Drop(DropReason::Given { to: to("taker"), epoch }))
}

/// A machine that serves epoch 1 under fence 1 and was told to give the slot away.
fn freezing() -> Slot {
    let mut slot = serving();
    slot.handle_order(at(0), Order::Give { to: to("taker") });
    assert_eq!(slot.poll_step(), Some(Step::Freeze));
    assert_eq!(slot.giving(), Some(&to("taker")));
    slot
}

fn transferring() -> Slot {
    let mut slot = freezing();
    assert_eq!((slot.serving(), slot.appending()), (None, Some(1)), "what was taken is flushed");
    slot.handle_reply(at(0), Reply::Flushed);
    assert_eq!(slot.poll_step(), Some(Step::Transfer { to: to("taker"), epoch: 1, fence: 1 }));
    assert_eq!((slot.serving(), slot.appending()), (None, None));
    slot
}

#[test]
fn a_slot_is_given_by_freezing_flushing_and_transferring() {
    let mut slot = transferring();
    slot.handle_reply(at(1), Reply::Transferred { epoch: 2 });
    assert_eq!(slot.poll_step(), given(2));
    assert_eq!((slot.poll_step(), slot.poll_timeout(), slot.giving()), (None, None, None));
    slot.handle_record(at(2), Some(record("taker", 2, 2)));
    assert_eq!(slot.poll_step(), None);
}

#[test]
fn only_a_slot_that_is_served_and_not_in_doubt_is_given() {
    let give = || Order::Give { to: to("taker") };
    let mut idle = Slot::new(me());
    idle.handle_order(at(0), give());
    assert_eq!((idle.poll_step(), idle.giving()), (None, None));

    let mut to_itself = serving();
    to_itself.handle_order(at(0), Order::Give { to: me() });
    assert_eq!(to_itself.giving(), None);

    let mut in_doubt = serving();
    in_doubt.handle_order(at(0), Order::Reclaim);
    in_doubt.handle_order(at(0), give());
    assert_eq!(in_doubt.poll_step(), Some(Step::Claim { epoch: 1 }));
    assert_eq!(in_doubt.giving(), None);

    let mut given_already = freezing();
    given_already.handle_order(at(0), Order::Give { to: to("other") });
    assert_eq!(given_already.giving(), Some(&to("taker")));
    assert_eq!(given_already.poll_step(), None);
}

#[test]
fn a_transfer_that_fails_thaws_by_claiming_under_the_same_epoch() {
    for late in [Reply::TransferFailed, Reply::Transferred { epoch: 1 }] {
        let mut slot = transferring();
        slot.handle_reply(at(0), late);
        assert_eq!(slot.appending(), None, "not before the claim");
        assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
        slot.handle_reply(at(0), Reply::Claimed { old: 1, fence: 2 });
        assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));
        slot.handle_reply(at(0), Reply::TailRead);
        assert_eq!(slot.poll_step(), Some(Step::Serve { fence: 2, old: 1 }));
        // The answer that comes too late changes nothing.
        slot.handle_reply(at(1), Reply::Transferred { epoch: 2 });
        assert_eq!(slot.serving(), Some(2));
    }
}

#[test]
fn a_thaw_that_the_taker_forestalled_finds_its_record_and_does_not_steal_back() {
    let mut slot = transferring();
    slot.handle_reply(at(0), Reply::TransferFailed);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(0), Reply::ClaimRefused { stored: 2 });
    // It expects its own record: the taker's is in the way.
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 1, epoch: 3 }));
    slot.handle_reply(at(0), Reply::Swapped(Some(record("taker", 2, 2))));
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)));
    assert_eq!((slot.poll_step(), slot.poll_timeout()), (None, None));
}

#[test]
fn a_record_that_arrives_during_a_thaw_ends_it() {
    for refused_first in [false, true] {
        let mut slot = transferring();
        slot.handle_reply(at(0), Reply::TransferFailed);
        assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
        if refused_first {
            slot.handle_reply(at(0), Reply::ClaimRefused { stored: 2 });
        }
        slot.handle_record(at(0), Some(record("taker", 2, 2)));
        assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)));
        slot.handle_reply(at(0), Reply::ClaimRefused { stored: 2 });
        assert_eq!((slot.poll_step(), slot.poll_timeout()), (None, None));
    }
}

#[test]
fn the_takers_record_completes_the_transfer_and_anybody_elses_ends_it() {
    for (owner, expected) in [("taker", given(2)), ("other", Some(Step::Drop(DropReason::Moved)))] {
        let mut slot = transferring();
        slot.handle_record(at(0), Some(record(owner, 2, 2)));
        assert_eq!(slot.poll_step(), expected);
        // The reply that is still to come is swallowed, whatever it is.
        slot.handle_reply(at(1), Reply::TransferFailed);
        assert_eq!((slot.poll_step(), slot.poll_timeout()), (None, None));
    }
}

#[test]
fn a_fenced_giver_does_not_come_back() {
    let mut slot = transferring();
    slot.handle_reply(at(0), Reply::Fenced { fence: 1 });
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Fenced)));
    slot.handle_reply(at(1), Reply::TransferFailed);
    assert_eq!((slot.poll_step(), slot.poll_timeout()), (None, None));
}

#[test]
fn a_flush_that_leaves_a_doubt_becomes_a_claim() {
    let mut slot = freezing();
    slot.handle_order(at(0), Order::Reclaim);
    assert_eq!(slot.giving(), None);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }), "no flush is waited for");
    slot.handle_reply(at(0), Reply::Flushed);
    slot.handle_reply(at(0), Reply::Claimed { old: 1, fence: 2 });
    assert_eq!(slot.poll_step(), Some(Step::ReadTail { fence: 2 }));

    // During the transfer the doubt waits: if that fails, a claim follows.
    let mut slot = transferring();
    slot.handle_order(at(0), Order::Reclaim);
    assert_eq!(slot.poll_step(), None);
    assert_eq!(slot.giving(), Some(&to("taker")));
}

#[test]
fn whoever_was_superseded_while_it_was_paused_does_not_steal_back() {
    let mut slot = serving();
    slot.handle_order(at(0), Order::Reclaim);
    assert_eq!(slot.poll_step(), Some(Step::Claim { epoch: 1 }));
    slot.handle_reply(at(0), Reply::ClaimRefused { stored: 2 });
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 1, epoch: 3 }));
    slot.handle_reply(at(0), Reply::Swapped(Some(record("other", 2, 2))));
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)));
    assert_eq!(slot.poll_timeout(), None);
}

#[test]
fn a_swap_that_is_tried_again_does_not_run_over_a_newcomer() {
    let mut slot = ordered(Some(record("dead", 4, 7)));
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 7, epoch: 5 }));
    slot.handle_reply(at(0), Reply::SwapLost);
    slot.handle_record(at(1), Some(record("winner", 5, 8)));
    assert_eq!(slot.poll_step(), Some(Step::Drop(DropReason::Moved)));
    assert_eq!((slot.poll_step(), slot.poll_timeout()), (None, None));
    // If that one dies, too, it takes another order.
    slot.handle_order(at(9), Order::TakeOver);
    assert_eq!(slot.poll_step(), Some(Step::Cas { expected: 8, epoch: 6 }));
}

#[test]
fn who_drains_claims_what_is_its_own_and_takes_nothing_over() {
    for (known, expected) in [
        (None, None),
        (Some(record("dead", 4, 7)), None),
        (Some(record("me", 4, 7)), Some(Step::Claim { epoch: 4 })),
    ] {
        let mut slot = Slot::new(me());
        slot.handle_drain(at(0));
        slot.handle_record(at(0), known);
        slot.handle_order(at(0), Order::TakeOver);
        assert_eq!(slot.poll_step(), expected);
    }
}
