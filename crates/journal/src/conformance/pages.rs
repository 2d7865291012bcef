//! Folded pages.

use bytes::Bytes;
use model::{ContentKind, ContentState, Fold, HistoryAnchor, ReactionCount, StateKey};

use super::Subject;
use super::owner::{ALL, Owner, about, post, room, user};
use crate::PageRead;

use HistoryAnchor::{After, Around, Before, Newest};

fn seqs(page: &PageRead) -> Vec<u64> {
    page.posts.iter().map(|(post, _)| post.seq).collect()
}

/// Posts at 1, 3, 5 … 19; a reaction behind each.
async fn fill(owner: &mut Owner, name: &model::RoomName) {
    for seq in (1..20).step_by(2) {
        owner.write(name, vec![post(&seq.to_string()), about(ContentKind::Reaction, seq)]).await;
    }
}

pub async fn pages_are_counted_from_every_anchor(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    fill(&mut owner, &lobby).await;
    let cases: &[(HistoryAnchor, u32, &[u64], bool)] = &[
        (Newest, 3, &[15, 17, 19], true),
        (Newest, 10, &[1, 3, 5, 7, 9, 11, 13, 15, 17, 19], false),
        (Newest, 100, &[1, 3, 5, 7, 9, 11, 13, 15, 17, 19], false),
        (Before(9), 2, &[5, 7], true),
        (Before(10), 2, &[7, 9], true),
        (Before(5), 9, &[1, 3], false),
        (Before(1), 9, &[], false),
        (Before(0), 9, &[], false),
        (Before(99), 2, &[17, 19], true),
        (After(9), 2, &[11, 13], true),
        (After(10), 2, &[11, 13], true),
        (After(15), 9, &[17, 19], false),
        (After(0), 2, &[1, 3], true),
        (After(19), 2, &[], false),
        (After(99), 2, &[], false),
        (Around(9), 4, &[5, 7, 9, 11], true),
        (Around(10), 4, &[7, 9, 11, 13], true),
        (Around(9), 1, &[9], true),
        (Around(1), 4, &[1, 3, 5, 7], false),
        (Around(19), 4, &[13, 15, 17, 19], true),
        (Around(99), 4, &[13, 15, 17, 19], true),
    ];
    for (anchor, limit, expected, more) in cases {
        let page = journal.page(&lobby, *anchor, *limit, ALL, None).await;
        let page = page.expect("readable").expect("born");
        assert_eq!((&seqs(&page)[..], page.more), (*expected, *more), "{anchor:?} {limit}");
        assert_eq!((page.head.head, page.head.ordinal), (20, 10));
    }
}

pub async fn a_page_holds_the_folds_and_the_users_own_reactions(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    fill(&mut owner, &lobby).await;
    let reacted = Fold {
        reactions: vec![ReactionCount { key: "👍".into(), count: 2, users: vec![user("ann")] }],
        ..Fold::default()
    };
    let edited = Fold { edit: Some((9, Bytes::from_static(b"edit"))), ..Fold::default() };
    let mut part = owner.part(&lobby, Vec::new()).await;
    let standing = |seq, name: &str, key: &str| {
        (StateKey::Reaction(seq, user(name), key.into()), Some(Bytes::from_static(b"8bytes..")))
    };
    part.states = vec![
        (StateKey::Fold(15), Some(reacted.to_bytes())),
        (StateKey::Fold(17), Some(edited.to_bytes())),
        (StateKey::Fold(1), Some(edited.to_bytes())),
        standing(15, "ann", "👍"),
        standing(15, "ann", "🎉"),
        standing(15, "anna", "x"),
        standing(15, "bob", "👍"),
        standing(16, "ann", "y"),
    ];
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    let read = |name: Option<&'static str>| {
        let user = name.map(user);
        let (journal, lobby) = (&journal, &lobby);
        async move {
            let page = journal.page(lobby, Newest, 3, ALL, user.as_ref()).await;
            page.expect("readable").expect("born")
        }
    };
    let page = read(Some("ann")).await;
    let folds: Vec<_> = page.posts.iter().map(|(_, fold)| fold.clone()).collect();
    assert_eq!(folds, [Some(reacted.to_bytes()), Some(edited.to_bytes()), None]);
    let [(15, keys)] = &page.mine[..] else { panic!("{:?}", page.mine) };
    let mut keys = keys.clone();
    keys.sort();
    assert_eq!(keys, ["🎉", "👍"]);
    assert_eq!(read(Some("eve")).await.mine, vec![]);
    assert_eq!(read(None).await.mine, vec![]);
}

pub async fn a_page_stops_at_its_bytes_but_has_one_post(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, (0..10).map(|_| post("ten bytes.")).collect()).await;
    let cases: &[(HistoryAnchor, usize, &[u64], bool)] = &[
        (Newest, 35, &[8, 9, 10], true),
        (Newest, 0, &[10], true),
        (Before(5), 25, &[3, 4], true),
        (After(5), 25, &[6, 7], true),
        (After(0), 1, &[1], true),
        (Around(5), 30, &[4, 5, 6], true),
        (Around(5), 5, &[5], true),
        (Newest, 100, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], false),
    ];
    for (anchor, bytes, expected, more) in cases {
        let page = journal.page(&lobby, *anchor, 50, *bytes, None).await;
        let page = page.expect("readable").expect("born");
        assert_eq!((&seqs(&page)[..], page.more), (*expected, *more), "{anchor:?} {bytes}");
    }
}

pub async fn a_page_costs_the_same_whatever_lies_between_its_posts(subject: &mut impl Subject) {
    /// Between each two posts; five gaps make 100,000.
    const BETWEEN: u64 = 20_000;
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    for _ in 0..5 {
        let target = owner.write(&lobby, vec![post("a post")]).await[0].seq;
        for _ in 0..BETWEEN / 2_000 {
            let drafts = vec![about(ContentKind::Reaction, target); 2_000];
            owner.write(&lobby, drafts).await;
        }
    }
    let before = subject.rows_read();
    let page = journal.page(&lobby, Newest, 4, ALL, Some(&user("ann"))).await;
    let page = page.expect("readable").expect("born");
    assert_eq!(seqs(&page), [20_002, 40_003, 60_004, 80_005]);
    let page = journal.page(&lobby, Before(60_000), 2, ALL, None).await;
    assert_eq!(seqs(&page.expect("readable").expect("born")), [20_002, 40_003]);
    if let (Some(before), Some(after)) = (before, subject.rows_read()) {
        let rows = after - before;
        assert!(rows < 60, "two pages of six posts looked at {rows} rows");
    }
}
