//! Opening and pulling models: what is accepted, what is refused, what is hostile.

mod folder;
mod gguf;
mod gguf_writer;
mod pull;
mod weights;

use std::path::{Path, PathBuf};

use twn_encoder::{Checkpoint, model};

/// The small model of the repository.
fn tiny_llama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

fn open_tiny_llama() -> Checkpoint {
    model::open(&tiny_llama()).expect("the fixture opens")
}

/// Asserts that opening fails with all of `words` in the message.
#[track_caller]
fn assert_refused(path: &Path, words: &[&str]) {
    let Err(error) = model::open(path) else { panic!("{} was accepted", path.display()) };
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}
