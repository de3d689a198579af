//! A history that follows from sequence numbers alone: whoever reopens a
//! collection knows from its last sequence what it has to hold.

use crate::support::{document, vector};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, path::Path};
use twn_index::{
    Applied, Collection, CollectionConfig, CompactionConfig, Durability, HnswConfig, IndexError,
    Operation, Snapshot, StoredDocument,
};

pub(crate) const DIMENSION: usize = 4;

/// How many ids there are: few, so that most writes replace or delete.
#[derive(Clone, Copy)]
pub(crate) struct History {
    pub(crate) ids: u64,
    pub(crate) most_operations: u64,
}

impl History {
    /// Returns the batch that begins at a sequence number.
    pub(crate) fn batch(&self, first: u64) -> Vec<Operation> {
        let mut random = StdRng::seed_from_u64(first);
        let count = random.random_range(1..=self.most_operations);
        (first..first + count).map(|sequence| self.operation(sequence)).collect()
    }

    fn operation(&self, sequence: u64) -> Operation {
        let mut random = StdRng::seed_from_u64(!sequence);
        let id = format!("id-{:05}", random.random_range(0..self.ids));
        if random.random_bool(0.25) {
            return Operation::Delete(id);
        }
        Operation::Upsert(Box::new(document(&id, vector(DIMENSION, sequence % 25), sequence)))
    }

    /// Applies the next batch and returns the last sequence number.
    pub(crate) fn step(
        &self,
        collection: &Collection,
        durability: Durability,
    ) -> Result<u64, IndexError> {
        let first = collection.snapshot().last_sequence() + 1;
        let applied: Vec<Applied> = collection.apply(self.batch(first), durability)?;
        assert_eq!(applied[0].sequence, first);
        Ok(applied.last().unwrap().sequence)
    }

    /// Returns what there is after `last`; panics if a batch is torn there.
    pub(crate) fn documents_at(&self, last: u64) -> Vec<StoredDocument> {
        let mut documents = BTreeMap::new();
        let mut next = 1;
        while next <= last {
            for operation in self.batch(next) {
                match operation {
                    Operation::Delete(id) => documents.remove(&id),
                    Operation::Upsert(document) => {
                        documents.insert(document.id.clone(), (*document, next))
                    }
                };
                next += 1;
            }
        }
        assert_eq!(next, last + 1, "sequence {last} is in the middle of a batch");
        let stored =
            |(_, (document, sequence)): (String, (twn_index::Document, u64))| StoredDocument {
                vector: document.vector.as_slice().to_vec(),
                id: document.id,
                text: document.text,
                payload: document.payload,
                provenance: document.provenance,
                thought: document.thought,
                content_hash: document.content_hash,
                sequence,
            };
        documents.into_iter().map(stored).collect()
    }

    /// Compares a snapshot with what it has to hold, in full.
    #[track_caller]
    pub(crate) fn check(&self, snapshot: &Snapshot, context: &str) {
        let expected = self.documents_at(snapshot.last_sequence());
        let found = snapshot.list(None, 10_000, None).unwrap();
        let ids = |documents: &[StoredDocument]| -> Vec<(String, u64)> {
            documents.iter().map(|found| (found.id.clone(), found.sequence)).collect()
        };
        assert_eq!(ids(&found), ids(&expected), "{context}");
        assert!(found == expected, "a document is not as it was written: {context}");
        assert_eq!(snapshot.len(), expected.len() as u64, "{context}");
    }

    /// Opens a folder after a crash: it has to be whole and to hold everything
    /// up to `acknowledged`. Returns its last sequence number.
    #[track_caller]
    pub(crate) fn check_folder(&self, folder: &Path, acknowledged: u64, context: &str) -> u64 {
        let collection = match Collection::open(folder) {
            Ok(collection) => collection,
            Err(error) => panic!("{error}: {context}"),
        };
        let last = collection.snapshot().last_sequence();
        assert!(last >= acknowledged, "{last} is less than {acknowledged}: {context}");
        self.check(&collection.snapshot(), context);
        let verified = collection.verify().unwrap();
        assert!(verified.damage.is_empty(), "{:?}: {context}", verified.damage);
        for saved in collection.saved_snapshots().unwrap() {
            self.check_saved(folder, &saved.name, saved.last_sequence, context);
        }
        collection.close().unwrap();
        last
    }

    /// Restores a saved snapshot and compares it with what it has to hold.
    #[track_caller]
    pub(crate) fn check_saved(&self, folder: &Path, name: &str, last: u64, context: &str) {
        let elsewhere = tempfile::tempdir().unwrap();
        let to = elsewhere.path().join("restored");
        Collection::restore_snapshot(folder, name, &to).unwrap();
        let restored = Collection::open(&to).unwrap();
        assert_eq!(restored.snapshot().last_sequence(), last, "{context}");
        self.check(&restored.snapshot(), context);
    }
}

/// A configuration under which a short history has many segments.
pub(crate) fn config(is_automatic: bool) -> CollectionConfig {
    CollectionConfig {
        hnsw: HnswConfig { m: 4, ef_construction: 20, ef_search: 20 },
        seal_rows: 400,
        compaction: CompactionConfig { is_automatic, dead_percent: 20, max_segments: 3 },
        ..CollectionConfig::new(DIMENSION)
    }
}

/// How many points a test goes through: few where many tests run, as many as the
/// environment variable says where it is set.
pub(crate) fn points(in_short: usize) -> usize {
    match std::env::var("TWN_INDEX_POINTS") {
        Ok(points) => points.parse().expect("TWN_INDEX_POINTS is a number"),
        Err(_) => in_short,
    }
}
