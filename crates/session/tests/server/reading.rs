//! Reading a room: join, resume, lag, trim, erase, a new log, a new owner.

use crate::shard::*;
use model::*;
use session::log::{Request, SegmentFault, WireKind};

fn small() -> Limits {
    Limits { log_entries_max: 100, ..Limits::default() }
}

/// A room at 200 that `ann` reads live.
fn live(limits: Limits) -> (Shard, session::log::SessionKey) {
    let mut shard = Shard::new(limits);
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.fed("r", watching(1, info("L", 1, 200), None));
    shard.attached(ann, snapshot("L", 200, SnapshotReason::New));
    assert_eq!(shard.reads(ann), ["welcome ann 1", "subscribed r L/200 snapshot new - 0"]);
    (shard, ann)
}

#[test]
fn a_subscriber_reads_on_where_its_snapshot_ends() {
    let (mut shard, ann) = live(small());
    shard.fed("r", entries("r", "L", 201..=203));
    let reads = shard.reads(ann);
    assert_eq!(seqs(&reads, "r"), [201, 202, 203]);
    assert_eq!(shard.peers[&ann].socket.writes, 3, "welcome, subscribed, and all three together");
    assert!(shard.fetches().is_empty());
}

#[test]
fn an_answer_may_come_before_the_watch_or_behind_its_entries() {
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", Some(("L", 198)))]);
    let bob = shard.open("bob", vec![subscribe("r", Some(("L", 198)))]);
    shard.attached(ann, resumed("L", 200, 2));
    shard.fed("r", watching(1, info("L", 1, 201), None));
    shard.fed("r", entries("r", "L", 202..=202));
    shard.attached(bob, resumed("L", 200, 2));
    assert_eq!(shard.serve(201), 1, "one segment for both");
    for reader in [ann, bob] {
        assert_eq!(seqs(&shard.reads(reader), "r"), [199, 200, 201, 202]);
    }
}

#[test]
fn a_hundred_laggards_of_a_thousand_entries_cost_one_fetch_a_segment() {
    let mut shard = Shard::new(small());
    let names: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
    let readers: Vec<_> =
        names.iter().map(|id| shard.open(id, vec![subscribe("r", Some(("L", 1_000)))])).collect();
    shard.fed("r", watching(1, info("L", 1, 2_000), None));
    readers.iter().for_each(|reader| shard.attached(*reader, resumed("L", 2_000, 1_000)));
    assert_eq!(shard.serve(2_000) as u64, segments_of(1_001, 2_000));
    for reader in readers {
        assert_eq!(seqs(&shard.reads(reader), "r"), (1_001..=2_000).collect::<Vec<_>>());
    }
    assert!(shard.logs.segment_bytes() > 0);
    shard.after_ms(60_000);
    assert_eq!(shard.logs.segment_bytes(), 0, "what nobody reads is not kept");
}

#[test]
fn one_message_is_encoded_once_for_a_thousand_readers_of_each_encoding() {
    let mut shard = Shard::new(Limits::default());
    let wires = [WireKind::WebSocketJson, WireKind::WebSocketProto, WireKind::Grpc];
    let readers: Vec<_> = (0..1_000)
        .map(|n| {
            let identity = identity(&format!("u{n}"), Roles::open());
            shard.open_with(wires[n % 3], identity, vec![subscribe("r", None)])
        })
        .collect();
    shard.fed("r", watching(1, info("L", 1, 200), None));
    readers.iter().for_each(|r| shard.attached(*r, snapshot("L", 200, SnapshotReason::New)));
    let before = [Encoding::Json, Encoding::Proto].map(|e| shard.frames.encodes(e));
    shard.fed("r", entries("r", "L", 201..=201));
    for reader in readers {
        assert_eq!(seqs(&shard.reads(reader), "r"), [201]);
    }
    let after = [Encoding::Json, Encoding::Proto].map(|e| shard.frames.encodes(e));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [1, 1]);
}

#[test]
fn a_reader_that_stops_for_a_while_reads_segments_and_the_others_do_not_notice() {
    let (mut shard, slow) = live(small());
    let quick = shard.open("bob", vec![subscribe("r", None)]);
    shard.attached(quick, snapshot("L", 200, SnapshotReason::New));
    shard.peers.get_mut(&slow).unwrap().socket.window = 40;
    for seq in 201..=1_200 {
        shard.fed("r", entries("r", "L", seq..=seq));
    }
    let quick_writes = shard.peers[&quick].socket.writes;
    assert_eq!(quick_writes, 2 + 1_000);
    assert!(shard.fetches().is_empty(), "a socket that takes nothing asks for nothing");
    assert_eq!(seqs(&shard.reads(quick), "r"), (201..=1_200).collect::<Vec<_>>());
    shard.peers.get_mut(&slow).unwrap().socket.window = usize::MAX;
    shard.turn();
    let served = shard.serve(1_200) as u64;
    assert_eq!(served, segments_of(202, 1_100));
    assert_eq!(seqs(&shard.reads(slow), "r"), (201..=1_200).collect::<Vec<_>>());
    assert_eq!(shard.peers[&quick].socket.writes, quick_writes);
    assert!(shard.reads(quick).is_empty());
}

