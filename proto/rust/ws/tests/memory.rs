//! What a connection holds, and when it lets go.

use super::masked;
use crate::ws::{Decoder, Event};

const MAX: usize = 1 << 20;

/// Feeds `bytes` to the end and counts the events.
fn feed(decoder: &mut Decoder, bytes: &[u8]) -> usize {
    let mut scratch = bytes.to_vec();
    let mut input = &mut scratch[..];
    let mut events = 0;
    while decoder.decode(&mut input, MAX).expect("is accepted").is_some() {
        events += 1;
    }
    events
}

#[test]
fn frames_that_lie_whole_in_the_scratch_are_lent_out_of_it() {
    let mut decoder = Decoder::default();
    let mut scratch = [masked(0x81, b"one"), masked(0x82, b"two")].concat();
    let lies_in = scratch.as_ptr_range();
    let mut input = &mut scratch[..];
    for _ in 0..2 {
        match decoder.decode(&mut input, MAX) {
            Ok(Some(Event::Text("one"))) => {}
            Ok(Some(Event::Binary(two))) => assert!(lies_in.contains(&two.as_ptr())),
            other => panic!("{other:?}"),
        }
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn whatever_was_held_is_freed_when_it_is_complete() {
    let whole = masked(0x81, &[b'x'; 70_000]);
    let fragments = [masked(0x01, b"a"), masked(0x89, b"between"), masked(0x80, b"b")].concat();
    let ping = masked(0x89, b"cut");
    for (stream, events) in [(whole, 1), (fragments, 2), (ping, 1)] {
        let mut decoder = Decoder::default();
        let told: usize = stream.chunks(7).map(|piece| feed(&mut decoder, piece)).sum();
        assert_eq!((told, decoder.held_bytes()), (events, 0));
    }
}

#[test]
fn a_control_frame_between_fragments_is_freed_before_the_message_is() {
    let mut decoder = Decoder::default();
    feed(&mut decoder, &masked(0x01, b"a"));
    let open = decoder.held_bytes();
    let ping = masked(0x89, &[0; 125]);
    assert_eq!(feed(&mut decoder, &ping[..50]), 0);
    assert!(decoder.held_bytes() > open);
    assert_eq!(feed(&mut decoder, &ping[50..]), 1);
    assert_eq!(decoder.held_bytes(), open);
}

#[test]
fn memory_follows_what_arrived_not_what_was_declared() {
    let frame = masked(0x82, &[0; MAX]);
    let mut decoder = Decoder::default();
    let mut received = 0;
    for piece in frame[..MAX / 2].chunks(1000) {
        feed(&mut decoder, piece);
        received += piece.len();
        assert!(decoder.held_bytes() <= 2 * received + 256);
    }
    for piece in frame[MAX / 2..frame.len() - 1].chunks(1000) {
        feed(&mut decoder, piece);
        assert!(decoder.held_bytes() <= MAX + 256, "never beyond the declared length");
    }
}

/// How often feeding the pieces makes the decoder hold more.
fn growths(decoder: &mut Decoder, pieces: impl Iterator<Item = Vec<u8>>) -> usize {
    let grows = |piece: Vec<u8>| {
        let before = decoder.held_bytes();
        feed(decoder, &piece);
        decoder.held_bytes() > before
    };
    pieces.map(grows).filter(|&grew| grew).count()
}

#[test]
fn neither_tiny_fragments_nor_tiny_reads_copy_the_message_each_time() {
    let mut decoder = Decoder::default();
    feed(&mut decoder, &masked(0x02, b"."));
    let fragments = std::iter::repeat_n(masked(0x00, b"."), 10_000);
    let in_fragments = growths(&mut decoder, fragments);

    let frame = masked(0x82, &[0; 10_000]);
    let in_reads = growths(&mut Decoder::default(), frame.chunks(1).map(<[u8]>::to_vec));
    assert!(in_fragments < 20 && in_reads < 20, "{in_fragments} and {in_reads} times");
}

#[test]
fn an_error_lets_go_of_the_message_that_was_open() {
    let mut decoder = Decoder::default();
    feed(&mut decoder, &masked(0x01, &[b'x'; 1000]));
    assert!(decoder.held_bytes() >= 1000);
    assert!(decoder.decode(&mut &mut [0xff_u8][..], MAX).is_err());
    assert_eq!(feed(&mut decoder, b"whatever follows"), 0);
    assert_eq!(decoder.held_bytes(), 0);
}
