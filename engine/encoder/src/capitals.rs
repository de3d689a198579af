//! Text that is in capitals alone, as old collections and shouting people write it.

use serde::{Deserialize, Serialize};

/// Fewer capitals than this may be a code or an abbreviation, whose case can matter.
const LEAST: usize = 12;

/// How an encoder reads text that is in capitals alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capitals {
    /// As it is.
    #[default]
    Kept,
    /// In small letters, where it has at least 12 capitals and no small letter. Backbones
    /// have hardly seen such text, and cut it into twice as many tokens.
    Lowered,
}

impl Capitals {
    /// The name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Lowered => "lowered",
        }
    }

    /// The text as the encoder reads it.
    pub(crate) fn read(self, text: String) -> String {
        match self {
            Self::Lowered if is_in_capitals(&text) => text.to_lowercase(),
            _ => text,
        }
    }
}

fn is_in_capitals(text: &str) -> bool {
    let mut capitals = 0;
    for letter in text.chars() {
        if letter.is_lowercase() {
            return false;
        }
        capitals += usize::from(letter.is_uppercase());
    }
    capitals >= LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_text_in_capitals_alone_is_lowered() {
        let read = |text: &str| Capitals::Lowered.read(text.to_owned());
        assert_eq!(read("MICROWAVES, 1962: ÜBER FILTER"), "microwaves, 1962: über filter");
        for kept in ["ERROR 0XC0000005", "NASA", "MEASUREMENT OF THE X-RAYs", "計測 2 BAR", ""] {
            assert_eq!(read(kept), kept);
        }
        let shouted = "MEASUREMENT OF DIELECTRIC CONSTANT";
        assert_eq!(Capitals::Kept.read(shouted.to_owned()), shouted);
    }
}
