//! The container of every sealed file that is not Arrow: a header, a table of
//! sections, and the sections, each aligned to 64 bytes so that it can be used
//! in place as an array of numbers.
//!
//! ```text
//! magic u64 | format u32 | sections u32 | (start u64, length u64) * sections | ...
//! ```
//! Its blocks have checksums, which are compared as they are read (see
//! [`crate::checked`]): at the opening those of the head and the table.

use crate::{
    checked::{CheckedArray, CheckedFile},
    codec::Reader,
    durable::write_file,
    error::IndexError,
    manifest::FileEntry,
};
use arrow::datatypes::ArrowNativeType;
use std::{ops::Range, path::Path, sync::Arc};

/// Bytes before the table of sections.
const HEAD_BYTES: usize = 16;

/// Bytes of one entry of that table.
const SPAN_BYTES: usize = 16;

/// The version of every format made of sections.
const FORMAT: u32 = 1;

/// What a start is a multiple of: a cache line, and Arrow's own alignment.
const ALIGNMENT: usize = 64;

/// The most sections a file may have; a graph has four for each of its layers.
const MAX_SECTIONS: u32 = 256;

const _: () = assert!(cfg!(target_endian = "little"), "sealed files are read in place");

/// Which of the files it is; opens the file, so that one is never read as another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SectionKind {
    Filters,
    Graph,
    Ids,
    Partitions,
}

impl SectionKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Filters => b"TWN-FLT\n",
            Self::Graph => b"TWN-GRA\n",
            Self::Ids => b"TWN-IDS\n",
            Self::Partitions => b"TWN-PAR\n",
        }
    }
}

/// Collects sections and writes them as one file.
pub(crate) struct SectionWriter {
    kind: SectionKind,
    body: Vec<u8>,
    spans: Vec<Range<usize>>,
}

impl SectionWriter {
    pub(crate) fn new(kind: SectionKind) -> Self {
        Self { kind, body: Vec::new(), spans: Vec::new() }
    }

    /// Adds the next section.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
        let start = self.body.len();
        self.body.extend_from_slice(bytes);
        self.spans.push(start..self.body.len());
    }

    /// Writes and fsyncs the file.
    pub(crate) fn write(self, path: &Path) -> Result<FileEntry, IndexError> {
        let count = self.spans.len();
        let head_length = (HEAD_BYTES + SPAN_BYTES * count).next_multiple_of(ALIGNMENT);
        let mut bytes = Vec::with_capacity(head_length);
        bytes.extend_from_slice(self.kind.magic());
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        for span in &self.spans {
            bytes.extend_from_slice(&((head_length + span.start) as u64).to_le_bytes());
            bytes.extend_from_slice(&(span.len() as u64).to_le_bytes());
        }
        bytes.resize(head_length, 0);
        // Not into a second copy of the body, which may be large.
        let head = std::mem::replace(&mut bytes, self.body);
        bytes.splice(0..0, head);
        write_file(path, &bytes)?;
        Ok(FileEntry { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) })
    }
}

/// A mapped file of sections.
pub(crate) struct Sections {
    file: Arc<CheckedFile>,
    spans: Vec<Range<usize>>,
}

impl Sections {
    /// Reads the head of a file after checking it, its kind and format.
    pub(crate) fn read(file: &Arc<CheckedFile>, kind: SectionKind) -> Result<Self, IndexError> {
        let path = file.path();
        let corrupt = || IndexError::corrupt(path, "its sections do not add up");
        file.ensure(0..HEAD_BYTES)?;
        let mut reader = Reader::new(file.bytes());
        let magic = reader.take(8).ok_or_else(corrupt)?;
        if magic != kind.magic() {
            return Err(IndexError::corrupt(path, format!("it is no file of kind {kind:?}")));
        }
        let found = reader.u32().ok_or_else(corrupt)?;
        if found > FORMAT {
            let path = path.to_path_buf();
            return Err(IndexError::NewerFormat { path, found, supported: FORMAT });
        }
        let count = reader.u32().filter(|&count| count <= MAX_SECTIONS).ok_or_else(corrupt)?;
        file.ensure(HEAD_BYTES..HEAD_BYTES + SPAN_BYTES * count as usize)?;
        let spans = (0..count).map(|_| {
            let start = usize::try_from(reader.u64()?).ok()?;
            let end = start.checked_add(usize::try_from(reader.u64()?).ok()?)?;
            (end <= file.bytes().len() && start.is_multiple_of(ALIGNMENT)).then_some(start..end)
        });
        let spans = spans.collect::<Option<Vec<_>>>().ok_or_else(corrupt)?;
        Ok(Self { file: Arc::clone(file), spans })
    }

    /// Returns how many sections there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns a section as an array in place.
    pub(crate) fn array<T: ArrowNativeType>(
        &self,
        section: usize,
    ) -> Result<CheckedArray<T>, IndexError> {
        let path = self.file.path();
        let Some(span) = self.spans.get(section) else {
            return Err(IndexError::corrupt(path, format!("it has no section {section}")));
        };
        CheckedArray::of_file(&self.file, span.clone()).ok_or_else(|| {
            let size = size_of::<T>();
            let problem = format!("section {section} is no array of {size}-byte values");
            IndexError::corrupt(path, problem)
        })
    }
}
