//! One of everything that a link carries.

use bytes::Bytes;
use model::{
    Answer, Ask, AskBody, Catchup, Content, ContentKind, Digest, Entry, Fed, FoldedPost,
    Generation, HistoryAnchor, HistoryAsk, LogId, Mark, MessageId, Page, Position, PresenceChange,
    Publish, ReactionCount, Refusal, RefusalCode, Rights, RoomInfo, RoomName, Roster, SessionId,
    Snapshot, SnapshotReason, Subscription, Summary, Unsubscribed, UnsubscribedCode, User, UserId,
    Who,
};
use prost::Message;

use crate::v1;

pub(super) fn room() -> RoomName {
    RoomName::new("team:ops").expect("valid")
}

pub(super) fn log() -> LogId {
    LogId::new("k3v9q2").expect("valid")
}

pub(super) fn id(text: &str) -> MessageId {
    MessageId::new(text).expect("valid")
}

/// `Struct` bytes of `{"status": "away"}`.
pub(super) fn data() -> Bytes {
    let away = crate::Value { kind: Some(crate::Kind::String("away".into())) };
    crate::Struct { fields: [("status".into(), away)].into() }.encode_to_vec().into()
}

pub(super) fn ann() -> User {
    User { id: UserId::new("ann").expect("valid"), name: "Ann".into(), data: Bytes::new() }
}

fn bob() -> User {
    User { id: UserId::new("bob").expect("valid"), name: "Bob".into(), data: data() }
}

/// A content with a field that this version does not know.
pub(super) fn newer_post() -> Content {
    let mut body =
        v1::Post { text: "hello".into(), reply_to: 3, ..v1::Post::default() }.encode_to_vec();
    crate::codec::fields::put_text(&mut body, 99, "new");
    let digest = Digest::of(ContentKind::Post, 0, "", false, "hello");
    let (target, key, remove) = (0, String::new(), false);
    Content { kind: ContentKind::Post, target, key, remove, digest, body: body.into() }
}

fn reaction() -> Content {
    let body = v1::Reaction { target: 7, key: "👍".into(), remove: true }.encode_to_vec();
    Content {
        kind: ContentKind::Reaction,
        target: 7,
        key: "👍".into(),
        remove: true,
        digest: Digest::of(ContentKind::Reaction, 7, "👍", true, ""),
        body: body.into(),
    }
}

fn folded() -> FoldedPost {
    FoldedPost {
        payload: Bytes::from_static(b"payload"),
        edit: Some((1_760_000_000_123, Bytes::from_static(b"edit"))),
        reactions: vec![ReactionCount { key: "👍".into(), count: 70_000, users: vec![ann().id] }],
    }
}

fn page() -> Page {
    let plain = FoldedPost { edit: None, reactions: Vec::new(), ..folded() };
    Page {
        posts: vec![folded(), plain],
        first: 1,
        more: true,
        as_of: 9,
        mine: vec![(7, vec!["👍".into()])],
    }
}

pub(super) fn asks() -> Vec<Ask> {
    let publish = |content, since| {
        AskBody::Publish(Publish {
            room: room(),
            id: Some(id("01J9ZK5V8Q")),
            since,
            after: Some(id("01J9ZK5V8P")),
            content,
        })
    };
    let history = |anchor| AskBody::History(HistoryAsk { anchor, limit: 20 });
    let bodies = [
        AskBody::Attach { after: None, recent: 0 },
        AskBody::Attach { after: Some(Position::origin()), recent: 50 },
        AskBody::Attach { after: Some(Position { log: log(), seq: 7 }), recent: 50 },
        AskBody::Summary,
        AskBody::Detach { left: true },
        AskBody::Detach { left: false },
        publish(newer_post(), Some(Position { log: log(), seq: 0 })),
        publish(reaction(), None),
        AskBody::Signal { kind: "typing".into(), data: Bytes::new() },
        AskBody::Signal { kind: "cursor".into(), data: data() },
        AskBody::Mark { seq: 7 },
        history(HistoryAnchor::Newest),
        history(HistoryAnchor::Before(7)),
        history(HistoryAnchor::After(0)),
        history(HistoryAnchor::Around(7)),
        AskBody::Presence,
        AskBody::Room,
    ];
    let generation = Generation { counter: 1_760_000_000_123, random: 77 };
    let session = Some(SessionId::new("s7Qx").expect("valid"));
    let who = Who { user: bob(), session, generation, rights: Rights::OPEN };
    let unary =
        Who { user: ann(), session: None, generation: Generation::default(), rights: Rights::NONE };
    let both = bodies.into_iter().flat_map(|body| {
        [&who, &unary].map(|who| Ask { room: room(), who: who.clone(), body: body.clone() })
    });
    both.collect()
}

