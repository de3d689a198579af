//! A recipe: what to train, on what, in which stages. A TOML file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use twn_encoder::{
    Pooling,
    adapter::{AdapterPlan, Interface},
};

use super::{AdamWOptions, Evaluate, RecipeChange, TrainError, Wiring};

/// Most neighbours that a text alone brings.
const NEIGHBOURS_MAX: usize = 256;

/// What to train, on what, in which stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of initial values and of the order of the data.
    #[serde(default)]
    pub seed: u64,
    /// Shapes and texts of the adapters.
    #[serde(default)]
    pub adapters: AdapterPlan,
    /// How the adapters meet while training.
    #[serde(default)]
    pub wiring: Wiring,
    /// Files of examples, relative to the recipe, by the kind that their examples have
    /// unless they name another.
    pub data: BTreeMap<String, PathBuf>,
    /// Vectors of a teacher for texts of the data, as `minilm_vectors.py` writes them.
    #[serde(default)]
    pub teacher: Option<PathBuf>,
    /// The most tokens of a text; longer ones are cut.
    #[serde(default = "default_content_tokens")]
    pub content_tokens_max: usize,
    /// Threads that decode the adapter's own thoughts; 0 takes one for each core.
    #[serde(default)]
    pub sampler_threads: usize,
    /// Held-out data to evaluate on while training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<Evaluate>,
    /// What is done, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

/// One stage of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Names the stage in the log and the checkpoints.
    pub name: String,
    /// Leaves the stage out.
    #[serde(default)]
    pub skip: bool,
    /// Optimiser steps.
    pub steps: usize,
    /// Examples of each kind in a step.
    pub batch: BTreeMap<String, usize>,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps of linear rise to it; a cosine falls to a tenth of it afterwards.
    #[serde(default)]
    pub warmup: usize,
    /// Positions of one forward pass at most, padding included; where beginnings that texts share
    /// run once, they count once.
    #[serde(default = "default_pass_tokens")]
    pub pass_tokens_max: usize,
    /// Encodes in two rounds, so that a step's memory is that of one pass (GradCache,
    /// arXiv 2101.06983); costs a forward pass more.
    #[serde(default)]
    pub grad_cache: bool,
    /// Negatives of one example at most.
    #[serde(default = "default_negatives")]
    pub negatives_max: usize,
    /// Chance that a text is put into capitals, or into lower case: search must not
    /// depend on case.
    #[serde(default)]
    pub case_noise: f64,
    /// Chance that an example is embedded after a thought which the reasoning adapter
    /// writes itself, instead of the written one; an example without a written thought is
    /// embedded after one by the same chance.
    #[serde(default)]
    pub sampled_thoughts: f64,
    /// Temperature of those thoughts; 0 is greedy.
    #[serde(default = "default_thought_temperature")]
    pub thought_temperature: f32,
    /// Texts alone come in neighbourhoods: each that is drawn brings so many of the nearest by the
    /// teacher's vectors, and the batch's count has them all. Each is a query or a document by
    /// chance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub neighbours: usize,
    /// Weights of the losses.
    #[serde(default)]
    pub weights: Weights,
    /// Reinforces thoughts by what they do for the embedding, instead of any loss above.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Similarities are divided by it.
    #[serde(default = "default_temperature")]
    pub temperature: f32,
    /// More similar than the positive by more than this is taken for a false negative.
    #[serde(default = "default_margin")]
    pub false_negative_margin: Option<f32>,
    /// The optimiser's constants.
    #[serde(default)]
    pub optimizer: AdamWOptions,
    /// Steps between two checkpoints; the end of a stage is one.
    #[serde(default = "default_checkpoint")]
    pub checkpoint_every: usize,
}

