//! `twn.json`: how the parts of an adapter folder work together.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    capitals::Capitals,
    error::EncoderError,
    gate::{GateActivation, GateForm, GateInput},
    pooling::Pooling,
};

/// The newest manifest that this build reads and the one it writes.
pub const MANIFEST_VERSION: u32 = 1;

/// How the two adapters meet. Each wiring must be trained as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// The queries, under the embedding adapter, read the keys and values that prompt and
    /// thought left under the reasoning adapter.
    Cache,
    /// Prompt and thought are encoded again under the embedding adapter.
    Reencode,
}

/// How the parts of an adapter folder work together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the writer.
    pub format_version: u32,
    /// The backbone that the adapters were made for.
    pub backbone: BackboneId,
    /// How the two adapters meet.
    pub interface: Interface,
    /// What becomes the embedding.
    pub pooling: Pooling,
    /// Number of embedding-query tokens.
    pub queries: usize,
    /// `Auto` thinks when the gate's score is above this; in [0, 1].
    pub gate_threshold: f32,
    /// What other thresholds cost and give on the data that chose this one, by rising
    /// threshold; empty when nothing was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate_curve: Vec<GatePoint>,
    /// What the gate reads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gate_input: GateInput,
    /// What stands between the gate's layers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gate_activation: GateActivation,
    /// After how many of the backbone's layers the gate reads the query states; `None` reads
    /// them after the final norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_depth: Option<usize>,
    /// How thoughts are marked and bounded.
    pub thought: ThoughtFormat,
    /// Instructions for inputs that bring none.
    pub instructions: Instructions,
    /// How text in capitals alone is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capitals: Capitals,
    /// False for adapters as they are before any training.
    pub trained: bool,
}

/// One threshold of the gate, and what it costs and gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatePoint {
    /// `Auto` thinks when the gate's score is above this; in [0, 1].
    pub threshold: f32,
    /// Share of the queries that think.
    pub think_rate: f32,
    /// Thought tokens of a query on average, queries that do not think included.
    pub reasoning_tokens_per_query: f32,
    /// Mean nDCG@10 over the queries.
    pub ndcg_at_10: f32,
}

/// Names a backbone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneId {
    /// For people, for example `SmolLM2-135M-Instruct`.
    pub name: String,
    /// Hex SHA-256 over the weight files' bytes.
    pub weights_sha256: String,
}

/// How thoughts are marked and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThoughtFormat {
    /// Text that the encoder puts before a thought.
    pub open: String,
    /// Text by which the model ends a thought.
    pub close: String,
    /// The most tokens of a thought, unless the request says otherwise.
    pub token_budget: u32,
}

/// Instructions for inputs that bring none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instructions {
    /// For search queries.
    pub query: String,
    /// For documents.
    pub document: String,
}

/// The most embedding-query tokens.
pub(super) const QUERIES_MAX: usize = 256;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for ThoughtFormat {
    fn default() -> Self {
        Self { open: "<think>\n".to_owned(), close: "</think>".to_owned(), token_budget: 128 }
    }
}

impl Default for Instructions {
    fn default() -> Self {
        Self {
            query: "Represent this query for retrieving relevant documents.".to_owned(),
            document: "Represent this document for retrieval.".to_owned(),
        }
    }
}

impl Interface {
    /// The name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Reencode => "reencode",
        }
    }
}

