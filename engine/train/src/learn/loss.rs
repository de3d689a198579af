//! What training minimises. Functions over tensors; gradients are checked against PyTorch.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};

/// Added to a similarity that must not count.
const MASKED: f32 = -1e30;

/// Which document belongs to which query of a contrastive batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    /// For each query, the row of its positive document.
    pub positive: Vec<usize>,
    /// For each query, rows of documents that answer it as well and must not count as
    /// wrong, for example the same text drawn twice.
    pub also_right: Vec<Vec<usize>>,
    /// For each query, the rows of documents that are known to be wrong: never taken for
    /// false negatives, however similar.
    pub hard: Vec<Vec<usize>>,
    /// Documents there are.
    pub documents: usize,
}

/// Constants of the contrastive loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Similarities are divided by it.
    pub temperature: f32,
    /// A document that is more similar than the positive by more than this, and not known
    /// to be wrong, is taken for a false negative and left out (Qwen3-Embedding's rule);
    /// `None` leaves none out.
    pub false_negative_margin: Option<f32>,
    /// Adds the loss of finding the query by its positive, among all queries (CLIP's
    /// symmetric form).
    pub symmetric: bool,
}

/// InfoNCE (arXiv 1807.03748) of `queries` (`[N, D]`) among `documents` (`[M, D]`), both
/// of unit rows: the mean over the queries.
///
/// # Panics
/// Panics when the pairing does not fit the tensors.
pub fn info_nce(
    queries: Tensor<2>,
    documents: Tensor<2>,
    pairing: &Pairing,
    contrast: &Contrast,
) -> Tensor<1> {
    let [count, _] = queries.dims();
    let [total, _] = documents.dims();
    assert!(pairing.positive.len() == count && pairing.documents == total, "pairing fits");
    let device = queries.device();
    let similarities = queries.matmul(documents.transpose());

    let mut chosen = vec![0.0_f32; count * total];
    let mut masked = vec![0.0_f32; count * total];
    let mut doubtful = vec![1.0_f32; count * total];
    for (query, &positive) in pairing.positive.iter().enumerate() {
        let row = query * total;
        chosen[row + positive] = 1.0;
        doubtful[row + positive] = 0.0;
        for &other in pairing.also_right[query].iter().filter(|&&other| other != positive) {
            masked[row + other] = MASKED;
        }
        for &hard in &pairing.hard[query] {
            doubtful[row + hard] = 0.0;
        }
    }
    let table = |values: Vec<f32>| -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, [count, total]), &device)
    };
    let chosen = table(chosen);
    let mut mask = table(masked);
    if let Some(margin) = contrast.false_negative_margin {
        let fixed = similarities.clone().detach();
        let positive = (fixed.clone() * chosen.clone()).sum_dim(1);
        let excess = fixed - positive.add_scalar(margin);
        let false_negative = excess.greater_elem(0.0).float() * table(doubtful);
        mask = mask + false_negative.mul_scalar(MASKED);
    }
    let logits = similarities.div_scalar(contrast.temperature) + mask;
    let forward = cross_entropy(logits.clone(), chosen.clone(), count);
    if !contrast.symmetric {
        return forward;
    }
    // Columns without a query have no query to find.
    let backward = cross_entropy(logits.transpose(), chosen.transpose(), count);
    (forward + backward).div_scalar(2.0)
}

/// The mean over `count` chosen cells of `-log softmax` along rows.
fn cross_entropy(logits: Tensor<2>, chosen: Tensor<2>, count: usize) -> Tensor<1> {
    (log_softmax(logits, 1) * chosen).sum().neg().div_scalar(count as f32)
}

/// Distance of `students` to `teachers` (both `[N, D]`, unit rows): the mean of
/// `1 - cosine`.
pub fn cosine_distance(students: Tensor<2>, teachers: Tensor<2>) -> Tensor<1> {
    let [count, _] = students.dims();
    (students * teachers).sum().div_scalar(count as f32).neg().add_scalar(1.0)
}

/// Kullback-Leibler divergence of the student's similarities within a batch from the
/// teacher's, each row a distribution over the others: `students` and `teachers` are
/// `[N, *]` of unit rows.
pub fn similarity_divergence(
    students: Tensor<2>,
    teachers: Tensor<2>,
    temperature: f32,
) -> Tensor<1> {
    let [count, _] = students.dims();
    let device = students.device();
    let own = identity(count, &device).mul_scalar(MASKED);
    let spread = |rows: Tensor<2>| {
        let similarities = rows.clone().matmul(rows.transpose());
        log_softmax(similarities.div_scalar(temperature) + own.clone(), 1)
    };
    let (student, teacher) = (spread(students), spread(teachers).detach());
    // A row's own cell has probability 0 under both.
    (teacher.clone().exp() * (teacher - student)).sum().div_scalar(count as f32)
}

fn identity(count: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0_f32; count * count];
    values.iter_mut().step_by(count + 1).for_each(|value| *value = 1.0);
    Tensor::from_data(TensorData::new(values, [count, count]), device)
}

