//! Lines of bounded length.

use std::io::{self, BufRead};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads lines without their ends. One that is too long is skipped, not loaded.
pub(crate) struct Lines<R> {
    reader: R,
    max_bytes: usize,
    line: Vec<u8>,
    number: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, without the end.
    Whole(&'a [u8]),
    /// It was longer than allowed: this many bytes.
    TooLong(u64),
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader, max_bytes, line: Vec::new(), number: 0 }
    }

    /// Reads the next line and its number, counted from 1; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        let mut bytes = 0_u64;
        let mut is_ended = false;
        while !is_ended {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            is_ended = end.is_some();
            let taken = end.map_or(chunk.len(), |end| end + 1);
            // Keeping one byte more than allowed, and a line end, is enough to tell.
            let room = (self.max_bytes + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&chunk[..taken.min(room)]);
            bytes += taken as u64;
            self.reader.consume(taken);
        }
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes > self.max_bytes as u64 + 2 {
            self.line = Vec::new();
            return Ok(Some((self.number, Line::TooLong(bytes))));
        }
        let mut line = self.line.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        let line =
            if line.len() > self.max_bytes { Line::TooLong(bytes) } else { Line::Whole(line) };
        Ok(Some((self.number, line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[track_caller]
    fn check(text: &[u8], want: &[(u64, Result<&[u8], u64>)]) {
        // A tiny buffer makes every line come in pieces.
        let mut lines = Lines::new(BufReader::with_capacity(3, text), 8);
        let mut got = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            got.push((
                number,
                match line {
                    Line::Whole(line) => Ok(line.to_vec()),
                    Line::TooLong(bytes) => Err(bytes),
                },
            ));
        }
        let want: Vec<_> = want.iter().map(|&(n, line)| (n, line.map(<[u8]>::to_vec))).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn ends_and_byte_order_marks_are_taken_off() {
        check(b"", &[]);
        check(b"a\nb\r\n\nc", &[(1, Ok(b"a")), (2, Ok(b"b")), (3, Ok(b"")), (4, Ok(b"c"))]);
        check(b"\xef\xbb\xbfa\n\xef\xbb\xbfb", &[(1, Ok(b"a")), (2, Ok(b"\xef\xbb\xbfb"))]);
    }

    #[test]
    fn long_lines_are_skipped_and_the_next_one_is_read() {
        check(b"12345678\n123456789\nok\n", &[(1, Ok(b"12345678")), (2, Err(10)), (3, Ok(b"ok"))]);
        check(b"0123456789012345678901234567890\r\nok", &[(1, Err(33)), (2, Ok(b"ok"))]);
    }
}
