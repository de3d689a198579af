//! Where a chat template puts the instruction and the content.
//!
//! The template is rendered with stand-ins for both. What it makes around them is fixed
//! text, in which the tokenizer's added tokens are the markers.

use tokenizers::Tokenizer;

use crate::{
    error::EncoderError,
    template::{ChatTemplate, Message},
};

// Private-use characters: no template has them, and none cuts or folds them.
const INSTRUCTION: &str = "\u{f0000}instruction\u{f0001}";
const CONTENT: &str = "\u{f0000}content\u{f0001}";

/// A piece of fixed text, or a place that is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// The template's own text.
    Literal(String),
    /// The instruction goes here.
    Instruction,
    /// The content goes here.
    Content,
}

/// What stands between two markers, or a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A token of the template.
    Marker(u32),
    /// Text that is tokenised as a whole.
    Text(Vec<Fragment>),
}

/// A prompt with places for instruction and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// In reading order.
    pub(super) pieces: Vec<Piece>,
    trims_instruction: bool,
    trims_content: bool,
}

impl Layout {
    /// Finds the layout of a template that is given a system and a user message.
    pub(super) fn of_template(
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
    ) -> Result<Self, EncoderError> {
        let rendered = render(template, INSTRUCTION, CONTENT)?;
        for (what, place) in [("the system message", INSTRUCTION), ("the content", CONTENT)] {
            let count = rendered.matches(place).count();
            if count != 1 {
                return Err(refused(format!("puts {what} into the text {count} times, not once")));
            }
        }
        let spaced = format!(" \n{INSTRUCTION} \n");
        let trims_instruction =
            is_trimmed(&rendered, INSTRUCTION, &render(template, &spaced, CONTENT)?)?;
        let spaced = format!(" \n{CONTENT} \n");
        let trims_content =
            is_trimmed(&rendered, CONTENT, &render(template, INSTRUCTION, &spaced)?)?;
        let pieces = split(&rendered, tokenizer);
        Ok(Self { pieces, trims_instruction, trims_content })
    }

    /// Finds the layout for an empty system message, which a template may leave out.
    pub(super) fn without_instruction(
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
    ) -> Result<Self, EncoderError> {
        let rendered = render(template, "", CONTENT)?;
        let count = rendered.matches(CONTENT).count();
        if count != 1 {
            let problem = format!("puts the content into the text {count} times, not once");
            return Err(refused(problem));
        }
        let pieces = split(&rendered, tokenizer);
        Ok(Self { pieces, trims_instruction: false, trims_content: false })
    }

    /// Lists the markers' ids, in reading order.
    pub(super) fn markers(&self) -> Vec<u32> {
        let markers = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Marker(id) => Some(*id),
            Piece::Text(_) => None,
        });
        markers.collect()
    }

    /// Does to an instruction what the template does to it.
    pub(super) fn instruction<'a>(&self, instruction: &'a str) -> &'a str {
        if self.trims_instruction { instruction.trim() } else { instruction }
    }

    /// Does to content what the template does to it.
    pub(super) fn content<'a>(&self, content: &'a str) -> &'a str {
        if self.trims_content { content.trim() } else { content }
    }
}

fn render(
    template: &ChatTemplate,
    instruction: &str,
    content: &str,
) -> Result<String, EncoderError> {
    let system = Message { role: "system", content: instruction };
    let user = Message { role: "user", content };
    template.render(&[system, user], true)
}

/// Compares a rendering with one whose place was given whitespace around it.
fn is_trimmed(rendered: &str, place: &str, spaced: &str) -> Result<bool, EncoderError> {
    if spaced == rendered {
        return Ok(true);
    }
    if spaced == rendered.replace(place, &format!(" \n{place} \n")) {
        return Ok(false);
    }
    Err(refused("changes the text of messages in a way that is not supported".to_owned()))
}

/// Splits a rendering at the places and at the tokenizer's added tokens.
fn split(rendered: &str, tokenizer: &Tokenizer) -> Vec<Piece> {
    let added: Vec<(String, u32)> = tokenizer
        .get_added_tokens_decoder()
        .into_iter()
        .map(|(id, token)| (token.content, id))
        .filter(|(content, _)| !content.is_empty())
        .collect();
    let mut pieces = Vec::new();
    let mut fragments = Vec::new();
    let mut rest = rendered;
    while !rest.is_empty() {
        let found = next_stop(rest, &added);
        let (literal, after) = rest.split_at(found.as_ref().map_or(rest.len(), |(at, ..)| *at));
        if !literal.is_empty() {
            fragments.push(Fragment::Literal(literal.to_owned()));
        }
        rest = match found {
            None => "",
            Some((_, length, stop)) => {
                match stop {
                    Stop::Place(fragment) => fragments.push(fragment),
                    Stop::Marker(id) => {
                        if !fragments.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut fragments)));
                        }
                        pieces.push(Piece::Marker(id));
                    }
                }
                &after[length..]
            }
        };
    }
    if !fragments.is_empty() {
        pieces.push(Piece::Text(fragments));
    }
    pieces
}

enum Stop {
    Place(Fragment),
    Marker(u32),
}

/// Finds the first place or marker: where it is, how long, and which. Of two that begin at
/// the same byte the longer counts, as in the tokenizer.
fn next_stop(text: &str, added: &[(String, u32)]) -> Option<(usize, usize, Stop)> {
    let places = [(INSTRUCTION, Fragment::Instruction), (CONTENT, Fragment::Content)]
        .into_iter()
        .filter_map(|(place, fragment)| {
            Some((text.find(place)?, place.len(), Stop::Place(fragment)))
        });
    let markers = added
        .iter()
        .filter_map(|(content, id)| Some((text.find(content)?, content.len(), Stop::Marker(*id))));
    places.chain(markers).min_by_key(|(at, length, _)| (*at, usize::MAX - *length))
}

fn refused(problem: String) -> EncoderError {
    EncoderError::Option { option: "chat_template", problem }
}
