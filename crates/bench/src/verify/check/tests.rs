use super::*;
use crate::verify::record::FinalLog;

const AUTHORS: u32 = 3;

/// A room's history in full, to be spoiled.
#[derive(Clone, Debug, Default)]
struct Plain {
    sends: Vec<Sends>,
    readings: Vec<(Seq, Vec<Telling>)>,
    log: Vec<(Seq, Entry)>,
}

impl Plain {
    fn recorded(&self) -> RoomHistory {
        let mut witnesses = vec![Witness::default(); 2];
        let readings = self.readings.iter().enumerate().map(|(nth, (after, tellings))| {
            let mut reading = Reading::new(format!("reader-{nth}"), nth % 2, *after);
            for telling in tellings {
                match *telling {
                    Telling::Entry(seq, entry) => {
                        reading.receive(&mut witnesses[nth % 2], seq, entry);
                    }
                    Telling::Snapshot(as_of) => reading.snapshot(as_of),
                    Telling::Truncated(first) => reading.truncated(first),
                }
            }
            reading
        });
        RoomHistory {
            room: "lobby".to_owned(),
            sends: self.sends.clone(),
            readings: readings.collect(),
            witnesses,
            log: Some(FinalLog { first: 1, entries: self.log.clone() }),
            resumed: None,
        }
    }

    fn check(&self) -> Findings {
        check(&self.recorded())
    }

    fn entry(&self, author: u32, number: usize) -> Entry {
        let digest = self.sends[author as usize].publishes[number].digest;
        Entry { author, number: number as u32, digest }
    }

    /// Two messages change places everywhere, acknowledgements included.
    fn exchange(&mut self, one: Seq, other: Seq) {
        let (at_one, at_other) = (self.log[one as usize - 1].1, self.log[other as usize - 1].1);
        let exchanged = |entry: &mut Entry| {
            if *entry == at_one {
                *entry = at_other;
            } else if *entry == at_other {
                *entry = at_one;
            }
        };
        self.log.iter_mut().for_each(|(_, entry)| exchanged(entry));
        for telling in self.readings.iter_mut().flat_map(|(_, tellings)| tellings) {
            if let Telling::Entry(_, entry) = telling {
                exchanged(entry);
            }
        }
        for publish in self.sends.iter_mut().flat_map(|sends| &mut sends.publishes) {
            if publish.fate == Fate::Acknowledged && [one, other].contains(&publish.seq) {
                publish.seq = one + other - publish.seq;
            }
        }
    }
}

/// What a sound service makes of random wishes: sends, commits and acknowledgements in any order that may
/// be, some without an answer, some refused; and readers with snapshots and truncations.
fn sound(random: &mut fastrand::Rng) -> Plain {
    let mut plain = Plain::default();
    for author in 0..AUTHORS {
        let name = format!("author-{author}");
        plain.sends.push(Sends { author, name, publishes: Vec::new() });
    }
    let mut now_us = 1_000;
    let mut committed = [0; AUTHORS as usize];
    // Not acknowledged yet: author, number, seq.
    let mut standing: Vec<(usize, usize, Seq)> = Vec::new();
    for _ in 0..random.usize(40..160) {
        now_us += random.u64(1..4);
        let author = random.usize(0..AUTHORS as usize);
        let number = plain.sends[author].publishes.len();
        match random.u8(0..10) {
            0..4 => plain.sends[author].publishes.push(Publish {
                digest: random.u64(..),
                sent_us: now_us,
                acked_us: 0,
                seq: 0,
                late_us: 0,
                fate: Fate::Open,
            }),
            4..7 if committed[author] < number => {
                let number = committed[author];
                committed[author] += 1;
                let publish = &mut plain.sends[author].publishes[number];
                match random.u8(0..12) {
                    0 => publish.fate = Fate::Refused,
                    1 => publish.fate = Fate::Unknown,
                    _ => {
                        let seq = plain.log.len() as Seq + 1;
                        let entry = plain.entry(author as u32, number);
                        plain.log.push((seq, entry));
                        standing.push((author, number, seq));
                    }
                }
            }
            _ if !standing.is_empty() => {
                let (author, number, seq) = standing.swap_remove(random.usize(0..standing.len()));
                let publish = &mut plain.sends[author].publishes[number];
                (publish.fate, publish.acked_us, publish.seq) = (Fate::Acknowledged, now_us, seq);
            }
            _ => {}
        }
    }
    for (author, number, _) in standing {
        if random.bool() {
            plain.sends[author].publishes[number].fate = Fate::Unknown;
        }
    }
    plain.readings.push((0, plain.log.iter().map(|(seq, e)| Telling::Entry(*seq, *e)).collect()));
    for _ in 0..random.usize(1..5) {
        let reading = read(&plain.log, random);
        plain.readings.push(reading);
    }
    plain
}

