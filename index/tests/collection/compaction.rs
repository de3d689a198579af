//! Segments merged while everything else goes on.

use crate::{
    history::{self, History},
    support::{clustered, config, copy_folder, document, filled, upsert, vector},
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};
use twn_index::{
    Collection, CollectionConfig, CompactionConfig, Durability, Operation, SearchOptions,
    UnitVector,
};

const DIMENSION: usize = 8;

fn by_hand(dimension: usize) -> CollectionConfig {
    CollectionConfig {
        compaction: CompactionConfig { is_automatic: false, ..CompactionConfig::default() },
        ..config(dimension)
    }
}

fn folders(collection: &Path) -> usize {
    fs_err::read_dir(collection.join("seg")).unwrap().count()
}

#[test]
fn compaction_keeps_what_is_alive_and_drops_what_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), by_hand(DIMENSION)).unwrap();
    assert_eq!(collection.compact().unwrap(), None, "there is nothing to merge");
    for segment in 0..4_u64 {
        for number in 0..300_u64 {
            // Every third id is written by each segment, so it is dead in all but one.
            let id = if number % 3 == 0 {
                format!("same{number}")
            } else {
                format!("{segment}-{number}")
            };
            let operation = upsert(&id, vector(DIMENSION, number), segment * 1000 + number);
            collection.apply(vec![operation], Durability::Accepted).unwrap();
        }
        collection.seal().unwrap();
    }
    let delete = |id: &str| {
        collection.apply(vec![Operation::Delete(id.to_owned())], Durability::Accepted).unwrap();
    };
    delete("1-1");
    delete("same0");
    let before = collection.snapshot();
    let all = before.list(None, 10_000, None).unwrap();
    assert_eq!(all.len(), 4 * 200 + 100 - 2);
    assert_eq!(collection.stats().tombstones, 3 * 100 + 2);

    let compacted = collection.compact().unwrap().unwrap();
    assert_eq!(compacted.merged_segments, 4);
    assert_eq!(compacted.rows, 898);
    assert_eq!(compacted.removed_rows, 302);
    let stats = collection.stats();
    assert_eq!((stats.segments, stats.tombstones, stats.documents), (1, 0, 898));
    assert_eq!(collection.snapshot().list(None, 10_000, None).unwrap(), all);
    // The old snapshot reads on from files that stay for it, and go with it.
    assert_eq!(before.list(None, 10_000, None).unwrap(), all);
    assert_eq!(folders(folder.path()), 5);
    drop(before);
    assert_eq!(collection.compact().unwrap(), None, "it is one segment without dead rows");
    collection.verify().unwrap().into_result().unwrap();
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    assert_eq!(folders(folder.path()), 1);
    assert_eq!(collection.snapshot().list(None, 10_000, None).unwrap(), all);
}

#[test]
fn a_collection_of_dead_rows_alone_ends_up_without_segments() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), by_hand(DIMENSION)).unwrap();
    let write = |number: u64| upsert(&format!("{number}"), vector(DIMENSION, number), number);
    collection.apply((0..50).map(write).collect(), Durability::Accepted).unwrap();
    collection.seal().unwrap();
    let delete = |number: u64| Operation::Delete(format!("{number}"));
    collection.apply((0..50).map(delete).collect(), Durability::Accepted).unwrap();
    let compacted = collection.compact().unwrap().unwrap();
    assert_eq!((compacted.rows, compacted.removed_rows), (0, 50));
    assert_eq!(collection.stats().segments, 0);
    // The deletes are still in the log only, over rows that are gone.
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    assert!(collection.snapshot().is_empty());
    assert_eq!(collection.stats().last_sequence, 100);
    assert_eq!(folders(folder.path()), 0);
}

