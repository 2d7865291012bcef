//! What the database does for a statement.

use bytes::Bytes;
use journal::conformance::owner::user;
use model::{Batch, Erasure, HistoryAnchor, StateKey};

use super::server;
use super::writer::{Writer, open};

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reads_a_whole_table() {
    let server = server::shared();
    let settings = server.journal(&[server.port]);
    let schema = settings.url.rsplit_once("search_path=").expect("set").1.trim_end_matches('\'');
    let count = |column: &str| {
        format!(
            "SELECT sum({column}) FROM pg_stat_user_tables
             WHERE schemaname = '{schema}' AND relname IN
                 ('parlour_slot', 'parlour_room', 'parlour_entry', 'parlour_state')"
        )
    };
    let scans = |column: &str| tokio::task::block_in_place(|| server.sql(&count(column)));
    // Making the indexes and the slots reads the empty tables; that is counted before we begin.
    let await_scans = |at_least: u32| {
        let query = format!("SELECT ({}) >= {at_least}", count("idx_scan"));
        tokio::task::block_in_place(|| server.await_sql(&query));
    };
    let journal = open(&settings, 1);
    let before = scans("seq_scan");
    let mut writer = Writer::start(&journal, 0, 1).await;
    let reaction = StateKey::Reaction(1, user("ann"), "x".into());
    for number in 1..=20u64 {
        let mut part = writer.part("text");
        let value = (number % 2 == 0).then(|| Bytes::from_static(b"x"));
        part.states = vec![(StateKey::Fold(number), value), (reaction.clone(), None)];
        part.erasures = vec![Erasure { seq: number.div_ceil(2), payload: Bytes::new() }];
        let batch = Batch { rooms: vec![part] };
        let results = journal.append(0, writer.claimed.fence, batch).await;
        assert_eq!(results, [Ok(())]);
    }
    let (room, ann) = (writer.room.clone(), user("ann"));
    assert_eq!(journal.range(&room, 3, 5, 1_000).await.expect("readable").len(), 5);
    assert_eq!(journal.range_back(&room, 9, 5, 1_000).await.expect("readable").len(), 5);
    assert_eq!(journal.ids(&room, 1, 20).await.expect("readable").len(), 20);
    assert_eq!(journal.by_target(&room, 3, 0, 9).await, Ok(vec![]));
    assert_eq!(journal.states(&room, vec![reaction]).await, Ok(vec![None]));
    let page = journal.page(&room, HistoryAnchor::Around(9), 5, 1_000, Some(&ann)).await;
    assert_eq!(page.expect("readable").expect("born").posts.len(), 5);
    assert_eq!(journal.verify(&[(0, writer.claimed.fence)]).await, Ok(vec![]));
    assert_eq!(journal.rooms(Some(0), None, 9).await.expect("readable").len(), 1);
    assert_eq!(journal.rooms(None, None, 9).await.expect("readable").len(), 1);
    assert_eq!(journal.trim(0, writer.claimed.fence, &room, 11).await, Ok(()));
    let rest = format!(
        "SET enable_seqscan = off; SELECT count(*) = 10 FROM {schema}.parlour_entry WHERE seq > 0"
    );
    tokio::task::block_in_place(|| server.await_sql(&rest));
    drop((writer, journal));
    // Sessions report when they end.
    await_scans(60);
    assert_eq!(scans("seq_scan"), before);
}