/// Weights of the losses; a loss of weight 0 is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Next tokens of thoughts, under the reasoning adapter.
    pub thought: f64,
    /// InfoNCE of direct queries.
    pub direct: f64,
    /// InfoNCE of queries with their thoughts.
    pub reasoned: f64,
    /// Cosine distance to the teacher.
    pub cosine: f64,
    /// Divergence of the batch's similarities from the teacher's.
    pub similarity: f64,
}

/// Embedding-guided reinforcement of thoughts (GRPO).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Thoughts sampled for each example.
    pub group: usize,
    /// Sampling temperature.
    pub temperature: f32,
    /// Tokens of one thought at most.
    pub token_budget: u32,
    /// Reward of a thought that closes itself.
    pub format_reward: f32,
    /// Reward of a positive that ranks first; less by its reciprocal rank.
    pub rank_reward: f32,
    /// Reward a unit of similarity by which the positive leads the nearest negative.
    pub gap_reward: f32,
    /// Price of one token.
    pub token_price: f32,
    /// The probability ratio counts up to `1 - clip_low`…
    pub clip_low: f32,
    /// … and `1 + clip_high`.
    pub clip_high: f32,
    /// Weight of the divergence from the adapter that the stage begins with.
    pub kl_weight: f32,
    /// Ends the stage early, keeping the adapter, when the mean divergence exceeds this:
    /// the guard against collapse.
    pub kl_max: f32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            group: 8,
            temperature: 1.0,
            token_budget: 48,
            format_reward: 0.2,
            rank_reward: 1.0,
            gap_reward: 2.0,
            token_price: 0.005,
            clip_low: 0.2,
            clip_high: 0.28,
            kl_weight: 0.04,
            kl_max: 1.0,
        }
    }
}

impl Recipe {
    /// Reads and checks a recipe. Paths in it count from its folder.
    ///
    /// # Errors
    /// Fails when the file cannot be read, is no recipe, or has a value out of range.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        Self::read_changed(path, &[])
    }

    /// The same with changes, which are made before anything is checked.
    ///
    /// # Errors
    /// As [`Self::read`], and when a change fits nothing.
    pub fn read_changed(path: &Path, changes: &[RecipeChange]) -> Result<Self, TrainError> {
        let refuse = |problem: String| TrainError::file(path, problem);
        let text = fs_err::read_to_string(path)?;
        let mut table: toml::Table =
            toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        for change in changes {
            let named = |problem| refuse(format!("change `{change}`: {problem}"));
            change.apply(&mut table).map_err(named)?;
        }
        // Unchanged from the text, so that an error has its line.
        let read = if changes.is_empty() { toml::from_str(&text) } else { table.try_into() };
        let mut recipe: Self = read.map_err(|error| refuse(error.to_string()))?;
        recipe.stages.retain(|stage| !stage.skip);
        recipe.check()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let held_out = recipe.evaluate.as_mut().map(|evaluate| &mut evaluate.path);
        for file in recipe.data.values_mut().chain(&mut recipe.teacher).chain(held_out) {
            *file = folder.join(&file);
        }
        Ok(recipe)
    }

    fn check(&self) -> Result<(), TrainError> {
        let refuse = |problem: String| Err(TrainError::recipe(problem));
        let shapes = &self.adapters;
        if shapes.reasoning_rank == 0 || shapes.embedding_rank == 0 {
            return refuse("ranks must be at least 1".to_owned());
        }
        if !(1..=64).contains(&shapes.queries) {
            return refuse(format!("`adapters.queries` is {}, must be 1 to 64", shapes.queries));
        }
        if shapes.dimension == Some(0) {
            return refuse("`adapters.dimension` is 0".to_owned());
        }
        if shapes.gate_depth == Some(0) {
            return refuse("`adapters.gate_depth` is 0".to_owned());
        }
        if self.content_tokens_max == 0 {
            return refuse("`content_tokens_max` is 0".to_owned());
        }
        if self.stages.is_empty() {
            return refuse("has no stage".to_owned());
        }
        if let Some(Evaluate { every, queries, documents, .. }) = &self.evaluate
            && [every, queries, documents].contains(&&0)
        {
            return refuse("`evaluate` has a 0".to_owned());
        }
        let mut names = std::collections::BTreeSet::new();
        for stage in &self.stages {
            if !names.insert(&stage.name) {
                return refuse(format!("two stages are called `{}`", stage.name));
            }
            stage.check(self)?;
        }
        Ok(())
    }
}

