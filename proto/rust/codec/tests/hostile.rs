//! Bytes that mean harm: the fuzzer's corpus, and a hundred thousand mutations of every vector.

use fastrand::Rng;
use model::{ClientSays, Encoding};

use super::golden::files;
use super::property::{holds_for_a_client, holds_for_a_server};
use crate::codec::decode_client;

const MUTATIONS: usize = 100_000;
/// Longer vectors (those that are over a limit) would take most of the time and find nothing more.
const SEED_BYTES_MAX: usize = 2_048;

/// The inputs of an extension in all these folders.
fn seeds(folders: &[&str], extension: &str) -> Vec<Vec<u8>> {
    let found = folders.iter().flat_map(|folder| files(folder, extension));
    found.map(|(_, bytes)| bytes).filter(|bytes| bytes.len() <= SEED_BYTES_MAX).collect()
}

fn client_seeds(encoding: Encoding) -> Vec<Vec<u8>> {
    match encoding {
        Encoding::Json => seeds(
            &["client", "spellings/client", "invalid", "../../fuzz/corpus/client_json"],
            "json",
        ),
        Encoding::Proto => seeds(
            &["client", "invalid", "spellings/client", "../../fuzz/corpus/client_proto"],
            "binpb",
        ),
    }
}

fn server_seeds(encoding: Encoding) -> Vec<Vec<u8>> {
    match encoding {
        Encoding::Json => seeds(&["server", "spellings/server"], "json"),
        Encoding::Proto => seeds(&["server", "spellings/server"], "binpb"),
    }
}

/// Changes a few bytes, as a fuzzer would.
fn mutated(random: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(seeds).expect("there are seeds").clone();
    let changes = if random.bool() { 1 } else { random.usize(2..5) };
    for _ in 0..changes {
        let at = random.usize(..=bytes.len());
        match random.u8(..10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, one_of(random, b"\0\x7f\x80\xff{}[]\",:0\\")),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                let other = random.choice(seeds).expect("there are seeds");
                let from = random.usize(..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            6 => {
                let piece = bytes[at..(at + random.usize(..16)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = of_its_kind(random, *byte);
                }
            }
        }
    }
    bytes
}

fn one_of(random: &mut Rng, bytes: &[u8]) -> u8 {
    *random.choice(bytes).expect("not empty")
}

/// Another byte that stands where this one does, so that more than the parser's first lines are met.
fn of_its_kind(random: &mut Rng, byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => random.u8(b'0'..=b'9'),
        b'a'..=b'z' => random.u8(b'a'..=b'z'),
        b'A'..=b'Z' => random.u8(b'A'..=b'Z'),
        0..32 => random.u8(0..32),
        128.. => random.u8(128..),
        punctuation => punctuation,
    }
}

#[test]
fn no_bytes_from_a_client_break_the_codec() {
    let mut random = Rng::with_seed(0x5EED);
    for encoding in [Encoding::Json, Encoding::Proto] {
        let seeds = client_seeds(encoding);
        for seed in &seeds {
            holds_for_a_client(encoding, seed);
        }
        let rounds = 0..MUTATIONS / 2;
        let allowed =
            rounds.filter(|_| holds_for_a_client(encoding, &mutated(&mut random, &seeds))).count();
        // Mutations that are all rubbish would test the first line of a parser only.
        assert!(allowed > MUTATIONS / 40, "only {allowed} of {encoding:?} could be read");
    }
}

#[test]
fn no_bytes_from_a_server_break_the_codec() {
    let mut random = Rng::with_seed(0x5EED);
    for encoding in [Encoding::Json, Encoding::Proto] {
        let seeds = server_seeds(encoding);
        seeds.iter().for_each(|seed| holds_for_a_server(encoding, seed));
        for _ in 0..MUTATIONS / 10 {
            holds_for_a_server(encoding, &mutated(&mut random, &seeds));
        }
    }
}

#[test]
fn a_frame_of_the_greatest_size_that_only_nests_is_an_error() {
    for opening in ["[", "{\"a\":", "{\"publish\":", "{\"signal\":{\"data\":{\"a\":"] {
        let deep = opening.repeat(model::limits::HELLO_BYTES_MAX / opening.len());
        assert!(decode_client(Encoding::Json, deep.as_bytes()).is_err(), "{opening}");
    }
    let put = |number: u32, inner: &[u8]| {
        let mut message = Vec::new();
        crate::codec::fields::put_bytes(&mut message, number, inner);
        message
    };
    let mut value = vec![0x08, 0]; // null
    while value.len() < model::limits::FRAME_BYTES_MAX {
        value = put(6, &put(1, &value)); // Value.list, ListValue.values
    }
    let member = [put(1, b"a"), put(2, &value)].concat();
    let frame = put(7, &put(3, &put(1, &member))); // ClientFrame.signal, Signal.data, Struct.fields
    let unreadable = decode_client(Encoding::Proto, &frame).expect_err("too deep");
    assert!(unreadable.message.contains("recursion limit"), "{unreadable}");
}

#[test]
fn a_hello_of_a_thousand_faults_is_one_refusal() {
    let hello = |rooms: usize| {
        let rooms = vec!["{}"; rooms].join(",");
        format!(r#"{{"ref":1,"hello":{{"name":"Ann","subscribe":[{{"room":"lobby"}},{rooms}]}}}}"#)
    };
    let says =
        |rooms| decode_client(Encoding::Json, hello(rooms).as_bytes()).expect("readable").says;
    let ClientSays::Hello(few) = says(100) else { panic!("refused") };
    assert_eq!((few.subscribe.len(), few.faulty.len()), (1, 100));
    assert_eq!(few.faulty[0], (String::new(), "hello.subscribe[1].room is missing".to_owned()));
    let ClientSays::Faulty(refusal) = says(1_000) else { panic!("taken") };
    assert!(
        refusal.message.starts_with("hello.subscribe has more than 100 entries"),
        "{refusal:?}"
    );
}
