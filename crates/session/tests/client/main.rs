//! A client against a scripted service, with cuts at every moment: nothing is lost, doubled or
//! reordered, and every entry is told once or its absence is.
//!
//! Time is virtual and every choice comes from a seed; a failure names it. To run one alone:
//! `SEED=17 cargo test -p parlour-session --test client`; `SEEDS=10000` tries that many.

mod duties;
mod moves;
mod person;
mod service;

use person::Person;
use service::{Faults, Service};

const STEPS: usize = 1_500;
const STEPS_TO_SETTLE: usize = 200_000;
const PUBLISHES: usize = 60;

fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(count)).collect(),
    }
}

/// Runs one person against the service, first with faults, then without until everything is settled.
fn run(seed: u64, faults: Faults) -> (Person, Service) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut service = Service::new(seed, faults);
    let mut person = Person::new(seed);
    person.drain(&mut service);
    let mut was_welcome = false;
    for _ in 0..STEPS {
        if person.wished() < PUBLISHES && random.u8(..) < 20 {
            person.publish(&mut random);
        }
        step(&mut random, &mut person, &mut service);
        was_welcome |= service.is_welcome();
        let may_be_lost = faults.cuts || faults.ends || !was_welcome;
        assert!(may_be_lost || service.is_welcome(), "seed {seed}: no live socket");
    }
    service.calm();
    for _ in 0..STEPS_TO_SETTLE {
        if person.is_settled(&service) {
            return (person, service);
        }
        step(&mut random, &mut person, &mut service);
    }
    panic!("seed {seed}: not settled after {STEPS_TO_SETTLE} steps: {person:?}");
}

fn step(random: &mut fastrand::Rng, person: &mut Person, service: &mut Service) {
    match random.u8(..) {
        0..80 => service.hear(),
        80..160 => person.hear(service),
        160..200 => service.feed(),
        200..210 => service.others_publish(),
        210..214 => service.misbehave(person),
        214..230 => person.pass_ms(random.u64(0..50)),
        _ => person.wait(service),
    }
    person.drain(service);
}

fn check_all(seeds_count: u64, faults: Faults) {
    for seed in seeds(seeds_count) {
        eprintln!("seed {seed}");
        let (person, service) = run(seed, faults);
        person.check(&service);
    }
}

#[test]
fn publishes_are_neither_lost_nor_doubled_nor_reordered_by_cuts() {
    check_all(150, Faults { cuts: true, ..Faults::default() });
}

#[test]
fn late_copies_of_an_old_connection_change_nothing() {
    check_all(150, Faults { cuts: true, late: true, ..Faults::default() });
}

#[test]
fn refusals_of_some_leave_the_others_in_order() {
    check_all(
        150,
        Faults { cuts: true, late: true, busy: true, forbids: true, ..Faults::default() },
    );
}

#[test]
fn readers_see_every_entry_or_are_told_what_is_gone() {
    let faults = Faults {
        cuts: true,
        trims: true,
        evictions: true,
        moves: true,
        ends: true,
        ..Faults::default()
    };
    check_all(150, faults);
}

/// Frames of both connections come in any order, dials fail, rooms end for a while on either side.
#[test]
fn moves_lose_nothing_double_nothing_and_leave_no_moment_without_a_live_socket() {
    let faults = Faults { moves: true, dials: true, evictions: true, ..Faults::default() };
    let mut moves = 0;
    for seed in seeds(150) {
        eprintln!("seed {seed}");
        let (person, service) = run(seed, faults);
        person.check(&service);
        moves += person.moves();
    }
    assert!(moves > 100, "{moves} moves came to their end");
}

#[test]
fn a_move_survives_whatever_befalls_either_connection() {
    let faults =
        Faults { cuts: true, late: true, moves: true, ends: true, busy: true, ..Faults::default() };
    check_all(150, faults);
}

#[test]
fn everything_at_once() {
    check_all(
        300,
        Faults {
            cuts: true,
            late: true,
            busy: true,
            forbids: true,
            trims: true,
            evictions: true,
            moves: true,
            ends: true,
            dials: true,
        },
    );
}

#[test]
fn without_faults_every_publish_is_sent_once() {
    for seed in seeds(50) {
        let (person, service) = run(seed, Faults::default());
        person.check(&service);
        assert_eq!(person.publishes_sent(), person.wished() as u64, "seed {seed}");
    }
}
