//! Weights times activations, shared out over the team.

use crate::{
    ActivationBits, Isa, Team,
    activations::{Activations, Form, Layout, TILE},
    adapter::{LowRank, SecondFactor},
    buffer::Shared,
    kernels::Kernels,
    matrix::{Data, GROUP, Matrix},
    team::Member,
    tile::{GroupWeights, TileOutputs},
};

/// Tiles that run against one group before the next group starts, so that the activations
/// of a long prompt stay in the second-level cache.
const TILES_AT_ONCE: usize = 32;
/// The smallest pieces are such that each thread would have this many.
const PIECES: usize = 24;

/// Units for each thread that tiles are cut finer for.
const CUTS: usize = 6;

/// One product of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) matrix: &'a Matrix,
    pub(crate) input: Layout,
    /// Additions, and the intermediate values for them: `[rows, low_rank.width()]`.
    pub(crate) low_rank: Option<(&'a LowRank, Shared<f32>)>,
}

/// One finished tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished {
    /// The first output.
    pub(crate) output: usize,
    /// The first row.
    pub(crate) row: usize,
    /// How many rows.
    pub(crate) rows: usize,
}

impl Matrix {
    /// Multiplies rows of inputs (`[rows, columns]`) on the team's threads:
    /// `[rows, outputs]`, the stacked parts' outputs one after another. Quantised weights
    /// round the inputs to integers of `bits` in blocks of 32. A row's outputs do not depend on the rows
    /// beside it nor on the number of threads.
    ///
    /// # Panics
    /// Panics when `rows` is not whole rows, or this machine does not have the instruction
    /// set.
    pub fn multiply(&self, rows: &[f32], bits: ActivationBits, team: &Team, isa: Isa) -> Vec<f32> {
        let (kernels, columns) = (Kernels::of(isa), self.columns());
        assert!(rows.len().is_multiple_of(columns), "inputs are whole rows of {columns}");
        let (count, width) = (rows.len() / columns, self.parts().iter().sum::<usize>());
        // Not zeroed: the products of a vocabulary are many, and each is written below.
        let mut products: Vec<f32> = Vec::with_capacity(count * width);
        if count == 0 {
            return products;
        }
        let form = if self.is_quantised() { Form::Quantised(bits) } else { Form::Dense };
        let mut activations = Activations::default();
        activations.ensure(count, columns, form);
        let input = activations.layout(count, columns, form);
        for (tile, rows) in rows.chunks(TILE * columns).enumerate() {
            // SAFETY: the rows are `columns` wide and the layout has the tile.
            unsafe { kernels.lay(rows.as_ptr(), columns, &input, tile) };
        }
        let out = Shared::new(products.as_mut_ptr());
        let product = Product { kernels, matrix: self, input, low_rank: None };
        team.run(&|member| {
            product.run(member, |tile, outputs| {
                let (first, len) = self.unpadded(tile.output);
                for row in 0..tile.rows {
                    // SAFETY: each output belongs to one tile, and tiles to one thread.
                    unsafe {
                        let to = out.at((tile.row + row) * width + first);
                        let from = outputs.as_ptr().add(row * GROUP);
                        std::ptr::copy_nonoverlapping(from, to, len);
                    }
                }
            });
        });
        // SAFETY: room for as many; the groups' outputs that are no padding are all outputs, and
        // the team has written those of every tile.
        unsafe { products.set_len(count * width) };
        products
    }
}

