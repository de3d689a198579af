//! Text to ids with markers switched off, in time bounded by the tokens that are kept.

use std::collections::HashSet;

use tokenizers::{Encoding, Tokenizer};

use crate::error::EncoderError;

/// A text is first cut to this many bytes for each token that is kept.
const BYTES_PER_TOKEN: usize = 16;
/// A cut may change how the last pieces before it are split. Kept tokens must end this many
/// bytes and this many pieces before the cut; no pre-tokenizer in use looks that far ahead.
const MARGIN_BYTES: usize = 1024;
const MARGIN_PIECES: u32 = 8;
/// A head this long is taken even if all of it is one piece: no text has such words, and the
/// pairs that are joined near the cut do not reach the tokens that are kept.
const ONE_PIECE_BYTES: usize = 1 << 18;

/// Encodes text that must not contain markers.
pub(super) struct TextEncoder {
    tokenizer: Tokenizer,
    /// The tokenizer without any added token, when switching the special ones off is not
    /// enough because a marker of the template is an ordinary added token.
    bare: Option<Tokenizer>,
    forbidden: HashSet<u32>,
}

impl TextEncoder {
    /// Switches markers off, and tries each of them to see that it worked.
    pub(super) fn new(mut tokenizer: Tokenizer, markers: &[u32]) -> Result<Self, EncoderError> {
        let added = tokenizer.get_added_tokens_decoder();
        let is_special = |id: &u32| added.get(id).is_some_and(|token| token.special);
        let bare = (!markers.iter().all(is_special)).then(|| without_added(&tokenizer));
        let forbidden: HashSet<u32> =
            added.keys().filter(|id| is_special(id)).chain(markers).copied().collect();
        tokenizer.set_encode_special_tokens(true);
        let encoder = Self { tokenizer, bare, forbidden };
        for (id, token) in &added {
            if encoder.forbidden.contains(id) {
                encoder.encode(&token.content)?;
            }
        }
        Ok(encoder)
    }

    /// Encodes a whole text.
    pub(super) fn encode(&self, text: &str) -> Result<Encoding, EncoderError> {
        let tokenizer = self.bare.as_ref().unwrap_or(&self.tokenizer);
        let encoding = tokenizer.encode(text, false).map_err(|error| EncoderError::Internal {
            problem: format!("tokenizer failed: {error}"),
        })?;
        match encoding.get_ids().iter().find(|id| self.forbidden.contains(id)) {
            None => Ok(encoding),
            Some(id) => Err(EncoderError::Internal {
                problem: format!("tokenizer turned plain text into the special token {id}"),
            }),
        }
    }

    /// Encodes the head of a long text: at least its first `kept` tokens are those of the
    /// whole text. Returns `None` when the text is short enough to be encoded whole.
    ///
    /// Encoding a long text whole to keep a few thousand tokens would cost time in
    /// proportion to what is thrown away.
    pub(super) fn encode_head(
        &self,
        text: &str,
        kept: usize,
    ) -> Result<Option<Encoding>, EncoderError> {
        let mut bytes = kept.saturating_mul(BYTES_PER_TOKEN).saturating_add(MARGIN_BYTES * 2);
        while bytes < text.len() {
            let head = &text[..boundary_before(text, bytes)];
            let encoding = self.encode(head)?;
            if is_settled(&encoding, kept, head.len()) {
                return Ok(Some(encoding));
            }
            bytes = bytes.saturating_mul(4);
        }
        Ok(None)
    }

    /// Turns ids into text, leaving special tokens and a cut character at the end out.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, EncoderError> {
        if let Some(id) = ids.iter().find(|id| self.tokenizer.id_to_token(**id).is_none()) {
            return Err(EncoderError::Internal { problem: format!("id {id} is no token") });
        }
        let mut text = self.tokenizer.decode(ids, true).map_err(|error| {
            EncoderError::Internal { problem: format!("tokenizer failed: {error}") }
        })?;
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        Ok(text)
    }
}

/// Tells whether the first `kept` tokens cannot depend on what follows the head.
fn is_settled(encoding: &Encoding, kept: usize, head_bytes: usize) -> bool {
    let pieces = encoding.get_word_ids();
    let (Some((_, end)), Some(Some(piece)), Some(Some(last))) =
        (encoding.get_offsets().get(kept), pieces.get(kept), pieces.last())
    else {
        return false;
    };
    let is_far_in_pieces = piece + MARGIN_PIECES <= *last || head_bytes >= ONE_PIECE_BYTES;
    end + MARGIN_BYTES <= head_bytes && is_far_in_pieces
}

fn without_added(tokenizer: &Tokenizer) -> Tokenizer {
    let mut bare = Tokenizer::new(tokenizer.get_model().clone());
    bare.with_normalizer(tokenizer.get_normalizer().cloned());
    bare.with_pre_tokenizer(tokenizer.get_pre_tokenizer().cloned());
    bare
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
