#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use twn_encoder::model::TorchFile;

// A corpus to begin with: engine/encoder/tests/fixtures/pt.
fuzz_target!(|bytes: &[u8]| {
    let _ = TorchFile::parse(Path::new("some.pt"), bytes);
});
