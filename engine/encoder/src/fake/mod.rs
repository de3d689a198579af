//! An embedder without a model, for tests of what lies above the seam.
//!
//! Deterministic and instant. A token is a word between whitespace; its id is a hash, with
//! a bit that tells whether the word has a question mark. An embedding sums one pseudo-random
//! vector a word, so texts that share words are near. The gate wants to think about
//! questions and about long texts. Thoughts are a fixed number of made-up words, and a
//! thought moves the embedding a little, so that both routes can be told apart; the more
//! words a text has, the less. So the similarity asked for decides about convergence.

mod eye;
mod options;

use std::{sync::Arc, thread::sleep};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

pub use options::{FakeFailure, FakeOptions};

use crate::{
    content::{EncodeInput, Part},
    convergence::ConvergenceWatch,
    embedder::{
        Begun, Direct, Embedder, EncoderInfo, Prepare, Prompt, Reasoned, Thought, ThoughtOptions,
    },
    error::EncoderError,
    policy::StopReason,
    pooling::unit,
};
use eye::FakeEye;

/// Gate score of questions and long texts.
const SCORE_THINK: f32 = 0.9;
/// Gate score of everything else.
const SCORE_DIRECT: f32 = 0.1;
/// Embedding-query tokens that each embedding claims.
const QUERY_TOKENS: u32 = 8;
/// Tokens before the content: one that stands for the instruction.
const PREFIX_TOKENS: usize = 1;

/// An embedder without a model.
#[derive(Debug)]
pub struct FakeEmbedder {
    options: FakeOptions,
    info: EncoderInfo,
    prompter: Arc<FakePrompter>,
    directs: u32,
    steps: u32,
}

/// What a prompt leaves behind.
#[derive(Debug)]
pub struct FakeContext {
    prompt: Prompt,
    room: u32,
}

/// A thought under way.
#[derive(Debug)]
pub struct FakeThought {
    prompt: Prompt,
    words: Vec<String>,
    rng: ChaCha8Rng,
    decoded: u32,
    budget: u32,
    room: u32,
    watch: Option<ConvergenceWatch>,
    probes: u32,
    stop_reason: Option<StopReason>,
}

#[derive(Debug)]
struct FakePrompter {
    prompt_tokens_max: usize,
    eye: Option<FakeEye>,
}

impl FakeEmbedder {
    /// Makes an embedder.
    ///
    /// # Panics
    /// Panics when the dimension is 0 or the context has no room for a word.
    pub fn new(options: FakeOptions) -> Self {
        assert!(options.dimension > 0, "dimension is at least 1");
        let taken = QUERY_TOKENS as usize + PREFIX_TOKENS;
        assert!(options.context_tokens > taken, "context has room for a word");
        let digest = Sha256::digest(format!("fake {} {}", options.dimension, options.seed));
        let info = EncoderInfo {
            model: "fake".to_owned(),
            fingerprint: format!("{digest:x}"),
            dimension: options.dimension,
            context_tokens: options.context_tokens,
            trained: false,
            note: "fake: hashes words, has no model".to_owned(),
            device: "none".to_owned(),
            interface: "cache",
            pooling: "mean",
            embedding_queries: QUERY_TOKENS as usize,
            gate_threshold: 0.5,
            gate_curve: options.gate_curve.clone(),
            token_budget: 64,
            backbone_parameters: 0,
            adapter_parameters: 0,
        };
        let prompt_tokens_max = options.context_tokens - QUERY_TOKENS as usize;
        let eye = options.reads_media.then(FakeEye::default);
        let prompter = Arc::new(FakePrompter { prompt_tokens_max, eye });
        Self { options, info, prompter, directs: 0, steps: 0 }
    }

    /// Sums one pseudo-random vector a token.
    fn embed(&self, content: &[u32], thought: u32) -> Result<Vec<f32>, EncoderError> {
        let mut sum = vec![0.0; self.options.dimension];
        let mut add = |token: u32, weight: f32| {
            let seed = self.options.seed.rotate_left(32) ^ u64::from(token);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for value in &mut sum {
                *value += weight * rng.random_range(-1.0..1.0_f32);
            }
        };
        for &token in content {
            add(token, 1.0);
        }
        if thought > 0 {
            add(thought, 0.1);
        }
        unit(sum)
    }

