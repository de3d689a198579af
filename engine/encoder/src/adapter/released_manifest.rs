//! `twn.json` beside released files: every key may be missing.

use serde::Deserialize;

use super::{
    BackboneId, GatePoint, Instructions, Interface, MANIFEST_VERSION, Manifest, ThoughtFormat,
    released_gate::GateLayer,
};
use crate::{
    capitals::Capitals,
    checkpoint::Checkpoint,
    gate::{GateActivation, GateInput},
    pooling::Pooling,
};

/// The keys that are there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleasedManifest {
    format_version: Option<u32>,
    backbone: Option<BackboneId>,
    interface: Option<Interface>,
    pooling: Option<Pooling>,
    queries: Option<usize>,
    gate_threshold: Option<f32>,
    #[serde(default)]
    gate_curve: Vec<GatePoint>,
    gate_input: Option<GateInput>,
    gate_activation: Option<GateActivation>,
    gate_depth: Option<usize>,
    thought: Option<ThoughtFormat>,
    instructions: Option<Instructions>,
    #[serde(default)]
    capitals: Capitals,
    trained: Option<bool>,
}

/// What the other files say.
pub(super) struct Facts<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) queries: usize,
    pub(super) gate_layers: &'a [GateLayer],
}

impl ReleasedManifest {
    /// Reads the file's text; `None` is a folder without one.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::default()) };
        let read: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match read.format_version {
            Some(version) if version != MANIFEST_VERSION => {
                Err(format!("format version is {version}, this build reads {MANIFEST_VERSION}"))
            }
            _ => Ok(read),
        }
    }

    /// Completes the manifest from the other files, and by defaults, whose keys are given.
    pub(super) fn complete(
        self,
        facts: &Facts<'_>,
    ) -> Result<(Manifest, Vec<&'static str>), String> {
        let mut assumed = Vec::new();
        let checkpoint = facts.checkpoint;
        let backbone = self.backbone.unwrap_or_else(|| BackboneId {
            name: checkpoint.name.clone(),
            weights_sha256: checkpoint.weights_sha256.clone(),
        });
        if let Some(queries) = self.queries
            && queries != facts.queries
        {
            let found = facts.queries;
            return Err(format!("`queries` is {queries}, the file of the queries has {found}"));
        }
        let manifest = Manifest {
            format_version: MANIFEST_VERSION,
            backbone,
            interface: or(self.interface, Interface::Cache, "interface", &mut assumed),
            pooling: or(self.pooling, Pooling::Queries, "pooling", &mut assumed),
            queries: facts.queries,
            gate_threshold: or(self.gate_threshold, 0.5, "gate_threshold", &mut assumed),
            gate_curve: self.gate_curve,
            gate_input: or(self.gate_input, gate_input(facts), "gate_input", &mut assumed),
            gate_activation: match facts.gate_layers.len() {
                1 => GateActivation::Identity,
                _ => {
                    or(self.gate_activation, GateActivation::Gelu, "gate_activation", &mut assumed)
                }
            },
            gate_depth: self.gate_depth,
            thought: or(self.thought, ThoughtFormat::default(), "thought", &mut assumed),
            instructions: or(
                self.instructions,
                Instructions::default(),
                "instructions",
                &mut assumed,
            ),
            capitals: self.capitals,
            trained: self.trained.unwrap_or(true),
        };
        manifest.check()?;
        Ok((manifest, assumed))
    }
}

/// What the gate reads, by the width of its first layer.
fn gate_input(facts: &Facts<'_>) -> GateInput {
    let hidden = facts.checkpoint.config.hidden_size;
    let width = facts.gate_layers.first().map(|layer| layer.weight.shape[1]);
    if width != Some(hidden) && width == Some(GateInput::Queries.width(facts.queries, hidden)) {
        GateInput::Queries
    } else {
        GateInput::QueriesMean
    }
}

fn or<T>(given: Option<T>, default: T, key: &'static str, assumed: &mut Vec<&'static str>) -> T {
    given.unwrap_or_else(|| {
        assumed.push(key);
        default
    })
}
