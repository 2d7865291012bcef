//! Who on this shard reads a room, and the walk that visits them all.

use model::UserId;

/// A session of the shard: its place in the shard's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u32);

/// One reader of a room: eight bytes, as there is one for each session and room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The session.
    pub(crate) session: SessionKey,
    /// The room's place in the session.
    pub(crate) slot: u16,
    /// Some bits of the user's hash, so that "this user's sessions" is one pass over this list.
    tag: u16,
}

impl Member {
    pub(crate) fn new(session: SessionKey, slot: u16, user: &UserId) -> Member {
        Member { session, slot, tag: tag(user) }
    }
}

/// Sixteen bits of FNV-1a.
fn tag(user: &UserId) -> u16 {
    let hash = user
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as u16
}

const VACANT: SessionKey = SessionKey(u32::MAX);

/// The members of a room. Places are stable, so that a walk may be interrupted by joins and leaves.
#[derive(Debug, Default)]
pub(crate) struct Members {
    places: Vec<Member>,
    vacant: Vec<u32>,
    /// The walk goes round: it stands at `at`, and `left` places have not looked since the last news.
    at: u32,
    left: u32,
}

impl Members {
    pub(crate) fn count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    pub(crate) fn join(&mut self, member: Member) -> u32 {
        match self.vacant.pop() {
            Some(place) => {
                self.places[place as usize] = member;
                place
            }
            None => {
                self.places.push(member);
                (self.places.len() - 1) as u32
            }
        }
    }

    pub(crate) fn leave(&mut self, place: u32) {
        if let Some(member) = self.places.get_mut(place as usize)
            && member.session != VACANT
        {
            member.session = VACANT;
            self.vacant.push(place);
        }
    }

    pub(crate) fn get(&self, place: u32) -> Option<Member> {
        self.places.get(place as usize).copied().filter(|member| member.session != VACANT)
    }

    /// There is news for everybody: the walk goes round once more from where it stands.
    pub(crate) fn start_walk(&mut self) {
        self.left = self.places.len() as u32;
    }

    /// The next member of the walk; `None` when it is over.
    pub(crate) fn walk(&mut self) -> Option<Member> {
        while self.left > 0 {
            self.left -= 1;
            if self.at as usize >= self.places.len() {
                self.at = 0;
            }
            let place = self.at;
            self.at += 1;
            if let Some(member) = self.get(place) {
                return Some(member);
            }
        }
        None
    }

    /// The members that may be this user's.
    pub(crate) fn of_user(&self, user: &UserId) -> impl Iterator<Item = Member> {
        let tag = tag(user);
        self.places.iter().copied().filter(move |m| m.tag == tag && m.session != VACANT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(session: u32) -> Member {
        Member::new(SessionKey(session), 0, &UserId::new("ann").unwrap())
    }

    fn walk(members: &mut Members) -> Vec<u32> {
        std::iter::from_fn(|| members.walk()).map(|m| m.session.0).collect()
    }

    #[test]
    fn news_during_a_walk_reaches_those_who_have_looked_already() {
        let mut members = Members::default();
        (0..4).for_each(|n| _ = members.join(member(n)));
        members.start_walk();
        assert_eq!(members.walk().unwrap().session.0, 0);
        assert_eq!(members.walk().unwrap().session.0, 1);
        members.start_walk();
        assert_eq!(walk(&mut members), [2, 3, 0, 1]);
        assert!(members.walk().is_none());
    }

    #[test]
    fn a_member_that_leaves_in_mid_walk_is_not_visited_and_its_place_is_used_again() {
        let mut members = Members::default();
        let places: Vec<u32> = (0..3).map(|n| members.join(member(n))).collect();
        members.start_walk();
        assert_eq!(members.walk().unwrap().session.0, 0);
        members.leave(places[1]);
        assert_eq!(walk(&mut members), [2]);
        assert_eq!(members.count(), 2);
        assert_eq!(members.join(member(9)), places[1]);
        assert_eq!(members.of_user(&UserId::new("ann").unwrap()).count(), 3);
        assert_eq!(members.of_user(&UserId::new("bob").unwrap()).count(), 0);
    }
}