/// Somebody reads the log to its end, with what a service may say in between.
fn read(log: &[(Seq, Entry)], random: &mut fastrand::Rng) -> (Seq, Vec<Telling>) {
    let head = log.len() as Seq;
    let after = random.u64(0..=head.min(3));
    let (mut at, mut tellings) = (after, Vec::new());
    while at < head {
        match random.u8(0..20) {
            0 => {
                at = random.u64(at..=head);
                tellings.push(Telling::Snapshot(at));
            }
            1 => {
                let first = random.u64(1..=head + 1);
                at = at.max(first - 1);
                tellings.push(Telling::Truncated(first));
            }
            _ => {
                let (seq, entry) = log[at as usize];
                tellings.push(Telling::Entry(seq, entry));
                at = seq;
            }
        }
    }
    (after, tellings)
}

/// A history with at least `entries`, for tests of one thing.
fn some(seed: u64, entries: usize) -> Plain {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| sound(&mut random))
        .find(|plain| plain.log.len() >= entries)
        .expect("there is no end of them")
}

/// The number of an acknowledged message, from `from` on.
fn acked(plain: &Plain, from: Seq) -> Option<(usize, usize, Seq)> {
    let sends = plain.sends.iter().enumerate();
    let all = sends.flat_map(|(author, sends)| {
        let publishes = sends.publishes.iter().enumerate();
        let acked = publishes.filter(|(_, publish)| publish.fate == Fate::Acknowledged);
        acked.map(move |(number, publish)| (author, number, publish.seq))
    });
    all.filter(|(.., seq)| *seq >= from).min_by_key(|(.., seq)| *seq)
}

#[test]
fn sound_histories_have_no_breach_whatever_happened_in_them() {
    let mut all = Counts::default();
    for seed in 0..2_000 {
        let plain = sound(&mut fastrand::Rng::with_seed(seed));
        let findings = plain.check();
        assert_eq!(findings.first, None, "SEED={seed}");
        assert!(findings.counts.is_clean(), "SEED={seed}: {}", findings.counts);
        all.add(&findings.counts);
    }
    let Counts { acknowledged, refused, unknown, skipped, deliveries, .. } = all;
    assert!(refused > 1_000 && unknown > 1_000 && skipped > 1_000, "all of it was tried: {all:?}");
    assert!(acknowledged > 20_000 && deliveries > acknowledged, "{all:?}");
    assert_eq!(all.to_string(), "0 lost, 0 twice, 0 out of order");
}

#[test]
fn what_a_reader_was_told_can_be_read_back_entry_by_entry() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut plain = sound(&mut random);
        if seed % 2 == 1 && !plain.log.is_empty() {
            spoil(&mut plain, &mut random);
        }
        let recorded = plain.recorded();
        for (reading, (_, told)) in recorded.readings.iter().zip(&plain.readings) {
            let witness = &recorded.witnesses[reading.witness];
            let read_back: Vec<_> = Telling::entries(reading, witness).collect();
            assert_eq!(read_back, *told, "SEED={seed}");
        }
    }
}

