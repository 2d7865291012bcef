//! The world: who there is, how time goes on, and what is asked of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Limits, RoomName, Seed};

use crate::disk::{DISK, Disk};
use crate::etcd::{ETCD, Etcd};
use crate::host::Host;
use crate::net::{Net, Weather, machine};
use crate::nodes::{EdgeHost, RoomHost, Site};
use crate::people::People;
use crate::person::{Plan, Shared};
use crate::time::Time;
use crate::trace::{Trace, note};
use crate::trouble::{Kind, Trouble, lasts_us};
use crate::verdict::{self, Coverage};

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
/// Microseconds that an edge has to move its sessions away.
const EDGE_DRAIN_MS: u64 = 3_000;

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

/// What ends by itself.
enum Later {
    Unblock(Vec<(String, String)>),
    StartRoom(&'static str),
    StartEdge(&'static str),
    EndEdge(&'static str),
    /// Ends the process once its drain has an answer.
    EndRolled(&'static str, usize),
    EtcdUp,
    EtcdFaithful,
    EtcdFast,
    DiskFast,
    DiskFaithful,
    DiskEmpty,
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
}

/// Runs a seed; with `shown`, everything that happens is printed.
#[must_use]
pub fn run(seed: u64, shown: bool) -> Outcome {
    let mut world = World::new(seed, shown);
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

    fn after(&mut self, after_us: u64, later: Later) {
        self.later.push((self.time.now_us() + after_us, later));
    }

    fn due(&mut self) {
        let now_us = self.time.now_us();
        let mut due = Vec::new();
        let mut at = 0;
        while at < self.later.len() {
            match self.later[at].0 <= now_us {
                true => due.push(self.later.remove(at).1),
                false => at += 1,
            }
        }
        due.into_iter().for_each(|later| self.do_later(later));
    }

    fn do_later(&mut self, later: Later) {
        match later {
            Later::Unblock(ways) => {
                ways.iter().for_each(|(from, to)| self.site.net.set_blocked(from, to, false));
            }
            Later::StartRoom(machine) => self.start_room(machine),
            Later::StartEdge(machine) => self.start_edge(machine),
            Later::EndEdge(machine) => self.kill_edge(machine),
            Later::EndRolled(machine, order) => match self.people.orders.outcome(order) {
                // Whoever could not give everything away ends all the same.
                Some(_) => {
                    self.kill_room(machine);
                    self.after(200_000, Later::StartRoom(machine));
                }
                None => self.after(50_000, Later::EndRolled(machine, order)),
            },
            Later::EtcdUp => self.site.etcd.set_down(false),
            Later::EtcdFaithful => self.site.etcd.set_lost(0),
            Later::EtcdFast => self.site.etcd.set_lag_us(20_000),
            Later::DiskFast => self.site.disk.set_delay_us(2_000),
            Later::DiskFaithful => self.site.disk.set_fails(0),
            Later::DiskEmpty => self.site.disk.set_full(false),
        }
    }

    fn make(&mut self, kind: Kind) {
        let lasts_us = lasts_us(&mut self.seed);
        note!(self.trace, "world", "{kind:?} for {} ms", lasts_us / 1_000);
        match kind {
            Kind::Cut => {
                let (a, b) = self.two();
                self.site.net.cut(a, b);
            }
            Kind::Partition => {
                let (a, b) = self.two();
                self.block(&[(a, b), (b, a)], lasts_us);
            }
            Kind::OneWay => {
                let (a, b) = self.two();
                self.block(&[(a, b)], lasts_us);
            }
            Kind::Isolate => {
                let alone = self.pick(&ROOM_MACHINES);
                self.isolate(alone, lasts_us);
            }
            Kind::Kill | Kind::KillSilently => {
                let machine = self.pick(&ROOM_MACHINES);
                if kind == Kind::KillSilently {
                    self.isolate(machine, lasts_us);
                }
                self.kill_room(machine);
                self.after(lasts_us, Later::StartRoom(machine));
            }
            Kind::Stop => {
                let machine = self.pick(&ROOM_MACHINES);
                let until_us = self.time.now_us() + lasts_us;
                if let Some(room) = self.rooms.get_mut(machine) {
                    room.host.stop(until_us);
                    self.site.etcd.set_up(&room.id, false);
                    self.people.orders.overtake(machine);
                }
            }
            Kind::Roll => {
                let machine = self.pick(&ROOM_MACHINES);
                if self.rooms.contains_key(machine) {
                    let order = self.people.order_drain(machine);
                    self.after(50_000, Later::EndRolled(machine, order));
                }
            }
            Kind::Move => self.order_move(),
            Kind::EtcdDown => {
                self.site.etcd.set_down(true);
                self.after(lasts_us, Later::EtcdUp);
            }
            Kind::EtcdLossy => {
                self.site.etcd.set_lost(3);
                self.after(lasts_us, Later::EtcdFaithful);
            }
            Kind::EtcdLags => {
                self.site.etcd.set_lag_us(1_500_000);
                self.after(lasts_us, Later::EtcdFast);
            }
            Kind::DiskSlow => {
                let delay_us = self.pick(&[50_000, 400_000, 2_500_000]);
                self.site.disk.set_delay_us(delay_us);
                self.after(lasts_us, Later::DiskFast);
            }
            Kind::DiskFails => {
                let one_in = self.pick(&[2, 5, 20]);
                self.site.disk.set_fails(one_in);
                self.after(lasts_us, Later::DiskFaithful);
            }
            Kind::DiskFull => {
                self.site.disk.set_full(true);
                self.after(lasts_us, Later::DiskEmpty);
            }
            Kind::KillEdge => {
                let machine = self.pick(&EDGE_MACHINES);
                self.kill_edge(machine);
                self.after(lasts_us, Later::StartEdge(machine));
            }
            Kind::StopEdge => {
                let machine = self.pick(&EDGE_MACHINES);
                let until_us = self.time.now_us() + lasts_us;
                if let Some(edge) = self.edges.get_mut(machine) {
                    edge.host.stop(until_us);
                    self.site.etcd.set_up(&edge.id, false);
                }
            }
            Kind::RollEdge => self.roll_edge(),
            Kind::CutClient => {
                let (name, edge) = (self.pick(&PEOPLE), self.pick(&EDGE_MACHINES));
                self.site.net.cut(name, edge);
            }
        }
    }

    /// Two machines that speak to each other.
    fn two(&mut self) -> (&'static str, &'static str) {
        let room = self.pick(&ROOM_MACHINES);
        let edge = self.pick(&EDGE_MACHINES);
        let other = self.pick(&ROOM_MACHINES);
        let ways = [
            (room, edge),
            (edge, room),
            (room, other),
            (room, ETCD),
            (ETCD, room),
            (room, DISK),
            (DISK, room),
            (edge, ETCD),
            (self.pick(&PEOPLE), edge),
            (edge, self.pick(&PEOPLE)),
        ];
        self.pick(&ways)
    }

    fn block(&mut self, ways: &[(&str, &str)], lasts_us: u64) {
        let ways: Vec<_> = ways.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        for (from, to) in &ways {
            note!(self.trace, "world", "nothing gets from {from} to {to}");
            self.site.net.set_blocked(from, to, true);
        }
        self.after(lasts_us, Later::Unblock(ways));
    }

    fn isolate(&mut self, alone: &'static str, lasts_us: u64) {
        let others = ROOM_MACHINES.iter().chain(&EDGE_MACHINES).chain(&[ETCD, DISK]);
        let others: Vec<&str> = others.copied().filter(|other| *other != alone).collect();
        let ways: Vec<(&str, &str)> =
            others.iter().flat_map(|other| [(alone, *other), (*other, alone)]).collect();
        self.block(&ways, lasts_us);
    }

    fn kill_room(&mut self, machine: &'static str) {
        if let Some(room) = self.rooms.remove(machine) {
            note!(self.trace, &room.host.name, "dies");
            self.site.etcd.gone(&room.id);
            self.people.orders.overtake(machine);
            self.count(&room);
            drop(room.host);
        }
    }

    fn kill_edge(&mut self, machine: &'static str) {
        if let Some(edge) = self.edges.remove(machine) {
            note!(self.trace, &edge.host.name, "dies");
            self.site.etcd.gone(&edge.id);
            drop(edge.host);
        }
    }

    fn order_move(&mut self) {
        let view = self.site.etcd.truth();
        let slot = self.seed.below(u64::from(SLOTS)) as u32;
        let to = self.pick(&ROOM_MACHINES);
        let (Some(record), Some(to)) = (view.slot(slot), self.rooms.get(to)) else {
            return;
        };
        let from = machine(record.owner.as_str()).to_owned();
        let to = to.host.name.clone();
        note!(self.trace, "world", "slot {slot} from {from} to {to}");
        self.people.order_move(&from, slot, &to, machine(&to));
    }

    fn roll_edge(&mut self) {
        let name = self.pick(&EDGE_MACHINES);
        let Some(edge) = self.edges.get(name) else { return };
        if edge.host.is_stopped() {
            return;
        }
        let (door, seat) = (Arc::clone(&edge.edge), Arc::clone(&edge.registry));
        edge.host.run(async {
            tokio::spawn(async move {
                let me = cluster::Registry::view(&*seat).nodes.get(&seat.me).cloned();
                if let Some(me) = me {
                    let leaving = cluster::Node { draining: true, ..me };
                    let _ = cluster::Registry::announce(&*seat, leaving).await;
                }
                let end = model::End::new(model::EndCode::Restarting);
                let within = std::time::Duration::from_millis(EDGE_DRAIN_MS);
                door.drain(end, 500, within).await;
            });
        });
        let ends_us = (EDGE_DRAIN_MS + 200) * 1_000;
        self.after(ends_us, Later::EndEdge(name));
        self.after(ends_us + 100_000, Later::StartEdge(name));
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
        let deadline_us = self.time.now_us() + SETTLE_US;
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

    /// Takes what a room server has counted.
    fn count(&mut self, room: &RoomHost) {
        let counts = room.server.counts();
        for (name, count) in [
            ("handoffs", counts.taken),
            ("handoffs failed", counts.given_failed),
            ("rooms opened from hints", counts.rooms_hinted),
            ("slots found claimed", counts.fenced),
        ] {
            *self.counted.entry(name).or_default() += count;
        }
    }

    fn coverage(&mut self) -> Coverage {
        for room in std::mem::take(&mut self.rooms).into_values() {
            self.count(&room);
        }
        let mut coverage = std::mem::take(&mut self.counted);
        let disk = self.site.disk.counts();
        let handoffs = coverage.get("handoffs").copied().unwrap_or(0);
        coverage.extend([
            ("takeovers", self.site.etcd.owners_changed().saturating_sub(handoffs)),
            ("handoffs overtaken", self.people.orders.overtaken()),
            ("appends", disk.appends),
            ("fenced appends", disk.fenced),
            ("appends unknown and applied", disk.unknown_applied),
            ("appends unknown and lost", disk.unknown_lost),
            ("appends late", disk.unknown_late),
            ("claims", disk.claims),
            ("claims refused", disk.claims_refused),
        ]);
        for person in &self.people.all {
            let counts = person.lock().record.counts;
            for (name, count) in [
                ("connections", counts.connected),
                ("moves of sessions", counts.moved),
                ("resumes", counts.resumed),
                ("resumes across owners", counts.resumed_elsewhere),
                ("snapshots", counts.snapshots),
                ("answered duplicate", counts.duplicates),
                ("given up", counts.given_up),
            ] {
                *coverage.entry(name).or_default() += count;
            }
        }
        coverage
    }
}
