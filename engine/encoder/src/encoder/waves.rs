//! Prompts on their way to embeddings and thoughts, as many at a time as memory allows.

use super::{
    Encoder, Sequence, Start,
    context::{Context, State},
    model::{QueryStates, Role},
    sequence::run_to_queries,
};
use crate::{
    adapter::Interface,
    embedder::{Begun, Direct, Embedder, Prompt},
    error::EncoderError,
};

/// Prompts run in waves of at most this many tokens (or one prompt), which bounds the
/// keys and values held while a batch runs.
const WAVE_TOKENS_MAX: usize = 4096;
/// A wave has at most this many prompts, which bounds the query tokens of one pass.
const WAVE_PROMPTS_MAX: usize = 64;
/// Contexts of one batch keep their keys and values up to this many tokens together;
/// those beyond run again if a thought follows.
const WARM_TOKENS_MAX: usize = 16_384;

impl Encoder {
    /// The adapter under which prompts run for their embeddings.
    fn prompt_role(&self) -> Role {
        match self.interface() {
            Interface::Cache => Role::Reasoning,
            Interface::Reencode => Role::Embedding,
        }
    }

    /// Starts one wave of prompts: each one's sequence, and the tokens that were reused.
    fn start_wave(&mut self, prompts: &[&Prompt]) -> Result<Vec<(Sequence, u32)>, EncoderError> {
        let start = |prompt: &&Prompt| {
            let sight = self.look(&prompt.tokens, prompt.pictures.as_ref())?;
            let (tokens, content) = (prompt.tokens.clone(), prompt.content.clone());
            Ok::<_, EncoderError>(Start { tokens, content, sight })
        };
        let starts = prompts.iter().map(start).collect::<Result<_, EncoderError>>()?;
        self.start_sequences(self.prompt_role(), starts)
    }

    /// Runs one wave of prompts and the queries after them: each prompt's sequence with
    /// the tokens that were reused, and the query states.
    pub(super) fn run_wave(
        &mut self,
        prompts: &[&Prompt],
    ) -> Result<(Vec<(Sequence, u32)>, QueryStates), EncoderError> {
        let mut sequences = self.start_wave(prompts)?;
        let mut begun: Vec<&mut Sequence> =
            sequences.iter_mut().map(|(sequence, _)| sequence).collect();
        let states = run_to_queries(&self.model, self.prompt_role(), &mut begun)?;
        Ok((sequences, states))
    }

    /// Embeds one wave of prompts.
    fn direct_wave(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<Context>>, EncoderError> {
        let (sequences, states) = self.run_wave(prompts)?;
        let scores = self.model.gate_scores(&states)?;
        let run: Vec<&Sequence> = sequences.iter().map(|(sequence, _)| sequence).collect();
        let embeddings = self.model.embed(Some(states.last), &run)?;
        let query_tokens = self.model.adapters.queries.count() as u32;
        let directs = prompts.iter().zip(sequences).zip(scores.into_iter().zip(embeddings)).map(
            |((prompt, (sequence, reused)), (gate_score, embedding))| Direct {
                embedding,
                gate_score,
                query_tokens,
                cached_prompt_tokens: reused,
                room: self.room(prompt),
                context: self.context(prompt, sequence),
            },
        );
        Ok(directs.collect())
    }

    /// Begins one wave of prompts for thoughts, whose steps run them; under the embedding adapter,
    /// where that is another run, they are caught up with or run when their thoughts end.
    fn begin_wave(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<Context>>, EncoderError> {
        let started = self.start_wave(prompts)?;
        let begun = prompts.iter().zip(started).map(|(prompt, (sequence, reused))| Begun {
            cached_prompt_tokens: reused,
            context: self.context(prompt, sequence),
        });
        Ok(begun.collect())
    }

    /// What a thought continues from.
    fn context(&self, prompt: &Prompt, sequence: Sequence) -> Context {
        Context {
            content: prompt.content.clone(),
            pictures: prompt.pictures.clone(),
            state: match self.interface() {
                Interface::Cache => State::Warm(sequence),
                Interface::Reencode => State::Embedded(sequence),
            },
        }
    }

    /// Embeds prompts directly.
    pub(super) fn direct_in_waves(
        &mut self,
        prompts: &[&Prompt],
    ) -> Result<Vec<Direct<Context>>, EncoderError> {
        self.in_waves(prompts, Self::direct_wave, |direct| &mut direct.context)
    }

    /// Begins prompts for thoughts.
    pub(super) fn begin_in_waves(
        &mut self,
        prompts: &[&Prompt],
    ) -> Result<Vec<Begun<Context>>, EncoderError> {
        self.in_waves(prompts, Self::begin_wave, |begun| &mut begun.context)
    }

    /// Takes prompts wave by wave, and lets the contexts of a batch go that has more tokens than
    /// are kept.
    fn in_waves<T>(
        &mut self,
        prompts: &[&Prompt],
        wave: impl Fn(&mut Self, &[&Prompt]) -> Result<Vec<T>, EncoderError>,
        context: impl Fn(&mut T) -> &mut Context,
    ) -> Result<Vec<T>, EncoderError> {
        for prompt in prompts {
            self.check(prompt)?;
        }
        let mut made = Vec::with_capacity(prompts.len());
        let (mut rest, mut warm_tokens) = (prompts, 0);
        while !rest.is_empty() {
            let (next, later) = rest.split_at(wave_len(rest));
            for mut one in wave(self, next)? {
                let context = context(&mut one);
                warm_tokens += context.prompt_tokens();
                if warm_tokens > WARM_TOKENS_MAX {
                    context.cool();
                }
                made.push(one);
            }
            rest = later;
        }
        Ok(made)
    }
}

/// How many of `prompts` run in the next wave; at least one.
pub(super) fn wave_len(prompts: &[&Prompt]) -> usize {
    let mut tokens = 0;
    let fit = prompts.iter().take(WAVE_PROMPTS_MAX).take_while(|prompt| {
        tokens += prompt.tokens.len();
        tokens <= WAVE_TOKENS_MAX
    });
    fit.count().max(1)
}
