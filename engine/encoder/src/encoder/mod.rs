//! The model as an [`Embedder`].
//!
//! Owns the order of things: prefill under one adapter, queries under the other, the
//! gate, thoughts, and what is pooled when. Invariant: a prompt's embedding does not
//! depend on the prompts beside it, nor on whether a prefix was reused.

mod context;
mod fingerprint;
mod forced;
mod load;
mod model;
mod prefill;
mod prefix;
mod sequence;
mod waves;

use std::sync::Arc;

use burn::tensor::Tensor;
use tokenizers::Tokenizer;

pub use context::Context;
pub use load::LoadOptions;
pub(crate) use prefill::Start;
pub(crate) use sequence::Sequence;

use crate::{
    adapter::Interface,
    backbone::Sight,
    embedder::{
        Begun, Direct, Embedder, EncoderInfo, Prepare, Prompt, Reasoned, Thought, ThoughtOptions,
    },
    error::EncoderError,
    gate::Gate,
    pictures::Pictures,
    prompter::Prompter,
    thought::{Markers, ModelThought},
};
use context::State;
use model::{Model, Role};
use prefix::PrefixCache;
use sequence::{host_values, run, run_to_queries};
use waves::wave_len;

/// A thought that is encoded again is so as soon as it is this many tokens behind, not only
/// when it has ended; unless it will end before it is twice as far behind.
const CATCH_UP_TOKENS: usize = 32;

/// The model as an [`Embedder`].
pub struct Encoder {
    model: Model,
    prompter: Arc<Prompter>,
    prefixes: PrefixCache,
    markers: Markers,
    tokenizer: Tokenizer,
    info: EncoderInfo,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Pages of keys and values that no sequence holds; `None` but on the fused pass.
    pub fn free_cache_pages(&self) -> Option<usize> {
        self.model.backbone.decoder().map(|decoder| decoder.pool().free_pages())
    }

    /// Tokens that there are.
    pub fn vocabulary(&self) -> usize {
        self.model.backbone.config().vocab_size
    }

    /// The backbone's input embeddings of tokens, `[tokens, hidden]`. For fitting a lexicon.
    ///
    /// # Panics
    /// Panics when an id is outside the vocabulary or there is none.
    pub fn embed_tokens(&self, tokens: &[u32]) -> Tensor<2> {
        self.model.backbone.embed(tokens)
    }

    fn interface(&self) -> Interface {
        self.model.adapters.manifest.interface
    }

    /// Tokens a thought could decode after a prompt, beside markers and queries.
    fn room_after(&self, prompt_tokens: usize) -> u32 {
        let taken = prompt_tokens + self.markers.tokens() + self.model.adapters.queries.count();
        self.info.context_tokens.saturating_sub(taken).try_into().unwrap_or(u32::MAX)
    }

    /// Refuses prompts that the prompter would not have made.
    fn check(&self, prompt: &Prompt) -> Result<(), EncoderError> {
        let queries = self.model.adapters.queries.count();
        let vocabulary = self.model.backbone.config().vocab_size;
        let problem = if prompt.tokens.is_empty() {
            "a prompt has no tokens".to_owned()
        } else if prompt.tokens.len() + queries > self.info.context_tokens {
            format!(
                "a prompt has {} tokens, at most {} fit beside {queries} queries",
                prompt.tokens.len(),
                self.info.context_tokens - queries
            )
        } else if let Some(id) = prompt.tokens.iter().find(|&&id| id as usize >= vocabulary) {
            format!("a prompt has token {id}, the vocabulary has {vocabulary}")
        } else {
            return Ok(());
        };
        Err(EncoderError::Internal { problem })
    }

    /// Runs a prompt's pixels through the vision tower.
    fn look(
        &self,
        tokens: &[u32],
        pictures: Option<&Arc<Pictures>>,
    ) -> Result<Option<Arc<Sight>>, EncoderError> {
        let Some(pictures) = pictures else { return Ok(None) };
        let backbone = &self.model.backbone;
        let states = backbone.see(&pictures.patches, &pictures.grids)?;
        Sight::new(backbone.config(), tokens, &pictures.grids, states)
            .map(|sight| Some(sight.into()))
    }

    /// Takes another gate; its score is asked for from now on.
    pub fn set_gate(&mut self, gate: Gate) {
        self.model.adapters.gate = gate;
    }

    /// What the gate's first layer is given of prompts, [`Gate::read`] of their direct query
    /// states. For training a gate.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    pub fn gate_inputs(&mut self, prompts: &[&Prompt]) -> Result<Vec<Vec<f32>>, EncoderError> {
        for prompt in prompts {
            self.check(prompt)?;
        }
        let mut inputs = Vec::with_capacity(prompts.len());
        let mut rest = prompts;
        while !rest.is_empty() {
            let (wave, later) = rest.split_at(wave_len(rest));
            let (_, states) = self.run_wave(wave)?;
            let read = self.model.adapters.gate.read(states.for_gate());
            let [_, width] = read.dims();
            inputs.extend(host_values(read)?.chunks_exact(width).map(<[f32]>::to_vec));
            rest = later;
        }
        Ok(inputs)
    }
}

