//! What a user may do in a room, and the patterns that grant it.

use crate::RoomName;

/// One thing that may be allowed in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Subscribe, read history and summaries, mark.
    Read = 1,
    /// Publish posts, edits and redactions of one's own, and reactions.
    Publish = 2,
    /// Send signals such as typing.
    Signal = 4,
    /// See who is present.
    Presence = 8,
    /// Redact what others wrote.
    Moderate = 16,
}

impl Right {
    /// All of them, in the order in which they are listed on the wire.
    pub const ALL: [Right; 5] =
        [Right::Read, Right::Publish, Right::Signal, Right::Presence, Right::Moderate];

    /// The word used on the wire and in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Publish => "publish",
            Right::Signal => "signal",
            Right::Presence => "presence",
            Right::Moderate => "moderate",
        }
    }

    /// The right with this word, if there is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

/// A set of [`Right`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Rights = Rights(0);
    /// What a person has on a server that checks no tokens: everything but moderation.
    pub const OPEN: Rights = Rights(15);
    /// Everything.
    pub const FULL: Rights = Rights(31);

    /// From the bits of [`Rights::bits`]; unknown bits are dropped.
    #[must_use]
    pub fn from_bits(bits: u32) -> Rights {
        Rights((bits & 31) as u8)
    }

    /// The set as bits, for the link.
    #[must_use]
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// Whether `right` is in the set.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & right as u8 != 0
    }

    /// The set with `right` in it.
    #[must_use]
    pub fn with(self, right: Right) -> Rights {
        Rights(self.0 | right as u8)
    }

    /// Both sets united.
    #[must_use]
    pub fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// The rights of the set, in wire order.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |r| self.has(*r))
    }
}

/// What a verified token grants: patterns of room names, each with rights; what matches unites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub Vec<(String, Rights)>);

impl Roles {
    /// Everybody may do everything but moderate, in every room.
    #[must_use]
    pub fn open() -> Roles {
        Roles(vec![("*".to_owned(), Rights::OPEN)])
    }

    /// The rights in `room`. Rooms kept for the service itself grant nothing.
    #[must_use]
    pub fn rights(&self, room: &RoomName) -> Rights {
        if room.is_reserved() {
            return Rights::NONE;
        }
        self.0
            .iter()
            .filter(|(pattern, _)| pattern_matches(pattern, room.as_str()))
            .fold(Rights::NONE, |all, (_, rights)| all.union(*rights))
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters, none included.
/// Linear in both lengths for each star: no pattern makes it explode.
#[must_use]
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((star_p, star_n)) = star {
            star = Some((star_p, star_n + 1));
            p = star_p + 1;
            n = star_n + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_run() {
        assert!(pattern_matches("team:*", "team:"));
        assert!(pattern_matches("team:*:ops", "team:a:b:ops"));
        assert!(pattern_matches("*", "x"));
        assert!(!pattern_matches("team:*", "dm:1"));
        assert!(!pattern_matches("a*b", "acbd"));
        assert!(!pattern_matches("", "a"));
    }

    #[test]
    fn patterns_that_match_unite_and_reserved_rooms_grant_nothing() {
        let roles = Roles(vec![
            ("*".into(), Rights::NONE.with(Right::Read)),
            ("team:*".into(), Rights::NONE.with(Right::Publish)),
        ]);
        let rights = roles.rights(&RoomName::new("team:x").expect("valid"));
        assert!(rights.has(Right::Read) && rights.has(Right::Publish));
        assert_eq!(roles.rights(&RoomName::new("_x").expect("valid")), Rights::NONE);
    }
}
