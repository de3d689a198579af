//! Golden files, and the pictures that both sides draw.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use twn_media::{Image, Patches, VisionSpec};

pub(crate) fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub(crate) fn golden(name: &str) -> Vec<Value> {
    let path = tests_folder().join("golden").join(name);
    let text = fs_err::read_to_string(path).expect("golden file");
    serde_json::from_str(&text).expect("is an array")
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fs_err::read(tests_folder().join("fixtures").join(name)).expect("fixture")
}

pub(crate) fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name} of {row}"))
}

/// The pattern of `make_golden.py`.
pub(crate) fn pattern(width: u32, height: u32, seed: u64) -> Image {
    let mut rgb = Vec::new();
    for y in 0..u64::from(height) {
        for x in 0..u64::from(width) {
            for c in 0..3 {
                let slope = x * 3 + y * 2 + c * 40;
                let noise =
                    (x * 7919 + y * 104_729 + c * 1_299_709 + seed * 15_485_863) % 1009 % 97;
                let edge = (x / 11 + y / 7) % 2 * 90;
                rgb.push(((slope + noise + edge) % 256) as u8);
            }
        }
    }
    Image::new(width, height, rgb).expect("has pixels")
}

pub(crate) fn spec(name: &str) -> VisionSpec {
    match name {
        "qwen3" => VisionSpec::QWEN3_VL,
        "qwen2" => VisionSpec::QWEN2_VL,
        "small" => VisionSpec { min_pixels: 4096, max_pixels: 16_384, ..VisionSpec::QWEN3_VL },
        other => panic!("no spec {other}"),
    }
}

/// Recovers the 8-bit levels behind normalised values, in the same order.
pub(crate) fn levels(patches: &Patches, spec: &VisionSpec) -> Vec<u8> {
    let per_channel = patches.row_len() / 3;
    let level = |(i, &value): (usize, &f32)| {
        let channel = i % patches.row_len() / per_channel;
        let full = f64::from(value) * f64::from(spec.std[channel]) + f64::from(spec.mean[channel]);
        (full * 255.0).round().clamp(0.0, 255.0) as u8
    };
    patches.values.iter().enumerate().map(level).collect()
}

/// Compares grid, sampled values within 1e-5, and the digest of every level.
#[track_caller]
pub(crate) fn check_patches(patches: &Patches, spec: &VisionSpec, row: &Value) {
    let grid = [patches.grid.t, patches.grid.h, patches.grid.w];
    assert_eq!(serde_json::json!(grid), row["grid"], "{row}");
    assert_eq!(patches.row_len(), spec.patch_values());
    let at = row["at"].as_array().expect("places");
    for (at, want) in at.iter().zip(row["values"].as_array().expect("values")) {
        let got = patches.values[at.as_u64().expect("place") as usize];
        let want = want.as_f64().expect("value") as f32;
        assert!((got - want).abs() <= 1e-5, "{got} at {at}, not {want}, of {row}");
    }
    let digest = format!("{:x}", Sha256::digest(levels(patches, spec)));
    assert_eq!(row["levels"], digest, "{row}");
}
