//! Searching partitions for rows that a filter admits.

use super::{codes::Scale, file::Partitions};
use crate::{
    graph::{Key, closeness_of, key, row_of},
    simd::{NibbleQuery, dot_blocks, dot_nibbles_each, set_bits},
};
use std::{cell::RefCell, collections::BinaryHeap};

/// Rows compared at a time: enough of them to have all on their way from memory, whatever the
/// partitions hold.
const BATCH_ROWS: usize = 256;

/// Partitions put in order at first; each time it takes more, it is [`MORE`] times as many.
const FIRST_PARTITIONS: usize = 64;
const MORE: usize = 4;

/// How far a probe goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effort {
    /// Rows to compare, where there are as many.
    pub(crate) breadth: u64,
    /// It ends before that when it has compared this many times the rows that it had when one
    /// last came among the nearest.
    pub(crate) patience: f64,
}

impl Effort {
    /// The share of its breadth that a probe goes through without a look at its patience: to
    /// begin with there is nothing to tell from.
    const LEAST_SHARE: u64 = 12;

    fn is_enough(&self, compared: u64, compared_at_last: u64) -> bool {
        let patience = self.patience * compared_at_last as f64;
        compared >= self.breadth
            || compared >= self.breadth / Self::LEAST_SHARE && compared as f64 >= patience
    }
}

/// One search of the partitions of a segment.
pub(crate) struct Probe<'a> {
    pub(crate) partitions: &'a Partitions,
    pub(crate) query: &'a [f32],
    /// A bit for each place in the order of partitions: the rows to compare.
    pub(crate) admitted: &'a [u64],
    pub(crate) effort: Effort,
    /// How many rows are wanted in the end: as many, if there are, are found.
    pub(crate) wanted: usize,
    /// How many of the nearest by their codes are kept, for a choice by their vectors.
    pub(crate) kept: usize,
}

/// The working memory of one probe, kept by its thread for the next.
#[derive(Default)]
struct Scratch {
    query: NibbleQuery,
    closeness: Vec<f32>,
    order: Order,
    /// Places of admitted rows to be compared.
    pending: Vec<u32>,
    /// How close the mean of a partition is, and where its rows in `pending` end.
    groups: Vec<(f32, usize)>,
    dots: Vec<i32>,
    nearest: Nearest,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Probe<'_> {
    /// Leaves the rows nearest by their codes in `found`, nearest first; of the admitted, only
    /// those that are alive. Returns how many means and codes were compared with the query.
    pub(crate) fn run(&self, is_alive: impl Fn(u32) -> bool, found: &mut Vec<Key>) -> u64 {
        found.clear();
        SCRATCH.with_borrow_mut(|scratch| {
            let compared = self.spread(is_alive, scratch);
            found.extend(scratch.nearest.kept.drain());
            found.sort_unstable();
            compared
        })
    }

    fn spread(&self, is_alive: impl Fn(u32) -> bool, scratch: &mut Scratch) -> u64 {
        let Scratch { query, closeness, order, pending, groups, dots, nearest } = scratch;
        let partitions = self.partitions;
        dot_blocks(self.query, partitions.centroids(), closeness);
        order.begin(closeness);
        nearest.begin(self.wanted, self.kept);
        let scale = Scale::of(self.query, partitions.steps(), query);
        let (mut compared, mut compared_at_last) = (0, 0);
        while nearest.best.len() < self.wanted || !self.effort.is_enough(compared, compared_at_last)
        {
            pending.clear();
            groups.clear();
            while pending.len() < BATCH_ROWS
                && let Some(partition) = order.next()
            {
                set_bits(self.admitted, partitions.places(partition), pending);
                groups.push((closeness[partition as usize], pending.len()));
            }
            if pending.is_empty() {
                break;
            }
            dot_nibbles_each(query, partitions.codes(), pending, dots);
            let mut start = 0;
            for &(mean, end) in groups.iter() {
                let mut bar = scale.least_dot(nearest.bar - mean);
                let codes = (start..end).zip(&pending[start..end]).zip(&dots[start..end]);
                for ((at, &place), &dot) in codes {
                    if dot < bar {
                        continue;
                    }
                    let row = partitions.row_at(place);
                    if is_alive(row) {
                        if nearest.offer(mean + scale.product(dot), row) {
                            compared_at_last = compared + at as u64 + 1;
                        }
                        bar = scale.least_dot(nearest.bar - mean);
                    }
                }
                start = end;
            }
            compared += pending.len() as u64;
        }
        compared + closeness.len() as u64
    }
}

