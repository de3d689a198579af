//! What can go wrong in the encoder, by whose fault it is.

use std::path::PathBuf;

use twn_media::MediaError;

/// An encoder failure.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The content has nothing to embed.
    #[error("content is empty: give at least one part with text that is not only whitespace")]
    EmptyContent,
    /// The content has a part that this model cannot read.
    #[error("part {index} is {kind}, which this encoder does not support; supported parts: text")]
    UnsupportedPart {
        /// Position of the part in the content.
        index: usize,
        /// For example `an image (PNG)`.
        kind: String,
    },
    /// A piece of media could not be read.
    #[error("part {index}: {source}")]
    Media {
        /// Position of the part in the content.
        index: usize,
        /// Why.
        source: MediaError,
    },
    /// Images, videos and pages take too many tokens.
    #[error(
        "images, videos and pages take {got} tokens, at most {max} leave room for the rest of the \
         prompt"
    )]
    MediaTooLong {
        /// Tokens that stand for pixels, with their markers.
        got: usize,
        /// The most there may be.
        max: usize,
    },
    /// The instruction alone fills the context.
    #[error("instruction has {got} tokens, at most {max} leave room for content")]
    InstructionTooLong {
        /// Tokens of the instruction with its template.
        got: usize,
        /// The most there may be.
        max: usize,
    },
    /// A file of the model is missing, damaged or of another kind.
    #[error("model file {path}: {problem}", path = .path.display())]
    ModelFile {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The model could not be fetched.
    #[error("cannot fetch model: {problem}")]
    Fetch {
        /// What failed and what to do.
        problem: String,
    },
    /// An option's value cannot be used.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Reading or writing a file failed; the message has the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The model computed something impossible.
    #[error("encoder failed: {problem}")]
    Internal {
        /// What is wrong.
        problem: String,
    },
}

impl EncoderError {
    /// Tells whether the caller's input is at fault, not the machine or the model.
    pub fn is_callers_fault(&self) -> bool {
        match self {
            Self::EmptyContent
            | Self::UnsupportedPart { .. }
            | Self::MediaTooLong { .. }
            | Self::InstructionTooLong { .. } => true,
            Self::Media { source, .. } => source.is_callers_fault(),
            _ => false,
        }
    }
}
