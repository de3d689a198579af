//! Compiles `twn/v1/*.proto` with protox, so that no `protoc` need be installed.

use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed=twn/v1");

    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("twn/v1"))? {
        files.push(entry?.path());
    }
    files.sort();

    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    write_descriptors(&out.join("twn_descriptor.bin"), &descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

fn write_descriptors(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)
}
