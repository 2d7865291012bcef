//! A bounded number of seeds, each time; `cargo run -p parlour-sim -- --seeds N` runs more.

use std::path::Path;

use sim::{COVERED, Ran, each, together};

/// As many as take about a minute on two processors.
const SEEDS: u64 = 24;

fn run(arguments: &[&str], seeds: impl IntoIterator<Item = u64>) -> Vec<Ran> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    each(Path::new(env!("CARGO_BIN_EXE_parlour-sim")), arguments, seeds, jobs)
}

fn expect_good(ran: &[Ran]) {
    let bad: Vec<&Ran> = ran.iter().filter(|ran| !ran.good).collect();
    for ran in &bad {
        eprintln!(
            "seed {} is bad; again with `cargo run -p parlour-sim -- --seed {} --trace`\n{}",
            ran.seed, ran.seed, ran.said
        );
    }
    assert!(bad.is_empty(), "{:?} are bad", bad.iter().map(|ran| ran.seed).collect::<Vec<_>>());
}

#[test]
fn every_promise_is_kept_from_every_seed_and_the_seeds_go_where_it_is_dangerous() {
    let ran = run(&[], 1..=SEEDS);
    expect_good(&ran);
    let coverage = together(&ran);
    eprintln!("{coverage:#?}");
    for name in COVERED {
        assert!(coverage[name] > 0, "no seed has reached: {name}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let ran = run(&[], [7, 7]);
    assert!(!ran[0].hash.is_empty(), "{}", ran[0].said);
    assert_eq!(ran[0].hash, ran[1].hash);
    let other = run(&[], [8]);
    assert_ne!(ran[0].hash, other[0].hash);
}

/// A verdict that is always good is worth nothing.
#[test]
fn a_journal_that_lies_is_found_out() {
    for ran in run(&["--lie"], 1..=2) {
        assert!(!ran.good && ran.said.contains("fault:"), "{}", ran.said);
    }
}
