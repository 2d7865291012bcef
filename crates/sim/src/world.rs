//! The world: who there is, how time goes on, and what is asked of a run.

mod acts;
mod counts;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Limits, RoomName, Seed};

use crate::disk::Disk;
use crate::etcd::Etcd;
use crate::host::Host;
use crate::net::{Net, Weather};
use crate::nodes::{EdgeHost, RoomHost, Site};
use crate::people::People;
use crate::person::{Plan, Shared};
use crate::time::Time;
use crate::trace::{Trace, note};
use crate::trouble::Trouble;
use crate::verdict::{self, Coverage};
use acts::Later;

/// Slots: few, so that rooms share them.
const SLOTS: u32 = 6;
const ROOM_MACHINES: [&str; 3] = ["r1", "r2", "r3"];
const EDGE_MACHINES: [&str; 2] = ["e1", "e2"];
const PEOPLE: [&str; 6] = ["ann", "bob", "cy", "dee", "eve", "flo"];
/// Microseconds until trouble begins, and until it is over.
const CALM_US: u64 = 1_000_000;
const TROUBLE_US: u64 = 14_000_000;
/// Microseconds of publishing after it is over.
const AFTER_US: u64 = 500_000;
/// Microseconds until everybody must have everything; a publish waits ten seconds at most, and the
/// client's longest pause is of the same size.
const SETTLE_US: u64 = 60_000_000;
/// How often that is looked at.
const LOOK_EVERY_US: u64 = 100_000;
/// One append of so many is lied about by a journal that lies.
const LIES_ONE_IN: u64 = 50;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of everything that happened, in order.
    pub hash: u64,
    /// Promises that were broken, each as a text for a person.
    pub faults: Vec<String>,
    /// What it has been through.
    pub coverage: Coverage,
    /// Microseconds that went by in the simulation.
    pub simulated_us: u64,
}

struct World {
    seed: Seed,
    time: Time,
    trace: Trace,
    site: Site,
    rooms: BTreeMap<&'static str, RoomHost>,
    edges: BTreeMap<&'static str, EdgeHost>,
    people: People,
    /// Processes so far.
    processes: u64,
    later: Vec<(u64, Later)>,
    /// Counted by room servers that are gone.
    counted: Coverage,
    names: Vec<RoomName>,
    settle_us: u64,
}

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Whether everything that happens is printed.
    pub shown: bool,
    /// Whether the journal lies: then the verdict must be bad.
    pub lies: bool,
}

/// Runs a seed.
#[must_use]
pub fn run(options: Options) -> Outcome {
    let mut world = World::new(options.seed, options.shown);
    if options.lies {
        world.site.disk.set_lies(LIES_ONE_IN);
        // What is lost for good is not waited for.
        world.settle_us = AFTER_US;
    }
    let mut faults = world.live();
    faults.extend(world.judge());
    Outcome {
        hash: world.trace.hash(),
        faults,
        coverage: world.coverage(),
        simulated_us: world.time.now_us(),
    }
}

fn limits(seed: &mut Seed) -> Limits {
    let mut pick = |of: &[u64]| of[seed.below(of.len() as u64) as usize];
    Limits {
        heartbeat_ms: 2_000,
        idle_ms: 6_000,
        hello_within_ms: 5_000,
        publishes_per_second: 200,
        room_idle_ms: pick(&[1_000, 30_000]),
        dedup_window: pick(&[16, 4_096]),
        log_entries_max: pick(&[16, 1_024]) as usize,
        replay_max: pick(&[20, 1_000, 1_000]),
        batch_entries_max: pick(&[2, 256]) as usize,
        ..Limits::default()
    }
}

impl World {
    fn new(number: u64, shown: bool) -> World {
        // Neighbours must not draw alike.
        let mut seed = Seed::new(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5157);
        (0..8).for_each(|_| _ = seed.next_u64());
        let mut fork = || Seed::new(seed.next_u64());
        let time = Time::default();
        let trace = Trace::new(time.clone(), shown);
        let mut draws = fork();
        let delay_us = [1_000, 5_000, 20_000, 50_000][draws.below(4) as usize];
        let late_one_in = [20, 200, 2_000][draws.below(3) as usize];
        let weather = Weather { delay_us, late_one_in, late_us: 60_000 };
        let limits = limits(&mut draws);
        assert_eq!(limits.check(), Vec::<String>::new());
        let net = Net::new(time.clone(), fork(), weather);
        let etcd = Etcd::new(SLOTS, net.clone(), time.clone(), trace.clone(), fork());
        let disk = Disk::new(SLOTS, net.clone(), time.clone(), trace.clone(), fork());
        let site =
            Site { net, etcd, disk, time: time.clone(), limits: Arc::new(limits), slots: SLOTS };
        let people = People::new(&site, &trace);
        let name = |nth: u64| RoomName::new(&format!("room:{nth}")).expect("valid");
        let names = (0..4 + draws.below(5)).map(name).collect();
        note!(trace, "world", "seed {number}, {weather:?}, {:?}", site.limits);
        let mut world = World {
            seed: draws,
            time,
            trace,
            site,
            rooms: BTreeMap::new(),
            edges: BTreeMap::new(),
            people,
            processes: 0,
            later: Vec::new(),
            counted: Coverage::new(),
            names,
            settle_us: SETTLE_US,
        };
        ROOM_MACHINES.iter().for_each(|machine| world.start_room(machine));
        EDGE_MACHINES.iter().for_each(|machine| world.start_edge(machine));
        PEOPLE.iter().for_each(|name| world.invite(name));
        world
    }

