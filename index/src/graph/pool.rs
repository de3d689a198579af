//! The nearest rows of a walk, which are also where it goes on from.
//!
//! One short sorted array serves as both heaps of the textbook algorithm: a row
//! that falls off its end is too far to be part of the answer and too far to go
//! on from. An insertion moves a few hundred bytes at most for usual widths,
//! which is less than two heaps do in branches that are hard to foresee.

use super::scratch::{Key, row_of};

/// The bit of a key that tells that the walk has been there.
const EXPANDED: Key = 1;

/// The nearest rows so far, nearest first.
#[derive(Default)]
pub(super) struct Pool {
    keys: Vec<Key>,
    capacity: usize,
    /// Every row before this one has been expanded.
    cursor: usize,
}

impl Pool {
    /// Empties it for a walk that keeps `capacity` rows.
    pub(super) fn begin(&mut self, capacity: usize) {
        self.keys.clear();
        self.keys.reserve(capacity + 1);
        self.capacity = capacity;
        self.cursor = 0;
    }

    /// Takes a row in if it is near enough; no row is offered twice.
    #[inline]
    pub(super) fn offer(&mut self, key: Key) {
        let is_full = self.keys.len() == self.capacity;
        if is_full && self.keys.last().is_none_or(|&farthest| key > farthest) {
            return;
        }
        let place = self.keys.partition_point(|&kept| kept < key);
        if is_full {
            self.keys.copy_within(place..self.capacity - 1, place + 1);
            self.keys[place] = key;
        } else {
            self.keys.insert(place, key);
        }
        self.cursor = self.cursor.min(place);
    }

    /// Returns the nearest row not expanded yet, and counts it as expanded.
    #[inline]
    pub(super) fn next(&mut self) -> Option<u32> {
        let key = self.skip_expanded()?;
        self.keys[self.cursor] = key | EXPANDED;
        self.cursor += 1;
        Some(row_of(key))
    }

    /// Returns the row that [`Self::next`] would, as things stand.
    #[inline]
    pub(super) fn upcoming(&mut self) -> Option<u32> {
        self.skip_expanded().map(row_of)
    }

    fn skip_expanded(&mut self) -> Option<Key> {
        loop {
            let key = *self.keys.get(self.cursor)?;
            if key & EXPANDED == 0 {
                return Some(key);
            }
            self.cursor += 1;
        }
    }

    /// Returns the rows kept, nearest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().map(|&key| key & !EXPANDED)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scratch::key, *};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn it_keeps_the_nearest_and_expands_each_once_nearest_first() {
        let mut random = StdRng::seed_from_u64(6);
        for capacity in [1, 2, 7, 64] {
            let mut pool = Pool::default();
            pool.begin(capacity);
            let mut offered: Vec<Key> =
                (0..500).map(|row| key(random.random_range(-1.0..1.0), row)).collect();
            let mut expanded = Vec::new();
            for (number, &key) in offered.iter().enumerate() {
                pool.offer(key);
                if number % 5 == 0 {
                    let upcoming = pool.upcoming();
                    assert_eq!(pool.next(), upcoming);
                    expanded.extend(upcoming);
                }
            }
            while let Some(row) = pool.next() {
                expanded.push(row);
            }
            offered.sort_unstable();
            offered.truncate(capacity);
            assert_eq!(pool.keys().collect::<Vec<_>>(), offered);
            let count = expanded.len();
            expanded.sort_unstable();
            expanded.dedup();
            assert_eq!(expanded.len(), count);
            assert!(offered.iter().all(|&key| expanded.contains(&row_of(key))));
        }
    }
}
