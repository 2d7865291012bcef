//! A process that dies in the middle of writing, and one that may not write any further.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use model::{AppendError, Seed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const FOLDER: &str = "PARLOUR_JOURNAL_TEST_FOLDER";

/// Runs one of the ignored tests below in a process of its own. A write beyond the limit of a file's
/// size is an error there and no signal.
fn run(test: &str, dir: &Path) -> Child {
    let this = std::env::current_exe().expect("a test has a file");
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact --ignored --nocapture \"$1\""])
        .arg(this)
        .arg(format!("embedded::tests::killed::{test}"))
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

#[tokio::test]
#[ignore = "run by a test in a process of its own"]
async fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else {
        return;
    };
    let journal: Arc<dyn Journal> =
        Arc::new(Embedded::open(settings(Path::new(&dir))).expect("it opens"));
    let epoch = journal.head(&room("a")).await.expect("dense").map_or(1, |head| head.head + 1);
    let mut owner = Owner::claim(&journal, 0, epoch, epoch).await;
    loop {
        let mut parts = Vec::new();
        for name in names() {
            parts.push(owner.part(&name, vec![post("x"), post("y")]).await);
        }
        assert_eq!(owner.append(parts).await, vec![Ok(()); 3]);
        println!("acknowledged {}", owner.slot_pos);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let mut folder = Folder::new();
    let mut seed = Seed::new(17);
    let mut acknowledged = 0;
    for _ in 0..5 {
        let mut child = run("writes_until_it_is_killed", folder.path());
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stop = acknowledged + 6 + 6 * seed.below(60);
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().expect("a number");
                if acknowledged >= stop {
                    break;
                }
            }
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let lengths = lengths(&folder.open()).await;
        assert!(lengths.iter().all(|length| length % 2 == 0 && *length == lengths[0]));
        assert!(lengths.iter().sum::<usize>() as u64 >= acknowledged, "{lengths:?}");
        acknowledged = lengths.iter().sum::<usize>() as u64;
    }
}

#[tokio::test]
#[ignore = "run by a test in a process of its own"]
async fn writes_into_a_wall() {
    let Some(dir) = std::env::var_os(FOLDER) else {
        return;
    };
    let journal: Arc<dyn Journal> =
        Arc::new(Embedded::open(settings(Path::new(&dir))).expect("it opens"));
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    let free = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(64), ..free }).expect("limited");
    let part = owner.part(&lobby, vec![post("two")]).await;
    let results = owner.append(vec![part]).await;
    assert!(matches!(results[..], [Err(AppendError::Unknown(_))]), "{results:?}");
    let claim = journal.claim(0, 1, 1).await;
    assert!(claim.is_err(), "{claim:?}");
    assert!(!journal.health().writable);
    setrlimit(Resource::Fsize, free).expect("free again");
    while journal.claim(0, 1, 1).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    owner.claim_again().await;
    assert!(journal.health().writable);
    owner.write(&lobby, vec![post("three")]).await;
    let entries = journal.range(&lobby, 1, ALL, ALL).await.expect("dense");
    println!("recovered {}", entries.len());
}

#[tokio::test]
async fn a_write_that_the_system_refuses_is_recovered_from_without_a_restart() {
    let mut folder = Folder::new();
    let output = run("writes_into_a_wall", folder.path()).wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let recovered = said.lines().find_map(|line| line.strip_prefix("recovered "));
    let entries = folder.open().range(&room("lobby"), 1, ALL, ALL).await.expect("dense");
    assert_eq!(recovered, Some(&*entries.len().to_string()), "{said}");
}
