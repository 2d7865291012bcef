//! `proto/testdata`: every vector is what we write, and what we read gives the same words from JSON and
//! protobuf. `BLESS=1` writes them anew; look at what changed before you keep it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use model::{
    ClientFrame, ClientSays, Encoding, End, EndCode, FromServer, Message, Says, ServerFrame,
};
use prost::Message as _;

use crate::codec::{
    Unreadable, decode_client, decode_server, encode_client, encode_server, message_frame,
};
use crate::v1;

/// The extensions of the vectors' files.
const ENCODINGS: [(&str, Encoding); 2] = [("json", Encoding::Json), ("binpb", Encoding::Proto)];

pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/testdata").join(name)
}

/// The files of a folder with this extension, by name without it.
pub(super) fn files(name: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(name)).expect("the folder of vectors is there");
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_stem().expect("has a name").to_str().expect("is UTF-8").to_owned();
            (name, fs::read(&path).expect("readable"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {extension} in {name}");
    files
}

/// Compares with the file, or writes it.
fn hold(folder_name: &str, file: &str, found: &[u8]) {
    let path = folder(folder_name).join(file);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, found).expect("writable");
    }
    let expected = fs::read(&path).unwrap_or_default();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        expected == found,
        "{folder_name}/{file} is {} and not what we write, {}; BLESS=1 writes it anew",
        shown(&expected),
        shown(found)
    );
}

fn line(mut json: Vec<u8>) -> Vec<u8> {
    json.push(b'\n');
    json
}

fn client(encoding: Encoding, frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    encode_client(encoding, frame, &mut out);
    out
}

/// A frame of a server, written as a server does: a committed entry from its payload.
pub(super) fn server(encoding: Encoding, frame: &FromServer, source: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match frame {
        FromServer::Says(frame) => encode_server(encoding, frame, &mut out),
        FromServer::Message(_) => message_frame(encoding, &payload(source), &mut out),
        FromServer::Unknown => panic!("a vector that this version does not know"),
    }
    out
}

fn payload(json: &[u8]) -> bytes::Bytes {
    let frame: v1::ServerFrame = serde_json::from_slice(json).expect("a frame");
    match frame.frame {
        Some(v1::server_frame::Frame::Message(message)) => message.encode_to_vec().into(),
        other => panic!("not a message: {other:?}"),
    }
}

#[test]
fn every_client_vector_is_what_we_write_and_reads_the_same_from_json_and_protobuf() {
    for (name, json) in files("client", "json") {
        let frame = decode_client(Encoding::Json, &json).expect(&name);
        assert!(!matches!(frame.says, ClientSays::Faulty(_)), "{name}: {frame:?}");
        hold("client", &format!("{name}.json"), &line(client(Encoding::Json, &frame)));
        let binary = client(Encoding::Proto, &frame);
        hold("client", &format!("{name}.binpb"), &binary);
        assert_eq!(decode_client(Encoding::Proto, &binary), Ok(frame), "{name}");
        let whole = v1::ClientFrame::decode(binary.as_slice()).expect(&name);
        assert_eq!(whole.encode_to_vec(), binary, "{name}: not as prost writes it");
    }
}

#[test]
fn every_server_vector_is_what_we_write_and_reads_the_same_from_json_and_protobuf() {
    for (name, json) in files("server", "json") {
        let frame = decode_server(Encoding::Json, &json).expect(&name);
        hold("server", &format!("{name}.json"), &line(server(Encoding::Json, &frame, &json)));
        let binary = server(Encoding::Proto, &frame, &json);
        hold("server", &format!("{name}.binpb"), &binary);
        assert_eq!(decode_server(Encoding::Proto, &binary), Ok(frame), "{name}");
        let whole = v1::ServerFrame::decode(binary.as_slice()).expect(&name);
        assert_eq!(whole.encode_to_vec(), binary, "{name}: not as prost writes it");
    }
}

#[test]
fn another_spelling_means_the_same() {
    let vector = |side: &str, name: &str| {
        let means = name.split('.').next().expect("a name has a first part");
        fs::read(folder(side).join(format!("{means}.json"))).expect(name)
    };
    for (extension, encoding) in ENCODINGS {
        for (name, bytes) in files("spellings/client", extension) {
            let meant = decode_client(Encoding::Json, &vector("client", &name));
            assert_eq!(decode_client(encoding, &bytes), meant, "{name}.{extension}");
        }
        for (name, bytes) in files("spellings/server", extension) {
            let meant = decode_server(Encoding::Json, &vector("server", &name));
            assert_eq!(decode_server(encoding, &bytes), meant, "{name}.{extension}");
        }
    }
}

#[test]
fn what_a_client_does_not_know_it_is_told_to_ignore() {
    for (extension, encoding) in ENCODINGS {
        for (name, bytes) in files("ignored", extension) {
            let read = decode_server(encoding, &bytes);
            assert_eq!(read, Ok(FromServer::Unknown), "{name}.{extension}");
        }
    }
}

#[test]
fn what_is_wrong_gets_the_answer_beside_it() {
    for (extension, encoding) in ENCODINGS {
        for (name, bytes) in files("invalid", extension) {
            if name.ends_with(".answer") {
                continue;
            }
            let mut answer = Vec::new();
            encode_server(Encoding::Json, &answered(decode_client(encoding, &bytes)), &mut answer);
            assert_eq!(
                name.contains("unreadable"),
                answer.starts_with(br#"{"end""#),
                "{name}: {}",
                String::from_utf8_lossy(&answer)
            );
            hold("invalid", &format!("{name}.answer.json"), &line(answer));
        }
    }
}

/// As a session answers.
fn answered(decoded: Result<ClientFrame, Unreadable>) -> ServerFrame {
    match decoded {
        Ok(ClientFrame { r#ref, says: ClientSays::Faulty(refusal) }) => {
            ServerFrame { r#ref, says: Says::Refused(refusal) }
        }
        Ok(frame) => panic!("nothing is wrong with {frame:?}"),
        Err(unreadable) => {
            let end = End::because(EndCode::Unreadable, unreadable.message);
            ServerFrame { r#ref: 0, says: Says::End(end) }
        }
    }
}

#[test]
fn every_member_of_both_oneofs_has_a_vector() {
    let named = |side: &str| -> Vec<String> {
        files(side, "json")
            .iter()
            .map(|(_, json)| {
                let frame: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(json).expect("JSON");
                frame.keys().find(|key| *key != "ref").expect("holds a member").clone()
            })
            .collect()
    };
    for (side, message) in [("client", "ClientFrame"), ("server", "ServerFrame")] {
        let vectors = named(side);
        for member in super::tables::members_of(message) {
            assert!(vectors.contains(&member), "{side} has no vector for {member}");
        }
    }
}

#[test]
fn a_message_of_a_newer_content_is_read_as_unknown() {
    let json = br#"{"message":{"room":"lobby","seq":1,"ordinal":1,"id":"01J9ZK5V8Q","atMs":1,
        "from":{"id":"ann","name":"Ann"},"poll":{"question":"?"}}}"#;
    let frame = decode_server(Encoding::Json, json).unwrap();
    let FromServer::Message(Message { content, seq: 1, .. }) = frame else { panic!("{frame:?}") };
    assert_eq!(content, model::MessageContent::Unknown);
}