pub(super) fn answers() -> Vec<Answer> {
    let subscribed = |catchup| {
        Answer::Subscribed(Subscription {
            log: log(),
            first: 1,
            head: 9,
            ordinal: 8,
            mark: Mark { seq: 7, ordinal: 6 },
            unread: 2,
            rights: Rights::FULL,
            catchup,
        })
    };
    let snapshot = |reason| subscribed(Catchup::Snapshot(Snapshot { reason, page: page() }));
    let mut answers: Vec<Answer> = SnapshotReason::ALL.into_iter().map(snapshot).collect();
    answers.extend([
        subscribed(Catchup::Resumed { missed: 0 }),
        subscribed(Catchup::Resumed { missed: 7 }),
        Answer::Unsubscribed(Unsubscribed::new(UnsubscribedCode::TokenExpired)),
        Answer::Unsubscribed(Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(0)),
        Answer::Summary(Summary {
            log: LogId::none(),
            head: 0,
            ordinal: 0,
            mark: Some(Mark::default()),
            last: None,
        }),
        Answer::Summary(Summary {
            log: log(),
            head: 9,
            ordinal: 8,
            mark: Some(Mark { seq: 7, ordinal: 6 }),
            last: Some(folded()),
        }),
        Answer::Published { log: log(), seq: 9, at_ms: 1_760_000_000_123, duplicate: true },
        Answer::Done,
        Answer::Marked { mark: Mark { seq: 7, ordinal: 6 }, unread: 2 },
        Answer::History { log: log(), page: page() },
        Answer::Presence(Roster { count: 2, users: vec![ann(), bob()] }),
        Answer::Room(RoomInfo { log: log(), first: 1, head: 9, ordinal: 8 }),
        Answer::Room(RoomInfo::default()),
    ]);
    answers.extend(RefusalCode::ALL.iter().map(|code| Answer::Refused(Refusal::new(*code))));
    answers.push(Answer::Refused(Refusal::new(RefusalCode::Busy).retry_after(0)));
    answers
}

pub(super) fn feds() -> Vec<Fed> {
    let entry =
        |seq, kind| Entry { seq, ordinal: 8, kind, payload: Bytes::from_static(b"payload") };
    let info = RoomInfo { log: log(), first: 1, head: 9, ordinal: 8 };
    let watching = |presence| Fed::Watching { watch: 3, fence: 17, info: info.clone(), presence };
    let everybody = Roster { count: 2, users: vec![ann(), bob()] };
    let presence = |change| Fed::Presence { watch: 3, change };
    vec![
        watching(None),
        watching(Some(Roster::default())),
        watching(Some(everybody.clone())),
        Fed::Entries {
            watch: 3,
            log: log(),
            entries: vec![entry(10, ContentKind::Post), entry(11, ContentKind::Reaction)],
        },
        Fed::Erased { watch: 3, entries: vec![entry(7, ContentKind::Tombstone)] },
        Fed::Trimmed { watch: 3, first: 5 },
        Fed::Signal { watch: 3, from: ann(), kind: "typing".into(), data: Bytes::new() },
        Fed::Signal { watch: 3, from: bob(), kind: "cursor".into(), data: data() },
        presence(PresenceChange::Full(everybody)),
        presence(PresenceChange::Full(Roster::default())),
        presence(PresenceChange::Full(Roster { count: 1_042, users: Vec::new() })),
        presence(PresenceChange::Delta {
            count: 1,
            arrived: vec![bob()],
            departed: vec![ann().id],
        }),
        Fed::Marked { watch: 3, user: ann().id, mark: Mark { seq: 7, ordinal: 6 } },
        Fed::Unwatched { watch: 3, why: Unsubscribed::new(UnsubscribedCode::RoomDamaged) },
    ]
}
