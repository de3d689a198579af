//! The model: there, whole and what it should be.

use std::path::PathBuf;

use twn_encoder::model::{self, CatalogueEntry};

use super::Check;
use crate::config::{ModelPlace, ModelSection, named};

const NAME: &str = "model";

/// Checks the configured model and adapters.
pub(super) async fn examine(section: &ModelSection) -> Vec<Check> {
    let mut checks = Vec::new();
    match section.place() {
        Ok(ModelPlace::At(path)) => {
            // A model given by its path may be any; a pulled one has a known digest.
            let entry = section.path.is_none().then(|| named(&section.name).ok()).flatten();
            let opened = tokio::task::spawn_blocking(move || open(path, entry)).await;
            checks.push(opened.unwrap_or_else(|error| {
                Check::fail(NAME, error.to_string(), "this is our fault: please report it")
            }));
        }
        Ok(ModelPlace::Missing(entry)) => {
            let advice = "`twn model pull` fetches it, `twn model pull --from PATH` takes a copy";
            checks.push(Check::fail(NAME, format!("{} is not here", entry.name), advice));
        }
        Err(error) => {
            checks.push(Check::fail(NAME, error.to_string(), "`twn model list` shows them"))
        }
    }
    if let Some(adapters) = &section.adapters
        && !adapters.is_dir()
    {
        let detail = format!("{} is no folder", adapters.display());
        checks.push(Check::fail("adapters", detail, "set `model.adapters` or `--adapters` right"));
    }
    checks
}

/// Opens the model, which hashes its weights.
fn open(path: PathBuf, entry: Option<&CatalogueEntry>) -> Check {
    let checkpoint = match model::open(&path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Check::fail(NAME, error.to_string(), "`twn model pull` fetches one"),
    };
    let place = format!("{} at {}", checkpoint.name, path.display());
    match entry {
        None => Check::ok(NAME, format!("{place}, SHA-256 {}", checkpoint.weights_sha256)),
        Some(entry) if checkpoint.weights_sha256 == entry.sha256 => {
            Check::ok(NAME, format!("{place}, verified"))
        }
        Some(_) => {
            let detail = format!("{place} has SHA-256 {}", checkpoint.weights_sha256);
            Check::fail(NAME, detail, "it is damaged: remove it and `twn model pull` again")
        }
    }
}
