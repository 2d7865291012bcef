//! The manual in `frames.proto` against the tables and limits that the code obeys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::{EndCode, Limits, RefusalCode, UnsubscribedCode, limits};
use prost::Message;

fn contract(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/parlour/v1").join(file);
    fs::read_to_string(path).expect("the contract is there")
}

/// The comments of a file as running text.
fn comments(file: &str) -> String {
    let text = contract(file);
    let lines = text.lines().map(|line| line.trim().trim_start_matches("//").trim());
    lines.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The rows of a table in the manual: lines of a number and a word, below its heading.
fn table(heading: &str) -> BTreeMap<u32, String> {
    let manual = contract("frames.proto");
    let lines = manual.lines().map(|line| line.trim_start_matches("//").trim());
    lines
        .skip_while(|line| !line.starts_with(&format!("{heading}:")))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_manual_lists_every_code_and_no_other() {
    let refused = RefusalCode::ALL.iter().map(|row| (row.code(), row.reason().to_owned()));
    assert_eq!(table("REFUSED"), refused.collect());
    let unsubscribed =
        UnsubscribedCode::ALL.iter().map(|row| (row.code(), row.reason().to_owned()));
    assert_eq!(table("UNSUBSCRIBED"), unsubscribed.collect());
    let ends = EndCode::ALL.iter().map(|row| (row.code(), row.reason().to_owned()));
    assert_eq!(table("END"), ends.collect());
}

#[test]
fn the_manual_names_the_limits_that_hold() {
    let manual = comments("frames.proto");
    let usual = Limits::default();
    let kib = |bytes: usize| bytes / 1024;
    for sentence in [
        format!("a client's frame {} KiB", kib(limits::FRAME_BYTES_MAX)),
        format!("`hello` {} KiB", kib(limits::HELLO_BYTES_MAX)),
        format!("{} rooms a session", usual.rooms_per_session_max),
        format!("text {} KiB", kib(limits::TEXT_BYTES_MAX)),
        format!("`data` {} KiB, {} deep", kib(limits::DATA_BYTES_MAX), limits::DATA_DEPTH_MAX),
        format!(
            "a snapshot or page {} KiB or {} posts",
            kib(limits::PAGE_BYTES_MAX),
            limits::PAGE_POSTS_MAX
        ),
        format!(
            "{} publishes and signals, {} subscribes (beyond those of hello) and {} other requests a second",
            usual.publishes_per_second, usual.subscribes_per_second, usual.requests_per_second
        ),
        format!("{} rooms in one `summaries`", limits::SUMMARIES_ROOMS_MAX),
        format!("a publish waits at most {} s", usual.publish_wait_ms / 1000),
        format!("within {} seconds", usual.hello_within_ms / 1000),
        format!("{} seconds of silence", usual.idle_ms / 1000),
        format!("absent: {}.", usual.recent_default),
        format!("the last {} entries are checked", grouped(limits::DEDUP_DEFAULT_ENTRIES)),
        format!("at most {} raw entries", grouped(usual.replay_max)),
        format!("\"heartbeatMs\":{}", usual.heartbeat_ms),
        format!(
            "what others are told about this user while present; at most {} bytes",
            limits::PRESENCE_DATA_BYTES_MAX
        ),
        format!("such as `typing`; at most {} bytes", limits::SIGNAL_TYPE_BYTES_MAX),
        format!("At most {} KiB.", kib(limits::SIGNAL_DATA_BYTES_MAX)),
        format!("Posts, at most {}; absent: {}.", limits::PAGE_POSTS_MAX, usual.recent_default),
    ] {
        let holds = manual.contains(&sentence.to_lowercase());
        assert!(holds, "frames.proto does not say: {sentence}");
    }
}

#[test]
fn the_messages_name_the_limits_that_hold() {
    let comments = comments("message.proto");
    let kib = |bytes: usize| bytes / 1024;
    for sentence in [
        format!("At most {} KiB of UTF-8.", kib(limits::TEXT_BYTES_MAX)),
        format!(
            "at most {} KiB as protobuf, at most {} deep",
            kib(limits::DATA_BYTES_MAX),
            limits::DATA_DEPTH_MAX
        ),
        format!("User ids, at most {}.", limits::MENTIONS_MAX),
        format!("At most {} edits a post.", limits::EDITS_PER_POST_MAX),
        format!("For people; at most {} bytes.", limits::REASON_BYTES_MAX),
        format!(
            "an emoji; at most {} bytes, at most {} different ones a post",
            limits::REACTION_KEY_BYTES_MAX,
            limits::REACTION_KEYS_PER_POST_MAX
        ),
        format!("The first of them, at most {}.", limits::REACTION_USERS_LISTED),
        format!("want to be called, at most {} bytes", limits::USER_NAME_BYTES_MAX),
        format!("who is present, at most {} bytes", limits::PRESENCE_DATA_BYTES_MAX),
        format!("more are present than are listed ({})", Limits::default().presence_list_max),
    ] {
        let holds = comments.contains(&sentence.to_lowercase());
        assert!(holds, "message.proto does not say: {sentence}");
    }
}

/// As the manual writes thousands.
fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

/// The members of a message's oneof, as JSON names them.
pub(super) fn members_of(message: &str) -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own");
    let mut messages = set.file.into_iter().flat_map(|file| file.message_type);
    let found = messages.find(|found| found.name() == message).expect(message);
    let members = found.field.into_iter().filter(|field| field.oneof_index.is_some());
    members.map(|field| field.json_name().to_owned()).collect()
}
