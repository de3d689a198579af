//! Embedding-guided reinforcement: thoughts are sampled as the server would decode them,
//! rewarded by what they do for the embedding, and made more or less likely (GRPO).
//!
//! The reward is `format + rank / (rank of the positive) + gap * (positive - nearest
//! negative)`, less `price * tokens`, where rank and gap are those of the reasoned embedding among the
//! example's own documents. The relatives' formulas (UME-R1, Embed-RL) have the same
//! parts; the price is what makes thoughts short.

use std::collections::HashMap;

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use serde::Serialize;
use twn_encoder::{Embedder, Encoder, StopReason, adapter::Lora};

use super::{
    Batch, Drawn, ParameterGradients, Sequence, Sequencer, Stage, Student, TrainError,
    loss::{PolicyGradient, SampledTokens, policy_loss},
    recipe::Policy,
    sampler::{Decoding, Sampler, Use, Wanted, prompt, sample},
};

/// What a step of reinforcement saw.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PolicyFigures {
    /// Mean reward.
    pub reward: f32,
    /// Share of thoughts that closed themselves.
    pub closed: f32,
    /// Mean reciprocal rank of the positive.
    pub reciprocal_rank: f32,
    /// Mean lead of the positive over the nearest negative.
    pub gap: f32,
    /// Mean tokens of a thought.
    pub thought_tokens: f32,
    /// Mean divergence from the reference a token.
    pub divergence: f32,
}

/// Samples, rewards and differentiates.
pub(super) struct Reinforcement {
    policy: Policy,
    /// The reasoning adapter that the stage began with.
    reference: Lora,
}

/// One sampled thought.
struct Sample {
    sequence: Sequence,
    example: usize,
    closed: bool,
    reciprocal_rank: f32,
    gap: f32,
    reward: f32,
}

impl Reinforcement {
    /// Begins with the student's reasoning adapter as the reference.
    pub(super) fn new(policy: &Policy, reference: Lora) -> Self {
        Self { policy: policy.clone(), reference }
    }

