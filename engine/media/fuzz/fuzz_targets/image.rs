#![no_main]

use libfuzzer_sys::fuzz_target;
use twn_media::{Limits, VisionSpec, decode_image, preprocess_image};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { image_pixels_max: 1 << 20, ..Limits::default() };
    if let Ok(image) = decode_image(bytes, &limits) {
        let spec = VisionSpec { max_pixels: 65_536, ..VisionSpec::QWEN3_VL };
        let _ = preprocess_image(&image, &spec);
    }
});
