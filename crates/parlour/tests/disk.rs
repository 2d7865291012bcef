//! Disks fill up and rot: what is refused, what goes on, what is told to whom.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use parlour_client::{HistoryAnchor, Position, Reading};
use serde_json::{Value, json};
use support::person::{Door, Person};
use support::raw::Raw;
use support::{PATIENCE, Server, Start, parlour};

fn publish(id: &str, text: &str) -> Value {
    json!({"publish": {"room": "lobby", "id": id, "since": {}, "post": {"text": text}}})
}

/// Bytes that may still be written to the disk under `dir`.
fn free_bytes(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).expect("it is mounted");
    stat.f_bavail * stat.f_frsize
}

/// Publishes until that is taken again, or until it is refused.
async fn until_answered(raw: &mut Raw, wanted: &str, name: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let answer = raw.ask(publish(&format!("{name}-{number:04}"), "is there space?")).await;
        if answer.get(wanted).is_some() {
            return answer[wanted].clone();
        }
        assert!(Instant::now() < deadline, "no {wanted}, only {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("it counts on and on")
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_for_a_while_and_keeps_serving_readers() {
    let dir = tempfile::tempdir().expect("a folder");
    // The headroom lies half-way between what is free now and what will be once the disk is fuller. The
    // file takes a quarter of the free space and writes none of it.
    let free = free_bytes(dir.path());
    let server = Start::in_dir(dir.path()).set("headroom_bytes", free / 8 * 7).start();
    let mut ann = Raw::hello(&server, "ann").await;
    assert!(ann.ask(publish("before-it", "before")).await["published"].is_object());

    let filler = dir.path().join("filler");
    let filled = Command::new("fallocate").arg("-l").arg((free / 4).to_string()).arg(&filler).status();
    assert!(filled.expect("fallocate, of util-linux").success(), "a file can be made large");
    let refused = until_answered(&mut ann, "refused", "full").await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(126), &json!("storage_full")));
    assert!(refused["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "it may be sent again: {refused}");
    let (status, why) = server.get("/readyz");
    assert_eq!(status, 503, "{why}");
    assert_eq!(server.get("/healthz").0, 200, "a full disk is no reason to be restarted");

    let mut bob = Person::come(&server, Door::Grpc, "bob").await;
    let entered = bob.enter("lobby", Reading::after(Position::default())).await;
    assert_eq!(bob.message("lobby").await.content.text(), "before");
    let page = bob.page("lobby", HistoryAnchor::Newest, 10).await;
    assert!(!page.posts.is_empty() && page.as_of >= entered.subscription.head);
    // The client waits and sends it again by itself.
    let patient = tokio::spawn(async move { bob.say("lobby", "patient").await });

    std::fs::remove_file(&filler).expect("it is there");
    until_answered(&mut ann, "published", "space").await;
    support::person::patiently("the patient client", patient).await.expect("it stands");
    assert_eq!(server.get("/readyz").0, 200);
    assert!(ann.ask(publish("before-it", "before")).await["published"]["duplicate"].as_bool().expect("known"));
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test]
async fn a_write_that_fails_in_the_middle_loses_nothing_and_the_journal_recovers() {
    let dir = tempfile::tempdir().expect("a folder");
    // The engine's journal file has its full size from the beginning; it must fit, its tables need not.
    let served = Start::in_dir(dir.path()).set("limits.publishes_per_second", 1_000_000);
    let server = limited(&served, 70 * 1024);
    let mut ann = Raw::hello(&server, "ann").await;
    let text = "x".repeat(16_000);
    let (mut last, mut failed) = (0, None);
    let begun = Instant::now();
    for number in 0..8_000 {
        let answer = ann.ask(publish(&format!("fill-{number:06}"), &text)).await;
        if let Some(seq) = answer["published"]["seq"].as_u64() {
            assert_eq!(seq, last + 1, "{answer}");
            last = seq;
        } else {
            assert!(answer["refused"]["retryAfterMs"].is_u64(), "it may be sent again: {answer}");
            failed = Some(number);
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{number} were written and nothing failed");
    }
    let failed = failed.expect("a file may not grow without end here");
    let page = ann.ask(json!({"history": {"room": "lobby", "limit": 1}})).await;
    assert!(page["history"]["posts"][0]["seq"].as_u64().is_some_and(|seq| seq >= last), "readers go on: {page}");

    free(&server);
    let id = format!("fill-{failed:06}");
    let deadline = Instant::now() + PATIENCE;
    let seq = loop {
        let answer = ann.ask(publish(&id, &text)).await;
        if let Some(seq) = answer["published"]["seq"].as_u64() {
            break seq;
        }
        assert!(Instant::now() < deadline, "it does not recover: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(seq, last + 1, "the failed one stands once, where it belongs");
    let again = ann.ask(publish("fill-000000", &text)).await;
    assert_eq!((&again["published"]["seq"], &again["published"]["duplicate"]), (&json!(1), &json!(true)));
    server.kill();
    let server = Start::in_dir(dir.path()).start();
    let mut ann = Raw::hello(&server, "ann").await;
    let page = ann.ask(json!({"history": {"room": "lobby", "limit": 1}})).await;
    assert_eq!(page["history"]["posts"][0]["seq"], json!(seq));
}

/// Starts a server whose files may grow to so many blocks of 1,024 bytes; a write beyond fails.
fn limited(start: &Start, blocks: u64) -> Server {
    let inner = start.command();
    let mut command = Command::new("sh");
    // Without the signal, which would kill, the write answers EFBIG. The hard limit stays.
    let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$@\"", blocks * file_size_unit());
    command.arg("-c").arg(script).arg("sh").arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Start::start_command(command)
}

/// `ulimit -f` counts blocks of 512 bytes, as POSIX has it, or of 1,024, as bash does.
fn file_size_unit() -> u64 {
    let said = Command::new("sh").args(["-c", "ulimit -S -f 2; cat /proc/self/limits"]).output().expect("sh");
    let limits = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = limits.lines().find(|line| line.starts_with("Max file size")).expect("Linux lists it");
    let bytes: u64 = line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).expect("a number");
    2_048 / bytes
}

/// Takes the limit away from a running server.
fn free(server: &Server) {
    let pid = rustix::process::Pid::from_raw(server.pid().cast_signed());
    let free = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, free).expect("it is our child");
}

async fn write_and_stop(dir: &Path, count: u64) {
    let server = Start::in_dir(dir).set("limits.publishes_per_second", 1_000_000).start();
    let ann = Person::come(&server, Door::WsProto, "ann").await;
    for number in 1..=count {
        ann.say("lobby", &format!("message {number}")).await;
    }
    ann.say("elsewhere", "alone").await;
    // As a power cut would: everything is in the engine's journal.
    server.kill();
}

/// The engine's journal and how much of it is written.
fn written_journal(dir: &Path) -> (PathBuf, u64) {
    let mut files = Vec::new();
    collect(dir, &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let written = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("readable");
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
    };
    let longest = files.into_iter().map(|path| (written(&path), path)).max().expect("there is a journal");
    (longest.1, longest.0)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn tool(args: &[&str], dirs: &[&Path]) -> Output {
    parlour().arg("journal").args(args).args(dirs).output().expect("runs")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[tokio::test]
async fn a_corrupted_file_stops_the_start_by_name_and_what_can_be_read_is_salvaged() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    write_and_stop(&data, 60).await;
    let clean = tool(&["check"], &[&data]);
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean));
    assert!(text(&clean).contains("2 rooms, 61 entries"), "{}", text(&clean));

    let (path, written) = written_journal(&data);
    let file = std::fs::File::options().read(true).write(true).open(&path).expect("open");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, written / 2).expect("readable");
    file.write_all_at(&bytes.map(|byte| byte ^ 0x55), written / 2).expect("writable");
    let before = std::fs::read(&path).expect("readable");

    let refused = Start::in_dir(&data).run();
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in [path.to_str().expect("UTF-8"), "parlour journal check", "parlour journal salvage"] {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    let checked = tool(&["check"], &[&data]);
    assert_eq!(checked.status.code(), Some(1), "{}", text(&checked));
    assert!(text(&checked).contains("does not open"), "{}", text(&checked));

    let new = dir.path().join("salvaged");
    let salvaged = tool(&["salvage"], &[&data, &new]);
    assert!(text(&salvaged).contains("new log: lobby"), "{}", text(&salvaged));
    assert!(std::fs::read(&path).expect("readable") == before, "the damaged folder is not changed");
    let again = tool(&["salvage"], &[&data, &new]);
    assert_eq!(again.status.code(), Some(2), "it overwrites nothing: {}", text(&again));
    assert_eq!(tool(&["check"], &[&new]).status.code(), Some(0));

    let server = Start::in_dir(&new).start();
    let mut ann = Raw::hello(&server, "ann").await;
    let page = ann.ask(json!({"history": {"room": "lobby", "after": 0, "limit": 100}})).await["history"].take();
    let posts = page["posts"].as_array().cloned().unwrap_or_default();
    assert!((10..60).contains(&posts.len()), "{} of 60 could be read", posts.len());
    for (number, post) in (1..).zip(&posts) {
        assert_eq!((&post["seq"], &post["post"]["text"]), (&json!(number), &json!(format!("message {number}"))));
    }
    let answer = ann.ask(publish("and-it-goes-on", "and it goes on")).await;
    assert_eq!(answer["published"]["seq"], json!(posts.len() + 1), "{answer}");
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test]
async fn tools_say_what_they_cannot_work_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let nothing = tool(&["check"], &[&dir.path().join("nothing")]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing));
    let server = Start::in_dir(dir.path()).start();
    let held = tool(&["check"], &[dir.path()]);
    assert_eq!(held.status.code(), Some(2), "{}", text(&held));
    assert!(text(&held).contains(&server.pid().to_string()), "it says who holds it: {}", text(&held));
}
