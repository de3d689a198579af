//! Media bytes: what they are and how large they may be.
//!
//! Knows no model. This version recognises formats by their first bytes, so that an
//! unsupported part is named in the error; decoding comes with the multimodal
//! backbones. Invariant: nothing here trusts a file name or a declared type.

mod media;

pub use media::{Format, Media, MediaKind};
