//! `twn train ablate`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use twn_encoder::{keep_freed_memory, open_device};
use twn_train::learn::{
    AblationEvent, AblationOptions, AblationRow, AblationTable, RecipeChange, ablate,
};

use super::{Outcome, Session, model, train::Shown};
use crate::output::table;

/// Which variants to train, and where.
#[derive(Debug, Clone, Args)]
pub struct AblateArgs {
    /// The plan, a TOML file: a recipe, its variants, and what they are evaluated on
    plan: PathBuf,
    /// Folder of the variants' runs
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// Change the recipe for all variants, for example `stage.embedding.steps=50`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<RecipeChange>,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    pub(super) model: Option<String>,
    /// `flex` (the CPU), or `cuda:0` in a build that has it
    #[arg(long, default_value = "flex")]
    device: String,
    /// Stop at a checkpoint after so many seconds; the same command goes on later
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Pull the model first if it is not there
    #[arg(long)]
    pull: bool,
}

/// Runs the command.
///
/// # Errors
/// Fails when plan, recipe, data or model cannot be used, or a training fails.
pub async fn run(arguments: AblateArgs, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    let model = model::locate(session, arguments.pull).await?;
    let options = AblationOptions {
        plan: arguments.plan,
        changes: arguments.changes,
        load: session.config().model.load_options(&model),
        run: arguments.run,
        seconds_max: arguments.seconds,
    };
    keep_freed_memory();
    let device = open_device(&arguments.device)?.autodiff();
    let running = tokio::task::spawn_blocking(move || {
        let mut shown: Option<(String, Shown)> = None;
        let mut show = |event: &AblationEvent<'_>| match event {
            AblationEvent::Train(variant, event) => {
                if shown.as_ref().is_none_or(|(name, _)| name != variant) {
                    output.note(format!("{variant}: training"));
                    shown = Some(((*variant).to_owned(), Shown::new(output)));
                }
                if let Some((_, bar)) = &mut shown {
                    bar.event(event);
                }
            }
            AblationEvent::Gate(variant) => output.note(format!("{variant}: fitting the gate")),
            AblationEvent::Evaluate(variant) => output.note(format!("{variant}: evaluating")),
        };
        ablate(&options, &device, &mut show)
    });
    let seen = running.await.context("the ablation panicked")??;
    output.either(&seen, || written(&seen))?;
    Ok(Outcome::Done)
}

fn written(seen: &AblationTable) -> String {
    let header =
        ["variant", "mode", "nDCG@10", "think rate", "tokens/query", "less the first", "p"];
    let rows = seen.rows.iter().map(cells).collect();
    let mut text = format!("{}: {} queries\n", seen.data, seen.queries);
    text += &table(&header, &[2, 3, 4, 5, 6], rows);
    if !seen.gates_fitted {
        text += "\n\nThe plan names no `gate` data: adaptive rows are those of gates not fitted.";
    }
    if !seen.unfinished.is_empty() {
        let names = seen.unfinished.join(", ");
        text += &format!("\n\nNot finished: {names}; the same command goes on.");
    }
    text
}

fn cells(row: &AblationRow) -> Vec<String> {
    let mut cells = vec![
        row.variant.clone(),
        row.mode.clone(),
        format!("{:.3}", row.ndcg_at_10),
        format!("{:.2}", row.think_rate),
        format!("{:.1}", row.reasoning_tokens_per_query),
    ];
    match &row.difference {
        Some(difference) => {
            let (low, high) = (difference.low, difference.high);
            cells.push(format!("{:+.3} ({low:+.3} to {high:+.3})", difference.difference));
            cells.push(format!("{:.4}", difference.p_value));
        }
        None => cells.extend([String::new(), String::new()]),
    }
    cells
}
