//! The options that say when to think.

use clap::{Args, ValueEnum};
use twn_protos::v1 as pb;

const DEFAULT_SIMILARITY: f32 = 0.99;

/// When to think before embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The gate decides for every input.
    Auto,
    /// Embed directly.
    Never,
    /// Think, then embed.
    Always,
}

/// When to think, and how much. What is not given takes the server's defaults.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyArgs {
    /// When to think before embedding
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// With `auto`: think when the gate's score is above this, from 0 to 1
    #[arg(long, value_parser = share)]
    pub threshold: Option<f32>,
    /// Tokens that a thought may have at most
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub budget: Option<u32>,
    /// Decoding temperature of the thought; 0 is greedy
    #[arg(long)]
    pub temperature: Option<f32>,
    /// Seed of the sampling when the temperature is above 0
    #[arg(long)]
    pub seed: Option<u64>,
    /// End a thought when its embedding has settled: look every so many tokens, and stop
    /// when it has stayed as similar as this (default 0.99) twice in a row; or `off`
    #[arg(long, value_name = "TOKENS[:SIMILARITY]", value_parser = convergence)]
    pub converge: Option<pb::Convergence>,
    /// Keep to threshold and budget whatever the server's load and the deadline
    #[arg(long)]
    pub fixed: bool,
}

impl PolicyArgs {
    /// Makes the protocol's message.
    pub fn message(&self, include_thought: bool) -> pb::ReasoningPolicy {
        let mode = match self.mode {
            None => pb::ReasoningMode::Unspecified,
            Some(Mode::Auto) => pb::ReasoningMode::Auto,
            Some(Mode::Never) => pb::ReasoningMode::Never,
            Some(Mode::Always) => pb::ReasoningMode::Always,
        };
        pb::ReasoningPolicy {
            mode: mode.into(),
            threshold: self.threshold,
            token_budget: self.budget,
            include_thought,
            temperature: self.temperature,
            seed: self.seed,
            convergence: self.converge,
            fixed: self.fixed,
        }
    }
}

fn share(text: &str) -> Result<f32, String> {
    let share: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is outside 0 to 1")) }
}

/// Reads `off`, `8` or `8:0.99`.
fn convergence(text: &str) -> Result<pb::Convergence, String> {
    if text == "off" {
        return Ok(pb::Convergence { every: 0, similarity: 0.0 });
    }
    let (every, similarity) = match text.split_once(':') {
        Some((every, similarity)) => (every, share(similarity)?),
        None => (text, DEFAULT_SIMILARITY),
    };
    match every.parse() {
        Ok(0) => Err("0 tokens are no distance; `off` switches convergence off".to_owned()),
        Ok(every) => Ok(pb::Convergence { every, similarity }),
        Err(_) => Err(format!("`{every}` is no number of tokens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_options_are_left_to_the_server() {
        assert_eq!(PolicyArgs::default().message(false), pb::ReasoningPolicy::default());
        let args =
            PolicyArgs { mode: Some(Mode::Always), budget: Some(9), ..PolicyArgs::default() };
        let message = args.message(true);
        assert_eq!(message.mode(), pb::ReasoningMode::Always);
        assert_eq!((message.token_budget, message.include_thought), (Some(9), true));
    }

    #[test]
    fn convergence_is_a_distance_and_a_similarity() {
        let rule = |every, similarity| Ok(pb::Convergence { every, similarity });
        assert_eq!(convergence("8"), rule(8, DEFAULT_SIMILARITY));
        assert_eq!(convergence("4:0.9"), rule(4, 0.9));
        assert_eq!(convergence("off"), rule(0, 0.0));
        for bad in ["", "0", "x", "-1", "8:", "8:1.5", "8:NaN", ":0.5", "8:0.9:1"] {
            assert!(convergence(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn thresholds_are_shares() {
        assert_eq!(share("0.25"), Ok(0.25));
        for bad in ["-0.1", "1.1", "NaN", "half"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
