use model::{
    AskBody, Generation, Rights, RoomInfo, Unsubscribed, UnsubscribedCode, User, UserId, Who,
};

use super::*;

fn room() -> RoomName {
    RoomName::new("r").expect("valid")
}

fn open() -> ToOwner {
    ToOwner::Open { edge: NodeId::new("e1").expect("valid"), lane: 3 }
}

fn opened() -> Far {
    let mut far = Far::new();
    assert!(matches!(far.handle_frame(open()), FarOp::Opened { lane: 3, .. }));
    far
}

fn ask(id: u64) -> ToOwner {
    let user = User {
        id: UserId::new("ann").expect("valid"),
        name: String::new(),
        data: bytes::Bytes::new(),
    };
    let who = Who { user, session: None, generation: Generation::default(), rights: Rights::FULL };
    ToOwner::Ask { id, ask: Ask { room: room(), who, body: AskBody::Room } }
}

#[test]
fn a_stream_that_does_not_begin_with_open_is_closed() {
    assert!(matches!(Far::new().handle_frame(ToOwner::Heartbeat), FarOp::Close(_)));
    assert!(matches!(Far::new().handle_frame(ask(1)), FarOp::Close(_)));
    assert!(matches!(opened().handle_frame(open()), FarOp::Close(_)));
}

#[test]
fn an_answer_goes_out_once() {
    let mut far = opened();
    assert!(matches!(far.handle_frame(ask(7)), FarOp::Ask { id: 7, .. }));
    assert!(matches!(far.handle_frame(ask(7)), FarOp::Close(_)), "an id is in use");
    let answer = Answer::Room(RoomInfo::default());
    assert!(far.handle_answer(7, answer.clone()).is_some());
    assert!(far.handle_answer(7, answer).is_none());
    assert_eq!(far.unanswered(), 0);
}

#[test]
fn news_of_a_former_generation_stays_here() {
    let mut far = opened();
    let trimmed = |watch| Fed::Trimmed { watch, first: 9 };
    far.handle_frame(ToOwner::Watch { room: room(), watch: 1 });
    far.handle_frame(ToOwner::Watch { room: room(), watch: 2 });
    assert!(far.handle_fed(room(), 1, trimmed(1)).is_none());
    assert!(far.handle_fed(room(), 2, trimmed(2)).is_some());
    far.handle_frame(ToOwner::Unwatch { room: room(), watch: 1 });
    assert!(far.handle_fed(room(), 2, trimmed(2)).is_some(), "a late unwatch is inert");
    let why = Unsubscribed::new(UnsubscribedCode::RoomDamaged);
    assert!(far.handle_fed(room(), 2, Fed::Unwatched { watch: 2, why }).is_some());
    assert!(far.handle_fed(room(), 2, trimmed(2)).is_none(), "the watch has ended");
    let old = ToOwner::Watch { room: room(), watch: 2 };
    assert!(matches!(far.handle_frame(old), FarOp::Close(_)));
}

#[test]
fn what_was_asked_of_a_room_that_moved_is_forgotten() {
    let mut far = opened();
    far.handle_frame(ToOwner::Watch { room: room(), watch: 1 });
    assert!(matches!(far.handle_frame(ask(7)), FarOp::Ask { id: 7, .. }));
    far.handle_moved(|moved| *moved != room());
    assert_eq!(far.unanswered(), 1, "another room moved");
    far.handle_moved(|moved| *moved == room());
    assert_eq!(far.unanswered(), 0);
    assert!(far.handle_answer(7, Answer::Room(RoomInfo::default())).is_none());
    assert!(far.handle_fed(room(), 1, Fed::Trimmed { watch: 1, first: 9 }).is_none());
}

#[test]
fn a_heartbeat_is_answered() {
    let op = opened().handle_frame(ToOwner::Heartbeat);
    assert_eq!(op, FarOp::Send(FromOwner::Heartbeat));
}