    /// Embeds a thought's prompt and what has been thought so far.
    fn embed_after(&self, thought: &FakeThought) -> Result<Vec<f32>, EncoderError> {
        let content = &thought.prompt.tokens[thought.prompt.content.clone()];
        self.embed(content, token(&thought.words.join(" ")))
    }

    /// Ends a thought that goes on if its embedding has settled.
    fn probe(&self, thought: &mut FakeThought) -> Result<(), EncoderError> {
        let is_due = thought.watch.as_ref().is_some_and(|watch| watch.is_due(thought.decoded));
        if thought.stop_reason.is_some() || !is_due {
            return Ok(());
        }
        let embedding = self.embed_after(thought)?;
        thought.probes += 1;
        if thought.watch.as_mut().is_some_and(|watch| watch.observe(embedding)) {
            thought.stop(StopReason::Converged);
        }
        Ok(())
    }
}

impl Prepare for FakePrompter {
    fn prepare(&self, input: &EncodeInput) -> Result<Prompt, EncoderError> {
        let mut words = Vec::new();
        let mut vision_tokens = 0;
        for (index, part) in input.content.parts.iter().enumerate() {
            match (part, &self.eye) {
                (Part::Text(text), _) => words.extend(text.split_whitespace().map(token)),
                (Part::Media(media), Some(eye)) => {
                    let seen = eye.tokens(media);
                    let seen = seen.map_err(|source| EncoderError::Media { index, source })?;
                    vision_tokens += seen.len() as u32;
                    words.extend(seen);
                }
                (Part::Media(media), None) => {
                    return Err(EncoderError::UnsupportedPart { index, kind: media.to_string() });
                }
            }
        }
        if words.is_empty() {
            return Err(EncoderError::EmptyContent);
        }
        let instruction = input.instruction.as_deref().unwrap_or_default();
        let got = PREFIX_TOKENS + instruction.split_whitespace().count();
        if got >= self.prompt_tokens_max {
            return Err(EncoderError::InstructionTooLong { got, max: self.prompt_tokens_max - 1 });
        }
        let kept = words.len().min(self.prompt_tokens_max - got);
        let truncated = kept < words.len();
        words.truncate(kept);
        let kind = token(&format!("{:?}", input.kind));
        let mut tokens: Vec<u32> =
            std::iter::once(kind).chain(instruction.split_whitespace().map(token)).collect();
        tokens.extend(words);
        let content = got..tokens.len();
        Ok(Prompt { tokens, truncated, content, vision_tokens, pictures: None })
    }
}

impl Embedder for FakeEmbedder {
    type Context = FakeContext;
    type Thought = FakeThought;

    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn prompter(&self) -> Arc<dyn Prepare> {
        self.prompter.clone()
    }

