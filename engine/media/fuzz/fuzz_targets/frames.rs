#![no_main]

use libfuzzer_sys::fuzz_target;
use twn_media::{Limits, VideoSpec, decode_frames};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { image_pixels_max: 1 << 18, ..Limits::default() };
    let files: Vec<Vec<u8>> = bytes.split(|&byte| byte == 0xfe).map(<[u8]>::to_vec).collect();
    if let Ok(frames) = decode_frames(&files, 4.0, &VideoSpec::QWEN3_VL, &limits) {
        let _ = frames.patches();
    }
});
