//! What a run has been through.

use super::World;
use crate::nodes::RoomHost;
use crate::verdict::Coverage;

impl World {
    /// Takes what a room server has counted.
    pub(super) fn count(&mut self, room: &RoomHost) {
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

    pub(super) fn coverage(&mut self) -> Coverage {
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