/// One thing goes wrong, anywhere. Answers what; `None` if there was nothing to spoil in this way.
fn spoil(plain: &mut Plain, random: &mut fastrand::Rng) -> Option<&'static str> {
    let len = plain.log.len();
    if len < 4 {
        return None;
    }
    let at = random.usize(0..len);
    let reader = random.usize(0..plain.readings.len());
    let tellings = &mut plain.readings[reader].1;
    let entries: Vec<usize> =
        (0..tellings.len()).filter(|at| matches!(tellings[*at], Telling::Entry(..))).collect();
    let entry_at = |random: &mut fastrand::Rng| random.choice(&entries).copied();
    // Where the next thing that came was an entry too: a snapshot there would excuse a lot.
    let pair_at = |random: &mut fastrand::Rng| {
        let pairs: Vec<_> = entries.iter().filter(|at| entries.contains(&(**at + 1))).collect();
        random.choice(&pairs).map(|at| **at)
    };
    let what = random.u8(0..17);
    Some(match what {
        0 => {
            plain.log.remove(at);
            "an entry is not in the log"
        }
        1 => {
            plain.log.pop();
            "the last entry is not in the log"
        }
        2 => {
            let at = at.min(len - 2);
            let entry = plain.log[at].1;
            plain.log[at].1 = plain.log[at + 1].1;
            plain.log[at + 1].1 = entry;
            "two entries of the log are swapped"
        }
        3 => {
            plain.log.push((len as Seq + 1, plain.log[at].1));
            "a message stands twice"
        }
        4 => {
            plain.log[at].1.digest ^= 1;
            "an entry of the log is not what was sent"
        }
        5 => {
            plain.log[at].1.author = Entry::NOBODY;
            "an entry of the log is a stranger's"
        }
        6 => {
            tellings.remove(pair_at(random)?);
            "a reader was not told an entry"
        }
        7 => matches!(tellings.pop()?, Telling::Entry(..)).then_some("a reader is behind")?,
        8 => {
            let at = entry_at(random)?;
            tellings.insert(at, tellings[at]);
            "a reader was told an entry twice"
        }
        9 => {
            let at = pair_at(random)?;
            tellings.swap(at, at + 1);
            "a reader was told two entries in the wrong order"
        }
        10 => {
            let Telling::Entry(_, entry) = &mut tellings[entry_at(random)?] else { return None };
            entry.digest ^= 1;
            "a reader was told what nobody sent"
        }
        11 => {
            let at = pair_at(random)?;
            let Telling::Entry(_, other) = tellings[at + 1] else { return None };
            let Telling::Entry(_, entry) = &mut tellings[at] else { return None };
            *entry = other;
            "a reader was told another message there"
        }
        12 => {
            let (author, number, _) = acked(plain, 1)?;
            plain.sends[author].publishes[number].seq += 1 + random.u64(0..3);
            "it was acknowledged elsewhere"
        }
        13 => {
            let entry = plain.log[at].1;
            let sends = &mut plain.sends[entry.author as usize];
            sends.publishes[entry.number as usize].fate = Fate::Refused;
            "a refused message stands"
        }
        14 => {
            // Somebody's two messages in the wrong order.
            let first = plain.log[at].1;
            let later =
                plain.log.iter().skip(at + 1).find(|(_, entry)| entry.author == first.author)?.0;
            plain.exchange(at as Seq + 1, later);
            "an author's messages are swapped"
        }
        15 => {
            // The acknowledgement of a higher one came before a lower one was sent.
            let (author, number, _) = acked(plain, at as Seq + 2)?;
            let lower = plain.log[at].1;
            let sent = plain.sends[lower.author as usize].publishes[lower.number as usize].sent_us;
            plain.sends[author].publishes[number].acked_us = sent - 1;
            "a message stands below what was acknowledged before it was sent"
        }
        _ => {
            // It jumped ahead: without the word, that is a hole.
            let mut due = plain.readings[reader].0 + 1;
            let tellings = &mut plain.readings[reader].1;
            let jump = tellings.iter().position(|telling| match *telling {
                Telling::Entry(seq, _) => {
                    due = seq + 1;
                    false
                }
                Telling::Snapshot(as_of) => as_of >= due,
                Telling::Truncated(first) => first > due,
            });
            // Another word behind it would do for both.
            let jump = jump?;
            let excused =
                matches!(tellings.get(jump + 1), Some(next) if !matches!(next, Telling::Entry(..)));
            (!excused).then_some(())?;
            tellings.remove(jump);
            "a snapshot was not told"
        }
    })
}

