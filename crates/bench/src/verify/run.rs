//! A run from the first dial to the report.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use model::Seed;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::body::Body;
use super::check::{self, Findings};
use super::driver::{Driver, Recorded, Shared, Stage};
use super::judge::{self, Judged, Rules};
use super::plan::{Seat, seats};
use super::record::RoomHistory;
use super::report::{Report, Service};
use super::tally::{Faults, Sample, Tally};
use super::timeline::{Line, Timeline, wall_ms};
use crate::error::BenchError;
use crate::load::{check_descriptors, fresh_rooms};
use crate::measure::monotonic_us;
use crate::table::thousands;
use crate::target::{Dialer, Format, Target};

/// Messages a second of one client: below the 50 that a server allows a session, so that nothing waits
/// in the client itself.
const CLIENT_RATE_MAX: u64 = 40;
/// Messages of one run, for the memory that each takes.
const MESSAGES_MAX: u64 = 50_000_000;
/// Nobody comes any more for so long: they will not.
const STALLED_AFTER: Duration = Duration::from_secs(30);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Samples between two progress lines.
const LINE_EVERY: u32 = 10;
/// Looks in a row at which everything must have settled: each driver has looked again in between.
const SETTLED_LOOKS: u32 = 3;

/// Publish and read from many clients, and check every promise over all of it.
#[derive(Clone, Debug, Args)]
pub struct VerifyOptions {
    /// A server: ws://… for WebSocket, grpc://… for gRPC, http://… for a gateway that names one (with
    /// `?transport=grpc` one for gRPC). May be repeated: clients are spread evenly over all that are
    /// named, so that one named twice gets twice as many; where one is away, those of its kind are tried.
    #[arg(long = "url", value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// How frames are written over WebSocket.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub encoding: Format,
    /// A file with the token that every client shows; without it, each has a name.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Rooms, made for this run.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rooms: usize,
    /// Clients; all read, half of them publish.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub clients: usize,
    /// Messages a second, all clients together; each has 100 bytes.
    #[arg(long, value_name = "R", default_value_t = 100)]
    pub rate: u64,
    /// For how long they publish.
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub seconds: u64,
    /// Seconds within which everything must be answered and every reader be at the end of its rooms.
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub settle: u64,
    /// Write a JSON line for every tenth of a second.
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs and checks.
///
/// # Errors
/// [`BenchError`], when it cannot begin: the servers, the numbers, a file.
pub async fn verify(options: VerifyOptions) -> Result<Report, BenchError> {
    check_options(&options)?;
    let dialers = dialers(&options)?;
    for dialer in &dialers {
        dialer.probe().await?;
    }
    let timeline = options.timeline.as_deref().map(Timeline::create).transpose()?;
    let seats = seats(options.clients, options.urls.len(), options.rooms);
    let drivers = std::thread::available_parallelism().map_or(1, usize::from);
    let run = Seed::new(monotonic_us()).letters(10);
    let shared = Arc::new(Shared {
        body: Body::new(&run),
        dialers,
        rooms: fresh_rooms("verify", options.rooms),
        heads: (0..options.rooms).map(|_| AtomicU64::new(0)).collect(),
        tallies: (0..drivers).map(|_| Tally::default()).collect(),
        faults: Faults::default(),
        rate: options.rate,
        messages: options.rate * options.seconds,
        publishers: seats.iter().filter(|seat| seat.turn.is_some()).count(),
    });
    let recorded = drive(&options, &shared, seats, timeline).await?;
    judge_and_report(&options, &shared, recorded).await
}

fn check_options(options: &VerifyOptions) -> Result<(), BenchError> {
    let VerifyOptions { rooms, clients, rate, seconds, .. } = options;
    let usage = |why: String| Err(BenchError::Usage(why));
    let publishers = clients.div_ceil(2) as u64;
    if *rooms == 0 || *clients == 0 || *rate == 0 || *seconds == 0 {
        return usage("--rooms, --clients, --rate and --seconds are 1 or more".to_owned());
    }
    if publishers * CLIENT_RATE_MAX < *rate {
        return usage(format!(
            "{rate} messages a second from {publishers} clients are more than the {CLIENT_RATE_MAX} that \
             each may send: more --clients, or a lower --rate"
        ));
    }
    if rate.saturating_mul(*seconds) > MESSAGES_MAX {
        return usage(format!(
            "{rate} messages a second for {seconds} s are more than the {} that are kept",
            thousands(MESSAGES_MAX)
        ));
    }
    check_descriptors(*clients)
}

fn dialers(options: &VerifyOptions) -> Result<Vec<Dialer>, BenchError> {
    let token = match &options.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| BenchError::Io(format!("{}: {e}", path.display())))?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let target = |url: &String| Target { url: url.clone(), encoding: options.encoding };
    let dialer = |url| {
        let dialer = Dialer::new(target(url)).with_token(token.clone());
        dialer.with_alternatives(&options.urls)
    };
    Ok(options.urls.iter().map(dialer).collect())
}

