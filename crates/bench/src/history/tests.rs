use super::*;

const TEXTS: [&str; 4] = ["one", "two", "three", "four"];

fn id(nth: usize) -> String {
    format!("message-{nth}")
}

/// A room in which one author sent four messages that stand at 11 to 14, and who reads from 11 on.
fn four() -> (History, Reader) {
    let mut history = History::new("lobby");
    let author = history.author();
    let reader = history.reader("ann", 10);
    for (nth, text) in TEXTS.iter().enumerate() {
        history.sent(author, &id(nth), text);
    }
    for nth in 0..4 {
        history.acknowledged(&id(nth), 11 + nth as Seq);
    }
    (history, reader)
}

/// What is found when a reader is told these, by their place among the four.
fn told(order: &[usize]) -> Findings {
    let (mut history, reader) = four();
    for nth in order {
        history.received(reader, 11 + *nth as Seq, &id(*nth), TEXTS[*nth]);
    }
    history.finish()
}

#[test]
fn a_clean_history_has_no_breach() {
    let findings = told(&[0, 1, 2, 3]);
    assert_eq!(findings.first, None);
    assert!(findings.counts.is_clean());
    assert_eq!(findings.counts.to_string(), "0 lost, 0 twice, 0 out of order");
    assert_eq!((findings.counts.acknowledged, findings.counts.deliveries), (4, 4));
}

#[test]
fn a_lost_message_is_named_with_both_histories() {
    let findings = told(&[0, 1, 3]);
    assert_eq!(findings.counts.to_string(), "1 lost, 0 twice, 0 out of order");
    let first = findings.first.expect("a hole");
    assert_eq!((first.breach, &*first.room, first.seq), (Breach::Hole, "lobby", 14));
    let shown = first.to_string();
    assert!(shown.contains("14 came when 13 was due"), "{shown}");
    assert!(shown.contains("ann was told last:\n    11 message-0 \"one\""), "{shown}");
    assert!(shown.contains("the log around it:\n    11 message-0"), "{shown}");
    assert!(shown.contains("    13 message-2 \"three\""), "{shown}");
}

#[test]
fn a_lost_last_message_shows_when_the_reader_leaves() {
    let findings = told(&[0, 1, 2]);
    assert_eq!(findings.counts.lost, 1);
    let first = findings.first.expect("a loss");
    assert_eq!((first.breach, first.seq), (Breach::Lost, 14));
}

#[test]
fn a_repeated_message_counts_as_twice() {
    let findings = told(&[0, 1, 1, 2, 3]);
    assert_eq!(findings.counts.to_string(), "0 lost, 1 twice, 0 out of order");
    assert_eq!(findings.first.expect("a repeat").seq, 12);
}

#[test]
fn a_message_under_two_numbers_counts_as_twice() {
    let (mut history, reader) = four();
    for (nth, text) in TEXTS.iter().enumerate() {
        history.received(reader, 11 + nth as Seq, &id(nth), text);
    }
    history.received(reader, 15, &id(1), TEXTS[1]);
    let findings = history.finish();
    assert_eq!(findings.counts.twice, 1);
    assert!(findings.first.expect("a repeat").what.contains("stands at 15 and at 12"));
}

#[test]
fn swapped_messages_count_as_out_of_order_and_not_as_lost() {
    let findings = told(&[0, 2, 1, 3]);
    assert_eq!(findings.counts.to_string(), "0 lost, 0 twice, 1 out of order");
    assert_eq!(findings.first.expect("a swap").seq, 13);
}

#[test]
fn a_forged_message_and_a_wrong_text_are_named() {
    let (mut history, reader) = four();
    history.received(reader, 11, &id(0), "one");
    history.received(reader, 12, &id(1), "2");
    history.received(reader, 13, "nobodys-id", "three");
    history.received(reader, 14, &id(3), "four");
    let findings = history.finish();
    assert_eq!((findings.counts.wrong_text, findings.counts.forged), (1, 1));
    assert!(findings.counts.to_string().ends_with(", 1 with a wrong text, 1 forged"));
    let first = findings.first.expect("a wrong text");
    assert_eq!((first.breach, first.seq), (Breach::WrongText, 12));
    assert!(first.what.contains(r#"sent as "two" and came as "2""#));
}

#[test]
fn another_message_at_an_acknowledged_number_is_misplaced() {
    let mut history = History::new("lobby");
    let author = history.author();
    let reader = history.reader("ann", 0);
    history.sent(author, &id(0), "one");
    history.sent(author, &id(1), "two");
    history.acknowledged(&id(0), 1);
    history.received(reader, 1, &id(1), "two");
    let findings = history.finish();
    assert_eq!((findings.counts.misplaced, findings.counts.unacknowledged), (1, 1));
}

#[test]
fn an_authors_messages_must_stand_in_the_order_in_which_they_were_sent() {
    let mut history = History::new("lobby");
    let author = history.author();
    history.sent(author, &id(0), "one");
    history.sent(author, &id(1), "two");
    history.acknowledged(&id(1), 1);
    history.acknowledged(&id(0), 2);
    assert_eq!(history.finish().counts.out_of_order, 1);
}

#[test]
fn a_message_stands_above_all_that_was_acknowledged_before_it_was_sent() {
    let mut history = History::new("lobby");
    let (ann, bob) = (history.author(), history.author());
    history.sent(ann, &id(0), "one");
    history.acknowledged(&id(0), 7);
    history.sent(bob, &id(1), "two");
    history.acknowledged(&id(1), 6);
    assert_eq!(history.finish().counts.out_of_order, 1);
}

#[test]
fn a_snapshot_and_a_truncation_are_no_loss_but_are_counted() {
    let (mut history, reader) = four();
    history.received(reader, 11, &id(0), "one");
    history.snapshot(reader, 13);
    history.received(reader, 14, &id(3), "four");
    history.truncated(reader, 12);
    let findings = history.finish();
    assert!(findings.counts.is_clean());
    assert_eq!(findings.counts.skipped, 2);
}

#[test]
fn what_is_acknowledged_after_a_reader_wished_to_leave_is_not_its_loss() {
    let mut history = History::new("lobby");
    let author = history.author();
    let (ann, bob) = (history.reader("ann", 0), history.reader("bob", 0));
    history.left(ann);
    assert_eq!(history.leaves(bob), 0);
    history.sent(author, &id(0), "one");
    history.acknowledged(&id(0), 1);
    history.left(bob);
    assert!(history.finish().counts.is_clean());
}

#[test]
fn a_message_without_an_answer_is_unacknowledged_and_a_refused_one_must_not_appear() {
    let mut history = History::new("lobby");
    let author = history.author();
    let reader = history.reader("ann", 0);
    for (nth, text) in TEXTS.iter().enumerate().take(3) {
        history.sent(author, &id(nth), text);
    }
    history.given_up(&id(1), true);
    history.received(reader, 1, &id(1), "two");
    history.given_up(&id(2), false);
    history.received(reader, 2, &id(2), "three");
    let counts = history.finish().counts;
    assert_eq!((counts.unacknowledged, counts.forged), (3, 1));
}
