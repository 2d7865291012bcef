//! Trouble as it is made, and as it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use cluster::Registry;

use super::{EDGE_MACHINES, PEOPLE, ROOM_MACHINES, SLOTS, World};
use crate::disk::DISK;
use crate::etcd::ETCD;
use crate::net::machine;
use crate::nodes::Site;
use crate::trace::note;
use crate::trouble::{Kind, lasts_us};

/// Milliseconds that an edge has to move its sessions away.
const EDGE_DRAIN_MS: u64 = 3_000;

/// What ends by itself.
pub(super) enum Later {
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

impl World {
    fn after(&mut self, after_us: u64, later: Later) {
        self.later.push((self.time.now_us() + after_us, later));
    }

    /// What ends by itself ends.
    pub(super) fn due(&mut self) {
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

    /// Makes trouble.
    pub(super) fn make(&mut self, kind: Kind) {
        let lasts_us = lasts_us(&mut self.seed);
        note!(self.trace, "world", "{kind:?} for {} ms", lasts_us / 1_000);
        match kind {
            Kind::Cut | Kind::Partition | Kind::OneWay | Kind::Isolate | Kind::CutClient => {
                self.on_the_way(kind, lasts_us);
            }
            Kind::Kill | Kind::KillSilently | Kind::Stop | Kind::Roll => {
                self.in_a_room_server(kind, lasts_us);
            }
            Kind::Move => self.order_move(),
            Kind::EtcdRestored => self.site.etcd.restore(),
            Kind::KillEdge | Kind::StopEdge | Kind::RollEdge => self.in_an_edge(kind, lasts_us),
            _ => {
                let ends = self.in_a_service(kind);
                self.after(lasts_us, ends);
            }
        }
    }

    fn on_the_way(&mut self, kind: Kind, lasts_us: u64) {
        let (a, b) = self.two();
        match kind {
            Kind::Partition => self.block(&[(a, b), (b, a)], lasts_us),
            Kind::OneWay => self.block(&[(a, b)], lasts_us),
            Kind::Isolate => {
                let alone = self.pick(&ROOM_MACHINES);
                self.isolate(alone, lasts_us);
            }
            Kind::CutClient => {
                let (name, edge) = (self.pick(&PEOPLE), self.pick(&EDGE_MACHINES));
                self.site.net.cut(name, edge);
            }
            _ => _ = self.site.net.cut(a, b),
        }
    }

    fn in_a_room_server(&mut self, kind: Kind, lasts_us: u64) {
        let machine = self.pick(&ROOM_MACHINES);
        let until_us = self.time.now_us() + lasts_us;
        match kind {
            Kind::Stop => {
                if let Some(room) = self.rooms.get_mut(machine) {
                    room.host.stop(until_us);
                    self.site.etcd.set_up(&room.id, false);
                    self.people.orders.overtake(machine);
                }
            }
            Kind::Roll => {
                if self.rooms.contains_key(machine) {
                    let order = self.people.order_drain(machine);
                    self.after(50_000, Later::EndRolled(machine, order));
                }
            }
            _ => {
                if kind == Kind::KillSilently {
                    self.isolate(machine, lasts_us);
                }
                self.kill_room(machine);
                self.after(lasts_us, Later::StartRoom(machine));
            }
        }
    }

    fn in_an_edge(&mut self, kind: Kind, lasts_us: u64) {
        let machine = self.pick(&EDGE_MACHINES);
        let until_us = self.time.now_us() + lasts_us;
        match kind {
            Kind::RollEdge => self.roll_edge(machine),
            Kind::StopEdge => {
                if let Some(edge) = self.edges.get_mut(machine) {
                    edge.host.stop(until_us);
                    self.site.etcd.set_up(&edge.id, false);
                }
            }
            _ => {
                self.kill_edge(machine);
                self.after(lasts_us, Later::StartEdge(machine));
            }
        }
    }

    /// Answers how it ends.
    fn in_a_service(&mut self, kind: Kind) -> Later {
        let Site { etcd, disk, .. } = self.site.clone();
        match kind {
            Kind::EtcdDown => {
                etcd.set_down(true);
                Later::EtcdUp
            }
            Kind::EtcdLossy => {
                etcd.set_lost(3);
                Later::EtcdFaithful
            }
            Kind::EtcdLags => {
                etcd.set_lag_us(1_500_000);
                Later::EtcdFast
            }
            Kind::DiskFails => {
                disk.set_fails(self.pick(&[2, 5, 20]));
                Later::DiskFaithful
            }
            Kind::DiskFull => {
                disk.set_full(true);
                Later::DiskEmpty
            }
            _ => {
                disk.set_delay_us(self.pick(&[50_000, 400_000, 2_500_000]));
                Later::DiskFast
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

    fn roll_edge(&mut self, name: &'static str) {
        let Some(edge) = self.edges.get(name) else { return };
        if edge.host.is_stopped() {
            return;
        }
        let (door, seat) = (Arc::clone(&edge.edge), Arc::clone(&edge.registry));
        edge.host.run(async {
            tokio::spawn(async move {
                if let Some(me) = seat.view().nodes.get(&seat.me).cloned() {
                    // Whoever does not hear it offers the edge for a while.
                    let _ = seat.announce(cluster::Node { draining: true, ..me }).await;
                }
                let end = model::End::new(model::EndCode::Restarting);
                let within = Duration::from_millis(EDGE_DRAIN_MS);
                door.drain(end, 500, within).await;
            });
        });
        let ends_us = (EDGE_DRAIN_MS + 200) * 1_000;
        self.after(ends_us, Later::EndEdge(name));
        self.after(ends_us + 100_000, Later::StartEdge(name));
    }
}
