//! When a failing group tries again: a streak of failures, a delay that grows with it, one attempt in flight.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{ChildId, Mono};
use crate::plan::Backoff;

/// Streaks are not counted beyond this (or `give_up`, if that is more): the delay has reached its ceiling long before,
/// and an unbounded count would make the number of states infinite.
const STREAK_MAX: u32 = 64;

/// What a group remembers of its failures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Streak {
    /// Failures in a row; attempts that were under way when one of them failed count as one with it.
    pub(super) length: u32,
    /// The last of them that are of a kind that leads to giving up.
    #[serde(default)]
    pub(super) hopeless: u32,
    /// No attempt before this moment.
    pub(super) not_before: Mono,
    /// The first child that is not of the attempts that led to the last failure.
    pub(super) mark: ChildId,
    /// No attempt since the last failure has become ready: one at a time.
    pub(super) probation: bool,
}

impl Streak {
    pub(super) fn none(next_child: ChildId) -> Self {
        Streak { length: 0, hopeless: 0, not_before: Mono(0), mark: next_child, probation: false }
    }

    /// Counts the failure of `child`, which is `hopeless` or not. `delay` makes the pause of a streak of the given length.
    /// Returns the pause if the failure is a new one.
    pub(super) fn fail(
        &mut self,
        child: ChildId,
        next_child: ChildId,
        now: Mono,
        hopeless: bool,
        limit: Option<u32>,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        let same_batch = self.length > 0 && child < self.mark;
        self.probation = true;
        if same_batch {
            return None;
        }
        let most = limit.unwrap_or(0).max(STREAK_MAX);
        self.length = (self.length + 1).min(most);
        self.hopeless = if hopeless { (self.hopeless + 1).min(most) } else { 0 };
        self.mark = next_child;
        let pause = delay(self.length);
        self.not_before = now.after(pause);
        Some(pause)
    }

    /// A child has become ready.
    pub(super) fn ready(&mut self, child: ChildId) {
        if child >= self.mark {
            self.probation = false;
        }
    }
}

/// The pause after a streak of `length` failures (at least 1): `base * factor^(length - 1)`, at most `max`, and up to
/// `jitter_percent` more. `random` is any number.
pub(super) fn pause(backoff: &Backoff, length: u32, random: u64) -> Duration {
    let max = millis(backoff.max);
    let mut pause = millis(backoff.base).min(max);
    for _ in 1..length {
        if pause >= max {
            break;
        }
        pause = (pause.saturating_mul(u64::from(backoff.factor_milli)) / 1000).min(max);
    }
    let spread = pause.saturating_mul(u64::from(backoff.jitter_percent)) / 100;
    Duration::from_millis(pause + if spread == 0 { 0 } else { random % (spread + 1) })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

/// A small generator (xorshift) for the jitter; the seed comes from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(base: u64, factor_milli: u32, max: u64, jitter_percent: u32) -> Backoff {
        Backoff {
            base: Duration::from_millis(base),
            factor_milli,
            max: Duration::from_millis(max),
            jitter_percent,
        }
    }

    #[test]
    fn the_pause_grows_to_its_ceiling() {
        let growing = backoff(1000, 1500, 30_000, 0);
        let pauses: Vec<u64> = [1, 2, 3, 10, 64].map(|n| millis(pause(&growing, n, 7))).to_vec();
        assert_eq!(pauses, [1000, 1500, 2250, 30_000, 30_000]);
    }

    #[test]
    fn jitter_only_ever_lengthens_and_stays_in_its_share() {
        let spread = backoff(1000, 1000, 1000, 10);
        for random in 0..500 {
            let pause = millis(pause(&spread, 1, random));
            assert!((1000..=1100).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_pause_of_absurd_settings_does_not_overflow() {
        let absurd =
            Backoff { base: Duration::MAX, factor_milli: u32::MAX, max: Duration::MAX, jitter_percent: 100 };
        assert!(pause(&absurd, 64, u64::MAX) > Duration::from_secs(1));
    }

    #[test]
    fn attempts_of_one_batch_count_once() {
        let mut streak = Streak::none(ChildId(0));
        let delay = |n: u32| Duration::from_millis(u64::from(n));
        assert_eq!(
            streak.fail(ChildId(0), ChildId(3), Mono(0), true, None, delay),
            Some(Duration::from_millis(1))
        );
        assert_eq!(streak.fail(ChildId(1), ChildId(3), Mono(5), true, None, delay), None);
        assert_eq!(
            streak.fail(ChildId(3), ChildId(4), Mono(9), true, None, delay),
            Some(Duration::from_millis(2))
        );
        assert_eq!((streak.length, streak.not_before), (2, Mono(11)));
    }

    #[test]
    fn a_streak_is_not_counted_without_end() {
        let mut streak = Streak::none(ChildId(0));
        for child in 0..1000 {
            streak.fail(ChildId(child), ChildId(child + 1), Mono(0), true, Some(100), |_| Duration::ZERO);
        }
        assert_eq!((streak.length, streak.hopeless), (100, 100));
    }

    #[test]
    fn only_a_later_attempt_ends_the_probation() {
        let mut streak = Streak::none(ChildId(0));
        streak.fail(ChildId(0), ChildId(2), Mono(0), true, None, |_| Duration::ZERO);
        streak.ready(ChildId(1));
        assert!(streak.probation);
        streak.ready(ChildId(2));
        assert!(!streak.probation);
    }
}
