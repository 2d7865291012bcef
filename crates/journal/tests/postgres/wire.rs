//! Connections that are cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::postgres::Settings;
use journal::{Journal, ReadError};
use model::AppendError;

use super::proxy::{Order, Proxy};
use super::server::{self, PATIENCE, Server};
use super::writer::{Writer, open};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_cut_at_any_step_is_unknown_and_there_once_or_not_at_all() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let journal = open(&server.journal(&[proxy.port]), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("first").await.expect("appended");
    // Before its parameters, its execution, the end of its transaction; and the lost answer.
    let steps = [
        (Order::CutBefore(0), false),
        (Order::CutBefore(1), false),
        (Order::CutBefore(2), false),
        (Order::LoseAnswer, true),
    ];
    let mut entries = 1;
    for (order, applied) in steps {
        for _ in 0..3 {
            proxy.order(order);
            let result = writer.append("cut").await;
            assert!(matches!(result, Err(AppendError::Unknown(_))), "{order:?}: {result:?}");
            assert_eq!(writer.append("x").await, Err(AppendError::Fenced), "{order:?}");
            writer.claim().await;
            entries += usize::from(applied);
            assert_eq!(writer.check(&journal).await.len(), entries, "{order:?}");
            writer.append("next").await.expect("appended");
            entries += 1;
        }
        proxy.order(order);
        let claim = journal.claim(0, 1, 1).await;
        assert!(claim.is_err(), "{order:?}: {claim:?}");
        let before = writer.claimed.fence;
        writer.claim().await;
        assert_eq!(writer.claimed.fence, before + 1 + u64::from(applied), "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_handed_over_is_carried_out_even_if_nobody_waits_for_it() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let journal = open(&server.journal(&[proxy.port]), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    let room = writer.room.clone();
    proxy.order(Order::HoldEnd);
    let waiting = tokio::spawn(async move { writer.append("one").await });
    let held = proxy.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.expect("held");
    waiting.abort();
    assert!(waiting.await.is_err(), "nobody waits");
    assert_eq!(journal.head(&room).await, Ok(None));
    proxy.release();
    let started = Instant::now();
    while journal.head(&room).await == Ok(None) {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_connects_again_by_itself() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let journal = open(&server.journal(&[proxy.port]), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    proxy.cut();
    let started = Instant::now();
    // A read that meets a dead connection says so; the next one has a new connection.
    while journal.head(&writer.room).await.is_err() {
        assert!(started.elapsed() < PATIENCE);
    }
    // An idle connection that ended is not used for an append.
    writer.append("two").await.expect("appended");
    assert_eq!(writer.check(&journal).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_noticed_in_time() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let settings = server.journal(&[proxy.port]);
    let settings = Settings { answer_within: Duration::from_secs(1), ..settings };
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    proxy.set_silent(true);
    let started = Instant::now();
    let (read, verified) = tokio::join!(journal.head(&writer.room), journal.verify(&[(0, 1)]));
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");
    assert!(verified.is_err(), "{verified:?}");
    let result = writer.append("two").await;
    assert!(matches!(result, Err(AppendError::Unknown(_))), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    proxy.set_silent(false);
    writer.claim().await;
    writer.append("three").await.expect("appended");
    writer.check(&journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_server_gives_up_on_is_unknown() {
    let server = server::shared();
    let settings = server.journal(&[server.port]);
    let settings = Settings { answer_within: Duration::from_secs(1), ..settings };
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    tokio::task::block_in_place(|| {
        server.sql(&format!(
            "CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON {schema}.parlour_entry FOR EACH ROW
                 WHEN (NEW.seq = 2) EXECUTE FUNCTION {schema}.slow()"
        ))
    });
    match writer.append("two").await {
        Err(AppendError::Unknown(why)) => assert!(why.contains("timeout"), "{why}"),
        other => panic!("{other:?}"),
    }
    tokio::task::block_in_place(|| {
        server.sql(&format!("DROP TRIGGER slow ON {schema}.parlour_entry"))
    });
    writer.claim().await;
    writer.append("two").await.expect("appended");
    assert_eq!(writer.check(&journal).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_refuses_at_once_and_surely_applied_nothing() {
    let server = Server::start("");
    let journal = open(&server.journal(&[server.port]), 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    drop(server);
    let started = Instant::now();
    while !matches!(writer.append("two").await, Err(AppendError::Unavailable(_))) {
        assert!(started.elapsed() < PATIENCE);
    }
    assert!(matches!(journal.head(&writer.room).await, Err(ReadError::Unavailable(_))));
    let health = journal.health();
    assert!(!health.writable && health.why.is_some(), "{health:?}");
    let journal: Arc<dyn Journal> = journal;
    drop(journal);
}
