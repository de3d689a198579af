//! Backbone and adapters together: what runs under which adapter.

use burn::tensor::{Tensor, TensorData};

use super::{Sequence, sequence::host_values};
use crate::{
    adapter::{Adapters, Lora},
    backbone::{Backbone, KvCache, PreparedLora, RowExtras, Span, Tap},
    error::EncoderError,
    pooling::unit,
};

/// Which adapter a pass runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Prompts that a thought may follow, and thoughts.
    Reasoning,
    /// Queries, and everything that is encoded again.
    Embedding,
}

/// The states of the queries after some inputs.
#[derive(Debug)]
pub(crate) struct QueryStates {
    /// After the final norm, `[inputs, K, hidden]`.
    pub(crate) last: Tensor<3>,
    /// Between two layers, if the gate reads them there.
    inner: Option<Tensor<3>>,
}

impl QueryStates {
    /// Takes rows, `[inputs * K, hidden]`.
    pub(crate) fn new(last: Tensor<2>, inner: Option<Tensor<2>>, inputs: usize) -> Self {
        let by_input = |rows: Tensor<2>| {
            let [count, hidden] = rows.dims();
            rows.reshape([inputs, count / inputs.max(1), hidden])
        };
        Self { last: by_input(last), inner: inner.map(by_input) }
    }

    /// Those that the gate reads.
    pub(crate) fn for_gate(&self) -> Tensor<3> {
        self.inner.as_ref().unwrap_or(&self.last).clone()
    }
}

/// Backbone and adapters together.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) backbone: Backbone,
    pub(crate) adapters: Adapters,
    /// The reasoning and the embedding adapter as the backbone runs them. One whose `B` is
    /// zero is left out: that changes no bit and saves time.
    prepared: [Option<PreparedLora>; 2],
}

impl Model {
    /// Puts the parts together.
    ///
    /// # Errors
    /// Fails when an adapter does not fit the backbone.
    pub(crate) fn new(backbone: Backbone, adapters: Adapters) -> Result<Self, EncoderError> {
        let prepare = |lora: &Lora| (!lora.is_silent()).then(|| backbone.prepare(lora)).transpose();
        let prepared = [prepare(&adapters.reasoning)?, prepare(&adapters.embedding)?];
        Ok(Self { backbone, adapters, prepared })
    }

    /// The adapter of a role, if it changes anything.
    pub(crate) fn lora(&self, role: Role) -> Option<&PreparedLora> {
        match role {
            Role::Reasoning => self.prepared[0].as_ref(),
            Role::Embedding => self.prepared[1].as_ref(),
        }
    }

    /// Makes an empty cache for sequences of a role.
    pub(crate) fn new_cache(&self, role: Role, capacity: usize) -> KvCache {
        match role {
            Role::Reasoning => self.backbone.new_cache(capacity),
            Role::Embedding => self.backbone.new_embedding_cache(capacity),
        }
    }

    /// Runs the queries after each cache, which is left as it was.
    pub(crate) fn query_states(&self, caches: &mut [&mut KvCache]) -> QueryStates {
        let queries = &self.adapters.queries;
        let (count, inputs) = (queries.count(), caches.len());
        let lengths: Vec<usize> = caches.iter().map(|cache| cache.len()).collect();
        let mut spans: Vec<Span<'_>> =
            caches.iter_mut().map(|cache| Span { len: count, cache }).collect();
        let rows = queries.repeated(inputs);
        let all: Vec<usize> = (0..inputs * count).collect();
        let (states, inner) = self.backbone.forward_tapped(
            rows,
            &mut spans,
            self.lora(Role::Embedding),
            &RowExtras::default(),
            self.gate_tap(&all),
        );
        for (cache, length) in caches.iter_mut().zip(lengths) {
            cache.truncate(length);
        }
        QueryStates::new(states, inner, inputs)
    }

    /// Where a pass whose query rows are `rows` is tapped for the gate.
    pub(crate) fn gate_tap<'a>(&self, rows: &'a [usize]) -> Option<Tap<'a>> {
        self.adapters.gate.form.depth.map(|layers| Tap { layers, rows })
    }

    /// Pools the query states and all else of sequences that have run into unit vectors.
    /// `states` may be left out when pooling does not use them.
    ///
    /// # Errors
    /// Fails when a vector has no direction or is not finite.
    pub(crate) fn embed(
        &self,
        states: Option<Tensor<3>>,
        sequences: &[&Sequence],
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        let hidden = self.backbone.config().hidden_size;
        let means: Vec<f32> = sequences.iter().flat_map(|sequence| sequence.sum.mean()).collect();
        let means = TensorData::new(means, [sequences.len(), hidden]);
        let means = Tensor::<2>::from_data(means, self.backbone.device());
        let Adapters { manifest, pooler, .. } = &self.adapters;
        let bags = pooler.lexicon.as_ref().map(|lexicon| {
            let words: Vec<Vec<u32>> = sequences.iter().map(|sequence| sequence.words()).collect();
            lexicon.bags(&words, |ids| self.backbone.embed(ids))
        });
        let pooled = pooler.pool(manifest.pooling, states, Some(means), bags);
        let [_, dimension] = pooled.dims();
        host_values(pooled)?.chunks_exact(dimension).map(|row| unit(row.to_vec())).collect()
    }

    /// Scores inputs by their query states.
    ///
    /// # Errors
    /// Fails when a score is not a number.
    pub(crate) fn gate_scores(&self, states: &QueryStates) -> Result<Vec<f32>, EncoderError> {
        let scores = host_values(self.adapters.gate.score(states.for_gate()))?;
        match scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
            Some(score) => {
                Err(EncoderError::Internal { problem: format!("the gate's score is {score}") })
            }
            None => Ok(scores),
        }
    }
}
