//! Which files of an adapter folder hold the gate and the queries.

use super::files::Files;
use crate::error::EncoderError;

/// The manifest.
pub(super) const MANIFEST: &str = "twn.json";
/// Gate, queries and projections in one file, as TWN writes them.
pub(super) const HEAD: &str = "head.safetensors";
const GATE: [&str; 2] = ["gate_mlp.safetensors", "gate_mlp.pt"];
const QUERIES: [&str; 2] = ["queries.safetensors", "queries.pt"];

/// How the gate and the queries lie in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In [`HEAD`], described by the manifest, which must be there.
    House,
    /// Each in a file of its own; the manifest may be missing.
    Released(Released),
}

/// The files of a released checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Released {
    pub(super) gate: &'static str,
    pub(super) queries: &'static str,
}

impl Layout {
    /// Looks which files are there.
    ///
    /// # Errors
    /// Fails when files say the same twice, or one of a pair is missing.
    pub(super) fn find(files: &Files<'_>) -> Result<Self, EncoderError> {
        let refuse = |problem: String| EncoderError::ModelFile { path: files.path(""), problem };
        let one = |names: [&'static str; 2]| match names.map(|name| files.has(name)) {
            [true, true] => Err(refuse(format!("holds both {} and {}", names[0], names[1]))),
            [true, false] => Ok(Some(names[0])),
            [false, true] => Ok(Some(names[1])),
            [false, false] => Ok(None),
        };
        match (files.has(HEAD), one(GATE)?, one(QUERIES)?) {
            // Without any, the error is about the manifest, which comes first.
            (_, None, None) => Ok(Self::House),
            (false, Some(gate), Some(queries)) => Ok(Self::Released(Released { gate, queries })),
            (true, Some(file), _) | (true, _, Some(file)) => {
                Err(refuse(format!("holds both {HEAD} and {file}")))
            }
            (false, Some(gate), None) => {
                Err(refuse(format!("holds {gate}, but neither {} nor {}", QUERIES[0], QUERIES[1])))
            }
            (false, None, Some(queries)) => {
                Err(refuse(format!("holds {queries}, but neither {} nor {}", GATE[0], GATE[1])))
            }
        }
    }

    /// The files that it names, beside the manifest and the adapters.
    pub(super) fn files(&self) -> Vec<&'static str> {
        match self {
            Self::House => vec![HEAD],
            Self::Released(parts) => vec![parts.gate, parts.queries],
        }
    }
}
