//! What messages of a run look like: each can be told from every other one, and from a stranger's.

use model::{Message, RoomName};

use super::record::Entry;

/// Bytes of a text: the size that figures of chat servers are usually given for.
const TEXT_BYTES: usize = 100;

/// The words that a run's texts begin with.
#[derive(Clone, Debug)]
pub struct Body {
    run: String,
}

impl Body {
    /// For a run that no other run is named like.
    #[must_use]
    pub fn new(run: &str) -> Body {
        Body { run: run.to_owned() }
    }

    /// The text of an author's message. The room's name is not in it: it is part of the digest.
    #[must_use]
    pub fn text(&self, author: u32, number: u32) -> String {
        let mut text = format!("{} {author} {number} ", self.run);
        text.extend(std::iter::repeat_n('.', TEXT_BYTES.saturating_sub(text.len())));
        text
    }

    /// What somebody was told.
    #[must_use]
    pub fn entry(&self, message: &Message) -> Entry {
        let text = message.content.text();
        let (author, number) = self.numbers(text).unwrap_or((Entry::NOBODY, 0));
        let (id, user) = (message.id.as_str(), message.from.id.as_str());
        Entry { author, number, digest: digest(&message.room, user, id, text) }
    }

    fn numbers(&self, text: &str) -> Option<(u32, u32)> {
        let mut words = text.strip_prefix(&*self.run)?.strip_prefix(' ')?.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }
}

/// A message in eight bytes. FNV-1a: mistakes are to be found, nobody is to be kept out.
#[must_use]
pub fn digest(room: &RoomName, user: &str, id: &str, text: &str) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for part in [room.as_str(), user, id, text] {
        for byte in part.bytes().chain([0xFF]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use model::{MessageContent, MessageId, User, UserId};

    use super::*;

    fn message(room: &str, id: &str, user: &str, text: &str) -> Message {
        Message {
            room: RoomName::new(room).expect("valid"),
            log: None,
            seq: 1,
            ordinal: 1,
            id: MessageId::new(id).expect("valid"),
            at_ms: 0,
            from: User {
                id: UserId::new(user).expect("valid"),
                name: String::new(),
                data: Default::default(),
            },
            content: MessageContent::post(text),
            edited_at_ms: None,
            reactions: Vec::new(),
        }
    }

    #[test]
    fn a_text_says_whose_it_is_and_a_strangers_does_not() {
        let body = Body::new("run1");
        let text = body.text(7, 31);
        assert_eq!(text.len(), TEXT_BYTES);
        let entry = body.entry(&message("r", "abcdefgh", "ann", &text));
        assert_eq!((entry.author, entry.number), (7, 31));
        for strange in ["", "run1", "run1 7", "run12 7 31 ..", "run2 7 31 ...", "run1 x 1 "] {
            let entry = body.entry(&message("r", "abcdefgh", "ann", strange));
            assert_eq!(entry.author, Entry::NOBODY, "{strange:?}");
        }
    }

    #[test]
    fn another_room_user_id_or_text_is_another_digest() {
        let body = Body::new("run1");
        let (text, other) = (body.text(7, 31), body.text(7, 31).replace("..", ".,"));
        let digest = |room, id, user, text| body.entry(&message(room, id, user, text)).digest;
        let first = digest("r", "abcdefgh", "ann", &text);
        assert_eq!(first, digest("r", "abcdefgh", "ann", &text));
        assert_ne!(first, digest("s", "abcdefgh", "ann", &text));
        assert_ne!(first, digest("r", "abcdefgi", "ann", &text));
        assert_ne!(first, digest("r", "abcdefgh", "bob", &text));
        assert_ne!(first, digest("r", "abcdefgh", "ann", &other));
    }
}
