//! Weights as a checkpoint stores them.

use std::fmt;

/// Block formats of GGUF that are packed without going through f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFormat {
    /// 32 columns in 18 bytes: f16 `d`, 16 bytes of nibbles; `w = d * (q - 8)`.
    Q4_0,
    /// 32 columns in 20 bytes: f16 `d`, f16 `m`, 16 bytes of nibbles; `w = d * q + m`.
    Q4_1,
    /// 32 columns in 34 bytes: f16 `d`, 32 signed bytes; `w = d * q`.
    Q8_0,
}

impl BlockFormat {
    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }
}

/// How exactly weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Blocks stay as they are; what is dense becomes 8-bit.
    AsStored,
    /// 4 bits, in blocks of 32 with a scale and an offset.
    Four,
    /// 8 bits, in blocks of 32 with a scale.
    Eight,
    /// f32, with f32 activations.
    Dense,
}

/// A linear's weights, `[rows, columns]`, as they are stored.
pub struct Source<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stored: Stored<'a>,
}

/// Finds a row's blocks.
type RowBlocks<'a> = Box<dyn Fn(usize) -> &'a [u8] + 'a>;

/// Writes a row's values.
type RowValues<'a> = Box<dyn Fn(usize, &mut [f32]) + 'a>;

pub(super) enum Stored<'a> {
    Dense(Vec<f32>),
    Rows(RowValues<'a>),
    Blocks(BlockFormat, RowBlocks<'a>),
}

impl<'a> Source<'a> {
    /// Takes f32 weights, row after row.
    pub fn dense(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        Self { rows, columns, stored: Stored::Dense(values) }
    }

    /// Takes weights that `row` writes row by row, so that they need not be held in f32 as a
    /// whole.
    pub fn rows(rows: usize, columns: usize, row: impl Fn(usize, &mut [f32]) + 'a) -> Self {
        Self { rows, columns, stored: Stored::Rows(Box::new(row)) }
    }

    /// Takes quantised weights; `row` finds the blocks of a row.
    pub fn blocks(
        format: BlockFormat,
        rows: usize,
        columns: usize,
        row: impl Fn(usize) -> &'a [u8] + 'a,
    ) -> Self {
        Self { rows, columns, stored: Stored::Blocks(format, Box::new(row)) }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match &self.stored {
            Stored::Dense(_) | Stored::Rows(_) => "f32".to_owned(),
            Stored::Blocks(format, _) => format!("{format:?}"),
        };
        write!(f, "Source({} x {} {format})", self.rows, self.columns)
    }
}
