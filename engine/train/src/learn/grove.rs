//! Sequences as a forest: beginnings that several share are rows only once.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use twn_encoder::backbone::{Forest, Segment};

use super::Sequence;

/// Tokens that are worth a segment of their own when two sequences share them; fewer when many do.
const SHARED_MIN: usize = 4;

/// Sequences whose shared beginnings run once, each with rows behind it that are no tokens.
#[derive(Debug)]
pub(super) struct Grove<'a> {
    sequences: &'a [&'a Sequence],
    /// What the rows see.
    pub(super) forest: Arc<Forest>,
    /// Token ids of the rows; 0 for those that are no tokens.
    pub(super) ids: Vec<u32>,
    /// By sequence the row of each of its positions, those behind it included.
    rows: Vec<Vec<u32>>,
}

impl<'a> Grove<'a> {
    /// Lays out `sequences` with `extra` rows behind each.
    pub(super) fn new(sequences: &'a [&'a Sequence], extra: usize) -> Self {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by(|&one, &other| sequences[one].tokens.cmp(&sequences[other].tokens));
        let mut growing = Growing {
            sequences,
            extra,
            segments: Vec::new(),
            ids: Vec::new(),
            rows: vec![Vec::new(); sequences.len()],
        };
        growing.grow(None, 0, &order);
        let Growing { segments, ids, rows, .. } = growing;
        Self { sequences, forest: Arc::new(Forest::new(&segments)), ids, rows }
    }

    /// Weights that average what is pooled of each sequence, `[sequences, T]`.
    pub(super) fn pooling_weights(&self, device: &Device) -> Tensor<2> {
        let width = self.ids.len();
        let mut values = vec![0.0_f32; self.rows.len() * width];
        let parts = values.chunks_exact_mut(width).zip(self.sequences.iter().zip(&self.rows));
        for (weights, (sequence, rows)) in parts {
            let pooled: Vec<usize> =
                (0..sequence.tokens.len()).filter(|&at| sequence.is_pooled(at)).collect();
            for &at in &pooled {
                weights[rows[at] as usize] = 1.0 / pooled.len() as f32;
            }
        }
        Tensor::from_data(TensorData::new(values, [self.rows.len(), width]), device)
    }

    /// Selects the rows behind the sequences, `[sequences * extra, T]`.
    pub(super) fn follower_selector(&self, device: &Device) -> Tensor<2> {
        let width = self.ids.len();
        let followers: Vec<u32> = self
            .rows
            .iter()
            .zip(self.sequences)
            .flat_map(|(rows, sequence)| rows[sequence.tokens.len()..].iter().copied())
            .collect();
        let mut values = vec![0.0_f32; followers.len() * width];
        for (weights, &row) in values.chunks_exact_mut(width).zip(&followers) {
            weights[row as usize] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, [followers.len(), width]), device)
    }

    /// The rows that predict the thoughts' tokens, with these tokens, sequence by sequence.
    pub(super) fn targets(&self) -> (Vec<i32>, Vec<u32>) {
        let mut predicting = Vec::new();
        let mut targets = Vec::new();
        for (sequence, rows) in self.sequences.iter().zip(&self.rows) {
            for at in sequence.thought.clone() {
                predicting.push(rows[at - 1] as i32);
                targets.push(sequence.tokens[at]);
            }
        }
        (predicting, targets)
    }
}

/// Groups sequences into passes of at most `rows_max` rows, those that begin alike together. Gives
/// indices; every sequence is in one group.
pub(super) fn group_by_beginning(
    sequences: &[Sequence],
    extra: usize,
    rows_max: usize,
) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by(|&one, &other| sequences[one].tokens.cmp(&sequences[other].tokens));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut rows = 0;
    for index in order {
        let tokens = &sequences[index].tokens;
        let group = groups.last_mut();
        let before = group.as_ref().and_then(|group| group.last());
        let shared = before.map_or(0, |&before| common(tokens, &sequences[before].tokens));
        // What is shared may be too little for a segment of its own: an estimate.
        let own = tokens.len() - shared + extra;
        match group {
            Some(group) if rows + own <= rows_max => {
                group.push(index);
                rows += own;
            }
            _ => {
                groups.push(vec![index]);
                rows = tokens.len() + extra;
            }
        }
    }
    groups
}

fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// A forest under way.
struct Growing<'a> {
    sequences: &'a [&'a Sequence],
    extra: usize,
    segments: Vec<Segment>,
    ids: Vec<u32>,
    rows: Vec<Vec<u32>>,
}