impl Manifest {
    /// Writes the manifest.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EncoderError> {
        Ok(fs_err::write(path, format!("{}\n", self.to_json()))?)
    }

    /// How the gate's weights are used.
    pub fn gate_form(&self) -> GateForm {
        let (input, activation) = (self.gate_input, self.gate_activation);
        GateForm { input, activation, depth: self.gate_depth }
    }

    /// The manifest as it is written, which is also what fingerprints cover.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serialises")
    }

    /// Reads and checks a manifest's text.
    ///
    /// # Errors
    /// Fails when it is damaged, was written for a newer format, or has a value out of
    /// range.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        /// The version comes first, since a newer manifest may differ in all the rest.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version.format_version != MANIFEST_VERSION {
            return Err(format!(
                "format version is {}, this build reads {MANIFEST_VERSION}; {}",
                version.format_version,
                if version.format_version > MANIFEST_VERSION {
                    "update twn"
                } else {
                    "make it anew"
                },
            ));
        }
        let manifest: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that every value is in its range.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=QUERIES_MAX).contains(&self.queries) {
            return Err(format!("`queries` is {}, must be 1 to {QUERIES_MAX}", self.queries));
        }
        if !(0.0..=1.0).contains(&self.gate_threshold) {
            return Err(format!("`gate_threshold` is {}, must be 0 to 1", self.gate_threshold));
        }
        if self.gate_depth == Some(0) {
            return Err("`gate_depth` is 0, must be at least 1".to_owned());
        }
        let in_range = |point: &GatePoint| {
            (0.0..=1.0).contains(&point.threshold)
                && point.reasoning_tokens_per_query >= 0.0
                && point.reasoning_tokens_per_query.is_finite()
                && point.ndcg_at_10.is_finite()
        };
        if !self.gate_curve.iter().all(in_range) {
            return Err("`gate_curve` has a point out of range".to_owned());
        }
        let rising = |pair: &[GatePoint]| pair[0].threshold < pair[1].threshold;
        if !self.gate_curve.windows(2).all(rising) {
            return Err("`gate_curve` must have rising thresholds".to_owned());
        }
        let thought = &self.thought;
        if thought.token_budget == 0 {
            return Err("`thought.token_budget` is 0, must be at least 1".to_owned());
        }
        if thought.open.is_empty() || thought.close.trim().is_empty() {
            return Err("`thought.open` and `thought.close` must not be empty".to_owned());
        }
        if thought.open.len() > 64 || thought.close.len() > 64 {
            return Err("thought markers have at most 64 bytes".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format_version: MANIFEST_VERSION,
            backbone: BackboneId { name: "tiny".to_owned(), weights_sha256: "00".to_owned() },
            interface: Interface::Cache,
            pooling: Pooling::Mean,
            queries: 8,
            gate_threshold: 0.5,
            gate_curve: Vec::new(),
            gate_input: GateInput::default(),
            gate_activation: GateActivation::default(),
            gate_depth: None,
            thought: ThoughtFormat::default(),
            instructions: Instructions::default(),
            capitals: Capitals::default(),
            trained: false,
        }
    }

    #[track_caller]
    fn check_refused(key: &str, value: Value, want: &str) {
        let mut json: Value = serde_json::from_str(&manifest().to_json()).expect("JSON");
        json[key] = value;
        let problem = Manifest::parse(&json.to_string()).expect_err("refused");
        assert!(problem.contains(want), "{problem}");
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Manifest::parse(&manifest().to_json()), Ok(manifest()));
        assert!(manifest().to_json().contains(r#""pooling": "mean""#));
    }

    #[test]
    fn wrong_manifests_are_refused() {
        check_refused("format_version", json!(2), "update twn");
        check_refused("format_version", json!(0), "make it anew");
        check_refused("surprise", json!(1), "unknown field `surprise`");
        check_refused("queries", json!(0), "`queries` is 0");
        check_refused("queries", json!(257), "`queries` is 257");
        check_refused("gate_threshold", json!(1.5), "`gate_threshold` is 1.5");
        check_refused("gate_depth", json!(0), "`gate_depth` is 0");
        check_refused("interface", json!("telepathy"), "unknown variant");
        check_refused("pooling", json!("max"), "unknown variant");
        let point = |threshold: f64, tokens: f64| {
            json!({"threshold": threshold, "think_rate": 0.5, "ndcg_at_10": 0.5,
                   "reasoning_tokens_per_query": tokens})
        };
        check_refused("gate_curve", json!([point(0.5, 1.0), point(0.5, 0.0)]), "rising");
        check_refused("gate_curve", json!([point(0.5, -1.0)]), "out of range");
        check_refused("gate_curve", json!([point(1.5, 1.0)]), "out of range");
        check_refused("gate_curve", json!([point(0.5, 1e300)]), "out of range");
        let thought = json!({"open": "<t>", "close": " ", "token_budget": 3});
        check_refused("thought", thought, "must not be empty");
    }
}
