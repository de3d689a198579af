//! A whole run: the recipe's stages, one after another, with checkpoints and a log.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::tensor::Device;
use sha2::{Digest, Sha256};
use twn_encoder::{
    Pooling,
    adapter::{Adapters, Lora, StoredType, read_peft, write_peft},
    model,
};

use super::{
    AdamW, Draw, Drawn, Example, HeldOutLine, LogLine, OptimizerState, ParameterGradients, Place,
    PolicyFigures, Recipe, RecipeChange, SequenceLimits, Sequencer, Stage, StepLosses, Student,
    Teacher, TrainError, TrainEvent, checkpoint, closed_form,
    held_out::HeldOut,
    log::Log,
    neighbourhood::Neighbourhoods,
    own_thoughts::{At, think_for},
    policy::Reinforcement,
    read_examples, run_step,
    sampler::{Sampler, SamplerPlace},
};

/// Tokens beside content and thought: template, instruction, markers.
const FRAME_TOKENS: usize = 128;

/// What to run, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// The recipe.
    pub recipe: PathBuf,
    /// What is done otherwise than the recipe says.
    pub changes: Vec<RecipeChange>,
    /// The backbone: a GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// Adapters to begin from; `None` begins afresh.
    pub adapters: Option<PathBuf>,
    /// Checkpoints, log and result go here; a run that was begun here goes on.
    pub run: PathBuf,
    /// Stops after so many seconds, at a checkpoint; going on later is as if it had not.
    pub seconds_max: Option<u64>,
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
    sequencer: Sequencer,
    held_out: Option<HeldOut>,
    /// The most tokens of prompt, thought and queries.
    positions: usize,
    log: Log,
    progress: &'a mut dyn FnMut(&TrainEvent<'_>),
    started: Instant,
    seconds_max: Option<u64>,
}

/// A stage under way.
struct StageRun<'a> {
    index: usize,
    stage: &'a Stage,
    /// Steps that were done before.
    first: usize,
    optimizer: AdamW,
    sampler: Sampler,
    reinforcement: Option<Reinforcement>,
    seed: u64,
}

/// A step's gradients, and what it saw.
struct StepSeen {
    gradients: ParameterGradients,
    losses: StepLosses,
    policy: Option<PolicyFigures>,
    loss: f32,
}

