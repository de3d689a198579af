//! A sorted map whose copies share what they have in common.
//!
//! Rows lie in leaves of at most 128, sorted by id; leaves in one list. A copy
//! is one counter; a write to a shared map copies one leaf and the list of
//! leaves, both of pointers only: about a kilobyte at 20,000 rows.

use super::TailRow;
use std::sync::Arc;

/// Rows in a full leaf.
const LEAF_ROWS: usize = 1 << LEAF_BITS;
const LEAF_BITS: u32 = 7;

type Leaf = Vec<Arc<TailRow>>;

/// The rows of a tail by id; at most one for each.
///
/// Invariant: no leaf is empty, and ids ascend within and across leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    leaves: Arc<Vec<Arc<Leaf>>>,
    rows: usize,
}

/// Where a row lies in one version of the map: leaf and slot in one number,
/// so that places sort as their ids do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<TailRow>> {
        let (leaf, Ok(slot)) = self.find(id) else { return None };
        Some(&self.leaves[leaf][slot])
    }

    /// Returns the row at a place that [`Self::iter`] of this version gave.
    pub(crate) fn at(&self, place: Place) -> &Arc<TailRow> {
        let slot = place.0 as usize & (LEAF_ROWS - 1);
        &self.leaves[place.0 as usize >> LEAF_BITS][slot]
    }

    /// Puts a row in, and says whether it took the place of one with its id.
    pub(crate) fn insert(&mut self, row: Arc<TailRow>) -> bool {
        let (leaf_index, slot) = self.find(row.id());
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves.get_mut(leaf_index).map(Arc::make_mut) else {
            leaves.push(Arc::new(vec![row]));
            self.rows += 1;
            return false;
        };
        match slot {
            Ok(slot) => {
                leaf[slot] = row;
                true
            }
            Err(slot) => {
                leaf.insert(slot, row);
                if leaf.len() == LEAF_ROWS {
                    let upper_half = leaf.split_off(LEAF_ROWS / 2);
                    leaves.insert(leaf_index + 1, Arc::new(upper_half));
                }
                self.rows += 1;
                false
            }
        }
    }

    /// Takes a row out, and says whether it was there.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let (leaf_index, Ok(slot)) = self.find(id) else { return false };
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[leaf_index]);
        leaf.remove(slot);
        if leaf.is_empty() {
            leaves.remove(leaf_index);
        }
        self.rows -= 1;
        true
    }

    /// Goes through all rows by ascending id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, &Arc<TailRow>)> {
        self.rows_from(0, 0)
    }

    /// Goes through the rows whose ids are greater than `after`.
    pub(crate) fn iter_after(&self, after: &str) -> impl Iterator<Item = (Place, &Arc<TailRow>)> {
        let (leaf, slot) = self.find(after);
        let slot = match slot {
            Ok(slot) => slot + 1,
            Err(slot) => slot,
        };
        self.rows_from(leaf, slot)
    }

    fn rows_from(
        &self,
        first_leaf: usize,
        first_slot: usize,
    ) -> impl Iterator<Item = (Place, &Arc<TailRow>)> {
        self.leaves.iter().enumerate().skip(first_leaf).flat_map(move |(leaf_index, leaf)| {
            let skipped = if leaf_index == first_leaf { first_slot } else { 0 };
            leaf.iter()
                .enumerate()
                .skip(skipped)
                .map(move |(slot, row)| (Place(((leaf_index << LEAF_BITS) | slot) as u32), row))
        })
    }

    /// Finds the leaf an id belongs in and its slot there: `Ok` where the id
    /// is, `Err` where it would go. In an empty map the leaf does not exist.
    fn find(&self, id: &str) -> (usize, Result<usize, usize>) {
        let leaf = self.leaves.partition_point(|leaf| leaf[0].id() <= id).saturating_sub(1);
        match self.leaves.get(leaf) {
            None => (0, Err(0)),
            Some(rows) => (leaf, rows.binary_search_by(|row| row.id().cmp(id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Document, vector::UnitVector};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row(id: u16, sequence: u64) -> Arc<TailRow> {
        let document = Document {
            id: format!("{id:05}"),
            vector: UnitVector::from_stored(vec![1.0, 0.0]),
            text: String::new(),
            payload: serde_json::Map::new(),
            provenance: String::new(),
            thought: None,
            content_hash: [0; 32],
        };
        Arc::new(TailRow { document, sequence })
    }

    #[track_caller]
    fn check_same(tail: &Tail, model: &BTreeMap<String, u64>) {
        assert_eq!(tail.len(), model.len());
        let rows: Vec<_> =
            tail.iter().map(|(_, row)| (row.id().to_owned(), row.sequence)).collect();
        assert!(rows.iter().map(|(id, sequence)| (id, sequence)).eq(model.iter()));
        for (place, row) in tail.iter() {
            assert!(Arc::ptr_eq(tail.at(place), row));
            assert!(tail.get(row.id()).is_some_and(|found| Arc::ptr_eq(found, row)));
        }
        assert!(tail.iter().map(|(place, _)| place).is_sorted());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn versions_stay_as_they_were(
            steps in prop::collection::vec((0_u16..600, prop::bool::weighted(0.3)), 1..1200),
            after in 0_u16..600,
        ) {
            let (mut tail, mut model) = (Tail::default(), BTreeMap::new());
            let mut versions = Vec::new();
            for (step, (id, is_removal)) in steps.into_iter().enumerate() {
                let new = row(id, step as u64);
                if is_removal {
                    prop_assert_eq!(tail.remove(new.id()), model.remove(new.id()).is_some());
                } else {
                    let is_update = model.insert(new.id().to_owned(), step as u64).is_some();
                    prop_assert_eq!(tail.insert(new), is_update);
                }
                if step % 100 == 0 {
                    versions.push((tail.clone(), model.clone()));
                }
            }
            versions.push((tail, model));
            for (tail, model) in &versions {
                check_same(tail, model);
                let after = format!("{after:05}");
                let expected = model.keys().filter(|id| **id > after);
                prop_assert!(tail.iter_after(&after).map(|(_, row)| row.id()).eq(expected));
            }
        }
    }
}
