//! Decoded files against Pillow and `convert_to_rgb` of transformers.

use twn_media::{Format, Limits, MediaError, decode_image};

use crate::support::{fixture, golden, number};

/// The furthest a level may be off where decoders may differ: the inverse cosine transform
/// of JPEG and the colour conversion of JPEG and lossy WebP are not specified to the bit.
const LOSSY: u8 = 4;
/// The same where colours are stored at half the resolution: how they are spread again is not
/// specified either. On average they are within `SPREAD_MEAN`.
const SPREAD: u8 = 16;
const SPREAD_MEAN: f64 = 2.0;

#[test]
fn files_of_every_kind_decode_alike() {
    for row in golden("decoded.json") {
        let name = row["name"].as_str().expect("name");
        let image = decode_image(&fixture(name), &Limits::default()).expect(name);
        let size = (u64::from(image.width()), u64::from(image.height()));
        assert_eq!(size, (number(&row, "width"), number(&row, "height")), "{name}");
        let want = unhex(row["rgb"].as_str().expect("pixels"));
        let is_lossy = name.ends_with("jpg") || name == "lossy.webp";
        let furthest = image.rgb().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max();
        let allowed = match name {
            "progressive.jpg" => SPREAD,
            _ if is_lossy => LOSSY,
            _ => 0,
        };
        let sum: f64 = image.rgb().iter().zip(&want).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let mean = sum / want.len() as f64;
        println!("{name}: off by at most {furthest:?}, on average {mean:.3}");
        assert!(furthest <= Some(allowed), "{name}: off by {furthest:?}");
        assert!(mean <= SPREAD_MEAN, "{name}: off by {mean} on average");
    }
}

#[test]
fn four_channel_colours_are_refused_by_name() {
    for name in ["cmyk.jpg", "cmyk.tiff"] {
        let error = decode_image(&fixture(name), &Limits::default()).expect_err(name);
        assert!(matches!(error, MediaError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("CMYK colours is not supported"), "{error}");
    }
}

#[test]
fn the_bytes_decide_and_not_the_name() {
    let error = decode_image(&fixture("pages.pdf"), &Limits::default()).expect_err("is a PDF");
    assert!(matches!(error, MediaError::Format { format: Format::Pdf, .. }));
    let text = error.to_string();
    assert_eq!(
        text,
        "PDF is not among the formats read as an image: PNG, JPEG, WebP, GIF, BMP and TIFF"
    );
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|two| u8::from_str_radix(str::from_utf8(two).expect("text"), 16).expect("hex"))
        .collect()
}
