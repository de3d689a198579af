//! Low-rank adapters ("LoRA", arXiv 2106.09685) beside the packed weights.
//!
//! The first factors of stacked linears are one small matrix, run by the same kernels as
//! the weights; the second factors are added where a group's outputs are still in cache.

use half::f16;

use crate::{
    buffer::Buffer,
    error::KernelError,
    matrix::{GROUP, Matrix, Precision, Source},
};

/// The addition to one linear: `x -> scale * x Aᵀ Bᵀ`.
#[derive(Debug, Clone, Copy)]
pub struct LowRankPair<'a> {
    /// `A`, `[rank, in]`.
    pub a: &'a [f32],
    /// `B`, `[out, rank]`.
    pub b: &'a [f32],
    /// The rank.
    pub rank: usize,
    /// The scale.
    pub scale: f32,
}

/// The additions to stacked linears.
#[derive(Debug)]
pub(crate) struct LowRank {
    /// All `A`, stacked: from inputs to `width` intermediate values.
    pub(crate) a: Matrix,
    /// The linears, in order.
    parts: Vec<PartFactor>,
    /// `B` times the scale: for each group, `rank` times 16 values.
    b: Second,
}

/// The second factors: f16 beside quantised weights, f32 beside f32 weights.
#[derive(Debug)]
enum Second {
    Half(Buffer<f16>),
    Single(Buffer<f32>),
}

/// A linear's second factor.
#[derive(Debug, Clone, Copy)]
struct PartFactor {
    /// The groups before the linear's.
    groups_before: usize,
    /// Its first value in `b`.
    start: usize,
    /// The first intermediate value that it uses.
    from: usize,
    /// How many it uses; 0 when the linear has no addition.
    rank: usize,
}

/// What is added to a group of outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupFactor<'a> {
    /// The first intermediate value that it uses.
    pub(crate) from: usize,
    /// How many it uses, at least one.
    pub(crate) rank: usize,
    /// Its part of `B`, `rank` times 16 values.
    pub(crate) b: SecondFactor<'a>,
}