#[test]
fn writes_made_during_a_compaction_are_in_it_and_outlive_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = Collection::create(&path, by_hand(32)).unwrap();
    let vectors = clustered(3000, 32, 6);
    for (part, vectors) in vectors.chunks(1000).enumerate() {
        let write = |(at, vector): (usize, &Vec<f32>)| {
            let number = part * 1000 + at;
            upsert(&format!("d{number:05}"), vector.clone(), number as u64)
        };
        let operations = vectors.iter().enumerate().map(write).collect();
        collection.apply(operations, Durability::Accepted).unwrap();
        collection.seal().unwrap();
    }
    let changes = thread::scope(|scope| {
        let compacting = scope.spawn(|| collection.compact().unwrap().unwrap());
        let mut changes = 0_u64;
        while !compacting.is_finished() && changes < 300 {
            let operations = vec![
                Operation::Delete(format!("d{changes:05}")),
                upsert(&format!("d{:05}", 1000 + changes), vector(32, changes), 90_000 + changes),
                upsert(&format!("n{changes:05}"), vector(32, changes), 80_000),
            ];
            collection.apply(operations, Durability::Accepted).unwrap();
            if changes % 50 == 49 {
                collection.seal().unwrap();
            }
            assert_eq!(collection.snapshot().len(), 3000);
            changes += 1;
        }
        compacting.join().unwrap();
        changes
    });
    assert!(changes > 5, "the compaction was over after {changes} changes");
    let check = |collection: &Collection| {
        let snapshot = collection.snapshot();
        assert_eq!(snapshot.len(), 3000);
        for number in 0..changes {
            assert_eq!(snapshot.get(&format!("d{number:05}")).unwrap(), None);
            let updated = snapshot.get(&format!("d{:05}", 1000 + number)).unwrap().unwrap();
            assert_eq!(updated.payload["version"].as_u64(), Some(90_000 + number));
        }
        assert_eq!(snapshot.list(None, 10_000, None).unwrap().len(), 3000);
    };
    check(&collection);
    // A crash now: the folder as it is.
    let copy = folder.path().join("copy");
    copy_folder(&path, &copy);
    check(&Collection::open(&copy).unwrap());
    drop(collection);
    check(&Collection::open(&path).unwrap());
}

#[test]
fn segments_are_merged_by_themselves_once_they_are_many_or_worn() {
    let folder = tempfile::tempdir().unwrap();
    let history = History { ids: 500, most_operations: 30 };
    let collection = Collection::create(folder.path(), history::config(true)).unwrap();
    for round in 0..120 {
        history.step(&collection, Durability::Accepted).unwrap();
        if round % 4 == 3 {
            collection.seal().unwrap();
        }
    }
    // The background thread may be behind, though not for ever.
    let is_settled = || {
        let stats = collection.stats();
        stats.segments <= 3 && stats.tombstones * 4 <= stats.documents + stats.tombstones
    };
    for _ in 0..3000 {
        if is_settled() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(is_settled(), "{:?}", collection.stats());
    history.check(&collection.snapshot(), "after compaction by itself");
    drop(collection);
    history.check_folder(folder.path(), 1, "reopened");
}

#[test]
fn damage_is_not_copied_under_a_fresh_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let collection = filled(folder.path(), &clustered(900, DIMENSION, 3));
    collection.seal().unwrap();
    collection.apply(vec![Operation::Delete("d00001".to_owned())], Durability::Durable).unwrap();
    drop(collection);
    // Large enough that opening it does not come by the middle.
    let path = folder.path().join("seg/00000001/vectors.arrow");
    let mut bytes = fs_err::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    let collection = Collection::open(folder.path()).unwrap();
    let error = collection.compact().unwrap_err();
    assert!(error.to_string().contains("vectors.arrow"), "{error}");
    assert_eq!(collection.stats().segments, 1);
    assert_eq!(folders(folder.path()), 1, "nothing is left of the attempt");
}

/// Readers look at pairs that are written together, while segments are sealed
/// and merged as fast as they can be.
#[test]
fn readers_see_one_moment_while_segments_are_merged() {
    const PAIRS: u64 = 8;
    const ROUNDS: u64 = 120;
    let folder = tempfile::tempdir().unwrap();
    let settings = CollectionConfig {
        compaction: CompactionConfig { dead_percent: 1, max_segments: 1, is_automatic: true },
        ..config(DIMENSION)
    };
    let collection = Collection::create(folder.path(), settings).unwrap();
    let (is_done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let write = |pair: u64, round: u64| {
        let side = |side: &str| {
            let id = format!("{pair}-{side}");
            Operation::Upsert(Box::new(document(&id, vector(DIMENSION, pair), round)))
        };
        collection.apply(vec![side("left"), side("right")], Durability::Accepted).unwrap();
    };
    (0..PAIRS).for_each(|pair| write(pair, 0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let snapshot = collection.snapshot();
                    let found = snapshot.list(None, 1000, None).unwrap();
                    assert_eq!(found.len() as u64, 2 * PAIRS);
                    for pair in found.chunks(2) {
                        assert_eq!(pair[0].payload["version"], pair[1].payload["version"]);
                    }
                    let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
                    let outcome = snapshot.search(&query, &SearchOptions::new(100)).unwrap();
                    assert_eq!(outcome.hits.len() as u64, 2 * PAIRS);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                collection.seal().unwrap();
                collection.compact().unwrap();
            }
        });
        for round in 1..=ROUNDS {
            (0..PAIRS).for_each(|pair| write(pair, round));
            thread::sleep(Duration::from_millis(1));
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(looks.load(Ordering::Relaxed) > 10);
}
