//! A move, frame by frame: the old connection stays until the new one has everything.

use model::{Catchup, MoveTo, PresenceChange, PresenceFrame, Says, Seq};
use session::client::{Action, Event, SocketNo};

use super::duties::{Play, at, room, snapshot};

const THERE: &str = "ws://there/v1/ws";
const WITHIN_MS: u64 = 20_000;

/// A client that reads the room up to entry 10 and was asked to move; and its two connections.
fn moving() -> (Play, SocketNo, SocketNo) {
    let mut play = Play::reading();
    let old = play.socket;
    let to = MoveTo { url: Some(THERE.into()), resume_token: "moved".into(), within_ms: WITHIN_MS };
    play.hears(0, Says::Move(to));
    let new = dialled(&mut play, THERE, true);
    (play, old, new)
}

/// The one action is a dial; the old connection is not closed for it.
fn dialled(play: &mut Play, to: &str, moved: bool) -> SocketNo {
    match play.actions().as_slice() {
        [Action::Dial { socket, url, is_moved }] => {
            assert_eq!((url.as_str(), *is_moved), (to, moved));
            *socket
        }
        other => panic!("{other:?}"),
    }
}

/// The new connection stands and is welcomed, and said hello with what is held.
fn greeted(play: &mut Play, new: SocketNo, held: Seq) {
    play.socket = new;
    play.client.handle_connected(play.now, new);
    let hello = play.welcomed();
    assert_eq!(hello.resume_token.as_deref(), Some("moved"));
    assert_eq!(hello.subscribe[0].after, Some(at(held)));
}

fn seqs(events: &[Event]) -> Vec<Seq> {
    let seq = |event: &Event| match event {
        Event::Message(message) => Some(message.seq),
        _ => None,
    };
    events.iter().filter_map(seq).collect()
}

fn moved(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Moved(_))).count()
}

#[test]
fn the_old_connection_reads_and_publishes_until_the_new_one_has_caught_up_with_it() {
    let (mut play, old, new) = moving();
    let early = play.publish();
    let sent = play.publishes();
    assert_eq!(sent[0].1.id.as_ref(), Some(&early), "publishes go out on the old one");
    greeted(&mut play, new, 10);
    assert!(play.sent().is_empty(), "and on it alone");

    play.socket = old;
    (11..=13).for_each(|seq| play.others_message(seq));
    assert_eq!(seqs(&play.events()), [11, 12, 13]);
    play.socket = new;
    play.subscribed(12, Catchup::Resumed { missed: 2 });
    play.others_message(11);
    play.others_message(12);
    assert_eq!(play.actions(), [], "it is behind: 13 was read already");
    assert_eq!(seqs(&play.events()), [0; 0], "nothing is told twice");

    play.others_message(13);
    assert_eq!(play.actions(), [Action::Close { socket: old }]);
    let events = play.events();
    assert_eq!((moved(&events), seqs(&events).len()), (1, 0));
    assert!(!events.iter().any(|event| matches!(event, Event::Disconnected { .. })));
    let again = play.publishes();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1, sent[0].1, "word for word, since and after among it");
    play.message(14, &early);
    assert_eq!(seqs(&play.events()), [14]);
    assert_eq!(play.client.unacknowledged(), 0);
}

#[test]
fn whichever_connection_brings_the_next_entry_tells_it() {
    let (mut play, old, new) = moving();
    greeted(&mut play, new, 10);
    play.socket = old;
    play.others_message(11);
    play.socket = new;
    play.subscribed(10, Catchup::Resumed { missed: 0 });
    play.socket = old;
    play.others_message(12);
    play.socket = new;
    (11..=12).for_each(|seq| play.others_message(seq));
    assert_eq!(play.actions(), [Action::Close { socket: old }]);
    play.others_message(13);
    assert_eq!(seqs(&play.events()), [11, 12, 13]);
    play.socket = old;
    play.others_message(14);
    assert_eq!(seqs(&play.events()), [0; 0], "what comes of a connection that is gone is inert");
}

#[test]
fn a_snapshot_of_what_was_read_already_replaces_nothing() {
    let (mut play, old, new) = moving();
    greeted(&mut play, new, 10);
    play.socket = old;
    (11..=15).for_each(|seq| play.others_message(seq));
    play.events();
    play.socket = new;
    play.subscribed(13, snapshot());
    let told = play.events();
    let [Event::Subscribed { subscription, .. }, ..] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(subscription.catchup, Catchup::Resumed { missed: 0 });
    (14..=16).for_each(|seq| play.others_message(seq));
    assert_eq!(seqs(&play.events()), [16]);
}

#[test]
fn presence_is_believed_of_one_connection_at_a_time() {
    let (mut play, old, new) = moving();
    let arrival = |version| {
        let change = PresenceChange::Delta { count: 1, arrived: Vec::new(), departed: Vec::new() };
        Says::Presence(PresenceFrame { room: room(), version, change })
    };
    let full = |version| {
        let change = PresenceChange::Full(model::Roster::default());
        Says::Presence(PresenceFrame { room: room(), version, change })
    };
    let heard = |play: &mut Play| {
        play.events().iter().filter(|event| matches!(event, Event::Presence(_))).count()
    };
    play.socket = old;
    play.hears(0, full(4));
    play.hears(0, arrival(5));
    assert_eq!(heard(&mut play), 2);
    greeted(&mut play, new, 10);
    play.socket = old;
    play.others_message(11);
    play.socket = new;
    play.subscribed(10, Catchup::Resumed { missed: 0 });
    play.hears(0, full(1));
    assert_eq!(heard(&mut play), 1, "the new one has answered for the room");
    play.socket = old;
    play.hears(0, arrival(6));
    assert_eq!(heard(&mut play), 0);
}

