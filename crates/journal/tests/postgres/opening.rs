//! What is made, what is checked, and what an operator reads when it does not fit.

use std::sync::Arc;

use journal::postgres::{OpenError, Postgres, Settings};

use super::server::{self, SLOTS};
use super::writer::{Writer, open};

fn schema(settings: &Settings) -> String {
    let (_, schema) = settings.url.rsplit_once("search_path=").expect("set");
    schema.trim_end_matches('\'').to_owned()
}

fn refused(settings: &Settings) -> OpenError {
    Postgres::open(settings.clone(), 1).err().expect("it must not open")
}

#[test]
fn a_database_without_a_journal_is_refused_and_the_remedy_named() {
    let server = server::shared();
    server.sql("CREATE SCHEMA empty");
    let settings = Settings::new(&server::url(&[server.port], "empty"), "test", SLOTS, "fnv");
    let error = refused(&settings);
    assert!(matches!(error, OpenError::Absent { .. }), "{error:?}");
    assert!(error.to_string().contains("parlour admin init"), "{error}");
}

#[test]
fn other_constants_are_refused_by_their_name_at_open_and_at_init() {
    let server = server::shared();
    let settings = server.journal(&[server.port]);
    Postgres::init(&settings).expect("a second time changes nothing");
    let others = [
        ("cluster id", Settings { cluster: "other".into(), ..settings.clone() }),
        ("slots", Settings { slots: SLOTS * 2, ..settings.clone() }),
        ("slot_hash", Settings { slot_hash: "xx".into(), ..settings.clone() }),
    ];
    for (what, other) in others {
        let errors = [refused(&other), Postgres::init(&other).expect_err("it differs")];
        for error in errors {
            assert!(matches!(error, OpenError::Mismatch { .. }), "{error:?}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[test]
fn many_that_make_the_journal_at_once_make_one() {
    let server = server::shared();
    server.sql("CREATE SCHEMA together");
    let url = server::url(&[server.port], "together");
    let settings = Settings::new(&url, "test", SLOTS, "fnv");
    let makers: Vec<_> = (0..6)
        .map(|_| {
            let settings = settings.clone();
            std::thread::spawn(move || Postgres::init(&settings))
        })
        .collect();
    for maker in makers {
        assert_eq!(maker.join().expect("no panic"), Ok(()));
    }
    let rows = server.sql("SELECT count(*) FROM together.parlour_slot");
    assert_eq!(rows, [SLOTS.to_string()]);
}

#[test]
fn newer_tables_are_used_if_they_allow_it_and_refused_if_not() {
    let server = server::shared();
    let settings = server.journal(&[server.port]);
    let schema = schema(&settings);
    server.sql(&format!(
        "INSERT INTO {schema}.parlour_schema (version, needs) VALUES (8, 1);
         ALTER TABLE {schema}.parlour_room ADD COLUMN topic text NOT NULL DEFAULT ''"
    ));
    drop(Postgres::open(settings.clone(), 1).expect("compatible"));
    server.sql(&format!("INSERT INTO {schema}.parlour_schema (version, needs) VALUES (9, 7)"));
    for error in [refused(&settings), Postgres::init(&settings).expect_err("too new")] {
        let newer = matches!(error, OpenError::Newer { stored: 9, needs: 7, .. });
        assert!(newer, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_open_goes_on_while_newer_tables_come() {
    let server = server::shared();
    let settings = server.journal(&[server.port]);
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    let schema = schema(&settings);
    tokio::task::block_in_place(|| {
        server.sql(&format!(
            "ALTER TABLE {schema}.parlour_entry ADD COLUMN tag text;
             ALTER TABLE {schema}.parlour_room ADD COLUMN topic text"
        ))
    });
    writer.append("two").await.expect("appended");
    assert_eq!(writer.check(&journal).await.len(), 2);
    drop(Arc::clone(&journal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_owns_its_schema_and_nothing_else_is_enough() {
    let server = server::shared();
    tokio::task::block_in_place(|| {
        server.sql("CREATE ROLE plain LOGIN; CREATE SCHEMA plain AUTHORIZATION plain");
    });
    let url = server::url(&[server.port], "plain").replace("user=postgres", "user=plain");
    let settings = Settings::new(&url, "test", SLOTS, "fnv");
    tokio::task::block_in_place(|| Postgres::init(&settings)).expect("made");
    let journal = open(&settings, 1);
    let mut writer = Writer::start(&journal, 0, 1).await;
    writer.append("one").await.expect("appended");
    // It may end its own kind's sessions, and write a probe.
    let (zombie, connection) = tokio_postgres::connect(
        &format!("{url} application_name=parlour/zombie/append0"),
        tokio_postgres::NoTls,
    )
    .await
    .expect("connected");
    tokio::spawn(connection);
    let lock = "BEGIN; SELECT 1 FROM parlour_slot WHERE slot = 0 FOR NO KEY UPDATE";
    zombie.batch_execute(lock).await.expect("locked");
    journal.claim(0, 5, 1).await.expect("it gets through");
    zombie.simple_query("SELECT 1").await.expect_err("the zombie was ended");
    let probe = "SELECT pg_logical_emit_message(true, 'parlour', 'probe')";
    let plain = url.clone();
    tokio::task::block_in_place(|| server::sql_at(&plain, probe)).expect("a plain role may");
}

#[test]
fn a_wrong_password_is_refused_without_showing_it() {
    let server = server::Server::start("");
    server.sql("CREATE ROLE ann LOGIN PASSWORD 'right'");
    server.require_passwords();
    let url = format!("postgres://ann:s3cret@127.0.0.1:{}/postgres", server.port);
    let error = refused(&Settings::new(&url, "test", SLOTS, "fnv"));
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("password") && !shown.contains("s3cret"), "{shown}");
    let closed = Settings::new(&server::url(&[server::free_port()], "x"), "test", SLOTS, "fnv");
    assert!(matches!(refused(&closed), OpenError::Unreachable { .. }));
}
