//! The replay against a server that is sound, that breaks, and that lies in each way that the checker is
//! there to find.

mod toy;

use std::path::PathBuf;

use bench::replay::{ReplayOptions, Report, Speed, replay};
use bench::{BenchError, Format, Target};
use toy::Fault;

const MESSAGES: u64 = 34;

fn options(url: String) -> ReplayOptions {
    ReplayOptions {
        file: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tea.jsonl")),
        target: Target { url, encoding: Format::Json },
        speed: Speed::Max,
        rooms: None,
        readers: 2,
        connections: 100,
        json: true,
    }
}

async fn replay_with(fault: Fault) -> Report {
    let address = toy::start(fault).await;
    replay(options(format!("ws://{address}"))).await.expect("a report")
}

#[tokio::test]
async fn a_sound_server_gives_a_clean_report() {
    let report = replay_with(Fault::Nothing).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.rooms, report.counts.acknowledged), (2, MESSAGES));
    assert!(report.counts.deliveries > 4 * MESSAGES, "{report}");
    let shown = report.to_string();
    assert!(shown.ends_with("\n0 lost, 0 twice, 0 out of order\n"), "{shown}");
}

#[tokio::test]
async fn a_pace_changes_nothing_but_the_time() {
    let address = toy::start(Fault::Nothing).await;
    let options = ReplayOptions {
        speed: Speed::Times(500.0),
        rooms: Some(1),
        ..options(format!("ws://{address}"))
    };
    let report = replay(options).await.expect("a report");
    assert!(report.is_clean(), "{report}");
    assert!(report.seconds > 0.15, "the day is a minute and a half long: {report}");
}

#[tokio::test]
async fn connections_that_break_unanswered_are_resumed_and_the_report_stays_clean() {
    let report = replay_with(Fault::BreaksAt(5)).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.reconnects > 0, "{report}");
}

#[tokio::test]
async fn a_wrong_text_is_found_and_named() {
    let report = replay_with(Fault::Rewords(7)).await;
    assert!(!report.is_clean());
    assert!(report.counts.wrong_text > 0, "{report}");
    let violation = report.first_violation.expect("the first").to_string();
    assert!(violation.contains("came as \"something else\""), "{violation}");
}

#[tokio::test]
async fn an_acknowledged_message_that_is_not_stored_is_found() {
    let report = replay_with(Fault::Forgets(7)).await;
    assert!(!report.is_clean(), "{report}");
    assert!(report.counts.misplaced > 0, "another message stands where it was: {report}");
}

#[tokio::test]
async fn a_repeated_push_and_a_message_stored_twice_are_found() {
    for fault in [Fault::Repeats(7), Fault::StoresTwice(7)] {
        let report = replay_with(fault).await;
        assert!(!report.is_clean(), "{fault:?}: {report}");
        assert!(report.counts.twice > 0, "{fault:?}: {report}");
    }
}

#[tokio::test]
async fn what_cannot_be_begun_is_said_in_a_sentence() {
    let nobody = replay(options("ws://127.0.0.1:1".to_owned())).await;
    assert!(
        matches!(&nobody, Err(BenchError::Server(why)) if why.contains("127.0.0.1:1")),
        "{nobody:?}"
    );
    let address = toy::start(Fault::Nothing).await;
    let crowded = ReplayOptions { connections: 3, ..options(format!("ws://{address}")) };
    let crowded = replay(crowded).await;
    assert!(
        matches!(&crowded, Err(BenchError::Usage(why)) if why.contains("--connections")),
        "{crowded:?}"
    );
}
