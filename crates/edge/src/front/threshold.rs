//! Connections at the threshold: accepted, and asking for nothing. They cost a descriptor and no
//! credentials, so anybody can open thousands of them; whoever comes with a request must not wait
//! behind them.
//!
//! A connection *waits* until it has said a request, and again when its requests are answered. Those
//! that wait are bounded, for each address and in all; beyond, the one that has waited longest makes
//! room: of the same address, else of the address that has most of them. A client that says its request
//! at once is not among them by then, however many others are silent. Connections with requests in work
//! are bounded too, far above what sessions may be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::admission::counted_as;

/// What a connection that has to make room may still take: its request may have been received
/// already, and not been looked at under load.
pub(super) const LAST_WORD_WITHIN: Duration = Duration::from_millis(250);
/// Connections that are asked to go when the process has no descriptor left.
const WITHOUT_DESCRIPTORS: usize = 32;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Waiting connections of one address.
    pub(super) waiting_per_address: usize,
    /// Waiting connections.
    pub(super) waiting: usize,
    /// Connections of one address.
    pub(super) per_address: usize,
    /// Connections.
    pub(super) all: usize,
}

/// Counts connections of one listener, and knows which of them can make room.
#[derive(Debug)]
pub(super) struct Threshold {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_address: HashMap<IpAddr, Local>,
    /// Addresses with waiting connections, by their number.
    crowds: BTreeSet<(usize, IpAddr)>,
    waiting: usize,
    all: usize,
    turns: u64,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Local {
    all: usize,
    /// In the order in which they began to wait.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Threshold {
    pub(super) fn new(bounds: Bounds) -> Arc<Threshold> {
        Arc::new(Threshold { bounds, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, or `None` if everybody here has a request in work.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Seat>> {
        let address = counted_as(address);
        let mut state = self.state();
        let here = state.by_address.get(&address).map_or(0, |local| local.all);
        let has_room = if here >= self.bounds.per_address {
            state.dismiss(address)
        } else if state.all >= self.bounds.all {
            state.dismiss_anyone()
        } else {
            true
        };
        if !has_room {
            return None;
        }
        let leave = Arc::new(Notify::new());
        state.all += 1;
        state.by_address.entry(address).or_default().all += 1;
        let turn = state.wait(address, &leave, self.bounds);
        drop(state);
        let standing = Mutex::new(Standing { turn: Some(turn), requests: 0, has_asked: false });
        Some(Arc::new(Seat { threshold: Arc::clone(self), address, leave, standing }))
    }

    /// There is no descriptor left: some that wait make room.
    pub(super) fn make_room(&self) {
        let mut state = self.state();
        for _ in 0..WITHOUT_DESCRIPTORS {
            if !state.dismiss_anyone() {
                return;
            }
        }
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.all, state.waiting)
    }
}

impl State {
    /// A connection waits from now on; whoever is too many makes room.
    fn wait(&mut self, address: IpAddr, leave: &Arc<Notify>, bounds: Bounds) -> u64 {
        if self.by_address.get(&address).map_or(0, |local| local.waiting.len())
            >= bounds.waiting_per_address
        {
            self.dismiss(address);
        } else if self.waiting >= bounds.waiting {
            self.dismiss_anyone();
        }
        self.turns += 1;
        let turn = self.turns;
        self.change(address, |local| local.waiting.insert(turn, Arc::clone(leave)));
        turn
    }

    /// It does not wait any more; nothing if it was dismissed.
    fn wait_no_more(&mut self, address: IpAddr, turn: u64) {
        self.change(address, |local| local.waiting.remove(&turn));
    }

    /// The connection of `address` that has waited longest is asked to go.
    fn dismiss(&mut self, address: IpAddr) -> bool {
        let first = self.change(address, |local| local.waiting.pop_first());
        first.inspect(|(_, leave)| leave.notify_one()).is_some()
    }

    fn dismiss_anyone(&mut self) -> bool {
        self.crowds.last().copied().is_some_and(|(_, address)| self.dismiss(address))
    }

    fn change<T>(&mut self, address: IpAddr, change: impl FnOnce(&mut Local) -> T) -> T {
        let local = self.by_address.entry(address).or_default();
        let before = local.waiting.len();
        let result = change(local);
        let (after, is_gone) = (local.waiting.len(), local.all == 0 && local.waiting.is_empty());
        if before != after {
            self.crowds.remove(&(before, address));
            if after > 0 {
                self.crowds.insert((after, address));
            }
            self.waiting = self.waiting + after - before;
        }
        if is_gone {
            self.by_address.remove(&address);
        }
        result
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    threshold: Arc<Threshold>,
    address: IpAddr,
    leave: Arc<Notify>,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    /// Its place among those that wait, if it does.
    turn: Option<u64>,
    requests: usize,
    has_asked: bool,
}

impl Seat {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection has said a request, which is in work until the answer is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InWork {
        let mut standing = self.standing();
        standing.requests += 1;
        standing.has_asked = true;
        if let Some(turn) = standing.turn.take() {
            self.threshold.state().wait_no_more(self.address, turn);
        }
        InWork(Arc::clone(self))
    }

    /// Whether it has said anything yet.
    pub(super) fn has_asked(&self) -> bool {
        self.standing().has_asked
    }

    /// Ends when the connection has to make room for another one, and has said no request even with
    /// its last word. Cancelling it loses nothing.
    pub(super) async fn dismissed(&self) {
        loop {
            self.leave.notified().await;
            tokio::time::sleep(LAST_WORD_WITHIN).await;
            if self.standing().requests == 0 {
                return;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let turn = self.standing().turn.take();
        let mut state = self.threshold.state();
        state.all -= 1;
        state.change(self.address, |local| {
            local.all -= 1;
            turn.map(|turn| local.waiting.remove(&turn))
        });
    }
}

/// A request in work.
#[derive(Debug)]
pub(super) struct InWork(Arc<Seat>);

impl Drop for InWork {
    fn drop(&mut self) {
        let seat = &self.0;
        let mut standing = seat.standing();
        standing.requests -= 1;
        if standing.requests == 0 {
            let threshold = &seat.threshold;
            let turn = threshold.state().wait(seat.address, &seat.leave, threshold.bounds);
            standing.turn = Some(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const BOUNDS: Bounds = Bounds { waiting_per_address: 3, waiting: 5, per_address: 6, all: 9 };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    async fn is_dismissed(seat: &Seat) -> bool {
        tokio::time::timeout(2 * LAST_WORD_WITHIN, seat.dismissed()).await.is_ok()
    }

    /// 9,000 silent connections of one address took all places between accept and upgrade for the ten
    /// seconds that a head may take, so that everybody else waited as long.
    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_one_of_the_same_address_makes_room() {
        let threshold = Threshold::new(BOUNDS);
        let silent: Vec<_> = (0..3).map(|_| threshold.enter(address(1)).expect("room")).collect();
        let other = threshold.enter(address(2)).expect("room");
        let newcomer = threshold.enter(address(1)).expect("room is made");
        assert!(is_dismissed(&silent[0]).await);
        for seat in [&silent[1], &silent[2], &other, &newcomer] {
            assert!(!is_dismissed(seat).await);
        }
        drop((silent, other, newcomer));
        assert_eq!(threshold.counts(), (0, 0));
        assert!(threshold.state().by_address.is_empty() && threshold.state().crowds.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_makes_room_when_all_places_are_taken() {
        let threshold = Threshold::new(BOUNDS);
        let alone = threshold.enter(address(1)).expect("room");
        let crowd: Vec<_> = (0..3).map(|_| threshold.enter(address(2)).expect("room")).collect();
        let fifth = threshold.enter(address(3)).expect("room");
        let newcomer = threshold.enter(address(4)).expect("room is made");
        assert!(is_dismissed(&crowd[0]).await);
        for seat in [&alone, &crowd[1], &crowd[2], &fifth, &newcomer] {
            assert!(!is_dismissed(seat).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_a_request_stays_and_waits_again_behind_the_others() {
        let threshold = Threshold::new(BOUNDS);
        let seats: Vec<_> = (0..3).map(|_| threshold.enter(address(1)).expect("room")).collect();
        let in_work = seats[0].request();
        let _newcomer = threshold.enter(address(1)).expect("there is room");
        assert!(seats[1].leave.notified().now_or_never().is_none());
        drop(in_work);
        assert!(is_dismissed(&seats[1]).await, "one too many wait again");
        assert!(!is_dismissed(&seats[0]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_on_its_way_saves_its_connection() {
        let threshold = Threshold::new(BOUNDS);
        let seats: Vec<_> = (0..3).map(|_| threshold.enter(address(1)).expect("room")).collect();
        let _newcomer = threshold.enter(address(1)).expect("room is made");
        let mut leaving = Box::pin(seats[0].dismissed());
        assert!(leaving.as_mut().now_or_never().is_none());
        let in_work = seats[0].request();
        assert!(tokio::time::timeout(4 * LAST_WORD_WITHIN, leaving).await.is_err());
        drop(in_work);
        assert!(!is_dismissed(&seats[0]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_work_are_bounded_for_each_address_and_in_all() {
        let threshold = Threshold::new(BOUNDS);
        let enter = |last| {
            let seat = threshold.enter(address(last))?;
            let in_work = seat.request();
            Some((seat, in_work))
        };
        let one: Vec<_> = (0..6).map(|_| enter(1).expect("room")).collect();
        assert!(enter(1).is_none(), "nobody of this address can make room");
        let other: Vec<_> = (0..3).map(|_| enter(2).expect("room")).collect();
        assert!(enter(3).is_none(), "nobody can");
        drop(one);
        assert!(enter(3).is_some());
        drop(other);
        assert_eq!(threshold.counts(), (0, 0));
    }
}
