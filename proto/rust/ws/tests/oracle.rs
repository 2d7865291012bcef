//! tungstenite says the same: what its client writes, this decoder reads; what is written here, its client
//! reads; what it refuses, this decoder refuses.

use std::io::{self, Cursor, Read, Write};

use fastrand::Rng;
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::property::{Told, told};
use crate::ws::{
    Control, Data, OpCode, WsError, close_into, message_frame, message_frame_with, ping_into,
    pong_into,
};

const MAX: usize = 1 << 20;
/// What an edge reads at once.
const SCRATCH: usize = 64 * 1024;

/// Bytes to be read, then `WouldBlock`; bytes that were written.
#[derive(Default)]
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            size => Ok(size),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that tungstenite reads, and whether it refuses what follows.
fn oracle(stream: Vec<u8>, role: Role, message_bytes_max: usize) -> (Vec<Told>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let pipe = Pipe { input: Cursor::new(stream), output: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(pipe, role, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => events.push(Told::Text(text.as_str().into())),
            Ok(Message::Binary(payload)) => events.push(Told::Binary(payload.into())),
            Ok(Message::Ping(payload)) => events.push(Told::Ping(payload.into())),
            Ok(Message::Pong(_)) => events.push(Told::Pong),
            Ok(Message::Close(None)) => {
                events.push(Told::Close(None, String::new()));
                return (events, false);
            }
            Ok(Message::Close(Some(close))) => {
                events.push(Told::Close(Some(close.code.into()), close.reason.as_str().into()));
                return (events, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (events, false);
            }
            Err(_) => return (events, true),
        }
    }
}

fn payload_len(random: &mut Rng) -> usize {
    match random.u8(0..8) {
        0 => random.usize(0..3),
        1 => random.usize(124..128),
        2 => random.usize(65_534..65_538),
        3 => random.usize(0..70_000),
        _ => random.usize(0..300),
    }
}

/// One to four bytes a character, so that fragments cut through them.
fn text(random: &mut Rng, len: usize) -> String {
    const LETTERS: [char; 4] = ['a', 'ü', '€', '🦜'];
    (0..len / 3).filter_map(|_| random.choice(LETTERS)).collect()
}

/// Writes random messages and control frames with tungstenite's client; what a server is to be told.
fn chatter(random: &mut Rng, client: &mut WebSocket<Pipe>) -> Vec<Told> {
    let mut expected = Vec::new();
    for _ in 0..random.usize(1..8) {
        let len = payload_len(random);
        let (kind, payload) = match random.bool() {
            true => (Data::Text, text(random, len).into_bytes()),
            false => (Data::Binary, std::iter::repeat_with(|| random.u8(..)).take(len).collect()),
        };
        let fragments = random.usize(1..5);
        let size = payload.len().div_ceil(fragments).max(1);
        let mut pieces: Vec<_> = payload.chunks(size).map(<[u8]>::to_vec).collect();
        pieces.resize(fragments, Vec::new());
        for (i, piece) in pieces.into_iter().enumerate() {
            let opcode = OpCode::Data(if i == 0 { kind } else { Data::Continue });
            let frame = Frame::message(piece, opcode, i + 1 == fragments);
            client.write(Message::Frame(frame)).unwrap();
            if i + 1 < fragments && random.bool() {
                expected.push(control(random, client));
            }
        }
        expected.push(match kind {
            Data::Text => Told::Text(String::from_utf8(payload).unwrap()),
            _ => Told::Binary(payload),
        });
    }
    expected
}

fn control(random: &mut Rng, client: &mut WebSocket<Pipe>) -> Told {
    let payload = vec![random.u8(..); random.usize(0..126)];
    if random.bool() {
        client.write(Message::Frame(Frame::pong(payload))).unwrap();
        Told::Pong
    } else {
        client.write(Message::Frame(Frame::ping(payload.clone()))).unwrap();
        Told::Ping(payload)
    }
}

fn client() -> WebSocket<Pipe> {
    WebSocket::from_raw_socket(Pipe::default(), Role::Client, None)
}

#[test]
fn what_tungstenites_client_writes_is_read_however_it_is_cut() {
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let mut client = client();
        let expected = chatter(&mut random, &mut client);
        client.flush().unwrap();
        let stream = &client.get_ref().output;
        let expected = (expected, None);
        let mut few = random.fork();
        assert_eq!(told(stream, || SCRATCH, MAX), expected, "seed {seed}");
        assert_eq!(told(stream, || random.usize(1..9000), MAX), expected, "seed {seed}");
        assert_eq!(told(stream, || few.usize(1..60), MAX), expected, "seed {seed}");
    }
}

