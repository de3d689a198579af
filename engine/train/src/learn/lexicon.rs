//! A lexicon for trained adapters, in closed form from texts alone: tokens weigh by their
//! rarity, and both parts of the embedding are turned onto their principal components and
//! whitened, so that neither spends its length on what all texts have in common.

use burn::tensor::{Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::HashSet;
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, HostTensor, Lexicon, Pooling, Projection,
    adapter::Adapters, bags, unit_rows,
};

use super::{Example, TrainError};

/// Vectors of the same length, a row a text.
type Rows = Vec<Vec<f32>>;

/// Texts whose tokens are counted, at most.
const COUNTED_TEXTS_MAX: usize = 200_000;
/// No token weighs less.
const WEIGHT_MIN: f32 = 0.3;
/// A component whose variance is below this share of the largest one's counts as if it had
/// so much: it is noise, and must not be blown up.
const VARIANCE_FLOOR: f64 = 1e-4;
/// Variance of the states' part to the power of this is divided out; 1 would whiten it
/// whole, and what training has found important would count no more than the rest.
const STATES_WHITENING: f64 = 0.5;
/// The same of the lexical part.
const WORDS_WHITENING: f64 = 1.0;
/// Texts embedded between two reports of progress.
const BATCH: usize = 64;

/// What a lexicon is to be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LexiconOptions {
    /// Dimensions of the states' part.
    pub states: usize,
    /// Dimensions of the lexical part.
    pub words: usize,
    /// Length of the lexical part, where that of the states has length 1.
    pub share: f32,
    /// Texts to embed, at most.
    pub texts: usize,
    /// Decides which.
    pub seed: u64,
}

/// What a fit saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LexiconFit {
    /// Texts whose tokens were counted.
    pub counted: usize,
    /// Texts that were embedded.
    pub embedded: usize,
    /// Share of the embeddings' variance that the states' part keeps.
    pub states_variance: f64,
    /// Share of the sums' variance that the lexical part keeps.
    pub words_variance: f64,
    /// Parameters of all adapters before and now.
    pub parameters: [u64; 2],
}

impl Default for LexiconOptions {
    fn default() -> Self {
        Self { states: 128, words: 256, share: 0.6, texts: 20_000, seed: 1 }
    }
}