/// The values of a group's second factor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SecondFactor<'a> {
    Half(&'a [f16]),
    Single(&'a [f32]),
}

impl LowRank {
    /// Packs the additions to stacked linears of `widths` outputs each; `None` when no
    /// linear has one.
    fn pack(
        pairs: &[Option<LowRankPair<'_>>],
        widths: &[usize],
        columns: usize,
        precision: Precision,
    ) -> Result<Option<Self>, KernelError> {
        for (pair, width) in pairs.iter().zip(widths) {
            check(pair.as_ref(), *width, columns)?;
        }
        let mut a = Vec::new();
        let (mut parts, mut values) = (Vec::new(), Vec::new());
        let mut groups_before = 0;
        for (pair, &width) in pairs.iter().zip(widths) {
            let from = a.len() / columns;
            let rank = pair.map_or(0, |pair| pair.rank);
            parts.push(PartFactor { groups_before, start: values.len(), from, rank });
            groups_before += width.div_ceil(GROUP);
            let Some(pair) = pair else { continue };
            a.extend_from_slice(pair.a);
            for first in (0..width).step_by(GROUP) {
                for j in 0..rank {
                    values.extend((first..first + GROUP).map(|row| {
                        let value = pair.b.get(row * rank + j).copied().unwrap_or(0.0);
                        value * pair.scale
                    }));
                }
            }
        }
        if a.is_empty() {
            return Ok(None);
        }
        let source = Source::dense(a.len() / columns, columns, a);
        let a = Matrix::pack(&[source], precision)?;
        Ok(Some(Self { b: Second::new(&values, a.is_quantised())?, a, parts }))
    }

    /// Intermediate values of a row, padding included.
    pub(crate) fn width(&self) -> usize {
        self.a.padded_rows()
    }

    /// What is added to a group of outputs; `None` when nothing is.
    pub(crate) fn factor(&self, group: usize) -> Option<GroupFactor<'_>> {
        let part = self.parts.iter().rfind(|part| part.groups_before <= group)?;
        let PartFactor { groups_before, start, from, rank } = *part;
        if rank == 0 {
            return None;
        }
        let values = rank * GROUP;
        let start = start + (group - groups_before) * values;
        let b = match &self.b {
            Second::Half(b) => SecondFactor::Half(&b[start..start + values]),
            Second::Single(b) => SecondFactor::Single(&b[start..start + values]),
        };
        Some(GroupFactor { from, rank, b })
    }

    fn bytes(&self) -> usize {
        let second = match &self.b {
            Second::Half(b) => 2 * b.len(),
            Second::Single(b) => 4 * b.len(),
        };
        self.a.bytes() + second
    }
}

impl Second {
    fn new(values: &[f32], is_half: bool) -> Result<Self, KernelError> {
        let limit = if is_half { f16::MAX.to_f32() } else { f32::MAX };
        if !values.iter().all(|value| value.abs() <= limit) {
            return Err(KernelError::NotFinite);
        }
        if !is_half {
            let mut b = Buffer::lasting(values.len());
            b.copy_from_slice(values);
            return Ok(Self::Single(b));
        }
        let mut b = Buffer::lasting(values.len());
        for (to, value) in b.iter_mut().zip(values) {
            *to = f16::from_f32(*value);
        }
        Ok(Self::Half(b))
    }
}

fn check(pair: Option<&LowRankPair<'_>>, width: usize, columns: usize) -> Result<(), KernelError> {
    match pair {
        Some(pair)
            if pair.rank == 0
                || Some(pair.a.len()) != pair.rank.checked_mul(columns)
                || Some(pair.b.len()) != pair.rank.checked_mul(width) =>
        {
            let problem = format!(
                "a low-rank pair of rank {} has {} and {} values, for a linear from {columns} \
                 to {width}",
                pair.rank,
                pair.a.len(),
                pair.b.len()
            );
            Err(KernelError::Shape { problem })
        }
        _ => Ok(()),
    }
}

/// The additions to one layer, as they are packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdapterLayer<'a> {
    /// On attention's queries, keys and values.
    pub qkv: [Option<LowRankPair<'a>>; 3],
    /// On attention's output.
    pub output: Option<LowRankPair<'a>>,
    /// On the feed-forward network's gate and on the way into it.
    pub gate_up: [Option<LowRankPair<'a>>; 2],
    /// On the way out of the feed-forward network.
    pub down: Option<LowRankPair<'a>>,
}

/// One adapter, packed for a decoder.
#[derive(Debug)]
pub struct Adapter {
    /// What it was packed for: a pass over other sizes would read beyond its factors.
    pub(crate) fit: Fit,
    pub(crate) layers: Vec<LayerAdapter>,
}

/// The packed additions to one layer.
#[derive(Debug)]
pub(crate) struct LayerAdapter {
    pub(crate) qkv: Option<LowRank>,
    pub(crate) output: Option<LowRank>,
    pub(crate) gate_up: Option<LowRank>,
    pub(crate) down: Option<LowRank>,
}

/// What a decoder asks of an adapter: layers, the linears' widths, and how the first
/// factors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) precision: Precision,
}

impl Adapter {
    /// Packs the layers of an adapter.
    pub(crate) fn pack(layers: &[AdapterLayer<'_>], fit: Fit) -> Result<Self, KernelError> {
        if layers.len() != fit.layers {
            let problem =
                format!("the adapter has {} layers, the decoder {}", layers.len(), fit.layers);
            return Err(KernelError::Shape { problem });
        }
        let Fit { hidden, intermediate, queries, keys, precision, .. } = fit;
        let layer = |layer: &AdapterLayer<'_>| {
            let pack = |pairs: &[_], outputs: &[_], columns| {
                LowRank::pack(pairs, outputs, columns, precision)
            };
            Ok(LayerAdapter {
                qkv: pack(&layer.qkv, &[queries, keys, keys], hidden)?,
                output: pack(&[layer.output], &[hidden], queries)?,
                gate_up: pack(&layer.gate_up, &[intermediate; 2], hidden)?,
                down: pack(&[layer.down], &[hidden], intermediate)?,
            })
        };
        Ok(Self { fit, layers: layers.iter().map(layer).collect::<Result<_, KernelError>>()? })
    }

    /// Bytes the factors take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flat_map(LayerAdapter::parts).map(LowRank::bytes).sum()
    }

    /// The most intermediate values of a row.
    pub(crate) fn width_max(&self) -> usize {
        self.layers.iter().flat_map(LayerAdapter::parts).map(LowRank::width).max().unwrap_or(0)
    }
}

impl LayerAdapter {
    fn parts(&self) -> impl Iterator<Item = &LowRank> {
        [&self.qkv, &self.output, &self.gate_up, &self.down].into_iter().flatten()
    }
}