#[test]
fn a_new_connection_that_fails_is_tried_elsewhere_while_the_old_one_goes_on() {
    let (mut play, old, new) = moving();
    play.client.handle_dial_failed(play.now, new, None);
    play.socket = old;
    play.others_message(11);
    play.wait();
    let second = dialled(&mut play, super::duties::URL, false);
    greeted(&mut play, second, 11);
    play.subscribed(11, Catchup::Resumed { missed: 0 });
    assert_eq!(play.actions(), [Action::Close { socket: old }]);
    let events = play.events();
    assert_eq!((seqs(&events), moved(&events)), (vec![11], 1));
}

#[test]
fn what_a_failed_connection_told_beside_entries_is_asked_for_on_the_old_one() {
    let (mut play, old, new) = moving();
    greeted(&mut play, new, 10);
    play.socket = old;
    play.others_message(11);
    play.socket = new;
    play.subscribed(10, Catchup::Resumed { missed: 0 });
    play.closed(Some(1006));
    play.socket = old;
    let asked = play.sent();
    let [model::ClientFrame { says: model::ClientSays::Subscribe(subscribe), .. }] = &asked[..]
    else {
        panic!("{asked:?}")
    };
    assert_eq!(subscribe.after, Some(at(11)));
    play.others_message(12);
    play.subscribed(12, Catchup::Resumed { missed: 1 });
    play.others_message(12);
    play.others_message(13);
    assert_eq!(seqs(&play.events()), [11, 12, 13]);
}

#[test]
fn the_end_of_the_old_connection_leaves_the_new_one_as_it_stands() {
    for replaced in [false, true] {
        let (mut play, old, new) = moving();
        let id = play.publish();
        play.publishes();
        greeted(&mut play, new, 10);
        play.socket = old;
        if replaced {
            play.hears(0, Says::End(model::End::new(model::EndCode::Replaced)));
        } else {
            play.closed(Some(1006));
        }
        let events = play.events();
        assert_eq!(moved(&events), 1, "{events:?}");
        play.socket = new;
        assert_eq!(play.publishes()[0].1.id, Some(id));
        play.subscribed(10, Catchup::Resumed { missed: 0 });
        play.others_message(11);
        assert_eq!(seqs(&play.events()), [11]);
    }
}

#[test]
fn a_move_that_cannot_be_followed_ends_with_the_old_connection_and_a_resume() {
    let (mut play, old, mut new) = moving();
    let mut dials = 0;
    loop {
        play.client.handle_dial_failed(play.now, new, Some(3_000));
        let due = play.client.poll_timeout().expect("the old one may fall silent");
        if due.mono_us > play.now.plus_ms(WITHIN_MS).mono_us {
            break;
        }
        play.wait();
        new = dialled(&mut play, super::duties::URL, false);
        dials += 1;
    }
    assert!((2..=8).contains(&dials), "{dials} further dials in {WITHIN_MS} ms");
    assert!(!play.events().iter().any(|event| matches!(event, Event::Disconnected { .. })));
    play.socket = old;
    play.hears(0, Says::End(model::End::new(model::EndCode::GoingAway).retry_after(0)));
    assert!(matches!(play.events()[..], [Event::Disconnected { again_in_ms: 0 }]));
    assert_eq!(play.actions().len(), 2, "close, and dial as before");
}

#[test]
fn wishes_about_rooms_go_to_both_connections() {
    let (mut play, old, new) = moving();
    greeted(&mut play, new, 10);
    let other = model::RoomName::new("other").expect("valid");
    play.client.subscribe(&other, Default::default()).expect("allowed");
    play.client.unsubscribe(&room()).expect("allowed");
    for socket in [old, new] {
        play.socket = socket;
        let sent = play.sent();
        assert!(
            matches!(
                sent.iter().map(|frame| &frame.says).collect::<Vec<_>>()[..],
                [model::ClientSays::Subscribe(_), model::ClientSays::Unsubscribe { .. }]
            ),
            "{sent:?}"
        );
    }
    assert_eq!(play.actions(), [], "the new room has not been answered for");
}

#[test]
fn servers_that_send_each_other_the_client_are_not_followed_for_ever() {
    let (mut play, old, mut new) = moving();
    let mut followed = 0;
    loop {
        greeted(&mut play, new, 10);
        let to = MoveTo { url: Some(THERE.into()), resume_token: "moved".into(), within_ms: 9_000 };
        play.hears(0, Says::Move(to));
        match play.actions().as_slice() {
            [Action::Close { socket }, Action::Dial { socket: next, .. }] if *socket == new => {
                new = *next;
            }
            [Action::Close { socket }] if *socket == new => break,
            other => panic!("{other:?}"),
        }
        followed += 1;
        assert!(followed < 10);
    }
    assert_eq!(followed, 2);
    play.socket = old;
    play.others_message(11);
    assert_eq!(seqs(&play.events()), [11], "the old one stands all the while");
}
