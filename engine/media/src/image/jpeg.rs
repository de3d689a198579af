//! What the decoder of JPEG files leaves unchecked: a colour model it would guess at, and
//! an end that is missing.

use crate::{error::MediaError, format::Format};

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Refuses four-channel files, and files whose pixels do not end in an end marker.
///
/// What is no sequence of segments is left for the decoder to name.
pub(super) fn check(bytes: &[u8]) -> Result<(), MediaError> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        let Some(start) = rest.iter().position(|&byte| byte == 0xff) else {
            return Err(truncated());
        };
        rest = &rest[start..];
        let Some(&marker) = rest.iter().find(|&&byte| byte != 0xff) else {
            return Err(truncated());
        };
        let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
        rest = &rest[fill + 1..];
        let &[high, low, ..] = rest else { return Err(truncated()) };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if is_frame_header(marker) && rest.get(7) == Some(&4) {
            return Err(MediaError::Unsupported {
                format: Format::Jpeg,
                what: "CMYK colours".to_owned(),
                advice: "convert it to RGB first",
            });
        }
        rest = rest.get(len..).ok_or_else(truncated)?;
        if marker == START_OF_SCAN {
            break;
        }
    }
    // Within the pixels a 0xff is always followed by 0, so this can only be the marker.
    if rest.windows(2).any(|pair| pair == END_OF_IMAGE) { Ok(()) } else { Err(truncated()) }
}

/// Tells `SOF0` to `SOF15` from the tables that share their numbers.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

fn truncated() -> MediaError {
    let problem = "it ends before the end of its picture".to_owned();
    MediaError::Damaged { format: Format::Jpeg, problem }
}
