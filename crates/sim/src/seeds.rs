//! Seeds run one after another: each in a process of its own, by this same program.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::verdict::{COVERED, Coverage};
use crate::world::{self, Options};

/// What the first word of a good run's line is.
const GOOD: &str = "good";

/// Far longer than any run takes, on a machine that is busy.
const RUN_WITHIN: Duration = Duration::from_secs(150);

/// Runs one seed here.
#[must_use]
pub fn one(options: Options) -> ExitCode {
    let Options { seed, shown, .. } = options;
    if shown {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .without_time()
            .with_writer(std::io::stderr)
            .init();
    }
    // A panic in any task is the end of the run: tokio would keep it to itself.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        eprintln!("seed {seed} panicked");
        std::process::exit(101);
    }));
    // A task that spins keeps simulated time from going on: no timeout in there would ring.
    std::thread::spawn(move || {
        std::thread::sleep(RUN_WITHIN);
        eprintln!("seed {seed} does not come to its end: something spins");
        std::process::exit(102);
    });
    let began = Instant::now();
    let outcome = world::run(options);
    let word = if outcome.faults.is_empty() { GOOD } else { "bad" };
    println!("{word} seed={seed} hash={:016x}", outcome.hash);
    for (name, count) in &outcome.coverage {
        println!("{name}={count}");
    }
    eprintln!(
        "{} s simulated in {:.1} s",
        outcome.simulated_us / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    for fault in &outcome.faults {
        println!("fault: {fault}");
    }
    ExitCode::from(u8::from(!outcome.faults.is_empty()))
}

/// What became of one seed.
#[derive(Debug)]
pub struct Ran {
    /// The seed.
    pub seed: u64,
    /// Whether every promise was kept.
    pub good: bool,
    /// What happened, as a hash; empty if it did not come to its end.
    pub hash: String,
    /// What it has been through.
    pub coverage: Coverage,
    /// All that it printed.
    pub said: String,
}

/// Runs seeds, at most so many at once, each by `program` with these arguments; they are told in order.
///
/// # Panics
/// When the program cannot be started.
#[must_use]
pub fn each(
    program: &Path,
    arguments: &[&str],
    seeds: impl IntoIterator<Item = u64>,
    jobs: usize,
) -> Vec<Ran> {
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    let mut ran = Vec::new();
    for seed in seeds {
        if running.len() >= jobs.max(1) {
            ran.extend(running.pop_front().map(end));
        }
        let child = Command::new(program)
            .args(["--seed", &seed.to_string()])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        running.push_back((seed, child.expect("the simulator is there")));
    }
    ran.extend(running.into_iter().map(end));
    ran
}

fn end((seed, child): (u64, Child)) -> Ran {
    let output = child.wait_with_output().expect("a child can be waited for");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let hash = told.lines().next().and_then(|line| line.split("hash=").nth(1)).unwrap_or_default();
    let counts = told.lines().filter_map(|line| line.split_once('='));
    let count = |name: &str| {
        let counted = counts.clone().find(|(other, _)| *other == name);
        counted.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
    };
    Ran {
        seed,
        good: output.status.success() && told.starts_with(GOOD),
        hash: hash.to_owned(),
        coverage: COVERED.into_iter().map(|name| (name, count(name))).collect(),
        said: told.clone() + &String::from_utf8_lossy(&output.stderr),
    }
}

/// What all of them have been through together.
#[must_use]
pub fn together(ran: &[Ran]) -> Coverage {
    let mut all: Coverage = COVERED.into_iter().map(|name| (name, 0)).collect();
    for (name, count) in ran.iter().flat_map(|ran| &ran.coverage) {
        *all.entry(name).or_default() += count;
    }
    all
}

/// Runs many seeds by this program, and says which were bad.
///
/// # Panics
/// When this program cannot be started again.
#[must_use]
pub fn many(from: u64, seeds: u64, jobs: Option<usize>) -> ExitCode {
    let program = std::env::current_exe().expect("this program runs");
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut all = Vec::new();
    for first in (from..from + seeds).step_by(4 * jobs) {
        let last = (first + 4 * jobs as u64).min(from + seeds);
        for ran in each(&program, &[], first..last, jobs) {
            if !ran.good {
                println!(
                    "seed {} is bad; again with --seed {} --trace\n{}",
                    ran.seed, ran.seed, ran.said
                );
            }
            all.push(ran);
        }
    }
    let bad: Vec<u64> = all.iter().filter(|ran| !ran.good).map(|ran| ran.seed).collect();
    for (name, count) in together(&all) {
        println!("{count:>8} {name}");
    }
    println!("{} seeds, {} bad: {bad:?}", all.len(), bad.len());
    ExitCode::from(u8::from(!bad.is_empty()))
}