impl Encoder {
    /// Runs what has not run of sequences and embeds them; tells the query tokens that each
    /// took.
    fn embed_sequences(
        &self,
        role: Role,
        sequences: &mut [&mut Sequence],
    ) -> Result<Vec<(Vec<f32>, u32)>, EncoderError> {
        let states = if self.model.adapters.manifest.pooling.uses_queries() {
            Some(run_to_queries(&self.model, role, sequences)?.last)
        } else {
            run(&self.model, role, sequences)?;
            None
        };
        let query_tokens = states.as_ref().map_or(0, |states| states.dims()[1] as u32);
        let run: Vec<&Sequence> = sequences.iter().map(|sequence| &**sequence).collect();
        let embeddings = self.model.embed(states, &run)?;
        Ok(embeddings.into_iter().map(|embedding| (embedding, query_tokens)).collect())
    }

    /// Sequences of what thoughts have become, to be run under the embedding adapter from where
    /// each has run already.
    fn agains(
        &mut self,
        thoughts: &mut [&mut ModelThought],
    ) -> Result<Vec<Sequence>, EncoderError> {
        let starts: Vec<Start> = thoughts
            .iter()
            .filter(|thought| thought.again.is_none())
            .map(|thought| thought.start())
            .collect();
        let mut started = self.start_sequences(Role::Embedding, starts)?.into_iter();
        let mut agains = Vec::with_capacity(thoughts.len());
        for thought in thoughts {
            let again = thought.again.take().or_else(|| started.next().map(|(again, _)| again));
            let mut again = again.ok_or_else(lost_sequence)?;
            again.tokens.extend(&thought.sequence.tokens[again.tokens.len()..]);
            again.pooled[1] = thought.sequence.pooled[1].clone();
            agains.push(again);
        }
        Ok(agains)
    }

    /// Probes the embeddings of the thoughts whose turn it is, all of whose tokens have
    /// run, and ends those that have converged.
    fn probe(&mut self, thoughts: &mut [&mut ModelThought]) -> Result<(), EncoderError> {
        let mut due: Vec<&mut &mut ModelThought> =
            thoughts.iter_mut().filter(|thought| thought.is_probe_due()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let probes = match self.interface() {
            Interface::Cache => {
                let mut sequences: Vec<&mut Sequence> =
                    due.iter_mut().map(|thought| &mut thought.sequence).collect();
                self.embed_sequences(Role::Reasoning, &mut sequences)?
            }
            Interface::Reencode => {
                let mut due: Vec<&mut ModelThought> =
                    due.iter_mut().map(|thought| &mut ***thought).collect();
                let mut agains = self.agains(&mut due)?;
                let mut sequences: Vec<&mut Sequence> = agains.iter_mut().collect();
                let probes = self.embed_sequences(Role::Embedding, &mut sequences)?;
                for (thought, again) in due.into_iter().zip(agains) {
                    thought.again = Some(again);
                }
                probes
            }
        };
        for (thought, (embedding, query_tokens)) in due.into_iter().zip(probes) {
            thought.observe(embedding, query_tokens);
        }
        Ok(())
    }
}

impl Embedder for Encoder {
    type Context = Context;
    type Thought = ModelThought;

    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn prompter(&self) -> Arc<dyn Prepare> {
        self.prompter.clone()
    }

