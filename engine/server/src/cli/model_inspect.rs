//! `twn model inspect`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use twn_encoder::{Inspection, ModelInspection, StoredAs, adapter::AdaptersInspection, inspect};

use super::{Outcome, Session, model};
use crate::{
    config::Flag,
    output::{ellipsis, figures, table},
};

/// What to look at.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A GGUF file, a Hugging Face folder or the name of a pulled model, as with --model
    path: Option<String>,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder [default: the configured
    /// model]
    #[arg(long, value_name = "NAME or PATH", conflicts_with = "path")]
    model: Option<String>,
    /// Adapter folder [default: what the model would have without one]
    #[arg(long, value_name = "FOLDER")]
    adapters: Option<PathBuf>,
}

impl InspectArgs {
    /// The settings that the flags change.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let named = self.path.as_ref().or(self.model.as_ref());
        let mut flags: Vec<Flag> = named.iter().flat_map(|name| model::flags(name)).collect();
        if let Some(adapters) = &self.adapters {
            let path = adapters.to_string_lossy().into_owned();
            flags.push(Flag::new("model.adapters", "--adapters", path));
        }
        flags
    }
}

/// Runs the command. An inspection that finds problems has failed.
///
/// # Errors
/// Fails when the model is not there, or nothing can be printed.
pub(super) async fn run(session: &Session) -> anyhow::Result<Outcome> {
    let path = model::locate(session, false).await?;
    let adapters = session.config().model.adapters.clone();
    let looking = tokio::task::spawn_blocking(move || inspect(&path, adapters.as_deref()));
    let seen = looking.await.context("looking at the model panicked")?;
    session.output.either(&seen, || written(&seen))?;
    Ok(if seen.problems.is_empty() { Outcome::Done } else { Outcome::Failed })
}

fn written(seen: &Inspection) -> String {
    let mut parts = vec![backbone(&seen.model), added(&seen.adapters)];
    parts.push(if seen.problems.is_empty() {
        "This would load.".to_owned()
    } else {
        let problems = seen.problems.iter().map(|problem| format!("  {problem}"));
        format!("This would not load:\n{}", problems.collect::<Vec<_>>().join("\n"))
    });
    parts.join("\n\n")
}

fn backbone(model: &ModelInspection) -> String {
    let mut rows = vec![row("model", model.path.display().to_string())];
    rows.extend(model.name.clone().map(|name| row("name", name)));
    if !model.format.is_empty() {
        let family = model.family.as_deref().unwrap_or("unknown family");
        let bytes: u64 = model.files.values().sum();
        let files = model.files.len();
        let format = &model.format;
        let size = figures(bytes / 1_000_000);
        rows.push(row("files", format!("{family}, {format}, {files} file(s), {size} MB")));
        let vision = match model.vision_parameters {
            0 => String::new(),
            vision => format!(", {} of them of the vision tower", figures(vision)),
        };
        let parameters = figures(model.parameters);
        rows.push(row("parameters", format!("{parameters}{vision}")));
        rows.push(row("stored as", model.stored.iter().map(stored).collect::<Vec<_>>().join("; ")));
    }
    rows.extend(model.weights_sha256.clone().map(|digest| row("sha256", digest)));
    if let Some(shape) = &model.shape {
        let config = &shape.config;
        let tied = if config.tied_embeddings { ", tied" } else { "" };
        rows.push(row(
            "shape",
            format!(
                "{} layers of {} wide, feed-forward {}, {} heads of {} over {} of keys and values",
                config.layers,
                config.hidden_size,
                config.intermediate_size,
                config.heads,
                config.head_dim,
                config.kv_heads
            ),
        ));
        rows.push(row("vocabulary", format!("{}{tied}", figures(config.vocab_size as u64))));
        rows.push(row(
            "context",
            format!(
                "{} tokens, rotary base {}",
                figures(config.max_positions as u64),
                config.rope_theta
            ),
        ));
        if let Some(vision) = &config.vision {
            let tower = format!(
                "{} blocks of {} wide, patches of {}",
                vision.depth, vision.hidden_size, vision.patch_size
            );
            rows.push(row("vision tower", tower));
        }
        let tokens = figures(shape.tokenizer_tokens as u64);
        let bos = shape.bos_token.as_deref().unwrap_or("none");
        let ends = format!("begins with {bos}, ends with {}", shape.eos_token);
        rows.push(row("tokenizer", format!("{tokens} tokens, {ends} ({:?})", shape.eos_ids)));
        rows.push(row("template", ellipsis(&shape.chat_template, 60)));
    }
    rows.extend(ignored(&model.ignored));
    table(&["", ""], &[], rows)
}

fn added(adapters: &AdaptersInspection) -> String {
    let source = match adapters.source.as_str() {
        "embedded" => "twn-mini, carried by this build".to_owned(),
        "fresh" => "none: fresh, untrained ones would be made".to_owned(),
        _ => adapters.path.as_ref().map_or_else(String::new, |path| path.display().to_string()),
    };
    let mut rows = vec![row("adapters", source)];
    rows.extend(adapters.layout.map(|layout| {
        let says = match layout {
            "released" => "gate and queries in files of their own",
            _ => "gate and queries in head.safetensors",
        };
        row("layout", says.to_owned())
    }));
    for lora in &adapters.lora {
        let ranks = join(&lora.ranks);
        let said = format!(
            "rank {ranks}, alpha {}, {} layers, {}, {}: {} parameters{}",
            lora.alpha,
            lora.layers,
            lora.targets.join(" "),
            lora.stored.join(" "),
            figures(lora.parameters),
            percent(lora.percent_of_backbone)
        );
        rows.push(row(lora.name, said));
    }
    for tensor in &adapters.head.tensors {
        let name = if tensor.name.is_empty() { "(one tensor)" } else { &tensor.name };
        rows.push(row(&tensor.file, format!("{name} {:?}", tensor.shape)));
    }
    if adapters.parameters > 0 {
        let share = percent(adapters.percent_of_backbone);
        rows.push(row("in all", format!("{} parameters{share}", figures(adapters.parameters))));
    }
    for setting in &adapters.settings {
        let value = match &setting.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let said = format!("{} (from {})", ellipsis(&value, 80), setting.from);
        rows.push(row(&setting.key, said));
    }
    rows.extend(ignored(&adapters.ignored));
    table(&["", ""], &[], rows)
}

fn row(name: &str, text: String) -> Vec<String> {
    vec![name.to_owned(), text]
}

fn stored(kind: &StoredAs) -> String {
    let size = figures(kind.bytes / 1_000);
    format!("{} {}: {} parameters, {size} kB", kind.tensors, kind.kind, figures(kind.parameters))
}

fn ignored(names: &[String]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| row("not read", names.join(" ")))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!(", {share:.2} % of the backbone"))
}

fn join(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" and ")
}
