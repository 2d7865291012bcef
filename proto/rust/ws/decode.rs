//! From a client's bytes to events.

use std::mem;

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::WsError;
use super::head::Head;
use super::in_flight::{Frame, Held, InFlight};
use super::mask::unmask;

/// What a client sent; payloads are lent by the scratch, or by the decoder if they came in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// A whole text message.
    Text(&'e str),
    /// A whole binary message.
    Binary(&'e [u8]),
    /// To be answered with [`super::pong_into`] and the same payload.
    Ping(&'e [u8]),
    /// A sign of life.
    Pong,
    /// The client closes; nothing comes after it.
    Close {
        /// Absent if the client gave none.
        code: Option<u16>,
        /// Empty if the client gave none; at most 123 bytes.
        reason: &'e str,
    },
}

/// The reading half of one connection.
///
/// After each read call [`decode`](Self::decode) until it says `None`; then the input is used up and all
/// that was complete is freed.
///
/// ```
/// use wire::ws::{Decoder, Event};
///
/// let mut decoder = Decoder::default();
/// let mut scratch = *b"\x81\x82\x01\x02\x03\x04ik\x89\x80\0\0\0\0";
/// let mut input = &mut scratch[..];
/// assert_eq!(decoder.decode(&mut input, 1024), Ok(Some(Event::Text("hi"))));
/// assert_eq!(decoder.decode(&mut input, 1024), Ok(Some(Event::Ping(b""))));
/// assert_eq!(decoder.decode(&mut input, 1024), Ok(None));
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    in_flight: Option<Box<InFlight>>,
    /// Set by a close frame and by an error.
    finished: bool,
}

const _: () = assert!(size_of::<Decoder>() <= 16, "every idle connection holds one");

impl Decoder {
    /// The next event in `input`, whose front moves behind what was used; `None` when all was used.
    ///
    /// `message_bytes_max` binds each message whose frames begin now; a session lowers it after its hello.
    ///
    /// # Errors
    /// What the client did wrong. The decoder is finished then.
    pub fn decode<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Event<'e>>, WsError> {
        let Self { in_flight, finished } = self;
        in_flight.take_if(|held| held.release() || *finished);
        if *finished {
            *input = &mut [];
            return Ok(None);
        }
        let event = match next_whole(in_flight, input, message_bytes_max) {
            Ok(None) => return Ok(None),
            Ok(Some(whole)) => {
                let (opcode, payload) = whole.resolve(in_flight.as_deref());
                event(opcode, payload)
            }
            Err(error) => Err(error),
        };
        *finished = matches!(event, Err(_) | Ok(Event::Close { .. }));
        event.map(Some)
    }

    /// Whether a close frame or an error ended the reading.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes of heap that are held for what is in flight; 0 when nothing is.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.in_flight.as_deref().map_or(0, InFlight::held_bytes)
    }
}

/// A control frame or a message, all of it.
enum Whole<'i> {
    /// It lay in one piece in the scratch.
    Lent(OpCode, &'i [u8]),
    /// It was put together in the box.
    Held(Held),
}

impl<'i> Whole<'i> {
    fn resolve<'e>(self, in_flight: Option<&'e InFlight>) -> (OpCode, &'e [u8])
    where
        'i: 'e,
    {
        match self {
            Self::Lent(opcode, payload) => (opcode, payload),
            Self::Held(held) => {
                let payload = in_flight.map_or(&[][..], |in_flight| in_flight.payload(held));
                match held {
                    Held::Control(opcode) => (opcode, payload),
                    Held::Message(kind) => (OpCode::Data(kind), payload),
                }
            }
        }
    }
}

fn next_whole<'i>(
    in_flight: &mut Option<Box<InFlight>>,
    input: &mut &'i mut [u8],
    max: usize,
) -> Result<Option<Whole<'i>>, WsError> {
    while !input.is_empty() {
        let Some(frame) = open_frame(in_flight, input, max)? else {
            break;
        };
        let payload = split_front(input, frame.missing());
        unmask(payload, frame.mask, frame.received);
        if payload.len() == frame.len && stands_alone(&frame, in_flight.as_deref()) {
            return Ok(Some(Whole::Lent(frame.opcode, payload)));
        }
        let in_flight = in_flight.get_or_insert_default();
        if let Some(held) = in_flight.absorb(frame, payload, max)? {
            return Ok(Some(Whole::Held(held)));
        }
    }
    Ok(None)
}

/// The frame that the front of `input` belongs to; `None` if its header is cut off, or there is none.
fn open_frame(
    in_flight: &mut Option<Box<InFlight>>,
    input: &mut &mut [u8],
    max: usize,
) -> Result<Option<Frame>, WsError> {
    if let Some(in_flight) = in_flight
        && let Some(frame) = in_flight.frame.take()
    {
        return Ok(Some(frame));
    }
    let Some(head) = take_head(in_flight, input)? else {
        return Ok(None);
    };
    let message = in_flight.as_deref().and_then(InFlight::message);
    Frame::admit(head, message, max).map(Some)
}

fn take_head(
    in_flight: &mut Option<Box<InFlight>>,
    input: &mut &mut [u8],
) -> Result<Option<Head>, WsError> {
    let is_cut = in_flight.as_ref().is_some_and(|in_flight| !in_flight.head.is_empty());
    if !is_cut && let Some((head, size)) = Head::parse(input)? {
        split_front(input, size);
        return Ok(Some(head));
    }
    let (head, used) = in_flight.get_or_insert_default().head.extend(input)?;
    split_front(input, used);
    Ok(head)
}

/// Whether the frame alone is something to be told.
fn stands_alone(frame: &Frame, in_flight: Option<&InFlight>) -> bool {
    match frame.opcode {
        OpCode::Control(_) => true,
        OpCode::Data(_) => frame.fin && in_flight.is_none_or(|held| held.message().is_none()),
    }
}

/// At most `len` bytes from the front of `input`.
fn split_front<'i>(input: &mut &'i mut [u8], len: usize) -> &'i mut [u8] {
    let len = len.min(input.len());
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

fn event(opcode: OpCode, payload: &[u8]) -> Result<Event<'_>, WsError> {
    match opcode {
        OpCode::Data(Data::Text) => text(payload).map(Event::Text),
        OpCode::Data(Data::Binary) => Ok(Event::Binary(payload)),
        OpCode::Control(Control::Ping) => Ok(Event::Ping(payload)),
        OpCode::Control(Control::Pong) => Ok(Event::Pong),
        OpCode::Control(Control::Close) => close(payload),
        // `Frame::admit` and `Head::parse` let none of these through.
        OpCode::Data(Data::Continue) => Err(WsError::ContinuationWithoutStart),
        OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
            Err(WsError::ReservedOpcode(code))
        }
    }
}

fn close(payload: &[u8]) -> Result<Event<'_>, WsError> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Event::Close { code: None, reason: "" }),
            _ => Err(WsError::BadClosePayload),
        };
    };
    let code = u16::from_be_bytes(code);
    if !CloseCode::from(code).is_allowed() {
        return Err(WsError::BadCloseCode(code));
    }
    Ok(Event::Close { code: Some(code), reason: text(reason)? })
}

fn text(payload: &[u8]) -> Result<&str, WsError> {
    str::from_utf8(payload).map_err(|_| WsError::InvalidUtf8)
}
