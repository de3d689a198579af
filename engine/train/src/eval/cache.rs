//! Document embeddings kept on disk between evaluations, so that a second mode costs
//! only its queries and a broken-off run goes on where it stopped.
//!
//! One folder per key: `about.json` spells the key out, `vectors.bin` has one record per
//! document in the corpus order: prompt tokens, reasoning tokens, route, and the vector,
//! all little-endian. Records are only ever appended. A torn last record, and everything
//! from a record on that is not a unit vector, is cut and computed again.

use std::{
    io::{BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fs_err::{File, OpenOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twn_encoder::Route;

use super::error::EvalError;

const HEADER_BYTES: usize = 12;
const NORM_TOLERANCE: f32 = 1e-2;

/// One document's vector and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Encoded {
    pub(super) embedding: Vec<f32>,
    pub(super) route: Route,
    pub(super) prompt_tokens: u32,
    pub(super) reasoning_tokens: u32,
}

/// Everything that the documents' vectors depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CacheKey {
    /// Of the encoder.
    pub(super) fingerprint: String,
    /// Of the corpus.
    pub(super) corpus_digest: String,
    pub(super) documents: usize,
    pub(super) dimension: usize,
    pub(super) max_document_tokens: Option<usize>,
    pub(super) instruction: Option<String>,
    /// The documents' policy, in words.
    pub(super) policy: String,
}

/// An open cache: the records that are there, and a place for more.
pub(super) struct Cache {
    file: File,
    records: Vec<Option<Encoded>>,
    dimension: usize,
}

impl Cache {
    /// Opens the cache of `key` in the folder `root`, which is made if missing.
    pub(super) fn open(root: &Path, key: &CacheKey) -> Result<Self, EvalError> {
        let about = serde_json::to_vec_pretty(key).map_err(std::io::Error::from)?;
        let digest: String =
            Sha256::digest(&about).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let folder = root.join(digest);
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join("about.json"), &about)?;

        let path = folder.join("vectors.bin");
        let mut file = open_locked(&path)?;
        let records = read_records(&mut file, key)?;
        let end = (records.len() * record_bytes(key.dimension)) as u64;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Self { file, records, dimension: key.dimension })
    }

    /// Takes the records that were there, in the corpus order; `None` is a document
    /// without content.
    pub(super) fn take_records(&mut self) -> Vec<Option<Encoded>> {
        std::mem::take(&mut self.records)
    }

    /// Appends the records of the next documents.
    pub(super) fn append(&mut self, records: &[Option<Encoded>]) -> Result<(), EvalError> {
        let mut bytes = Vec::with_capacity(records.len() * record_bytes(self.dimension));
        for record in records {
            match record {
                None => bytes.resize(bytes.len() + record_bytes(self.dimension), 0),
                Some(encoded) => {
                    let route = if encoded.route == Route::Reasoned { 2u32 } else { 1 };
                    for word in [encoded.prompt_tokens, encoded.reasoning_tokens, route] {
                        bytes.extend(word.to_le_bytes());
                    }
                    bytes.extend(encoded.embedding.iter().flat_map(|value| value.to_le_bytes()));
                }
            }
        }
        Ok(self.file.write_all(&bytes)?)
    }
}

fn record_bytes(dimension: usize) -> usize {
    HEADER_BYTES + dimension * size_of::<f32>()
}

/// Opens the file and locks it for as long as it is open.
fn open_locked(path: &PathBuf) -> Result<File, EvalError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.file().try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(EvalError::data(path, "another evaluation is filling this cache: let it finish"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(EvalError::Io(error)),
    }
}

/// Reads records up to the first that is missing, torn or damaged.
fn read_records(file: &mut File, key: &CacheKey) -> Result<Vec<Option<Encoded>>, EvalError> {
    let mut reader = BufReader::new(file);
    let mut bytes = vec![0; record_bytes(key.dimension)];
    let mut records = Vec::new();
    while records.len() < key.documents {
        match reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        let Some(record) = parse_record(&bytes) else { break };
        records.push(record);
    }
    Ok(records)
}

