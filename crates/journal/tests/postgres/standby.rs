//! Standbys that the primary waits for, and primaries that go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::ClaimError;
use journal::postgres::Settings;
use model::AppendError;

use super::server::{PATIENCE, Server};
use super::writer::{Writer, open, room_of};

const WAITS: &str = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'
    AND application_name LIKE 'parlour/%/append%'";

fn wait_for_standby(server: &Server, name: &str) {
    server.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
    server.sql("SELECT pg_reload_conf()");
    server.await_sql(&format!("SELECT current_setting('synchronous_standby_names') = '{name}'"));
}

fn quick(settings: Settings) -> Settings {
    Settings { answer_within: Duration::from_secs(1), ..settings }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_replaced_by_its_standby_and_nothing_acknowledged_is_lost() {
    const SLOTS: u32 = 6;
    let primary = Server::start("synchronous_commit = on");
    let settings = primary.journal(&[primary.port]);
    let standby = primary.standby("second");
    wait_for_standby(&primary, "second");
    primary.await_sql("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
    let both = format!("port={},{}", primary.port, standby.port);
    let url = settings.url.replace(&format!("port={}", primary.port), &both);
    let url = url.replace("host=127.0.0.1", "host=127.0.0.1,127.0.0.1");
    let journal = open(&quick(Settings { url, ..settings }), 1);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..SLOTS)
        .map(|slot| {
            let (journal, stop) = (Arc::clone(&journal), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut writer = Writer::start(&journal, slot, 1).await;
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    if writer.append(&format!("{slot}: {number}")).await.is_err() {
                        writer.claim().await;
                    }
                }
                writer
            })
        })
        .collect();
    let count = |at_least: u64| {
        let journal = Arc::clone(&journal);
        async move {
            let started = Instant::now();
            for slot in 0..SLOTS {
                loop {
                    let head = journal.head(&room_of(slot)).await.ok().flatten();
                    if head.is_some_and(|head| head.head >= at_least) {
                        break;
                    }
                    assert!(started.elapsed() < PATIENCE, "slot {slot} does not go on");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    };
    count(50).await;
    primary.signal("KILL");
    standby.promote();
    let after: Vec<_> = futures_util::future::join_all((0..SLOTS).map(|slot| {
        let journal = Arc::clone(&journal);
        async move {
            let started = Instant::now();
            loop {
                match journal.head(&room_of(slot)).await {
                    Ok(head) => return head.map_or(0, |head| head.head),
                    Err(error) => assert!(started.elapsed() < PATIENCE, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }))
    .await;
    count(after.iter().max().expect("some") + 20).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let writer = writer.await.expect("no writer panics");
        assert!(writer.acknowledged.len() > 50);
        writer.check(&journal).await;
    }
    assert!(journal.health().writable, "{:?}", journal.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_standby_publishes_are_unknown_in_time_and_reads_go_on() {
    let server = Server::start("");
    let journal = open(&quick(server.journal(&[server.port])), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    wait_for_standby(&server, "nobody");
    let started = Instant::now();
    let waiting = {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            let mut reads = 0;
            while journal.range(&room_of(0), 1, 10, 1_000).await.is_ok()
                && journal.verify(&[(0, 1)]).await.is_ok()
                && started.elapsed() < Duration::from_secs(1)
            {
                reads += 1;
                tokio::task::yield_now().await;
            }
            reads
        })
    };
    let result = writer.append("two").await;
    assert!(matches!(result, Err(AppendError::Unknown(_))), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(waiting.await.expect("no panic") > 10, "reads go on meanwhile");
    assert!(!journal.health().writable);
    let claim = journal.claim(0, 1, 1).await;
    assert!(matches!(claim, Err(ClaimError::Unavailable(_))), "nothing is tried: {claim:?}");
    assert!(journal.head(&room_of(0)).await.is_ok());
    wait_for_standby(&server, "");
    writer.claim().await;
    writer.append("three").await.expect("appended");
    writer.check(&journal).await;
    let started = Instant::now();
    while !journal.health().writable {
        assert!(started.elapsed() < PATIENCE, "{:?}", journal.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_standby_that_somebody_cancels_acknowledges_nothing() {
    let server = Server::start("");
    let journal = open(&server.journal(&[server.port]), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        wait_for_standby(&server, "nobody");
        let appending = tokio::spawn(async move {
            let result = writer.append("two").await;
            (writer, result)
        });
        let server = &server;
        tokio::task::block_in_place(|| {
            server.await_sql(WAITS);
            server.sql(&format!(
                "SELECT {end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ));
        });
        let (back, result) = appending.await.expect("no panic");
        writer = back;
        match result {
            Err(AppendError::Unknown(why)) if end == "pg_cancel_backend" => {
                assert!(why.contains("warned"), "the server said success and warned: {why}");
            }
            other => assert!(matches!(other, Err(AppendError::Unknown(_))), "{end}: {other:?}"),
        }
        assert_eq!(writer.append("x").await, Err(AppendError::Fenced), "the claim has ended");
        wait_for_standby(server, "");
        writer.claim().await;
        writer.append("three").await.expect("appended");
    }
    writer.check(&journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_a_failover_lost_are_noticed_and_leave_no_hole() {
    let server = super::server::shared();
    let settings = server.journal(&[server.port]);
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    for number in 0..5 {
        writer.append(&number.to_string()).await.expect("appended");
    }
    // What a standby looks like that had not received the last two.
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    server.sql(&format!(
        "SET search_path = {schema}; DELETE FROM parlour_entry WHERE seq > 3;
         UPDATE parlour_room SET head = 3, ordinal = 3; UPDATE parlour_slot SET slot_pos = 3
         WHERE slot = 0"
    ));
    let result = writer.append("5").await;
    assert!(matches!(result, Err(AppendError::Unknown(_))), "{result:?}");
    writer.claim().await;
    writer.append("again").await.expect("appended");
    let entries = journal.range(&writer.room, 1, 10, 1_000).await.expect("no hole");
    assert_eq!(entries.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_a_failover_gave_away_again_is_no_claim_of_ours() {
    let server = super::server::shared();
    let settings = server.journal(&[server.port]);
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    let fence = writer.claimed.fence;
    // Our claim was lost with the old primary; the next one got the same number.
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    tokio::task::block_in_place(|| {
        server.sql(&format!("UPDATE {schema}.parlour_slot SET nonce = 2 WHERE slot = 0"))
    });
    assert_eq!(journal.verify(&[(0, fence)]).await, Ok(vec![0]));
    assert_eq!(journal.trim(0, fence, &writer.room, 2).await, Err(AppendError::Fenced));
    assert_eq!(writer.append("two").await, Err(AppendError::Fenced));
    let entries = journal.range(&writer.room, 1, 10, 1_000).await.expect("readable");
    assert_eq!(entries.len(), 1);
}
