//! One room on a shard: what the owner feeds, and who reads it.

use std::sync::Arc;

use model::{Limits, LogId, RoomInfo, RoomName, Seq, Unsubscribed};

use super::ephemeral::{Ring, Shared};
use super::frame::Frame;
use super::members::Members;
use super::presence::Presence;
use super::summary::Glance;
use super::tail::Tail;

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    Next,
    Duplicate,
    /// Above head + 1: the lane promises that this does not happen.
    Gap,
}

/// The live tail, presence, ring and members of one room on one shard.
#[derive(Debug)]
pub(crate) struct RoomLog {
    pub(super) name: RoomName,
    log: LogId,
    /// Raised whenever `log` changes: a cursor is good only under the number it was checked with.
    incarnation: u32,
    /// Generation of the standing watch; `None` until the owner has answered.
    pub(super) watch: Option<u64>,
    first: Seq,
    head: Seq,
    ordinal: u64,
    tail: Tail,
    pub(super) members: Members,
    pub(super) presence: Option<Box<Presence>>,
    pub(super) ring: Option<Box<Ring>>,
    pub(super) glance: Option<Box<Glance>>,
    /// The owner ended the watch; every member that looks is told and leaves.
    pub(super) ended: Option<Box<Unsubscribed>>,
    /// Whether the walk through the members is on the list of walks.
    pub(super) walking: bool,
}

impl RoomLog {
    pub(super) fn new(name: RoomName) -> RoomLog {
        RoomLog {
            name,
            log: LogId::none(),
            incarnation: 0,
            watch: None,
            first: 0,
            head: 0,
            ordinal: 0,
            tail: Tail::default(),
            members: Members::default(),
            presence: None,
            ring: None,
            glance: None,
            ended: None,
            walking: false,
        }
    }

    pub(crate) fn name(&self) -> &RoomName {
        &self.name
    }

    pub(crate) fn log(&self) -> &LogId {
        &self.log
    }

    /// 0 until the owner has answered the watch.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    pub(crate) fn ended(&self) -> Option<&Unsubscribed> {
        self.ended.as_deref()
    }

    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.presence.as_deref()
    }

    /// The number that the next push beside the log gets.
    pub(crate) fn ring_next(&self) -> u64 {
        self.ring.as_ref().map_or(0, |ring| ring.next())
    }

    pub(crate) fn ring_first(&self) -> u64 {
        self.ring.as_ref().map_or(0, |ring| ring.first())
    }

    pub(crate) fn beside(&self, number: u64) -> Option<&Arc<Shared>> {
        self.ring.as_ref()?.get(number)
    }

    pub(crate) fn summary(&self) -> Option<(u64, &Arc<Shared>)> {
        self.glance.as_ref()?.current()
    }

    pub(crate) fn summary_version(&self) -> u64 {
        self.glance.as_ref().map_or(0, |glance| glance.version())
    }

    /// What is pushed of the room to those who read its summary.
    pub(super) fn glance_mut(&mut self) -> &mut Glance {
        let head = self.head;
        self.glance.get_or_insert_with(|| Box::new(Glance::new(head)))
    }

    /// The head that the newest push of the summary told of.
    pub(crate) fn summary_head(&self) -> Seq {
        self.glance.as_ref().map_or(0, |glance| glance.pushed_head())
    }

    pub(super) fn tail_get(&self, seq: Seq) -> Option<&Arc<Frame>> {
        self.tail.get(seq)
    }

    /// Takes the room as the owner of a new watch sees it. What is kept of older entries is dropped:
    /// between two watches an erasure may have been missed.
    pub(super) fn watched(&mut self, watch: u64, info: &RoomInfo) {
        let is_same = self.incarnation > 0 && self.log == info.log;
        self.watch = Some(watch);
        if !is_same {
            self.log = info.log.clone();
            self.incarnation += 1;
            (self.first, self.head) = (0, 0);
        }
        self.first = self.first.max(info.first);
        // A lower head is a superseded owner's: what was committed stays.
        if !is_same || info.head > self.head {
            (self.head, self.ordinal) = (info.head, info.ordinal);
            if let Some(glance) = &mut self.glance {
                glance.jump(&self.log, self.head);
            }
        }
        self.tail.restart(self.head + 1);
    }

    /// The log's name as of an append; `false` if it is another one, whose entries are no use here.
    pub(super) fn is_log(&mut self, log: &LogId) -> bool {
        if self.log.is_none() && self.head == 0 && !log.is_none() {
            self.log = log.clone();
            self.incarnation += 1;
        }
        self.log == *log
    }

    pub(super) fn append(&mut self, frame: &Arc<Frame>, limits: &Limits) -> Appended {
        match frame.seq.cmp(&(self.head + 1)) {
            std::cmp::Ordering::Less => Appended::Duplicate,
            std::cmp::Ordering::Greater => Appended::Gap,
            std::cmp::Ordering::Equal => {
                (self.head, self.ordinal) = (frame.seq, frame.ordinal);
                self.first = self.first.max(1);
                if let Some(glance) = &mut self.glance {
                    glance.append(&self.log, frame);
                }
                self.tail.push(Arc::clone(frame), limits);
                Appended::Next
            }
        }
    }

    pub(super) fn erase(&mut self, tombstone: &Arc<Frame>) {
        self.tail.replace(tombstone);
    }

    /// Retention trimmed the log; answers whether this is news.
    pub(super) fn trim(&mut self, first: Seq) -> bool {
        let is_news = first > self.first;
        if is_news {
            self.first = first;
            self.tail.trim(first);
        }
        is_news
    }
}
