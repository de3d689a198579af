//! A run's log: a JSON object a line, for every step and every evaluation.
//!
//! A run that was killed repeats the steps since its last checkpoint, and their lines: of
//! two lines for one step the later one counts.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{HeldOutFigures, PolicyFigures, StepLosses, TrainError};

/// Name of the log in a run's folder.
const FILE: &str = "log.jsonl";

/// What a run tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TrainEvent<'a> {
    /// A step was taken.
    Step(LogLine<'a>),
    /// The adapters were evaluated.
    HeldOut(HeldOutLine<'a>),
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Counted from 1.
    pub step: usize,
    /// Steps of the stage.
    pub steps: usize,
    /// The weighted sum of the losses.
    pub loss: f32,
    /// The losses.
    #[serde(flatten)]
    pub losses: StepLosses,
    /// What a step of reinforcement saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFigures>,
    /// Norm of the gradients before it was bounded.
    pub gradient_norm: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Time of the step.
    pub seconds: f64,
}

/// An evaluation on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOutLine<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Steps of the stage that were done; 0 before the first.
    pub step: usize,
    /// What was seen.
    pub held_out: HeldOutFigures,
}

/// The log of a run, open for its next lines.
#[derive(Debug)]
pub(super) struct Log(fs_err::File);

impl Log {
    /// Where a run's log is.
    pub(super) fn path(run: &Path) -> PathBuf {
        run.join(FILE)
    }

    /// Opens the log of a run, which may have lines already.
    ///
    /// # Errors
    /// Fails when the file cannot be opened.
    pub(super) fn open(run: &Path) -> Result<Self, TrainError> {
        let path = Self::path(run);
        let is_cut = path.exists() && fs_err::read(&path)?.last().is_some_and(|&b| b != b'\n');
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        if is_cut {
            // A kill cut the last line off; the next one must not be lost with it.
            file.write_all(b"\n")?;
        }
        Ok(Self(file))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub(super) fn write(&mut self, event: &TrainEvent<'_>) -> Result<(), TrainError> {
        let mut text = serde_json::to_vec(event).expect("plain data serialises");
        text.push(b'\n');
        Ok(self.0.write_all(&text)?)
    }
}
