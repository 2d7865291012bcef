//! Appends that share a transaction.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{BoxFuture, FutureExt};
use journal::postgres::Settings;
use model::AppendError;

use super::proxy::{Order, Proxy};
use super::server;
use super::writer::{Writer, open};

/// Several writers of one engine, whose appends wait together behind a held one.
async fn together(
    settings: &Settings,
    proxy: &Proxy,
    slots: u32,
) -> Vec<(Writer, Result<(), AppendError>)> {
    let journal = open(settings, 1);
    let mut writers = Vec::new();
    for slot in 0..slots {
        let mut writer = Writer::start(&journal, slot, 1).await;
        writer.append("one").await.expect("appended");
        writers.push(writer);
    }
    proxy.order(Order::HoldEnd);
    let append = |mut writer: Writer| {
        let append = async move {
            let result = writer.append("two").await;
            (writer, result)
        };
        append.boxed()
    };
    let mut waiting = vec![append(writers.remove(0))];
    hand_over(&mut waiting[0]).await;
    let held = proxy.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.expect("held");
    for writer in writers {
        let mut append = append(writer);
        hand_over(&mut append).await;
        waiting.push(append);
    }
    proxy.release();
    futures_util::future::join_all(waiting).await
}

/// An append is handed over at its first poll.
async fn hand_over<T>(append: &mut BoxFuture<'_, T>) {
    let pending = poll_fn(|cx| Poll::Ready(append.as_mut().poll(cx).is_pending()));
    assert!(pending.await, "it waits");
}

fn one_writer(server: &server::Server, proxy: &Proxy) -> Settings {
    Settings { writers: 1, ..server.journal(&[proxy.port]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_together_is_written_in_one_transaction() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let settings = one_writer(server, &proxy);
    for (writer, result) in together(&settings, &proxy, 12).await {
        assert_eq!(result, Ok(()));
        assert_eq!(writer.check(&writer.journal).await.len(), 2);
    }
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    let transactions = tokio::task::block_in_place(|| {
        server.sql(&format!(
            "SELECT count(DISTINCT xmin::text) FROM {schema}.parlour_entry WHERE seq = 2"
        ))
    });
    assert_eq!(transactions, ["2"], "the held one, and all others");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_append_that_the_database_refuses_does_not_fail_the_others_of_its_group() {
    let server = server::shared();
    let proxy = Proxy::to(server.port);
    let settings = one_writer(server, &proxy);
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    tokio::task::block_in_place(|| {
        server.sql(&format!(
            "CREATE FUNCTION {schema}.no() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
             CREATE TRIGGER no BEFORE INSERT ON {schema}.parlour_entry FOR EACH ROW
                 WHEN (NEW.slot = 3 AND NEW.seq = 2) EXECUTE FUNCTION {schema}.no()"
        ))
    });
    for (mut writer, result) in together(&settings, &proxy, 6).await {
        if writer.slot != 3 {
            assert_eq!(result, Ok(()), "slot {}", writer.slot);
            continue;
        }
        match result {
            Err(AppendError::Unavailable(why)) => assert!(why.contains("not this one"), "{why}"),
            other => panic!("{other:?}"),
        }
        let journal = Arc::clone(&writer.journal);
        assert_eq!(writer.check(&journal).await.len(), 1);
        tokio::task::block_in_place(|| {
            server.sql(&format!("DROP TRIGGER no ON {schema}.parlour_entry"))
        });
        writer.claim().await;
        writer.append("two").await.expect("appended");
    }
}
