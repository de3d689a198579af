//! What a model and its adapters hold, and whether they would load.
//!
//! Reads headers and small files. The weight files are read through once for their digest,
//! by which adapters name the model that they were made for; none of them is kept.

mod backbone;

use std::path::Path;

use serde::Serialize;

pub use self::backbone::{ModelInspection, ShapeInspection, StoredAs};
use crate::{
    adapter::{AdaptersInspection, inspect_adapters},
    model,
};

/// A model and its adapters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The backbone.
    pub model: ModelInspection,
    /// What is added to it.
    pub adapters: AdaptersInspection,
    /// Why they would not load; empty when nothing speaks against it.
    pub problems: Vec<String>,
}

/// Looks at the model at `model`, and at the adapters in a folder, or at those that it would
/// have without one.
pub fn inspect(model: &Path, adapters: Option<&Path>) -> Inspection {
    let mut problems = Vec::new();
    let checkpoint = match model::open(model) {
        Ok(checkpoint) => Some(checkpoint),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    let seen = ModelInspection::new(model, checkpoint.as_ref(), &mut problems);
    let added = inspect_adapters(adapters, checkpoint.as_ref(), seen.parameters, &mut problems);
    problems.dedup();
    Inspection { model: seen, adapters: added, problems }
}
