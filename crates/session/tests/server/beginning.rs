//! Hello, identity, renewal, heartbeats, ends.

use model::*;
use session::log::WireKind;
use session::server::{Drain, Identity, IdentityFault, ReadFault};

use crate::shard::*;

#[test]
fn the_first_frame_is_hello_or_the_session_ends() {
    let mut shard = Shard::new(Limits::default());
    let key = shard.connect(WireKind::WebSocketJson);
    shard.say(key, 7, ClientSays::Heartbeat);
    assert_eq!(shard.reads(key), ["end hello_expected 0"]);
    assert_eq!(shard.peers[&key].closed, Some(EndCode::HelloExpected));
    assert!(shard.peers[&key].session.is_closed());
}

#[test]
fn hello_comes_in_time_or_the_session_ends() {
    let mut shard = Shard::new(Limits::default());
    let key = shard.connect(WireKind::Grpc);
    shard.after_ms(9_999);
    assert!(shard.reads(key).is_empty());
    shard.after_ms(1);
    assert_eq!(shard.reads(key), ["end hello_late 0"]);
}

#[test]
fn welcome_waits_for_no_room_and_no_room_for_another() {
    let mut shard = Shard::new(Limits::default());
    let rooms: Vec<String> = (0..500).map(|n| format!("r{n}")).collect();
    let wishes = rooms.iter().map(|name| subscribe(name, Some(("L", 5)))).collect();
    let ann = shard.open("ann", wishes);
    assert_eq!(shard.reads(ann), ["welcome ann 1"]);
    assert_eq!(shard.asks.len(), 500, "500 rooms come back in one round trip");
    let answered = shard.reply(ann, |ask| (ask.room == room("r321")).then(|| resumed("L", 5, 0)));
    assert!(answered);
    assert_eq!(shard.reads(ann), ["subscribed r321 L/5 resumed 0 - 0"]);
}

#[test]
fn a_room_whose_name_is_none_is_told_apart_and_so_is_one_too_many() {
    let mut shard = Shard::new(Limits { rooms_per_session_max: 1, ..Limits::default() });
    let key = shard.connect(WireKind::WebSocketJson);
    let hello = Hello {
        subscribe: vec![subscribe("a", None), subscribe("b", None)],
        faulty: vec![("b d".into(), "the room's name holds a space".into())],
        ..Hello::default()
    };
    shard.say(key, 1, ClientSays::Hello(Box::new(hello)));
    shard.identify(key, Ok(identity("ann", Roles::open())));
    let want = ["welcome ann 1", "unsubscribed b d invalid 0", "unsubscribed b too_many_rooms 0"];
    assert_eq!(shard.reads(key), want);
}

#[test]
fn frames_that_come_before_the_identity_are_handled_in_order_after_it() {
    let mut shard = Shard::new(Limits::default());
    let key = shard.connect(WireKind::WebSocketJson);
    shard.hello(key, vec![subscribe("r", None)]);
    for n in 2..10 {
        shard.say(key, n, ClientSays::Publish(publish("r", &format!("id-{n:05}"))));
    }
    assert!(shard.asks.is_empty());
    shard.identify(key, Ok(identity("ann", Roles::open())));
    let ids: Vec<String> = shard
        .asks
        .iter()
        .filter_map(|(.., ask)| match &ask.body {
            AskBody::Publish(publish) => Some(publish.id.as_ref().unwrap().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(ids, (2..10).map(|n| format!("id-{n:05}")).collect::<Vec<_>>());
}

#[test]
fn what_piles_up_before_the_identity_stops_the_reading_and_then_ends() {
    let mut shard = Shard::new(Limits::default());
    let key = shard.connect(WireKind::WebSocketJson);
    shard.hello(key, vec![]);
    for _ in 0..32 {
        assert!(shard.peers[&key].session.wants_read(&shard.logs));
        shard.say(key, 0, ClientSays::Heartbeat);
    }
    assert!(!shard.peers[&key].session.wants_read(&shard.logs));
    (0..33).for_each(|_| shard.say(key, 0, ClientSays::Heartbeat));
    assert_eq!(shard.reads(key), ["end flooding 0"]);
}

#[test]
fn an_identity_that_is_refused_ends_the_session_with_the_reason() {
    for (code, end) in [
        (RefusalCode::TokenInvalid, "end token_invalid 0"),
        (RefusalCode::NameNotAllowed, "end token_invalid 0"),
        (RefusalCode::TokenExpired, "end token_expired 0"),
        (RefusalCode::Unavailable, "end overloaded 0"),
    ] {
        let mut shard = Shard::new(Limits::default());
        let key = shard.connect(WireKind::WebSocketJson);
        shard.hello(key, vec![]);
        shard.identify(key, Err(IdentityFault::Refused(Refusal::new(code))));
        assert_eq!(shard.reads(key), [end]);
    }
}

#[test]
fn what_cannot_be_read_ends_the_session() {
    for (fault, end) in [
        (ReadFault::Unreadable("at byte 3".into()), EndCode::Unreadable),
        (ReadFault::TooLarge("65537 bytes".into()), EndCode::TooLarge),
    ] {
        let mut shard = Shard::new(Limits::default());
        let ann = shard.open("ann", vec![]);
        let peer = shard.peers.get_mut(&ann).unwrap();
        peer.session.handle_frame(shard.now, Err(fault), &mut shard.logs);
        shard.turn();
        assert_eq!(shard.peers[&ann].closed, Some(end));
    }
}

#[test]
fn heartbeats_come_within_their_interval_and_silence_ends() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    shard.after_ms(22_499);
    assert_eq!(shard.reads(ann), ["welcome ann 1"]);
    shard.after_ms(2_501);
    assert_eq!(shard.reads(ann), ["heartbeat 0"]);
    shard.say(ann, 0, ClientSays::Heartbeat);
    shard.after_ms(25_000);
    shard.after_ms(34_999);
    assert_eq!(shard.reads(ann), ["heartbeat 0", "heartbeat 0"]);
    shard.after_ms(1);
    assert_eq!(shard.reads(ann), ["end timed_out 0"]);
}

#[test]
fn an_end_that_cannot_be_written_closes_after_five_seconds() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.peers.get_mut(&ann).unwrap().socket.window = 3;
    let end = End::new(EndCode::Restarting).retry_after(1_500);
    let peer = shard.peers.get_mut(&ann).unwrap();
    peer.session.handle_drain(shard.now, Drain::End(end), &mut shard.logs);
    shard.turn();
    shard.say(ann, 9, ClientSays::Heartbeat);
    assert_eq!(shard.logs.rooms(), 0);
    shard.after_ms(4_999);
    assert_eq!(shard.peers[&ann].closed, None);
    shard.after_ms(1);
    assert_eq!(shard.peers[&ann].closed, Some(EndCode::Restarting));
}

#[test]
fn who_does_not_move_in_time_is_ended() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    let to = MoveTo { url: None, resume_token: "t".into(), within_ms: 20_000 };
    let peer = shard.peers.get_mut(&ann).unwrap();
    assert!(!peer.session.is_moving());
    peer.session.handle_drain(shard.now, Drain::Move(to), &mut shard.logs);
    assert!(peer.session.is_moving(), "its successor does not end it");
    shard.after_ms(19_999);
    assert_eq!(shard.reads(ann), ["welcome ann 1", "move 20000 0"]);
    shard.after_ms(1);
    assert_eq!(shard.reads(ann), ["end going_away 0"]);
}

