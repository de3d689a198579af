//! A task's queries and candidates, whatever layout they came in.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use twn_encoder::{Content, EmbedKind, EncodeInput, Media, Part};

use super::catalogue::Task;
use crate::{error::EvalError, metrics::Relevance};

/// Frames of one folder at most.
const FRAMES_MAX: usize = 768;
/// Bytes of one picture at most.
const PICTURE_BYTES_MAX: u64 = 64 << 20;

/// Something to encode, with its media still on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct MmebInput {
    /// May be empty when there is media.
    #[serde(default)]
    pub text: String,
    /// The task's instruction; empty takes the encoder's own.
    #[serde(default)]
    pub instruction: String,
    /// Picture files.
    #[serde(default)]
    pub images: Vec<PathBuf>,
    /// Folders of a video's frames, named so that they sort by time.
    #[serde(default)]
    pub videos: Vec<PathBuf>,
}

/// A query and what is right for it.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebQuery {
    /// What is asked.
    pub input: MmebInput,
    /// Its candidates, by position in [`MmebTask::candidates`]; empty means all.
    pub candidates: Vec<u32>,
    /// The right ones and their grades, by the same positions.
    pub relevance: Relevance,
}

/// One task's data.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebTask {
    /// Which one it is.
    pub task: Task,
    /// The queries, in the file's order.
    pub queries: Vec<MmebQuery>,
    /// The candidates, each name once.
    pub candidates: Vec<MmebInput>,
}

impl MmebInput {
    /// Reads the media and makes what an encoder takes: media first, then text.
    pub(crate) fn load(&self, kind: EmbedKind) -> Result<EncodeInput, EvalError> {
        let mut parts = Vec::new();
        for path in &self.images {
            parts.push(Part::Media(Media::image(picture(path)?)));
        }
        for folder in &self.videos {
            let mut frames: Vec<PathBuf> = fs_err::read_dir(folder)?
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<_, std::io::Error>>()?;
            frames.retain(|path| path.is_file());
            frames.sort_unstable();
            if frames.is_empty() || frames.len() > FRAMES_MAX {
                let count = frames.len();
                let problem = format!("has {count} frames, 1 to {FRAMES_MAX} are needed");
                return Err(EvalError::data(folder, problem));
            }
            let files = frames.iter().map(|path| picture(path)).collect::<Result<_, _>>()?;
            parts.push(Part::Media(Media::frames(files, 0.0)));
        }
        if !self.text.is_empty() {
            parts.push(Part::Text(self.text.clone()));
        }
        let instruction = (!self.instruction.is_empty()).then(|| self.instruction.clone());
        Ok(EncodeInput { content: Content { parts }, instruction, kind })
    }
}

fn picture(path: &Path) -> Result<Vec<u8>, EvalError> {
    let bytes = fs_err::metadata(path)?.len();
    if bytes > PICTURE_BYTES_MAX {
        let problem = format!("has {bytes} bytes, at most {PICTURE_BYTES_MAX} are read");
        return Err(EvalError::data(path, problem));
    }
    Ok(fs_err::read(path)?)
}

/// Gathers candidates and gives each name one position.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    positions: HashMap<String, u32>,
    pub(crate) inputs: Vec<MmebInput>,
}

impl Candidates {
    /// The position of a candidate; the first input of a name counts.
    pub(crate) fn position(&mut self, name: &str, input: impl FnOnce() -> MmebInput) -> u32 {
        if let Some(&position) = self.positions.get(name) {
            return position;
        }
        let position = self.inputs.len() as u32;
        self.positions.insert(name.to_owned(), position);
        self.inputs.push(input());
        position
    }

    /// The position of a name that is there.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.positions.get(name).copied()
    }
}
