//! Products of f32 matrices, shared out in panels of columns and blocks of rows.

use super::{
    pass::by_units,
    tile::{COLUMNS_MAX, ROWS_MAX, Tile, TileInput, VECTORS},
};
use crate::{buffer::Shared, team::Member};

/// Rows that go through a panel of columns together: their left values stay in the second-level
/// cache while the panels pass.
const BLOCK_ROWS: usize = 96;
/// Panels of one item of work.
const ITEM_PANELS: usize = 4;

/// The tile kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileSet {
    /// Values of a vector.
    pub(crate) width: usize,
    /// Rows of a tile for which there are registers.
    pub(crate) rows: usize,
    /// By rows less one, by vectors less one.
    pub(crate) tiles: [[Tile; VECTORS]; ROWS_MAX],
}

impl TileSet {
    /// Columns of a panel.
    pub(super) fn panel(&self) -> usize {
        VECTORS * self.width
    }
}

/// A right matrix, `[depth, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Right<'a> {
    /// Panel after panel as [`Packed`] holds them.
    Packed(&'a Packed),
    /// Row `k` begins at `start + k * step`.
    Rows { start: *const f32, step: usize },
    /// Column `n` begins at `start + n * step`: the rows of what is to be transposed.
    Columns { start: *const f32, step: usize },
}

/// A summand of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term<'a> {
    pub(super) left: *const f32,
    /// From one row to the next.
    pub(super) left_row: usize,
    /// From one value of a row to the next.
    pub(super) left_step: usize,
    pub(super) depth: usize,
    pub(super) right: Right<'a>,
}

/// `out = start + scale * sum of terms`, `[rows, columns]`.
#[derive(Debug, Clone)]
pub(super) struct Product<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) terms: Vec<Term<'a>>,
    pub(super) scale: f32,
    /// What the sums are added to, laid out as the output; may be the output itself.
    pub(super) start: Option<*const f32>,
    pub(super) out: Shared<f32>,
    pub(super) out_row: usize,
    pub(super) out_column: usize,
}

/// A right matrix in panels of columns, zeros beyond the last: `[panels, depth, panel]`.
#[derive(Debug)]
pub(super) struct Packed {
    values: Vec<f32>,
    depth: usize,
    panel: usize,
}

impl Packed {
    /// Packs the transpose of `rows`, `[columns, depth]`.
    pub(super) fn transposed(rows: &[f32], depth: usize, tiles: &TileSet) -> Self {
        let panel = tiles.panel();
        let columns = rows.len() / depth;
        let mut values = vec![0.0; columns.div_ceil(panel) * depth * panel];
        let parts = values.chunks_exact_mut(depth * panel).zip(rows.chunks(panel * depth));
        for (part, rows) in parts {
            for (column, row) in rows.chunks_exact(depth).enumerate() {
                for (k, value) in row.iter().enumerate() {
                    part[k * panel + column] = *value;
                }
            }
        }
        Self { values, depth, panel }
    }
}