#[test]
fn a_stream_cut_in_two_at_any_byte_tells_the_same() {
    let mut client = client();
    let mut expected = Vec::new();
    for piece in [0..130, 130..131, 131..262] {
        let text = text(&mut Rng::with_seed(1), 3 * 262);
        let opcode = OpCode::Data(if piece.start == 0 { Data::Text } else { Data::Continue });
        let last = piece.end == 262;
        let frame = Frame::message(text.as_bytes()[piece].to_vec(), opcode, last);
        client.write(Message::Frame(frame)).unwrap();
        if last {
            expected.push(Told::Text(text[..262].into()));
        } else {
            client.write(Message::Ping("between".into())).unwrap();
            expected.push(Told::Ping(b"between".into()));
        }
    }
    client.close(None).unwrap();
    expected.push(Told::Close(None, String::new()));
    let stream = &client.get_ref().output;
    for cut in 0..=stream.len() {
        let mut pieces = [cut, stream.len()].into_iter().cycle();
        let told = told(stream, || pieces.next().expect("cycles"), MAX);
        assert_eq!(told, (expected.clone(), None), "cut at {cut}");
    }
    assert_eq!(told(stream, || 1, MAX), (expected, None));
}

#[test]
fn what_is_written_here_tungstenites_client_reads() {
    let mut out = Vec::new();
    let mut expected = Vec::new();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let text = "x".repeat(len);
        out.extend_from_slice(&message_frame(Data::Text, text.as_bytes()).0);
        out.extend_from_slice(
            &message_frame_with(Data::Binary, 64, |out| out.extend(text.as_bytes())).0,
        );
        ping_into(b"are you there", &mut out);
        pong_into(b"yes", &mut out);
        expected.push(Told::Text(text.clone()));
        expected.push(Told::Binary(text.into()));
        expected.push(Told::Ping(b"are you there".into()));
        expected.push(Told::Pong);
    }
    close_into(4001, "restarting", &mut out);
    expected.push(Told::Close(Some(4001), "restarting".into()));
    assert_eq!(oracle(out, Role::Client, MAX), (expected, false));
}

/// A short stream of frames, most of them allowed, with masks from the seed.
fn frames(random: &mut Rng) -> Vec<u8> {
    const PAYLOADS: [&[u8]; 6] = [b"", b"hi", b"\xe2\x82", b"\xac", b"\x03\xe8bye", &[b'x'; 130]];
    let mut stream = Vec::new();
    for _ in 0..random.usize(1..6) {
        let opcode = match random.u8(0..12) {
            0..4 => OpCode::Data(Data::Continue),
            4..7 => OpCode::Data(Data::Text),
            7..9 => OpCode::Data(Data::Binary),
            9 => OpCode::Control(Control::Ping),
            10 => OpCode::Control(Control::Pong),
            _ => OpCode::Control(Control::Close),
        };
        let is_final = matches!(opcode, OpCode::Control(_)) || random.bool();
        let mask = random.u32(..).to_ne_bytes();
        let payload = random.choice(PAYLOADS).expect("there are some");
        FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() }
            .format(payload.len() as u64, &mut stream)
            .unwrap();
        stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
    stream
}

fn damage(stream: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(0..stream.len());
    match random.u8(0..6) {
        0 => stream[at] = random.u8(..),
        1 => stream[at] ^= 1 << random.u8(0..8),
        2 => stream.truncate(at),
        3 => stream.insert(at, random.u8(..)),
        _ => {}
    }
}

#[test]
fn damaged_streams_are_refused_where_tungstenite_refuses_them() {
    const SMALL: usize = 300;
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Rng::with_seed(seed);
        let mut stream = frames(&mut random);
        damage(&mut stream, &mut random);
        let (events, refusal) = told(&stream, || random.usize(1..40), SMALL);
        match refusal {
            None => {
                accepted += 1;
                assert_eq!((events, false), oracle(stream, Role::Server, SMALL), "seed {seed}");
            }
            // Where this decoder is stricter.
            Some(WsError::BadLength | WsError::BadCloseCode(_)) => {
                let (theirs, _) = oracle(stream, Role::Server, SMALL);
                assert!(theirs.starts_with(&events), "seed {seed}");
            }
            Some(error) => {
                refused += 1;
                // tungstenite judges a frame when its payload is there.
                stream.resize(stream.len() + SMALL + 14, 0);
                let theirs = oracle(stream, Role::Server, SMALL);
                assert_eq!(theirs, (events, true), "seed {seed}: {error}");
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}
