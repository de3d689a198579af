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
    csv, jsonl, media,
    record::{Bounds, Place, Record},
    text,
};

const BUFFER_BYTES: usize = 256 << 10;
const STDIN: &str = "-";
/// Enough to read a page's small print by.
pub(crate) const PAGE_DPI: f32 = 150.0;

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
    /// Images, one document each, and PDF files, one document a page.
    Media,
}

/// Which fields of JSONL and columns of CSV mean what.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    /// The document's id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// CSV values that are numbers are stored as numbers.
    pub numbers: bool,
    /// Resolution that PDF pages are rendered at, in dots per inch.
    pub page_dpi: f32,
}

impl Default for Fields {
    fn default() -> Self {
        Self { id: "id".to_owned(), text: "text".to_owned(), numbers: false, page_dpi: PAGE_DPI }
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
    Folder { root: PathBuf, files: Vec<PathBuf>, format: Format },
}

impl Source {
    /// Finds a source: `-`, a file, or a folder. Without a format, a file's ending tells
    /// it, standard input is JSONL, and a folder is read for its plain text or, if it has
    /// none, for its images and PDF files.
    ///
    /// # Errors
    /// Fails when nothing is there, and when the ending says nothing.
    pub fn find(path: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        if path == Path::new(STDIN) {
            let format = format.unwrap_or(Format::Jsonl);
            if matches!(format, Format::Text | Format::Media) {
                bail!("standard input can be JSONL or CSV, not plain text or media");
            }
            return Ok(Self { kind: Kind::Stdin(format), bytes: None });
        }
        let metadata = fs_err::metadata(path)?;
        if metadata.is_dir() {
            let (files, format) = list(path, format)?;
            if files.is_empty() {
                let wanted = "no plain text (.txt, .md, …), images or PDF files";
                bail!("{} has {wanted} in it", path.display());
            }
            let sizes = files.iter().map(|file| fs_err::metadata(file).map_or(0, |m| m.len()));
            let bytes = Some(sizes.sum());
            return Ok(Self { kind: Kind::Folder { root: path.to_owned(), files, format }, bytes });
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
            Kind::File { path, format: Format::Media } => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                Ok(read_media(path, &name, (fields, bounds), position, emit))
            }
            Kind::File { path, format } => {
                let reader = counted(fs_err::File::open(path)?, position);
                let name = path.to_string_lossy().as_ref().into();
                read_rows(reader, name, *format, fields, bounds, emit)
            }
            Kind::Folder { root, files, format } => {
                for file in files {
                    let id = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
                    let flow = match format {
                        Format::Media => read_media(file, &id, (fields, bounds), position, emit),
                        _ => emit(read_text(file, &id, bounds, position)),
                    };
                    if flow.is_break() {
                        return Ok(flow);
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
    if media::is_media(path) {
        return Some(Format::Media);
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
        Format::Jsonl | Format::Text | Format::Media => {
            jsonl::read(reader, &file, fields, bounds, emit)
        }
    }
}

/// Lists what a folder has of a format, or of the first of text and media that it has.
fn list(folder: &Path, format: Option<Format>) -> anyhow::Result<(Vec<PathBuf>, Format)> {
    let texts = || text::list(folder, text::is_text);
    let media = || text::list(folder, media::is_media);
    match format {
        Some(Format::Text) => Ok((texts()?, Format::Text)),
        Some(Format::Media) => Ok((media()?, Format::Media)),
        None => match texts()? {
            found if found.is_empty() => Ok((media()?, Format::Media)),
            found => Ok((found, Format::Text)),
        },
        Some(Format::Jsonl | Format::Csv | Format::Tsv) => {
            bail!("{} is a folder, which can only be of plain text or media", folder.display())
        }
    }
}

/// Reads an image as one record, or a PDF file as one for each page.
fn read_media(
    path: &Path,
    id: &str,
    (fields, bounds): (&Fields, Bounds),
    position: &AtomicU64,
    emit: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let file: Arc<str> = path.to_string_lossy().as_ref().into();
    let flow = media::read(path, id, fields.page_dpi, &mut |draft| {
        let document = draft.and_then(|draft| draft.finish(bounds));
        emit(Record { place: Place { file: Arc::clone(&file), line: None }, document })
    });
    position.fetch_add(fs_err::metadata(path).map_or(0, |m| m.len()), Ordering::Relaxed);
    flow
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
        assert!(refused(folder.path(), None).contains("has no plain text"));
        assert!(refused(folder.path(), Some(Format::Csv)).contains("is a folder"));
        assert!(refused(Path::new("-"), Some(Format::Text)).contains("standard input"));
        assert!(refused(&folder.path().join("gone"), None).contains("gone"));
        assert!(Source::find(&path, Some(Format::Jsonl)).is_ok());
    }
}