    fn direct(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<Context>>, EncoderError> {
        self.direct_in_waves(prompts)
    }

    fn room(&self, prompt: &Prompt) -> u32 {
        self.room_after(prompt.tokens.len())
    }

    fn begin(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<Context>>, EncoderError> {
        self.begin_in_waves(prompts)
    }

    fn open(
        &mut self,
        prompts: Vec<(Context, ThoughtOptions)>,
    ) -> Result<Vec<ModelThought>, EncoderError> {
        let mut opened = Vec::with_capacity(prompts.len());
        let mut starts = Vec::new();
        for (Context { content, pictures, state }, options) in prompts {
            let (warm, again) = match state {
                State::Warm(sequence) => (Some(sequence), None),
                State::Embedded(again) => {
                    let (tokens, sight) = (again.tokens.clone(), again.sight.clone());
                    starts.push(Start { tokens, content: content.clone(), sight });
                    (None, Some(again))
                }
                State::Cold { tokens, sight } => {
                    let sight = match sight {
                        Some(sight) => Some(sight),
                        None => self.look(&tokens, pictures.as_ref())?,
                    };
                    starts.push(Start { tokens, content: content.clone(), sight });
                    (None, None)
                }
            };
            opened.push((warm, again, content, options));
        }
        // The rest of the prompts runs with the first step, in one pass with the tokens of the
        // other thoughts.
        let mut started = self.start_sequences(Role::Reasoning, starts)?.into_iter();
        let mut thoughts = Vec::with_capacity(opened.len());
        for (warm, again, content, options) in opened {
            let sequence = warm.or_else(|| started.next().map(|(sequence, _)| sequence));
            let sequence = sequence.ok_or_else(lost_sequence)?;
            let (room, interface) = (self.room_after(sequence.tokens.len()), self.interface());
            let mut thought =
                ModelThought::new(sequence, content, &options, &self.markers, room, interface);
            thought.again = again;
            thoughts.push(thought);
        }
        Ok(thoughts)
    }

    fn step(&mut self, thoughts: &mut [&mut ModelThought]) -> Result<(), EncoderError> {
        let mut live: Vec<&mut ModelThought> = thoughts
            .iter_mut()
            .map(|thought| &mut **thought)
            .filter(|thought| thought.stop_reason().is_none())
            .collect();
        if live.is_empty() {
            return Ok(());
        }
        let mut sequences: Vec<&mut Sequence> =
            live.iter_mut().map(|thought| &mut thought.sequence).collect();
        let states: Option<Vec<Tensor<2>>> =
            run(&self.model, Role::Reasoning, &mut sequences)?.into_iter().collect();
        let states = states.ok_or_else(|| EncoderError::Internal {
            problem: "a live thought has no token to go on from".to_owned(),
        })?;
        self.probe(&mut live)?;
        let (mut live, states): (Vec<_>, Vec<_>) = live
            .into_iter()
            .zip(states)
            .filter(|(thought, _)| thought.stop_reason().is_none())
            .unzip();
        if live.is_empty() {
            return Ok(());
        }
        let logits = host_values(self.model.backbone.logits(Tensor::cat(states, 0)))?;
        let vocabulary = self.model.backbone.config().vocab_size;
        for (thought, logits) in live.iter_mut().zip(logits.chunks_exact(vocabulary)) {
            thought.take(logits, &self.markers, &self.tokenizer)?;
        }
        Ok(())
    }

    /// With the interface `reencode`: of the thoughts that go on for long enough, runs the one
    /// that is furthest behind under the embedding adapter, if that is [`CATCH_UP_TOKENS`].
    fn catch_up(&mut self, thoughts: &mut [&mut ModelThought]) -> Result<bool, EncoderError> {
        let goes_on = |thought: &&mut &mut ModelThought| {
            thought.behind() + thought.left() > 2 * CATCH_UP_TOKENS
        };
        let behind = thoughts.iter_mut().filter(goes_on).max_by_key(|thought| thought.behind());
        let Some(thought) = behind.filter(|thought| thought.behind() >= CATCH_UP_TOKENS) else {
            return Ok(false);
        };
        if self.interface() != Interface::Reencode {
            return Ok(false);
        }
        let mut agains = self.agains(&mut [thought])?;
        run(&self.model, Role::Embedding, &mut agains.iter_mut().collect::<Vec<_>>())?;
        thought.again = agains.pop();
        Ok(true)
    }

    fn finish(&mut self, mut thoughts: Vec<ModelThought>) -> Result<Vec<Reasoned>, EncoderError> {
        let mut endings = Vec::with_capacity(thoughts.len());
        for thought in &mut thoughts {
            let stop_reason = thought.finish(&self.markers);
            let text = thought.text(&self.markers, &self.tokenizer)?;
            endings.push((stop_reason, text, thought.tokens(), thought.probe_tokens));
        }
        let (role, mut sequences) = match self.interface() {
            Interface::Cache => {
                (Role::Reasoning, thoughts.into_iter().map(|thought| thought.sequence).collect())
            }
            Interface::Reencode => {
                (Role::Embedding, self.agains(&mut thoughts.iter_mut().collect::<Vec<_>>())?)
            }
        };
        let embedded = self.embed_sequences(role, &mut sequences.iter_mut().collect::<Vec<_>>())?;
        let reasoned = endings.into_iter().zip(embedded).map(|(ending, embedded)| {
            let (stop_reason, thought, reasoning_tokens, probe_tokens) = ending;
            let (embedding, query_tokens) = embedded;
            let query_tokens = query_tokens + probe_tokens;
            Reasoned { embedding, thought, reasoning_tokens, query_tokens, stop_reason }
        });
        Ok(reasoned.collect())
    }
}

/// A pass gave fewer sequences than it was given.
fn lost_sequence() -> EncoderError {
    EncoderError::Internal { problem: "a sequence got lost".to_owned() }
}
