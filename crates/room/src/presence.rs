//! Who is here now: attachments, the grace, and what watchers were told.
//!
//! Apart from the log because it is never stored: it is rebuilt from attachments, and a change of
//! owner must not show.
//!
//! # Invariants
//! - A person is present while any of its attachments is held or in its grace.
//! - An attachment is changed only by who names its generation and its peer. One that a former owner
//!   handed over has no peer yet: whoever names its generation first is its peer.
//! - What `told` holds is what every watcher holds; a delta is always against it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Generation, Limits, Now, PresenceChange, Roster, SessionId, User, UserId};

use crate::{AttachmentHint, Peer};

/// Who is here, by attachments.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    sessions: BTreeMap<SessionId, Attachment>,
    /// Each person's attachments by age: the youngest says how the person looks.
    persons: BTreeMap<UserId, BTreeSet<(u64, SessionId)>>,
    /// Attachments in their grace, by its end.
    graces: BTreeSet<(u64, SessionId)>,
    attached: u64,
    told: Told,
    dirty: bool,
    collecting: Option<Now>,
}

#[derive(Debug)]
struct Attachment {
    user: User,
    generation: Generation,
    /// `None` until its edge has told it to this owner.
    peer: Option<Peer>,
    order: u64,
    /// The end of its grace, when its connection is lost or was not told yet.
    until: Option<Now>,
}

/// What watchers hold.
#[derive(Debug, Default)]
struct Told {
    at: Option<Now>,
    count: u64,
    /// Everybody; `None` when there are more than are listed.
    users: Option<BTreeMap<UserId, User>>,
}

impl Presence {
    /// Nobody yet; `collecting` until everybody had the time to attach again.
    pub(crate) fn new(collecting: Option<Now>) -> Presence {
        let told = Told { users: Some(BTreeMap::new()), ..Told::default() };
        Presence { collecting, told, ..Presence::default() }
    }

    /// What the next owner is told: the attachments by age, and for how long more are collected.
    pub(crate) fn export(&self, now: Now) -> (Vec<AttachmentHint>, u64) {
        let left_ms = |until: Now| until.mono_us.saturating_sub(now.mono_us).div_ceil(1_000);
        let mut by_age: Vec<_> = self.sessions.iter().collect();
        by_age.sort_unstable_by_key(|(_, held)| held.order);
        let hint = |(session, held): (&SessionId, &Attachment)| AttachmentHint {
            session: session.clone(),
            generation: held.generation,
            user: held.user.clone(),
            // Whoever is not told again to this owner has no more time with the next one.
            grace_ms: held.until.map(left_ms),
        };
        let collecting_ms = self.collecting.map_or(0, left_ms);
        (by_age.into_iter().map(hint).collect(), collecting_ms)
    }

    /// Takes over from a former owner: everybody is here, and has the grace to be told again.
    pub(crate) fn adopt(
        &mut self,
        now: Now,
        limits: &Limits,
        attachments: Vec<AttachmentHint>,
        collecting_ms: u64,
    ) {
        let grace_ms = limits.presence_grace_ms;
        for AttachmentHint { session, generation, user, grace_ms: left_ms } in attachments {
            let until = now.plus_ms(left_ms.unwrap_or(grace_ms).min(grace_ms));
            self.place(session.clone(), generation, None, &user);
            self.lose(&session, until);
        }
        let collecting_ms = collecting_ms.min(grace_ms);
        self.collecting = (collecting_ms > 0).then(|| now.plus_ms(collecting_ms));
        if self.collecting.is_none() {
            // Whoever watches is told so from the start.
            self.dirty = false;
            self.change(true, limits.presence_list_max);
        }
    }