    fn direct(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<FakeContext>>, EncoderError> {
        self.directs += 1;
        if let FakeFailure::DirectAfter(fine) = self.options.failure
            && self.directs > fine
        {
            return Err(failed("direct"));
        }
        sleep(self.options.direct_delay);
        let direct = |prompt: &&Prompt| {
            let content = &prompt.tokens[prompt.content.clone()];
            let wants_thought = content.len() > self.options.direct_words_max
                || content.iter().any(|&token| is_question(token));
            let room = self.room(prompt);
            Ok(Direct {
                embedding: self.embed(content, 0)?,
                gate_score: if wants_thought { SCORE_THINK } else { SCORE_DIRECT },
                query_tokens: QUERY_TOKENS,
                cached_prompt_tokens: prompt.content.start as u32,
                room,
                context: FakeContext { prompt: (*prompt).clone(), room },
            })
        };
        prompts.iter().map(direct).collect()
    }

    fn room(&self, prompt: &Prompt) -> u32 {
        let taken = prompt.tokens.len() + QUERY_TOKENS as usize;
        self.options.context_tokens.saturating_sub(taken) as u32
    }

    fn begin(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<FakeContext>>, EncoderError> {
        let begin = |prompt: &&Prompt| Begun {
            cached_prompt_tokens: prompt.content.start as u32,
            context: FakeContext { prompt: (*prompt).clone(), room: self.room(prompt) },
        };
        Ok(prompts.iter().map(begin).collect())
    }

    fn open(
        &mut self,
        prompts: Vec<(FakeContext, ThoughtOptions)>,
    ) -> Result<Vec<FakeThought>, EncoderError> {
        Ok(prompts
            .into_iter()
            .map(|(context, options)| FakeThought::new(context, &options))
            .collect())
    }

    fn step(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<(), EncoderError> {
        self.steps += 1;
        if let FakeFailure::StepAfter(fine) = self.options.failure
            && self.steps > fine
        {
            return Err(failed("step"));
        }
        sleep(self.options.step_delay);
        for thought in thoughts.iter_mut().filter(|thought| thought.stop_reason.is_none()) {
            thought.decoded += 1;
            if thought.decoded >= self.options.thought_tokens {
                thought.stop(StopReason::Closed);
            } else {
                let word = thought.rng.random_range(0..1000_u32);
                thought.words.push(format!("word{word}"));
            }
            thought.stop_at_limits();
            self.probe(thought)?;
        }
        Ok(())
    }

    fn catch_up(&mut self, _: &mut [&mut FakeThought]) -> Result<bool, EncoderError> {
        Ok(false)
    }

    fn finish(&mut self, thoughts: Vec<FakeThought>) -> Result<Vec<Reasoned>, EncoderError> {
        if self.options.failure == FakeFailure::Reasoned {
            return Err(failed("finish"));
        }
        let finish = |mut thought: FakeThought| {
            thought.stop(StopReason::Budget);
            Ok(Reasoned {
                embedding: self.embed_after(&thought)?,
                reasoning_tokens: thought.decoded,
                query_tokens: QUERY_TOKENS * (1 + thought.probes),
                stop_reason: thought.stop_reason.unwrap_or(StopReason::Budget),
                thought: thought.words.join(" "),
            })
        };
        thoughts.into_iter().map(finish).collect()
    }
}

impl FakeThought {
    fn new(context: FakeContext, options: &ThoughtOptions) -> Self {
        // Greedy thoughts do not depend on the seed, as the model's do not.
        let seed = if options.temperature > 0.0 { options.seed } else { 0 };
        let mut thought = Self {
            prompt: context.prompt,
            words: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            decoded: 0,
            budget: options.token_budget,
            room: context.room,
            watch: options.convergence.map(ConvergenceWatch::new),
            probes: 0,
            stop_reason: None,
        };
        thought.stop_at_limits();
        thought
    }

    fn stop_at_limits(&mut self) {
        if self.decoded >= self.budget {
            self.stop(StopReason::Budget);
        } else if self.decoded >= self.room {
            self.stop(StopReason::ContextFull);
        }
    }
}

impl Thought for FakeThought {
    fn tokens(&self) -> u32 {
        self.decoded
    }

    fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason
    }

    fn stop(&mut self, reason: StopReason) {
        self.stop_reason.get_or_insert(reason);
    }

    fn behind(&self) -> usize {
        self.decoded as usize
    }
}

/// Hashes a word, letter case aside; the lowest bit tells of a question mark.
fn token(word: &str) -> u32 {
    let letters: String = word
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let digest = Sha256::digest(letters);
    let hash = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    (hash | 1) - u32::from(!word.contains('?'))
}

fn is_question(token: u32) -> bool {
    token & 1 == 1
}

fn failed(call: &str) -> EncoderError {
    EncoderError::Internal { problem: format!("the fake was told to fail at `{call}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{Content, EmbedKind},
        policy::Convergence,
    };

    fn prompt(fake: &FakeEmbedder, text: &str) -> Prompt {
        let content = Content::text(text);
        let input = EncodeInput { content, instruction: None, kind: EmbedKind::Query };
        fake.prompter().prepare(&input).expect("has words")
    }

    fn direct(fake: &mut FakeEmbedder, text: &str) -> Direct<FakeContext> {
        let prompt = prompt(fake, text);
        fake.direct(&[&prompt]).expect("does not fail").remove(0)
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_that_share_words_are_near() {
        let mut fake = FakeEmbedder::new(FakeOptions { dimension: 128, ..FakeOptions::default() });
        let cats = direct(&mut fake, "cats sleep on warm mats").embedding;
        let also = direct(&mut fake, "Cats sleep on cold mats!").embedding;
        let other =
            direct(&mut fake, "quarterly revenue exceeded forecasts considerably").embedding;
        assert!((cosine(&cats, &cats) - 1.0).abs() < 1e-5);
        assert!(cosine(&cats, &also) > 0.6);
        assert!(cosine(&cats, &other) < 0.4);
    }

    #[test]
    fn questions_and_long_texts_are_thought_about() {
        let mut fake = FakeEmbedder::new(FakeOptions::default());
        assert_eq!(direct(&mut fake, "plain words").gate_score, SCORE_DIRECT);
        assert_eq!(direct(&mut fake, "plain words?").gate_score, SCORE_THINK);
        assert_eq!(direct(&mut fake, &"word ".repeat(33)).gate_score, SCORE_THINK);
    }

    #[test]
    fn thoughts_close_or_meet_their_limits() {
        let options = FakeOptions { context_tokens: 20, ..FakeOptions::default() };
        let mut fake = FakeEmbedder::new(options);
        let mut end = |text: &str, token_budget: u32| {
            let context = direct(&mut fake, text).context;
            let options =
                ThoughtOptions { token_budget, temperature: 0.0, seed: 0, convergence: None };
            let mut thought = fake.think(context, &options).expect("does not fail");
            while thought.stop_reason().is_none() {
                fake.step(&mut [&mut thought]).expect("does not fail");
            }
            let reasoned = fake.reasoned(thought).expect("does not fail");
            (reasoned.stop_reason, reasoned.reasoning_tokens)
        };
        assert_eq!(end("one two", 64), (StopReason::Closed, 6));
        assert_eq!(end("one two", 3), (StopReason::Budget, 3));
        assert_eq!(end("one two three four five six seven", 64), (StopReason::ContextFull, 4));
    }

    #[test]
    fn settled_thoughts_end_early_and_count_their_probes() {
        let options = FakeOptions { thought_tokens: 40, ..FakeOptions::default() };
        let mut fake = FakeEmbedder::new(options);
        let mut end = |similarity: f32| {
            let context = direct(&mut fake, "one two three four").context;
            let options = ThoughtOptions {
                token_budget: 20,
                temperature: 0.0,
                seed: 0,
                convergence: Some(Convergence { every: 3, similarity }),
            };
            let mut thought = fake.think(context, &options).expect("does not fail");
            while thought.stop_reason().is_none() {
                fake.step(&mut [&mut thought]).expect("does not fail");
            }
            let reasoned = fake.reasoned(thought).expect("does not fail");
            (reasoned.stop_reason, reasoned.reasoning_tokens, reasoned.query_tokens)
        };
        assert_eq!(end(0.9), (StopReason::Converged, 9, QUERY_TOKENS * 4));
        // Different words never give the very same embedding: six probes, all in vain.
        assert_eq!(end(1.0), (StopReason::Budget, 20, QUERY_TOKENS * 7));
    }

    #[test]
    fn long_content_is_cut_and_empty_content_refused() {
        let fake = FakeEmbedder::new(FakeOptions { context_tokens: 20, ..FakeOptions::default() });
        let cut = prompt(&fake, &"word ".repeat(100));
        assert!(cut.truncated);
        assert_eq!((cut.tokens.len(), cut.content), (12, 1..12));
        let input = EncodeInput {
            content: Content::text("  \n"),
            instruction: None,
            kind: EmbedKind::Query,
        };
        assert!(matches!(fake.prompter().prepare(&input), Err(EncoderError::EmptyContent)));
    }

    #[test]
    fn failures_come_when_told() {
        let failure = FakeFailure::DirectAfter(1);
        let mut fake = FakeEmbedder::new(FakeOptions { failure, ..FakeOptions::default() });
        let prompt = prompt(&fake, "words");
        assert!(fake.direct(&[&prompt]).is_ok());
        assert!(fake.direct(&[&prompt]).is_err());
    }
}