/// Adds a lexicon to `adapters`, with which `encoder` was loaded. Their gate stays; its
/// threshold and curve were measured without the lexicon and have to be chosen anew.
///
/// # Errors
/// Fails when the adapters have a lexicon, the examples have too few texts for so many
/// dimensions, or the encoder fails.
pub fn fit_lexicon(
    encoder: &mut Encoder,
    adapters: &mut Adapters,
    examples: &[Example],
    options: &LexiconOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<LexiconFit, TrainError> {
    if adapters.pooler.lexicon.is_some() {
        return Err(TrainError::no_lexicon("the adapters have one already"));
    }
    let before = adapters.parameters();
    let all = documents(examples, options.seed);
    let texts = &all[..all.len().min(options.texts)];
    let (dimension, hidden) = (encoder.info().dimension, adapters.queries.rows.dims()[1]);
    for (name, wanted, of) in
        [("states", options.states, dimension), ("words", options.words, hidden)]
    {
        if wanted == 0 || wanted > of || texts.len() < 2 * of {
            return Err(TrainError::no_lexicon(format!(
                "{wanted} dimensions of {name} need 1 to {of} and {} texts, there are {}",
                2 * of,
                texts.len()
            )));
        }
    }
    let (weights, counted) = rarity(encoder, &all)?;
    let (embeddings, sums) = embed(encoder, (&weights, hidden), texts, progress)?;
    let states = Components::of(&embeddings, options.states, STATES_WHITENING)?;
    let words = Components::of(&sums, options.words, WORDS_WHITENING)?;
    turn_states(adapters, &states, dimension);
    let device = adapters.queries.rows.val().device();
    let projection = HostTensor { shape: vec![options.words, hidden], values: words.rows };
    adapters.pooler.lexicon = Some(Lexicon::new(weights, projection, options.share, &device));
    Ok(LexiconFit {
        counted,
        embedded: texts.len(),
        states_variance: states.kept,
        words_variance: words.kept,
        parameters: [before, adapters.parameters()],
    })
}

/// Every document of the examples once, in an order that `seed` decides.
fn documents(examples: &[Example], seed: u64) -> Vec<&str> {
    let mut seen = HashSet::new();
    let mut texts: Vec<&str> = Vec::new();
    for example in examples {
        let alone = example.positives.is_empty().then_some(&example.query);
        let documents = example.positives.iter().chain(alone).map(String::as_str);
        texts.extend(documents.filter(|text| seen.insert(*text)));
    }
    texts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    texts
}

/// The logarithm of how many texts there are for each that has a token, by token; and how
/// many texts were counted.
fn rarity(encoder: &Encoder, texts: &[&str]) -> Result<(Vec<f32>, usize), TrainError> {
    let prompter = encoder.prompter();
    let texts = &texts[..texts.len().min(COUNTED_TEXTS_MAX)];
    let mut having = vec![0_u32; encoder.vocabulary()];
    for text in texts {
        let prompt = prompter.prepare(&document(text))?;
        let tokens: HashSet<u32> = prompt.tokens[prompt.content].iter().copied().collect();
        for token in tokens {
            having[token as usize] += 1;
        }
    }
    let weight = |&count: &u32| {
        let rarity = (texts.len() as f64 / (f64::from(count) + 1.0)).ln();
        (rarity as f32).max(WEIGHT_MIN)
    };
    Ok((having.iter().map(weight).collect(), texts.len()))
}

fn document(text: &str) -> EncodeInput {
    EncodeInput { content: Content::text(text), instruction: None, kind: EmbedKind::Document }
}

/// Embeddings of texts, and their weighted sums of input embeddings at length 1.
fn embed(
    encoder: &mut Encoder,
    (weights, hidden): (&[f32], usize),
    texts: &[&str],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Rows, Rows), TrainError> {
    let prompter = encoder.prompter();
    let (mut embeddings, mut sums) = (Rows::new(), Rows::new());
    let device = encoder.embed_tokens(&[0]).device();
    let weights = Tensor::from_data(TensorData::new(weights.to_vec(), [weights.len()]), &device);
    for batch in texts.chunks(BATCH) {
        let prompts = batch
            .iter()
            .map(|text| prompter.prepare(&document(text)))
            .collect::<Result<Vec<_>, _>>()?;
        let directs = encoder.direct(&prompts.iter().collect::<Vec<_>>())?;
        embeddings.extend(directs.into_iter().map(|direct| direct.embedding));
        let words: Vec<Vec<u32>> =
            prompts.iter().map(|prompt| prompt.tokens[prompt.content.clone()].to_vec()).collect();
        let own = unit_rows(bags(&weights, hidden, &words, |ids| encoder.embed_tokens(ids)));
        sums.extend(host(own).chunks_exact(hidden).map(<[f32]>::to_vec));
        progress(embeddings.len(), texts.len());
    }
    Ok((embeddings, sums))
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().expect("converted to f32")
}

/// The largest principal components of some vectors, whitened.
struct Components {
    /// `[count, width]`: maps a vector onto them.
    rows: Vec<f32>,
    /// Share of the variance that they hold.
    kept: f64,
}

impl Components {
    fn of(vectors: &[Vec<f32>], count: usize, whitening: f64) -> Result<Self, TrainError> {
        let width = vectors[0].len();
        let eigen = SymmetricEigen::new(covariance(vectors, width));
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let largest = eigen.eigenvalues[order[0]];
        if !largest.is_finite() || largest <= 0.0 {
            return Err(TrainError::no_lexicon("all texts have the same embedding"));
        }
        let mut rows = Vec::with_capacity(count * width);
        for &at in &order[..count] {
            let variance = eigen.eigenvalues[at].max(largest * VARIANCE_FLOOR);
            let factor = variance.powf(-whitening / 2.0);
            // A component has no sign of its own: its largest value is positive.
            let column = eigen.eigenvectors.column(at);
            let sign = column.iter().fold(0.0_f64, |a, &b| if b.abs() > a.abs() { b } else { a });
            rows.extend(column.iter().map(|value| (value * factor * sign.signum()) as f32));
        }
        let held: f64 = order[..count].iter().map(|&at| eigen.eigenvalues[at]).sum();
        Ok(Self { rows, kept: held / eigen.eigenvalues.sum() })
    }
}

fn covariance(vectors: &[Vec<f32>], width: usize) -> DMatrix<f64> {
    let count = vectors.len() as f64;
    let mean: Vec<f64> = (0..width)
        .map(|at| vectors.iter().map(|vector| f64::from(vector[at])).sum::<f64>() / count)
        .collect();
    let centred =
        DMatrix::from_fn(width, vectors.len(), |at, row| f64::from(vectors[row][at]) - mean[at]);
    &centred * centred.transpose() / count
}

/// Puts `components` behind the projections of the states' parts, whose sum they map.
fn turn_states(adapters: &mut Adapters, components: &Components, dimension: usize) {
    let pooling: Pooling = adapters.manifest.pooling;
    let device = adapters.queries.rows.val().device();
    let count = components.rows.len() / dimension;
    let turn = |projection: &Option<Projection>| {
        let (weight, bias) = match projection {
            Some(projection) => {
                let (width, weight) = (projection.weight.dims()[1], host(projection.weight.val()));
                let bias = host(projection.bias.val().reshape([1, dimension]));
                (DMatrix::from_row_slice(dimension, width, &weight), bias)
            }
            None => (DMatrix::identity(dimension, dimension), vec![0.0; dimension]),
        };
        let turned = DMatrix::from_row_slice(count, dimension, &components.rows);
        let (product, width) = (&turned * &weight, weight.ncols());
        let bias = &turned * DMatrix::from_column_slice(dimension, 1, &bias);
        // Column by column is how the transpose lies row by row.
        Projection::new(
            HostTensor { shape: vec![count, width], values: product.transpose().as_slice().into() },
            HostTensor { shape: vec![count], values: bias.as_slice().to_vec() },
            &device,
        )
    };
    let pooler = &mut adapters.pooler;
    pooler.queries = pooling.uses_queries().then(|| turn(&pooler.queries));
    pooler.mean = pooling.uses_mean().then(|| turn(&pooler.mean));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_ordered_and_whitened() {
        // Variance 4 along [0, 1], 1 along [1, 0], none along the third.
        let vectors: Vec<Vec<f32>> = [[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]
            .iter()
            .map(|[x, y]| vec![*x, *y, 5.0])
            .collect();
        let near = |got: &[f32], want: &[f32]| {
            got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6)
        };
        let whole = Components::of(&vectors, 2, 1.0).expect("they differ");
        assert!(near(&whole.rows, &[0.0, 0.5, 0.0, 1.0, 0.0, 0.0]), "{:?}", whole.rows);
        let half = Components::of(&vectors, 1, 0.5).expect("they differ");
        assert!(near(&half.rows, &[0.0, 0.5_f32.sqrt(), 0.0]), "{:?}", half.rows);
        assert!((half.kept - 0.8).abs() < 1e-9, "{}", half.kept);
        assert!(Components::of(&vec![vec![1.0, 2.0]; 4], 1, 1.0).is_err());
    }

    #[test]
    fn documents_are_there_once() {
        let example = |query: &str, positives: &[&str]| Example {
            query: query.to_owned(),
            positives: positives.iter().map(|&text| text.to_owned()).collect(),
            ..Example::default()
        };
        let examples = [example("q", &["a", "b"]), example("alone", &[]), example("r", &["a"])];
        let mut texts = documents(&examples, 1);
        texts.sort_unstable();
        assert_eq!(texts, ["a", "alone", "b"]);
    }
}
