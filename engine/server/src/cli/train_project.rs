//! `twn train project`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use twn_encoder::{
    Encoder,
    adapter::{Adapters, StoredType},
    open_device,
};
use twn_train::learn::{
    ProjectionFit, ProjectionFitted, SequenceLimits, Sequencer, Teacher, fit_projections,
    read_examples, taught,
};

use super::{Outcome, Session, model};
use crate::output::Progress;

/// Tokens of a prompt beside its content, at most.
const FRAME_TOKENS: usize = 128;

/// Which adapters' projections to fit, and to what.
#[derive(Debug, Clone, Args)]
pub struct ProjectArgs {
    /// Training files, whose queries and positives are read
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The teacher's vectors of their texts, as `minilm_vectors.py` writes them
    #[arg(long, value_name = "STEM")]
    teacher: PathBuf,
    /// The adapters
    #[arg(long, value_name = "FOLDER")]
    adapters: PathBuf,
    /// Write them here, with the fitted projections
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Texts of each file, at most
    #[arg(long, default_value_t = 20_000)]
    texts: usize,
    /// Tokens of a text; longer ones are cut
    #[arg(long, default_value_t = 128)]
    content_tokens: usize,
    /// Weight of the regression's penalty, relative to the states' mean variance
    #[arg(long, default_value_t = ProjectionFit::default().penalty)]
    penalty: f64,
    /// How far to go from the projections that are there, 0, to the fitted ones, 1
    #[arg(long, default_value_t = ProjectionFit::default().share)]
    share: f32,
    /// Store the adapters in two bytes a value
    #[arg(long)]
    f16: bool,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    pub(super) model: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Fails when a file, the teacher, the adapters or the model cannot be used, or the texts
/// are too few.
pub async fn run(arguments: ProjectArgs, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    let model = model::locate(session, false).await?;
    let mut load = session.config().model.load_options(&model);
    load.adapters = Some(arguments.adapters.clone());
    let fitting = tokio::task::spawn_blocking(move || -> anyhow::Result<ProjectionFitted> {
        let checkpoint = twn_encoder::model::open(&model)?;
        let mut adapters = Adapters::read(&arguments.adapters, &checkpoint, &open_device("flex")?)?;
        let limits = SequenceLimits { content: arguments.content_tokens, frame: FRAME_TOKENS };
        let sequencer = Sequencer::new(&checkpoint, &adapters.manifest, limits)?;
        let teacher = Teacher::read(&arguments.teacher)?;
        let mut texts = Vec::new();
        for file in &arguments.files {
            let examples = read_examples(file, "")?;
            texts.extend(taught(&examples, &sequencer, &teacher, arguments.texts)?);
        }
        let mut encoder = Encoder::load(&load)?;
        let fit = ProjectionFit { penalty: arguments.penalty, share: arguments.share };
        let bar = Progress::items(output, texts.len() as u64);
        let mut report = |read: usize| bar.reach(read as u64);
        let seen = fit_projections(&mut encoder, &mut adapters, &texts, &fit, &mut report)?;
        let stored = if arguments.f16 { StoredType::F16 } else { StoredType::F32 };
        adapters.write(&arguments.out, stored)?;
        Ok(seen)
    });
    let seen = fitting.await.context("fitting the projections panicked")??;
    output.either(&seen, || {
        format!(
            "cosine distance to the teacher on {} texts held out of {}: {:.3}, before {:.3}",
            seen.held_out,
            seen.held_out + seen.fitted,
            seen.distance_after,
            seen.distance_before
        )
    })?;
    Ok(Outcome::Done)
}
