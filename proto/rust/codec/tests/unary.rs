//! Unary calls are held to what sessions are held to, and answer with the messages of the contract.

use bytes::Bytes;
use model::{
    HistoryAnchor, HistoryAsk, LogId, Page, Refusal, RefusalCode, RoomInfo, Roster, Says, Summary,
};
use prost::Message;

use super::samples::{ann, id, log, newer_post, room};
use crate::codec::{
    Unary, decode_get_room, decode_history, decode_presence, decode_publish, decode_summaries,
    encode_unary,
};
use crate::v1;

fn reply<M: Message + Default>(says: &Says) -> M {
    let mut out = Vec::new();
    encode_unary(says, &mut out);
    M::decode(out.as_slice()).expect("a reply")
}

#[test]
fn a_publish_needs_no_id_and_its_content_travels_as_received() {
    let content = newer_post();
    let mut request =
        v1::Publish { room: "team:ops".into(), ..v1::Publish::default() }.encode_to_vec();
    crate::codec::fields::put_bytes(&mut request, 5, &content.body);
    let Ok(Unary::Publish(publish)) = decode_publish(&request) else { panic!("refused") };
    assert_eq!((publish.id, publish.content), (None, content));

    let request = v1::Publish {
        room: "team:ops".into(),
        id: "01J9ZK5V8Q".into(),
        since: Some(v1::Position::default()),
        content: Some(v1::publish::Content::Post(v1::Post::default())),
        ..v1::Publish::default()
    };
    let Ok(Unary::Publish(publish)) = decode_publish(&request.encode_to_vec()) else {
        panic!("refused")
    };
    assert_eq!(publish.id, Some(id("01J9ZK5V8Q")));
    assert_eq!(publish.since, Some(model::Position::origin()));
}

#[test]
fn requests_are_refused_in_the_words_of_a_session() {
    let message = |result: Result<Unary, Refusal>| result.expect_err("refused").message;
    assert_eq!(message(decode_presence(&[])), "presence.room is missing");
    assert_eq!(message(decode_get_room(&[])), "getRoom.room is missing");
    assert_eq!(message(decode_history(&[])), "history.room is missing");
    let rooms = vec!["lobby".into(), "no room".into()];
    let request = v1::SummariesRequest { rooms }.encode_to_vec();
    assert!(message(decode_summaries(&request)).starts_with("summaries.rooms[1]: the room's name"));
    assert!(message(decode_publish(&[])).starts_with("publish holds nothing"));
    for decode in
        [decode_publish, decode_history, decode_presence, decode_get_room, decode_summaries]
    {
        let refusal = decode(b"\xff").expect_err("broken");
        assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal:?}");
    }
}

#[test]
fn requests_become_words() {
    let request = v1::HistoryRequest {
        room: "team:ops".into(),
        limit: 20,
        anchor: Some(v1::history_request::Anchor::Around(7)),
    };
    let ask = HistoryAsk { anchor: HistoryAnchor::Around(7), limit: 20 };
    assert_eq!(decode_history(&request.encode_to_vec()), Ok(Unary::History { room: room(), ask }));
    let request = v1::PresenceRequest { room: "team:ops".into() }.encode_to_vec();
    assert_eq!(decode_presence(&request), Ok(Unary::Presence { room: room() }));
    assert_eq!(decode_get_room(&request), Ok(Unary::GetRoom { room: room() }));
    let request = v1::SummariesRequest { rooms: vec!["team:ops".into()] }.encode_to_vec();
    assert_eq!(decode_summaries(&request), Ok(Unary::Summaries { rooms: vec![room()] }));
}

#[test]
fn replies_are_the_messages_of_the_contract() {
    let says = Says::Published { room: room(), log: log(), seq: 9, at_ms: 7, duplicate: false };
    assert_eq!(reply::<v1::Published>(&says).duplicate, Some(false));
    let info = RoomInfo::default();
    let unborn = reply::<v1::Room>(&Says::Room { room: room(), info });
    assert_eq!((unborn.log.as_str(), unborn.head), ("", Some(0)));
    let roster = Roster { count: 1, users: vec![ann()] };
    let present = reply::<v1::PresenceReply>(&Says::PresenceIs { room: room(), roster });
    assert_eq!((present.count, present.users.len()), (Some(1), 1));
    let page = Box::new(Page { first: 1, as_of: 9, ..Page::default() });
    let page = reply::<v1::HistoryPage>(&Says::History { room: room(), log: log(), page });
    assert_eq!((page.room.as_str(), page.first, page.as_of), ("team:ops", Some(1), Some(9)));
    let summary = Summary { log: LogId::none(), head: 0, ordinal: 0, mark: None, last: None };
    let refused = vec![(room(), Refusal::new(RefusalCode::Forbidden))];
    let says = Says::Summaries { rooms: vec![(room(), summary)], refused };
    let summaries = reply::<v1::Summaries>(&says);
    assert_eq!((summaries.rooms.len(), summaries.refused.len()), (1, 1));
    let mut nothing = Vec::new();
    encode_unary(&Says::Heartbeat, &mut nothing);
    assert_eq!(Bytes::from(nothing), Bytes::new());
}

#[cfg(feature = "grpc")]
mod statuses {
    use model::{End, EndCode};
    use tonic::Code;

    use super::*;
    use crate::codec::{end_status, refusal_of, refusal_status};

    #[test]
    fn every_refusal_survives_its_status() {
        for code in RefusalCode::ALL {
            let refusal = Refusal::new(*code).retry_after(7);
            let status = refusal_status(&refusal);
            assert!(status.message().starts_with(&format!("{}: ", code.reason())), "{status}");
            assert!(
                !matches!(status.code(), Code::Ok | Code::Unknown | Code::Internal),
                "{status}"
            );
            assert_eq!(refusal_of(&status), Some(refusal));
        }
        assert_eq!(refusal_of(&tonic::Status::internal("no refusal")), None);
    }

    #[test]
    fn every_end_has_a_status_that_says_whether_to_come_back() {
        for code in EndCode::ALL {
            let status = end_status(&End::new(*code));
            assert!(status.message().starts_with(code.reason()), "{status}");
            // What retries by itself on gRPC must not retry what is final.
            assert!(code.come_back() || status.code() != Code::Unavailable, "{status}");
        }
    }

    #[test]
    fn what_gateways_look_at_is_mapped_as_documented() {
        let code = |code| refusal_status(&Refusal::new(code)).code();
        assert_eq!(code(RefusalCode::Invalid), Code::InvalidArgument);
        assert_eq!(code(RefusalCode::TooLarge), Code::InvalidArgument);
        assert_eq!(code(RefusalCode::Forbidden), Code::PermissionDenied);
        assert_eq!(code(RefusalCode::TokenExpired), Code::Unauthenticated);
        assert_eq!(code(RefusalCode::RateLimited), Code::ResourceExhausted);
        assert_eq!(code(RefusalCode::StorageFull), Code::ResourceExhausted);
        assert_eq!(code(RefusalCode::Collecting), Code::Unavailable);
        assert_eq!(code(RefusalCode::DeadlineExceeded), Code::DeadlineExceeded);
        assert_eq!(code(RefusalCode::PredecessorMissing), Code::FailedPrecondition);
        assert_eq!(code(RefusalCode::LogChanged), Code::FailedPrecondition);
        assert_eq!(code(RefusalCode::Undecidable), Code::Aborted);
        assert_eq!(code(RefusalCode::IdConflict), Code::AlreadyExists);
        assert_eq!(code(RefusalCode::TargetMissing), Code::NotFound);
    }
}
