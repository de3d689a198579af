//! Where documents come from: files, folders and standard input.

use std::{
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::{
    csv, jsonl,
    record::{Bounds, Place, Record},
    text,
};

const BUFFER_BYTES: usize = 256 << 10;
const STDIN: &str = "-";

/// How a source is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header row.
    Csv,
    /// Tab-separated values with a header row.
    Tsv,
    /// Plain text, one document a file.
    Text,
}

/// Which fields of JSONL and columns of CSV mean what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The document's id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// CSV values that are numbers are stored as numbers.
    pub numbers: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Self { id: "id".to_owned(), text: "text".to_owned(), numbers: false }
    }
}

/// A source of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    kind: Kind,
    bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Stdin(Format),
    File { path: PathBuf, format: Format },
    Folder { root: PathBuf, files: Vec<PathBuf> },
}

impl Source {
    /// Finds a source: `-`, a file, or a folder of plain text. Without a format, a file's
    /// ending tells it and standard input is JSONL.
    ///
    /// # Errors
    /// Fails when nothing is there, and when the ending says nothing.
    pub fn find(path: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        if path == Path::new(STDIN) {
            let format = format.unwrap_or(Format::Jsonl);
            if format == Format::Text {
                bail!("standard input can be JSONL or CSV, not plain text");
            }
            return Ok(Self { kind: Kind::Stdin(format), bytes: None });
        }
        let metadata = fs_err::metadata(path)?;
        if metadata.is_dir() {
            if !matches!(format, None | Some(Format::Text)) {
                bail!("{} is a folder, which can only be of plain text", path.display());
            }
            let files = text::list(path)?;
            if files.is_empty() {
                bail!("{} has no plain text in it (.txt, .md, …)", path.display());
            }
            let sizes = files.iter().map(|file| fs_err::metadata(file).map_or(0, |m| m.len()));
            let bytes = Some(sizes.sum());
            return Ok(Self { kind: Kind::Folder { root: path.to_owned(), files }, bytes });
        }
        let format = format.or_else(|| format_of(path)).with_context(|| {
            format!("the ending of {} says nothing; add `--format`", path.display())
        })?;
        // Pipes and devices have no length.
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Self { kind: Kind::File { path: path.to_owned(), format }, bytes })
    }

    /// Bytes there are to read, where that can be told.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// What the source is called, the same in every run; `None` for standard input.
    pub fn identity(&self) -> Option<PathBuf> {
        let path = match &self.kind {
            Kind::Stdin(_) => return None,
            Kind::File { path, .. } => path,
            Kind::Folder { root, .. } => root,
        };
        Some(fs_err::canonicalize(path).unwrap_or_else(|_| path.clone()))
    }

    /// Reads records until the end, or until `emit` breaks off, and adds to `position`
    /// the bytes that were read.
    ///
    /// # Errors
    /// Fails when a file can't be read; faults within are records of their own.
    pub fn read(
        &self,
        fields: &Fields,
        bounds: Bounds,
        position: &Arc<AtomicU64>,
        emit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        match &self.kind {
            Kind::Stdin(format) => {
                let reader = counted(io::stdin().lock(), position);
                read_rows(reader, STDIN.into(), *format, fields, bounds, emit)
            }
            Kind::File { path, format: Format::Text } => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                Ok(emit(read_text(path, &name.to_string_lossy(), bounds, position)))
            }
            Kind::File { path, format } => {
                let reader = counted(fs_err::File::open(path)?, position);
                let name = path.to_string_lossy().as_ref().into();
                read_rows(reader, name, *format, fields, bounds, emit)
            }
            Kind::Folder { root, files } => {
                for file in files {
                    let id = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
                    if emit(read_text(file, &id, bounds, position)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }
}

fn format_of(path: &Path) -> Option<Format> {
    if text::is_text(path) {
        return Some(Format::Text);
    }
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        _ => None,
    }
}

fn read_rows(
    reader: impl BufRead,
    file: Arc<str>,
    format: Format,
    fields: &Fields,
    bounds: Bounds,
    emit: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    match format {
        Format::Csv => csv::read(reader, &file, b',', fields, bounds, emit),
        Format::Tsv => csv::read(reader, &file, b'\t', fields, bounds, emit),
        Format::Jsonl | Format::Text => jsonl::read(reader, &file, fields, bounds, emit),
    }
}

fn read_text(path: &Path, id: &str, bounds: Bounds, position: &AtomicU64) -> Record {
    let document = text::read(path, id, bounds).and_then(|draft| draft.finish(bounds));
    position.fetch_add(fs_err::metadata(path).map_or(0, |m| m.len()), Ordering::Relaxed);
    Record { place: Place { file: path.to_string_lossy().as_ref().into(), line: None }, document }
}

fn counted<R: Read>(reader: R, position: &Arc<AtomicU64>) -> BufReader<Counted<R>> {
    BufReader::with_capacity(BUFFER_BYTES, Counted { reader, position: Arc::clone(position) })
}

/// Counts what is read through it.
struct Counted<R> {
    reader: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.position.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { message_bytes: 10_000, text_bytes: 1_000 };

    fn ids(path: &Path) -> (Vec<String>, u64) {
        let source = Source::find(path, None).unwrap();
        let (mut ids, position) = (Vec::new(), Arc::default());
        let mut keep = |record: Record| {
            ids.push(record.document.map_or_else(|problem| problem, |document| document.id));
            ControlFlow::Continue(())
        };
        let ended = source.read(&Fields::default(), BOUNDS, &position, &mut keep).unwrap();
        assert!(ended.is_continue());
        let read = position.load(Ordering::Relaxed);
        assert_eq!(source.bytes(), Some(read), "{}", path.display());
        (ids, read)
    }

    #[test]
    fn every_format_is_found_by_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            path
        };
        assert_eq!(ids(&write("a.jsonl", "{\"id\":\"a\",\"text\":\"t\"}\n")).0, ["a"]);
        assert_eq!(ids(&write("a.CSV", "id,text\nb,t\n")).0, ["b"]);
        assert_eq!(ids(&write("a.tsv", "id\ttext\nc\tt\n")).0, ["c"]);
        assert_eq!(ids(&write("notes/deep/a.md", "# t")).0, ["a.md"]);
        write("notes/b.txt", "text");
        assert_eq!(
            ids(&folder.path().join("notes")),
            (vec!["b.txt".into(), "deep/a.md".into()], 7)
        );
        assert_eq!(ids(&write("empty.jsonl", "")).0, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs_err::write(&path, "x").unwrap();
        let refused = |path: &Path, format| Source::find(path, format).unwrap_err().to_string();
        assert!(refused(&path, None).contains("--format"));
        assert!(refused(folder.path(), None).contains("no plain text"));
        assert!(refused(folder.path(), Some(Format::Csv)).contains("is a folder"));
        assert!(refused(Path::new("-"), Some(Format::Text)).contains("standard input"));
        assert!(refused(&folder.path().join("gone"), None).contains("gone"));
        assert!(Source::find(&path, Some(Format::Jsonl)).is_ok());
    }
}
