//! `verify` against a server that is sound, that breaks, and that lies in each way that the checker is
//! there to find.

mod toy;

use bench::verify::check::Counts;
use bench::verify::{Report, VerifyOptions, verify};
use bench::{BenchError, Format};
use toy::Fault;

fn options(url: String) -> VerifyOptions {
    VerifyOptions {
        urls: vec![url],
        encoding: Format::Json,
        token_file: None,
        rooms: 2,
        clients: 8,
        rate: 60,
        seconds: 1,
        settle: 2,
        timeline: None,
        json: true,
    }
}

async fn verify_with(fault: Fault) -> Report {
    let address = toy::start(fault).await;
    verify(options(format!("ws://{address}"))).await.expect("a report")
}

/// The server lies, and is found out: by this count, and with both histories.
async fn is_found(fault: Fault, count: fn(&Counts) -> u64, words: &str) {
    let report = verify_with(fault).await;
    assert!(!report.clean && count(&report.counts) > 0, "{fault:?}: {report}");
    let violation =
        report.first_violation.as_ref().unwrap_or_else(|| panic!("{fault:?}: {report}"));
    assert!(violation.room.starts_with("bench:verify:") && violation.seq > 0, "{violation}");
    assert!(violation.what.contains(words), "{fault:?}: {violation}");
    assert!(violation.histories.iter().all(|excerpt| !excerpt.lines.is_empty()), "{violation}");
    assert!(report.to_string().contains(&format!("the first broken promise:\n{violation}")));
}

#[tokio::test]
async fn a_sound_server_gives_a_clean_report() {
    let report = verify_with(Fault::Nothing).await;
    assert!(report.clean, "{report}");
    let Counts { sent, acknowledged, deliveries, unknown, refused, .. } = report.counts;
    assert_eq!((sent, acknowledged, unknown, refused), (60, 60, 0, 0), "{report}");
    // Three of the four who publish do so to the first room, which six read; four read the other one.
    assert_eq!(deliveries, 45 * 6 + 15 * 4, "{report}");
    assert!(report.service.publish.max_ms > 0.0 && report.service.worst_client.is_some());
    assert_eq!((report.service.redials, report.service.longest_gap_ms), (0, 0.0), "{report}");
    let shown = report.to_string();
    assert!(shown.ends_with("\n0 lost, 0 twice, 0 out of order\n"), "{shown}");
}

#[tokio::test]
async fn connections_that_break_unanswered_are_counted_and_the_report_stays_clean() {
    let address = toy::start(Fault::BreaksAt(20)).await;
    let options = VerifyOptions { settle: 30, ..options(format!("ws://{address}")) };
    let report = verify(options).await.expect("a report");
    assert!(report.clean, "{report}");
    assert_eq!(report.counts.acknowledged, 60, "{report}");
    assert!(report.service.redials >= 2, "{report}");
    // A client dials again at once or soon after, as chance has it; publishes wait for it.
    assert!(report.service.longest_gap_ms > 0.0, "{report}");
    assert!(report.service.longest_wait_ms > 0.0, "{report}");
}

#[tokio::test]
async fn a_message_that_is_acknowledged_and_not_stored_is_found() {
    is_found(Fault::Forgets(7), |counts| counts.lost + counts.misplaced, "was acknowledged at")
        .await;
}

#[tokio::test]
async fn a_message_that_stands_twice_is_found() {
    is_found(Fault::StoresTwice(7), |counts| counts.twice, "stands at").await;
}

#[tokio::test]
async fn a_push_that_comes_again_is_counted_although_clients_drop_it() {
    let report = verify_with(Fault::Repeats(7)).await;
    assert!(!report.clean && report.counts.twice > 0 && report.service.dropped > 0, "{report}");
}

#[tokio::test]
async fn another_text_or_another_sender_is_forged() {
    for fault in [Fault::Rewords(7), Fault::Ascribes(7)] {
        is_found(fault, |counts| counts.forged, "was not sent so").await;
    }
}

#[tokio::test]
async fn an_acknowledgement_at_another_number_is_found() {
    is_found(Fault::Misnumbers(7), |counts| counts.misplaced, "was acknowledged at").await;
}

#[tokio::test]
async fn a_message_that_was_refused_and_stands_is_found() {
    is_found(Fault::RefusesAndStores(7), |counts| counts.forged, "was refused for good").await;
}

#[tokio::test]
async fn a_timeline_has_a_line_for_every_tenth_of_a_second_and_all_that_happened() {
    let address = toy::start(Fault::Nothing).await;
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("timeline.jsonl");
    let options =
        VerifyOptions { timeline: Some(file.clone()), ..options(format!("ws://{address}")) };
    let report = verify(options).await.expect("a report");
    let text = std::fs::read_to_string(file).expect("it was written");
    let lines: Vec<bench::verify::Line> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert!(lines.len() >= 10, "{text}");
    assert!(lines.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms), "{text}");
    assert_eq!(lines.iter().map(|line| line.acks).sum::<u64>(), 60);
    assert_eq!(lines.iter().map(|line| line.deliveries).sum::<u64>(), report.counts.deliveries);
    assert!(lines.iter().all(|line| line.live == 8 && line.redials == 0), "{text}");
    assert!(lines.iter().any(|line| line.publish_p99_ms > 0.0), "{text}");
}

#[tokio::test]
async fn what_cannot_be_begun_is_said_in_a_sentence() {
    let nobody = verify(options("ws://127.0.0.1:1".to_owned())).await;
    assert!(
        matches!(&nobody, Err(BenchError::Server(why)) if why.contains("127.0.0.1:1")),
        "{nobody:?}"
    );
    let hurried = VerifyOptions { rate: 1_000, ..options("ws://127.0.0.1:1".to_owned()) };
    let hurried = verify(hurried).await;
    assert!(
        matches!(&hurried, Err(BenchError::Usage(why)) if why.contains("--clients")),
        "{hurried:?}"
    );
}
