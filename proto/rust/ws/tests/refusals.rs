//! Every error by its bytes.

use super::masked;
use super::property::{Told, told};
use crate::ws::{Decoder, WsError};

const MAX: usize = 1024;

/// What is told of `stream`, read at once and byte by byte.
fn decode(stream: &[u8]) -> (Vec<Told>, Option<WsError>) {
    let whole = told(stream, || stream.len(), MAX);
    assert_eq!(whole, told(stream, || 1, MAX));
    whole
}

fn refusal(stream: impl AsRef<[u8]>) -> WsError {
    decode(stream.as_ref()).1.expect("is refused")
}

#[test]
fn a_header_that_no_client_may_send_is_refused_by_its_first_wrong_byte() {
    assert_eq!(refusal([0xc1]), WsError::ReservedBits);
    assert_eq!(refusal([0x91]), WsError::ReservedBits);
    assert_eq!(refusal([0x83]), WsError::ReservedOpcode(3));
    assert_eq!(refusal([0x8f]), WsError::ReservedOpcode(15));
    assert_eq!(refusal([0x09]), WsError::FragmentedControl);
    assert_eq!(refusal([0x81, 0x05]), WsError::Unmasked);
    assert_eq!(refusal([0x89, 0xfe, 0, 126]), WsError::ControlTooLarge);
}

#[test]
fn a_length_in_a_longer_form_than_needed_is_refused() {
    assert_eq!(refusal([0x81, 0xfe, 0, 125]), WsError::BadLength);
    assert_eq!(refusal([0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), WsError::BadLength);
    assert_eq!(refusal([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), WsError::BadLength);
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header_and_holds_nothing() {
    for declared in [MAX as u64 + 1, 4 << 30, i64::MAX as u64] {
        let mut header = match u16::try_from(declared) {
            Ok(short) => [&[0x82, 0xfe][..], &short.to_be_bytes()].concat(),
            Err(_) => [&[0x82, 0xff][..], &declared.to_be_bytes()].concat(),
        };
        header.extend([1, 2, 3, 4]);
        let mut decoder = Decoder::default();
        let refused = decoder.decode(&mut &mut header[..], MAX).map(|_| ());
        assert_eq!(refused, Err(WsError::TooLarge { declared, max: MAX }));
        assert_eq!(decoder.held_bytes(), 0);
    }
    assert_eq!(decode(&masked(0x82, &[0; MAX])).1, None);
}

#[test]
fn the_limit_counts_all_fragments_of_a_message() {
    let mut stream = masked(0x02, &[0; MAX - 1]);
    stream.extend(masked(0x00, &[0; 1]));
    stream.extend(&masked(0x80, &[0; 1])[..6]);
    let declared = MAX as u64 + 1;
    assert_eq!(refusal(stream), WsError::TooLarge { declared, max: MAX });
}

#[test]
fn control_frames_pass_whatever_the_limit_of_messages() {
    let mut stream = masked(0x89, b"still there?");
    let mut decoder = Decoder::default();
    assert!(matches!(decoder.decode(&mut &mut stream[..], 0), Ok(Some(_))));
}

#[test]
fn fragments_out_of_place_are_refused() {
    assert_eq!(refusal(masked(0x80, b"tail")), WsError::ContinuationWithoutStart);
    let twice = [masked(0x01, b"one"), masked(0x81, b"two")].concat();
    assert_eq!(refusal(twice), WsError::MessageInsideMessage);
    let after_a_whole_one = [masked(0x81, b"one"), masked(0x80, b"two")].concat();
    assert_eq!(
        decode(&after_a_whole_one),
        (vec![Told::Text("one".into())], Some(WsError::ContinuationWithoutStart))
    );
}

#[test]
fn text_must_be_utf8_and_a_character_may_be_cut_by_fragments() {
    let cut = [masked(0x01, b"\xe2\x82"), masked(0x89, b"!"), masked(0x80, b"\xac")].concat();
    assert_eq!(decode(&cut), (vec![Told::Ping(b"!".into()), Told::Text("€".into())], None));
    assert_eq!(refusal(masked(0x81, b"\xc0\xaf")), WsError::InvalidUtf8);
    assert_eq!(refusal(masked(0x81, b"\xed\xa0\x80")), WsError::InvalidUtf8);
    assert_eq!(refusal(masked(0x81, b"\xe2\x82")), WsError::InvalidUtf8);
    let unfinished = [masked(0x01, b"\xe2"), masked(0x80, b"\x82")].concat();
    assert_eq!(refusal(unfinished), WsError::InvalidUtf8);
}

#[test]
fn a_text_is_refused_at_the_end_of_its_first_bad_fragment() {
    let stream = [masked(0x01, b"fine"), masked(0x00, b"\xff"), masked(0x89, b"")].concat();
    assert_eq!(decode(&stream), (vec![], Some(WsError::InvalidUtf8)));
}

#[test]
fn a_close_frame_needs_a_whole_code_that_may_be_sent_and_a_reason_in_utf8() {
    assert_eq!(decode(&masked(0x88, b"")), (vec![Told::Close(None, String::new())], None));
    let told = vec![Told::Close(Some(1000), "bye".into())];
    assert_eq!(decode(&masked(0x88, b"\x03\xe8bye")), (told, None));
    assert_eq!(refusal(masked(0x88, b"\x03")), WsError::BadClosePayload);
    assert_eq!(refusal(masked(0x88, b"\x03\xe8\xff")), WsError::InvalidUtf8);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
        assert_eq!(refusal(masked(0x88, &code.to_be_bytes())), WsError::BadCloseCode(code));
    }
}

#[test]
fn nothing_is_told_after_a_close_or_an_error() {
    let closed = [masked(0x88, b""), masked(0x81, b"more"), vec![0xff]].concat();
    assert_eq!(decode(&closed), (vec![Told::Close(None, String::new())], None));

    let mut decoder = Decoder::default();
    let mut broken = [vec![0xff], masked(0x81, b"more")].concat();
    let mut input = &mut broken[..];
    assert_eq!(decoder.decode(&mut input, MAX), Err(WsError::ReservedBits));
    assert_eq!(decoder.decode(&mut input, MAX), Ok(None));
    assert!(input.is_empty() && decoder.is_finished());
}
