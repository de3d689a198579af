//! Prefill and decode by the backbone, as the encoder runs it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use twn_encoder::{
    Isa,
    backbone::{Backbone, FusedOptions, KvCache, PreparedLora, Span},
    model, open_device,
};

use super::{
    super::contestant::{Adapters, Ours, Precision},
    CONTEXT_TOKENS, adapter,
};

/// The backbone in one configuration.
pub(super) struct Speed {
    backbone: Backbone,
    adapter: Option<PreparedLora>,
}

impl Speed {
    pub(super) fn load(
        model: &Path,
        ours: Ours,
        threads: usize,
        isa: Option<Isa>,
    ) -> anyhow::Result<Self> {
        let checkpoint = model::open(model)?;
        let (config, tensors) = (&checkpoint.config, checkpoint.tensors.as_ref());
        let precision = match ours.precision {
            Precision::Reference => None,
            Precision::EightBit => Some(twn_encoder::Precision::Q8),
            Precision::FourBit => Some(twn_encoder::Precision::Auto),
        };
        let backbone = match precision {
            None => Backbone::load(config, tensors, CONTEXT_TOKENS, &open_device("flex")?)?,
            Some(precision) => {
                let activations = ours.activations;
                let options = FusedOptions {
                    precision,
                    activations,
                    threads,
                    isa,
                    ..FusedOptions::new(CONTEXT_TOKENS)
                };
                Backbone::load_fused(config, tensors, &options)?
            }
        };
        let adapter = match ours.adapters {
            Adapters::None => None,
            Adapters::RankEight => Some(backbone.prepare(&adapter::rank_eight(config)?)?),
        };
        Ok(Self { backbone, adapter })
    }

    pub(super) fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Times prompts from empty caches to the logits of each one's last token.
    pub(super) fn prefill(&self, batch: usize, tokens: usize) -> Duration {
        let new = || self.backbone.new_embedding_cache(CONTEXT_TOKENS);
        let mut caches: Vec<KvCache> = (0..batch).map(|_| new()).collect();
        let started = Instant::now();
        std::hint::black_box(self.run(&mut caches, tokens));
        started.elapsed()
    }

    /// Times steps of one token for every sequence, after prompts that are not timed.
    pub(super) fn decode(&self, batch: usize, prompt: usize, steps: usize) -> Duration {
        let new = || self.backbone.new_cache(CONTEXT_TOKENS);
        let mut caches: Vec<KvCache> = (0..batch).map(|_| new()).collect();
        self.run(&mut caches, prompt);
        let started = Instant::now();
        for _ in 0..steps {
            std::hint::black_box(self.run(&mut caches, 1));
        }
        started.elapsed()
    }

    /// Runs `len` arbitrary tokens of every sequence in one pass; gives the last logits.
    fn run(&self, caches: &mut [KvCache], len: usize) -> Vec<f32> {
        let vocabulary = self.backbone.config().vocab_size;
        let past = caches.first().map_or(0, KvCache::len);
        let tokens: Vec<u32> =
            (0..caches.len() * len).map(|i| ((i + past) * 7919 % vocabulary) as u32).collect();
        let mut spans: Vec<Span<'_>> = caches.iter_mut().map(|cache| Span { len, cache }).collect();
        let rows = self.backbone.embed(&tokens);
        let states = self.backbone.forward(rows, &mut spans, self.adapter.as_ref());
        let width = self.backbone.config().hidden_size;
        // The last row of every sequence.
        let last = states.reshape([spans.len(), len * width]);
        let last = last.slice([0..spans.len(), (len - 1) * width..len * width]);
        self.backbone.logits(last).into_data().try_into_vec().expect("logits are f32")
    }
}
