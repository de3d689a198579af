//! Our training as a contestant.

use std::{path::Path, time::Instant};

use anyhow::Context;
use serde_json::{Value, json};
use twn_encoder::{
    Pooling,
    adapter::{AdapterPlan, Adapters, Interface, StoredType},
    keep_freed_memory, model, open_device,
};
use twn_train::learn::{
    AdamW, AdamWOptions, Sequence, SequenceLimits, Sequencer, Stage, Student, Wiring, run_step,
};

use super::{
    Step,
    workload::{Sizes, Workload},
};

/// Tokens beside the content.
const FRAME_TOKENS: usize = 128;
const SEED: u64 = 1;

/// The shapes are twn-mini's, a middling stage's constants.
const STAGE: &str = r#"
name = "embedding"
steps = 1
batch = { pair = 1 }
learning_rate = 1e-4
grad_cache = true
temperature = 0.05
weights = { direct = 1.0 }
"#;

/// Our training, ready for its next step.
pub(super) struct Ours {
    sequencer: Sequencer,
    stage: Stage,
    /// Absent only while a step updates it.
    student: Option<Student>,
    optimizer: AdamW,
}

impl Ours {
    /// Loads the backbone and fresh adapters of twn-mini's shapes.
    ///
    /// # Errors
    /// Fails when the model cannot be loaded.
    pub(super) fn load(model: &Path, workload: &Workload, sizes: &Sizes) -> anyhow::Result<Self> {
        let mut stage: Stage = toml::from_str(STAGE).context("the stage")?;
        stage.pass_tokens_max = sizes.pass_tokens;
        // Which similarities pass the margin may hang on a rounding; the peer has none.
        stage.false_negative_margin = None;
        let plan = AdapterPlan {
            reasoning_rank: 8,
            embedding_rank: 12,
            queries: 4,
            interface: Interface::Reencode,
            pooling: Pooling::QueriesAndMean,
            dimension: Some(384),
            ..AdapterPlan::default()
        };
        keep_freed_memory();
        let device = open_device("flex")?.autodiff();
        let checkpoint = model::open(model)?;
        let adapters = Adapters::planned(&checkpoint, &plan, SEED, &device);
        let limits = SequenceLimits { content: sizes.content_tokens, frame: FRAME_TOKENS };
        let sequencer = Sequencer::new(&checkpoint, &adapters.manifest, limits)?;
        let positions = FRAME_TOKENS + sizes.content_tokens + plan.queries;
        let student = Student::new(&checkpoint, adapters, positions, Wiring::default(), &device)?;
        let optimizer = AdamW::new(AdamWOptions::default());
        let ours = Self { sequencer, stage, student: Some(student), optimizer };
        ours.sequences(workload)?;
        Ok(ours)
    }

    /// Writes the adapters for the peer.
    ///
    /// # Errors
    /// Fails when they cannot be written.
    pub(super) fn write_adapters(&self, folder: &Path) -> anyhow::Result<()> {
        let student = self.student.as_ref().context("a step has failed")?;
        Ok(student.adapters.write(folder, StoredType::F32)?)
    }

    /// Takes a step.
    ///
    /// # Errors
    /// Fails when the step does.
    pub(super) fn step(&mut self, workload: &Workload) -> anyhow::Result<Step> {
        let drawn = workload.drawn();
        let mut student = self.student.take().context("a step has failed")?;
        let started = Instant::now();
        let (losses, gradients) = run_step(&student, &self.sequencer, None, &drawn, &self.stage)?;
        let rate = self.stage.learning_rate;
        // The norm is read back, so that everything before it has run.
        (student.adapters, _) = self.optimizer.step(student.adapters, gradients, rate);
        let seconds = started.elapsed().as_secs_f64();
        self.student = Some(student);
        let loss = losses.direct.context("a step without a loss")?;
        Ok(Step { seconds, loss: f64::from(loss) })
    }

    /// The same step as the peer is asked for it.
    ///
    /// # Errors
    /// Fails when a text cannot be made into a prompt.
    pub(super) fn request(&self, workload: &Workload) -> anyhow::Result<Value> {
        let (queries, documents) = self.sequences(workload)?;
        let texts = |sequences: &[Sequence]| -> Vec<Value> {
            let text = |one: &Sequence| json!({ "tokens": one.tokens, "content": [one.content.start, one.content.end] });
            sequences.iter().map(text).collect()
        };
        let constants = AdamWOptions::default();
        Ok(json!({
            "op": "step",
            "queries": texts(&queries),
            "documents": texts(&documents),
            "positive": (0..queries.len()).collect::<Vec<_>>(),
            "temperature": self.stage.temperature,
            "pass_tokens": self.stage.pass_tokens_max,
            "learning_rate": self.stage.learning_rate,
            "betas": [constants.beta_1, constants.beta_2],
            "epsilon": constants.epsilon,
            "weight_decay": constants.weight_decay,
            "norm_max": constants.norm_max,
        }))
    }

    /// Tokens of all texts.
    ///
    /// # Errors
    /// Fails when a text cannot be made into a prompt.
    pub(super) fn tokens(&self, workload: &Workload) -> anyhow::Result<usize> {
        let (queries, documents) = self.sequences(workload)?;
        Ok(queries.iter().chain(&documents).map(|one| one.tokens.len()).sum())
    }

    fn sequences(&self, workload: &Workload) -> anyhow::Result<(Vec<Sequence>, Vec<Sequence>)> {
        let queries = workload.queries().map(|text| self.sequencer.query(text, None));
        let documents = workload.documents().map(|text| self.sequencer.document(text));
        Ok((queries.collect::<Result<_, _>>()?, documents.collect::<Result<_, _>>()?))
    }
}
