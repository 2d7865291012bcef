//! Who may write, when many believe that they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use journal::ClaimError;
use journal::postgres::Settings;
use model::AppendError;
use tokio_postgres::NoTls;

use super::proxy::{Order, Proxy};
use super::server::{self, PATIENCE};
use super::writer::{Writer, open};

/// One connection of each kind: these tests have many engines.
fn small(settings: Settings) -> Settings {
    Settings { writers: 1, claimers: 1, readers: 1, ..settings }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_racing_takeovers_leave_no_entry_of_a_zombie() {
    const OWNERS: u64 = 4;
    const TAKEOVERS: u64 = 2_000;
    let settings = small(server::shared().journal(&[server::shared().port]));
    let epochs = Arc::new(AtomicU64::new(1));
    let mut owners = Vec::new();
    for nonce in 1..=OWNERS {
        let (journal, epochs) = (open(&settings, nonce), Arc::clone(&epochs));
        owners.push(tokio::spawn(async move {
            let mut writer = Writer::without_claim(&journal, 0, nonce);
            let (mut heads, mut unknown) = (Vec::new(), 0);
            loop {
                let epoch = epochs.fetch_add(1, Ordering::Relaxed);
                if epoch > TAKEOVERS {
                    return (writer, heads, unknown);
                }
                match journal.claim(0, epoch, nonce).await {
                    Ok(claimed) => {
                        assert!(writer.look(claimed).await);
                        let head = writer.journal.head(&writer.room).await.expect("readable");
                        heads.push((claimed.fence, head.map_or(0, |head| head.head)));
                    }
                    // On a busy machine a claim, too, may be taken for one that has stopped.
                    Err(ClaimError::Refused { .. } | ClaimError::Unknown(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
                // Goes on until it is told: it does not know that it is a zombie.
                for _ in 0..4 {
                    match writer.append("x").await {
                        Ok(()) => {}
                        Err(AppendError::Fenced) => break,
                        // On a busy machine it may be taken for one that has stopped.
                        Err(AppendError::Unknown(_)) => {
                            unknown += 1;
                            break;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        }));
    }
    let journal = open(&settings, 99);
    let (mut heads, mut acknowledged, mut unsure) = (Vec::new(), 0, 0);
    let mut stored = Vec::new();
    for owner in owners {
        let (writer, seen, unknown) = owner.await.expect("no owner panics");
        stored = writer.check(&journal).await;
        acknowledged += writer.acknowledged.len();
        unsure += unknown;
        heads.extend(seen);
    }
    let others = stored.len() - acknowledged;
    assert!(others <= unsure, "{others} entries are there that were refused");
    assert!(heads.len() > 1_000, "{} takeovers", heads.len());
    for (fence, head) in heads {
        let later = stored.iter().filter(|entry| entry.seq > head);
        let zombies = later.filter(|entry| entry.fence < fence).count();
        assert_eq!(zombies, 0, "behind the head {head} that the claim {fence} saw");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_stops_halfway_through_a_write_is_taken_over_at_once() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let settings = small(server.journal(&[proxy.port]));
    let direct = Settings {
        url: settings.url.replace(&proxy.port.to_string(), &server.port.to_string()),
        ..settings.clone()
    };
    let (paused, other) = (open(&settings, 1), open(&direct, 2));
    let mut writer = Writer::start(&paused, 0, 1).await;
    writer.append("one").await.expect("appended");
    let mut next = Writer::start(&other, 1, 2).await;
    proxy.order(Order::HoldEnd);
    let late = tokio::spawn(async move {
        let result = writer.append("late").await;
        (writer, result)
    });
    tokio::task::spawn_blocking({
        let proxy = proxy.clone();
        move || proxy.await_held()
    })
    .await
    .expect("held");
    let started = Instant::now();
    let claimed = other.claim(0, 5, 2).await.expect("it gets through");
    let took = started.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!((claimed.old_fence, claimed.slot_pos), (1, 1));
    (next.slot, next.room) = (0, super::writer::room_of(0));
    assert!(next.look(claimed).await);
    next.append("two").await.expect("appended");
    proxy.release();
    let (writer, result) = late.await.expect("no panic");
    assert!(matches!(result, Err(AppendError::Unknown(_))), "{result:?}");
    let stored = writer.check(&other).await;
    let texts: Vec<_> = stored.iter().map(|entry| &entry.payload[..]).collect();
    assert_eq!(texts, [b"one", b"two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_append_that_stops_halfway_does_not_hold_up_the_new_owner() {
    let server = server::shared();
    let settings = small(server.journal(&[server.port]));
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    // What a superseded append leaves when its process stops: it took the newest row, saw that it
    // may not write, and did not end its transaction.
    let url = format!("{} application_name=parlour/zombie/append0", settings.url);
    let (zombie, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    let lock = "BEGIN; SELECT 1 FROM parlour_slot WHERE slot = 0 FOR NO KEY UPDATE";
    zombie.batch_execute(lock).await.expect("locked");
    let started = Instant::now();
    writer.append("two").await.expect("the zombie is ended, the append is not refused");
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(zombie.simple_query("COMMIT").await.is_err(), "it was ended");
    // Somebody without the fence ends nobody.
    let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    open(&settings, 2).claim(0, 9, 2).await.expect("claimed");
    holder.batch_execute(lock).await.expect("locked");
    let late = writer.append("three").await;
    assert!(matches!(late, Err(AppendError::Unavailable(_) | AppendError::Fenced)), "{late:?}");
    holder.simple_query("COMMIT").await.expect("it was left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gets_through_beside_eight_busy_appenders() {
    let server = server::shared();
    let settings = small(server.journal(&[server.port]));
    let journal = open(&settings, 1);
    Writer::start(&journal, 0, 1).await.append("one").await.expect("appended");
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let busy: Vec<_> = (0..8)
        .map(|number| {
            let url = format!("{} application_name=parlour/busy/{number}", settings.url);
            let (stop, turns) = (Arc::clone(&stop), Arc::clone(&turns));
            // Holds the slot's row for longer than any append does.
            let sql = "BEGIN; UPDATE parlour_slot SET slot_pos = slot_pos WHERE slot = 0;
                SELECT pg_sleep(0.02); COMMIT";
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await
                    else {
                        continue;
                    };
                    tokio::spawn(connection);
                    while !stop.load(Ordering::Relaxed) && client.simple_query(sql).await.is_ok() {
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let started = Instant::now();
    while turns.load(Ordering::Relaxed) < 16 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut slowest = Duration::ZERO;
    for epoch in 2..22 {
        let started = Instant::now();
        journal.claim(0, epoch, 1).await.expect("it gets through");
        slowest = slowest.max(started.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.expect("no panic");
    }
    assert!(slowest < Duration::from_millis(900), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_holds_the_row_is_named_and_left_alone() {
    let server = server::shared();
    let settings = small(server.journal(&[server.port]));
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    let url = format!("{} application_name=operator", settings.url);
    let (operator, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    let lock = "BEGIN; SELECT 1 FROM parlour_slot WHERE slot = 0 FOR UPDATE";
    operator.batch_execute(lock).await.expect("locked");
    let started = Instant::now();
    let late = writer.append("two").await;
    assert!(matches!(late, Err(AppendError::Unavailable(_))), "surely not applied: {late:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(journal.head(&writer.room).await.is_ok(), "reads go on");
    match journal.claim(0, 1, 1).await {
        Err(ClaimError::Unavailable(why)) => assert!(why.contains("operator"), "{why}"),
        other => panic!("{other:?}"),
    }
    operator.batch_execute("COMMIT").await.expect("it was left alone");
    writer.claim().await;
    writer.append("three").await.expect("appended");
    assert_eq!(writer.check(&journal).await.len(), 2);
}
