//! The options that say when to think.

use clap::{Args, ValueEnum};
use twn_protos::v1 as pb;

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
        }
    }
}

fn share(text: &str) -> Result<f32, String> {
    let share: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is outside 0 to 1")) }
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
    fn thresholds_are_shares() {
        assert_eq!(share("0.25"), Ok(0.25));
        for bad in ["-0.1", "1.1", "NaN", "half"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
