//! Points in time, as payloads write them and filters compare them.

use chrono::DateTime;

/// The shortest text that RFC 3339 admits: `2024-01-01T00:00:00Z`.
const LEAST_BYTES: usize = 20;

/// Reads an RFC 3339 date and time as microseconds since 1970; what it says
/// beyond microseconds is cut off. `None` for any other text.
pub fn parse_instant(text: &str) -> Option<i64> {
    // Most texts are no times, and this is asked about each of them.
    let bytes = text.as_bytes();
    if bytes.len() < LEAST_BYTES || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_fractions_are_the_same_instant() {
        let noon = Some(1_704_110_400_000_000);
        for text in ["2024-01-01T12:00:00Z", "2024-01-01T13:00:00+01:00", "2024-01-01t12:00:00.0z"]
        {
            assert_eq!(parse_instant(text), noon, "{text}");
        }
        assert_eq!(parse_instant("2024-01-01T12:00:00.000001999Z"), noon.map(|at| at + 1));
        assert_eq!(parse_instant("1969-12-31T23:59:59.999999Z"), Some(-1));
    }

    #[test]
    fn other_texts_are_none() {
        for text in
            ["", "2024-01-01", "2024-01-01 12:00", "2024-13-01T12:00:00Z", "20240101T120000Z"]
        {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
