//! Who is in a room, as this shard knows it: owners say what is, sessions are told what changed.

use std::sync::Arc;

use model::{PresenceChange, PresenceFrame, RoomName, Roster, Says, ServerFrame, User};

use super::ephemeral::Shared;

/// A room's roster with the count of its changes.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    version: u64,
    roster: Option<Roster>,
    /// The `full` push of this version, made when the first skipper asks.
    full: Option<Arc<Shared>>,
}

impl Presence {
    /// Version and roster; `None` while an owner collects.
    pub(crate) fn current(&self) -> Option<(u64, &Roster)> {
        self.roster.as_ref().map(|roster| (self.version, roster))
    }

    /// Takes the owner's word; what is pushed is the difference to what was known, if any.
    pub(crate) fn apply(
        &mut self,
        room: &RoomName,
        change: &PresenceChange,
        list_max: usize,
    ) -> Option<Arc<Shared>> {
        let pushed = match (self.roster.as_mut(), change) {
            (_, PresenceChange::Full(roster)) => self.replace(roster.clone(), list_max)?,
            // A delta without a base says nothing that could be shown; a full one will follow.
            (None, PresenceChange::Delta { .. }) => return None,
            (Some(held), PresenceChange::Delta { count, arrived, departed }) => {
                let was_listed = is_listed(held);
                apply_delta(held, *count, arrived, departed, list_max);
                match was_listed && is_listed(held) {
                    true => change.clone(),
                    false => PresenceChange::Full(held.clone()),
                }
            }
        };
        self.version += 1;
        self.full = None;
        let frame = PresenceFrame { room: room.clone(), version: self.version, change: pushed };
        Some(Arc::new(Shared::new(ServerFrame { r#ref: 0, says: Says::Presence(frame) })))
    }

    /// Everybody, for somebody who missed changes.
    pub(crate) fn full(&mut self, room: &RoomName) -> Option<Arc<Shared>> {
        let roster = self.roster.as_ref()?;
        let full = self.full.get_or_insert_with(|| {
            let change = PresenceChange::Full(roster.clone());
            let frame = PresenceFrame { room: room.clone(), version: self.version, change };
            Arc::new(Shared::new(ServerFrame { r#ref: 0, says: Says::Presence(frame) }))
        });
        Some(Arc::clone(full))
    }

    /// Puts another roster in place; `None` when nobody would see a difference.
    fn replace(&mut self, mut roster: Roster, list_max: usize) -> Option<PresenceChange> {
        if roster.users.len() > list_max {
            roster.users.clear();
        }
        roster.users.sort_by(|a, b| a.id.cmp(&b.id));
        let change = match &self.roster {
            Some(held) if *held == roster => return None,
            Some(held) if is_listed(held) && is_listed(&roster) => difference(held, &roster),
            _ => PresenceChange::Full(roster.clone()),
        };
        self.roster = Some(roster);
        Some(change)
    }
}

fn is_listed(roster: &Roster) -> bool {
    roster.users.len() as u64 == roster.count
}

fn apply_delta(
    held: &mut Roster,
    count: u64,
    arrived: &[User],
    departed: &[model::UserId],
    list_max: usize,
) {
    if is_listed(held) {
        held.users.retain(|user| !departed.contains(&user.id));
        for user in arrived {
            match held.users.binary_search_by(|u| u.id.cmp(&user.id)) {
                Ok(at) => held.users[at] = user.clone(),
                Err(at) => held.users.insert(at, user.clone()),
            }
        }
    }
    held.count = count;
    if held.users.len() > list_max || held.users.len() as u64 != count {
        held.users = Vec::new();
    }
}

fn difference(old: &Roster, new: &Roster) -> PresenceChange {
    let find =
        |roster: &Roster, user: &User| roster.users.binary_search_by(|u| u.id.cmp(&user.id)).ok();
    let arrived =
        new.users.iter().filter(|user| find(old, user).is_none_or(|at| old.users[at] != **user));
    let departed = old.users.iter().filter(|user| find(new, user).is_none());
    PresenceChange::Delta {
        count: new.count,
        arrived: arrived.cloned().collect(),
        departed: departed.map(|user| user.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::UserId;

    fn user(id: &str) -> User {
        User { id: UserId::new(id).unwrap(), name: id.to_uppercase(), data: bytes::Bytes::new() }
    }

    fn roster(ids: &[&str]) -> Roster {
        Roster { count: ids.len() as u64, users: ids.iter().map(|id| user(id)).collect() }
    }

    fn pushed(frame: &Shared) -> &PresenceFrame {
        match frame.says() {
            Says::Presence(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_owners_roster_after_a_takeover_becomes_the_difference() {
        let room = RoomName::new("r").unwrap();
        let mut presence = Presence::default();
        let first = presence.apply(&room, &PresenceChange::Full(roster(&["ann", "bob"])), 100);
        assert!(matches!(pushed(&first.unwrap()).change, PresenceChange::Full(_)));
        assert!(
            presence.apply(&room, &PresenceChange::Full(roster(&["bob", "ann"])), 100).is_none()
        );
        let next =
            presence.apply(&room, &PresenceChange::Full(roster(&["bob", "cid"])), 100).unwrap();
        let want = PresenceChange::Delta {
            count: 2,
            arrived: vec![user("cid")],
            departed: vec![UserId::new("ann").unwrap()],
        };
        assert_eq!(pushed(&next), &PresenceFrame { room, version: 2, change: want });
    }

    #[test]
    fn beyond_the_list_only_the_count_is_told() {
        let room = RoomName::new("r").unwrap();
        let mut presence = Presence::default();
        presence.apply(&room, &PresenceChange::Full(roster(&["ann", "bob"])), 2);
        let delta =
            PresenceChange::Delta { count: 3, arrived: vec![user("cid")], departed: vec![] };
        let frame = presence.apply(&room, &delta, 2).unwrap();
        let counted = PresenceChange::Full(Roster { count: 3, users: vec![] });
        assert_eq!(pushed(&frame).change, counted);
        assert_eq!(pushed(&presence.full(&room).unwrap()).version, 2);
    }
}
