//! Projections of trained adapters, fitted to a teacher in closed form.
//!
//! What is projected, the means of the content's states and of the query states, is that of
//! the finished adapters, so the fit needs no gradient: the fused pass reads the texts, and
//! one ridge regression finds both projections together.

use std::collections::HashSet;

use burn::tensor::{Device, TensorData};
use twn_encoder::{
    EmbedKind, Encoder, HostTensor, PooledStates, Pooling, Projection, Prompt, adapter::Adapters,
};

use super::{
    Example, Sequence, Sequencer, Teacher, TrainError,
    ridge::{AffineMap, ridge},
    sampler::prompt,
};

/// Texts that run between two reports of progress.
const WAVE: usize = 512;
/// Of so many texts one is held out.
const HELD_OUT: usize = 10;

/// How to fit projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProjectionFit {
    /// Weight of the regression's penalty, relative to the states' mean variance.
    pub penalty: f64,
    /// How far to go from the projections that are there, 0, to the fitted ones, 1. What
    /// a contrastive loss has taught them is lost on that way.
    pub share: f32,
}

impl Default for ProjectionFit {
    fn default() -> Self {
        Self { penalty: 0.1, share: 0.5 }
    }
}

/// What a fit of projections saw.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ProjectionFitted {
    /// Texts fitted to.
    pub fitted: usize,
    /// Texts held out.
    pub held_out: usize,
    /// Mean cosine distance to the teacher on the texts held out, before.
    pub distance_before: f64,
    /// And after.
    pub distance_after: f64,
}

/// A text with its teacher's vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Taught {
    /// The text as a query or a document.
    pub sequence: Sequence,
    /// The teacher's unit vector.
    pub vector: Vec<f32>,
}

/// Fits the projections of `adapters`, with which `encoder` was loaded, to `taught`.
/// `progress` is told how many texts have run.
///
/// # Errors
/// Fails when the adapters have no two projections of the teacher's dimension, when the
/// texts are fewer than the coefficients of one output, or when the encoder fails.
pub fn fit_projections(
    encoder: &mut Encoder,
    adapters: &mut Adapters,
    taught: &[Taught],
    fit: &ProjectionFit,
    progress: &mut dyn FnMut(usize),
) -> Result<ProjectionFitted, TrainError> {
    let (Pooling::QueriesAndMean, Some(queries), Some(mean)) =
        (adapters.manifest.pooling, &adapters.pooler.queries, &adapters.pooler.mean)
    else {
        let problem = "only pooling `queries+mean` with two projections can be fitted";
        return Err(TrainError::recipe(problem));
    };
    let old = side_by_side(mean, queries)?;
    let dimension = old.bias.len();
    if taught.iter().any(|one| one.vector.len() != dimension) {
        let problem =
            format!("the teacher's vectors have not the adapters' {dimension} dimensions");
        return Err(TrainError::recipe(problem));
    }
    let width = old.weight.len() / dimension;
    let (held_out, fitted): (Vec<usize>, Vec<usize>) =
        (0..taught.len()).partition(|index| index.is_multiple_of(HELD_OUT));
    if fitted.len() < 2 * width {
        let problem = format!("{} texts, a fit needs at least {}", fitted.len(), 2 * width);
        return Err(TrainError::recipe(problem));
    }
    let states = pooled_states(encoder, taught, progress)?;
    let of = |rows: &[usize]| -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let rows = rows.iter().map(|&row| (states[row].clone(), taught[row].vector.clone()));
        rows.unzip()
    };
    let (inputs, outputs) = of(&fitted);
    let found = ridge(&inputs, &outputs, fit.penalty)
        .ok_or_else(|| TrainError::Internal { problem: "states are not finite".to_owned() })?;
    // Of one length on the way, or the longer one would be most of the sum.
    let longer = mean_length(&old, &inputs) / mean_length(&found, &inputs);
    let new = between(&old, &scaled(&found, longer), fit.share);
    let (inputs, outputs) = of(&held_out);
    let seen = ProjectionFitted {
        fitted: fitted.len(),
        held_out: held_out.len(),
        distance_before: distance(&old, &inputs, &outputs),
        distance_after: distance(&new, &inputs, &outputs),
    };
    let device = mean.bias.val().device();
    let (mean, queries) = apart(&new, &device);
    (adapters.pooler.mean, adapters.pooler.queries) = (Some(mean), Some(queries));
    Ok(seen)
}

