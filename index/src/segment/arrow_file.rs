//! Sealed Arrow IPC files, mapped and decoded in place.
//!
//! Written uncompressed with every buffer aligned to 64 bytes, so that decoding
//! a record batch is arithmetic on the map and copies no column. The decoder sees
//! nothing that was not compared with its checksum: opening costs the footer,
//! and a batch its description, and its data where they are decoded with it.

use crate::{
    checked::CheckedFile,
    durable::{DurableFile, InPieces},
    error::IndexError,
    manifest::FileEntry,
};
use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        Block, MetadataVersion,
        convert::try_fb_to_schema,
        reader::{FileDecoder, read_footer_length},
        root_as_footer,
        writer::{FileWriter, IpcWriteOptions},
    },
};
use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

/// The length of the footer and the magic, which end the file.
const TRAILER_BYTES: usize = 10;

/// What every buffer's start is a multiple of.
pub(super) const ALIGNMENT: usize = 64;

/// Writes batches as one fsynced file.
pub(super) fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<FileEntry, IndexError> {
    let arrow_error = |source| IndexError::Arrow { path: path.to_path_buf(), source };
    let options =
        IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(arrow_error)?;
    let entry = FileEntry { bytes: 0, crc32c: 0 };
    let summed = Summed { file: DurableFile::create(path)?, entry };
    let pieces = InPieces::new(summed);
    let mut writer =
        FileWriter::try_new_with_options(pieces, schema, options).map_err(arrow_error)?;
    for batch in batches {
        writer.write(&batch.map_err(arrow_error)?).map_err(arrow_error)?;
    }
    let Summed { file, entry } = writer.into_inner().map_err(arrow_error)?.finish()?;
    file.sync()?;
    Ok(entry)
}

/// A file that keeps its length and checksum as it grows.
struct Summed {
    file: DurableFile,
    entry: FileEntry,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.entry.bytes += written as u64;
        self.entry.crc32c = crc32c::crc32c_append(self.entry.crc32c, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A mapped Arrow file whose footer is as written.
#[derive(Debug)]
pub(super) struct ArrowFile {
    file: Arc<CheckedFile>,
    decoder: FileDecoder,
    blocks: Vec<Block>,
    schema: SchemaRef,
}

impl ArrowFile {
    /// Reads the footer of a file that has to have a schema.
    pub(super) fn open(file: &Arc<CheckedFile>, schema: &SchemaRef) -> Result<Self, IndexError> {
        let (path, length) = (file.path(), file.bytes().len());
        let corrupt = |problem: &str| IndexError::corrupt(path, problem);
        let arrow_error = |source| IndexError::Arrow { path: path.to_path_buf(), source };
        let trailer = length.checked_sub(TRAILER_BYTES);
        let no_end = || corrupt("it does not end as an Arrow file does");
        let trailer = trailer.ok_or_else(no_end)?;
        file.ensure(trailer..length)?;
        let ending = file.bytes().last_chunk::<TRAILER_BYTES>();
        let footer = ending.and_then(|ending| read_footer_length(*ending).ok());
        let footer = footer.and_then(|footer| trailer.checked_sub(footer)).ok_or_else(no_end)?;
        file.ensure(footer..trailer)?;
        let footer = root_as_footer(&file.bytes()[footer..trailer])
            .map_err(|error| corrupt(&error.to_string()))?;
        let blocks: Vec<Block> = footer
            .recordBatches()
            .map(|blocks| blocks.iter().copied().collect())
            .unwrap_or_default();
        let found_schema = footer.schema().ok_or_else(|| corrupt("it has no schema"))?;
        let found_schema = Arc::new(try_fb_to_schema(found_schema).map_err(arrow_error)?);
        if found_schema.fields() != schema.fields() {
            return Err(corrupt("its columns are not those expected"));
        }
        Ok(Self {
            file: Arc::clone(file),
            schema: Arc::clone(&found_schema),
            decoder: FileDecoder::new(found_schema, footer.version()).with_require_alignment(true),
            blocks,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns what the schema's metadata has under a key.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.schema.metadata().get(key).map(AsRef::as_ref)
    }

    /// Returns where the record batches lie.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Decodes a batch in place, without a look at its data.
    pub(super) fn decode(&self, number: usize) -> Result<RecordBatch, IndexError> {
        let [start, middle, end] = self.parts(number)?;
        self.file.ensure(start..middle)?;
        let bytes = self.file.bytes().slice_with_length(start, end - start);
        self.decoder
            .read_record_batch(&self.blocks[number], &bytes)
            .map_err(|source| IndexError::Arrow { path: self.path().to_path_buf(), source })?
            .ok_or_else(|| IndexError::corrupt(self.path(), format!("batch {number} is absent")))
    }

    /// Decodes a batch after verifying its data.
    pub(super) fn decode_checked(&self, number: usize) -> Result<RecordBatch, IndexError> {
        let [start, _, end] = self.parts(number)?;
        self.file.ensure(start..end)?;
        self.decode(number)
    }

    /// Returns where a batch's description starts, where its data do and where
    /// these end, all within the file.
    fn parts(&self, number: usize) -> Result<[usize; 3], IndexError> {
        let parts = self.blocks.get(number).and_then(|block| {
            let start = usize::try_from(block.offset()).ok()?;
            let middle = start.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
            let end = middle.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
            (end <= self.file.bytes().len()).then_some([start, middle, end])
        });
        parts.ok_or_else(|| IndexError::corrupt(self.path(), "a batch lies outside the file"))
    }
}
