//! Words that the model tests ask with, and what a shard expects of its feed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use bytes::Bytes;
use model::{
    Ask, AskBody, Content, ContentKind, Digest, Fed, Generation, LogId, MessageId, Publish, Rights,
    RoomName, SessionId, User, UserId, Who,
};

pub fn room(number: usize) -> RoomName {
    RoomName::new(&format!("r{number}")).expect("valid")
}

pub fn session(number: u64) -> SessionId {
    SessionId::new(&format!("s{number}")).expect("valid")
}

pub fn log() -> LogId {
    LogId::new("k3v9").expect("valid")
}

pub fn who(session: Option<SessionId>) -> Who {
    let id = UserId::new("ann").expect("valid");
    let user = User { id, name: String::new(), data: Bytes::new() };
    Who { user, session, generation: Generation { counter: 1, random: 0 }, rights: Rights::FULL }
}

pub fn ask(number: usize, session: Option<SessionId>, body: AskBody) -> Ask {
    Ask { room: room(number), who: who(session), body }
}

pub fn publish(number: usize, id: u64) -> Ask {
    let content = Content {
        kind: ContentKind::Post,
        target: 0,
        key: String::new(),
        remove: false,
        digest: Digest::default(),
        body: Bytes::new(),
    };
    let id = MessageId::new(&format!("message-{id:08}")).expect("valid");
    let publish = Publish { room: room(number), id: Some(id), since: None, after: None, content };
    ask(number, None, AskBody::Publish(publish))
}

/// What a shard does with news: the first of them is `Watching`, and entries are dense behind it.
pub fn take_fed(held: &mut Option<u64>, fed: &Fed) {
    match fed {
        Fed::Watching { info, .. } => {
            assert!(held.is_none_or(|head| info.head >= head), "the log went back");
            *held = Some(info.head);
        }
        Fed::Entries { entries, .. } => {
            let head = held.as_mut().expect("Watching comes first");
            for entry in entries {
                *head += 1;
                assert_eq!(entry.seq, *head, "dense");
            }
        }
        other => panic!("{other:?}"),
    }
}