/// Texts of `examples` that `teacher` has read, evenly spread over them and at most `most`:
/// queries and positives, each as what it is.
///
/// # Errors
/// Fails when a text cannot be made into a prompt.
pub fn taught(
    examples: &[Example],
    sequencer: &Sequencer,
    teacher: &Teacher,
    most: usize,
) -> Result<Vec<Taught>, TrainError> {
    let mut texts: Vec<(&str, EmbedKind, Vec<f32>)> = Vec::new();
    let mut known = HashSet::new();
    for example in examples {
        let query = (example.query.as_str(), EmbedKind::Query);
        let positives = example.positives.iter().map(|text| (text.as_str(), EmbedKind::Document));
        for (text, kind) in std::iter::once(query).chain(positives) {
            if let Some(vector) = teacher.vector(text).filter(|_| known.insert((text, kind))) {
                texts.push((text, kind, vector));
            }
        }
    }
    let step = texts.len().div_ceil(most.max(1)).max(1);
    let spread = texts.into_iter().step_by(step).map(|(text, kind, vector)| {
        let sequence = match kind {
            EmbedKind::Query => sequencer.query(text, None)?,
            EmbedKind::Document => sequencer.document(text)?,
        };
        Ok(Taught { sequence, vector })
    });
    spread.collect()
}

