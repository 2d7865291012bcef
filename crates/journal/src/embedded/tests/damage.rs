//! Files that were cut or changed.

use model::Seed;

use super::*;

#[tokio::test]
async fn a_torn_tail_leaves_a_prefix_and_never_a_hole() {
    let mut folder = Folder::new();
    write_posts(&folder.open(), 1, 60).await;
    let (_, written) = written_journal(folder.path());
    let mut seed = Seed::new(11);
    for _ in 0..12 {
        let mut torn = folder.copy();
        let at = seed.below(written);
        let (path, _) = written_journal(torn.path());
        std::fs::File::options().write(true).open(path).expect("open").set_len(at).expect("cut");
        // A power loss may take the mark's last pages, too.
        std::fs::remove_file(mark::path(torn.path())).expect("removed");
        let journal = torn.open();
        let lengths = lengths(&journal).await;
        assert!(lengths.windows(2).all(|two| two[0] >= two[1] && two[0] <= two[1] + 1), "at {at}");
        write_posts(&journal, 9, 2).await;
    }
}

#[tokio::test]
async fn a_journal_that_lost_what_was_acknowledged_does_not_open() {
    let mut folder = Folder::new();
    write_posts(&folder.open(), 1, 20).await;
    let (path, written) = written_journal(folder.path());
    let file = std::fs::File::options().write(true).open(path).expect("open");
    file.set_len(written / 2).expect("cut");
    let error = Embedded::open(folder.settings()).map(drop).expect_err("entries are lost");
    let error = error.to_string();
    assert!(error.contains("were acknowledged") && error.contains("salvage"), "{error}");
}

#[tokio::test]
async fn a_flipped_bit_never_loses_an_entry_in_silence() {
    let mut folder = Folder::new();
    write_posts(&folder.open(), 1, 40).await;
    let (_, written) = written_journal(folder.path());
    let mut seed = Seed::new(5);
    let mut named = 0;
    for _ in 0..25 {
        let mut bad = folder.copy();
        let (path, _) = written_journal(bad.path());
        flip(&path, seed.below(written));
        match Embedded::open(bad.settings()) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&bad.path().display().to_string()), "{error}");
                assert!(error.contains("parlour journal salvage"), "{error}");
                named += u32::from(error.contains(".jnl"));
            }
            Ok(journal) => {
                drop(journal);
                assert_eq!(lengths(&bad.open()).await, [40, 40, 40]);
            }
        }
    }
    assert!(named > 15, "{named} of 25 named the journal's file");
}

/// Flips a bit of a file.
pub(super) fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x04], at).expect("written");
}
