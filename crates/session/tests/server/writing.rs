//! Writes: how much at once, in which order, and in pieces of any size.

use model::*;
use session::log::{SessionKey, WireKind, websocket_message_bytes};
use session::server::{Next, SLICES_MAX, Slices, WRITE_BYTES_MAX};

use crate::shard::*;

/// `ann` reads these rooms live at 10, and her socket takes nothing.
fn stalled(wire: WireKind, rooms: &[&str]) -> (Shard, SessionKey) {
    let mut shard = Shard::new(Limits::default());
    let wishes = rooms.iter().map(|name| subscribe(name, Some(("L", 10)))).collect();
    let ann = shard.open_with(wire, identity("ann", Roles::open()), wishes);
    for name in rooms {
        shard.fed(name, watching(1, info("L", 1, 10), None));
        shard.attached(ann, resumed("L", 10, 0));
    }
    shard.reads(ann);
    shard.peers.get_mut(&ann).unwrap().socket.window = 0;
    (shard, ann)
}

/// The lengths of what is offered in one write.
fn offered(shard: &mut Shard, key: SessionKey) -> Vec<usize> {
    let mut slices = Slices::new();
    let peer = shard.peers.get_mut(&key).unwrap();
    let next = peer.session.poll_transmit(shard.now, &mut shard.logs, &mut slices);
    let lengths: Vec<usize> = slices.as_io().iter().map(|slice| slice.len()).collect();
    assert_eq!(next, Next::Bytes(lengths.iter().sum()));
    peer.session.handle_written(0, &shard.logs);
    lengths
}

#[test]
fn one_write_has_at_most_64_slices_and_a_quarter_of_a_megabyte() {
    let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["r"]);
    shard.fed("r", entries("r", "L", 11..=200));
    assert_eq!(offered(&mut shard, ann).len(), SLICES_MAX);
    let long = "x".repeat(20_000);
    let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["r"]);
    for seq in 11..=50 {
        let entries = vec![entry_of("r", "L", seq, seq, ContentKind::Post, &long)];
        shard.fed("r", Fed::Entries { watch: 1, log: log_id("L"), entries });
    }
    let lengths = offered(&mut shard, ann);
    let without_last: usize = lengths[..lengths.len() - 1].iter().sum();
    assert!(without_last < WRITE_BYTES_MAX && lengths.len() == 14, "{lengths:?}");
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.turn();
    assert_eq!(seqs(&shard.reads(ann), "r"), (11..=50).collect::<Vec<_>>());
}

#[test]
fn a_busy_room_does_not_keep_the_others_waiting() {
    let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["busy", "a", "b"]);
    shard.fed("busy", entries("busy", "L", 11..=900));
    shard.fed("a", entries("a", "L", 11..=12));
    shard.fed("b", entries("b", "L", 11..=12));
    shard.peers.get_mut(&ann).unwrap().socket.window = 30 * 100;
    shard.turn();
    let reads = shard.reads(ann);
    assert_eq!((seqs(&reads, "a").len(), seqs(&reads, "b").len()), (2, 2));
}

#[test]
fn answers_go_before_messages_and_messages_before_what_may_be_lost() {
    let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["r"]);
    let (from, kind, data) = (user("bob"), "typing".to_owned(), bytes::Bytes::new());
    shard.fed("r", Fed::Signal { watch: 1, from, kind, data });
    shard.fed("r", entries("r", "L", 11..=11));
    shard.say(ann, 2, ClientSays::Mark { room: room("r"), seq: 3 });
    shard.reply(ann, |_| Some(Answer::Refused(Refusal::new(RefusalCode::Forbidden))));
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.turn();
    let want = ["refused forbidden - 2", "message r L 11 text", "signal r bob typing 0"];
    assert_eq!(shard.reads(ann), want);
    assert_eq!(shard.peers[&ann].socket.writes, 2 + 1, "all three together");
}

#[test]
fn written_byte_by_byte_everything_arrives_whole() {
    let (mut shard, ann) = stalled(WireKind::WebSocketProto, &["a", "b"]);
    for seq in 11..=30 {
        shard.fed("a", entries("a", "L", seq..=seq));
        shard.fed("b", entries("b", "L", seq..=seq));
        let peer = shard.peers.get_mut(&ann).unwrap();
        peer.socket.window = 7;
        transmit(shard.now, peer, &mut shard.logs, 1);
        peer.socket.window = 0;
        // What is half written is erased and trimmed meanwhile.
        let tombstone = entry_of("a", "L", seq, seq, ContentKind::Tombstone, "gone");
        shard.fed("a", Fed::Erased { watch: 1, entries: vec![tombstone] });
    }
    shard.fed("b", Fed::Trimmed { watch: 1, first: 25 });
    let peer = shard.peers.get_mut(&ann).unwrap();
    peer.socket.window = usize::MAX;
    transmit(shard.now, peer, &mut shard.logs, 1);
    let reads = shard.reads(ann);
    assert_eq!(seqs(&reads, "a"), (11..=30).collect::<Vec<_>>());
    assert!(reads.contains(&"truncated b 25 0".to_owned()));
    let b = seqs(&reads, "b");
    assert_eq!(b[b.len() - 6..], [25, 26, 27, 28, 29, 30]);
}

