//! Prompts of text and pixels.

use std::ops::Range;

use super::{frame::Frame, text::TextEncoder};
use crate::{embedder::Prompt, error::EncoderError};

/// A stretch of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text that is tokenised as a whole.
    Text(String),
    /// Markers with the tokens that stand for pixels between them.
    Tokens(Vec<u32>),
}

/// A stretch of the prompt.
enum Piece<'a> {
    Tokens(&'a [u32]),
    Text(TextPiece<'a>),
}

/// Tokenised text: the template's, the content's, the template's.
struct TextPiece<'a> {
    ids: Vec<u32>,
    content: Range<usize>,
    /// The text was too long to be tokenised to its end.
    is_head: bool,
    /// What follows the content once it is cut.
    tail_ids: &'a [u32],
}

impl Frame {
    /// Makes the prompt for a content of segments. Pixels are never cut; what room they leave
    /// goes to the texts in reading order, each cut at its end.
    ///
    /// Says nothing of vision tokens and pictures: those are the caller's.
    ///
    /// # Errors
    /// Refuses pixels that leave no room for the instruction and the template.
    pub(super) fn mixed_prompt(
        &self,
        segments: &[Segment],
        encoder: &TextEncoder,
        max_prompt_tokens: usize,
    ) -> Result<Prompt, EncoderError> {
        let pieces = self.pieces(segments, encoder, max_prompt_tokens)?;
        let fixed: usize = pieces.iter().map(Piece::fixed).sum();
        let fixed = fixed + self.before.len() + self.after.len();
        let pixels = pieces.iter().map(|piece| match piece {
            Piece::Tokens(run) => run.len(),
            Piece::Text(_) => 0,
        });
        let got: usize = pixels.sum();
        let max = max_prompt_tokens.saturating_sub(fixed);
        let Some(mut room) = max.checked_sub(got) else {
            return Err(EncoderError::MediaTooLong { got, max });
        };
        let mut tokens = self.before.clone();
        let (mut content, mut truncated) = (None::<Range<usize>>, false);
        for piece in pieces {
            let first = tokens.len();
            let own = match piece {
                Piece::Tokens(run) => {
                    tokens.extend_from_slice(run);
                    first..tokens.len()
                }
                Piece::Text(text) => {
                    let kept = text.content.len().min(room);
                    room -= kept;
                    let end = text.content.start + kept;
                    tokens.extend_from_slice(&text.ids[..end]);
                    let is_cut = end < text.content.end || text.is_head;
                    truncated |= is_cut;
                    let tail = if is_cut { text.tail_ids } else { &text.ids[end..] };
                    tokens.extend_from_slice(tail);
                    first + text.content.start..first + end
                }
            };
            if !own.is_empty() {
                content = Some(content.map_or(own.start, |content| content.start)..own.end);
            }
        }
        tokens.extend_from_slice(&self.after);
        let content = content.ok_or(EncoderError::EmptyContent)?;
        Ok(Prompt { tokens, truncated, content, vision_tokens: 0, pictures: None })
    }

    /// Lays the segments out between the template's own texts, each of which joins the text
    /// next to it or stands alone.
    fn pieces<'a>(
        &'a self,
        segments: &'a [Segment],
        encoder: &TextEncoder,
        max_prompt_tokens: usize,
    ) -> Result<Vec<Piece<'a>>, EncoderError> {
        let text = |parts: [&str; 3]| {
            let tail_ids = if parts[2].is_empty() { &[][..] } else { self.tail_ids.as_slice() };
            Ok::<_, EncoderError>(Piece::Text(TextPiece::new(
                parts,
                tail_ids,
                encoder,
                max_prompt_tokens,
            )?))
        };
        let mut pieces = Vec::with_capacity(segments.len() + 2);
        let mut lead = self.lead.as_str();
        for (index, segment) in segments.iter().enumerate() {
            let tail = if index + 1 == segments.len() { self.tail.as_str() } else { "" };
            match segment {
                Segment::Text(content) => pieces.push(text([lead, content, tail])?),
                Segment::Tokens(run) => {
                    if !lead.is_empty() {
                        pieces.push(text([lead, "", ""])?);
                    }
                    pieces.push(Piece::Tokens(run));
                    if !tail.is_empty() {
                        pieces.push(text(["", "", tail])?);
                    }
                }
            }
            lead = "";
        }
        Ok(pieces)
    }
}

impl Piece<'_> {
    /// Tokens that are there whatever is cut, pixels left out.
    fn fixed(&self) -> usize {
        match self {
            Self::Tokens(_) => 0,
            Self::Text(text) => {
                let tail = if text.is_head { 0 } else { text.ids.len() - text.content.end };
                text.content.start + tail.max(text.tail_ids.len())
            }
        }
    }
}

impl<'a> TextPiece<'a> {
    /// Tokenises what the template has before a content, the content, and what follows it.
    fn new(
        [lead, content, tail]: [&str; 3],
        tail_ids: &'a [u32],
        encoder: &TextEncoder,
        kept: usize,
    ) -> Result<Self, EncoderError> {
        let whole = format!("{lead}{content}{tail}");
        let head = encoder.encode_head(&whole, kept)?;
        let is_head = head.is_some();
        let encoding = match head {
            Some(encoding) => encoding,
            None => encoder.encode(&whole)?,
        };
        let offsets = encoding.get_offsets();
        // As in a prompt of text alone: a token that has a byte of the content belongs to it.
        let content_end = lead.len() + content.len();
        let start = offsets.partition_point(|&(_, end)| end <= lead.len());
        let end = offsets.partition_point(|&(start, _)| start < content_end);
        let content = start..end.max(start);
        Ok(Self { ids: encoding.get_ids().to_vec(), content, is_head, tail_ids })
    }
}