impl Growing<'_> {
    /// Adds `members`, which are in the order of their tokens and share the first `depth`, all in
    /// `parent` and its ancestors.
    fn grow(&mut self, parent: Option<usize>, depth: usize, members: &[usize]) {
        let (Some(&first), Some(&last)) = (members.first(), members.last()) else { return };
        if members.len() == 1 {
            return self.end(parent, depth, first);
        }
        // In their order, what the first and the last share, all do.
        let tokens = |member: usize| self.sequences[member].tokens.as_slice();
        let shared = common(&tokens(first)[depth..], &tokens(last)[depth..]);
        let split = depth + shared;
        let is_worth_it = shared >= SHARED_MIN || shared * (members.len() - 1) >= 4 * SHARED_MIN;
        let (parent, depth) = match shared > 0 && is_worth_it {
            true => (Some(self.add(parent, depth..split, 0, members)), split),
            false => (parent, depth),
        };
        let mut rest = members;
        while let Some(&member) = rest.first() {
            let next = self.sequences[member].tokens.get(split);
            let count = match next {
                // Nothing comes after what is shared.
                None => 1,
                Some(_) => {
                    let same = |&&other: &&usize| self.sequences[other].tokens.get(split) == next;
                    rest.iter().take_while(same).count()
                }
            };
            let (group, others) = rest.split_at(count);
            match next {
                None => self.end(parent, depth, member),
                Some(_) => self.grow(parent, depth, group),
            }
            rest = others;
        }
    }

    /// Adds what is left of a sequence.
    fn end(&mut self, parent: Option<usize>, depth: usize, member: usize) {
        let len = self.sequences[member].tokens.len();
        if len + self.extra > depth {
            self.add(parent, depth..len, self.extra, &[member]);
        }
    }

    /// Adds a segment of the members' tokens, with `extra` rows behind.
    fn add(
        &mut self,
        parent: Option<usize>,
        tokens: std::ops::Range<usize>,
        extra: usize,
        members: &[usize],
    ) -> usize {
        let begin = self.ids.len();
        self.ids.extend(&self.sequences[members[0]].tokens[tokens]);
        self.ids.resize(self.ids.len() + extra, 0);
        let rows = begin as u32..self.ids.len() as u32;
        for &member in members {
            self.rows[member].extend(rows.clone());
        }
        self.segments.push(Segment { parent, len: rows.len() });
        self.segments.len() - 1
    }
}

/// An index tensor of rows.
pub(super) fn index(rows: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(rows.to_vec(), [rows.len()]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: &[u32]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), content: 1..tokens.len(), thought: 0..0 }
    }

    /// Whatever is shared, every sequence reads its own tokens at its own positions.
    #[test]
    fn every_sequence_reads_its_own_tokens() {
        let frame: Vec<u32> = (100..109).collect();
        let with = |rest: &[u32]| sequence(&[&frame[..], rest].concat());
        let sequences = [
            with(&[1, 2, 3]),
            with(&[1, 2, 4, 5, 6]),
            with(&[1, 2, 3]),
            with(&[]),
            sequence(&[100, 101, 7]),
            sequence(&[9]),
            with(&[1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
            with(&[1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13]),
        ];
        let all: Vec<&Sequence> = sequences.iter().collect();
        for extra in [0, 4] {
            for count in 1..=all.len() {
                let some = &all[..count];
                let grove = Grove::new(some, extra);
                let positions = grove.forest.positions();
                assert_eq!(grove.forest.rows(), grove.ids.len());
                for (sequence, rows) in some.iter().zip(&grove.rows) {
                    assert_eq!(rows.len(), sequence.tokens.len() + extra);
                    for (position, &row) in rows.iter().enumerate() {
                        let token = sequence.tokens.get(position).copied().unwrap_or(0);
                        assert_eq!(grove.ids[row as usize], token);
                        assert_eq!(positions[row as usize], position);
                    }
                }
                // Rows behind a sequence are its own.
                let mut own: Vec<u32> = some
                    .iter()
                    .zip(&grove.rows)
                    .flat_map(|(sequence, rows)| rows[sequence.tokens.len()..].to_vec())
                    .collect();
                own.sort_unstable();
                own.dedup();
                assert_eq!(own.len(), extra * count);
            }
        }
        let rows: usize = all.iter().map(|sequence| sequence.tokens.len()).sum();
        let grove = Grove::new(&all, 0);
        assert!(grove.ids.len() + 5 * frame.len() <= rows, "{} of {rows}", grove.ids.len());
    }
    #[test]
    fn groups_hold_every_sequence_once_and_begin_alike() {
        let frame = |first: u32| (first..first + 9).collect::<Vec<u32>>();
        let sequences: Vec<Sequence> =
            (0..12).map(|at| sequence(&[frame(at % 2 * 50), vec![200 + at; 5]].concat())).collect();
        let groups = group_by_beginning(&sequences, 2, 60);
        let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
        for group in &groups {
            let some: Vec<&Sequence> = group.iter().map(|&index| &sequences[index]).collect();
            assert!(Grove::new(&some, 2).forest.rows() <= 60);
        }
        assert!(groups.len() <= 3, "{groups:?}");
    }
}
