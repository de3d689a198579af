//! One recipe in several variants, trained and evaluated alike, in one table.
//!
//! A plan names a recipe, a test collection and the variants, each a set of changes to the
//! recipe. Everything else is the same: data, seed, steps. Each variant has a folder in the
//! run's; what is finished there is not done again, so that a run that was broken off goes on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use twn_encoder::{
    Encoder, LoadOptions, ReasoningMode,
    adapter::{Adapters, StoredType},
    model, open_device,
};

use super::{
    CalibrateOptions, Recipe, RecipeChange, RunEnd, TrainError, TrainEvent, TrainOptions,
    calibrate, train,
};
use crate::eval::{
    Beir, EvalOptions, Evaluation, LocalOptions, LocalSource, Report, ReportOptions, Significance,
    evaluate, paired_bootstrap, read_baseline,
};

const EVALUATION: &str = "evaluation.json";
const MODES: [ReasoningMode; 3] =
    [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];
const BOOTSTRAP_SAMPLES: u32 = 10_000;
const BOOTSTRAP_SEED: u64 = 20_260_101;
/// Variants of a plan at most.
const VARIANTS_MAX: usize = 64;

/// What to compare, and on what. A TOML file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblationPlan {
    /// The recipe, relative to the plan.
    pub recipe: PathBuf,
    /// The test collection in BEIR's layout, relative to the plan.
    pub evaluate: PathBuf,
    /// A test collection to fit each variant's gate on, relative to the plan; without one
    /// `adaptive` decides by gates that know nothing.
    #[serde(default)]
    pub gate: Option<PathBuf>,
    /// Evaluates the first so many queries only.
    #[serde(default)]
    pub queries: Option<usize>,
    /// Changes that all variants have.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// The variants. The first is what the others are compared with.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// One way to train.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Names its folder and its rows.
    pub name: String,
    /// Changes to the recipe.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
}

/// What to run, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationOptions {
    /// The plan.
    pub plan: PathBuf,
    /// Changes on top of the plan's, for all variants.
    pub changes: Vec<RecipeChange>,
    /// The backbone, and how the variants' encoders are loaded for their evaluation.
    pub load: LoadOptions,
    /// The variants' folders go here.
    pub run: PathBuf,
    /// Stops after so many seconds, at a checkpoint; going on later is as if it had not.
    pub seconds_max: Option<u64>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AblationRow {
    /// Name of the variant.
    pub variant: String,
    /// `never`, `adaptive` or `always`.
    pub mode: String,
    /// Mean quality.
    pub ndcg_at_10: f64,
    /// Share of the queries that were thought about.
    pub think_rate: f64,
    /// Thought tokens of a query on average.
    pub reasoning_tokens_per_query: f64,
    /// This row less the first variant's of the same mode; absent for that one.
    pub difference: Option<Significance>,
}

/// What an ablation has so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AblationTable {
    /// Name of the test collection.
    pub data: String,
    /// Queries evaluated.
    pub queries: usize,
    /// Whether gates were fitted.
    pub gates_fitted: bool,
    /// The variants that are finished, three rows each.
    pub rows: Vec<AblationRow>,
    /// The variants that are not.
    pub unfinished: Vec<String>,
}