#[test]
fn what_was_trimmed_under_a_reader_is_told_before_the_next_message() {
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", Some(("L", 10)))]);
    shard.fed("r", watching(1, info("L", 1, 500), None));
    shard.attached(ann, resumed("L", 500, 490));
    let fetch = shard.fetches().remove(0);
    assert_eq!((fetch.first(), fetch.last()), (1, 63));
    // The read finds that retention was there first.
    shard.segment(&fetch, Err(SegmentFault::Trimmed { first: 300 }));
    shard.serve(500);
    let reads = shard.reads(ann);
    assert_eq!(reads[2], "truncated r 300 0");
    assert_eq!(seqs(&reads, "r"), (300..=500).collect::<Vec<_>>());
    // And once more, by the owner's word, while all has been read.
    shard.fed("r", Fed::Trimmed { watch: 1, first: 502 });
    shard.fed("r", entries("r", "L", 501..=502));
    assert_eq!(shard.reads(ann), ["truncated r 502 0", "message r L 502 text"]);
}

#[test]
fn a_segment_that_fails_is_asked_for_again_with_growing_pauses() {
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", Some(("L", 498)))]);
    shard.fed("r", watching(1, info("L", 1, 500), None));
    shard.attached(ann, resumed("L", 500, 2));
    for pause_ms in [100, 200, 400] {
        let fetch = shard.fetches().remove(0);
        shard.segment(&fetch, Err(SegmentFault::Unavailable));
        shard.after_ms(pause_ms - 1);
        assert!(shard.fetches().is_empty());
        assert_eq!(shard.logs.poll_timeout().unwrap().mono_us, shard.now.mono_us + 1_000);
        shard.after_ms(1);
    }
    let fetch = shard.fetches().remove(0);
    let holed = [497, 500].map(|seq| entry("r", "L", seq)).to_vec();
    shard.segment(&fetch, Ok(holed));
    assert_eq!(shard.logs.counters().fetch_faults, 4);
    shard.after_ms(800);
    shard.serve(500);
    assert_eq!(seqs(&shard.reads(ann), "r"), [499, 500]);
}

#[test]
fn an_erased_entry_is_a_tombstone_in_tail_and_segments_even_if_those_are_on_their_way() {
    let (mut shard, ann) = live(small());
    shard.peers.get_mut(&ann).unwrap().socket.window = 0;
    shard.fed("r", entries("r", "L", 201..=210));
    let bob = shard.open("bob", vec![subscribe("r", Some(("L", 129)))]);
    shard.attached(bob, resumed("L", 210, 81));
    let fetch = shard.fetches().remove(0);
    let tombstone = |seq| entry_of("r", "L", seq, seq, ContentKind::Tombstone, "gone");
    let erased = vec![tombstone(130), tombstone(205)];
    shard.fed("r", Fed::Erased { watch: 1, entries: erased });
    shard.segment(&fetch, Ok((128..=191).map(|seq| entry("r", "L", seq)).collect()));
    shard.serve(210);
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.turn();
    let texts = |reads: &[String]| -> Vec<String> {
        reads.iter().filter(|text| text.ends_with("gone")).cloned().collect()
    };
    assert_eq!(texts(&shard.reads(ann)), ["message r L 205 gone"]);
    let reads = shard.reads(bob);
    assert_eq!(texts(&reads), ["message r L 130 gone", "message r L 205 gone"]);
    assert_eq!(seqs(&reads, "r"), (130..=210).collect::<Vec<_>>());
}

#[test]
fn a_new_owner_that_is_ahead_leaves_a_gap_that_segments_fill() {
    let (mut shard, ann) = live(small());
    shard.fed("r", entries("r", "L", 201..=205));
    shard.fed("r", watching(2, info("L", 1, 230), None));
    // The old owner's late word is inert.
    shard.fed("r", entries("r", "L", 206..=207));
    let late = Fed::Entries { watch: 2, log: log_id("L"), entries: vec![entry("r", "L", 231)] };
    shard.fed("r", late);
    assert_eq!(shard.serve(230) as u64, segments_of(206, 230));
    assert_eq!(seqs(&shard.reads(ann), "r"), (201..=231).collect::<Vec<_>>());
    assert_eq!(shard.logs.counters().gaps, 0);
}