/// All clients come, publish, settle and go.
async fn drive(
    options: &VerifyOptions,
    shared: &Arc<Shared>,
    seats: Vec<Seat>,
    timeline: Option<Timeline>,
) -> Result<Vec<Recorded>, BenchError> {
    let drivers = shared.tallies.len();
    let mut shares = vec![Vec::new(); drivers];
    seats.into_iter().for_each(|seat| shares[seat.nth % drivers].push(seat));
    let (stage, staged) = watch::channel(Stage::Arriving);
    let mut tasks = JoinSet::new();
    for (nth, share) in shares.into_iter().enumerate() {
        let driver = Driver::new(shared.clone(), nth, share);
        let staged = staged.clone();
        tasks.spawn(async move { (nth, driver.run(staged).await) });
    }
    all_arrived(shared, options.clients as u64).await?;
    let mut watcher = Watcher::new(options, shared, timeline);
    stage.send_replace(Stage::Publishing);
    watcher.until(|tallies| all(tallies, |tally| &tally.published), None).await?;
    stage.send_replace(Stage::Settling);
    let within = Instant::now() + Duration::from_secs(options.settle);
    let mut looks = 0;
    let settled = |tallies: &[Tally]| {
        looks = if all(tallies, |tally| &tally.settled) { looks + 1 } else { 0 };
        looks >= SETTLED_LOOKS
    };
    if !watcher.until(settled, Some(within)).await? {
        shared.faults.note(format!("not everything had settled after {} s", options.settle));
    }
    watcher.finish()?;
    stage.send_replace(Stage::Leaving);
    let mut recorded = Vec::new();
    while let Some(driver) = tasks.join_next().await {
        let (nth, outcome) = driver.map_err(|error| BenchError::Io(error.to_string()))?;
        recorded.push((nth, outcome?));
    }
    recorded.sort_by_key(|(nth, _)| *nth);
    Ok(recorded.into_iter().map(|(_, recorded)| recorded).collect())
}

fn all(tallies: &[Tally], flag: fn(&Tally) -> &std::sync::atomic::AtomicBool) -> bool {
    tallies.iter().all(|tally| flag(tally).load(Ordering::Acquire))
}