fn expiring(shard: &Shard, id: &str, in_ms: u64, roles: Roles) -> Identity {
    Identity { expires_at_ms: Some(shard.now.wall_ms + in_ms), ..identity(id, roles) }
}

#[test]
fn an_expired_token_is_told_so_after_a_grace_unless_it_is_renewed() {
    let mut shard =
        Shard::new(Limits { heartbeat_ms: 500_000, idle_ms: 2_000_000, ..Limits::default() });
    let first = expiring(&shard, "ann", 60_000, Roles::open());
    let ann = shard.open_with(WireKind::WebSocketJson, first, vec![]);
    shard.after_ms(80_000);
    shard.say(ann, 2, ClientSays::Authenticate { token: "x".into() });
    shard.say(ann, 3, ClientSays::Authenticate { token: "x".into() });
    let second = expiring(&shard, "ann", 60_000, Roles::open());
    let at_ms = second.expires_at_ms.unwrap();
    shard.identify(ann, Ok(second));
    let authenticated = format!("authenticated Some({at_ms}) 2");
    assert_eq!(shard.reads(ann), ["welcome ann 1", "refused busy 1000 3", &authenticated]);
    shard.after_ms(89_999);
    assert!(shard.reads(ann).is_empty());
    shard.after_ms(1);
    assert_eq!(shard.reads(ann), ["end token_expired 0"]);
}

#[test]
fn a_renewal_is_for_the_same_user_and_a_refused_one_changes_nothing() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    shard.say(ann, 2, ClientSays::Authenticate { token: "bob's".into() });
    shard.identify(ann, Ok(identity("bob", Roles::open())));
    shard.say(ann, 3, ClientSays::Authenticate { token: "bad".into() });
    let fault = IdentityFault::Refused(Refusal::new(RefusalCode::TokenExpired));
    shard.identify(ann, Err(fault));
    let want = ["welcome ann 1", "refused token_invalid - 2", "refused token_expired - 3"];
    assert_eq!(shard.reads(ann), want);
    assert_eq!(shard.peers[&ann].session.user().unwrap().id.as_str(), "ann");
}

#[test]
fn new_rights_are_told_for_each_room_and_a_room_that_may_not_be_read_is_left() {
    let mut shard = Shard::new(Limits::default());
    let ann =
        shard.open("ann", vec![subscribe("a", None), subscribe("b", None), subscribe("c", None)]);
    for _ in 0..3 {
        shard.attached(ann, snapshot("L", 0, SnapshotReason::New));
    }
    shard.reads(ann);
    shard.say(ann, 2, ClientSays::Authenticate { token: "x".into() });
    let read = Rights::NONE.with(Right::Read);
    let roles = Roles(vec![("a".into(), Rights::OPEN), ("b".into(), read)]);
    shard.identify(ann, Ok(identity("ann", roles)));
    let want = ["authenticated None 2", "rights b 1 0", "unsubscribed c forbidden 0"];
    assert_eq!(shard.reads(ann), want);
    assert_eq!(shard.asks.back().unwrap().2.body, AskBody::Detach { left: true });
}

#[test]
fn a_client_that_goes_on_with_what_is_refused_is_ended() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    for n in 1..=101 {
        let refusal = Refusal::new(RefusalCode::UnknownRequest);
        shard.say(ann, n, ClientSays::Faulty(refusal));
    }
    let reads = shard.reads(ann);
    assert_eq!(reads[1], "refused unknown_request - 1");
    assert_eq!(reads.last().unwrap(), "end flooding 0");
}

#[test]
fn a_second_hello_is_refused() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    shard.hello(ann, vec![]);
    assert_eq!(shard.reads(ann), ["welcome ann 1", "refused unexpected - 1"]);
}
