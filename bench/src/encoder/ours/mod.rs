//! Our encoder as a contestant: the backbone for speeds, the whole encoder for embeddings
//! and thoughts, the service for requests side by side.

mod adapter;
mod requests;
mod speed;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use serde_json::{Value, json};
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, Isa, LoadOptions, Thought, ThoughtOptions,
    adapter::Interface,
};

use super::contestant::{
    Adapters, Contestant, Cost, Engine, Greedy, Order, Ours, Precision, Reasoned,
};
use requests::Requests;
use speed::Speed;

/// The most tokens of a prompt and its thought here.
const CONTEXT_TOKENS: usize = 1024;
/// Prompts embedded in one call; the encoder splits it further.
const BATCH: usize = 32;

/// Our encoder in one configuration.
pub(super) struct OurEngine {
    ours: Ours,
    threads: usize,
    isa: Option<Isa>,
    model: PathBuf,
    speed: Speed,
    /// With adapters that meet in one cache. Loaded when first asked for, like the next.
    one_cache: Option<Requests>,
    /// With the built-in adapters.
    requests: Option<Requests>,
    /// For thoughts that are compared.
    thinker: Option<Encoder>,
}

impl OurEngine {
    /// Loads the backbone.
    ///
    /// # Errors
    /// Fails when the model can't be loaded.
    pub(super) fn load(
        model: PathBuf,
        ours: Ours,
        threads: usize,
        isa: Option<Isa>,
    ) -> anyhow::Result<Self> {
        let speed = Speed::load(&model, ours, threads, isa)?;
        Ok(Self {
            ours,
            threads,
            isa,
            model,
            speed,
            one_cache: None,
            requests: None,
            thinker: None,
        })
    }

    /// Loads the encoder, with the built-in adapters unless there are others.
    fn encoder(&self, adapters: Option<PathBuf>) -> anyhow::Result<Encoder> {
        let (device, precision) = match self.ours.precision {
            Precision::Reference => ("flex", twn_encoder::Precision::F32),
            Precision::EightBit => ("cpu", twn_encoder::Precision::Q8),
            Precision::FourBit => ("cpu", twn_encoder::Precision::Auto),
        };
        let options = LoadOptions {
            adapters,
            device: device.to_owned(),
            precision,
            activations: self.ours.activations,
            threads: self.threads,
            isa: self.isa,
            context_tokens: CONTEXT_TOKENS,
            ..LoadOptions::new(&self.model)
        };
        Ok(Encoder::load(&options)?)
    }

    fn thinker(&mut self) -> anyhow::Result<&mut Encoder> {
        if self.thinker.is_none() {
            self.thinker = Some(self.encoder(None)?);
        }
        self.thinker.as_mut().context("was just loaded")
    }

    fn requests(&mut self) -> anyhow::Result<&Requests> {
        if self.requests.is_none() {
            self.requests = Some(Requests::start(self.encoder(None)?)?);
        }
        self.requests.as_ref().context("was just started")
    }

    fn one_cache(&mut self) -> anyhow::Result<&Requests> {
        if self.one_cache.is_none() {
            let folder = tempfile::tempdir()?;
            adapter::write_one_cache(&self.model, folder.path())?;
            let encoder = self.encoder(Some(folder.path().to_owned()))?;
            self.one_cache = Some(Requests::start(encoder)?);
        }
        self.one_cache.as_ref().context("was just started")
    }
}

impl Contestant for OurEngine {
    fn prefill(&mut self, batch: usize, tokens: usize) -> anyhow::Result<Duration> {
        Ok(self.speed.prefill(batch, tokens))
    }

    fn decode(&mut self, batch: usize, prompt: usize, steps: usize) -> anyhow::Result<Duration> {
        Ok(self.speed.decode(batch, prompt, steps))
    }