/// What an ablation is at.
#[derive(Debug, Clone, PartialEq)]
pub enum AblationEvent<'a> {
    /// A variant trains.
    Train(&'a str, &'a TrainEvent<'a>),
    /// A variant's gate is being fitted.
    Gate(&'a str),
    /// A variant is being evaluated.
    Evaluate(&'a str),
}

impl AblationPlan {
    /// Reads and checks a plan. Paths in it count from its folder.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is no plan.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let refuse = |problem: String| TrainError::file(path, problem);
        let text = fs_err::read_to_string(path)?;
        let mut plan: Self = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if plan.variants.is_empty() || plan.variants.len() > VARIANTS_MAX {
            let problem =
                format!("{} variants, 1 to {VARIANTS_MAX} are allowed", plan.variants.len());
            return Err(refuse(problem));
        }
        let mut names = std::collections::BTreeSet::new();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for Variant { name, .. } in &plan.variants {
            if name.is_empty() || !name.chars().all(plain) {
                return Err(refuse(format!("variant `{name}`: letters, digits, `-` and `_` only")));
            }
            if !names.insert(name) {
                return Err(refuse(format!("two variants are called `{name}`")));
            }
        }
        if plan.queries == Some(0) {
            return Err(refuse("`queries` is 0".to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in [&mut plan.recipe, &mut plan.evaluate].into_iter().chain(&mut plan.gate) {
            *file = folder.join(&file);
        }
        Ok(plan)
    }

    /// The changes of a variant, the plan's first.
    ///
    /// # Errors
    /// Refuses a key that is none.
    fn changes(&self, variant: &Variant) -> Result<Vec<RecipeChange>, TrainError> {
        let all = self.set.iter().chain(&variant.set);
        let change = |(key, value): (&String, &toml::Value)| RecipeChange::new(key, value.clone());
        let named = |problem| TrainError::recipe(format!("variant `{}`: {problem}", variant.name));
        all.map(change).collect::<Result<_, _>>().map_err(named)
    }
}

/// Trains and evaluates the variants of a plan, or goes on with them.
///
/// # Errors
/// Fails when plan, recipe, data or model cannot be used, or a training fails.
pub fn ablate(
    options: &AblationOptions,
    device: &Device,
    progress: &mut dyn FnMut(&AblationEvent<'_>),
) -> Result<AblationTable, TrainError> {
    let plan = AblationPlan::read(&options.plan)?;
    let data = Beir::read(&plan.evaluate)?;
    let valid = plan.gate.as_deref().map(Beir::read).transpose()?;
    let mut changes = Vec::new();
    for variant in &plan.variants {
        let mut own = plan.changes(variant)?;
        own.extend(options.changes.iter().cloned());
        // A variant that cannot be is said before hours are spent on the others.
        Recipe::read_changed(&plan.recipe, &own)?;
        changes.push(own);
    }
    let started = Instant::now();
    let mut finished = Vec::new();
    let mut unfinished = Vec::new();
    for (variant, changes) in plan.variants.iter().zip(changes) {
        let left = options.seconds_max.map(|max| max.saturating_sub(started.elapsed().as_secs()));
        let run = options.run.join(&variant.name);
        let mut under_way = UnderWay { name: &variant.name, run: &run, options, progress };
        // Time that is up still trains a step of each variant; those that wait do not begin.
        let is_over = left == Some(0) && !(finished.is_empty() && unfinished.is_empty());
        if is_over || under_way.train(&plan, changes, left, device)? == RunEnd::Paused {
            unfinished.push(variant.name.clone());
            continue;
        }
        if let Some(valid) = &valid {
            under_way.fit_gate(valid)?;
        }
        finished.push((variant.name.clone(), under_way.evaluate(&plan, &data)?));
    }
    let queries = eval_options(&plan, "").queries(&data);
    Ok(AblationTable {
        data: data.name.clone(),
        queries,
        gates_fitted: valid.is_some(),
        rows: rows(&finished),
        unfinished,
    })
}

/// A variant under way.
struct UnderWay<'a> {
    name: &'a str,
    run: &'a Path,
    options: &'a AblationOptions,
    progress: &'a mut dyn FnMut(&AblationEvent<'_>),
}

impl UnderWay<'_> {
    fn train(
        &mut self,
        plan: &AblationPlan,
        changes: Vec<RecipeChange>,
        seconds_max: Option<u64>,
        device: &Device,
    ) -> Result<RunEnd, TrainError> {
        let options = TrainOptions {
            recipe: plan.recipe.clone(),
            changes,
            model: self.options.load.model.clone(),
            adapters: None,
            run: self.run.to_owned(),
            seconds_max,
        };
        let (name, progress) = (self.name, &mut self.progress);
        train(&options, device, &mut |event| progress(&AblationEvent::Train(name, event)))
    }

    fn trained(&self) -> PathBuf {
        self.run.join("adapters")
    }

    /// Where the adapters with a fitted gate are.
    fn gated(&self) -> PathBuf {
        self.run.join("gated")
    }

    /// Fits the gate, unless that was done. Where thoughts help every query or none there is
    /// nothing to fit, and the gate stays as it was.
    fn fit_gate(&mut self, valid: &Beir) -> Result<(), TrainError> {
        if self.gated().join("twn.json").exists() {
            return Ok(());
        }
        (self.progress)(&AblationEvent::Gate(self.name));
        let checkpoint = model::open(&self.options.load.model)?;
        let device = open_device("flex")?;
        let mut adapters = Adapters::read(&self.trained(), &checkpoint, &device)?;
        let mut encoder = self.load(&self.trained())?;
        let options = CalibrateOptions::default();
        match calibrate(&mut encoder, &mut adapters, valid, &options, &mut |_| {}) {
            Ok(_) | Err(TrainError::NoGate { .. }) => {}
            Err(error) => return Err(error),
        }
        // Written aside first: a folder that is there counts as whole.
        let fresh = self.run.join("gated.new");
        adapters.write(&fresh, StoredType::F32)?;
        Ok(fs_err::rename(fresh, self.gated())?)
    }

    fn load(&self, adapters: &Path) -> Result<Encoder, TrainError> {
        let adapters = Some(adapters.to_owned());
        Ok(Encoder::load(&LoadOptions { adapters, ..self.options.load.clone() })?)
    }

    /// Evaluates, or reads what was evaluated before.
    fn evaluate(
        &mut self,
        plan: &AblationPlan,
        data: &Beir,
    ) -> Result<Vec<Evaluation>, TrainError> {
        let path = self.run.join(EVALUATION);
        let options = eval_options(plan, self.name);
        if !path.exists() {
            (self.progress)(&AblationEvent::Evaluate(self.name));
            let adapters = if plan.gate.is_some() { self.gated() } else { self.trained() };
            let mut encoder = self.load(&adapters)?;
            let mut source = LocalSource::new(&mut encoder, LocalOptions::default())?;
            let seen = evaluate(&mut source, data, &options, &mut |_| {})?;
            let how = ReportOptions { per_query: true, ..ReportOptions::default() };
            let report = Report::new(data, Vec::new(), seen, how)?;
            let fresh = self.run.join("evaluation.new");
            fs_err::write(&fresh, serde_json::to_vec(&report).expect("plain data serialises"))?;
            fs_err::rename(fresh, &path)?;
        }
        Ok(read_baseline(&path, data, &options)?)
    }
}

fn eval_options(plan: &AblationPlan, name: &str) -> EvalOptions {
    EvalOptions {
        modes: MODES.to_vec(),
        judge_gate: true,
        system: Some(name.to_owned()),
        limit_queries: plan.queries,
        ..EvalOptions::default()
    }
}

/// The table's rows: each compared with the first variant's of the same mode.
fn rows(finished: &[(String, Vec<Evaluation>)]) -> Vec<AblationRow> {
    let scores = |evaluation: &Evaluation| -> Vec<f64> {
        let results = evaluation.per_query.iter().flatten();
        results.map(|result| result.scores.ndcg_at_10).collect()
    };
    let mut rows = Vec::new();
    for (name, evaluations) in finished {
        for evaluation in evaluations {
            let mode = evaluation.row.mode.clone().unwrap_or_default();
            let first = finished[0].1.iter().find(|other| other.row.mode == evaluation.row.mode);
            let difference = first.filter(|_| *name != finished[0].0).and_then(|first| {
                let (own, other) = (scores(evaluation), scores(first));
                paired_bootstrap(&own, &other, BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED)
            });
            rows.push(AblationRow {
                variant: name.clone(),
                mode,
                ndcg_at_10: evaluation.row.scores.ndcg_at_10,
                think_rate: evaluation.row.think_rate.unwrap_or_default(),
                reasoning_tokens_per_query: evaluation
                    .row
                    .reasoning_tokens_per_query
                    .unwrap_or_default(),
                difference,
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("plan.toml");
        fs_err::write(&path, text).expect("writable");
        let problem = AblationPlan::read(&path).expect_err("refused").to_string();
        assert!(problem.contains(want), "{problem}");
    }

    #[test]
    fn every_variant_of_the_shipped_plan_is_a_recipe_of_its_own() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let plan = AblationPlan::read(&recipes.join("twn-mini-ablations.toml")).expect("valid");
        let mut seen: Vec<Recipe> = Vec::new();
        for variant in &plan.variants {
            let changes = plan.changes(variant).expect("keys");
            let recipe = Recipe::read_changed(&plan.recipe, &changes).expect(&variant.name);
            assert!(!seen.contains(&recipe), "{}", variant.name);
            assert_eq!(recipe.stages[1].steps, 100);
            seen.push(recipe);
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn wrong_plans_are_refused() {
        let head = "recipe = \"r.toml\"\nevaluate = \"test\"\n";
        check_refused(&format!("{head}variant = []\n"), "0 variants");
        check_refused(&format!("{head}[[variant]]\nname = \"a/b\"\n"), "letters, digits");
        let twice = "[[variant]]\nname = \"a\"\n".repeat(2);
        check_refused(&format!("{head}{twice}"), "two variants are called `a`");
        check_refused(&format!("{head}queries = 0\n[[variant]]\nname = \"a\"\n"), "`queries` is 0");
        check_refused(&format!("{head}[[variant]]\nname = \"a\"\nsurprise = 1\n"), "unknown field");
    }
}
