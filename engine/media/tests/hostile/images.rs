//! Image files.

use proptest::prelude::*;
use twn_media::{Limits, MediaError, VisionSpec, decode_image, preprocess_image};

use crate::{fixture, fixtures, mutated, runner};

const IMAGES: [&str; 6] = [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff"];

fn limits() -> Limits {
    Limits { image_pixels_max: 1 << 20, image_side_max: 4096, ..Limits::default() }
}

#[test]
fn truncated_files_are_refused() {
    for (name, bytes) in fixtures(&IMAGES) {
        // The first picture of an animation may be whole before the file's middle.
        if name == "moving.gif" {
            continue;
        }
        for part in [0, 1, 4, 12, bytes.len() / 4, bytes.len() / 2, bytes.len() * 3 / 4] {
            let result = decode_image(&bytes[..part], &limits());
            assert!(result.is_err(), "{name} cut to {part} bytes was read");
        }
    }
}

#[test]
fn mutated_files_never_panic() {
    for (name, bytes) in fixtures(&IMAGES) {
        let strategy = (any::<usize>(), any::<[u8; 4]>(), any::<usize>(), any::<bool>());
        runner(300)
            .run(&strategy, |mutation| {
                if let Ok(image) = decode_image(&mutated(&bytes, mutation), &limits()) {
                    prop_assert!(image.size().pixels() <= 1 << 20);
                    let spec =
                        VisionSpec { max_pixels: 4096, min_pixels: 1024, ..VisionSpec::QWEN3_VL };
                    let _ = preprocess_image(&image, &spec);
                }
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn announced_sizes_are_checked_before_anything_is_decoded() {
    // Of the header, 4 bytes each of width and height, then the checksum.
    let mut png = fixture("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    let error = decode_image(&png, &Limits::default()).expect_err("is a bomb");
    let text = error.to_string();
    assert_eq!(text, "size of the image in pixels is 1073676289, at most 67108864 is accepted");

    let mut gif = fixture("still.gif");
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert!(matches!(decode_image(&gif, &Limits::default()), Err(MediaError::Limit { .. })));
    let mut bmp = fixture("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0x0f]);
    let error = decode_image(&bmp, &Limits::default()).expect_err("is a bomb");
    assert!(error.is_callers_fault(), "{error}");
}

#[test]
fn nothing_is_nothing() {
    assert!(matches!(decode_image(b"", &limits()), Err(MediaError::Empty)));
    let error = decode_image(b"hello, world", &limits()).expect_err("is text");
    assert!(matches!(error, MediaError::Format { .. }), "{error}");
    let mut gif = fixture("still.gif");
    gif[6..10].copy_from_slice(&[0; 4]);
    assert!(decode_image(&gif, &limits()).is_err());
}

#[test]
fn large_files_are_refused_unread() {
    let limits = Limits { image_bytes_max: 100, ..Limits::default() };
    let error = decode_image(&fixture("rgb.png"), &limits).expect_err("is too large");
    assert_eq!(error.to_string(), "size of the image in bytes is 375, at most 100 is accepted");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
