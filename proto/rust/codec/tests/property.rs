//! What holds for any bytes, shared with the fuzz targets: reading never panics, and what can be read is
//! written so that it reads as the same words.

use bytes::Bytes;
use model::{ClientFrame, ClientSays, Encoding, FromServer, Says, ServerFrame};

use super::codec::{decode_client, decode_server, encode_client, encode_server};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Proto];

/// Bytes from a client. Answers whether they are a frame that is allowed.
pub(super) fn holds_for_a_client(encoding: Encoding, bytes: &[u8]) -> bool {
    let mut frame = match decode_client(encoding, bytes) {
        Ok(frame) => frame,
        Err(unreadable) => {
            let length = unreadable.message.len();
            assert!((1..=200).contains(&length), "{unreadable:?}");
            return false;
        }
    };
    match &mut frame.says {
        ClientSays::Faulty(refusal) => {
            assert!(!refusal.is_retryable() && !refusal.message.is_empty(), "{refusal:?}");
            let says = Says::Refused(refusal.clone());
            survives(&ServerFrame { r#ref: frame.r#ref, says });
            return false;
        }
        ClientSays::Hello(hello) => hello.faulty.clear(), // a client does not say them
        _ => {}
    }
    for encoding in BOTH {
        let written = client(encoding, &frame);
        let read = decode_client(encoding, &written).expect("what we wrote");
        match encoding {
            Encoding::Proto => assert_eq!(read, frame),
            Encoding::Json => {
                // JSON has no fields of newer versions and one way to write a number.
                assert_eq!(blank(read.clone()), blank(frame.clone()));
                assert_eq!(client(encoding, &read), written);
            }
        }
    }
    true
}

fn client(encoding: Encoding, frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    encode_client(encoding, frame, &mut out);
    out
}

/// The frame without what JSON may write differently.
fn blank(mut frame: ClientFrame) -> ClientFrame {
    match &mut frame.says {
        ClientSays::Publish(publish) => publish.content.body = Bytes::new(),
        ClientSays::Signal { data, .. } => *data = Bytes::new(),
        ClientSays::Subscribe(wish) => wish.presence_data = Bytes::new(),
        ClientSays::Hello(hello) => {
            hello.subscribe.iter_mut().for_each(|wish| wish.presence_data = Bytes::new());
        }
        _ => {}
    }
    frame
}

/// Bytes from a server.
#[allow(dead_code, reason = "the fuzz targets are about clients, whom nobody trusts")]
pub(super) fn holds_for_a_server(encoding: Encoding, bytes: &[u8]) {
    match decode_server(encoding, bytes) {
        Ok(FromServer::Says(frame)) => survives(&frame),
        Ok(FromServer::Message(_) | FromServer::Unknown) => {}
        Err(unreadable) => assert!(unreadable.message.len() <= 200, "{unreadable:?}"),
    }
}

fn survives(frame: &ServerFrame) {
    for encoding in BOTH {
        let written = server(encoding, frame);
        let read = match decode_server(encoding, &written).expect("what we wrote") {
            FromServer::Says(read) => read,
            // A number that JSON lacks, from a server that did not check it.
            FromServer::Unknown if encoding == Encoding::Json => continue,
            other => panic!("{frame:?} was read as {other:?}"),
        };
        match encoding {
            Encoding::Proto => assert_eq!(read, *frame),
            Encoding::Json => assert_eq!(server(encoding, &read), written),
        }
    }
}

fn server(encoding: Encoding, frame: &ServerFrame) -> Vec<u8> {
    let mut out = Vec::new();
    encode_server(encoding, frame, &mut out);
    out
}
