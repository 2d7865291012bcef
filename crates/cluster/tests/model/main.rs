//! The slot's machine in every interleaving, within bounds: the very type that production runs, between
//! a registry and a journal of which every call, effect and reply is a step of its own, and any reply
//! may get lost, late, or come from before a crash.
//!
//! `SLOT_MODEL=large` widens the bounds: minutes in a release build.

#![allow(unreachable_pub, reason = "modules of one test")]

mod node;
mod services;
mod world;

use std::collections::BTreeSet;

use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model};
use world::{Bounds, Cluster};

/// A mistake that a plausible design makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Appends are not checked against the fence.
    ClaimWithoutFencing,
    /// The epoch alone is claimed and checked: two processes can hold the same.
    EpochWithoutNonce,
    /// The tail is not read.
    ServeBeforeTail,
    /// The tail is read before the claim has committed.
    TailBeforeClaim,
    /// Publishes are acknowledged when they are sent to the journal.
    AckBeforeCommit,
    /// Hints count whatever fence they name.
    HintsWithoutFence,
    /// A giver whose transfer fails goes on as if nothing had been.
    ThawWithoutClaim,
}

const SMALL: Bounds = Bounds {
    publishes: 2,
    takeovers: 2,
    gives: 0,
    reclaims: 0,
    crashes: 0,
    losses: 0,
    restores: 0,
};

fn is_large() -> bool {
    std::env::var("SLOT_MODEL").is_ok_and(|size| size == "large")
}

/// Visits every state within the bounds, or within the larger ones if that is wanted.
fn check(name: &str, nodes: usize, small: Bounds, large: Bounds) {
    let bounds = if is_large() { large } else { small };
    let checker = checker(Cluster { nodes, bounds, flaw: None }).spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them new, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    assert!(checker.is_done());
    checker.assert_properties();
}

fn checker(cluster: Cluster) -> CheckerBuilder<Cluster> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    cluster.checker().threads(threads)
}

/// The mistake must be found.
fn catch(flaw: Flaw, bounds: Bounds) {
    let cluster = Cluster { nodes: 2, bounds, flaw: Some(flaw) };
    let names = cluster.properties().into_iter();
    let promises: BTreeSet<&str> = names
        .filter(|property| property.expectation == Expectation::Always)
        .map(|property| property.name)
        .collect();
    let found = HasDiscoveries::AnyOf(promises.clone());
    let checker = checker(cluster).finish_when(found).spawn_bfs().join();
    let broken: Vec<(&str, usize)> = checker
        .discoveries()
        .into_iter()
        .filter(|(name, _)| promises.contains(name))
        .map(|(name, path)| (name, path.into_actions().len()))
        .collect();
    println!("{flaw:?}: {broken:?} in {} states", checker.unique_state_count());
    assert!(!broken.is_empty(), "{flaw:?} was not noticed");
}

#[test]
fn a_handoff_keeps_every_promise_whatever_gets_lost() {
    let small = Bounds { takeovers: 1, gives: 1, losses: 1, ..SMALL };
    check("handoff", 2, Bounds { publishes: 1, ..small }, Bounds { reclaims: 1, ..small });
}

#[test]
fn a_process_that_crashes_and_comes_back_under_its_old_name_is_another_owner() {
    let small = Bounds { crashes: 1, ..SMALL };
    check("crash", 2, small, Bounds { crashes: 2, losses: 1, reclaims: 1, ..SMALL });
}

#[test]
fn a_registry_that_was_restored_makes_no_two_owners() {
    let small = Bounds { restores: 1, ..SMALL };
    check("restore", 2, Bounds { publishes: 1, ..small }, Bounds { takeovers: 3, ..small });
}

#[test]
fn claimants_that_take_the_slot_from_each_other_make_one_log() {
    let small = Bounds { publishes: 1, takeovers: 3, ..SMALL };
    check("claimants", if is_large() { 3 } else { 2 }, small, Bounds { reclaims: 1, ..small });
}

#[test]
fn a_giver_or_a_taker_that_crashes_loses_nothing() {
    let small = Bounds { takeovers: 1, gives: 1, crashes: 1, ..SMALL };
    check("handoff and crash", 2, small, Bounds { takeovers: 2, losses: 1, ..small });
}

#[test]
fn appends_that_nobody_checks_are_noticed() {
    catch(Flaw::ClaimWithoutFencing, SMALL);
}

#[test]
fn an_epoch_without_a_nonce_is_noticed() {
    catch(Flaw::EpochWithoutNonce, Bounds { crashes: 1, ..SMALL });
}

#[test]
fn serving_without_the_tail_is_noticed() {
    catch(Flaw::ServeBeforeTail, SMALL);
}

#[test]
fn a_tail_that_is_read_before_the_claim_is_noticed() {
    catch(Flaw::TailBeforeClaim, SMALL);
}

#[test]
fn acknowledging_before_the_commit_is_noticed() {
    catch(Flaw::AckBeforeCommit, SMALL);
}

#[test]
fn hints_of_another_fence_are_noticed() {
    catch(Flaw::HintsWithoutFence, Bounds { takeovers: 1, gives: 1, ..SMALL });
}

#[test]
fn a_thaw_without_a_claim_is_noticed() {
    catch(Flaw::ThawWithoutClaim, Bounds { takeovers: 1, gives: 1, ..SMALL });
}
