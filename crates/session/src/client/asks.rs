//! Requests that are neither about reading nor publishing: pages and summaries. They may be asked
//! twice without harm, so they survive a lost connection by being asked again.
//!
//! # Invariants
//! - At most one page is out at a time: a server refuses a second.

use std::collections::{BTreeMap, VecDeque};

use model::{ClientSays, Refusal, RefusalCode, Seed};

use super::{Ticket, backoff};

#[derive(Debug, Default)]
pub(super) struct Asks {
    last: u32,
    asks: BTreeMap<Ticket, Ask>,
    queue: VecDeque<Ticket>,
    page_out: Option<Ticket>,
}

#[derive(Debug)]
struct Ask {
    says: ClientSays,
    tries: u32,
    again_us: Option<u64>,
}

/// What a refusal did.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It will be asked again at this time, monotonic microseconds.
    AgainAt(u64),
    /// It is gone.
    Final,
}

impl Asks {
    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    pub(super) fn push(&mut self, says: ClientSays) -> Ticket {
        self.last = self.last.wrapping_add(1);
        let ticket = Ticket(self.last);
        self.asks.insert(ticket, Ask { says, tries: 0, again_us: None });
        self.queue.push_back(ticket);
        ticket
    }

    /// Whether a request may go out.
    pub(super) fn is_ready(&self) -> bool {
        self.next().is_some()
    }

    fn next(&self) -> Option<usize> {
        let may_go = |ticket: &Ticket| {
            let ask = self.asks.get(ticket);
            ask.is_some_and(|ask| self.page_out.is_none() || !is_page(&ask.says))
        };
        self.queue.iter().position(may_go)
    }

    /// The next request that may go out.
    pub(super) fn send(&mut self) -> Option<(Ticket, ClientSays)> {
        let at = self.next()?;
        let ticket = self.queue.remove(at)?;
        let ask = self.asks.get_mut(&ticket)?;
        ask.tries += 1;
        if is_page(&ask.says) {
            self.page_out = Some(ticket);
        }
        Some((ticket, ask.says.clone()))
    }

    /// It was answered. Answers whether it was waited for.
    pub(super) fn answered(&mut self, ticket: Ticket) -> bool {
        self.page_out.take_if(|out| *out == ticket);
        self.asks.remove(&ticket).is_some()
    }

    pub(super) fn refused(
        &mut self,
        ticket: Ticket,
        refusal: &Refusal,
        now_us: u64,
        tries_max: u32,
        seed: &mut Seed,
    ) -> Outcome {
        self.page_out.take_if(|out| *out == ticket);
        let in_progress = refusal.code == RefusalCode::PageInProgress;
        let retry_after_ms = refusal.retry_after_ms.or(in_progress.then_some(100));
        match (retry_after_ms, self.asks.get_mut(&ticket)) {
            (Some(ms), Some(ask)) if ask.tries < tries_max => {
                let pause_ms = backoff::retry_ms(seed, ms, ask.tries - 1);
                let at_us = now_us.saturating_add(pause_ms.saturating_mul(1_000));
                ask.again_us = Some(at_us);
                Outcome::AgainAt(at_us)
            }
            _ => {
                self.asks.remove(&ticket);
                Outcome::Final
            }
        }
    }

    /// Queues what is due; answers when the next one is.
    pub(super) fn handle_due(&mut self, now_us: u64) -> Option<u64> {
        let mut next: Option<u64> = None;
        for (ticket, ask) in &mut self.asks {
            match ask.again_us {
                Some(at) if at <= now_us => {
                    ask.again_us = None;
                    self.queue.push_back(*ticket);
                }
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        next
    }

    pub(super) fn lose_connection(&mut self) {
        self.page_out = None;
        self.queue.clear();
    }

    /// Everything is asked on the new connection, oldest first.
    pub(super) fn queue_all(&mut self) {
        for ask in self.asks.values_mut() {
            ask.again_us = None;
        }
        self.queue = self.asks.keys().copied().collect();
    }
}

fn is_page(says: &ClientSays) -> bool {
    matches!(says, ClientSays::History { .. } | ClientSays::Summaries { .. })
}
