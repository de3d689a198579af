//! The stream of uncompressed pictures that `ffmpeg` writes.

use std::io::{self, BufRead};

use crate::{
    error::MediaError,
    format::Format,
    image::{Image, check_size},
    limits::Limits,
};

/// Digits a number in a header may have.
const DIGITS_MAX: usize = 10;

/// Reads the next picture; `None` at the end.
pub(super) fn read(from: &mut impl BufRead, limits: &Limits) -> Result<Option<Image>, MediaError> {
    let mut magic = [0; 3];
    match from.read_exact(&mut magic[..1]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    from.read_exact(&mut magic[1..])?;
    if &magic != b"P6\n" {
        return Err(damaged("picture stream is out of step"));
    }
    let (width, height, levels) = (number(from)?, number(from)?, number(from)?);
    if levels != 255 {
        return Err(damaged("picture stream has other than 8 bits a channel"));
    }
    check_size((width, height), limits)?;
    let mut rgb = vec![0; width as usize * height as usize * 3];
    from.read_exact(&mut rgb)?;
    Image::new(width, height, rgb).map(Some)
}

/// Reads a number and the one space behind it.
fn number(from: &mut impl BufRead) -> Result<u32, MediaError> {
    let mut digits = String::new();
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        match byte[0] {
            digit @ b'0'..=b'9' if digits.len() < DIGITS_MAX => digits.push(char::from(digit)),
            b' ' | b'\n' => break,
            _ => return Err(damaged("picture stream is out of step")),
        }
    }
    digits.parse().map_err(|_| damaged("picture stream is out of step"))
}

fn damaged(problem: &str) -> MediaError {
    MediaError::Damaged { format: Format::Unknown, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_one_another() {
        let stream = [&b"P6\n2 1\n255\n"[..], &[1, 2, 3, 4, 5, 6], b"P6\n1 1\n255\n", &[7, 8, 9]];
        let bytes = stream.concat();
        let mut from = bytes.as_slice();
        let mut next = || read(&mut from, &Limits::default());
        assert_eq!(next().expect("is read").expect("is there").rgb(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(next().expect("is read").expect("is there").width(), 1);
        assert_eq!(next().expect("ends"), None);
    }

    #[test]
    fn anything_else_is_an_error() {
        for bytes in [
            &b"P5\n1 1\n255\n0"[..],
            b"P6\n1 1\n65535\n",
            b"P6\n99999999999 1\n255\n",
            b"P6\n40000 1\n255\n",
            b"P6\n2 2\n255\nshort",
            b"P6\n0 2\n255\n",
            b"P",
        ] {
            assert!(read(&mut &bytes[..], &Limits::default()).is_err(), "{bytes:?}");
        }
    }
}
