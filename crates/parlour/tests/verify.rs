//! `parlour verify` as an operator runs it: beside a server that is killed and comes back, and against one
//! that lies.

mod support;
#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "../../bench/tests/toy/mod.rs"]
mod toy;

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Server, Start, parlour};
use toy::Fault;

/// Starts a run; its report will be on stdout.
fn verify(args: &[&str]) -> Child {
    let mut command = parlour();
    command.arg("verify").args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

fn finished(run: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn lines(timeline: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(timeline).unwrap_or_default();
    // The last one may be on its way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits until a run has written of so many acknowledgements.
fn acknowledged(timeline: &Path, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    let acks = || lines(timeline).iter().filter_map(|line| line["acks"].as_u64()).sum::<u64>();
    while acks() < count {
        assert!(Instant::now() < deadline, "{} acknowledgements, and no more", acks());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_server_that_is_killed_and_started_again_in_the_middle_breaks_no_promise() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(&dir.path().join("data")).start();
    let timeline = dir.path().join("timeline.jsonl");
    let (ws, grpc) = (server.ws_url(), server.grpc_url());
    let args = ["--url", &ws, "--url", &grpc, "--rooms", "3", "--clients", "24", "--rate", "60"];
    let more = ["--seconds", "6", "--json", "--timeline", text(&timeline)];
    let run = verify(&[&args[..], &more[..]].concat());
    acknowledged(&timeline, 60);
    let again = Start::in_dir(&dir.path().join("data")).at(server.http, server.grpc);
    server.kill();
    let server: Server = again.start();
    let (code, report, said) = finished(run);
    let report: Value =
        serde_json::from_str(&report).unwrap_or_else(|e| panic!("{e}: {report}{said}"));
    assert_eq!(code, Some(0), "{report}");
    for (count, expected) in
        [("sent", 360), ("acknowledged", 360), ("lost", 0), ("twice", 0), ("out_of_order", 0)]
    {
        assert_eq!(report[count], expected, "{count}: {report}");
    }
    assert_eq!(report["clean"], true, "{report}");
    assert!(report["redials"].as_u64() >= Some(24), "everybody was cut off: {report}");
    assert!(report["longest_gap_ms"].as_f64() > Some(0.0), "{report}");
    let lines = lines(&timeline);
    // How long nobody had a socket may be shorter than a line's tenth of a second.
    let redials = |line: &Value| line["redials"].as_u64().is_some_and(|redials| redials > 0);
    assert!(lines.iter().any(redials), "the timeline tells of those who came back");
    draws(dir.path(), &timeline, lines[lines.len() / 2]["atMs"].as_u64().expect("a time"));
    assert_eq!(server.terminate(), Some(0));
}

/// The picture of a run, with what was done to the server.
fn draws(dir: &Path, timeline: &Path, at_ms: u64) {
    let (events, picture) = (dir.join("events.jsonl"), dir.join("run.svg"));
    std::fs::write(&events, format!("{{\"atMs\":{at_ms},\"what\":\"kill -9\"}}\n"))
        .expect("written");
    let args = ["draw", "--timeline", text(timeline), "--events", text(&events), "--picture"];
    let (code, _, said) = finished(verify(&[&args[..], &[text(&picture)]].concat()));
    assert_eq!(code, Some(0), "{said}");
    let picture = std::fs::read_to_string(picture).expect("it was written");
    assert!(picture.starts_with("<svg") && picture.contains("kill -9"), "{picture}");
}

#[tokio::test]
async fn a_lie_ends_with_one_and_the_first_broken_promise_with_both_histories() {
    let address = toy::start(Fault::Misnumbers(11)).await;
    let url = format!("ws://{address}");
    let args = ["--url", &url, "--rooms", "1", "--clients", "4", "--rate", "40", "--seconds", "1"];
    let run = verify(&[&args[..], &["--settle", "1"]].concat());
    let run = tokio::task::spawn_blocking(move || finished(run));
    let (code, report, said) = run.await.expect("no panic");
    assert_eq!(code, Some(1), "{report}{said}");
    for words in [
        "was acknowledged at 12, and stands at 11",
        " sent:\n",
        "the log in the end:\n",
        "the first broken promise:\nbench:verify:",
        "messages acknowledged",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(!report.ends_with("\n0 lost, 0 twice, 0 out of order\n"), "{report}");
}

#[test]
fn without_a_server_there_is_a_sentence_and_no_report() {
    let (code, report, said) = finished(verify(&["--url", "ws://127.0.0.1:1"]));
    assert_eq!((code, &*report), (Some(2), ""));
    assert!(said.contains("127.0.0.1:1"), "{said}");
    let (code, _, said) = finished(verify(&[]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--url"), "{said}");
}
