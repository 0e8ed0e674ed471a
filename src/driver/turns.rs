//! How the loop turns: whether time passed that it did not have, and whether it turns for nothing.

use std::time::Duration;

use crate::duration::Human;

/// A turn that comes later than this was not ours to take in time: we were stopped, frozen or starved.
const LATE_MS: u64 = 250;

/// So late that people are told.
const TOLD_MS: u64 = 2_000;

/// So many turns of which nothing comes are no accident.
const VAIN_MAX: u32 = 20_000;

/// Within so many milliseconds.
const WINDOW_MS: u64 = 1_000;

/// Between two lines about it.
const WORD_EVERY_MS: u64 = 60_000;

/// What is remembered from one turn to the next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the last wait ended.
    awake: Option<u64>,
    /// Since then turns are counted.
    counted_since: u64,
    /// Turns since then of which nothing came.
    vain: u32,
    /// When it was last told.
    told: Option<u64>,
}

/// A time that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap(pub(super) Duration);

impl Gap {
    /// A line for the log, if it is worth one.
    pub(super) fn line(self) -> Option<String> {
        let worth = self.0 >= Duration::from_millis(TOLD_MS);
        worth.then(|| {
            format!(
                "the manager did not run for {} (stopped, frozen or starved): deadlines of workers begin anew",
                Human(self.0)
            )
        })
    }
}

impl Turns {
    /// A wait that began at `asleep` and was to end at `due` has ended by `now`. What was lost, if anything: before the wait,
    /// or after the moment at which it was to end.
    pub(super) fn woke(&mut self, asleep: u64, due: Option<u64>, now: u64) -> Option<Gap> {
        let busy = self.awake.map_or(0, |awake| asleep.saturating_sub(awake));
        let late = due.map_or(0, |due| now.saturating_sub(due.max(asleep)));
        self.awake = Some(now);
        let lost = busy.max(late);
        (lost >= LATE_MS).then(|| Gap(Duration::from_millis(lost)))
    }

    /// Counts a turn, of which something came or not; a line for the log where too many come to nothing.
    pub(super) fn turned(&mut self, now: u64, fruitful: bool) -> Option<String> {
        if fruitful || now.saturating_sub(self.counted_since) > WINDOW_MS {
            (self.counted_since, self.vain) = (now, 0);
        }
        self.vain += u32::from(!fruitful);
        let quiet = self.told.is_some_and(|told| now.saturating_sub(told) < WORD_EVERY_MS);
        if self.vain < VAIN_MAX || quiet {
            return None;
        }
        self.told = Some(now);
        Some(format!(
            "the loop has turned {} times within a second and nothing came of it",
            std::mem::take(&mut self.vain)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_lost_before_a_wait_or_after_its_end() {
        let gap = |milliseconds| Some(Gap(Duration::from_millis(milliseconds)));
        let mut turns = Turns::default();
        assert_eq!(turns.woke(10_000, None, 90_000), None, "nothing was waited for");
        assert_eq!(turns.woke(90_010, Some(91_000), 91_100), None, "as late as anybody may be");
        assert_eq!(turns.woke(91_100, Some(92_000), 97_000), gap(5_000), "stopped in the wait");
        assert_eq!(turns.woke(99_000, Some(99_500), 99_200), gap(2_000), "stopped before it");
        assert_eq!(turns.woke(99_200, Some(10), 99_210), None, "a deadline long past is no wait");
        assert_eq!(Gap(Duration::from_millis(500)).line(), None);
        assert!(Gap(Duration::from_secs(5)).line().unwrap().contains("did not run for 5"));
    }

    // pitfall 23
    #[test]
    fn a_loop_that_turns_for_nothing_is_told_once_a_minute() {
        let mut turns = Turns::default();
        let mut spin = |now: u64, turn: u32, fruitful: bool| {
            (0..turn).filter_map(|_| turns.turned(now, fruitful)).collect::<Vec<_>>()
        };
        assert_eq!(spin(5_000, VAIN_MAX - 1, false).len(), 0);
        assert_eq!(spin(5_000, 1, true).len(), 0, "something came of it");
        assert_eq!(spin(5_001, VAIN_MAX - 1, false).len(), 0);
        assert_eq!(spin(7_000, VAIN_MAX - 1, false).len(), 0, "slowly");
        let told = spin(7_001, 3 * VAIN_MAX, false);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("turned 20000 times"), "{told:?}");
        assert_eq!(spin(7_001 + WORD_EVERY_MS, VAIN_MAX, false).len(), 1);
    }
}