impl Stage {
    /// The learning rate of step `step`, counted from 0.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        let length = (self.steps - self.warmup).max(1) as f64;
        let way = (step - self.warmup) as f64 / length;
        let cosine = (1.0 + (std::f64::consts::PI * way.min(1.0)).cos()) / 2.0;
        self.learning_rate * (0.1 + 0.9 * cosine)
    }

    fn check(&self, recipe: &Recipe) -> Result<(), TrainError> {
        let refuse =
            |problem: String| Err(TrainError::recipe(format!("stage `{}`: {problem}", self.name)));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return refuse("a name has letters, digits, `-` and `_`".to_owned());
        }
        if self.steps == 0 || self.checkpoint_every == 0 {
            return refuse("`steps` and `checkpoint_every` must be at least 1".to_owned());
        }
        if self.warmup > self.steps {
            return refuse("`warmup` is longer than the stage".to_owned());
        }
        if let Some(kind) = self.batch.keys().find(|kind| !recipe.data.contains_key(*kind)) {
            return refuse(format!("`batch` names `{kind}`, which `data` does not"));
        }
        if self.batch.values().sum::<usize>() == 0 {
            return refuse("`batch` is empty".to_owned());
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("`learning_rate` must be positive".to_owned());
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return refuse("`temperature` must be positive".to_owned());
        }
        if !(0.0..=1.0).contains(&self.case_noise) {
            return refuse("`case_noise` must be 0 to 1".to_owned());
        }
        if !(0.0..=1.0).contains(&self.sampled_thoughts) {
            return refuse("`sampled_thoughts` must be 0 to 1".to_owned());
        }
        if !(0.0..=2.0).contains(&self.thought_temperature) {
            return refuse("`thought_temperature` must be 0 to 2".to_owned());
        }
        if self.sampled_thoughts > 0.0 && self.weights.reasoned == 0.0 {
            return refuse("`sampled_thoughts` needs a weight of `reasoned`".to_owned());
        }
        let weights = &self.weights;
        let all =
            [weights.thought, weights.direct, weights.reasoned, weights.cosine, weights.similarity];
        if !all.iter().all(|weight| *weight >= 0.0 && weight.is_finite()) {
            return refuse("weights must not be negative".to_owned());
        }
        let shapes = &recipe.adapters;
        let embeds = all[1..].iter().any(|weight| *weight > 0.0);
        let learns = shapes.interface == Interface::Reencode
            || !recipe.wiring.detach
            || shapes.pooling != Pooling::Mean
            || shapes.dimension.is_some();
        if embeds && !learns {
            return refuse(
                "nothing learns: the mean of detached states has no projection; set \
                 `adapters.dimension`, or another pooling or interface"
                    .to_owned(),
            );
        }
        match &self.policy {
            None if all.iter().all(|weight| *weight == 0.0) => {
                return refuse("every weight is 0".to_owned());
            }
            Some(_) if all.iter().any(|weight| *weight > 0.0) => {
                return refuse("has losses and a policy; give each a stage".to_owned());
            }
            Some(policy) if policy.group < 2 || policy.token_budget == 0 => {
                return refuse("a policy needs groups of 2 or more, and tokens".to_owned());
            }
            Some(policy) if policy.token_budget > recipe.adapters.thought.token_budget => {
                return refuse("the policy's thoughts are longer than the adapters'".to_owned());
            }
            _ => {}
        }
        if (weights.cosine > 0.0 || weights.similarity > 0.0) && recipe.teacher.is_none() {
            return refuse("distils, but the recipe names no `teacher`".to_owned());
        }
        if self.neighbours > NEIGHBOURS_MAX {
            return refuse(format!("{} neighbours, at most {NEIGHBOURS_MAX}", self.neighbours));
        }
        if self.neighbours > 0 && weights.similarity == 0.0 {
            return refuse("wants neighbours, but has no loss `similarity`".to_owned());
        }
        Ok(())
    }
}