#[test]
fn entries_above_head_plus_one_are_ignored_and_counted() {
    let (mut shard, ann) = live(small());
    shard.fed("r", entries("r", "L", 203..=204));
    shard.fed("r", entries("r", "M", 201..=201));
    shard.fed("r", entries("r", "L", 199..=201));
    assert_eq!(seqs(&shard.reads(ann), "r"), [201]);
    assert_eq!((shard.logs.counters().gaps, shard.logs.counters().duplicates), (3, 2));
}

#[test]
fn another_log_makes_every_reader_attach_again_with_its_position() {
    let (mut shard, ann) = live(small());
    shard.fed("r", entries("r", "L", 201..=202));
    shard.fed("r", watching(2, info("M", 1, 3), None));
    let (_, no, ask) = shard.asks.pop_back().unwrap();
    let after = Some(Position { log: log_id("L"), seq: 202 });
    assert_eq!(ask.body, AskBody::Attach { after, recent: 50 });
    shard.answer(ann, no, snapshot("M", 3, SnapshotReason::LogChanged));
    let late = Fed::Entries { watch: 2, log: log_id("M"), entries: vec![entry("r", "M", 4)] };
    shard.fed("r", late);
    let reads = shard.reads(ann);
    assert_eq!(reads[2..], ["subscribed r M/3 snapshot log_changed - 0", "message r M 4 text"]);
}

#[test]
fn a_room_that_is_born_under_its_readers_is_read_from_its_first_entry() {
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.fed("r", watching(1, info("", 0, 0), None));
    shard.attached(ann, snapshot("", 0, SnapshotReason::New));
    shard.fed("r", entries("r", "L", 1..=2));
    assert_eq!(seqs(&shard.reads(ann), "r"), [1, 2]);
    // And by a watch that has both.
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.attached(ann, snapshot("", 0, SnapshotReason::New));
    shard.fed("r", watching(1, info("L", 1, 2), None));
    shard.serve(2);
    assert_eq!(seqs(&shard.reads(ann), "r"), [1, 2]);
}

#[test]
fn an_answer_of_another_log_than_the_watchs_is_settled_after_a_second() {
    let mut shard = Shard::new(small());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.fed("r", watching(1, info("L", 1, 5), None));
    shard.attached(ann, snapshot("M", 9, SnapshotReason::New));
    assert!(shard.asks.is_empty());
    shard.after_ms(1_000);
    shard.attached(ann, snapshot("L", 5, SnapshotReason::LogChanged));
    shard.fed("r", entries("r", "L", 6..=6));
    assert_eq!(seqs(&shard.reads(ann), "r"), [6]);
}

#[test]
fn a_watch_that_its_owner_ends_is_told_to_every_reader() {
    let (mut shard, ann) = live(small());
    let bob = shard.open("bob", vec![subscribe("r", None)]);
    let why = Unsubscribed::new(UnsubscribedCode::RoomDamaged);
    shard.fed("r", Fed::Unwatched { watch: 1, why });
    assert_eq!(shard.reads(ann), ["unsubscribed r room_damaged 0"]);
    assert_eq!(shard.reads(bob), ["welcome bob 1", "unsubscribed r room_damaged 0"]);
    assert_eq!((shard.logs.rooms(), shard.peers[&ann].session.rooms()), (0, 0));
    shard.requests.clear();
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("r", None)));
    assert_eq!(shard.requests, [Request::Watch { room: room("r") }]);
}

#[test]
fn a_room_is_watched_once_and_unwatched_when_its_last_reader_has_left() {
    let (mut shard, ann) = live(small());
    let bob = shard.open("bob", vec![subscribe("r", None)]);
    assert_eq!(shard.requests, [Request::Watch { room: room("r") }]);
    shard.close(ann);
    shard.say(bob, 2, ClientSays::Unsubscribe { room: room("r") });
    let both = [Request::Watch { room: room("r") }, Request::Unwatch { room: room("r") }];
    assert_eq!(shard.requests, both);
    let detaches: Vec<AskBody> = shard.asks.iter().map(|(.., ask)| ask.body.clone()).collect();
    assert!(detaches.contains(&AskBody::Detach { left: false }));
    assert!(detaches.contains(&AskBody::Detach { left: true }));
    assert_eq!(shard.logs.members(&room("r")), 0);
}
