//! A gate for trained adapters: labels from what thoughts did on a test collection, a fit,
//! and a threshold for a share of the tokens.
//!
//! A server asks the gate about documents as well. What a thought does to a document is not
//! measured here, and adapters learn thoughts of queries: documents are examples that a
//! thought does not help.

use burn::tensor::{Tensor, TensorData};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, Gate, Prompt, ReasoningMode,
    adapter::{Adapters, GatePoint},
};

use super::{GateFit, GateFitted, TrainError, fit_gate};
use crate::eval::{
    Beir, BeirDocument, EvalOptions, Frontier, LocalOptions, LocalSource, Progress, QueryOutcome,
    auroc, evaluate,
};

/// Documents that the gate is fitted to, for each query that it is; as many others tell how
/// often it would have a document think.
const DOCUMENTS_PER_QUERY: f64 = 0.5;
/// Points of the curve that the manifest keeps.
const CURVE_POINTS: usize = 33;

/// What the gate reads, a row a text.
type Rows = Vec<Vec<f32>>;

/// How to make a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrateOptions {
    /// The fit of a fresh gate; `None` keeps the one that the adapters have and only chooses a
    /// threshold.
    pub fit: Option<GateFit>,
    /// After how many of the backbone's layers a fresh gate reads the query states; `None`
    /// where the one that the adapters have does.
    pub depth: Option<usize>,
    /// Share of the queries that choose the threshold and are not fitted to; all of them
    /// where nothing is fitted.
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
        let fit = Some(GateFit::default());
        Self { fit, depth: None, held_out: 0.4, gain_min: 0.0, token_share: 0.5, seed: 1 }
    }
}

/// What a calibration saw.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Calibration {
    /// Queries fitted to.
    pub fitted: usize,
    /// Of all queries, the share that thinking helps.
    pub helps: f64,
    /// Queries held out.
    pub held_out: usize,
    /// Share of documents, others than those fitted to, that the gate would have think.
    pub document_think_rate: f64,
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
    /// The epoch of the fit that was kept; 0 where nothing was fitted.
    pub epoch: usize,
}

/// Fits the gate of `adapters`, with which `encoder` was loaded, to `data`, unless it is to
/// be kept, and stores gate, threshold and curve in `adapters`.
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
    if options.fit.is_some() {
        let depth = options.depth.or(adapters.manifest.gate_depth);
        adapters.renew_gate(depth, options.seed);
        encoder.set_gate(adapters.gate.clone());
    }
    let mut source = LocalSource::new(encoder, LocalOptions::default())?;
    let outcomes = evaluate(&mut source, data, &wanted, progress)?.outcomes;
    let texts = data.queries.iter().map(|query| query.text.clone());
    let inputs = gate_inputs(encoder, texts, EmbedKind::Query)?;

    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    order.retain(|&index| outcomes[index].gain().is_some());
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    order.shuffle(&mut rng);
    let share = if options.fit.is_some() { options.held_out } else { 1.0 };
    let held = (order.len() as f64 * share) as usize;
    if held < 10 || (options.fit.is_some() && order.len() - held < 20) {
        return Err(TrainError::no_gate(
            "too few queries to fit a gate to, or to choose a threshold on",
        ));
    }
    let helps = |index: &usize| outcomes[*index].gain().is_some_and(|g| g > options.gain_min);
    let helped = order.iter().filter(|index| helps(index)).count() as f64 / order.len() as f64;
    let (held, fitted) = order.split_at(held);
    let beside = if fitted.is_empty() { held } else { fitted };
    let each = (beside.len() as f64 * DOCUMENTS_PER_QUERY) as usize;
    let (mut documents, mut others) = document_inputs(encoder, data, each, &mut rng)?;
    if options.fit.is_none() {
        others.append(&mut documents);
    }
    let (gate, epoch) = match &options.fit {
        None => (adapters.gate.clone(), 0),
        Some(fit) => {
            let queries = fitted.iter().map(|index| (inputs[*index].clone(), helps(index)));
            let documents = documents.into_iter().map(|row| (row, false));
            let mut examples: Vec<(Vec<f32>, bool)> = queries.chain(documents).collect();
            examples.shuffle(&mut rng);
            let (rows, labels): (Rows, Vec<bool>) = examples.into_iter().unzip();
            let (gate, GateFitted { epoch, .. }) =
                fit_gate(adapters.gate.clone(), &rows, &labels, fit)?;
            (gate, epoch)
        }
    };

    let held_scores = scores(&gate, held.iter().map(|&index| &inputs[index]));
    let judged: Vec<QueryOutcome> = held
        .iter()
        .zip(&held_scores)
        .map(|(&index, &gate_score)| QueryOutcome { gate_score, ..outcomes[index].clone() })
        .collect();
    let frontier = Frontier::of(&judged);
    let chosen = frontier
        .threshold_for_share(options.token_share)
        .ok_or_else(|| TrainError::no_gate("no threshold keeps within the share of tokens"))?;
    let held_labels: Vec<bool> = held.iter().map(helps).collect();
    let wide: Vec<f64> = held_scores.iter().map(|&score| f64::from(score)).collect();
    let other_scores = scores(&gate, others.iter());
    let thinking = other_scores.iter().filter(|&&score| score > chosen.threshold).count();
    adapters.gate = gate;
    adapters.manifest.gate_threshold = chosen.threshold;
    adapters.manifest.gate_curve = curve(&frontier);
    adapters.manifest.trained = true;
    Ok(Calibration {
        fitted: fitted.len(),
        helps: helped,
        held_out: held.len(),
        document_think_rate: thinking as f64 / others.len().max(1) as f64,
        auroc: auroc(&wide, &held_labels),
        threshold: chosen.threshold,
        think_rate: chosen.think_rate,
        reasoning_tokens_per_query: chosen.reasoning_tokens_per_query,
        ndcg_at_10: chosen.ndcg_at_10,
        epoch,
    })
}

/// What the gate reads of `texts`.
fn gate_inputs(
    encoder: &mut Encoder,
    texts: impl Iterator<Item = String>,
    kind: EmbedKind,
) -> Result<Rows, TrainError> {
    let prompter = encoder.prompter();
    let prompt = |text: String| {
        prompter.prepare(&EncodeInput { content: Content::text(text), instruction: None, kind })
    };
    let prompts: Vec<Prompt> = texts.map(prompt).collect::<Result<_, _>>()?;
    Ok(encoder.gate_inputs(&prompts.iter().collect::<Vec<_>>())?)
}

/// What the gate reads of `each` documents, and of as many others, if there are so many.
fn document_inputs(
    encoder: &mut Encoder,
    data: &Beir,
    each: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(Rows, Rows), TrainError> {
    let mut texts: Vec<String> = data.documents.iter().map(BeirDocument::content).collect();
    texts.retain(|text| !text.is_empty());
    texts.shuffle(rng);
    texts.truncate(2 * each);
    let mut inputs = gate_inputs(encoder, texts.into_iter(), EmbedKind::Document)?;
    let others = inputs.split_off(each.min(inputs.len() / 2));
    Ok((inputs, others))
}

fn scores<'a>(gate: &Gate, inputs: impl ExactSizeIterator<Item = &'a Vec<f32>>) -> Vec<f32> {
    let count = inputs.len();
    let values: Vec<f32> = inputs.flatten().copied().collect();
    if count == 0 {
        return Vec::new();
    }
    let width = values.len() / count;
    let data = TensorData::new(values, [count, width]);
    let rows = Tensor::<2>::from_data(data, &gate.inner_weight.val().device());
    gate.judge(rows).into_data().convert::<f32>().try_to_vec().expect("converted to f32")
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
