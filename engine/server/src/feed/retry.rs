//! When what failed is tried again: later each time, and not forever.

use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often one item is sent.
pub(crate) const ITEM_ATTEMPTS: u32 = 12;
/// How often a stream is opened without anything getting through: for about a minute,
/// long enough for a server to restart and load its model.
pub(crate) const STREAM_ATTEMPTS: u32 = 16;

/// The pause before attempt number `attempt` after the first; `None` when it is one too many.
pub(crate) fn pause(attempt: u32, attempts: u32) -> Option<Duration> {
    if attempt >= attempts {
        return None;
    }
    let doubled =
        PAUSE_MIN.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    Some(doubled.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end() {
        let ms = |attempt| pause(attempt, 10).map(|pause| pause.as_millis());
        assert_eq!([ms(1), ms(2), ms(3), ms(9)], [Some(100), Some(200), Some(400), Some(5_000)]);
        assert_eq!(ms(10), None);
        assert_eq!(pause(60, 100), Some(PAUSE_MAX));
    }
}