/// Partitions, nearest first, put in order as far as it takes.
#[derive(Default)]
struct Order {
    keys: Vec<Key>,
    /// The next to hand out.
    next: usize,
    /// Keys before this place are in order, those from there on greater.
    sorted: usize,
}

impl Order {
    fn begin(&mut self, closeness: &[f32]) {
        self.keys.clear();
        self.keys.extend(closeness.iter().zip(0..).map(|(dot, number)| key(-dot, number)));
        (self.next, self.sorted) = (0, 0);
    }

    fn next(&mut self) -> Option<u32> {
        if self.next == self.sorted {
            let rest = &mut self.keys[self.sorted..];
            let more = rest.len().min((self.sorted * (MORE - 1)).max(FIRST_PARTITIONS));
            if more < rest.len() {
                rest.select_nth_unstable(more);
            }
            rest[..more].sort_unstable();
            self.sorted += more;
        }
        let key = self.keys.get(self.next)?;
        self.next += 1;
        Some(row_of(*key))
    }
}

/// The nearest rows so far.
#[derive(Default)]
struct Nearest {
    /// Farthest first.
    kept: BinaryHeap<Key>,
    /// Those of them that would be the answer, if codes were exact.
    best: BinaryHeap<Key>,
    most_kept: usize,
    most_best: usize,
    /// How close a row has to be to be kept.
    bar: f32,
}

impl Nearest {
    fn begin(&mut self, best: usize, kept: usize) {
        self.kept.clear();
        self.best.clear();
        (self.most_best, self.most_kept) = (best, kept);
        self.bar = f32::NEG_INFINITY;
    }

    /// Takes a row in if it is among the nearest; tells whether it is among the best.
    fn offer(&mut self, closeness: f32, row: u32) -> bool {
        let key = key(-closeness, row);
        if push_bounded(&mut self.kept, key, self.most_kept)
            && self.kept.len() == self.most_kept
            && let Some(&farthest) = self.kept.peek()
        {
            self.bar = closeness_of(farthest);
        }
        push_bounded(&mut self.best, key, self.most_best)
    }
}

/// Adds a key to a heap of the least keys, `most` of them; false if it is none of those.
fn push_bounded(heap: &mut BinaryHeap<Key>, key: Key, most: usize) -> bool {
    if heap.len() < most {
        heap.push(key);
        return true;
    }
    match heap.peek_mut() {
        Some(mut farthest) if key < *farthest => {
            *farthest = key;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_come_nearest_first_and_each_once() {
        let mut order = Order::default();
        for count in [0, 1, 63, 64, 65, 700] {
            let closeness: Vec<f32> = (0..count).map(|at| ((at * 37) % 101) as f32).collect();
            order.begin(&closeness);
            let all: Vec<u32> = std::iter::from_fn(|| order.next()).collect();
            assert_eq!(all.len(), count);
            assert!(all.is_sorted_by_key(|&at| (-closeness[at as usize] as i32, at)));
        }
    }

    #[test]
    fn the_nearest_are_kept_and_the_best_of_them_told() {
        let mut nearest = Nearest::default();
        nearest.begin(2, 3);
        let offered = [0.1, 0.5, 0.3, 0.2, 0.6, 0.4].into_iter().zip(0..);
        let told: Vec<bool> = offered.map(|(dot, row)| nearest.offer(dot, row)).collect();
        assert_eq!(told, [true, true, true, false, true, false]);
        assert_eq!(nearest.bar, 0.4);
        let mut rows: Vec<u32> = nearest.kept.drain().map(row_of).collect();
        rows.sort_unstable();
        assert_eq!(rows, [1, 4, 5]);
    }
}
