//! Sealed Arrow IPC files, mapped and decoded in place.
//!
//! Written uncompressed with every buffer aligned to 64 bytes, so that decoding
//! a record batch is arithmetic on the map and copies no column. Before the
//! decoder sees anything, the checksum of just that part is compared: opening
//! costs the footer and the descriptions of the batches, not their data.

use super::sections::map_sized;
use crate::{
    durable::{DurableFile, map_file},
    error::IndexError,
    manifest::{ArrowEntry, BlockEntry, FileEntry},
};
use arrow::{
    array::RecordBatch,
    buffer::Buffer,
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
    io::BufWriter,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The length of the footer and the magic, which end the file.
const TRAILER_BYTES: usize = 10;

/// What every buffer's start is a multiple of.
pub(super) const ALIGNMENT: usize = 64;

/// Writes batches as one fsynced file and returns its checksums.
pub(super) fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<ArrowEntry, IndexError> {
    let arrow_error = |source| IndexError::Arrow { path: path.to_path_buf(), source };
    let options =
        IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(arrow_error)?;
    let buffered = BufWriter::with_capacity(1 << 20, DurableFile::create(path)?);
    let mut writer =
        FileWriter::try_new_with_options(buffered, schema, options).map_err(arrow_error)?;
    for batch in batches {
        writer.write(&batch.map_err(arrow_error)?).map_err(arrow_error)?;
    }
    let buffered = writer.into_inner().map_err(arrow_error)?;
    let file = buffered.into_inner().map_err(|error| error.into_error())?;
    file.sync()?;
    drop(file);
    checksums(path)
}

/// Reads a file just written back for the checksums of its parts.
fn checksums(path: &Path) -> Result<ArrowEntry, IndexError> {
    let file = map_file(path)?;
    let footer = footer_bytes(path, &file)?;
    let blocks = blocks(path, &file, footer)?;
    let block_entry = |block: &Block| {
        let [head, body] = parts(block, file.len())?;
        Some(BlockEntry {
            head_crc32c: crc32c::crc32c(&file[head]),
            body_crc32c: crc32c::crc32c(&file[body]),
        })
    };
    let blocks = blocks.iter().map(block_entry).collect::<Option<Vec<_>>>();
    Ok(ArrowEntry {
        file: FileEntry { bytes: file.len() as u64, crc32c: crc32c::crc32c(&file) },
        footer_crc32c: crc32c::crc32c(&file[file.len() - footer - TRAILER_BYTES..]),
        blocks: blocks.ok_or_else(|| out_of_place(path))?,
    })
}

/// A mapped Arrow file whose footer and batch descriptions are as written.
#[derive(Debug)]
pub(super) struct ArrowFile {
    path: PathBuf,
    file: Buffer,
    decoder: FileDecoder,
    blocks: Vec<Block>,
    checksums: Vec<BlockEntry>,
    schema: SchemaRef,
}

impl ArrowFile {
    /// Maps a file and checks it against its entry and the schema it has to have.
    pub(super) fn open(
        path: &Path,
        entry: &ArrowEntry,
        schema: &SchemaRef,
    ) -> Result<Self, IndexError> {
        let file = map_sized(path, &entry.file)?;
        let footer = footer_bytes(path, &file)?;
        let trailer = &file[file.len() - footer - TRAILER_BYTES..];
        if crc32c::crc32c(trailer) != entry.footer_crc32c {
            return Err(IndexError::corrupt(path, "the checksum of its footer differs"));
        }
        let blocks = blocks(path, &file, footer)?;
        if blocks.len() != entry.blocks.len() {
            return Err(IndexError::corrupt(path, format!("it has {} batches", blocks.len())));
        }
        for (number, (block, sums)) in blocks.iter().zip(&entry.blocks).enumerate() {
            let [head, _] = parts(block, file.len()).ok_or_else(|| out_of_place(path))?;
            if crc32c::crc32c(&file[head]) != sums.head_crc32c {
                let problem = format!("the checksum of the head of batch {number} differs");
                return Err(IndexError::corrupt(path, problem));
            }
        }
        let (found_schema, version) = read_schema(path, &file, footer)?;
        if found_schema.fields() != schema.fields() {
            return Err(IndexError::corrupt(path, "its columns are not those expected"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            schema: Arc::clone(&found_schema),
            decoder: FileDecoder::new(found_schema, version).with_require_alignment(true),
            blocks,
            checksums: entry.blocks.clone(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the schema's metadata has under a key.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.schema.metadata().get(key).map(AsRef::as_ref)
    }

    /// Returns how many record batches there are.
    pub(super) fn batches(&self) -> usize {
        self.blocks.len()
    }

    /// Decodes a batch in place, without a look at its data.
    pub(super) fn decode(&self, number: usize) -> Result<RecordBatch, IndexError> {
        let block = &self.blocks[number];
        let [head, body] = parts(block, self.file.len()).ok_or_else(|| out_of_place(&self.path))?;
        let bytes = self.file.slice_with_length(head.start, body.end - head.start);
        self.decoder
            .read_record_batch(block, &bytes)
            .map_err(|source| IndexError::Arrow { path: self.path.clone(), source })?
            .ok_or_else(|| IndexError::corrupt(&self.path, format!("batch {number} is absent")))
    }

    /// Decodes a batch after comparing the checksum of its data.
    pub(super) fn decode_checked(&self, number: usize) -> Result<RecordBatch, IndexError> {
        let [_, body] =
            parts(&self.blocks[number], self.file.len()).ok_or_else(|| out_of_place(&self.path))?;
        if crc32c::crc32c(&self.file[body]) != self.checksums[number].body_crc32c {
            let problem = format!("the checksum of batch {number} differs");
            return Err(IndexError::corrupt(&self.path, problem));
        }
        self.decode(number)
    }

    /// Returns the addresses of the map, for tests that nothing was copied.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> std::ops::Range<usize> {
        let start = self.file.as_ptr() as usize;
        start..start + self.file.len()
    }
}

/// Returns the length of the footer, once it is sure to lie within the file.
fn footer_bytes(path: &Path, file: &Buffer) -> Result<usize, IndexError> {
    let trailer = file.last_chunk::<TRAILER_BYTES>();
    let length = trailer.and_then(|trailer| read_footer_length(*trailer).ok());
    match length {
        Some(length) if length <= file.len() - TRAILER_BYTES => Ok(length),
        _ => Err(IndexError::corrupt(path, "it does not end as an Arrow file does")),
    }
}

fn footer_slice(file: &Buffer, footer: usize) -> &[u8] {
    let end = file.len() - TRAILER_BYTES;
    &file[end - footer..end]
}

fn blocks(path: &Path, file: &Buffer, footer: usize) -> Result<Vec<Block>, IndexError> {
    let footer = root_as_footer(footer_slice(file, footer))
        .map_err(|error| IndexError::corrupt(path, error.to_string()))?;
    Ok(footer.recordBatches().map(|blocks| blocks.iter().copied().collect()).unwrap_or_default())
}

fn read_schema(
    path: &Path,
    file: &Buffer,
    footer: usize,
) -> Result<(SchemaRef, MetadataVersion), IndexError> {
    let footer = root_as_footer(footer_slice(file, footer))
        .map_err(|error| IndexError::corrupt(path, error.to_string()))?;
    let schema = footer.schema().ok_or_else(|| IndexError::corrupt(path, "it has no schema"))?;
    let schema = try_fb_to_schema(schema)
        .map_err(|source| IndexError::Arrow { path: path.to_path_buf(), source })?;
    Ok((Arc::new(schema), footer.version()))
}

/// Returns where a batch's description and its data lie, if within the file.
fn parts(block: &Block, file_length: usize) -> Option<[std::ops::Range<usize>; 2]> {
    let start = usize::try_from(block.offset()).ok()?;
    let middle = start.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
    let end = middle.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
    (end <= file_length).then_some([start..middle, middle..end])
}

fn out_of_place(path: &Path) -> IndexError {
    IndexError::corrupt(path, "a batch lies outside the file")
}
