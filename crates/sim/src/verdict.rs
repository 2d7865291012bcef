//! Whether a run kept every promise, and what it has been through.

use std::collections::{BTreeMap, BTreeSet};

use bench::verify::check::check;
use bench::verify::record::FinalLog;
use model::{Encoding, FromServer, Message, Record, RoomName};

use crate::disk::Disk;
use crate::record::{self, Record as History};

/// What a run has been through, by name.
pub type Coverage = BTreeMap<&'static str, u64>;

/// The states that all runs together must reach, or the simulation has lost its worth.
pub const COVERED: [&str; 13] = [
    "handoffs",
    "handoffs overtaken",
    "takeovers",
    "rooms opened from hints",
    "fenced appends",
    "claims refused",
    "appends unknown and lost",
    "appends unknown and applied",
    "appends late",
    "answered duplicate",
    "resumes",
    "resumes across owners",
    "moves of sessions",
];

/// Holds the journal against itself, and everybody's history against it; what is wrong. The last of
/// `records` is of somebody who came last, and only read.
pub(crate) fn judge(
    disk: &Disk,
    rooms: &[RoomName],
    slots: u32,
    records: &mut [&mut History],
) -> Vec<String> {
    let mut faults = Vec::new();
    for record in records.iter() {
        let of = |what: &String| format!("{}: {what}", record.name);
        faults.extend(record.violations.iter().map(of));
        faults.extend(record.ended.iter().map(|why| format!("{} ended: {why}", record.name)));
    }
    faults.extend(rooms.iter().flat_map(|room| check_journal(disk, room)));
    faults.extend(check_slots(disk, rooms, slots));
    for room in rooms {
        let mut history = record::history(room, records);
        history.log = Some(log(disk, room));
        let findings = check(&history);
        if !findings.counts.is_clean() {
            faults.push(format!("{room}: {}", findings.counts));
        }
        faults.extend(findings.first.map(|violation| violation.to_string()));
    }
    faults
}

/// The log as it is stored.
fn log(disk: &Disk, room: &RoomName) -> FinalLog {
    let body = record::body();
    let entries =
        disk.records(room).into_iter().map(|stored| (stored.seq, body.entry(&message(&stored))));
    FinalLog { first: 1, entries: entries.collect() }
}

/// As readers are told it.
fn message(stored: &Record) -> Message {
    let mut frame = Vec::new();
    wire::codec::message_frame(Encoding::Proto, &stored.payload, &mut frame);
    match wire::codec::decode_server(Encoding::Proto, &frame) {
        Ok(FromServer::Message(message)) => message,
        other => panic!("what is stored is a message: {other:?}"),
    }
}

/// A room's numbers are dense, and nothing stands in it twice.
fn check_journal(disk: &Disk, room: &RoomName) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut ids, mut fence) = (BTreeSet::new(), 0);
    for (at, record) in disk.records(room).iter().enumerate() {
        let due = at as u64 + 1;
        if record.seq != due || record.ordinal != due {
            let (seq, ordinal) = (record.seq, record.ordinal);
            faults.push(format!("{room}: {seq} (ordinal {ordinal}) stands where {due} is due"));
        }
        if record.fence < fence {
            faults.push(format!("{room}: {due} has fence {} after {fence}", record.fence));
        }
        fence = fence.max(record.fence);
        if !ids.insert((record.user.clone(), record.id.clone())) {
            faults.push(format!("{room}: {due} is the second copy of {}", record.id));
        }
    }
    faults
}

/// Places in a slot are used once.
fn check_slots(disk: &Disk, rooms: &[RoomName], slots: u32) -> Vec<String> {
    let mut places = BTreeSet::new();
    let mut faults = Vec::new();
    for room in rooms {
        let slot = cluster::slot_of(room, slots);
        for record in disk.records(room) {
            if !places.insert((slot, record.slot_pos)) {
                faults.push(format!("{room}: place {} of slot {slot} again", record.slot_pos));
            }
        }
    }
    faults
}