    fn describe(&mut self) -> anyhow::Result<Value> {
        let backbone = self.speed.backbone();
        let decoder = backbone.decoder();
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "instructions": decoder.map(|decoder| decoder.options().isa.name()),
            "threads": decoder.map(|decoder| decoder.options().threads),
            "weight_bytes": decoder.map(|decoder| decoder.weight_bytes()),
            "half_cache": decoder.map(|decoder| decoder.options().half_cache),
            "activations": decoder.map(|_| self.ours.activations.name()),
            "adapters": self.ours.adapters == Adapters::RankEight,
        }))
    }
}

impl Engine for OurEngine {
    fn cost(&self) -> Cost {
        let backbone = self.speed.backbone();
        let config = backbone.config();
        let tables = config.vocab_size * config.hidden_size;
        let tables = if config.tied_embeddings { tables } else { 2 * tables };
        let layers = backbone.parameters() - tables as u64;
        let (bytes, element) = match backbone.decoder() {
            Some(decoder) => {
                (decoder.step_bytes(), if decoder.options().half_cache { 2 } else { 4 })
            }
            None => (4 * backbone.parameters() as usize, 4),
        };
        let cache = config.layers * config.kv_heads * config.head_dim * 2 * element;
        Cost {
            // Norms are vectors, and too few to tell.
            multiply_adds_per_token: layers,
            head_multiply_adds: (config.vocab_size * config.hidden_size) as u64,
            weight_bytes_per_step: bytes as u64,
            cache_bytes_per_position: cache as u64,
            arithmetic: self.ours.arithmetic(),
        }
    }

    fn reasoned(
        &mut self,
        interface: Interface,
        requests: usize,
        order: Order,
    ) -> anyhow::Result<Reasoned> {
        let service = match interface {
            Interface::Cache => self.one_cache()?,
            Interface::Reencode => self.requests()?,
        };
        service.reasoned(interface, requests, order)
    }

    fn direct_latencies(
        &mut self,
        requests: usize,
        thoughts: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        self.requests()?.direct_latencies(requests, thoughts)
    }

    fn embed(&mut self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut encoder = self.encoder(None)?;
        let prompter = encoder.prompter();
        let mut embeddings = Vec::with_capacity(texts.len());
        for texts in texts.chunks(BATCH) {
            let prompts: Vec<_> = texts
                .iter()
                .map(|text| prompter.prepare(&input(text, EmbedKind::Document)))
                .collect::<Result<_, _>>()?;
            let directs = encoder.direct(&prompts.iter().collect::<Vec<_>>())?;
            embeddings.extend(directs.into_iter().map(|direct| direct.embedding));
        }
        Ok(embeddings)
    }

    fn think_greedily(&mut self, prompts: &[String], tokens: usize) -> anyhow::Result<Vec<Greedy>> {
        let encoder = self.thinker()?;
        let prompter = encoder.prompter();
        let options = ThoughtOptions {
            token_budget: u32::try_from(tokens)?,
            temperature: 0.0,
            seed: 0,
            convergence: None,
        };
        let mut thoughts = Vec::with_capacity(prompts.len());
        for text in prompts {
            let prompt = prompter.prepare(&input(text, EmbedKind::Query))?;
            let direct = encoder.direct(&[&prompt])?.pop().context("one prompt, one embedding")?;
            let mut thought = encoder.think(direct.context, &options)?;
            while thought.stop_reason().is_none() {
                encoder.step(&mut [&mut thought])?;
            }
            let tokens = thought.decoded().to_vec();
            thoughts.push(Greedy { text: encoder.reasoned(thought)?.thought, tokens });
        }
        Ok(thoughts)
    }

    fn logits(&mut self, prompt: &str, thought: &[u32]) -> anyhow::Result<Vec<Vec<f32>>> {
        let encoder = self.thinker()?;
        let prompt = encoder.prompter().prepare(&input(prompt, EmbedKind::Query))?;
        Ok(encoder.thought_logits(&prompt, thought)?)
    }
}

fn input(text: &str, kind: EmbedKind) -> EncodeInput {
    EncodeInput { content: Content::text(text), instruction: None, kind }
}