#[test]
fn over_grpc_each_slice_is_one_message() {
    let (mut shard, ann) = stalled(WireKind::Grpc, &["r"]);
    for n in 2..5 {
        shard.say(ann, n, ClientSays::Unsubscribe { room: room("none") });
    }
    shard.fed("r", entries("r", "L", 11..=12));
    let refused = "Proto refused not_subscribed - 2".len();
    let message = "Proto message r L 11 text".len();
    assert_eq!(offered(&mut shard, ann), [refused, refused, refused, message, message]);
}

#[test]
fn rooms_with_many_readers_take_turns() {
    let mut shard = Shard::new(Limits::default());
    for name in ["a", "b"] {
        for n in 0..600 {
            shard.open(&format!("u{n}"), vec![subscribe(name, Some(("L", 10)))]);
        }
        shard.fed(name, watching(1, info("L", 1, 10), None));
    }
    for name in ["a", "b"] {
        shard.logs.handle_fed(shard.now, &room(name), entries(name, "L", 11..=11));
    }
    let looks: Vec<u32> =
        std::iter::from_fn(|| shard.logs.poll_news()).map(|news| news.session.0 / 600).collect();
    let runs: Vec<(u32, usize)> =
        looks.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    assert_eq!(runs, [(0, 256), (1, 256), (0, 256), (1, 256), (0, 88), (1, 88)]);
}

/// A close frame was written into the middle of a message when the client closed, or was given up,
/// while that message was half written: the reader took the one for the end of the other.
#[test]
fn what_is_left_of_a_half_written_message_is_known_at_every_byte() {
    let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["r"]);
    shard.say(ann, 2, ClientSays::Unsubscribe { room: room("none") });
    shard.say(ann, 3, ClientSays::Unsubscribe { room: room("none") });
    shard.fed("r", entries("r", "L", 11..=12));
    let whole = bytes_of(&mut shard, ann);
    let mut ends = vec![0];
    while let Some(from) = ends.last().copied().filter(|end| *end < whole.len()) {
        ends.push(from + websocket_message_bytes(&whole[from..]));
    }
    assert_eq!(ends.len(), 5, "four messages");
    for written in 0..whole.len() {
        let peer = shard.peers.get_mut(&ann).unwrap();
        let end = ends.iter().copied().find(|end| *end >= written).expect("an end");
        assert_eq!(peer.session.half_written(), &whole[written..end], "{written} written");
        peer.session.poll_transmit(shard.now, &mut shard.logs, &mut Slices::new());
        peer.session.handle_written(1, &shard.logs);
    }
}

#[test]
fn who_is_given_up_in_the_middle_of_a_message_is_cut() {
    for written in [0, 3] {
        let (mut shard, ann) = stalled(WireKind::WebSocketJson, &["r"]);
        shard.say(ann, 2, ClientSays::Unsubscribe { room: room("none") });
        let peer = shard.peers.get_mut(&ann).unwrap();
        peer.session.poll_transmit(shard.now, &mut shard.logs, &mut Slices::new());
        peer.session.handle_written(written, &shard.logs);
        let end = session::server::Drain::End(End::new(EndCode::Restarting));
        peer.session.handle_drain(shard.now, end, &mut shard.logs);
        let late = shard.now.plus_ms(session::server::CLOSE_WITHIN_MS);
        peer.session.handle_timeout(late, &mut shard.logs);
        assert_eq!(peer.session.is_cut(), written > 0);
        let action = std::iter::from_fn(|| peer.session.poll_action()).last();
        assert!(matches!(action, Some(session::server::Action::Close { .. })), "{action:?}");
    }
}

/// All that waits, as one piece.
fn bytes_of(shard: &mut Shard, key: SessionKey) -> Vec<u8> {
    let peer = shard.peers.get_mut(&key).unwrap();
    let mut slices = Slices::new();
    peer.session.poll_transmit(shard.now, &mut shard.logs, &mut slices);
    let whole = slices.as_io().iter().flat_map(|slice| slice.iter().copied()).collect();
    peer.session.handle_written(0, &shard.logs);
    whole
}
