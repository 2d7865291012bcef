//! Disks fill up and rot: what is refused, what goes on, what is told to whom.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use parlour_client::{HistoryAnchor, Position, Reading};
use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};
use support::person::{Door, Person};
use support::raw::Raw;
use support::{PATIENCE, Server, Start, parlour};

fn publish(id: &str, text: &str) -> Value {
    json!({"publish": {"room": "lobby", "id": id, "since": {}, "post": {"text": text}}})
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

/// A folder on the disk that holds the build: elsewhere a large file may be memory.
fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_for_a_while_and_keeps_serving_readers() {
    let dir = on_disk();
    // At most a twentieth of a disk is kept free, whatever is asked for. A large file, of which nothing is
    // written, takes what is above three quarters of that.
    let stat = rustix::fs::statvfs(dir.path()).expect("it is mounted");
    let (disk, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    assert!(
        free > disk / 16,
        "{free} bytes are free of {disk}: this test needs a sixteenth of the disk"
    );
    let server = Start::in_dir(dir.path()).set("headroom_bytes", disk).start();
    let mut ann = Raw::hello(&server, "ann").await;
    assert!(ann.ask(publish("before-it", "before")).await["published"].is_object());

    let filler = dir.path().join("filler");
    let filled = Command::new("fallocate")
        .arg("-l")
        .arg((free - disk / 80 * 3).to_string())
        .arg(&filler)
        .status();
    assert!(filled.expect("fallocate, of util-linux").success(), "a file can be made large");
    let refused = until_answered(&mut ann, "refused", "full").await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(126), &json!("storage_full")));
    assert!(
        refused["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0),
        "it may be sent again: {refused}"
    );
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
    assert!(
        ann.ask(publish("before-it", "before")).await["published"]["duplicate"]
            .as_bool()
            .expect("known")
    );
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test]
async fn a_write_that_fails_in_the_middle_loses_nothing_and_the_journal_recovers() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = deaf_to_xfsz(&Start::in_dir(dir.path()).set("limits.publish_wait_ms", 1_000));
    let mut ann = Raw::hello(&server, "ann").await;
    let answer = ann.ask(publish("the-first-one", "one")).await;
    assert_eq!(answer["published"]["seq"], 1, "{answer}");

    limit_files(&server, Some(64));
    for _ in 0..3 {
        let refused = ann.refusal(publish("the-second-one", "two")).await;
        assert!(refused["retryAfterMs"].is_u64(), "it may be sent again: {refused}");
    }
    let mut bob = Person::come(&server, Door::Grpc, "bob").await;
    bob.enter("lobby", Reading::after(Position::default())).await;
    assert_eq!(bob.message("lobby").await.content.text(), "one", "readers go on");
    assert_eq!(server.get("/readyz").0, 503);

    limit_files(&server, None);
    let deadline = Instant::now() + PATIENCE;
    let seq = loop {
        let answer = ann.ask(publish("the-second-one", "two")).await;
        if let Some(seq) = answer["published"]["seq"].as_u64() {
            break seq;
        }
        assert!(Instant::now() < deadline, "it does not recover: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(seq, 2, "it stands once, where it belongs");
    assert_eq!(bob.message("lobby").await.content.text(), "two");
    let again = ann.ask(publish("the-first-one", "one")).await;
    assert_eq!(
        (&again["published"]["seq"], &again["published"]["duplicate"]),
        (&json!(1), &json!(true))
    );
    server.kill();
    let server = Start::in_dir(dir.path()).start();
    let mut ann = Raw::hello(&server, "ann").await;
    let page = ann.ask(json!({"history": {"room": "lobby"}})).await["history"].take();
    let texts: Vec<_> =
        page["posts"].as_array().into_iter().flatten().map(|post| &post["post"]["text"]).collect();
    assert_eq!(texts, ["one", "two"]);
}

/// Starts a server in which a write beyond the largest file answers EFBIG, instead of a signal that kills.
fn deaf_to_xfsz(start: &Start) -> Server {
    let inner = start.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Start::start_command(command)
}

/// Says how large files of a running server may become.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(server.pid().cast_signed());
    let limit = Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limit).expect("it is our child");
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
    let longest =
        files.into_iter().map(|path| (written(&path), path)).max().expect("there is a journal");
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
    for part in [path.to_str().expect("UTF-8"), "parlour journal check", "parlour journal salvage"]
    {
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
    let page =
        ann.ask(json!({"history": {"room": "lobby", "after": 0, "limit": 100}})).await["history"]
            .take();
    let posts = page["posts"].as_array().cloned().unwrap_or_default();
    assert!((10..60).contains(&posts.len()), "{} of 60 could be read", posts.len());
    for (number, post) in (1..).zip(&posts) {
        assert_eq!(
            (&post["seq"], &post["post"]["text"]),
            (&json!(number), &json!(format!("message {number}")))
        );
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
    assert!(
        text(&held).contains(&server.pid().to_string()),
        "it says who holds it: {}",
        text(&held)
    );
}
