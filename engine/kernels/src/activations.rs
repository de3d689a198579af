//! Activations, laid out for the kernels.
//!
//! Rows come in tiles of 8; the last tile is as wide as what is left. Within a tile the
//! rows are interleaved in quads of columns (integers) or column by column (f32). So one
//! tile is one stream of memory, and a row's result does not depend on the rows beside it.

use crate::{
    buffer::{Buffer, Shared},
    kernels::Kernels,
    matrix::BLOCK,
};

/// Rows of a full tile.
pub(crate) const TILE: usize = 8;

/// How finely products with quantised weights round their inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ActivationBits {
    /// int8: fastest, and moves logits by more than the gaps between good tokens.
    Eight,
    /// int16: rounding of the order of f32 sums'.
    #[default]
    Sixteen,
}

/// What activations are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Integers in blocks of 32 with a scale each.
    Quantised(Integers),
    /// f32.
    Dense,
}

/// How finely activations are rounded, and how they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integers {
    Eight,
    /// The integers of int8 laid out as int16, for kernels that are faster so: the products are
    /// the same.
    EightInSixteen,
    Sixteen,
}

impl Integers {
    /// Bytes of an integer.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::EightInSixteen | Self::Sixteen => 2,
        }
    }
}

/// A matrix of activations, `[rows, columns]`.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    /// Integers in blocks of 32 with a scale: `a = scale * q`. Of a quad that lies as int16 the
    /// middle two change places: pairs that the kernels multiply together lie together.
    quants: Buffer<i8>,
    /// The scale of each block.
    scales: Buffer<f32>,
    /// -128 times the sum of each block's integers, for weights that are stored 128 too large.
    centres: Buffer<i32>,
    /// The sum times the scale, for weights with an offset.
    sums: Buffer<f32>,
    dense: Buffer<f32>,
}

/// The shape that is in use, and where the buffers lie. Threads write rows of their own
/// through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    pub(crate) form: Form,
    quants: Shared<i8>,
    scales: Shared<f32>,
    centres: Shared<i32>,
    sums: Shared<f32>,
    dense: Shared<f32>,
}

/// Where one row goes, or one tile lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) quants: *mut i8,
    pub(crate) scales: *mut f32,
    pub(crate) centres: *mut i32,
    pub(crate) sums: *mut f32,
    pub(crate) dense: *mut f32,
    /// Rows of the tile.
    pub(crate) width: usize,
}

impl Activations {
    /// Makes room for `rows` of `columns`.
    pub(crate) fn ensure(&mut self, rows: usize, columns: usize, form: Form) {
        let blocks = columns.div_ceil(BLOCK);
        match form {
            Form::Quantised(integers) => {
                self.quants.ensure(rows * blocks * BLOCK * integers.bytes());
                self.scales.ensure(rows * blocks);
                self.centres.ensure(rows * blocks);
                self.sums.ensure(rows * blocks);
            }
            Form::Dense => self.dense.ensure(rows * blocks * BLOCK),
        }
    }

    /// Lays out `rows` of `columns` in the room there is.
    ///
    /// # Panics
    /// Panics when [`Self::ensure`] has not made the room.
    pub(crate) fn layout(&mut self, rows: usize, columns: usize, form: Form) -> Layout {
        let blocks = columns.div_ceil(BLOCK);
        let room = match form {
            Form::Quantised(integers) => self.quants.len() / integers.bytes(),
            Form::Dense => self.dense.len(),
        };
        assert!(rows * blocks * BLOCK <= room, "activations fit their buffer");
        Layout {
            rows,
            blocks,
            form,
            quants: Shared::new(self.quants.address()),
            scales: Shared::new(self.scales.address()),
            centres: Shared::new(self.centres.address()),
            sums: Shared::new(self.sums.address()),
            dense: Shared::new(self.dense.address()),
        }
    }
}

impl Layout {
    /// Tiles there are.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// Rows of a tile.
    pub(crate) fn width(&self, tile: usize) -> usize {
        (self.rows - tile * TILE).min(TILE)
    }

    /// Finds a tile.
    pub(crate) fn tile(&self, tile: usize) -> Slot {
        debug_assert!(tile < self.tiles());
        let first = tile * TILE;
        // SAFETY: the tile lies within the buffers, which `layout` has checked; an unused
        // buffer is empty, and its address is not used.
        unsafe {
            let scale = first * self.blocks;
            let value = scale * BLOCK;
            let (value, scale, dense) = match self.form {
                Form::Quantised(integers) => (value * integers.bytes(), scale, 0),
                Form::Dense => (0, 0, value),
            };
            Slot {
                quants: self.quants.at(value),
                scales: self.scales.at(scale),
                centres: self.centres.at(scale),
                sums: self.sums.at(scale),
                dense: self.dense.at(dense),
                width: self.width(tile),
            }
        }
    }

    /// Finds a row: its first quad, block and value.
    pub(crate) fn row(&self, row: usize) -> Slot {
        let tile = self.tile(row / TILE);
        let lane = row % TILE;
        debug_assert!(lane < tile.width);
        // SAFETY: the row lies within its tile.
        unsafe {
            let (quad, scale, dense) = match self.form {
                Form::Quantised(integers) => (lane * 4 * integers.bytes(), lane, 0),
                Form::Dense => (0, 0, lane),
            };
            Slot {
                quants: tile.quants.add(quad),
                scales: tile.scales.add(scale),
                centres: tile.centres.add(scale),
                sums: tile.sums.add(scale),
                dense: tile.dense.add(dense),
                width: tile.width,
            }
        }
    }
}

impl Kernels {
    /// Lays the rows of a tile out as activations, quantised or as they are. The rows follow one
    /// another, each `width` values.
    ///
    /// # Safety
    /// `values` holds the rows, and `input` has the tile, as wide.
    pub(crate) unsafe fn lay(&self, values: *const f32, width: usize, input: &Layout, tile: usize) {
        let rows = input.width(tile);
        // SAFETY: the caller's promise; `Kernels::of` has checked the instructions.
        unsafe {
            let (rounder, lay) = match input.form {
                Form::Quantised(Integers::Eight) => (self.quantise_tiles[0], self.quantise),
                Form::Quantised(Integers::EightInSixteen) => (None, self.quantise_widened),
                Form::Quantised(Integers::Sixteen) => (self.quantise_tiles[1], self.quantise_wide),
                Form::Dense => (None, self.spread),
            };
            if let Some(quantise) = rounder.filter(|_| rows > 1 && width.is_multiple_of(BLOCK)) {
                return quantise(values, width, width / BLOCK, &input.tile(tile));
            }
            for row in 0..rows {
                lay(values.add(row * width), width, &input.row(tile * TILE + row));
            }
        }
    }
}