#[test]
fn whatever_single_thing_is_spoiled_is_found_and_named() {
    let mut found = std::collections::BTreeMap::new();
    for seed in 0..6_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut plain = sound(&mut random);
        let Some(what) = spoil(&mut plain, &mut random) else {
            continue;
        };
        let findings = plain.check();
        assert!(!findings.counts.is_clean(), "SEED={seed}: {what}: {:?}", findings.counts);
        let first = findings.first.unwrap_or_else(|| panic!("SEED={seed}: {what}"));
        assert!(first.seq > 0 && !first.histories.is_empty(), "SEED={seed}: {what}: {first}");
        *found.entry(what).or_insert(0) += 1;
    }
    assert_eq!(found.len(), 17, "{found:?}");
    assert!(found.values().all(|count| *count > 10), "{found:?}");
}

#[test]
fn an_acknowledged_message_that_is_gone_is_lost_and_both_histories_are_shown() {
    let mut plain = some(1, 20);
    let (author, number, seq) = acked(&plain, 10).expect("one is acknowledged");
    plain.readings.clear();
    plain.log.truncate(seq as usize - 1);
    let later = plain.sends.iter().flat_map(|sends| &sends.publishes);
    let gone = later.filter(|p| p.fate == Fate::Acknowledged && p.seq >= seq).count() as u64;
    let findings = plain.check();
    assert_eq!(findings.counts.lost, gone);
    let first = findings.first.expect("a loss");
    assert_eq!((first.breach, &*first.room), (Breach::Lost, "lobby"));
    let all = plain.sends.iter().flat_map(|sends| &sends.publishes);
    assert!(all.filter(|p| p.fate == Fate::Acknowledged).any(|p| p.seq == first.seq));
    let shown = first.to_string();
    assert!(shown.contains("and does not stand"), "{shown}");
    assert!(shown.contains(" sent:\n    #"), "{shown}");
    assert!(shown.contains("the log in the end:\n    "), "{shown}");
    assert!(plain.sends[author].publishes.len() > number);
}

#[test]
fn a_readers_hole_is_lost_and_what_fills_it_later_is_out_of_order() {
    let mut plain = some(2, 20);
    let told = &mut plain.readings[0].1;
    let late = told.remove(5);
    let findings = plain.check();
    assert_eq!(findings.counts.to_string(), "1 lost, 0 twice, 0 out of order");
    let first = findings.first.expect("a hole");
    assert_eq!((first.breach, first.seq), (Breach::Hole, 7));
    assert!(first.to_string().contains("reader-0 was told 7 when 6 was due"), "{first}");
    assert!(first.to_string().contains("reader-0 was told:\n    2 author-"), "{first}");
    plain.readings[0].1.insert(8, late);
    assert_eq!(plain.check().counts.to_string(), "0 lost, 0 twice, 1 out of order");
}

#[test]
fn a_message_that_stands_twice_and_one_that_nobody_sent_are_counted_so() {
    let mut plain = some(3, 20);
    let head = plain.log.len() as Seq;
    plain.log.push((head + 1, plain.log[3].1));
    let findings = plain.check();
    assert_eq!(findings.counts.to_string(), "0 lost, 1 twice, 0 out of order");
    let first = findings.first.expect("a second copy");
    assert!(first.what.ends_with(&format!("stands at 4 and at {}", head + 1)), "{first}");
    plain.log.last_mut().expect("not empty").1 =
        Entry { author: Entry::NOBODY, number: 0, digest: 9 };
    let counts = plain.check().counts;
    assert_eq!((counts.forged, counts.twice), (1, 0));
}

