//! How an edge empties itself: who is asked to go elsewhere when, and when those that stay are ended.
//!
//! # Invariants
//! - No more sessions are sent off than the other edges said they take, counting those that were sent
//!   since they said so.
//! - All have been asked, if there is room, in the first half of the time; the second half is theirs.
//! - What is left is ended before the deadline, with time to hear it.

use cluster::gateway::Elsewhere;
use model::Now;

/// The pause between waves: a wave is on its way before the next one is sized.
pub(crate) const WAVE_MS: u64 = 100;
/// Sessions that one other edge is sent in one wave, while there is time: some hundred handshakes a
/// second and core beside its own work.
const WAVE_PER_EDGE: usize = 100;
/// How old a report of another edge may be: what was sent off since then is not in it.
const REPORT_AGE_MS: u64 = 5_000;
/// Time at the end for hearing `end`, and closing.
const END_WITHIN_MS: u64 = 1_000;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many more sessions are asked to go; each has this long.
    Move { sessions: usize, within_ms: u64 },
    /// Nothing, until the next wave.
    Pause,
    /// The rest is ended.
    End,
}

/// A drain's schedule. Owned by the task that drains.
#[derive(Debug)]
pub(crate) struct Schedule {
    started_ms: u64,
    /// When the rest is ended.
    end_at_ms: u64,
    deadline_ms: u64,
    sessions: usize,
    asked: usize,
    /// Waves that reports may not show yet: when, and how many.
    unreported: Vec<(u64, usize)>,
}

impl Schedule {
    /// For `sessions` that have to be gone `within_ms`.
    pub(crate) fn new(now: Now, within_ms: u64, sessions: usize) -> Schedule {
        let started_ms = now.mono_us / 1_000;
        let deadline_ms = started_ms.saturating_add(within_ms);
        let end_at_ms = deadline_ms - END_WITHIN_MS.min(within_ms / 4);
        Schedule { started_ms, end_at_ms, deadline_ms, sessions, asked: 0, unreported: Vec::new() }
    }

    /// What to do now, with what the other edges report.
    pub(crate) fn step(&mut self, now: Now, elsewhere: Elsewhere) -> Step {
        let now_ms = now.mono_us / 1_000;
        let nowhere_to_go = self.asked == 0 && elsewhere.edges == 0;
        if now_ms >= self.end_at_ms || nowhere_to_go {
            return Step::End;
        }
        self.unreported.retain(|(at_ms, _)| at_ms + REPORT_AGE_MS > now_ms);
        let on_their_way: usize = self.unreported.iter().map(|(_, sessions)| sessions).sum();
        let room = elsewhere.room.saturating_sub(on_their_way);
        let unasked = self.sessions - self.asked;
        let wave = self.wave(now_ms, elsewhere.edges).min(room).min(unasked);
        if wave == 0 {
            return Step::Pause;
        }
        self.asked += wave;
        self.unreported.push((now_ms, wave));
        Step::Move { sessions: wave, within_ms: self.deadline_ms - now_ms }
    }

    /// As many as the others take at leisure, or more if the time would not be enough.
    fn wave(&self, now_ms: u64, edges: usize) -> usize {
        let half_ms = self.started_ms + (self.end_at_ms - self.started_ms) / 2;
        let waves_left = half_ms.saturating_sub(now_ms) / WAVE_MS + 1;
        let in_time = (self.sessions - self.asked).div_ceil(waves_left as usize);
        in_time.max(edges * WAVE_PER_EDGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_us: (7_000 + ms) * 1_000, wall_ms: 0 }
    }

    fn elsewhere(edges: usize, room: usize) -> Elsewhere {
        Elsewhere { edges, room }
    }

    /// Waves with their times, until the rest is ended; and when that is.
    fn run(
        within_ms: u64,
        sessions: usize,
        mut report: impl FnMut(u64, usize) -> Elsewhere,
    ) -> (Vec<(u64, usize)>, u64) {
        let mut schedule = Schedule::new(at(0), within_ms, sessions);
        let (mut waves, mut asked) = (Vec::new(), 0);
        for wave in 0..10_000 {
            let ms = wave * WAVE_MS;
            match schedule.step(at(ms), report(ms, asked)) {
                Step::Move { sessions, within_ms: left_ms } => {
                    assert_eq!(left_ms, within_ms - ms);
                    asked += sessions;
                    waves.push((ms, sessions));
                }
                Step::Pause => {}
                Step::End => return (waves, ms),
            }
        }
        panic!("the schedule never ends: {schedule:?}");
    }

    #[test]
    fn with_nowhere_to_go_everybody_is_ended_at_once() {
        assert_eq!(run(10_000, 500, |_, _| elsewhere(0, 0)), (vec![], 0));
    }

    #[test]
    fn waves_are_small_while_there_is_time() {
        let (waves, end_ms) = run(60_000, 1_000, |_, _| elsewhere(2, 50_000));
        assert_eq!(waves, [(0, 200), (100, 200), (200, 200), (300, 200), (400, 200)]);
        assert_eq!(end_ms, 59_000);
    }

    #[test]
    fn many_sessions_and_little_time_make_large_waves_that_end_at_half_time() {
        let (waves, end_ms) = run(10_000, 100_000, |_, _| elsewhere(2, 1_000_000));
        assert_eq!(waves.iter().map(|wave| wave.1).sum::<usize>(), 100_000);
        assert!(waves.iter().all(|(ms, sessions)| *ms <= 4_500 && *sessions < 2_300), "{waves:?}");
        assert_eq!(end_ms, 9_000);
    }

    #[test]
    fn nobody_is_sent_where_there_is_no_room_although_reports_are_old() {
        // The reports do not change: nothing that was sent shows in them for five seconds.
        let (waves, _) = run(9_000, 1_000, |_, _| elsewhere(1, 150));
        let early: usize = waves.iter().filter(|w| w.0 < REPORT_AGE_MS).map(|w| w.1).sum();
        assert_eq!(early, 150);
        // Reports that follow at once leave nothing over.
        let (waves, _) = run(9_000, 1_000, |_, asked| elsewhere(1, 400 - asked.min(400)));
        assert!(waves.iter().map(|wave| wave.1).sum::<usize>() <= 400, "{waves:?}");
    }

    #[test]
    fn an_edge_that_comes_while_the_others_are_full_takes_the_rest() {
        let report = |ms, _| if ms < 2_000 { elsewhere(1, 10) } else { elsewhere(2, 5_000) };
        let (waves, _) = run(20_000, 300, report);
        assert_eq!(waves[0], (0, 10));
        assert_eq!(waves.iter().map(|wave| wave.1).sum::<usize>(), 300);
        assert!(waves.iter().skip(1).all(|wave| wave.0 >= 2_000), "{waves:?}");
    }

    #[test]
    fn a_drain_without_time_ends_at_once() {
        assert_eq!(run(0, 10, |_, _| elsewhere(1, 10)).1, 0);
    }
}