/// Trains, or goes on training, on `device` (which must have autodiff).
///
/// # Errors
/// Fails when recipe, data, model or checkpoint cannot be used, a file cannot be written,
/// or the loss is not finite any more.
pub fn train(
    options: &TrainOptions,
    device: &Device,
    progress: &mut dyn FnMut(&TrainEvent<'_>),
) -> Result<RunEnd, TrainError> {
    let recipe = Recipe::read_changed(&options.recipe, &options.changes)?;
    let digest = digest(&recipe, &options.model);
    fs_err::create_dir_all(&options.run)?;
    let opened = model::open(&options.model)?;
    let layers = opened.config.layers;
    if let Some(depth) = recipe.adapters.gate_depth.filter(|&depth| depth > layers) {
        let problem = format!("`adapters.gate_depth` is {depth}, the model has {layers} layers");
        return Err(TrainError::recipe(problem));
    }
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
    let distils = |stage: &Stage| !stage.skip && stage.weights.cosine > 0.0;
    if adapters.pooler.lexicon.is_some() && recipe.stages.iter().any(distils) {
        let problem = "the adapters have a lexicon, whose dimensions are no teacher's: \
                       `cosine` must be 0, `similarity` may stay";
        return Err(TrainError::recipe(problem.to_owned()));
    }
    if let Some(teacher) = &teacher {
        let own = adapters.pooler.dimension(opened.config.hidden_size);
        if teacher.dimension() != own {
            let problem = format!(
                "the teacher's vectors have {} dimensions, the adapters' {own}",
                teacher.dimension()
            );
            return Err(TrainError::recipe(problem));
        }
    }
    let held_out = recipe.evaluate.as_ref().map(|wanted| HeldOut::read(wanted, &sequencer));
    let run = Run {
        digest,
        folder: options.run.clone(),
        model: options.model.clone(),
        data,
        teacher,
        sequencer,
        held_out: held_out.transpose()?,
        positions,
        log: Log::open(&options.run)?,
        progress,
        started: Instant::now(),
        seconds_max: options.seconds_max,
        recipe: &recipe,
    };
    let mut student = Student::new(&opened, adapters, positions, recipe.wiring, device)?;
    if begun_afresh && options.adapters.is_none() {
        run.start_mean_projection(&mut student)?;
    }
    run.stages(student, place, state)
}

impl Run<'_> {
    /// Fits the projection of the means to the teacher in closed form: far nearer to where
    /// training ends than a random one.
    fn start_mean_projection(&self, student: &mut Student) -> Result<(), TrainError> {
        let pooling = self.recipe.adapters.pooling;
        let (Some(teacher), true) = (&self.teacher, pooling != Pooling::Queries) else {
            return Ok(());
        };
        let seed = self.recipe.seed;
        closed_form::fit_mean_projection(student, &self.sequencer, teacher, &self.data, seed)
    }

    fn stages(
        mut self,
        mut student: Student,
        place: Place,
        mut state: Option<OptimizerState>,
    ) -> Result<RunEnd, TrainError> {
        // Taken out of the run, so that what is drawn from it does not hold the run.
        let data = std::mem::take(&mut self.data);
        let first = place.stage;
        for (index, stage) in self.recipe.stages.iter().enumerate().skip(first) {
            let step = if index == first { place.step } else { 0 };
            let optimizer = match state.take().filter(|_| step > 0) {
                Some(state) => AdamW::resume(stage.optimizer, state, &student.adapters)
                    .ok_or_else(|| TrainError::file(&self.folder, "moments fit no parameter"))?,
                None => AdamW::new(stage.optimizer),
            };
            let mut under_way = self.begin(index, stage, step, optimizer, &student)?;
            let end;
            (student, end) = self.stage(&mut under_way, &data, student)?;
            if end == RunEnd::Paused {
                return Ok(end);
            }
        }
        student.adapters.manifest.trained = true;
        let folder = self.folder.join("adapters");
        student.served().write(&folder, StoredType::F32)?;
        Ok(RunEnd::Complete)
    }

    fn begin<'s>(
        &self,
        index: usize,
        stage: &'s Stage,
        first: usize,
        optimizer: AdamW,
        student: &Student,
    ) -> Result<StageRun<'s>, TrainError> {
        let sampler = Sampler::new(&SamplerPlace {
            model: &self.model,
            folder: &self.folder.join("sampler"),
            threads: self.recipe.sampler_threads,
            context_tokens: self.positions,
        });
        let reinforcement = match &stage.policy {
            Some(policy) => Some(Reinforcement::new(policy, self.reference(index, student)?)),
            None => None,
        };
        let seed = self.recipe.seed.wrapping_add(index as u64 + 1);
        Ok(StageRun { index, stage, first, optimizer, sampler, reinforcement, seed })
    }

    fn stage(
        &mut self,
        under_way: &mut StageRun<'_>,
        data: &BTreeMap<String, Vec<Example>>,
        mut student: Student,
    ) -> Result<(Student, RunEnd), TrainError> {
        let stage = under_way.stage;
        let device = student.device().clone().inner();
        let near = Neighbourhoods::new(data, stage, self.teacher.as_ref(), under_way.seed, &device);
        let mut draw = Draw::new(data, &near.drawn_of(&stage.batch), under_way.seed);
        if under_way.index == 0 && under_way.first == 0 {
            self.evaluate(under_way, 0, &student)?;
        }
        for step in under_way.first..stage.steps {
            let started = Instant::now();
            let mut drawn = draw.step(step, stage.negatives_max, stage.case_noise);
            near.join(&mut drawn, step, stage.case_noise);
            let seen = self.step(under_way, step, &mut drawn, &student)?;
            let learning_rate = stage.learning_rate_at(step);
            let norm;
            (student, norm) =
                update(student, &mut under_way.optimizer, seen.gradients, learning_rate);
            self.tell(&TrainEvent::Step(LogLine {
                stage: &stage.name,
                step: step + 1,
                steps: stage.steps,
                loss: seen.loss,
                losses: seen.losses,
                policy: seen.policy,
                gradient_norm: norm,
                learning_rate,
                seconds: started.elapsed().as_secs_f64(),
            }))?;
            let due = (step + 1).is_multiple_of(stage.checkpoint_every);
            let collapses = |figures: PolicyFigures| {
                stage.policy.as_ref().is_some_and(|policy| figures.divergence > policy.kl_max)
            };
            let is_last = step + 1 == stage.steps || seen.policy.is_some_and(collapses);
            if is_last || self.held_out.as_ref().is_some_and(|held_out| held_out.is_due(step + 1)) {
                self.evaluate(under_way, step + 1, &student)?;
            }
            let is_late =
                self.seconds_max.is_some_and(|max| self.started.elapsed().as_secs() >= max);
            if due || is_last || is_late {
                let (stage, step) =
                    if is_last { (under_way.index + 1, 0) } else { (under_way.index, step + 1) };
                let place = Place { recipe: self.digest.clone(), stage, step };
                let state = under_way.optimizer.state();
                checkpoint::save(&self.folder, &place, &student.adapters, &state)?;
            }
            if is_late {
                return Ok((student, RunEnd::Paused));
            }
            if is_last {
                break;
            }
        }
        Ok((student, RunEnd::Complete))
    }

    /// The gradients of one step.
    fn step(
        &self,
        under_way: &mut StageRun<'_>,
        step: usize,
        drawn: &mut [Drawn<'_>],
        student: &Student,
    ) -> Result<StepSeen, TrainError> {
        let StageRun { stage, sampler, reinforcement, seed, .. } = under_way;
        let seen = if let Some(reinforcement) = reinforcement {
            let seed = seed.wrapping_add((step as u64) << 20);
            let tools = (&self.sequencer, sampler);
            let (figures, gradients) = reinforcement.step(student, tools, drawn, stage, seed)?;
            let (losses, loss) = (StepLosses::default(), -figures.reward);
            StepSeen { gradients, losses, policy: Some(figures), loss }
        } else {
            if stage.sampled_thoughts > 0.0 {
                let at = At { seed: *seed, step };
                think_for(drawn, student, &self.sequencer, sampler, (stage, at))?;
            }
            let (losses, gradients) =
                run_step(student, &self.sequencer, self.teacher.as_ref(), drawn, stage)?;
            StepSeen { gradients, losses, policy: None, loss: losses.total(stage) }
        };
        if !seen.loss.is_finite() {
            let (stage, step, loss) = (stage.name.clone(), step + 1, seen.loss);
            return Err(TrainError::Diverged { stage, step, loss });
        }
        Ok(seen)
    }

    /// Evaluates on held-out data, if the recipe names some.
    fn evaluate(
        &mut self,
        under_way: &mut StageRun<'_>,
        step: usize,
        student: &Student,
    ) -> Result<(), TrainError> {
        let Some(held_out) = &self.held_out else { return Ok(()) };
        let StageRun { stage, sampler, .. } = under_way;
        let seen = held_out.evaluate(student, &self.sequencer, sampler, stage.pass_tokens_max)?;
        self.tell(&TrainEvent::HeldOut(HeldOutLine { stage: &stage.name, step, held_out: seen }))
    }

    fn tell(&mut self, event: &TrainEvent<'_>) -> Result<(), TrainError> {
        self.log.write(event)?;
        (self.progress)(event);
        Ok(())
    }

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

/// Tells recipes apart. How a run is evaluated changes nothing of it, and may be changed
/// while it is under way.
fn digest(recipe: &Recipe, model: &Path) -> String {
    let training = Recipe { evaluate: None, ..recipe.clone() };
    let json = serde_json::to_string(&training).expect("plain data serialises");
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    format!("{:x}", Sha256::digest(format!("{json} {name}")))
}
