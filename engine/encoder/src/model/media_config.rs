//! How a model's processor prepares pixels: `preprocessor_config.json` and
//! `video_preprocessor_config.json`, or both inside `processor_config.json`.

use std::path::Path;

use serde::Deserialize;
use twn_media::{VideoSpec, VisionSpec};

use super::{cursor::Problem, model_file, read_json};
use crate::{backbone::VisionConfig, error::EncoderError};

const IMAGE_FILE: &str = "preprocessor_config.json";
const VIDEO_FILE: &str = "video_preprocessor_config.json";
/// Where newer versions of transformers write both.
const BOTH_FILE: &str = "processor_config.json";

const BICUBIC: u32 = 3;
/// Bounds on what a file may ask for, so that later arithmetic is safe.
const PIXELS_MAX: u64 = 1 << 32;
const FRAMES_MAX: usize = 1 << 16;

/// How a model's processor prepares pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaSpecs {
    /// Images and pages.
    pub image: VisionSpec,
    /// Videos.
    pub video: VideoSpec,
}

/// What either file says.
#[derive(Debug, Default, Deserialize)]
struct Processor {
    size: Option<Edges>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    patch_size: Option<usize>,
    merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    rescale_factor: Option<f64>,
    resample: Option<u32>,
    fps: Option<f64>,
    num_frames: Option<usize>,
    min_frames: Option<usize>,
    max_frames: Option<usize>,
    cap_pixels_per_frame: Option<bool>,
    max_video_tokens: Option<u32>,
}

