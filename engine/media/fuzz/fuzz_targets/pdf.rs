#![no_main]

use libfuzzer_sys::fuzz_target;
use twn_media::{Limits, Pdf};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { image_pixels_max: 1 << 20, ..Limits::default() };
    if let Ok(pdf) = Pdf::open(bytes, &limits) {
        for page in 0..pdf.pages().min(4) {
            let _ = pdf.render(page as u32, 36.0);
        }
    }
});
