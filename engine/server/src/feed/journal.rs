//! The journal of an ingest: what the server has acknowledged so far.
//!
//! One text file: a first line that names the collection as it was created, then the
//! digest of every acknowledged document, one a line. An ingest that was interrupted
//! skips what is in it; one that ended well takes it away. The server knows unchanged
//! documents by itself, so a lost journal costs time and nothing else.

use std::{
    collections::HashSet,
    fs::TryLockError,
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use sha2::{Digest, Sha256};
use twn_protos::v1 as pb;

use super::record::{digest, hex};

const KEY_BYTES: usize = 16;
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// What a document is known by: the beginning of its digest.
pub(crate) type Key = [u8; KEY_BYTES];

/// The journal of an ingest.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Locked while this ingest runs.
    file: fs_err::File,
    acknowledged: HashSet<Key>,
    unwritten: String,
    written_at: Instant,
}

/// Where the journal of an ingest is kept: the same sources into the same collection in
/// the same way have the same one.
pub fn journal_path(home: &Path, collection: &str, sources: &[PathBuf], way: &str) -> PathBuf {
    let mut hasher = Sha256::new();
    for part in [collection, way] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    for source in sources {
        let source = source.as_os_str().as_encoded_bytes();
        hasher.update((source.len() as u64).to_le_bytes());
        hasher.update(source);
    }
    home.join("ingest").join(format!("{}.journal", hex(&hasher.finalize()[..KEY_BYTES])))
}

impl Journal {
    /// Opens the journal of an ingest into `collection`; what was noted for another
    /// collection of the same name is forgotten.
    ///
    /// # Errors
    /// Fails when another process is at the same ingest, or the file can't be used.
    pub fn open(path: &Path, collection: &pb::Collection) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let file = fs_err::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another process is ingesting the same; {} is locked", path.display())
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let header = header(collection);
        let acknowledged = read(&file, &header)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            unwritten: String::new(),
            written_at: Instant::now(),
            acknowledged: acknowledged.unwrap_or_default(),
        };
        journal.start_over(&header)?;
        Ok(journal)
    }

    /// Documents that need not be sent again.
    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// Tells whether nothing has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Tells whether the server has acknowledged a document, as it is.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.acknowledged.contains(key)
    }

    /// Notes that the server has acknowledged a document.
    pub(crate) fn note(&mut self, key: Key) -> std::io::Result<()> {
        if self.acknowledged.insert(key) {
            self.unwritten.push_str(&hex(&key));
            self.unwritten.push('\n');
        }
        if self.written_at.elapsed() >= FLUSH_EVERY { self.flush() } else { Ok(()) }
    }

    /// Writes what was noted.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all(self.unwritten.as_bytes())?;
        self.unwritten.clear();
        self.written_at = Instant::now();
        Ok(())
    }

    /// Takes the journal away: the ingest is complete.
    pub(crate) fn remove(self) -> std::io::Result<()> {
        fs_err::remove_file(&self.path)
    }

    /// Writes the file anew, so that a line torn by a crash does not stay in the middle.
    fn start_over(&mut self, header: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.unwritten = format!("{header}\n");
        for key in &self.acknowledged {
            self.unwritten.push_str(&hex(key));
            self.unwritten.push('\n');
        }
        self.flush()
    }
}

/// The key of a document.
pub(crate) fn key(document: &pb::DocumentInput) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&digest(document)[..KEY_BYTES]);
    key
}

/// Names a collection so that one made later under the same name is another.
fn header(collection: &pb::Collection) -> String {
    let created = collection.create_time.map(|time| time.to_string()).unwrap_or_default();
    format!("twn-ingest 1 {created} {}", collection.encoder_fingerprint)
}

/// Reads the keys; `None` when the journal is new or another collection's.
fn read(file: &fs_err::File, header: &str) -> std::io::Result<Option<HashSet<Key>>> {
    let mut lines = BufReader::new(file.file()).lines();
    match lines.next() {
        // A file that is not text is not a journal.
        Some(Ok(first)) if first == header => {}
        _ => return Ok(None),
    }
    Ok(Some(lines.map_while(Result::ok).filter_map(|line| parse(&line)).collect()))
}

fn parse(line: &str) -> Option<Key> {
    if line.len() != 2 * KEY_BYTES || !line.is_ascii() {
        return None;
    }
    let mut key = Key::default();
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&line[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(seconds: i64) -> pb::Collection {
        let create_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        pb::Collection { create_time, encoder_fingerprint: "f".into(), ..pb::Collection::default() }
    }

    fn document(text: &str) -> pb::DocumentInput {
        let content = Some(crate::client::text(text));
        pb::DocumentInput { id: "a".into(), content, ..pb::DocumentInput::default() }
    }

    #[test]
    fn what_was_noted_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingest/x.journal");
        let mut journal = Journal::open(&path, &collection(1)).unwrap();
        assert!(journal.is_empty());
        journal.note(key(&document("one"))).unwrap();
        journal.flush().unwrap();
        assert!(Journal::open(&path, &collection(1)).is_err(), "one ingest at a time");
        drop(journal);

        // A crash can tear the last line.
        let mut text = fs_err::read_to_string(&path).unwrap();
        text.push_str("0123");
        fs_err::write(&path, text).unwrap();
        let mut journal = Journal::open(&path, &collection(1)).unwrap();
        assert!(journal.has(&key(&document("one"))) && !journal.has(&key(&document("two"))));
        journal.note(key(&document("two"))).unwrap();
        journal.flush().unwrap();
        drop(journal);
        let journal = Journal::open(&path, &collection(1)).unwrap();
        assert_eq!(journal.len(), 2);
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_collection_made_anew_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let mut journal = Journal::open(&path, &collection(1)).unwrap();
        journal.note(key(&document("one"))).unwrap();
        journal.flush().unwrap();
        drop(journal);
        assert!(Journal::open(&path, &collection(2)).unwrap().is_empty());

        fs_err::write(&path, b"\xff\xfe not a journal").unwrap();
        assert!(Journal::open(&path, &collection(1)).unwrap().is_empty());
    }

    #[test]
    fn journals_are_told_apart_by_what_is_ingested() {
        let home = Path::new("/h");
        let path = |collection, sources: &[&str], way| {
            let sources: Vec<_> = sources.iter().map(PathBuf::from).collect();
            journal_path(home, collection, &sources, way)
        };
        let paths = [
            path("a", &["/x"], ""),
            path("b", &["/x"], ""),
            path("a", &["/x", "/y"], ""),
            path("a", &["/x/y"], ""),
            path("a", &["/x"], "always"),
        ];
        let distinct: HashSet<_> = paths.iter().collect();
        assert_eq!(distinct.len(), paths.len());
        assert_eq!(path("a", &["/x"], ""), paths[0]);
    }
}
