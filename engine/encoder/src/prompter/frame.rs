//! The tokens around the content, for one instruction.

use super::{
    layout::{Fragment, Layout, Piece},
    text::TextEncoder,
};
use crate::{embedder::Prompt, error::EncoderError};

/// What surrounds the content when the instruction is fixed.
#[derive(Debug)]
pub(super) struct Frame {
    /// Ids before the piece of text that has the content.
    pub(super) before: Vec<u32>,
    /// Text of that piece before the content.
    pub(super) lead: String,
    /// Text of that piece after the content.
    pub(super) tail: String,
    /// Ids of `tail` alone, for when the content is cut.
    pub(super) tail_ids: Vec<u32>,
    /// Ids after the piece.
    pub(super) after: Vec<u32>,
}

impl Frame {
    /// Fills an instruction in and tokenises everything but the content's own piece.
    ///
    /// An instruction may fill three quarters of the longest prompt with its template, so
    /// that a document is never cut down to its title.
    pub(super) fn new(
        layout: &Layout,
        instruction: &str,
        encoder: &TextEncoder,
        max_prompt_tokens: usize,
    ) -> Result<Self, EncoderError> {
        let mut frame = Self {
            before: Vec::new(),
            lead: String::new(),
            tail: String::new(),
            tail_ids: Vec::new(),
            after: Vec::new(),
        };
        let mut is_past_content = false;
        for piece in &layout.pieces {
            let ids = if is_past_content { &mut frame.after } else { &mut frame.before };
            match piece {
                Piece::Marker(id) => ids.push(*id),
                Piece::Text(fragments) => {
                    let (lead, tail) = fill(fragments, instruction);
                    match tail {
                        None => ids.extend_from_slice(encoder.encode(&lead)?.get_ids()),
                        Some(tail) => {
                            is_past_content = true;
                            (frame.lead, frame.tail) = (lead, tail);
                        }
                    }
                }
            }
        }
        frame.tail_ids = encoder.encode(&frame.tail)?.get_ids().to_vec();
        let lead_tokens = encoder.encode(&frame.lead)?.len();
        let got = frame.before.len() + lead_tokens + frame.tail_ids.len() + frame.after.len();
        let max = max_prompt_tokens / 4 * 3;
        if got > max { Err(EncoderError::InstructionTooLong { got, max }) } else { Ok(frame) }
    }

    /// Makes the prompt for a content, cut at its end to fit.
    pub(super) fn prompt(
        &self,
        content: &str,
        encoder: &TextEncoder,
        max_prompt_tokens: usize,
    ) -> Result<Prompt, EncoderError> {
        let text = format!("{}{content}{}", self.lead, self.tail);
        let head = encoder.encode_head(&text, max_prompt_tokens)?;
        let is_whole = head.is_none();
        let encoding = match head {
            Some(encoding) => encoding,
            None => encoder.encode(&text)?,
        };
        let ids = encoding.get_ids();
        // Offsets are bytes of the text. A token that has a byte of the content belongs to
        // it, so a newline of the template that was joined with the content's spaces does.
        let content_end_byte = self.lead.len() + content.len();
        let start = encoding.get_offsets().partition_point(|&(_, end)| end <= self.lead.len());
        let end = encoding.get_offsets().partition_point(|&(start, _)| start < content_end_byte);

        if start >= end {
            // A vocabulary need not have every byte: control characters can leave nothing.
            return Err(EncoderError::EmptyContent);
        }
        let outside = self.before.len() + self.after.len();
        let is_too_long = !is_whole || outside + ids.len() > max_prompt_tokens;
        let mut tokens = Vec::with_capacity(max_prompt_tokens.min(outside + ids.len()));
        tokens.extend_from_slice(&self.before);
        let kept_end = if is_too_long {
            let room = max_prompt_tokens.saturating_sub(outside + self.tail_ids.len());
            let kept_end = room.clamp(start, end);
            tokens.extend_from_slice(&ids[..kept_end]);
            tokens.extend_from_slice(&self.tail_ids);
            kept_end
        } else {
            tokens.extend_from_slice(ids);
            end
        };
        tokens.extend_from_slice(&self.after);
        let content = self.before.len() + start..self.before.len() + kept_end;
        let truncated = !is_whole || kept_end < end;
        Ok(Prompt { tokens, truncated, content, vision_tokens: 0, pictures: None })
    }
}

/// Fills the instruction into a piece of text. The second half is what follows the content,
/// and `None` when the piece does not have it.
fn fill(fragments: &[Fragment], instruction: &str) -> (String, Option<String>) {
    let (mut lead, mut tail) = (String::new(), None::<String>);
    for fragment in fragments {
        let text = match fragment {
            Fragment::Literal(text) => text,
            Fragment::Instruction => instruction,
            Fragment::Content => {
                tail = Some(String::new());
                continue;
            }
        };
        tail.as_mut().unwrap_or(&mut lead).push_str(text);
    }
    (lead, tail)
}
