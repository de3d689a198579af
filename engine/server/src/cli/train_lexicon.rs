//! `twn train lexicon`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use twn_encoder::{
    Encoder,
    adapter::{Adapters, StoredType},
    open_device,
};
use twn_train::learn::{LexiconFit, LexiconOptions, fit_lexicon, read_examples};

use super::{Outcome, Session, model};
use crate::output::Progress;

/// Which adapters get a lexicon, and of which texts.
#[derive(Debug, Clone, Args)]
pub struct LexiconArgs {
    /// Training files, JSON lines
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The adapters
    #[arg(long, value_name = "FOLDER")]
    adapters: PathBuf,
    /// Write them here, with the lexicon
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Dimensions of the part that states make
    #[arg(long, default_value_t = LexiconOptions::default().states)]
    states: usize,
    /// Dimensions of the lexical part
    #[arg(long, default_value_t = LexiconOptions::default().words)]
    words: usize,
    /// Length of the lexical part, where that of the states has length 1
    #[arg(long, default_value_t = LexiconOptions::default().share)]
    share: f32,
    /// Texts to embed, at most
    #[arg(long, default_value_t = LexiconOptions::default().texts)]
    texts: usize,
    /// Store the adapters in two bytes a value
    #[arg(long)]
    f16: bool,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    pub(super) model: Option<String>,
}

/// Fits a lexicon.
pub(super) async fn run(arguments: LexiconArgs, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    if !(arguments.share > 0.0 && arguments.share <= 100.0) {
        anyhow::bail!("--share is {}, must be above 0 and at most 100", arguments.share);
    }
    let model = model::locate(session, false).await?;
    let mut load = session.config().model.load_options(&model);
    load.adapters = Some(arguments.adapters.clone());
    let fitting = tokio::task::spawn_blocking(move || -> anyhow::Result<LexiconFit> {
        let mut examples = Vec::new();
        for file in &arguments.files {
            examples.extend(read_examples(file, "")?);
        }
        let checkpoint = twn_encoder::model::open(&model)?;
        let device = open_device("flex")?;
        let mut adapters = Adapters::read(&arguments.adapters, &checkpoint, &device)?;
        load.context_tokens = load.context_tokens.min(checkpoint.config.max_positions);
        let mut encoder = Encoder::load(&load)?;
        let options = LexiconOptions {
            states: arguments.states,
            words: arguments.words,
            share: arguments.share,
            texts: arguments.texts,
            ..LexiconOptions::default()
        };
        let mut bar = None;
        let mut shown = |done: usize, of: usize| {
            bar.get_or_insert_with(|| Progress::items(output, of as u64)).reach(done as u64);
        };
        let seen = fit_lexicon(&mut encoder, &mut adapters, &examples, &options, &mut shown)?;
        let stored = if arguments.f16 { StoredType::F16 } else { StoredType::F32 };
        adapters.write(&arguments.out, stored)?;
        Ok(seen)
    });
    let seen = fitting.await.context("fitting the lexicon panicked")??;
    output.either(&seen, || {
        format!(
            "a lexicon of {} texts; the states keep {:.1} % of their variance. Choose the gate's \
             threshold anew: twn train gate --fitted",
            seen.counted,
            100.0 * seen.states_variance
        )
    })?;
    Ok(Outcome::Done)
}
