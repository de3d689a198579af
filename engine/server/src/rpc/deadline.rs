//! The caller's patience, read from `grpc-timeout`.
//!
//! tonic runs a timer of its own around every handler and answers CANCELLED when it
//! fires. The protocol asks for DEADLINE_EXCEEDED, so ours fires a little earlier.

use std::time::Duration;

use http::HeaderMap;

const HEADER: &str = "grpc-timeout";
const MAX_DIGITS: usize = 8;
/// Resolution of the runtime's timers: shorter times cannot be told apart.
pub(crate) const TIMER_TICK: Duration = Duration::from_millis(1);
/// How much earlier than the caller's deadline ours falls.
const MARGIN: Duration = Duration::from_millis(2);

/// Reads how long a call may take; `None` when the caller does not say.
///
/// # Errors
/// Tells what is wrong with a header that is not 1 to 8 digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(header) = headers.get(HEADER) else { return Ok(None) };
    let malformed = || "must be 1 to 8 digits and one of H, M, S, m, u, n".to_owned();
    let text = header.to_str().map_err(|_| malformed())?;
    let unit = text.chars().last().ok_or_else(malformed)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    let is_number = (1..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number {
        return Err(malformed());
    }
    let count: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(Some(match unit {
        'H' => Duration::from_secs(count * 3_600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return Err(malformed()),
    }))
}

/// The time after which we answer that the deadline has passed.
pub(crate) fn ours(timeout: Duration) -> Duration {
    timeout - MARGIN.min(timeout / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, want: Option<Duration>) {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, header.parse().unwrap());
        assert_eq!(timeout(&headers).ok().flatten(), want, "{header}");
    }

    #[test]
    fn units_are_those_of_the_protocol() {
        check("2H", Some(Duration::from_secs(7_200)));
        check("3M", Some(Duration::from_secs(180)));
        check("4S", Some(Duration::from_secs(4)));
        check("5m", Some(Duration::from_millis(5)));
        check("6u", Some(Duration::from_micros(6)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3_600)));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "S1", "1 S"] {
            check(header, None);
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn our_deadline_falls_earlier_but_not_at_once() {
        assert_eq!(ours(Duration::from_millis(100)), Duration::from_millis(98));
        assert_eq!(ours(Duration::from_millis(2)), Duration::from_millis(1));
        assert_eq!(ours(Duration::ZERO), Duration::ZERO);
    }
}
