//! How fast a queue drains, so that those it refuses are told when to come back.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time over which one rate is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// Weight of the newest window in the rate.
const NEWEST: f64 = 0.5;
/// Told while nothing has been measured.
const GUESS: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);

/// Measures a queue. Only the time in which something is in it counts.
#[derive(Debug, Default)]
pub(crate) struct Drain(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: Amount,
    /// What left in a second, lately.
    rate: Option<Amount>,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    left: Amount,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Amount {
    items: f64,
    tokens: f64,
}

impl Amount {
    fn one(tokens: usize) -> Self {
        Self { items: 1.0, tokens: tokens as f64 }
    }

    fn map(self, other: Self, apply: impl Fn(f64, f64) -> f64) -> Self {
        Self { items: apply(self.items, other.items), tokens: apply(self.tokens, other.tokens) }
    }
}

impl Drain {
    /// Notes an input of `tokens` tokens that entered.
    pub(crate) fn entered(&self, tokens: usize, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = state.held.map(Amount::one(tokens), |held, one| held + one);
        state.window.get_or_insert(Window { began: now, left: Amount::default() });
    }

    /// Notes that one left.
    pub(crate) fn left(&self, tokens: usize, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = state.held.map(Amount::one(tokens), |held, one| (held - one).max(0.0));
        let is_empty = state.held.items == 0.0;
        let Some(mut window) = state.window.take() else { return };
        window.left = window.left.map(Amount::one(tokens), |left, one| left + one);
        let elapsed = now.saturating_duration_since(window.began);
        if !is_empty && elapsed < WINDOW {
            state.window = Some(window);
            return;
        }
        if !elapsed.is_zero() {
            let seconds = elapsed.as_secs_f64();
            let measured = window.left.map(Amount::default(), |left, _| left / seconds);
            let before = state.rate.unwrap_or(measured);
            state.rate = Some(before.map(measured, |before, new| before + NEWEST * (new - before)));
        }
        state.window = (!is_empty).then_some(Window { began: now, left: Amount::default() });
    }

    /// Estimates when half of what is held will have left.
    pub(crate) fn half_life(&self, now: Instant) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = state.current_rate(now) else { return GUESS };
        let seconds = |held: f64, rate: f64| if rate > 0.0 { held / 2.0 / rate } else { f64::MAX };
        let items = seconds(state.held.items, rate.items);
        let tokens = seconds(state.held.tokens, rate.tokens);
        // One that is empty of tokens says nothing about them.
        let longer = if state.held.tokens > 0.0 { items.max(tokens) } else { items };
        let longer = longer.min(LONGEST.as_secs_f64());
        Duration::from_secs_f64(longer).clamp(SHORTEST, LONGEST)
    }
}

impl State {
    /// The rate measured before, or that of a window which has lasted long enough: so a
    /// queue that stands still is noticed.
    fn current_rate(&self, now: Instant) -> Option<Amount> {
        let open = self.window.and_then(|window| {
            let elapsed = now.saturating_duration_since(window.began);
            let mean_tokens = self.held.tokens / self.held.items.max(1.0);
            // The next to leave counts as if it were leaving now: nothing is no rate.
            let next = Amount { items: 1.0, tokens: mean_tokens };
            let leaving = window.left.map(next, |left, next| left + next);
            (elapsed >= WINDOW)
                .then(|| leaving.map(Amount::default(), |left, _| left / elapsed.as_secs_f64()))
        });
        open.or(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn unmeasured_queues_guess() {
        let drain = Drain::default();
        assert_eq!(drain.half_life(Instant::now()), GUESS);
    }

    /// Holds `held` inputs of 10 tokens, of which one leaves every `every`.
    #[track_caller]
    fn check(held: u32, every: Duration, want: Duration) {
        let (drain, start) = (Drain::default(), Instant::now());
        for _ in 0..held {
            drain.entered(10, start);
        }
        let mut now = start;
        while now < start + 4 * WINDOW {
            now += every;
            drain.left(10, now);
            drain.entered(10, now);
        }
        let got = drain.half_life(now);
        assert!(got >= want.mul_f64(0.8) && got <= want.mul_f64(1.25), "{got:?}, want {want:?}");
    }

    #[test]
    fn the_estimate_follows_the_rate() {
        check(100, 10 * MS, 500 * MS);
        check(100, 40 * MS, 2_000 * MS);
        check(10, 100 * MS, 500 * MS);
        check(1_000, 100 * MS, LONGEST);
        check(2, MS, SHORTEST);
    }

    #[test]
    fn idle_time_does_not_count_and_standing_still_does() {
        let (drain, start) = (Drain::default(), Instant::now());
        for begin in [start, start + 1_000 * WINDOW] {
            drain.entered(10, begin);
            drain.left(10, begin + 10 * MS);
        }
        let now = start + 2_000 * WINDOW;
        for _ in 0..20 {
            drain.entered(10, now);
        }
        assert_eq!(drain.half_life(now), 100 * MS, "100 inputs a second, half of 20");
        let stuck = drain.half_life(now + 10 * WINDOW);
        assert_eq!(stuck, LONGEST, "none of 20 left in 5 seconds");
    }
}
