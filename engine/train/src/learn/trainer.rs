//! A whole run: the recipe's stages, one after another, with checkpoints and a log.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::tensor::Device;
use serde::Serialize;
use sha2::{Digest, Sha256};
use twn_encoder::{
    Pooling,
    adapter::{Adapters, Lora, StoredType, read_peft, write_peft},
    model,
};

use super::{
    AdamW, Draw, Example, OptimizerState, ParameterGradients, Place, PolicyFigures, Recipe,
    SequenceLimits, Sequencer, Stage, StepLosses, Student, Teacher, TrainError, checkpoint,
    closed_form, policy::Reinforcement, read_examples, run_step,
};

/// Tokens beside content and thought: template, instruction, markers.
const FRAME_TOKENS: usize = 128;

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOptions {
    /// The recipe.
    pub recipe: PathBuf,
    /// The backbone: a GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// Adapters to begin from; `None` begins afresh.
    pub adapters: Option<PathBuf>,
    /// Checkpoints, log and result go here; a run that was begun here goes on.
    pub run: PathBuf,
    /// Stops after so many seconds, at a checkpoint; going on later is as if it had not.
    pub seconds_max: Option<u64>,
}

/// One line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Counted from 1.
    pub step: usize,
    /// Steps of the stage.
    pub steps: usize,
    /// The weighted sum of the losses.
    pub loss: f32,
    /// The losses.
    #[serde(flatten)]
    pub losses: StepLosses,
    /// What a step of reinforcement saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFigures>,
    /// Norm of the gradients before it was bounded.
    pub gradient_norm: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Time of the step.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// All stages are done; `RUN/adapters` holds the result.
    Complete,
    /// The time was up; the run can go on.
    Paused,
}

/// A run under way.
struct Run<'a> {
    recipe: &'a Recipe,
    digest: String,
    folder: PathBuf,
    model: PathBuf,
    data: BTreeMap<String, Vec<Example>>,
    teacher: Option<Teacher>,
    log: fs_err::File,
    started: Instant,
    seconds_max: Option<u64>,
}

