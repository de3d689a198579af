//! What a vision tower wants to be fed.

/// How a still image becomes patches; the fields of a `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionSpec {
    /// Side of a patch, in pixels.
    pub patch: u32,
    /// Side of the square of patches that becomes one token, in patches.
    pub merge: u32,
    /// Frames in a patch; an image is repeated to as many.
    pub temporal_patch: u32,
    /// Mean of red, green and blue, on a scale of 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of the same.
    pub std: [f32; 3],
    /// Pixels an image is enlarged to at least (`size.shortest_edge`, `min_pixels`).
    pub min_pixels: u64,
    /// Pixels an image is shrunk to at most (`size.longest_edge`, `max_pixels`).
    pub max_pixels: u64,
}

impl VisionSpec {
    /// Qwen3-VL as published: 16 x 16 pixels a patch, 65,536 to 16,777,216 pixels.
    pub const QWEN3_VL: Self = Self {
        patch: 16,
        merge: 2,
        temporal_patch: 2,
        mean: [0.5; 3],
        std: [0.5; 3],
        min_pixels: 65_536,
        max_pixels: 16_777_216,
    };

    /// Qwen2-VL and Qwen2.5-VL as published: 14 x 14 pixels a patch, CLIP's mean and
    /// deviation, 3,136 to 12,845,056 pixels.
    pub const QWEN2_VL: Self = Self {
        patch: 14,
        merge: 2,
        temporal_patch: 2,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        min_pixels: 3_136,
        max_pixels: 12_845_056,
    };

    /// Side of a token, in pixels.
    pub fn factor(&self) -> u32 {
        self.patch * self.merge
    }

    /// Values of one patch: channels x frames x rows x columns.
    pub fn patch_values(&self) -> usize {
        3 * self.temporal_patch as usize * (self.patch * self.patch) as usize
    }
}

/// How a video becomes patches; the fields of a `video_preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoSpec {
    /// As for images, but the pixel bounds hold for all sampled frames together.
    pub vision: VisionSpec,
    /// Frames sampled a second.
    pub fps: f64,
    /// The fewest frames sampled of a longer video.
    pub min_frames: usize,
    /// The most frames sampled.
    pub max_frames: usize,
    /// Bounds each frame to so many tokens, and to its even share of `max_pixels`
    /// (`cap_pixels_per_frame` with `max_video_tokens`, as qwen-vl-utils does); `None`
    /// bounds only all frames together, as transformers does today.
    pub frame_tokens_max: Option<u32>,
}

impl VideoSpec {
    /// Qwen3-VL as published: 2 frames a second, 4 to 768 frames, 4,096 to 25,165,824
    /// pixels over all frames.
    pub const QWEN3_VL: Self = Self {
        vision: VisionSpec { min_pixels: 4_096, max_pixels: 25_165_824, ..VisionSpec::QWEN3_VL },
        fps: 2.0,
        min_frames: 4,
        max_frames: 768,
        frame_tokens_max: None,
    };
}
