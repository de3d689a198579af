//! Which parts of a document are read.

/// Which parts of a hit are read besides its id, hash and sequence; the others stay empty.
/// What is not read costs nothing, and its part of the files is not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// The text.
    pub text: bool,
    /// The payload.
    pub payload: bool,
    /// How the vector was made, and the thought behind it.
    pub provenance: bool,
    /// The vector.
    pub vector: bool,
}

impl Projection {
    /// The whole document.
    pub const ALL: Self = Self { text: true, payload: true, provenance: true, vector: true };

    /// The id, hash and sequence alone.
    pub const NONE: Self = Self { text: false, payload: false, provenance: false, vector: false };

    /// Tells whether any of what is shown with a hit is wanted.
    pub(crate) fn shows(&self) -> bool {
        self.text || self.payload || self.provenance
    }
}

impl Default for Projection {
    fn default() -> Self {
        Self::ALL
    }
}
