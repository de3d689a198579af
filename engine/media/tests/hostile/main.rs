//! Files that mean harm: truncated, mutated, bombs, of other formats, too large. Each
//! gives an error or an image, never a panic, and in bounded time and memory.

mod images;
mod pages;
mod videos;

use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs_err::read(folder.join(name)).expect("fixture")
}

fn fixtures(extensions: &[&str]) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = fs_err::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| extensions.iter().any(|extension| name.ends_with(extension)))
        .map(|name| (name.clone(), fixture(&name)))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Runs the same cases every time, so that what fails once fails again.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Changes a few bytes, cuts the end off, or doubles a stretch.
fn mutated(file: &[u8], (at, value, cut, repeat): (usize, [u8; 4], usize, bool)) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for (i, value) in value.iter().enumerate() {
        let place = (at + i * (at % 7 + 1)) % bytes.len();
        bytes[place] ^= value;
    }
    if repeat {
        let stretch = bytes[at % bytes.len()..].to_vec();
        bytes.extend(stretch);
    }
    if cut % 4 == 0 {
        bytes.truncate(cut % (bytes.len() + 1));
    }
    bytes
}
