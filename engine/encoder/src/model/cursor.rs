//! Reads little-endian values from untrusted bytes, never past their end.

/// What is wrong with the bytes, in words.
pub(super) type Problem = String;

/// A position in a byte slice that only moves forward.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at `at`, which may be past the end: then every read fails.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Bytes read so far, counted from the slice's start.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Takes the next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Problem> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else {
            return Err(format!(
                "ends too early: {count} bytes are wanted at byte {}, {} are left",
                self.at,
                self.remaining()
            ));
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Takes a `u32`.
    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a `u64`.
    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a string: its length as `u64`, then that many bytes of UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a str, Problem> {
        let start = self.at;
        let length = self.u64()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| format!("string at byte {start} is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 9], 0);
        assert_eq!(cursor.u32(), Ok(1));
        assert!(cursor.u32().is_err());
        assert!(cursor.take(u64::MAX).is_err());
        assert_eq!(cursor.take(1), Ok(&[9][..]));
        assert!(Cursor::new(&[], usize::MAX).take(1).is_err());
    }

    #[test]
    fn a_string_longer_than_the_bytes_is_refused() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.push(b'a');
        assert!(Cursor::new(&bytes, 0).string().is_err());
    }
}
