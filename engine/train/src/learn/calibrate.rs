//! A gate for trained adapters: labels from what thoughts did on a test collection, a fit,
//! and a threshold for a share of the tokens.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, Gate, Prompt, ReasoningMode,
    adapter::{Adapters, GatePoint},
};

use super::{GateFit, GateFitted, TrainError, fit_gate};
use crate::eval::{
    Beir, EvalOptions, Frontier, LocalOptions, LocalSource, Progress, QueryOutcome, auroc, evaluate,
};

/// Points of the curve that the manifest keeps.
const CURVE_POINTS: usize = 33;

/// How to make a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrateOptions {
    /// The fit.
    pub fit: GateFit,
    /// Share of the queries that choose the threshold and are not fitted to.
    pub held_out: f64,
    /// A thought helps when it widens the positive's lead by more than this.
    pub gain_min: f64,
    /// Tokens that adaptive thinking may take, as a share of always thinking.
    pub token_share: f64,
    /// Decides which queries are held out.
    pub seed: u64,
}

impl Default for CalibrateOptions {
    fn default() -> Self {
        Self { fit: GateFit::default(), held_out: 0.4, gain_min: 0.0, token_share: 0.5, seed: 1 }
    }
}

/// What a calibration saw.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Calibration {
    /// Queries fitted to.
    pub fitted: usize,
    /// Of them, the share that thinking helps.
    pub helps: f64,
    /// Queries held out.
    pub held_out: usize,
    /// AUROC on the queries held out.
    pub auroc: Option<f64>,
    /// The threshold that was chosen.
    pub threshold: f32,
    /// Think rate on the queries held out.
    pub think_rate: f64,
    /// Tokens per query there.
    pub reasoning_tokens_per_query: f64,
    /// nDCG@10 there.
    pub ndcg_at_10: f64,
    /// The epoch of the fit that was kept.
    pub epoch: usize,
}

/// Fits the gate of `adapters`, with which `encoder` was loaded, to `data`, and stores
/// gate, threshold and curve in `adapters`.
///
/// # Errors
/// Fails when the encoder fails, or the data are too few or all of one kind.
pub fn calibrate(
    encoder: &mut Encoder,
    adapters: &mut Adapters,
    data: &Beir,
    options: &CalibrateOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration, TrainError> {
    let wanted = EvalOptions {
        modes: vec![ReasoningMode::Never, ReasoningMode::Always],
        judge_gate: true,
        ..EvalOptions::default()
    };
    let mut source = LocalSource::new(encoder, LocalOptions::default())?;
    let outcomes = evaluate(&mut source, data, &wanted, progress)?.outcomes;
    let prompts = prompts(encoder, data)?;
    let inputs = encoder.gate_inputs(&prompts.iter().collect::<Vec<_>>())?;

    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    order.retain(|&index| outcomes[index].gain().is_some());
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    let held = (order.len() as f64 * options.held_out) as usize;
    if held < 10 || order.len() - held < 20 {
        return Err(TrainError::no_gate("too few queries to fit a gate and to choose a threshold"));
    }
    let (held, fitted) = order.split_at(held);
    let helps = |index: &usize| outcomes[*index].gain().is_some_and(|g| g > options.gain_min);
    let rows: Vec<Vec<f32>> = fitted.iter().map(|&index| inputs[index].clone()).collect();
    let labels: Vec<bool> = fitted.iter().map(helps).collect();
    let fresh = adapters.gate.clone();
    let (gate, GateFitted { epoch, .. }) = fit_gate(fresh, &rows, &labels, &options.fit)?;

    let scores = scores(&gate, held, &inputs);
    let judged: Vec<QueryOutcome> = held
        .iter()
        .zip(&scores)
        .map(|(&index, &gate_score)| QueryOutcome { gate_score, ..outcomes[index].clone() })
        .collect();
    let frontier = Frontier::of(&judged);
    let chosen = frontier
        .threshold_for_share(options.token_share)
        .ok_or_else(|| TrainError::no_gate("no threshold keeps within the share of tokens"))?;
    let held_labels: Vec<bool> = held.iter().map(helps).collect();
    let wide: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    adapters.gate = gate;
    adapters.manifest.gate_threshold = chosen.threshold;
    adapters.manifest.gate_curve = curve(&frontier);
    adapters.manifest.trained = true;
    Ok(Calibration {
        fitted: fitted.len(),
        helps: labels.iter().filter(|&&label| label).count() as f64 / labels.len() as f64,
        held_out: held.len(),
        auroc: auroc(&wide, &held_labels),
        threshold: chosen.threshold,
        think_rate: chosen.think_rate,
        reasoning_tokens_per_query: chosen.reasoning_tokens_per_query,
        ndcg_at_10: chosen.ndcg_at_10,
        epoch,
    })
}

fn prompts(encoder: &Encoder, data: &Beir) -> Result<Vec<Prompt>, TrainError> {
    let prompter = encoder.prompter();
    let prompt = |text: &String| {
        let content = Content::text(text.clone());
        prompter.prepare(&EncodeInput { content, instruction: None, kind: EmbedKind::Query })
    };
    Ok(data.queries.iter().map(|query| prompt(&query.text)).collect::<Result<_, _>>()?)
}

fn scores(gate: &Gate, rows: &[usize], inputs: &[Vec<f32>]) -> Vec<f32> {
    let width = inputs[0].len();
    let values: Vec<f32> = rows.iter().flat_map(|&row| inputs[row].iter().copied()).collect();
    let data = TensorData::new(values, [rows.len(), 1, width]);
    let states = Tensor::<3>::from_data(data, &Device::flex().autodiff());
    gate.score(states).into_data().convert::<f32>().try_to_vec().expect("converted to f32")
}

/// The manifest's curve, by rising threshold.
fn curve(frontier: &Frontier) -> Vec<GatePoint> {
    let mut points: Vec<GatePoint> = frontier
        .thinned(CURVE_POINTS)
        .points
        .iter()
        .map(|point| GatePoint {
            threshold: point.threshold,
            think_rate: point.think_rate as f32,
            reasoning_tokens_per_query: point.reasoning_tokens_per_query as f32,
            ndcg_at_10: point.ndcg_at_10 as f32,
        })
        .collect();
    points.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
    points.dedup_by(|later, kept| later.threshold <= kept.threshold);
    points
}
