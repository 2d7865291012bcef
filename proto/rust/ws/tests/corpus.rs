//! The fuzzer's corpus as ordinary tests. A file's name says what becomes of it.

use std::fs;
use std::path::Path;

use super::property;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ws_decoder");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus lies in the repository")
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_corpus_file_is_read_or_refused_as_its_name_says() {
    for (name, data) in corpus() {
        property::holds_for(&data);
        let refusal = property::refusal(&data);
        match name.split('-').next() {
            Some("accepted") => assert_eq!(refusal, None, "{name}"),
            Some("refused") => assert!(refusal.is_some(), "{name}"),
            // What the fuzzer found and named by hash.
            _ => {}
        }
    }
}

#[test]
fn mutations_of_the_corpus_never_break_the_decoder() {
    let corpus = corpus();
    let mut random = fastrand::Rng::with_seed(6455);
    for _ in 0..200_000 {
        let mut data = random.choice(&corpus).expect("the corpus is not empty").1.clone();
        for _ in 0..random.usize(1..4) {
            mutate(&mut data, &corpus, &mut random);
        }
        property::holds_for(&data);
    }
}

fn mutate(data: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], random: &mut fastrand::Rng) {
    let at = random.usize(0..=data.len());
    match random.u8(0..6) {
        0 => data.truncate(at),
        1 => data.insert(at, random.u8(..)),
        2 if at < data.len() => data[at] ^= 1 << random.u8(0..8),
        3 if at < data.len() => data[at] = random.u8(..),
        4 if at < data.len() => {
            data.remove(at);
        }
        _ => {
            let other = &random.choice(corpus).expect("the corpus is not empty").1;
            data.truncate(at);
            data.extend_from_slice(&other[random.usize(0..=other.len())..]);
        }
    }
}