/// Waits until every client is told all its rooms.
async fn all_arrived(shared: &Shared, clients: u64) -> Result<(), BenchError> {
    let (mut arrived, mut moved) = (0, Instant::now());
    loop {
        let now = shared.tallies.iter().map(|tally| tally.arrived.load(Ordering::Relaxed)).sum();
        if now == clients {
            return Ok(());
        }
        if now != arrived {
            (arrived, moved) = (now, Instant::now());
        }
        if let Some(fault) = shared.faults.read().1.into_iter().next() {
            return Err(BenchError::Server(fault));
        }
        if moved.elapsed() > STALLED_AFTER {
            let why = format!("{arrived} of {clients} clients came, then nobody");
            return Err(BenchError::Server(why));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Samples the drivers ten times a second: for the timeline, and for whoever looks on.
struct Watcher<'r> {
    shared: &'r Shared,
    clients: usize,
    timeline: Option<Timeline>,
    shown: bool,
    interval: Interval,
    start: Instant,
    before: Sample,
    /// As of the last progress line, with the longest wait since.
    shown_before: (Instant, Sample),
    longest_us: u64,
    samples: u32,
}

impl<'r> Watcher<'r> {
    fn new(options: &VerifyOptions, shared: &'r Shared, timeline: Option<Timeline>) -> Self {
        let mut interval = tokio::time::interval(SAMPLE_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (start, before) = (Instant::now(), Sample::take(&shared.tallies));
        Watcher {
            shared,
            clients: options.clients,
            timeline,
            shown: !options.json && std::io::stderr().is_terminal(),
            interval,
            start,
            before,
            shown_before: (start, before),
            longest_us: 0,
            samples: 0,
        }
    }

    /// Samples until something is so. Answers whether it was before the deadline.
    async fn until(
        &mut self,
        mut is_so: impl FnMut(&[Tally]) -> bool,
        deadline: Option<Instant>,
    ) -> Result<bool, BenchError> {
        loop {
            self.interval.tick().await;
            self.sample()?;
            if is_so(&self.shared.tallies) {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    fn sample(&mut self) -> Result<(), BenchError> {
        let now = Sample::take(&self.shared.tallies);
        if let Some(timeline) = &mut self.timeline {
            timeline.write(&Line::between(&self.before, &now, wall_ms()))?;
        }
        self.longest_us = self.longest_us.max(now.publish_max_us).max(now.waiting_us);
        self.before = now;
        self.samples += 1;
        if self.shown && self.samples.is_multiple_of(LINE_EVERY) {
            self.show(now);
        }
        Ok(())
    }

    fn show(&mut self, now: Sample) {
        let (since, before) = self.shown_before;
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        let per_second = |count: u64| thousands((count as f64 / seconds).round() as u64);
        eprintln!(
            "{:>5} s  {:>8} acked/s  {:>9} delivered/s  worst wait {:>8.1} ms  {}/{} sockets",
            self.start.elapsed().as_secs(),
            per_second(now.acknowledged - before.acknowledged),
            per_second(now.deliveries - before.deliveries),
            self.longest_us as f64 / 1_000.0,
            thousands(now.live),
            thousands(self.clients as u64),
        );
        self.shown_before = (Instant::now(), now);
        self.longest_us = 0;
    }

    fn finish(self) -> Result<(), BenchError> {
        Ok(self.timeline.map_or(Ok(()), Timeline::finish)?)
    }
}

/// Everybody has gone: somebody new reads the logs, and all is compared.
async fn judge_and_report(
    options: &VerifyOptions,
    shared: &Arc<Shared>,
    recorded: Vec<Recorded>,
) -> Result<Report, BenchError> {
    let mut urls = options.urls.clone();
    urls.sort_unstable();
    urls.dedup();
    let judges = dialers(&VerifyOptions { urls, ..options.clone() })?;
    // Nobody else knows these rooms, and twice everything is more than any mistake makes.
    let entries_max = usize::try_from(2 * shared.messages).unwrap_or(usize::MAX);
    let rules = Rules { body: shared.body.clone(), entries_max };
    let judged = judge::read_logs(&judges, &shared.rooms, &rules).await;
    let service = Service::of(&recorded, &options.urls);
    let mut findings = Findings::default();
    for member in recorded.iter().flat_map(|recorded| &recorded.members) {
        findings.counts.refused += member.not_taken;
        // Who is moved hears the end of the old socket and the beginning of the new one.
        if member.counters.moves == 0 {
            findings.counts.twice += member.counters.duplicates_dropped;
        }
        // Each was noted as a fault.
        findings.counts.out_of_order += member.counters.violations;
    }
    let histories = histories(shared, recorded, judged);
    let checked =
        tokio::task::spawn_blocking(move || histories.iter().map(check::check).collect::<Vec<_>>());
    for found in checked.await.map_err(|error| BenchError::Io(error.to_string()))? {
        findings.add(found);
    }
    if findings.counts.acknowledged == 0 {
        shared.faults.note("nothing was acknowledged".to_owned());
    }
    let (faults_count, faults) = shared.faults.read();
    Ok(Report {
        clients: options.clients as u64,
        publishers: shared.publishers as u64,
        rooms: options.rooms as u64,
        rate: options.rate,
        seconds: options.seconds,
        clean: findings.counts.is_clean() && faults_count == 0,
        counts: findings.counts,
        service,
        faults,
        faults_count,
        first_violation: findings.first,
    })
}

/// The rooms' histories, of what all drivers recorded.
fn histories(
    shared: &Shared,
    recorded: Vec<Recorded>,
    judged: Vec<Result<Judged, String>>,
) -> Vec<RoomHistory> {
    let rooms = shared.rooms.iter().zip(judged).map(|(room, judged)| {
        let judged = judged.map_err(|why| {
            shared.faults.note(format!("{room} cannot be judged: {why}"));
        });
        let (log, resumed) = judged.map(|judged| (judged.log, judged.resumed)).ok().unzip();
        RoomHistory { room: room.to_string(), log, resumed, ..RoomHistory::default() }
    });
    let mut rooms: Vec<RoomHistory> = rooms.collect();
    for recorded in recorded {
        for (room, witness) in rooms.iter_mut().zip(recorded.witnesses) {
            room.witnesses.push(witness);
        }
        for in_room in recorded.members.into_iter().flat_map(|member| member.rooms) {
            let room = &mut rooms[in_room.room];
            room.sends.push(in_room.sends);
            room.readings.extend(in_room.reading);
        }
    }
    rooms
}
