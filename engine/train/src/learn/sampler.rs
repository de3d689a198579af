//! Thoughts as the server would decode them: the fused pass with the student's adapters.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use twn_encoder::{
    Embedder, Encoder, LoadOptions, ModelThought, Prompt, StopReason, Thought, ThoughtOptions,
    adapter::StoredType,
};

use super::{Decoded, Sequence, Student, TrainError};

/// Prompts whose thoughts are decoded side by side.
const SIDE_BY_SIDE: usize = 64;
const REASONING: &str = "reasoning/adapter_model.safetensors";
const OTHERS: [&str; 2] = ["embedding/adapter_model.safetensors", "head.safetensors"];

/// Keeps an encoder with the student's adapters, and loads it anew when they have changed.
/// What it decodes depends on them and on the seeds alone, so that a resumed run samples
/// what it would have sampled.
pub(super) struct Sampler {
    load: LoadOptions,
    /// Carries the adapters to the encoder.
    folder: PathBuf,
    loaded: Option<(Digests, Encoder)>,
}

/// Digests of the adapters that an encoder was loaded with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digests {
    thoughts: [u8; 32],
    embeddings: [u8; 32],
}

/// What an encoder is wanted for, and so which adapters must be the student's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Thoughts alone: the reasoning adapter.
    Thoughts,
    /// Embeddings too: everything.
    Embeddings,
}

/// Where a sampler is and what it may use.
#[derive(Debug)]
pub(super) struct SamplerPlace<'a> {
    /// The backbone.
    pub(super) model: &'a Path,
    /// A folder for the adapters.
    pub(super) folder: &'a Path,
    /// 0 takes one for each core.
    pub(super) threads: usize,
    /// The most tokens of prompt, thought and queries together.
    pub(super) context_tokens: usize,
}

/// A thought that is wanted.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) prompt: &'a Sequence,
    pub(super) seed: u64,
}

/// How thoughts are decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoding {
    pub(super) token_budget: u32,
    /// 0 is greedy.
    pub(super) temperature: f32,
}

impl Sampler {
    /// Loads nothing yet.
    pub(super) fn new(place: &SamplerPlace<'_>) -> Self {
        let load = LoadOptions {
            adapters: Some(place.folder.to_owned()),
            threads: place.threads,
            context_tokens: place.context_tokens,
            ..LoadOptions::new(place.model)
        };
        Self { load, folder: place.folder.to_owned(), loaded: None }
    }

    /// The encoder with the student's adapters as they are now.
    ///
    /// # Errors
    /// Fails when the adapters cannot be written or the encoder cannot be loaded.
    pub(super) fn encoder(
        &mut self,
        student: &Student,
        wanted: Use,
    ) -> Result<&mut Encoder, TrainError> {
        student.served().write(&self.folder, StoredType::F32)?;
        let now = Digests::of(&self.folder)?;
        let fits = |digests: &Digests| match wanted {
            Use::Thoughts => digests.thoughts == now.thoughts,
            Use::Embeddings => *digests == now,
        };
        if !self.loaded.as_ref().is_some_and(|(digests, _)| fits(digests)) {
            // The old one goes first: two need not fit.
            self.loaded = None;
            self.loaded = Some((now, Encoder::load(&self.load)?));
        }
        Ok(&mut self.loaded.as_mut().expect("just loaded").1)
    }
}

impl Digests {
    fn of(folder: &Path) -> Result<Self, TrainError> {
        let thoughts = Sha256::digest(fs_err::read(folder.join(REASONING))?).into();
        let mut rest = Sha256::new();
        for file in OTHERS {
            rest.update(fs_err::read(folder.join(file))?);
        }
        Ok(Self { thoughts, embeddings: rest.finalize().into() })
    }
}