    fn fork(&mut self) -> Seed {
        Seed::new(self.seed.next_u64())
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.seed.below(of.len() as u64) as usize]
    }

    fn process(&mut self, machine: &str) -> String {
        self.processes += 1;
        format!("{machine}-{}", self.processes)
    }

    fn start_room(&mut self, machine: &'static str) {
        if !self.rooms.contains_key(machine) {
            let (name, seed) = (self.process(machine), self.fork());
            note!(self.trace, &name, "starts");
            self.rooms.insert(machine, self.site.room_server(&name, seed));
        }
    }

    fn start_edge(&mut self, machine: &'static str) {
        if !self.edges.contains_key(machine) {
            let (name, seed) = (self.process(machine), self.fork());
            note!(self.trace, &name, "starts");
            self.edges.insert(machine, self.site.edge(&name, seed));
        }
    }

    /// Somebody who reads some rooms and writes to some.
    fn invite(&mut self, name: &str) {
        let mut some = || {
            let one_in = 1 + self.seed.below(3);
            let names = self.names.iter();
            names.filter(|_| self.seed.below(one_in) == 0).cloned().collect::<Vec<_>>()
        };
        let (reads, writes) = (some(), some());
        let every_us = self.pick(&[30_000, 150_000, 600_000]);
        let edges = EDGE_MACHINES.map(str::to_owned).to_vec();
        let plan = Plan { name: name.to_owned(), edges, reads, writes, every_us };
        let seed = self.fork();
        self.people.come(plan, seed);
    }

    /// Everything between the first moment and the last message that somebody is told.
    fn live(&mut self) -> Vec<String> {
        self.until(CALM_US);
        let trouble = Trouble::draw(&mut self.seed);
        note!(self.trace, "world", "{trouble:?}");
        loop {
            let (after_us, kind) = trouble.next(&mut self.seed);
            let at_us = self.time.now_us() + after_us;
            if at_us > TROUBLE_US {
                break;
            }
            self.until(at_us);
            self.make(kind);
        }
        self.until(TROUBLE_US);
        self.heal();
        self.until(TROUBLE_US + AFTER_US);
        self.people.all.iter().for_each(|person| person.lock().is_publishing = false);
        let settled = self.settle();
        if settled.is_empty() {
            self.invite_judge();
            return self.settle();
        }
        settled
    }

    /// Time goes on until then.
    fn until(&mut self, until_us: u64) {
        while self.time.now_us() < until_us {
            self.tick();
        }
    }

    /// A millisecond for everybody, in an order of the seed.
    fn tick(&mut self) {
        self.time.tick();
        self.site.net.step();
        self.site.etcd.step();
        self.site.disk.step();
        self.due();
        let mut hosts: Vec<&mut Host> = Vec::new();
        hosts.extend(self.rooms.values_mut().map(|room| &mut room.host));
        hosts.extend(self.edges.values_mut().map(|edge| &mut edge.host));
        hosts.push(&mut self.people.host);
        while !hosts.is_empty() {
            let at = self.seed.below(hosts.len() as u64) as usize;
            let host = hosts.swap_remove(at);
            if host.tick() {
                note!(self.trace, &host.name, "runs again");
                if let Ok(id) = model::NodeId::new(&host.name) {
                    self.site.etcd.set_up(&id, true);
                }
            }
        }
    }

    /// Nothing is wrong any more.
    fn heal(&mut self) {
        note!(self.trace, "world", "everything heals");
        self.site.net.heal();
        self.site.etcd.heal();
        self.site.disk.heal();
        let now_us = self.time.now_us();
        let rooms = self.rooms.values_mut().map(|room| &mut room.host);
        let edges = self.edges.values_mut().map(|edge| &mut edge.host);
        for host in rooms.chain(edges).filter(|host| host.is_stopped()) {
            host.stop(now_us);
        }
        // What was to end by itself has ended, but for processes that are on their way out.
        self.later.retain(|(_, later)| {
            matches!(later, Later::EndEdge(_) | Later::EndRolled(..) | Later::StartEdge(_))
        });
        ROOM_MACHINES.iter().for_each(|machine| self.start_room(machine));
        EDGE_MACHINES.iter().for_each(|machine| self.start_edge(machine));
    }

    /// Everybody has everything, within the time that there is; who has not.
    fn settle(&mut self) -> Vec<String> {
        let deadline_us = self.time.now_us() + self.settle_us;
        loop {
            let owed = self.owed();
            if owed.is_empty() {
                return owed;
            }
            if self.time.now_us() >= deadline_us {
                return owed;
            }
            self.until(self.time.now_us() + LOOK_EVERY_US);
        }
    }

    fn owed(&self) -> Vec<String> {
        let owed = |person: &Shared| {
            let state = person.lock();
            let owed = state.record.owed(|room| self.site.disk.head(room));
            owed.map(|owed| format!("{} has not settled: {owed}", state.record.name))
        };
        self.people.all.iter().filter_map(owed).collect()
    }

    /// Somebody comes who reads everything from the beginning.
    fn invite_judge(&mut self) {
        let plan = Plan {
            name: "judge".to_owned(),
            edges: EDGE_MACHINES.map(str::to_owned).to_vec(),
            reads: self.names.clone(),
            writes: Vec::new(),
            every_us: 1,
        };
        let seed = self.fork();
        self.people.come(plan, seed);
    }

    fn judge(&mut self) -> Vec<String> {
        let people = self.people.all.clone();
        let mut states: Vec<_> = people.iter().map(Shared::lock).collect();
        let mut records: Vec<_> = states.iter_mut().map(|state| &mut state.record).collect();
        verdict::judge(&self.site.disk, &self.names, SLOTS, &mut records)
    }
}
