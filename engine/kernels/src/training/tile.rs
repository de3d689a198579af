//! The kernel of products of f32 matrices: a tile of rows by vectors of columns.

use crate::lanes::Lanes;

/// Rows of a tile at most.
pub(crate) const ROWS_MAX: usize = 8;
/// Vectors of a tile's row at most.
pub(crate) const VECTORS: usize = 3;
/// Columns of a tile at most, of the widest instruction set.
pub(crate) const COLUMNS_MAX: usize = VECTORS * 16;

/// Rows of the right matrix that are fetched ahead.
const AHEAD: usize = 12;

/// What a tile is computed from: `out (+)= scale * left * right`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileInput {
    /// Value `k` of row `m` lies at `left + m * left_row + k * left_step`.
    pub(crate) left: *const f32,
    pub(crate) left_row: usize,
    pub(crate) left_step: usize,
    /// The columns of `k` lie one after another from `right + k * right_step`.
    pub(crate) right: *const f32,
    pub(crate) right_step: usize,
    pub(crate) depth: usize,
    pub(crate) scale: f32,
    /// Whether the sums are added to what is there.
    pub(crate) adds: bool,
    pub(crate) out: *mut f32,
    pub(crate) out_row: usize,
}

/// Computes a tile of `M` rows and `L` vectors.
pub(crate) type Tile = unsafe fn(&TileInput);

/// Computes a tile of `M` rows and `L` vectors.
///
/// # Safety
/// The instruction set is there; all addresses are good for the rows, the depth and `L` whole
/// vectors; nobody else writes the output.
#[inline(always)]
pub(crate) unsafe fn tile<V: Lanes, const M: usize, const L: usize>(input: &TileInput) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); L]; M];
        let lefts: [*const f32; M] =
            std::array::from_fn(|row| input.left.wrapping_add(row * input.left_row));
        let (mut at, mut right) = (0, input.right);
        for _ in 0..input.depth {
            V::prefetch_near(right.wrapping_add(AHEAD * input.right_step), L);
            let mut columns = [V::splat(0.0); L];
            for (at, column) in columns.iter_mut().enumerate() {
                *column = V::load(right.add(at * V::WIDTH));
            }
            for (left, sums) in lefts.iter().zip(&mut sums) {
                let value = V::splat(left.add(at).read());
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = value.mul_add(column, *sum);
                }
            }
            at += input.left_step;
            right = right.wrapping_add(input.right_step);
        }
        let scale = V::splat(input.scale);
        for (row, sums) in sums.into_iter().enumerate() {
            for (at, sum) in sums.into_iter().enumerate() {
                let out = input.out.add(row * input.out_row + at * V::WIDTH);
                let before = if input.adds { V::load(out) } else { V::splat(0.0) };
                sum.mul_add(scale, before).store(out);
            }
        }
    }
}
