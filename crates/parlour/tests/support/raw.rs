//! A WebSocket on bare TCP, for what no client would send and for frames as they are on the wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, Server};

/// Opcodes of RFC 6455.
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// Text frames of JSON, the default.
pub const JSON: &str = "parlour.v1.json";

/// What came from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A text frame.
    Frame(Value),
    /// A binary frame.
    Bytes(Vec<u8>),
    /// The close frame.
    Close(u16, String),
    /// The end of the stream.
    Gone,
}

/// A WebSocket that speaks JSON, unless it is told to do something else.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
    kept: VecDeque<Value>,
    last_ref: u32,
}

impl Raw {
    /// Upgraded, and nothing more.
    pub async fn dial(server: &Server) -> Raw {
        Raw::upgrade(server.http, &[("sec-websocket-protocol", JSON)])
            .await
            .expect("it is upgraded")
    }

    /// Upgraded and welcomed, without a room.
    pub async fn hello(server: &Server, name: &str) -> Raw {
        let mut raw = Raw::dial(server).await;
        raw.ask(json!({"hello": {"name": name}})).await;
        raw
    }

    /// Upgraded with these headers, or the status and body of a refusal.
    pub async fn upgrade(
        address: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Raw, (u16, String)> {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Raw::upgrade_on(stream, address, headers).await
    }

    /// The same on a connection of one's own.
    pub async fn upgrade_on(
        mut stream: TcpStream,
        address: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Raw, (u16, String)> {
        let mut head = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.expect("the request is taken");
        let mut raw =
            Raw { stream, received: Vec::new(), kept: VecDeque::new(), last_ref: 1_000_000 };
        let end = loop {
            if let Some(at) = raw.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(raw.receive().await, "the server closed before it answered");
        };
        let head = String::from_utf8(raw.received.drain(..end).collect()).expect("a head is ASCII");
        let status: u16 =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        if status == 101 {
            assert!(
                head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                "the accept key is right: {head}"
            );
            return Ok(raw);
        }
        let lower = head.to_ascii_lowercase();
        let length =
            lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        while raw.received.len() < length {
            assert!(raw.receive().await, "the whole body comes");
        }
        Err((status, String::from_utf8_lossy(&raw.received).into_owned()))
    }

    /// Sends a frame of the protocol.
    pub async fn say(&mut self, frame: Value) {
        self.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// Sends a frame with a `ref` of its own, and waits for its answer.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        self.last_ref += 1;
        let r#ref = self.last_ref;
        frame["ref"] = json!(r#ref);
        self.say(frame).await;
        self.take(&format!("the answer to {frame}", frame = json!(r#ref)), |told| {
            told["ref"] == json!(r#ref)
        })
        .await
    }

    /// Sends a request that is refused, and answers the `refused`.
    pub async fn refusal(&mut self, frame: Value) -> Value {
        let answer = self.ask(frame.clone()).await;
        assert!(
            answer["refused"].is_object(),
            "{frame} should be refused and is answered {answer}"
        );
        answer["refused"].clone()
    }

    /// Sends one masked message. That the server may have closed already is the reader's to notice.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let framed = frame(0x80 | opcode, payload.len() as u64, Some([7, 1, 200, 33]), payload);
        self.bytes(&framed).await;
    }

    /// Sends bytes as they are.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("the server reads");
    }

    /// The two directions, for bytes as they are; nothing that was received may be left.
    pub fn split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        assert!(self.received.is_empty(), "what was received is not lost");
        self.stream.into_split()
    }

    /// Says that nothing more will be sent.
    pub async fn shut(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next frame, close or end of stream.
    pub async fn next(&mut self) -> Told {
        loop {
            if let Some((opcode, payload)) = self.pop() {
                match opcode {
                    TEXT => {
                        let text = String::from_utf8(payload).expect("text is UTF-8");
                        return Told::Frame(serde_json::from_str(&text).expect("a frame is JSON"));
                    }
                    BINARY => return Told::Bytes(payload),
                    CLOSE => {
                        let code = payload
                            .get(..2)
                            .map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
                        let reason = payload.get(2..).unwrap_or_default().to_vec();
                        return Told::Close(
                            code,
                            String::from_utf8(reason).expect("a reason is UTF-8"),
                        );
                    }
                    PING => self.send(10, &payload).await,
                    _ => {}
                }
            } else if !self.receive().await {
                return Told::Gone;
            }
        }
    }

    /// The next frame of the protocol; heartbeats are answered and not told.
    pub async fn frame(&mut self) -> Value {
        if let Some(kept) = self.kept.pop_front() {
            return kept;
        }
        self.fresh().await
    }

    async fn fresh(&mut self) -> Value {
        loop {
            match self.next().await {
                Told::Frame(frame) if frame.get("heartbeat").is_some() => {
                    self.say(json!({"heartbeat": {}})).await;
                }
                Told::Frame(frame) => return frame,
                other => panic!("a frame should come, and there is {other:?}"),
            }
        }
    }

    /// The first frame that has this member; the others are kept for later, in order.
    pub async fn until(&mut self, member: &str) -> Value {
        let mut frame = self.take(member, |told| told.get(member).is_some()).await;
        frame[member].take()
    }

    /// The first frame that is wanted; the others are kept for later, in order.
    pub async fn take(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&wanted) {
            return self.kept.remove(at).expect("it is there");
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let frame = tokio::time::timeout_at(deadline, self.fresh()).await;
            let frame =
                frame.unwrap_or_else(|_| panic!("{what} did not come; kept: {:?}", self.kept));
            if wanted(&frame) {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// Whether such a frame came already or comes within `ms`.
    pub async fn comes_within(&mut self, ms: u64, wanted: impl Fn(&Value) -> bool) -> bool {
        let wait = Duration::from_millis(ms);
        tokio::time::timeout(wait, self.take("it", wanted)).await.is_ok()
    }

    /// Reads to the end: the `end` frame and the close code behind it.
    pub async fn end(&mut self) -> (Value, u16) {
        let mut end = Value::Null;
        loop {
            match self.next().await {
                Told::Frame(mut frame) if frame.get("end").is_some() => end = frame["end"].take(),
                Told::Frame(frame) => assert!(end.is_null(), "{frame} behind the end"),
                Told::Close(code, _) => return (end, code),
                other => panic!("an end should come, and there is {other:?} (end: {end})"),
            }
        }
    }

    fn pop(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = &self.received;
        let short = u64::from(head.get(1)? & 0x7f);
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        assert_eq!(head[0] & 0xf0, 0x80, "one frame is one message, without reserved bits");
        let (length, start) = match short {
            126 => (u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(head.get(2..10)?.try_into().ok()?), 10),
            _ => (short, 2),
        };
        let end = start + length as usize;
        if head.len() < end {
            return None;
        }
        let opcode = head[0] & 0x0f;
        let payload = self.received[start..end].to_vec();
        self.received.drain(..end);
        Some((opcode, payload))
    }

    /// Reads some more; `false` at the end of the stream.
    async fn receive(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        matches!(read.expect("the server says something in time"), Ok(count) if count > 0)
    }
}

/// A frame with a head of one's own making: a length that is not the payload's, no mask, reserved bits.
pub fn frame(first: u8, length: u64, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}
