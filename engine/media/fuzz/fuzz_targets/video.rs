//! Fuzzes what recognises a film and talks to `ffmpeg`, which must be installed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use twn_media::{Ffmpeg, Limits, VideoSpec, sample_video_file};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { video_time_max: Duration::from_secs(2), ..Limits::default() };
    let _ = sample_video_file(bytes, &VideoSpec::QWEN3_VL, &limits, &Ffmpeg::default());
});