/// Leaves a setting that is not used out of the digest by which a paused run knows its recipe.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn default_content_tokens() -> usize {
    128
}

fn default_pass_tokens() -> usize {
    2_048
}

fn default_negatives() -> usize {
    4
}

fn default_temperature() -> f32 {
    0.05
}

fn default_thought_temperature() -> f32 {
    0.7
}

fn default_margin() -> Option<f32> {
    Some(0.1)
}

fn default_checkpoint() -> usize {
    100
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINI: &str = include_str!("../../recipes/twn-mini.toml");

    fn read(text: &str) -> Result<Recipe, String> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("recipe.toml");
        fs_err::write(&path, text).expect("writable");
        Recipe::read(&path).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, want: &str) {
        assert!(MINI.contains(from), "the recipe has `{from}`");
        let problem = read(&MINI.replacen(from, to, 1)).expect_err("refused");
        assert!(problem.contains(want), "{problem}");
    }

    #[test]
    fn the_shipped_recipe_is_read() {
        let recipe = read(MINI).expect("valid");
        assert_eq!((recipe.adapters.reasoning_rank, recipe.adapters.embedding_rank), (8, 12));
        assert!(recipe.wiring.detach && !recipe.wiring.single);
        let names: Vec<&str> = recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["reasoning", "embedding", "policy"]);
        let rates = &recipe.stages[1];
        assert!(rates.learning_rate_at(0) < rates.learning_rate_at(19));
        assert!((rates.learning_rate_at(19) - rates.learning_rate).abs() < 1e-12);
        assert!(rates.learning_rate_at(299) < 0.11 * rates.learning_rate);
        assert_eq!(rates.sampled_thoughts, 0.5);
        let evaluate = recipe.evaluate.expect("evaluates");
        assert!(evaluate.thoughts && evaluate.path.ends_with("valid/mixed"));
    }

    #[test]
    fn wrong_recipes_are_refused() {
        check_refused("queries = 4", "queries = 0", "`adapters.queries` is 0");
        check_refused("gate_depth = 18", "gate_depth = 0", "`adapters.gate_depth` is 0");
        check_refused("seed =", "sead =", "unknown field `sead`");
        check_refused("steps = 240", "steps = 0", "at least 1");
        check_refused("warmup = 10", "warmup = 241", "longer than the stage");
        check_refused("teacher = \"minilm\"", "", "names no `teacher`");
        check_refused("thought = 1.0", "thought = 0.0", "every weight is 0");
        check_refused("resolving = 160", "riddles = 160", "names `riddles`");
        check_refused("name = \"embedding\"", "name = \"reasoning\"", "two stages");
        check_refused("group = 8", "group = 1", "groups of 2 or more");
        let plain = MINI.replace("pooling = \"queries+mean\"", "pooling = \"mean\"");
        let plain = plain.replace("interface = \"reencode\"", "interface = \"cache\"");
        let problem = read(&plain.replace("dimension = 384\n", "")).expect_err("refused");
        assert!(problem.contains("nothing learns"), "{problem}");
        assert!(read(&plain).is_ok());
        check_refused("every = 20", "every = 0", "`evaluate` has a 0");
        check_refused("sampled_thoughts = 0.5", "sampled_thoughts = 2.0", "0 to 1");
        check_refused("reasoned = 1.0", "reasoned = 0.0", "needs a weight of `reasoned`");
        check_refused("temperature = 1.0, token_budget = 48", "token_budget = 49", "longer than");
    }
}