#[test]
fn a_reader_that_is_not_told_the_end_is_behind_unless_its_session_was_ended() {
    let mut plain = some(4, 20);
    plain.readings[0].1.truncate(10);
    let findings = plain.check();
    assert_eq!((findings.counts.behind, findings.counts.lost), (1, 0));
    assert_eq!(findings.first.expect("behind").seq, 11);
    let mut history = plain.recorded();
    history.readings[0].ended = true;
    assert!(check(&history).counts.is_clean());
}

#[test]
fn what_retention_has_trimmed_is_not_lost_and_readers_must_agree_about_it_all_the_same() {
    let mut plain = some(5, 30);
    let mut history = plain.recorded();
    history.log = Some(FinalLog { first: 11, entries: plain.log.split_off(10) });
    let counts = check(&history).counts;
    assert!(counts.is_clean(), "{counts}");
    assert!(counts.trimmed > 0);
    let told = plain.readings[0].1.clone();
    plain.readings = vec![(0, told.clone()), (0, told)];
    let Telling::Entry(_, other) = plain.readings[0].1[5] else { panic!("entries only") };
    let Telling::Entry(_, entry) = &mut plain.readings[1].1[4] else { panic!("entries only") };
    *entry = other;
    let mut history = plain.recorded();
    history.log = Some(FinalLog { first: 11, entries: plain.log });
    assert_eq!(check(&history).counts.misplaced, 1);
}

#[test]
fn without_the_log_in_the_end_readers_are_compared_with_each_other() {
    let mut plain = some(6, 20);
    let mut history = plain.recorded();
    history.log = None;
    assert!(check(&history).counts.is_clean());
    let told = plain.readings[0].1.clone();
    plain.readings.push((0, told));
    plain.readings.push((0, plain.readings[0].1.clone()));
    let Telling::Entry(_, other) = plain.readings[0].1[5] else { panic!("entries only") };
    let last = plain.readings.len() - 1;
    let Telling::Entry(_, entry) = &mut plain.readings[last].1[4] else { panic!("entries only") };
    *entry = other;
    let mut history = plain.recorded();
    history.log = None;
    assert_eq!(check(&history).counts.misplaced, 1);
}

#[test]
fn who_resumes_from_before_the_first_entry_must_be_told_what_the_history_says() {
    let plain = some(8, 20);
    let mut history = plain.recorded();
    let before = check(&history).counts;
    let resume = |log: &[(Seq, Entry)]| {
        let (mut reading, mut witness) =
            (Reading::new("back".to_owned(), 0, 0), Witness::default());
        log.iter().for_each(|(seq, entry)| reading.receive(&mut witness, *seq, *entry));
        Some((reading, witness))
    };
    history.resumed = resume(&plain.log);
    assert_eq!(check(&history).counts, before, "it is no client of the run");
    history.resumed = resume(&plain.log[..15]);
    assert_eq!(check(&history).counts.behind, 1);
    let mut log = plain.log.clone();
    log[7].1 = log[8].1;
    history.resumed = resume(&log);
    let findings = check(&history);
    assert_eq!(findings.counts.misplaced, 1);
    let first = findings.first.expect("a disagreement").to_string();
    assert!(first.contains("back was told:\n    4 author-"), "{first}");
}

#[test]
fn lies_beyond_number_are_counted_and_not_kept() {
    let mut plain = some(7, 20);
    let entry = plain.log[0].1;
    let lies = (0..20_000).map(|nth| Telling::Entry(1_000_000 + 1_000 * nth, entry));
    plain.readings[0].1.extend(lies);
    let history = plain.recorded();
    let reading = &history.readings[0];
    assert!(reading.told.len() <= crate::verify::record::TOLD_MAX && reading.unkept > 10_000);
    assert_eq!(check(&history).counts.unkept, 1);
}