/// `None` for a damaged record, `Some(None)` for a document without content.
fn parse_record(bytes: &[u8]) -> Option<Option<Encoded>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(None);
    }
    let (header, vector) = bytes.split_at(HEADER_BYTES);
    let word = |index: usize| {
        let bytes = header[index * 4..index * 4 + 4].try_into().unwrap_or_default();
        u32::from_le_bytes(bytes)
    };
    let route = match word(2) {
        1 => Route::Direct,
        2 => Route::Reasoned,
        _ => return None,
    };
    let embedding: Vec<f32> = vector
        .chunks_exact(size_of::<f32>())
        .map(|value| f32::from_le_bytes(value.try_into().unwrap_or_default()))
        .collect();
    is_unit(&embedding).then(|| {
        Some(Encoded { embedding, route, prompt_tokens: word(0), reasoning_tokens: word(1) })
    })
}

/// Tells whether a vector has length 1; false for one with a NaN.
pub(super) fn is_unit(vector: &[f32]) -> bool {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    (norm - 1.0).abs() <= NORM_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        CacheKey {
            fingerprint: "f".into(),
            corpus_digest: "d".into(),
            documents: 3,
            dimension: 2,
            max_document_tokens: None,
            instruction: None,
            policy: "never".into(),
        }
    }

    fn record(x: f32, y: f32) -> Option<Encoded> {
        let route = if x > y { Route::Direct } else { Route::Reasoned };
        let reasoning_tokens = if x > y { 0 } else { 5 };
        Some(Encoded { embedding: vec![x, y], route, prompt_tokens: 7, reasoning_tokens })
    }

    fn reopen(root: &Path, key: &CacheKey) -> Vec<Option<Encoded>> {
        Cache::open(root, key).unwrap().take_records()
    }

    fn vectors_file(root: &Path) -> PathBuf {
        fs_err::read_dir(root).unwrap().next().unwrap().unwrap().path().join("vectors.bin")
    }

    #[test]
    fn records_come_back_and_more_can_follow() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(root.path(), &key()).unwrap();
        assert_eq!(cache.take_records(), []);
        cache.append(&[record(1.0, 0.0), None]).unwrap();
        drop(cache);
        let mut cache = Cache::open(root.path(), &key()).unwrap();
        assert_eq!(cache.take_records(), [record(1.0, 0.0), None]);
        cache.append(&[record(0.6, 0.8)]).unwrap();
        drop(cache);
        assert_eq!(reopen(root.path(), &key()), [record(1.0, 0.0), None, record(0.6, 0.8)]);
    }

    #[test]
    fn torn_and_damaged_records_are_cut() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(root.path(), &key()).unwrap();
        cache.append(&[record(1.0, 0.0), record(0.6, 0.8), record(0.8, 0.6)]).unwrap();
        drop(cache);
        let path = vectors_file(root.path());
        let mut bytes = fs_err::read(&path).unwrap();
        bytes.pop();
        fs_err::write(&path, &bytes).unwrap();
        assert_eq!(reopen(root.path(), &key()).len(), 2);
        assert_eq!(fs_err::metadata(&path).unwrap().len(), 40);

        bytes[20 + HEADER_BYTES + 3] = 0x7f;
        fs_err::write(&path, &bytes).unwrap();
        assert_eq!(reopen(root.path(), &key()), [record(1.0, 0.0)]);
    }

    #[test]
    fn another_key_has_another_file_and_a_filled_one_is_locked() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(root.path(), &key()).unwrap();
        cache.append(&[record(1.0, 0.0)]).unwrap();
        let other = CacheKey { max_document_tokens: Some(256), ..key() };
        assert_eq!(reopen(root.path(), &other), []);
        let error = Cache::open(root.path(), &key()).err().unwrap().to_string();
        assert!(error.contains("another evaluation is filling this cache"), "{error}");
    }
}
