//! Weights times activations, shared out over the team.

use std::ops::Range;

use crate::{
    ActivationBits, Isa, Team,
    activations::{Activations, Form, Integers, Layout, TILE},
    adapter::{GroupFactor, LowRank, SecondFactor},
    buffer::Shared,
    kernels::Kernels,
    matrix::{Data, GROUP, Matrix},
    team::Member,
    tile::{GroupWeights, TileKernel, TileOutputs},
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
        let form = kernels.form(bits, self.precision());
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
        let mut outputs = TileOutputs::default();
        self.each_piece(member, self.matrix.groups(), |group, tiles| {
            let group = self.group(group);
            for tile in tiles {
                let finished = group.tile(tile, &mut outputs);
                sink(finished, &outputs);
            }
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
        let [mut first, mut second] = <[TileOutputs; 2]>::default();
        self.each_piece(member, half, |group, tiles| {
            let groups = [group, group + half].map(|group| self.group(group));
            for tile in tiles {
                let finished = groups[0].tile(tile, &mut first);
                groups[1].tile(tile, &mut second);
                sink(finished, &first, &second);
            }
        });
    }

    /// Computes all outputs of one tile on this thread alone, without waiting for the others.
    pub(crate) fn run_tile(&self, tile: usize, mut sink: impl FnMut(Finished, &TileOutputs)) {
        let mut outputs = TileOutputs::default();
        for group in 0..self.matrix.groups() {
            let finished = self.group(group).tile(tile, &mut outputs);
            sink(finished, &outputs);
        }
    }

    /// Shares groups and tiles out. A piece is one group against some tiles; where there
    /// are too few groups to go round, the tiles are cut finer.
    fn each_piece(
        &self,
        member: &Member<'_>,
        groups: usize,
        mut work: impl FnMut(usize, Range<usize>),
    ) {
        let tiles = self.input.tiles();
        let wanted = member.count() * PIECES;
        let cuts = (member.count() * CUTS).div_ceil(groups.max(1)).min(tiles);
        let chunk = tiles.div_ceil(cuts).min(TILES_AT_ONCE);
        let units = groups * tiles.div_ceil(chunk);
        member.share(units, units.div_ceil(wanted).max(1), |start, end| {
            for unit in start..end {
                let first = unit / groups * chunk;
                work(unit % groups, first..(first + chunk).min(tiles));
            }
        });
    }

    /// What is the same for all tiles of a group.
    #[inline]
    fn group(&self, group: usize) -> Group<'_> {
        use Integers::{Eight, EightInSixteen, Sixteen};
        let kernels = match (&self.matrix.data, self.input.form) {
            (Data::Four { .. }, Form::Quantised(Eight)) => &self.kernels.four,
            (Data::Four { .. }, Form::Quantised(EightInSixteen | Sixteen)) => {
                &self.kernels.four_wide
            }
            (Data::Eight { .. }, Form::Quantised(Eight)) => &self.kernels.eight,
            (Data::Eight { .. }, Form::Quantised(EightInSixteen | Sixteen)) => {
                &self.kernels.eight_wide
            }
            (Data::Dense { .. }, Form::Dense) => &self.kernels.dense,
            _ => unreachable!("activations were laid out for the matrix"),
        };
        debug_assert_eq!(self.matrix.blocks(), self.input.blocks);
        let factor = self.low_rank.and_then(|(low_rank, _)| low_rank.factor(group));
        let weights = GroupWeights::of(self.matrix, group);
        Group { product: self, kernels, weights, output: group * GROUP, factor }
    }
}

/// 16 outputs of a product.
struct Group<'a> {
    product: &'a Product<'a>,
    /// By the rows of a tile.
    kernels: &'static [TileKernel; TILE],
    weights: GroupWeights,
    output: usize,
    factor: Option<GroupFactor<'a>>,
}

impl Group<'_> {
    /// Computes a tile's outputs; rows that it does not have are left as they were.
    #[inline]
    fn tile(&self, tile: usize, outputs: &mut TileOutputs) -> Finished {
        let input = &self.product.input;
        let (row, rows) = (tile * TILE, input.width(tile));
        // SAFETY: weights and activations have the same blocks, the kernel is for the tile's
        // width, and `Kernels::of` has checked the instruction set.
        unsafe { self.kernels[rows - 1](&self.weights, &input.tile(tile), input.blocks, outputs) };
        if let Some(factor) = &self.factor {
            self.add(factor, row, rows, outputs);
        }
        Finished { output: self.output, row, rows }
    }

    /// Adds the low-rank product to the outputs of `rows` rows from `row` on.
    #[inline]
    fn add(&self, factor: &GroupFactor<'_>, row: usize, rows: usize, outputs: &mut TileOutputs) {
        let Product { kernels, low_rank, .. } = self.product;
        let Some((low_rank, values)) = low_rank else { return };
        let (stride, rank, out) = (low_rank.width(), factor.rank, outputs.as_mut_ptr());
        // SAFETY: there are `stride` values for each row, of which the factor uses `rank` from
        // `from` on; its second factor has `rank` times 16.
        unsafe {
            let values = values.at(row * stride + factor.from);
            match factor.b {
                SecondFactor::Half(b) => {
                    (kernels.add_low_rank_half)(b.as_ptr(), values, stride, rank, rows, out);
                }
                SecondFactor::Single(b) => {
                    (kernels.add_low_rank_single)(b.as_ptr(), values, stride, rank, rows, out);
                }
            }
        }
    }
}
