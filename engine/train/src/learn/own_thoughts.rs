//! Reasoned inputs with thoughts that the reasoning adapter writes itself.
//!
//! A written-out thought is always right. An embedding that is trained on such thoughts
//! alone trusts whatever it reads, and what the model writes when it is used is often
//! wrong, or of no use to the query. So a share of a step's examples is embedded after a
//! thought of the adapter's own, with the same positives.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Drawn, Sequencer, Stage, Student, TrainError,
    sampler::{Decoding, Sampler, Use, Wanted, sample_all},
};

/// Keeps these draws apart from those that choose the examples.
const SALT: u64 = 0x7468_6f75_6768_7473;

/// Which step of which stage is being prepared.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// The stage's seed.
    pub(super) seed: u64,
    /// Counted from 0.
    pub(super) step: usize,
}

/// Gives some of a step's examples a thought of the adapter's own, by the stage's
/// `sampled_thoughts`; which and what depends on the seed, the step and the adapter alone.
///
/// # Errors
/// Fails when a text cannot be made into a prompt, or the sampler fails.
pub(super) fn think_for(
    drawn: &mut [Drawn<'_>],
    student: &Student,
    sequencer: &Sequencer,
    sampler: &mut Sampler,
    (stage, at): (&Stage, At),
) -> Result<(), TrainError> {
    let mut rng = ChaCha8Rng::seed_from_u64(at.seed ^ SALT);
    rng.set_stream(at.step as u64);
    // Every example draws, so that one example's chance depends on no other's kind.
    let chosen: Vec<(usize, u64)> = (0..drawn.len())
        .map(|place| (place, rng.random_bool(stage.sampled_thoughts), rng.random::<u64>()))
        .filter(|(place, chosen, _)| *chosen && drawn[*place].positive.is_some())
        .map(|(place, _, seed)| (place, seed))
        .collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let mut prompts = Vec::with_capacity(chosen.len());
    for (place, _) in &chosen {
        let one = &drawn[*place];
        let query = one.case.apply(&one.example.query);
        prompts.push(sequencer.query(&query, one.example.instruction.as_deref())?);
    }
    let wanted: Vec<Wanted<'_>> = prompts
        .iter()
        .zip(&chosen)
        .map(|(prompt, (_, seed))| Wanted { prompt, seed: *seed })
        .collect();
    let decoding = Decoding {
        token_budget: student.adapters.manifest.thought.token_budget,
        temperature: stage.thought_temperature,
    };
    let encoder = sampler.encoder(student, Use::Thoughts)?;
    let thoughts = sample_all(encoder, &wanted, &decoding)?;
    for ((place, _), decoded) in chosen.into_iter().zip(thoughts) {
        drawn[place].own_thought = Some(decoded);
    }
    Ok(())
}
