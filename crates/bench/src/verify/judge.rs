//! Reads the logs in the end: sessions that were told nothing before read each room's history from its
//! first entry to its last, and then resume from before the first entry, which a service reads from
//! elsewhere. A room that is too long to be resumed is answered by a snapshot; then the history stands alone.

use std::time::Duration;

use model::{Catchup, HistoryAnchor, HistoryAsk, Message, Page, Position, RoomName, Seq};
use parlour_client::{Connection, Event, Reading as Wish};
use tokio::task::JoinSet;

use super::body::Body;
use super::record::{FinalLog, Reading, Witness};
use crate::target::Dialer;

/// Sessions that read beside each other: each may ask for 50 pages a second.
const JUDGES_MAX: usize = 8;
/// Posts of a page: as many as a server gives.
const PAGE_POSTS: u32 = model::limits::PAGE_POSTS_MAX;
/// Without an answer for so long, the server that is asked is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a judge goes by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) body: Body,
    /// Entries of one room beyond which no log can be true: a liar's has no end.
    pub(super) entries_max: usize,
}

/// A room in the end.
#[derive(Debug)]
pub(super) struct Judged {
    /// Its history.
    pub(super) log: FinalLog,
    /// What a resume from before the first entry brought, with its own witness.
    pub(super) resumed: (Reading, Witness),
}

/// The logs of all rooms, in order; of those that nobody would tell, why.
pub(super) async fn read_logs(
    dialers: &[Dialer],
    rooms: &[RoomName],
    rules: &Rules,
) -> Vec<Result<Judged, String>> {
    let mut logs: Vec<_> = rooms.iter().map(|_| Err("nobody was asked".to_owned())).collect();
    for dialer in dialers {
        let missing: Vec<usize> = (0..rooms.len()).filter(|at| logs[*at].is_err()).collect();
        let judges = JUDGES_MAX.min(missing.len());
        let mut tasks = JoinSet::new();
        for judge in 0..judges {
            let connection = dialer.connection(&format!("judge-{judge}"));
            let share = missing.iter().skip(judge).step_by(judges);
            let share = share.map(|at| (*at, rooms[*at].clone())).collect();
            tasks.spawn(read_share(connection, share, rules.clone()));
        }
        while let Some(share) = tasks.join_next().await {
            for (at, log) in share.unwrap_or_default() {
                logs[at] = log;
            }
        }
    }
    logs
}

/// Rooms one after another; after one that cannot be read, the others are not tried.
async fn read_share(
    mut connection: Connection,
    share: Vec<(usize, RoomName)>,
    rules: Rules,
) -> Vec<(usize, Result<Judged, String>)> {
    let mut logs = Vec::with_capacity(share.len());
    for (at, room) in share {
        let log = read_room(&mut connection, &room, &rules).await;
        let failed = log.is_err();
        logs.push((at, log));
        if failed {
            break;
        }
    }
    connection.client().close();
    while connection.next().await.is_some() {}
    logs
}

async fn read_room(
    connection: &mut Connection,
    room: &RoomName,
    rules: &Rules,
) -> Result<Judged, String> {
    let log = read_log(connection, room, rules).await?;
    let resumed = resume(connection, room, rules).await?;
    Ok(Judged { log, resumed })
}

async fn read_log(
    connection: &mut Connection,
    room: &RoomName,
    rules: &Rules,
) -> Result<FinalLog, String> {
    let mut log = FinalLog::default();
    let mut after = 0;
    loop {
        let page = tokio::time::timeout(ANSWER_WITHIN, page(connection, room, after));
        let page = page.await.map_err(|_| match connection.dial_error() {
            Some(error) => error.to_string(),
            None => format!("no page of its history came for {} s", ANSWER_WITHIN.as_secs()),
        })??;
        log.first = log.first.max(page.first);
        let posts = parlour_client::posts(room, &page).map_err(|error| error.message)?;
        log.entries.extend(posts.iter().map(|post: &Message| (post.seq, rules.body.entry(post))));
        if log.entries.len() > rules.entries_max {
            return Err("its history has more entries than can be true".to_owned());
        }
        let last = posts.last().map_or(after, |post| post.seq);
        match page.more {
            true if last > after => after = last,
            true => return Err(format!("a page behind {after} has no posts, and more follow")),
            false => return Ok(log),
        }
    }
}

async fn page(
    connection: &mut Connection,
    room: &RoomName,
    after: Seq,
) -> Result<Box<Page>, String> {
    let ask = HistoryAsk { anchor: HistoryAnchor::After(after), limit: PAGE_POSTS };
    let asked = connection.client().history(room, ask).map_err(|error| error.to_string())?;
    loop {
        match connection.next().await {
            Some(Event::History { ticket, page, .. }) if ticket == asked => return Ok(page),
            Some(Event::Refused { ticket: Some(ticket), refusal }) if ticket == asked => {
                return Err(refusal.message.into_owned());
            }
            Some(Event::Ended { message, .. }) => return Err(message),
            Some(_) => {}
            None => return Err("the session is over".to_owned()),
        }
    }
}

/// Everything from the first entry on, as to somebody who comes back after a long time.
async fn resume(
    connection: &mut Connection,
    room: &RoomName,
    rules: &Rules,
) -> Result<(Reading, Witness), String> {
    let mut reading = Reading::new("who resumed from before the first entry".to_owned(), 0, 0);
    let mut witness = Witness::default();
    let wish = Wish::after(Position::origin());
    connection.client().subscribe(room, wish).map_err(|error| error.to_string())?;
    let mut entries = 0;
    while entries <= rules.entries_max {
        let event = tokio::time::timeout(ANSWER_WITHIN, connection.next()).await;
        let event =
            event.map_err(|_| format!("no resume came for {} s", ANSWER_WITHIN.as_secs()))?;
        match event {
            Some(Event::Subscribed { room: of, subscription, .. }) if of == *room => {
                if let Catchup::Snapshot(_) = subscription.catchup {
                    reading.snapshot(subscription.head);
                }
            }
            Some(Event::Message(message)) if message.room == *room => {
                entries += 1;
                reading.receive(&mut witness, message.seq, rules.body.entry(&message));
            }
            Some(Event::Truncated { room: of, first }) if of == *room => reading.truncated(first),
            Some(Event::CaughtUp { room: of, .. }) if of == *room => {
                let left = connection.client().unsubscribe(room);
                return left.map(|()| (reading, witness)).map_err(|error| error.to_string());
            }
            Some(Event::NotSubscribed { refusal, .. }) => return Err(refusal.message.into_owned()),
            Some(Event::Violation(what) | Event::Ended { message: what, .. }) => return Err(what),
            Some(_) => {}
            None => return Err("the session is over".to_owned()),
        }
    }
    Err("its resume has more entries than can be true".to_owned())
}
