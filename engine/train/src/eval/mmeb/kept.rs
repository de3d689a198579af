//! Finished tasks on disk: one file for each task and mode.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twn_encoder::{EncoderInfo, ReasoningMode};

use super::{data::MmebTask, report::MmebRow, run::MmebOptions};
use crate::eval::{EvalError, mode_name};

/// What a row depends on beside the task and the mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Key {
    /// Of the encoder.
    fingerprint: String,
    candidate_mode: String,
    limit_queries: Option<usize>,
    token_budget: Option<u32>,
    threshold: Option<f32>,
    frames: usize,
}

/// A file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    key: Key,
    /// Of the task's queries and candidates.
    data_digest: String,
    row: MmebRow,
}

/// Where the results of one encoder and one set of options are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    folder: PathBuf,
    key: Key,
}

impl Kept {
    /// Keeps results below `root`, apart from those of other encoders and options.
    pub fn new(root: &Path, encoder: &EncoderInfo, options: &MmebOptions, frames: usize) -> Self {
        let key = Key {
            fingerprint: encoder.fingerprint.clone(),
            candidate_mode: mode_name(options.candidate_mode).to_owned(),
            limit_queries: options.limit_queries,
            token_budget: options.token_budget,
            threshold: options.threshold,
            frames,
        };
        let digest = Sha256::digest(serde_json::to_vec(&key).unwrap_or_default());
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { folder: root.join(name), key }
    }

    /// The folder that the files are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads what an earlier evaluation kept of this task in this mode; nothing when the
    /// task's data has changed since.
    ///
    /// # Errors
    /// Fails when a file is there and cannot be read.
    pub fn find(&self, data: &MmebTask, mode: ReasoningMode) -> Result<Option<MmebRow>, EvalError> {
        let path = self.path(data, mode);
        if !path.is_file() {
            return Ok(None);
        }
        let file: File = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| {
            EvalError::data(&path, format!("is no result: {error}; remove it to evaluate again"))
        })?;
        let is_same = file.key == self.key && file.data_digest == data.digest();
        Ok(is_same.then_some(file.row))
    }

    /// Keeps a row. Written to a neighbouring file and renamed, so that what is there is whole.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn keep(
        &self,
        data: &MmebTask,
        mode: ReasoningMode,
        row: &MmebRow,
    ) -> Result<(), EvalError> {
        fs_err::create_dir_all(&self.folder)?;
        let path = self.path(data, mode);
        let file = File { key: self.key.clone(), data_digest: data.digest(), row: row.clone() };
        let text = serde_json::to_vec_pretty(&file).map_err(std::io::Error::from)?;
        let unfinished = path.with_extension("unfinished");
        fs_err::write(&unfinished, text)?;
        Ok(fs_err::rename(unfinished, path)?)
    }

    fn path(&self, data: &MmebTask, mode: ReasoningMode) -> PathBuf {
        self.folder.join(format!("{}.{}.json", data.task.name, mode_name(mode)))
    }
}