/// Trains, or goes on training, on `device` (which must have autodiff).
///
/// # Errors
/// Fails when recipe, data, model or checkpoint cannot be used, a file cannot be written,
/// or the loss is not finite any more.
pub fn train(
    options: &TrainOptions,
    device: &Device,
    progress: &mut dyn FnMut(&LogLine<'_>),
) -> Result<RunEnd, TrainError> {
    let recipe = Recipe::read(&options.recipe)?;
    let digest = digest(&recipe, &options.model);
    fs_err::create_dir_all(&options.run)?;
    let opened = model::open(&options.model)?;
    let data = read_data(&recipe)?;
    let teacher = recipe.teacher.as_deref().map(Teacher::read).transpose()?;
    let resumed = checkpoint::load(&options.run, &digest, &opened, device)?;
    let begun_afresh = resumed.is_none();
    let (place, adapters, state) = match resumed {
        Some((place, adapters, state)) => (place, adapters, Some(state)),
        None => {
            let adapters = match &options.adapters {
                Some(folder) => Adapters::read(folder, &opened, device)?,
                None => Adapters::planned(&opened, &recipe.adapters, recipe.seed, device),
            };
            (Place { recipe: digest.clone(), stage: 0, step: 0 }, adapters, None)
        }
    };
    let log =
        fs_err::OpenOptions::new().create(true).append(true).open(options.run.join("log.jsonl"))?;
    let mut run = Run {
        recipe: &recipe,
        digest,
        folder: options.run.clone(),
        model: options.model.clone(),
        data,
        teacher,
        log,
        started: Instant::now(),
        seconds_max: options.seconds_max,
    };
    let positions = FRAME_TOKENS
        .saturating_add(recipe.content_tokens_max)
        .saturating_add(adapters.manifest.thought.token_budget as usize)
        .saturating_add(adapters.queries.count());
    let max = opened.config.max_positions;
    if positions > max {
        let problem = format!("texts with thoughts may have {positions} tokens, the model {max}");
        return Err(TrainError::recipe(problem));
    }
    let limits = SequenceLimits { content: recipe.content_tokens_max, frame: FRAME_TOKENS };
    let sequencer = Sequencer::new(&opened, &adapters.manifest, limits)?;
    if let Some(teacher) = &run.teacher {
        let own = adapters.pooler.dimension(opened.config.hidden_size);
        if teacher.dimension() != own {
            let problem = format!(
                "the teacher's vectors have {} dimensions, the adapters' {own}",
                teacher.dimension()
            );
            return Err(TrainError::recipe(problem));
        }
    }
    let mut student = Student::new(&opened, adapters, positions, recipe.wiring, device)?;
    if begun_afresh && options.adapters.is_none() {
        run.start_mean_projection(&mut student, &sequencer)?;
    }
    run.stages(student, &sequencer, place, state, progress)
}

impl Run<'_> {
    /// Fits the projection of the means to the teacher in closed form: far nearer to where
    /// training ends than a random one.
    fn start_mean_projection(
        &self,
        student: &mut Student,
        sequencer: &Sequencer,
    ) -> Result<(), TrainError> {
        let pooling = self.recipe.adapters.pooling;
        let (Some(teacher), true) = (&self.teacher, pooling != Pooling::Queries) else {
            return Ok(());
        };
        closed_form::fit_mean_projection(student, sequencer, teacher, &self.data, self.recipe.seed)
    }

    fn stages(
        &mut self,
        mut student: Student,
        sequencer: &Sequencer,
        place: Place,
        mut state: Option<OptimizerState>,
        progress: &mut dyn FnMut(&LogLine<'_>),
    ) -> Result<RunEnd, TrainError> {
        let first = place.stage;
        for (index, stage) in self.recipe.stages.iter().enumerate().skip(first) {
            let step = if index == first { place.step } else { 0 };
            let mut optimizer = match state.take().filter(|_| step > 0) {
                Some(state) => AdamW::resume(stage.optimizer, state, &student.adapters)
                    .ok_or_else(|| TrainError::file(&self.folder, "moments fit no parameter"))?,
                None => AdamW::new(stage.optimizer),
            };
            let end;
            (student, end) =
                self.stage(index, stage, step, student, &mut optimizer, sequencer, progress)?;
            if end == RunEnd::Paused {
                return Ok(end);
            }
        }
        student.adapters.manifest.trained = true;
        let folder = self.folder.join("adapters");
        student.adapters.write(&folder, StoredType::F32)?;
        Ok(RunEnd::Complete)
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one stage, used here alone")]
    fn stage(
        &mut self,
        index: usize,
        stage: &Stage,
        first: usize,
        mut student: Student,
        optimizer: &mut AdamW,
        sequencer: &Sequencer,
        progress: &mut dyn FnMut(&LogLine<'_>),
    ) -> Result<(Student, RunEnd), TrainError> {
        let seed = self.recipe.seed.wrapping_add(index as u64 + 1);
        let data = std::mem::take(&mut self.data);
        let mut draw = Draw::new(&data, &stage.batch, seed);
        let mut end = RunEnd::Complete;
        let reinforcement = match &stage.policy {
            Some(policy) => {
                let reference = self.reference(index, &student)?;
                let scratch = self.folder.join("sampler");
                Some(Reinforcement::new(policy, reference, &self.model, &scratch))
            }
            None => None,
        };
        for step in first..stage.steps {
            let started = Instant::now();
            let drawn = draw.step(step, stage.negatives_max, stage.case_noise);
            let mut figures = None;
            let mut losses = StepLosses::default();
            let gradients;
            if let Some(reinforcement) = &reinforcement {
                let seed = seed.wrapping_add((step as u64) << 20);
                let seen;
                (seen, gradients) = reinforcement.step(&student, sequencer, &drawn, stage, seed)?;
                figures = Some(seen);
            } else {
                (losses, gradients) =
                    run_step(&student, sequencer, self.teacher.as_ref(), &drawn, stage)?;
            }
            let loss = figures.map_or_else(|| losses.total(stage), |figures| -figures.reward);
            if !loss.is_finite() {
                let (stage, step) = (stage.name.clone(), step + 1);
                return Err(TrainError::Diverged { stage, step, loss });
            }
            let learning_rate = stage.learning_rate_at(step);
            let norm;
            (student, norm) = update(student, optimizer, gradients, learning_rate);
            let line = LogLine {
                stage: &stage.name,
                step: step + 1,
                steps: stage.steps,
                loss,
                losses,
                policy: figures,
                gradient_norm: norm,
                learning_rate,
                seconds: started.elapsed().as_secs_f64(),
            };
            let mut text = serde_json::to_vec(&line).expect("plain data serialises");
            text.push(b'\n');
            self.log.write_all(&text)?;
            progress(&line);
            let due = (step + 1).is_multiple_of(stage.checkpoint_every);
            let collapses = |figures: PolicyFigures| {
                stage.policy.as_ref().is_some_and(|policy| figures.divergence > policy.kl_max)
            };
            let is_last = step + 1 == stage.steps || figures.is_some_and(collapses);
            let is_late =
                self.seconds_max.is_some_and(|max| self.started.elapsed().as_secs() >= max);
            if due || is_last || is_late {
                let place = match is_last {
                    true => Place { recipe: self.digest.clone(), stage: index + 1, step: 0 },
                    false => Place { recipe: self.digest.clone(), stage: index, step: step + 1 },
                };
                checkpoint::save(&self.folder, &place, &student.adapters, &optimizer.state())?;
            }
            if is_late {
                end = RunEnd::Paused;
                break;
            }
            if is_last {
                break;
            }
        }
        drop(draw);
        self.data = data;
        Ok((student, end))
    }
}

impl Run<'_> {
    /// The reasoning adapter that stage `index` began with, kept in the run's folder so
    /// that a resumed stage has the same.
    fn reference(&self, index: usize, student: &Student) -> Result<Lora, TrainError> {
        let folder = self.folder.join(format!("reference-{index}"));
        if !folder.join("adapter_model.safetensors").exists() {
            let name = &student.adapters.manifest.backbone.name;
            write_peft(&folder, &student.adapters.reasoning, name, StoredType::F32)?;
        }
        Ok(read_peft(&folder, student.backbone().config(), student.device())?)
    }
}

fn update(
    mut student: Student,
    optimizer: &mut AdamW,
    gradients: ParameterGradients,
    learning_rate: f64,
) -> (Student, f32) {
    let norm;
    (student.adapters, norm) = optimizer.step(student.adapters, gradients, learning_rate);
    (student, norm)
}

fn read_data(recipe: &Recipe) -> Result<BTreeMap<String, Vec<Example>>, TrainError> {
    let mut data: BTreeMap<String, Vec<Example>> = BTreeMap::new();
    for (kind, path) in &recipe.data {
        let examples = read_examples(path, kind)?;
        if examples.is_empty() {
            return Err(TrainError::file(path, "has no examples"));
        }
        data.insert(kind.clone(), examples);
    }
    Ok(data)
}

fn digest(recipe: &Recipe, model: &Path) -> String {
    let json = serde_json::to_string(recipe).expect("plain data serialises");
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    format!("{:x}", Sha256::digest(format!("{json} {name}")))
}