    /// One step: figures and gradients.
    ///
    /// # Errors
    /// Fails when the sampler cannot be loaded or refuses an input.
    pub(super) fn step(
        &self,
        student: &Student,
        (sequencer, sampler): (&Sequencer, &mut Sampler),
        drawn: &[Drawn<'_>],
        stage: &Stage,
        seed: u64,
    ) -> Result<(PolicyFigures, ParameterGradients), TrainError> {
        let encoder = sampler.encoder(student, Use::Embeddings)?;
        let samples = self.sample(encoder, sequencer, drawn, seed)?;
        let advantages = advantages(&samples);
        let mut figures = PolicyFigures::of(&samples);
        // A thought that ended before its first token has nothing to make more likely.
        let (sequences, advantages): (Vec<Sequence>, Vec<f32>) = samples
            .iter()
            .zip(advantages)
            .filter(|(sample, _)| !sample.sequence.thought.is_empty())
            .map(|(sample, advantage)| (sample.sequence.clone(), advantage))
            .unzip();
        let tokens: usize = sequences.iter().map(|sequence| sequence.thought.len()).sum();
        let mut gradients = ParameterGradients::default();
        if tokens == 0 {
            return Ok((figures, gradients));
        }
        let constants = PolicyGradient {
            clip_low: self.policy.clip_low,
            clip_high: self.policy.clip_high,
            kl_weight: self.policy.kl_weight,
        };
        let mut reference = student.frozen();
        reference.adapters.reasoning = self.reference.clone().no_grad();
        for group in student.thought_passes(&sequences, stage.pass_tokens_max) {
            let batch = Batch::new(group.iter().map(|&index| &sequences[index]).collect(), 0);
            let expected = reference.thought_log_probabilities(&batch).detach();
            let current = student.thought_log_probabilities(&batch);
            let spread: Vec<f32> = group
                .iter()
                .flat_map(|&at| std::iter::repeat_n(advantages[at], sequences[at].thought.len()))
                .collect();
            let count = spread.len();
            let vector = |values: Vec<f32>| -> Tensor<1> {
                Tensor::from_data(TensorData::new(values, [count]), student.device())
            };
            // One update a sample: the policy that sampled is the one that learns.
            let sampled = SampledTokens {
                advantages: vector(spread),
                sampled: current.clone().detach(),
                reference: expected.clone(),
                weights: vector(vec![1.0 / tokens as f32; count]),
            };
            let gap = expected - current.clone().detach();
            let divergence = (gap.clone().exp() - gap - 1.0).sum().into_scalar::<f32>();
            figures.divergence += divergence / tokens as f32;
            let mut passed = policy_loss(current, &sampled, &constants).backward();
            gradients.add(ParameterGradients::take(&student.adapters, &mut passed));
        }
        Ok((figures, gradients))
    }

    fn sample(
        &self,
        encoder: &mut Encoder,
        sequencer: &Sequencer,
        drawn: &[Drawn<'_>],
        seed: u64,
    ) -> Result<Vec<Sample>, TrainError> {
        let documents = embed_documents(encoder, sequencer, drawn)?;
        let mut prompts = Vec::with_capacity(drawn.len());
        for one in drawn {
            let query = one.case.apply(&one.example.query);
            prompts.push(sequencer.query(&query, one.example.instruction.as_deref())?);
        }
        let group = self.policy.group;
        let wanted: Vec<Wanted<'_>> = (0..drawn.len() * group)
            .map(|at| Wanted { prompt: &prompts[at / group], seed: seed.wrapping_add(at as u64) })
            .collect();
        let decoding = Decoding {
            token_budget: self.policy.token_budget,
            temperature: self.policy.temperature,
        };
        let mut samples = Vec::with_capacity(wanted.len());
        sample(encoder, &wanted, &decoding, &mut |encoder, at, thought| {
            let decoded = thought.decoded().to_vec();
            let reasoned = encoder.reasoned(thought)?;
            let closed = reasoned.stop_reason == StopReason::Closed;
            let example = at / group;
            let (reciprocal_rank, gap) = documents[example].judge(&reasoned.embedding);
            let reward = self.policy.format_reward * f32::from(closed)
                + self.policy.rank_reward * reciprocal_rank
                + self.policy.gap_reward * gap
                - self.policy.token_price * decoded.len() as f32;
            let sequence = sequencer.think_tokens(&prompts[example], &decoded);
            samples.push(Sample { sequence, example, closed, reciprocal_rank, gap, reward });
            Ok(())
        })?;
        Ok(samples)
    }
}

/// Embeddings of one example's documents.
struct Documents {
    positive: Vec<f32>,
    negatives: Vec<Vec<f32>>,
}

impl Documents {
    /// Reciprocal rank of the positive, and its lead over the nearest negative.
    fn judge(&self, embedding: &[f32]) -> (f32, f32) {
        let similarity =
            |other: &Vec<f32>| -> f32 { embedding.iter().zip(other).map(|(a, b)| a * b).sum() };
        let own = similarity(&self.positive);
        let others: Vec<f32> = self.negatives.iter().map(similarity).collect();
        let rank = 1 + others.iter().filter(|&&other| other >= own).count();
        let nearest = others.iter().copied().fold(-1.0, f32::max);
        (1.0 / rank as f32, own - nearest)
    }
}

fn embed_documents(
    encoder: &mut Encoder,
    sequencer: &Sequencer,
    drawn: &[Drawn<'_>],
) -> Result<Vec<Documents>, TrainError> {
    let mut rows: HashMap<&str, usize> = HashMap::new();
    let mut prompts = Vec::new();
    for text in drawn.iter().flat_map(|one| one.positive.iter().chain(&one.negatives)) {
        if !rows.contains_key(text) {
            rows.insert(text, prompts.len());
            prompts.push(prompt(&sequencer.document(text)?));
        }
    }
    let directs = encoder.direct(&prompts.iter().collect::<Vec<_>>())?;
    let vectors: Vec<Vec<f32>> = directs.into_iter().map(|direct| direct.embedding).collect();
    drawn
        .iter()
        .map(|one| {
            let positive = one.positive.ok_or_else(|| {
                TrainError::recipe("a policy needs examples with positives and negatives")
            })?;
            Ok(Documents {
                positive: vectors[rows[positive]].clone(),
                negatives: one.negatives.iter().map(|text| vectors[rows[text]].clone()).collect(),
            })
        })
        .collect()
}

/// Each reward less its group's mean, over the group's deviation.
fn advantages(samples: &[Sample]) -> Vec<f32> {
    let mut groups: HashMap<usize, Vec<f32>> = HashMap::new();
    for sample in samples {
        groups.entry(sample.example).or_default().push(sample.reward);
    }
    let of = |sample: &Sample| {
        let rewards = &groups[&sample.example];
        let count = rewards.len() as f32;
        let mean = rewards.iter().sum::<f32>() / count;
        let variance = rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f32>() / count;
        (sample.reward - mean) / (variance.sqrt() + 1e-4)
    };
    samples.iter().map(of).collect()
}

impl PolicyFigures {
    fn of(samples: &[Sample]) -> Self {
        let mean = |value: &dyn Fn(&Sample) -> f32| {
            samples.iter().map(value).sum::<f32>() / samples.len().max(1) as f32
        };
        Self {
            reward: mean(&|sample| sample.reward),
            closed: mean(&|sample| f32::from(sample.closed)),
            reciprocal_rank: mean(&|sample| sample.reciprocal_rank),
            gap: mean(&|sample| sample.gap),
            thought_tokens: mean(&|sample| sample.sequence.thought.len() as f32),
            divergence: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(example: usize, reward: f32) -> Sample {
        let sequence = Sequence { tokens: vec![1, 2], content: 0..1, thought: 1..2 };
        Sample { sequence, example, closed: true, reciprocal_rank: 1.0, gap: 0.0, reward }
    }

    #[test]
    fn advantages_compare_within_a_group() {
        let samples = [sample(0, 1.0), sample(0, 3.0), sample(1, 5.0), sample(1, 5.0)];
        let got = advantages(&samples);
        assert!((got[0] + 1.0).abs() < 1e-3 && (got[1] - 1.0).abs() < 1e-3, "{got:?}");
        assert_eq!(got[2..], [0.0, 0.0]);
    }

    #[test]
    fn documents_judge_by_rank_and_lead() {
        let documents =
            Documents { positive: vec![0.6, 0.8], negatives: vec![vec![1.0, 0.0], vec![0.0, 1.0]] };
        let (rank, gap) = documents.judge(&[1.0, 0.0]);
        assert!((rank - 0.5).abs() < 1e-6 && (gap + 0.4).abs() < 1e-6);
    }
}
