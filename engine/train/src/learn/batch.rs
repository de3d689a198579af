//! Sequences padded to one length, and what the forward pass needs to know of them.

use burn::tensor::{Device, Tensor, TensorData};

use super::Sequence;

/// Lengths are rounded up to a multiple of this, so that few shapes occur: devices tune
/// and compile their kernels by shape.
const LENGTH_STEP: usize = 16;
/// Added to the score of what a row may not see. Finite, so that a row of padding, which
/// sees itself alone, has a softmax.
const HIDDEN: f32 = -1e30;

/// A batch of sequences on the host.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The sequences.
    pub sequences: Vec<&'a Sequence>,
    /// Positions of each, padding included.
    pub len: usize,
}

impl<'a> Batch<'a> {
    /// Pads `sequences` with room for `extra` rows after each.
    pub fn new(sequences: Vec<&'a Sequence>, extra: usize) -> Self {
        let longest = sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(1);
        Self { len: (longest + extra).next_multiple_of(LENGTH_STEP), sequences }
    }

    /// Sequences there are.
    pub fn count(&self) -> usize {
        self.sequences.len()
    }

    /// Token ids, padding and extra rows as 0.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids = vec![0; self.count() * self.len];
        for (row, sequence) in ids.chunks_exact_mut(self.len).zip(&self.sequences) {
            row[..sequence.tokens.len()].copy_from_slice(&sequence.tokens);
        }
        ids
    }

    /// The position of every row.
    pub fn positions(&self) -> Vec<usize> {
        (0..self.count()).flat_map(|_| 0..self.len).collect()
    }

    /// The causal mask, `[batch, len, len]`.
    pub fn causal_mask(&self, device: &Device) -> Tensor<3> {
        let mut one = vec![0.0_f32; self.len * self.len];
        for (row, scores) in one.chunks_exact_mut(self.len).enumerate() {
            scores[row + 1..].fill(HIDDEN);
        }
        let one = Tensor::<3>::from_data(TensorData::new(one, [1, self.len, self.len]), device);
        one.repeat_dim(0, self.count())
    }

    /// What `extra` rows after each sequence see of its own positions and of each other,
    /// `[batch, extra, len + extra]`.
    pub fn follower_mask(&self, extra: usize, device: &Device) -> Tensor<3> {
        let width = self.len + extra;
        let mut values = vec![HIDDEN; self.count() * extra * width];
        for (block, sequence) in values.chunks_exact_mut(extra * width).zip(&self.sequences) {
            for (row, scores) in block.chunks_exact_mut(width).enumerate() {
                scores[..sequence.tokens.len()].fill(0.0);
                scores[self.len..self.len + row + 1].fill(0.0);
            }
        }
        Tensor::from_data(TensorData::new(values, [self.count(), extra, width]), device)
    }

    /// The positions of `extra` rows after each sequence.
    pub fn follower_positions(&self, extra: usize) -> Vec<usize> {
        let of = |sequence: &&Sequence| sequence.tokens.len()..sequence.tokens.len() + extra;
        self.sequences.iter().flat_map(of).collect()
    }

    /// Weights that average what is pooled, `[batch, 1, len]`.
    pub fn pooling_weights(&self, device: &Device) -> Tensor<3> {
        let mut values = vec![0.0_f32; self.count() * self.len];
        for (row, sequence) in values.chunks_exact_mut(self.len).zip(&self.sequences) {
            let pooled: Vec<usize> =
                (0..sequence.tokens.len()).filter(|&at| sequence.is_pooled(at)).collect();
            for &at in &pooled {
                row[at] = 1.0 / pooled.len() as f32;
            }
        }
        Tensor::from_data(TensorData::new(values, [self.count(), 1, self.len]), device)
    }

    /// Selects the rows of `extra` followers inside the padding, `[batch, extra, len]`:
    /// row `k` of a sequence is 1 at position `tokens + k`.
    pub fn follower_selector(&self, extra: usize, device: &Device) -> Tensor<3> {
        let mut values = vec![0.0_f32; self.count() * extra * self.len];
        for (block, sequence) in values.chunks_exact_mut(extra * self.len).zip(&self.sequences) {
            for (row, selected) in block.chunks_exact_mut(self.len).enumerate() {
                selected[sequence.tokens.len() + row] = 1.0;
            }
        }
        Tensor::from_data(TensorData::new(values, [self.count(), extra, self.len]), device)
    }

    /// The thoughts' tokens with the flat index of the row that predicts each.
    pub fn targets(&self) -> (Vec<i32>, Vec<u32>) {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for (index, sequence) in self.sequences.iter().enumerate() {
            for at in sequence.thought.clone() {
                rows.push((index * self.len + at - 1) as i32);
                targets.push(sequence.tokens[at]);
            }
        }
        (rows, targets)
    }
}

/// Groups sequences into batches of at most `tokens_max` positions, padding included, by
/// length. Gives indices; every sequence is in one group.
pub(super) fn group_by_length(
    sequences: &[Sequence],
    extra: usize,
    tokens_max: usize,
) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(sequences[index].tokens.len()));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut len = 0;
    for index in order {
        let needed = (sequences[index].tokens.len() + extra).next_multiple_of(LENGTH_STEP);
        match groups.last_mut() {
            // A group's first sequence is its longest. One that would be half padding
            // begins a group of its own.
            Some(group) if (group.len() + 1) * len <= tokens_max && 2 * needed > len => {
                group.push(index);
            }
            _ => {
                len = needed;
                groups.push(vec![index]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(len: usize) -> Sequence {
        Sequence { tokens: vec![7; len], content: 1..len, thought: 0..0 }
    }

    #[test]
    fn groups_hold_every_sequence_once_and_keep_the_bound() {
        let sequences: Vec<Sequence> = [3, 90, 17, 33, 64, 5, 12, 100].map(sequence).into();
        let groups = group_by_length(&sequences, 4, 256);
        let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
        for group in groups {
            let batch = Batch::new(group.iter().map(|&index| &sequences[index]).collect(), 4);
            assert!(batch.count() * batch.len <= 256, "{} x {}", batch.count(), batch.len);
        }
    }

    #[test]
    fn targets_are_predicted_by_the_row_before() {
        let one = Sequence { tokens: vec![1, 2, 3, 4, 5], content: 1..2, thought: 3..5 };
        let two = Sequence { tokens: vec![6, 7, 8], content: 1..2, thought: 2..3 };
        let batch = Batch::new(vec![&one, &two], 0);
        assert_eq!(batch.len, 16);
        assert_eq!(batch.targets(), (vec![2, 3, 17], vec![4, 5, 8]));
    }

    #[test]
    fn pooling_averages_content_and_thought() {
        let one = Sequence { tokens: vec![1, 2, 3, 4, 5], content: 0..2, thought: 3..5 };
        let weights = Batch::new(vec![&one], 0).pooling_weights(&Device::flex()).into_data();
        let weights = weights.try_to_vec::<f32>().expect("f32");
        let third = 1.0 / 3.0;
        assert_eq!(weights[..6], [0.0, third, 0.0, third, third, 0.0]);
    }
}
