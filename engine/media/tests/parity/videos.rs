//! Videos against the video processor of Qwen3-VL.

use serde_json::json;
use twn_media::{Frames, Size, VideoSpec, VisionSpec, sample, video_frame_size};

use crate::support::{check_patches, golden, number, pattern};

#[test]
fn frames_and_times_are_sampled_alike() {
    for row in golden("sampling.json") {
        let total = number(&row, "total") as usize;
        let fps = row["fps"].as_f64().expect("rate");
        let sampling = sample(total, fps, &VideoSpec::QWEN3_VL);
        assert_eq!(json!(sampling.indices), row["indices"], "{total} frames at {fps}");

        let spec = VideoSpec {
            vision: VisionSpec { max_pixels: 1024, min_pixels: 1024, ..VisionSpec::QWEN3_VL },
            ..VideoSpec::QWEN3_VL
        };
        let images = sampling.indices.iter().map(|_| Ok(pattern(32, 32, 0)));
        let patches = Frames::new(images, sampling.clone(), &spec).expect("has frames").patches();
        assert_eq!(patches.grid.t as usize, patches.timestamps.len());
        let texts: Vec<_> = (0..patches.timestamps.len())
            .map(|t| patches.timestamp_text(t).expect("has a time"))
            .collect();
        assert_eq!(json!(texts), row["texts"], "{total} frames at {fps}");
    }
}

#[test]
fn frame_sizes_are_the_same() {
    for row in golden("frame_sizes.json") {
        let value = |i: usize| row[i].as_u64().expect("number");
        let is_capped = row[3].as_bool().expect("flag");
        let spec = VideoSpec { frame_tokens_max: is_capped.then_some(768), ..VideoSpec::QWEN3_VL };
        let size = Size { width: value(1) as u32, height: value(2) as u32 };
        let size = video_frame_size(size, value(0) as usize, &spec).expect("has a size");
        assert_eq!(size.pixels() / 256, value(4), "{row}");
    }
}

#[test]
fn every_pixel_is_the_video_processors() {
    let spec = VideoSpec {
        vision: VisionSpec { min_pixels: 4096, max_pixels: 65_536, ..VisionSpec::QWEN3_VL },
        ..VideoSpec::QWEN3_VL
    };
    for row in golden("videos.json") {
        let (width, height) = (number(&row, "width") as u32, number(&row, "height") as u32);
        let fps = row["fps"].as_f64().expect("rate");
        let sampling = sample(number(&row, "frames") as usize, fps, &spec);
        let seed = 100 * number(&row, "seed");
        let chosen = sampling.indices.clone();
        let images = chosen.iter().map(|&i| Ok(pattern(width, height, seed + i as u64)));
        let patches = Frames::new(images, sampling, &spec).expect("has frames").patches();
        check_patches(&patches, &spec.vision, &row);
        let times = row["times"].as_array().expect("times");
        assert_eq!(patches.timestamps.len(), times.len());
        for (got, want) in patches.timestamps.iter().zip(times) {
            // JSON's reader may be off by the last bit.
            assert!((got - want.as_f64().expect("seconds")).abs() < 1e-12, "{got}, not {want}");
        }
    }
}