/// Constants of the policy gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyGradient {
    /// The probability ratio counts up to `1 - clip_low`…
    pub clip_low: f32,
    /// … and `1 + clip_high`.
    pub clip_high: f32,
    /// Weight of the divergence from the reference.
    pub kl_weight: f32,
}

/// Tokens of sampled thoughts, one entry a token.
#[derive(Debug)]
pub struct SampledTokens {
    /// Advantage of the token's thought.
    pub advantages: Tensor<1>,
    /// Log-probability when it was sampled.
    pub sampled: Tensor<1>,
    /// Log-probability under the reference.
    pub reference: Tensor<1>,
    /// Weights that average over tokens as wanted; they sum to 1.
    pub weights: Tensor<1>,
}

/// GRPO's loss (arXiv 2402.03300) with a wider upper clip (arXiv 2503.14476): the clipped
/// surrogate, and the unbiased estimate `exp(r - p) - (r - p) - 1` of the divergence from
/// the reference. `current` are the tokens' log-probabilities.
pub fn policy_loss(
    current: Tensor<1>,
    tokens: &SampledTokens,
    constants: &PolicyGradient,
) -> Tensor<1> {
    let ratio = (current.clone() - tokens.sampled.clone()).exp();
    let clipped = ratio.clone().clamp(1.0 - constants.clip_low, 1.0 + constants.clip_high);
    let surrogate =
        (ratio * tokens.advantages.clone()).min_pair(clipped * tokens.advantages.clone());
    let gap = tokens.reference.clone() - current;
    let divergence = gap.clone().exp() - gap - 1.0;
    ((divergence.mul_scalar(constants.kl_weight) - surrogate) * tokens.weights.clone()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn scalar(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar::<f32>()
    }

    fn contrast() -> Contrast {
        Contrast { temperature: 0.5, false_negative_margin: None, symmetric: false }
    }

    #[track_caller]
    fn check(pairing: &Pairing, contrast: &Contrast, want: f32) {
        let queries = rows(&[1.0, 0.0, 0.0, 1.0], [2, 2]);
        let documents = rows(&[0.8, 0.6, 0.0, 1.0, 1.0, 0.0], [3, 2]);
        let got = scalar(info_nce(queries, documents, pairing, contrast));
        assert!((got - want).abs() < 1e-5, "{got} instead of {want}");
    }

    fn pairing() -> Pairing {
        Pairing {
            positive: vec![0, 1],
            also_right: vec![vec![], vec![]],
            hard: vec![vec![], vec![]],
            documents: 3,
        }
    }

    /// `-log softmax` of the first of the similarities at temperature 0.5.
    fn loss_of(similarities: &[f32]) -> f32 {
        let sum: f32 = similarities.iter().map(|s| (s / 0.5).exp()).sum();
        sum.ln() - similarities[0] / 0.5
    }

    #[test]
    fn every_other_document_is_a_negative() {
        let want = (loss_of(&[0.8, 0.0, 1.0]) + loss_of(&[1.0, 0.6, 0.0])) / 2.0;
        check(&pairing(), &contrast(), want);
    }

    #[test]
    fn false_negatives_are_left_out_unless_they_are_known_to_be_wrong() {
        let margin = Contrast { false_negative_margin: Some(0.1), ..contrast() };
        let want = (loss_of(&[0.8, 0.0]) + loss_of(&[1.0, 0.6, 0.0])) / 2.0;
        check(&pairing(), &margin, want);
        let known = Pairing { hard: vec![vec![2], vec![]], ..pairing() };
        let want = (loss_of(&[0.8, 0.0, 1.0]) + loss_of(&[1.0, 0.6, 0.0])) / 2.0;
        check(&known, &margin, want);
        let right = Pairing { also_right: vec![vec![2], vec![]], ..pairing() };
        let want = (loss_of(&[0.8, 0.0]) + loss_of(&[1.0, 0.6, 0.0])) / 2.0;
        check(&right, &contrast(), want);
    }

    #[test]
    fn the_symmetric_form_finds_queries_too() {
        let there = (loss_of(&[0.8, 0.0, 1.0]) + loss_of(&[1.0, 0.6, 0.0])) / 2.0;
        let back = (loss_of(&[0.8, 0.6]) + loss_of(&[1.0, 0.0])) / 2.0;
        check(&pairing(), &Contrast { symmetric: true, ..contrast() }, (there + back) / 2.0);
    }

    #[test]
    fn a_student_like_its_teacher_has_no_distance() {
        let same = || rows(&[0.6, 0.8, 1.0, 0.0, 0.0, 1.0], [3, 2]);
        assert!(scalar(cosine_distance(same(), same())).abs() < 1e-6);
        assert!(scalar(similarity_divergence(same(), same(), 0.1)).abs() < 1e-6);
        let other = rows(&[0.6, 0.8, 0.0, 1.0, 1.0, 0.0], [3, 2]);
        assert!(scalar(similarity_divergence(other, same(), 0.1)) > 0.1);
    }
}
