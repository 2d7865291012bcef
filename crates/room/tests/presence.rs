//! Who is here, as watchers are told.

mod common;

use bytes::Bytes;
use common::*;
use model::{
    Answer, AskBody, Fed, Generation, Limits, PresenceChange, Roster, SessionId, User, Who,
};
use room::Peer;

const WATCHER: Peer = Peer(9);

fn world(list_max: usize) -> (Store, Owner) {
    let mut store = Store::default();
    let limits = Limits { presence_list_max: list_max, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    owner.watch(WATCHER, 1);
    owner.take_fed(WATCHER);
    (store, owner)
}

fn told(owner: &mut Owner) -> Vec<String> {
    owner
        .take_fed(WATCHER)
        .into_iter()
        .map(|fed| match fed {
            Fed::Presence { change: PresenceChange::Full(Roster { count, users }), .. } => {
                format!("{count} full {}", names(&users))
            }
            Fed::Presence {
                change: PresenceChange::Delta { count, arrived, departed }, ..
            } => {
                let departed: Vec<&str> = departed.iter().map(|id| id.as_str()).collect();
                format!("{count} +[{}] -[{}]", names(&arrived), departed.join(" "))
            }
            other => format!("{other:?}"),
        })
        .collect()
}

fn names(users: &[User]) -> String {
    let names: Vec<String> = users
        .iter()
        .map(|user| format!("{}{}", user.id, String::from_utf8_lossy(&user.data)))
        .collect();
    names.join(" ")
}

fn attach(owner: &mut Owner, peer: Peer, who: Who) {
    owner.ask(peer, who, AskBody::Attach { after: None, recent: 0 });
}

#[test]
fn changes_are_told_at_once_and_then_together() {
    let (_, mut owner) = world(10);
    attach(&mut owner, ALICE, who("ann"));
    assert_eq!(told(&mut owner), ["1 +[ann] -[]"]);
    for name in ["bob", "cid", "dan"] {
        attach(&mut owner, ALICE, who(name));
        owner.pass(10);
    }
    owner.ask(ALICE, who("dan"), AskBody::Detach { left: true });
    assert_eq!(told(&mut owner), [""; 0]);
    let due = owner.room.poll_timeout().expect("a push is due");
    assert_eq!(due.mono_us, 250_001);
    owner.pass(220);
    assert_eq!(told(&mut owner), ["3 +[bob cid] -[]"]);
    owner.pass(10_000);
    assert_eq!(told(&mut owner), [""; 0]);
}

#[test]
fn whoever_comes_back_within_the_grace_never_left() {
    let (_, mut owner) = world(10);
    attach(&mut owner, ALICE, who("ann"));
    told(&mut owner);
    owner.room.handle_peer_lost(owner.now, ALICE);
    owner.pass(14_000);
    let again = Who { generation: Generation { counter: 2, random: 0 }, ..who("ann") };
    attach(&mut owner, BOB, again);
    owner.pass(60_000);
    assert_eq!(told(&mut owner), [""; 0]);

    owner.room.handle_peer_lost(owner.now, BOB);
    owner.pass(0);
    assert_eq!(
        owner.room.poll_timeout(),
        Some(owner.now.plus_ms(15_000)).map(|at| model::Now { wall_ms: 0, ..at })
    );
    owner.pass(14_999);
    assert_eq!(told(&mut owner), [""; 0]);
    owner.pass(1);
    assert_eq!(told(&mut owner), ["0 +[] -[ann]"]);
}

#[test]
fn a_person_leaves_with_the_last_connection() {
    let (_, mut owner) = world(10);
    let phone = |counter| Who {
        session: Some(SessionId::new("phone").expect("valid")),
        generation: Generation { counter, random: 0 },
        ..who("ann")
    };
    attach(&mut owner, ALICE, who("ann"));
    attach(&mut owner, BOB, phone(1));
    owner.ask(ALICE, who("ann"), AskBody::Detach { left: true });
    owner.pass(1_000);
    assert_eq!(told(&mut owner), ["1 +[ann] -[]"]);
    // The phone's connection breaks, comes back, and leaves on purpose.
    owner.ask(BOB, phone(1), AskBody::Detach { left: false });
    attach(&mut owner, BOB, phone(2));
    owner.ask(BOB, phone(1), AskBody::Detach { left: true });
    owner.pass(1_000);
    assert_eq!(told(&mut owner), [""; 0]);
    owner.ask(BOB, phone(2), AskBody::Detach { left: true });
    owner.pass(1_000);
    assert_eq!(told(&mut owner), ["0 +[] -[ann]"]);
}

#[test]
fn the_last_attachment_says_how_a_person_looks() {
    let (_, mut owner) = world(10);
    let with = |session: &str, data: &'static str| {
        let mut who = who("ann");
        who.session = Some(SessionId::new(session).expect("valid"));
        who.user.data = Bytes::from_static(data.as_bytes());
        who
    };
    attach(&mut owner, ALICE, with("laptop", "=busy"));
    owner.pass(1_000);
    attach(&mut owner, ALICE, with("phone", "=away"));
    owner.pass(1_000);
    owner.ask(ALICE, with("phone", ""), AskBody::Detach { left: true });
    owner.pass(1_000);
    assert_eq!(told(&mut owner), ["1 +[ann=busy] -[]", "1 +[ann=away] -[]", "1 +[ann=busy] -[]"]);
}

#[test]
fn beyond_the_list_only_the_count_is_told() {
    let (_, mut owner) = world(2);
    for name in ["ann", "bob", "cid", "dan"] {
        attach(&mut owner, ALICE, who(name));
        owner.pass(1_000);
    }
    assert_eq!(told(&mut owner), ["1 +[ann] -[]", "2 +[bob] -[]", "3 full ", "4 full "]);
    // One comes and one goes: the count stays.
    attach(&mut owner, ALICE, who("eve"));
    owner.ask(ALICE, who("dan"), AskBody::Detach { left: true });
    owner.pass(1_000);
    let expected = "4 full ";
    assert!(told(&mut owner).iter().all(|told| told == "5 full " || told == expected));
    for name in ["ann", "bob"] {
        owner.ask(ALICE, who(name), AskBody::Detach { left: true });
        owner.pass(1_000);
    }
    assert_eq!(told(&mut owner), ["3 full ", "2 full cid eve"]);
    let ask = owner.ask(BOB, who("bob"), AskBody::Presence);
    assert!(matches!(owner.answer(BOB, ask), Answer::Presence(roster) if roster.users.len() == 2));
}

#[test]
fn what_a_new_watch_is_told_is_what_the_next_delta_builds_on() {
    let (_, mut owner) = world(10);
    attach(&mut owner, ALICE, who("ann"));
    attach(&mut owner, ALICE, who("bob"));
    owner.watch(BOB, 1);
    let fed = owner.take_fed(BOB);
    let [Fed::Watching { presence: Some(roster), .. }] = &fed[..] else { panic!("{fed:?}") };
    assert_eq!(names(&roster.users), "ann");
    owner.pass(1_000);
    let fed = owner.take_fed(BOB);
    let [Fed::Presence { change: PresenceChange::Delta { count: 2, arrived, .. }, .. }] = &fed[..]
    else {
        panic!("{fed:?}")
    };
    assert_eq!(names(arrived), "bob");
}