/// Decodes a thought for each of `wanted`. `ended` takes them, with their places in
/// `wanted`, as they come.
///
/// # Errors
/// Fails when the encoder or `ended` does.
pub(super) fn sample(
    encoder: &mut Encoder,
    wanted: &[Wanted<'_>],
    decoding: &Decoding,
    ended: &mut dyn FnMut(&mut Encoder, usize, ModelThought) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut place = 0;
    for wave in wanted.chunks(SIDE_BY_SIDE) {
        let prompts: Vec<Prompt> = wave.iter().map(|one| prompt(one.prompt)).collect();
        let directs = encoder.direct(&prompts.iter().collect::<Vec<_>>())?;
        let mut thoughts = Vec::new();
        for (direct, one) in directs.into_iter().zip(wave) {
            let options = ThoughtOptions {
                token_budget: decoding.token_budget,
                temperature: decoding.temperature,
                seed: one.seed,
                convergence: None,
            };
            thoughts.push(encoder.think(direct.context, &options)?);
        }
        while thoughts.iter().any(|thought| thought.stop_reason().is_none()) {
            encoder.step(&mut thoughts.iter_mut().collect::<Vec<_>>())?;
        }
        for thought in thoughts {
            ended(encoder, place, thought)?;
            place += 1;
        }
    }
    Ok(())
}

/// A thought for each of `wanted`.
///
/// # Errors
/// Fails when the encoder does.
pub(super) fn sample_all(
    encoder: &mut Encoder,
    wanted: &[Wanted<'_>],
    decoding: &Decoding,
) -> Result<Vec<Decoded>, TrainError> {
    let mut all = Vec::with_capacity(wanted.len());
    sample(encoder, wanted, decoding, &mut |_, _, thought| {
        let closed = thought.stop_reason() == Some(StopReason::Closed);
        all.push(Decoded { tokens: thought.decoded().to_vec(), closed });
        Ok(())
    })?;
    Ok(all)
}

/// A sequence without a thought as the encoder takes it.
pub(super) fn prompt(sequence: &Sequence) -> Prompt {
    let (tokens, content) = (sequence.tokens.clone(), sequence.content.clone());
    Prompt { tokens, truncated: false, content, vision_tokens: 0, pictures: None }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use twn_encoder::{
        Pooling,
        adapter::{AdapterPlan, Adapters, Interface, ThoughtFormat},
        model,
    };

    use super::*;
    use crate::learn::{Batch, SequenceLimits, Sequencer, Wiring};

    /// What is embedded in training is what the encoder embeds after the same thought, one
    /// that closed itself or not.
    #[track_caller]
    fn check(interface: Interface) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let tiny =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama");
        let checkpoint = model::open(&tiny).expect("the tiny model opens");
        let device = Device::flex().autodiff();
        let thought = ThoughtFormat {
            open: "<think>".to_owned(),
            // A marker that is likely to be sampled: one of the commonest letters.
            close: "e".to_owned(),
            token_budget: 12,
        };
        let plan = AdapterPlan {
            interface,
            pooling: Pooling::Queries,
            dimension: Some(16),
            queries: 2,
            thought,
            ..AdapterPlan::default()
        };
        let adapters = Adapters::planned(&checkpoint, &plan, 5, &device);
        let limits = SequenceLimits { content: 32, frame: 128 };
        let sequencer =
            Sequencer::new(&checkpoint, &adapters.manifest, limits).expect("a template");
        let student = Student::new(&checkpoint, adapters, 256, Wiring::default(), &device);
        let student = student.expect("the tiny model loads");
        let mut sampler = Sampler::new(&SamplerPlace {
            model: &tiny,
            folder: folder.path(),
            threads: 1,
            context_tokens: 256,
        });
        // Unrounded, as the student is.
        sampler.load.device = "flex".to_owned();
        let prompt = sequencer.query("what has the pump", None).expect("a prompt");
        let wanted: Vec<Wanted<'_>> =
            (0..24).map(|seed| Wanted { prompt: &prompt, seed }).collect();
        let decoding = Decoding { token_budget: 12, temperature: 1.0 };
        let encoder = sampler.encoder(&student, Use::Embeddings).expect("loads");
        let again = sample_all(encoder, &wanted, &decoding).expect("decodes");
        let mut seen = [0, 0];
        sample(encoder, &wanted, &decoding, &mut |encoder, at, thought| {
            let closed = thought.stop_reason() == Some(StopReason::Closed);
            let decoded = Decoded { tokens: thought.decoded().to_vec(), closed };
            assert_eq!(decoded, again[at], "the same seed thinks the same");
            seen[usize::from(closed)] += 1;
            let served = encoder.reasoned(thought)?.embedding;
            let sequence = sequencer.think_decoded(&prompt, &decoded);
            let batch = Batch::new(vec![&sequence], student.queries());
            let trained = student.frozen().embed(&batch).embeddings.into_data();
            let trained = trained.try_to_vec::<f32>().expect("f32");
            let cosine: f32 = served.iter().zip(&trained).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.9999, "{cosine}, closed: {closed}");
            Ok(())
        })
        .expect("decodes");
        assert!(seen[0] > 0 && seen[1] > 0, "both kinds are seen: {seen:?}");
    }

    #[test]
    fn over_caches_training_embeds_what_the_encoder_embeds() {
        check(Interface::Cache);
    }

    #[test]
    fn encoding_again_training_embeds_what_the_encoder_embeds() {
        check(Interface::Reencode);
    }
}