impl Product<'_> {
    /// Computes all outputs and hands each tile of 16 of them to `sink`.
    pub(crate) fn run(&self, member: &Member<'_>, mut sink: impl FnMut(Finished, &TileOutputs)) {
        let groups = self.matrix.groups();
        let mut outputs = [0.0; TILE * GROUP];
        self.each_tile(member, groups, |group, tile| {
            let finished = self.tile(group, tile, &mut outputs);
            sink(finished, &outputs);
        });
    }

    /// Computes the outputs of two stacked parts of equal size and hands each tile of the
    /// first to `sink` together with the one of the second.
    pub(crate) fn run_pairs(
        &self,
        member: &Member<'_>,
        mut sink: impl FnMut(Finished, &TileOutputs, &TileOutputs),
    ) {
        let half = self.matrix.groups() / 2;
        let (mut first, mut second) = ([0.0; TILE * GROUP], [0.0; TILE * GROUP]);
        self.each_tile(member, half, |group, tile| {
            let finished = self.tile(group, tile, &mut first);
            self.tile(group + half, tile, &mut second);
            sink(finished, &first, &second);
        });
    }

    /// Computes all outputs of one tile on this thread alone, without waiting for the others.
    pub(crate) fn run_tile(&self, tile: usize, mut sink: impl FnMut(Finished, &TileOutputs)) {
        let mut outputs = [0.0; TILE * GROUP];
        for group in 0..self.matrix.groups() {
            let finished = self.tile(group, tile, &mut outputs);
            sink(finished, &outputs);
        }
    }

    /// Shares groups and tiles out. A piece is some groups against some tiles; where there
    /// are too few groups to go round, the tiles are cut finer.
    fn each_tile(&self, member: &Member<'_>, groups: usize, mut work: impl FnMut(usize, usize)) {
        let tiles = self.input.tiles();
        let wanted = member.count() * PIECES;
        let cuts = (member.count() * CUTS).div_ceil(groups.max(1)).min(tiles);
        let chunk = tiles.div_ceil(cuts).min(TILES_AT_ONCE);
        let units = groups * tiles.div_ceil(chunk);
        member.share(units, units.div_ceil(wanted).max(1), |start, end| {
            for unit in start..end {
                let (first, group) = (unit / groups * chunk, unit % groups);
                for tile in first..(first + chunk).min(tiles) {
                    work(group, tile);
                }
            }
        });
    }

    /// Computes a tile's outputs; rows that it does not have are left as they were.
    fn tile(&self, group: usize, tile: usize, outputs: &mut TileOutputs) -> Finished {
        let rows = self.input.width(tile);
        use ActivationBits::{Eight, Sixteen};
        let kernels = match (&self.matrix.data, self.input.form) {
            (Data::Four { .. }, Form::Quantised(Eight)) => &self.kernels.four,
            (Data::Four { .. }, Form::Quantised(Sixteen)) => &self.kernels.four_wide,
            (Data::Eight { .. }, Form::Quantised(Eight)) => &self.kernels.eight,
            (Data::Eight { .. }, Form::Quantised(Sixteen)) => &self.kernels.eight_wide,
            (Data::Dense { .. }, Form::Dense) => &self.kernels.dense,
            _ => unreachable!("activations were laid out for the matrix"),
        };
        debug_assert_eq!(self.matrix.blocks(), self.input.blocks);
        let weights = GroupWeights::of(self.matrix, group);
        // SAFETY: weights and activations have the same blocks, the kernel is for the tile's
        // width, and `Kernels::of` has checked the instruction set.
        unsafe {
            kernels[rows - 1](&weights, &self.input.tile(tile), self.input.blocks, outputs);
        }
        let finished = Finished { output: group * GROUP, row: tile * TILE, rows };
        if let Some((low_rank, u)) = &self.low_rank {
            let (factor, b) = low_rank.factor(group);
            if factor.rank > 0 {
                // SAFETY: `u` holds `width` values for each row, of which the factor uses
                // `rank` from `from` on.
                unsafe {
                    let u = u.at(finished.row * low_rank.width() + factor.from);
                    let (stride, out) = (low_rank.width(), outputs.as_mut_ptr());
                    let (kernels, rank) = (self.kernels, factor.rank);
                    match b {
                        SecondFactor::Half(b) => {
                            (kernels.add_low_rank_half)(b, u, stride, rank, rows, out);
                        }
                        SecondFactor::Single(b) => {
                            (kernels.add_low_rank_single)(b, u, stride, rank, rows, out);
                        }
                    }
                }
            }
        }
        finished
    }
}