/// The mean of the content's states, then that of the query states, for every text.
fn pooled_states(
    encoder: &mut Encoder,
    taught: &[Taught],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>, TrainError> {
    // Texts of one length beside each other are one pass.
    let mut order: Vec<usize> = (0..taught.len()).collect();
    order.sort_by_key(|&row| taught[row].sequence.tokens.len());
    let mut all = vec![Vec::new(); taught.len()];
    for (wave, rows) in order.chunks(WAVE).enumerate() {
        let prompts: Vec<Prompt> = rows.iter().map(|&row| prompt(&taught[row].sequence)).collect();
        let states = encoder.pooled_states(&prompts.iter().collect::<Vec<_>>())?;
        for (&row, PooledStates { mean, queries }) in rows.iter().zip(states) {
            all[row] = [mean, queries].concat();
        }
        progress(wave * WAVE + rows.len());
    }
    Ok(all)
}

/// The two projections as one map of both states.
fn side_by_side(mean: &Projection, queries: &Projection) -> Result<AffineMap, TrainError> {
    let values = |data: TensorData| -> Result<Vec<f32>, TrainError> {
        let wrong = |error| TrainError::Internal { problem: format!("{error:?}") };
        data.convert::<f32>().try_to_vec().map_err(wrong)
    };
    let weight = |part: &Projection| values(part.weight.val().into_data());
    let bias = |part: &Projection| values(part.bias.val().into_data());
    let [_, width] = mean.weight.dims();
    let (left, right) = (weight(mean)?, weight(queries)?);
    let rows = left.chunks_exact(width).zip(right.chunks_exact(width));
    let weight = rows.flat_map(|(left, right)| [left, right].concat()).collect();
    let bias = bias(mean)?.iter().zip(bias(queries)?).map(|(a, b)| a + b).collect();
    Ok(AffineMap { weight, bias })
}

/// Takes a map of both states apart; the bias goes to the first.
fn apart(map: &AffineMap, device: &Device) -> (Projection, Projection) {
    let height = map.bias.len();
    let width = map.weight.len() / height / 2;
    let half = |start: usize, bias: Vec<f32>| {
        let rows = map.weight.chunks_exact(2 * width);
        let values = rows.flat_map(|row| row[start..start + width].to_vec()).collect();
        Projection::new(
            HostTensor { shape: vec![height, width], values },
            HostTensor { shape: vec![height], values: bias },
            device,
        )
    };
    (half(0, map.bias.clone()), half(width, vec![0.0; height]))
}

fn scaled(map: &AffineMap, factor: f32) -> AffineMap {
    let scale = |values: &[f32]| values.iter().map(|value| value * factor).collect();
    AffineMap { weight: scale(&map.weight), bias: scale(&map.bias) }
}

/// Mean length of what `map` makes of `inputs`.
fn mean_length(map: &AffineMap, inputs: &[Vec<f32>]) -> f32 {
    inputs.iter().map(|input| length(&map.apply(input))).sum::<f32>() / inputs.len() as f32
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// The point `share` of the way from one map to another.
fn between(old: &AffineMap, new: &AffineMap, share: f32) -> AffineMap {
    let mix = |old: &[f32], new: &[f32]| {
        old.iter().zip(new).map(|(old, new)| old + share * (new - old)).collect()
    };
    AffineMap { weight: mix(&old.weight, &new.weight), bias: mix(&old.bias, &new.bias) }
}

/// Mean cosine distance of what `map` makes of `inputs` to the unit vectors `wanted`.
fn distance(map: &AffineMap, inputs: &[Vec<f32>], wanted: &[Vec<f32>]) -> f64 {
    let one = |(input, wanted): (&Vec<f32>, &Vec<f32>)| {
        let mapped = map.apply(input);
        let dot: f32 = mapped.iter().zip(wanted).map(|(a, b)| a * b).sum();
        1.0 - f64::from(dot / length(&mapped))
    };
    inputs.iter().zip(wanted).map(one).sum::<f64>() / inputs.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use twn_encoder::Pooler;

    use super::*;

    fn map(weight: &[f32], bias: &[f32]) -> AffineMap {
        AffineMap { weight: weight.to_vec(), bias: bias.to_vec() }
    }

    #[test]
    fn projections_come_back_from_one_map() {
        let device = Device::flex();
        let whole = map(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[9.0, 10.0]);
        let (mean, queries) = apart(&whole, &device);
        assert_eq!(mean.weight.dims(), [2, 2]);
        assert_eq!(side_by_side(&mean, &queries).expect("f32"), whole);
        let input = [1.0, 0.5, -1.0, 2.0];
        let rows = |values: &[f32]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [1, 2]), &device)
        };
        let pooler = Pooler { mean: Some(mean), queries: Some(queries) };
        let states = rows(&input[2..]).reshape([1, 1, 2]);
        let pooled = pooler.pool(Pooling::QueriesAndMean, Some(states), Some(rows(&input[..2])));
        let pooled = pooled.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(pooled, whole.apply(&input));
    }

    #[test]
    fn a_share_goes_part_of_the_way() {
        let (old, new) = (map(&[0.0, 2.0], &[1.0]), map(&[4.0, 2.0], &[0.0]));
        assert_eq!(between(&old, &new, 0.0), old);
        assert_eq!(between(&old, &new, 0.25), map(&[1.0, 2.0], &[0.75]));
        assert_eq!(between(&old, &new, 1.0), new);
        assert_eq!(mean_length(&old, &[vec![0.0, 1.0], vec![0.0, 2.0]]), 4.0);
        assert_eq!(scaled(&new, 0.5), map(&[2.0, 1.0], &[0.0]));
    }

    #[test]
    fn distance_is_that_of_directions() {
        let identity = map(&[1.0, 0.0, 0.0, 1.0], &[0.0, 0.0]);
        let (inputs, wanted) = ([vec![3.0, 0.0], vec![0.0, 5.0]], [vec![1.0, 0.0], vec![1.0, 0.0]]);
        assert!((distance(&identity, &inputs, &wanted) - 0.5).abs() < 1e-6);
    }
}