/// Computes products together with the team. Each value is summed by one thread, in one order.
///
/// # Safety
/// Every product's addresses are good for its shape; outputs overlap neither each other nor what
/// is read, a product's own start apart; the kernels' instruction set is there.
pub(super) unsafe fn run(
    member: &Member<'_>,
    tiles: &TileSet,
    products: &[Product<'_>],
    scratch: &mut Vec<f32>,
) {
    let items: usize = products.iter().map(|product| product.items(tiles)).sum();
    by_units(member, items, |item| {
        let mut item = item;
        for product in products {
            let own = product.items(tiles);
            if item < own {
                // SAFETY: the caller's promise; items are disjoint.
                return unsafe { product.item(item, tiles, scratch) };
            }
            item -= own;
        }
    });
}

impl Product<'_> {
    fn panels(&self, tiles: &TileSet) -> usize {
        self.columns.div_ceil(tiles.panel())
    }

    fn items(&self, tiles: &TileSet) -> usize {
        self.rows.div_ceil(BLOCK_ROWS) * self.panels(tiles).div_ceil(ITEM_PANELS)
    }

    /// Computes one item: some panels of a block of rows.
    unsafe fn item(&self, item: usize, tiles: &TileSet, scratch: &mut Vec<f32>) {
        let groups = self.panels(tiles).div_ceil(ITEM_PANELS);
        let (block, group) = (item / groups, item % groups);
        let first = group * ITEM_PANELS;
        for panel in first..(first + ITEM_PANELS).min(self.panels(tiles)) {
            let end = ((block + 1) * BLOCK_ROWS).min(self.rows);
            // SAFETY: the caller's promise.
            unsafe { self.panel(panel, block * BLOCK_ROWS..end, tiles, scratch) };
        }
    }

    /// Computes the whole product on this thread.
    ///
    /// # Safety
    /// As for [`run`].
    pub(super) unsafe fn compute(&self, tiles: &TileSet, scratch: &mut Vec<f32>) {
        for panel in 0..self.panels(tiles) {
            // SAFETY: the caller's promise.
            unsafe { self.panel(panel, 0..self.rows, tiles, scratch) };
        }
    }

    unsafe fn panel(
        &self,
        panel: usize,
        rows: std::ops::Range<usize>,
        tiles: &TileSet,
        scratch: &mut Vec<f32>,
    ) {
        let first = panel * tiles.panel();
        let columns = (self.columns - first).min(tiles.panel());
        let vectors = columns.div_ceil(tiles.width);
        let width = vectors * tiles.width;
        scratch.clear();
        let places: Vec<Place> = self
            .terms
            .iter()
            // SAFETY: the caller's promise.
            .map(|term| unsafe { term.place(panel, first, columns, tiles, scratch) })
            .collect();
        // Whole vectors of neighbouring columns are written where they belong, others by way of
        // a tile of their own.
        let is_direct = columns == width && self.out_column == 1;
        for row in rows.clone().step_by(tiles.rows) {
            let count = (rows.end - row).min(tiles.rows);
            let at = |m: usize, n: usize| (row + m) * self.out_row + (first + n) * self.out_column;
            let mut spare = [0.0_f32; ROWS_MAX * COLUMNS_MAX];
            // SAFETY: the caller's promise; `spare` holds the largest tile.
            unsafe {
                let (target, target_row) = match is_direct {
                    true => (self.out.at(at(0, 0)), self.out_row),
                    false => (spare.as_mut_ptr(), width),
                };
                let each = |action: &dyn Fn(*mut f32, usize)| {
                    for m in 0..count {
                        for n in 0..columns {
                            action(target.add(m * target_row + n), at(m, n));
                        }
                    }
                };
                match self.start {
                    // It is there already.
                    Some(start) if is_direct && std::ptr::eq(start, self.out.at(0)) => {}
                    Some(start) => each(&|target, at| *target = *start.add(at)),
                    None => {}
                }
                for (index, (term, place)) in self.terms.iter().zip(&places).enumerate() {
                    let (right, right_step) = match *place {
                        Place::At(right, step) => (right, step),
                        Place::Scratch(offset) => (scratch.as_ptr().add(offset), width),
                    };
                    tiles.tiles[count - 1][vectors - 1](&TileInput {
                        left: term.left.add(row * term.left_row),
                        left_row: term.left_row,
                        left_step: term.left_step,
                        right,
                        right_step,
                        depth: term.depth,
                        scale: self.scale,
                        adds: index > 0 || self.start.is_some(),
                        out: target,
                        out_row: target_row,
                    });
                }
                if !is_direct {
                    each(&|target, at| *self.out.at(at) = *target);
                }
            }
        }
    }
}

/// Where a term's panel lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    At(*const f32, usize),
    /// From an offset of the scratch on, as wide as the tile.
    Scratch(usize),
}

impl Term<'_> {
    /// Finds columns `first..first + columns` of the right matrix, or lays them out in `scratch`.
    unsafe fn place(
        &self,
        panel: usize,
        first: usize,
        columns: usize,
        tiles: &TileSet,
        scratch: &mut Vec<f32>,
    ) -> Place {
        let offset = scratch.len();
        let width = columns.next_multiple_of(tiles.width);
        // SAFETY: the caller's promise: the right matrix has these columns.
        unsafe {
            match self.right {
                Right::Packed(packed) => {
                    assert!(packed.depth == self.depth, "a packed matrix fits its term");
                    let start = packed.values[panel * packed.depth * packed.panel..].as_ptr();
                    Place::At(start, packed.panel)
                }
                Right::Rows { start, step } if columns == width => {
                    Place::At(start.add(first), step)
                }
                Right::Rows { start, step } => {
                    scratch.resize(offset + self.depth * width, 0.0);
                    let rows = scratch[offset..].chunks_exact_mut(width);
                    for (k, row) in rows.enumerate() {
                        let from = start.add(k * step + first);
                        row[..columns].copy_from_slice(std::slice::from_raw_parts(from, columns));
                    }
                    Place::Scratch(offset)
                }
                Right::Columns { start, step } => {
                    scratch.resize(offset + self.depth * width, 0.0);
                    let values = &mut scratch[offset..];
                    for n in 0..columns {
                        let from = start.add((first + n) * step);
                        let from = std::slice::from_raw_parts(from, self.depth);
                        for (k, value) in from.iter().enumerate() {
                            values[k * width + n] = *value;
                        }
                    }
                    Place::Scratch(offset)
                }
            }
        }
    }
}