/// Pixels under other names.
#[derive(Debug, Deserialize)]
struct Edges {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Both {
    image_processor: Option<Processor>,
    video_processor: Option<Processor>,
}

/// Reads the files of a folder for a tower. What they leave out is as Qwen3-VL has it.
pub(super) fn read(folder: &Path, tower: &VisionConfig) -> Result<MediaSpecs, EncoderError> {
    let (image_path, video_path) = (folder.join(IMAGE_FILE), folder.join(VIDEO_FILE));
    let both_path = folder.join(BOTH_FILE);
    let both: Both = if both_path.is_file() { read_json(&both_path)? } else { Both::default() };
    let one = |path: &Path, other: Option<Processor>| {
        if path.is_file() { read_json(path) } else { Ok(other.unwrap_or_default()) }
    };
    let image = one(&image_path, both.image_processor)?;
    let video = one(&video_path, both.video_processor)?;
    let patch = VisionSpec {
        patch: tower.patch_size as u32,
        merge: tower.merge_size as u32,
        temporal_patch: tower.frames as u32,
        ..VisionSpec::QWEN3_VL
    };
    let image = vision_spec(&image, patch.clone(), tower)
        .map_err(|problem| model_file(&image_path, problem))?;
    let default = VideoSpec::QWEN3_VL;
    let VisionSpec { min_pixels, max_pixels, .. } = default.vision;
    let patch = VisionSpec { min_pixels, max_pixels, ..patch };
    let video = vision_spec(&video, patch, tower)
        .and_then(|vision| video_spec(&video, vision, default))
        .map_err(|problem| model_file(&video_path, problem))?;
    Ok(MediaSpecs { image, video })
}

fn vision_spec(
    parsed: &Processor,
    default: VisionSpec,
    tower: &VisionConfig,
) -> Result<VisionSpec, Problem> {
    refuse_variants(parsed)?;
    let sides = [
        ("patch_size", parsed.patch_size, tower.patch_size),
        ("merge_size", parsed.merge_size, tower.merge_size),
        ("temporal_patch_size", parsed.temporal_patch_size, tower.frames),
    ];
    for (name, got, want) in sides {
        if let Some(got) = got.filter(|&got| got != want) {
            return Err(format!("has `{name}` {got}, the vision tower has {want}"));
        }
    }
    if tower.channels != 3 {
        return Err(format!("the vision tower has {} channels; supported: 3", tower.channels));
    }
    let edges = parsed.size.as_ref();
    let min = parsed.min_pixels.or_else(|| edges.and_then(|edges| edges.shortest_edge));
    let max = parsed.max_pixels.or_else(|| edges.and_then(|edges| edges.longest_edge));
    let spec = VisionSpec {
        mean: parsed.image_mean.unwrap_or(default.mean),
        std: parsed.image_std.unwrap_or(default.std),
        min_pixels: min.unwrap_or(default.min_pixels),
        max_pixels: max.unwrap_or(default.max_pixels),
        ..default
    };
    if spec.min_pixels > spec.max_pixels || !(1..=PIXELS_MAX).contains(&spec.max_pixels) {
        return Err(format!(
            "bounds images to {} to {} pixels, which cannot be",
            spec.min_pixels, spec.max_pixels
        ));
    }
    let is_usable = |values: [f32; 3]| values.iter().all(|value| value.is_finite());
    if !is_usable(spec.mean) || !is_usable(spec.std) || spec.std.iter().any(|&value| value <= 0.0) {
        return Err("has a mean or a deviation that is no number above 0".to_owned());
    }
    Ok(spec)
}

fn video_spec(
    parsed: &Processor,
    vision: VisionSpec,
    default: VideoSpec,
) -> Result<VideoSpec, Problem> {
    if parsed.num_frames.is_some() {
        return Err("sets `num_frames`, which is not supported; `fps` is".to_owned());
    }
    let is_capped = parsed.cap_pixels_per_frame == Some(true);
    let spec = VideoSpec {
        vision,
        fps: parsed.fps.unwrap_or(default.fps),
        min_frames: parsed.min_frames.unwrap_or(default.min_frames),
        max_frames: parsed.max_frames.unwrap_or(default.max_frames),
        frame_tokens_max: is_capped.then(|| parsed.max_video_tokens.unwrap_or(768)),
    };
    if !(spec.fps.is_finite() && spec.fps > 0.0) {
        return Err(format!("samples {} frames a second", spec.fps));
    }
    if spec.min_frames > spec.max_frames || !(1..=FRAMES_MAX).contains(&spec.max_frames) {
        return Err(format!(
            "samples {} to {} frames, which cannot be",
            spec.min_frames, spec.max_frames
        ));
    }
    Ok(spec)
}

/// Refuses what such a file can say but is not done here.
fn refuse_variants(parsed: &Processor) -> Result<(), Problem> {
    let switches = [
        ("do_resize", parsed.do_resize),
        ("do_rescale", parsed.do_rescale),
        ("do_normalize", parsed.do_normalize),
    ];
    if let Some((name, _)) = switches.iter().find(|(_, value)| *value == Some(false)) {
        return Err(format!("sets `{name}` to false, which is not supported"));
    }
    if let Some(factor) = parsed.rescale_factor.filter(|factor| (factor * 255.0 - 1.0).abs() > 1e-6)
    {
        return Err(format!("rescales by {factor}; supported: 1 / 255"));
    }
    match parsed.resample {
        None | Some(BICUBIC) => Ok(()),
        Some(other) => Err(format!("resamples by method {other}; supported: {BICUBIC}, bicubic")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tower() -> VisionConfig {
        VisionConfig {
            depth: 1,
            hidden_size: 8,
            intermediate_size: 8,
            heads: 1,
            channels: 3,
            patch_size: 16,
            merge_size: 2,
            frames: 2,
            positions: 4,
            deepstack: Vec::new(),
            image_token: 0,
            video_token: 1,
        }
    }

    fn specs(files: &[(&str, Value)]) -> Result<MediaSpecs, String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in files {
            fs_err::write(folder.path().join(name), value.to_string()).expect("is written");
        }
        read(folder.path(), &tower()).map_err(|error| error.to_string())
    }

    #[test]
    fn published_files_give_the_published_values() {
        let published = MediaSpecs { image: VisionSpec::QWEN3_VL, video: VideoSpec::QWEN3_VL };
        assert_eq!(specs(&[]), Ok(published.clone()), "nothing said");
        let half = json!([0.5, 0.5, 0.5]);
        let image = json!({
            "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536}, "patch_size": 16,
            "temporal_patch_size": 2, "merge_size": 2, "image_mean": half, "image_std": half,
            "image_processor_type": "Qwen2VLImageProcessorFast", "resample": 3, "do_resize": null,
        });
        let video = json!({
            "size": {"longest_edge": 25_165_824, "shortest_edge": 4096}, "patch_size": 16,
            "temporal_patch_size": 2, "merge_size": 2, "image_mean": half, "image_std": half,
            "video_processor_type": "Qwen3VLVideoProcessor", "fps": 2, "num_frames": null,
        });
        let apart = [(IMAGE_FILE, image.clone()), (VIDEO_FILE, video.clone())];
        assert_eq!(specs(&apart), Ok(published.clone()));
        let both = json!({"image_processor": image, "video_processor": video});
        assert_eq!(specs(&[(BOTH_FILE, both)]), Ok(published));
    }

    #[test]
    fn older_names_of_the_bounds_count() {
        let file = json!({"min_pixels": 3136, "max_pixels": 50_000, "size": {"longest_edge": 7}});
        let image = specs(&[(IMAGE_FILE, file)]).expect("is read").image;
        assert_eq!((image.min_pixels, image.max_pixels), (3136, 50_000));
    }

    #[test]
    fn what_is_not_done_here_is_refused() {
        let cases = [
            (IMAGE_FILE, json!({"patch_size": 14}), "has `patch_size` 14, the vision tower has 16"),
            (IMAGE_FILE, json!({"do_rescale": false}), "sets `do_rescale` to false"),
            (IMAGE_FILE, json!({"rescale_factor": 1.0}), "rescales by 1"),
            (IMAGE_FILE, json!({"resample": 2}), "resamples by method 2"),
            (IMAGE_FILE, json!({"min_pixels": 9, "max_pixels": 8}), "9 to 8 pixels"),
            (IMAGE_FILE, json!({"max_pixels": 1_u64 << 40}), "which cannot be"),
            (IMAGE_FILE, json!({"image_std": [0.5, 0.0, 0.5]}), "deviation"),
            (IMAGE_FILE, json!({"patch_size": "big"}), "preprocessor_config.json"),
            (VIDEO_FILE, json!({"num_frames": 8}), "sets `num_frames`"),
            (VIDEO_FILE, json!({"fps": 0}), "samples 0 frames"),
            (VIDEO_FILE, json!({"min_frames": 9, "max_frames": 8}), "samples 9 to 8 frames"),
        ];
        for (name, value, want) in cases {
            let problem = specs(&[(name, value)]).expect_err(want);
            assert!(problem.contains(want), "{problem}");
        }
    }
}