    /// A connection of a session reads the room. An older connection than the one that is known
    /// changes nothing; one that is told again keeps its age.
    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        generation: Generation,
        peer: Peer,
        user: &User,
    ) {
        match self.sessions.get_mut(&session) {
            Some(held) if held.generation > generation => {}
            Some(held) if held.generation == generation && held.user == *user => {
                held.peer = Some(peer);
                if let Some(until) = held.until.take() {
                    self.graces.remove(&(until.mono_us, session));
                }
            }
            _ => self.place(session, generation, Some(peer), user),
        }
    }

    /// Puts an attachment in the place of the session's former one, as the youngest.
    fn place(
        &mut self,
        session: SessionId,
        generation: Generation,
        peer: Option<Peer>,
        user: &User,
    ) {
        self.remove(&session);
        self.attached += 1;
        let order = self.attached;
        self.persons.entry(user.id.clone()).or_default().insert((order, session.clone()));
        let held = Attachment { user: user.clone(), generation, peer, order, until: None };
        self.sessions.insert(session, held);
        self.dirty = true;
    }

    /// That very connection leaves: at once if on purpose, else after the grace.
    pub(crate) fn detach(
        &mut self,
        session: &SessionId,
        generation: Generation,
        peer: Peer,
        grace: Option<Now>,
    ) {
        let Some(held) = self.sessions.get_mut(session) else {
            return;
        };
        if held.generation != generation || *held.peer.get_or_insert(peer) != peer {
            return;
        }
        match grace {
            None => self.remove(session),
            Some(until) => self.lose(session, until),
        }
    }

    /// Every attachment of the peer starts its grace.
    pub(crate) fn peer_lost(&mut self, peer: Peer, until: Now) {
        let lost: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, held)| held.peer == Some(peer))
            .map(|(session, _)| session.clone())
            .collect();
        for session in lost {
            self.lose(&session, until);
        }
    }

    /// Peers that hold attachments of the user by other sessions.
    pub(crate) fn peers_of(&self, user: &UserId, but: Option<&SessionId>) -> BTreeSet<Peer> {
        let sessions = self.persons.get(user).into_iter().flatten().map(|(_, session)| session);
        sessions
            .filter(|session| Some(*session) != but)
            .filter_map(|session| self.sessions.get(session))
            .filter(|held| held.until.is_none())
            .filter_map(|held| held.peer)
            .collect()
    }

    /// Ends what is over: graces and the collecting.
    pub(crate) fn expire(&mut self, now: Now) {
        while let Some((until, session)) = self.graces.first().cloned() {
            if until > now.mono_us {
                break;
            }
            self.remove(&session);
        }
    }

    /// What watchers are to be told now, if anything.
    pub(crate) fn push(&mut self, now: Now, limits: &Limits) -> Option<PresenceChange> {
        let collected = match self.collecting {
            Some(until) if !now.reached(until) => return None,
            until => until.is_some(),
        };
        self.collecting = None;
        if !collected && self.due(limits).is_none_or(|due| !now.reached(due)) {
            return None;
        }
        self.dirty = false;
        let change = self.change(collected, limits.presence_list_max)?;
        self.told.at = Some(now);
        Some(change)
    }

    /// When something has to be done next.
    pub(crate) fn timeout(&self, limits: &Limits) -> Option<Now> {
        let grace = self.graces.first().map(|(mono_us, _)| Now { mono_us: *mono_us, wall_ms: 0 });
        let push = self.collecting.or_else(|| self.due(limits));
        grace.into_iter().chain(push).min_by_key(|at| at.mono_us)
    }

    /// Who watchers were told is here; `None` while that is being collected.
    pub(crate) fn told(&self) -> Option<Roster> {
        let users = self.told.users.iter().flat_map(|users| users.values().cloned()).collect();
        self.collecting.is_none().then_some(Roster { count: self.told.count, users })
    }

    /// Who is here; the time until which that is being collected, if it is.
    pub(crate) fn roster(&self, limits: &Limits) -> Result<Roster, Now> {
        match self.collecting {
            Some(until) => Err(until),
            None => Ok(self.present(limits.presence_list_max)),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.persons.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && !self.dirty && self.collecting.is_none()
    }

    fn due(&self, limits: &Limits) -> Option<Now> {
        let after = |at: Now| at.plus_ms(limits.presence_interval_ms);
        self.dirty.then(|| self.told.at.map_or(Now::default(), after))
    }

    fn present(&self, list_max: usize) -> Roster {
        let listed = self.persons.len() <= list_max;
        let users = if listed { self.shown().collect() } else { Vec::new() };
        Roster { count: self.persons.len() as u64, users }
    }

    /// Everybody, each as the youngest attachment shows it.
    fn shown(&self) -> impl Iterator<Item = User> {
        self.persons
            .values()
            .filter_map(|sessions| self.sessions.get(&sessions.last()?.1))
            .map(|held| held.user.clone())
    }

    fn change(&mut self, full: bool, list_max: usize) -> Option<PresenceChange> {
        let roster = self.present(list_max);
        let listed = self.persons.len() <= list_max;
        let users: Option<BTreeMap<UserId, User>> = listed
            .then(|| roster.users.iter().map(|user| (user.id.clone(), user.clone())).collect());
        let before = std::mem::replace(&mut self.told.users, users);
        let count_before = std::mem::replace(&mut self.told.count, roster.count);
        match (&before, &self.told.users) {
            (Some(before), Some(now)) if !full => delta(roster.count, before, now),
            (None, None) if !full && count_before == roster.count => None,
            _ => Some(PresenceChange::Full(roster)),
        }
    }

    fn lose(&mut self, session: &SessionId, until: Now) {
        let Some(held) = self.sessions.get_mut(session) else {
            return;
        };
        if held.until.is_none() {
            held.until = Some(until);
            self.graces.insert((until.mono_us, session.clone()));
        }
    }

    fn remove(&mut self, session: &SessionId) {
        let Some(held) = self.sessions.remove(session) else {
            return;
        };
        if let Some(until) = held.until {
            self.graces.remove(&(until.mono_us, session.clone()));
        }
        if let Some(sessions) = self.persons.get_mut(&held.user.id) {
            sessions.remove(&(held.order, session.clone()));
            if sessions.is_empty() {
                self.persons.remove(&held.user.id);
            }
        }
        self.dirty = true;
    }
}

fn delta(
    count: u64,
    before: &BTreeMap<UserId, User>,
    now: &BTreeMap<UserId, User>,
) -> Option<PresenceChange> {
    let arrived: Vec<User> =
        now.values().filter(|user| before.get(&user.id) != Some(user)).cloned().collect();
    let departed: Vec<UserId> =
        before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
    let some = !arrived.is_empty() || !departed.is_empty();
    some.then_some(PresenceChange::Delta { count, arrived, departed })
}
