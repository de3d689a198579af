//! How fast the model has been lately.

use std::time::Duration;

/// Weight of the newest measurement in a moving average.
const NEWEST: f64 = 0.2;
/// Taken for a re-embedding until one has been measured.
const REEMBED_GUESS: Duration = Duration::from_millis(20);

/// An exponential moving average of durations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Average {
    seconds: Option<f64>,
}

impl Average {
    pub(super) fn add(&mut self, measured: Duration) {
        let measured = measured.as_secs_f64();
        let before = self.seconds.unwrap_or(measured);
        self.seconds = Some(before + NEWEST * (measured - before));
    }

    /// The average; `None` before the first measurement.
    pub(super) fn get(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }
}

/// How fast the model has been lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// One round in which thoughts were decoded: the time a thought takes for a token.
    pub(super) round: Average,
    /// Embedding prompt and thought.
    pub(super) reembed: Average,
}

impl Pace {
    /// Time to keep for embedding after `thoughts` thoughts, one in each round.
    pub(super) fn reserve(&self, thoughts: usize) -> Duration {
        let each =
            self.reembed.get().unwrap_or(REEMBED_GUESS) + self.round.get().unwrap_or_default();
        each.saturating_mul(u32::try_from(thoughts).unwrap_or(u32::MAX))
    }

    /// Tokens that a thought can have in `time`; `None` while nothing has been measured.
    pub(super) fn tokens_in(&self, time: Duration) -> Option<u32> {
        if time.is_zero() {
            return Some(0);
        }
        let token = self.round.get()?.max(Duration::from_nanos(1));
        Some(u32::try_from(time.as_nanos() / token.as_nanos()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn averages_follow_what_is_measured() {
        let mut average = Average::default();
        assert_eq!(average.get(), None);
        average.add(10 * MS);
        assert_eq!(average.get(), Some(10 * MS));
        average.add(20 * MS);
        assert_eq!(average.get(), Some(12 * MS));
        for _ in 0..100 {
            average.add(40 * MS);
        }
        assert!(average.get().is_some_and(|got| got > 39 * MS && got <= 40 * MS));
    }

    #[test]
    fn reserve_and_tokens_follow_the_pace() {
        let mut pace = Pace::default();
        assert_eq!((pace.tokens_in(MS), pace.tokens_in(Duration::ZERO)), (None, Some(0)));
        assert_eq!(pace.reserve(2), 2 * REEMBED_GUESS);
        pace.round.add(10 * MS);
        pace.reembed.add(5 * MS);
        assert_eq!(pace.reserve(3), 45 * MS);
        assert_eq!(pace.tokens_in(99 * MS), Some(9));
        let mut instant = Pace::default();
        instant.round.add(Duration::ZERO);
        assert_eq!(instant.tokens_in(Duration::from_secs(1 << 40)), Some(u32::MAX));
    }
}
