//! Page tokens: where the next page starts, bound to the question they continue.
//!
//! A token is opaque to clients: the hex of a version, a digest of the question and
//! the last key of the page before. One that belongs to another question, or that
//! nobody gave out, is refused.

use sha2::{Digest, Sha256};
use twn_service::ServiceError;

use super::nonzero;

const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 8;
/// Keys are document ids and collection names.
const MAX_KEY_BYTES: usize = 4_096;

const DEFAULT_SIZE: usize = 100;

/// Reads a page size; 0 means 100.
pub(crate) fn size(asked: u32, max: usize) -> Result<usize, ServiceError> {
    let size = nonzero(asked).unwrap_or(DEFAULT_SIZE.min(max));
    if size > max {
        return Err(ServiceError::invalid("page_size", format!("{size} is outside 1 to {max}")));
    }
    Ok(size)
}

/// The question that a page token continues.
pub(crate) struct Listing {
    digest: [u8; DIGEST_BYTES],
}

impl Listing {
    /// Identifies a question by the method and the fields that decide its answer.
    pub(crate) fn new(method: &str, fields: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for field in std::iter::once(&method.as_bytes()).chain(fields) {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash.finalize()[..DIGEST_BYTES]);
        Self { digest }
    }

    /// Writes the token of the page that follows `last`.
    pub(crate) fn token_after(&self, last: &str) -> String {
        let bytes = std::iter::once(VERSION).chain(self.digest).chain(last.bytes());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads the key that the asked-for page follows; `None` for the first page.
    pub(crate) fn read(&self, token: &str) -> Result<Option<String>, ServiceError> {
        if token.is_empty() {
            return Ok(None);
        }
        let foreign =
            || ServiceError::invalid("page_token", "was not given out for this listing and filter");
        let bytes = from_hex(token).ok_or_else(foreign)?;
        let rest = bytes.strip_prefix(&[VERSION]).ok_or_else(foreign)?;
        let key = rest.strip_prefix(&self.digest).ok_or_else(foreign)?;
        String::from_utf8(key.to_vec()).map(Some).map_err(|_| foreign())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 2 * (1 + DIGEST_BYTES + MAX_KEY_BYTES) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_brings_back_the_key() {
        let listing = Listing::new("List", &[b"docs", b""]);
        assert_eq!(listing.read("").unwrap(), None);
        for key in ["a", "ä/ö", &"x".repeat(512)] {
            let token = listing.token_after(key);
            assert_eq!(listing.read(&token).unwrap().as_deref(), Some(key));
        }
    }

    #[test]
    fn size_has_a_default_and_a_limit() {
        assert_eq!(size(0, 1_000).unwrap(), 100);
        assert_eq!(size(0, 7).unwrap(), 7);
        assert_eq!(size(1_000, 1_000).unwrap(), 1_000);
        let error = size(1_001, 1_000).unwrap_err().to_string();
        assert_eq!(error, "page_size: 1001 is outside 1 to 1000");
    }

    #[test]
    fn foreign_tokens_are_refused() {
        let listing = Listing::new("List", &[b"docs", b"filter"]);
        let others = [
            Listing::new("List", &[b"docs", b"other"]).token_after("a"),
            Listing::new("List", &[b"docsf", b"ilter"]).token_after("a"),
            Listing::new("ListCollections", &[b"docs", b"filter"]).token_after("a"),
            "zz".into(),
            "0".into(),
            "ab".repeat(6_000),
            listing.token_after("")[2..].to_owned(),
            listing.token_after("a") + "ff",
        ];
        for other in others {
            let error = listing.read(&other).unwrap_err().to_string();
            assert!(error.starts_with("page_token: was not given out"), "{error}");
        }
    }
}
