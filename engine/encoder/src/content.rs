//! What is embedded: an ordered list of parts, and the task it is embedded for.

use twn_media::Media;

/// An ordered list of parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    /// The parts in reading order.
    pub parts: Vec<Part>,
}

/// One piece of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// UTF-8 text.
    Text(String),
    /// An image, a video or a document page.
    Media(Media),
}

impl Content {
    /// Wraps one text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Text(text.into())] }
    }

    /// Joins the text parts with newlines.
    pub fn joined_text(&self) -> String {
        let texts: Vec<&str> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Media(_) => None,
            })
            .collect();
        texts.join("\n")
    }
}

/// Which default instruction applies when the caller gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EmbedKind {
    /// A search query.
    #[default]
    Query,
    /// A document to be found.
    Document,
}

/// One input of the encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeInput {
    /// What is embedded.
    pub content: Content,
    /// Task instruction; `None` takes the encoder's default for `kind`.
    pub instruction: Option<String>,
    /// Query or document.
    pub kind: EmbedKind,
}
