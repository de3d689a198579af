//! Many threads at once.

use crate::support::{clustered, config, filled, upsert, vector};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use twn_index::{Collection, CollectionConfig, Durability, Operation, SearchOptions, UnitVector};

const DIMENSION: usize = 8;

/// Each writer replaces its pair of documents together; whoever looks has to
/// see both of one version, whatever is being sealed.
#[test]
fn readers_see_whole_batches_while_writers_write_and_seals_run() {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
    let is_done = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    let write = |writer: u64, round: u64| {
        let operation =
            |side: &str| upsert(&format!("{writer}-{side}"), vector(DIMENSION, writer), round);
        let durability =
            if round.is_multiple_of(3) { Durability::Durable } else { Durability::Accepted };
        collection.apply(vec![operation("left"), operation("right")], durability).unwrap();
    };
    (0..WRITERS).for_each(|writer| write(writer, 0));
    thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || (1..=ROUNDS).for_each(|round| write(writer, round))))
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last_seen = [0; WRITERS as usize];
                while !is_done.load(Ordering::Relaxed) {
                    let snapshot = collection.snapshot();
                    assert_eq!(snapshot.len(), 2 * WRITERS);
                    for writer in 0..WRITERS {
                        let version = |side: &str| {
                            let found = snapshot.get(&format!("{writer}-{side}")).unwrap();
                            found.unwrap().payload["version"].as_u64().unwrap()
                        };
                        let version_left = version("left");
                        assert_eq!(version_left, version("right"));
                        let last = &mut last_seen[writer as usize];
                        assert!(version_left >= *last, "went back in time");
                        *last = version_left;
                    }
                    let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
                    let outcome = snapshot.search(&query, &SearchOptions::new(100)).unwrap();
                    assert_eq!(outcome.hits.len() as u64, 2 * WRITERS);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                collection.seal().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(looks.load(Ordering::Relaxed) > 10);
    drop(collection);

    let reopened = Collection::open(folder.path()).unwrap();
    let snapshot = reopened.snapshot();
    assert_eq!(reopened.stats().last_sequence, 2 * WRITERS * (ROUNDS + 1));
    for document in snapshot.list(None, 100, None).unwrap() {
        assert_eq!(document.payload["version"].as_u64(), Some(ROUNDS));
    }
}

/// Deletes and replaces rows while the graph over them is being built.
#[test]
fn changes_made_during_a_seal_are_in_it_and_outlive_it() {
    let folder = tempfile::tempdir().unwrap();
    let collection = filled(folder.path(), &clustered(3000, 32, 6));
    let changes = thread::scope(|scope| {
        let sealing = scope.spawn(|| collection.seal().unwrap());
        while collection.stats().segments == 0
            && fs_err::read_dir(folder.path().join("seg")).unwrap().next().is_none()
        {
            thread::yield_now();
        }
        let mut changes = 0_u64;
        while !sealing.is_finished() && changes < 400 {
            let operations = vec![
                Operation::Delete(format!("d{changes:05}")),
                upsert(&format!("d{:05}", 1000 + changes), vector(32, changes), 90_000 + changes),
                upsert(&format!("n{changes:05}"), vector(32, changes), 80_000),
            ];
            let applied = collection.apply(operations, Durability::Accepted).unwrap();
            let outcomes: Vec<_> = applied.iter().map(|applied| applied.outcome).collect();
            use twn_index::Outcome::{Deleted, Inserted, Updated};
            assert_eq!(outcomes, [Deleted, Updated, Inserted]);
            assert_eq!(collection.snapshot().len(), 3000);
            changes += 1;
        }
        changes
    });
    assert!(changes > 20, "the seal was over after {changes} changes");
    let check = |collection: &Collection| {
        let snapshot = collection.snapshot();
        assert_eq!(snapshot.len(), 3000);
        for number in 0..changes {
            assert_eq!(snapshot.get(&format!("d{number:05}")).unwrap(), None);
            let updated = snapshot.get(&format!("d{:05}", 1000 + number)).unwrap().unwrap();
            assert_eq!(updated.payload["version"].as_u64(), Some(90_000 + number));
            assert!(snapshot.content_hash(&format!("n{number:05}")).unwrap().is_some());
        }
        let listed = snapshot.list(None, 10_000, None).unwrap();
        assert_eq!(listed.len(), 3000);
        assert!(listed.is_sorted_by(|a, b| a.id < b.id));
    };
    assert_eq!(collection.stats().segments, 1);
    assert_eq!(collection.stats().tombstones, 2 * changes);
    check(&collection);
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    check(&collection);
    collection.seal().unwrap();
    drop(collection);
    check(&Collection::open(folder.path()).unwrap());
}

#[test]
fn the_background_thread_seals_and_keeps_the_tail_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let config = CollectionConfig { seal_rows: 100, ..config(DIMENSION) };
    let collection = Collection::create(folder.path(), config).unwrap();
    for number in 0..1000_u64 {
        let operation = upsert(&format!("{number:04}"), vector(DIMENSION, number), number);
        collection.apply(vec![operation], Durability::Accepted).unwrap();
        // Twice the room: once for the rows being sealed, once behind them.
        assert!(collection.stats().tail_documents <= 2 * 200);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while collection.stats().tail_documents >= 100 {
        assert!(Instant::now() < deadline, "{:?}", collection.stats());
        thread::sleep(Duration::from_millis(5));
    }
    let stats = collection.stats();
    assert!(stats.segments >= 3, "{stats:?}");
    assert_eq!(stats.documents, 1000);
    let wal_files = fs_err::read_dir(folder.path().join("wal")).unwrap().count();
    assert!(wal_files <= 2, "{wal_files} log files are left");
}

#[test]
fn closing_does_not_wait_for_a_graph() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = clustered(6000, 64, 9);
    let collection = filled(folder.path(), &vectors);
    thread::scope(|scope| {
        let sealing = scope.spawn(|| collection.seal());
        while fs_err::read_dir(folder.path().join("seg")).unwrap().next().is_none() {
            thread::yield_now();
        }
        collection.close().unwrap();
        // Whether it was over already or was given up, nothing is lost.
        let _ = sealing.join().unwrap();
    });
    drop(collection);
    assert_eq!(Collection::open(folder.path()).unwrap().stats().documents, 6000);
}

#[test]
fn durable_writers_share_their_fsyncs() {
    const THREADS: u64 = 16;
    const WRITES: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
    thread::scope(|scope| {
        for writer in 0..THREADS {
            let collection = &collection;
            scope.spawn(move || {
                for number in 0..WRITES {
                    let operation =
                        upsert(&format!("{writer}-{number}"), vector(DIMENSION, number), number);
                    collection.apply(vec![operation], Durability::Durable).unwrap();
                }
            });
        }
    });
    assert_eq!(collection.stats().last_sequence, THREADS * WRITES);
    drop(collection);
    assert_eq!(Collection::open(folder.path()).unwrap().stats().documents, THREADS * WRITES);
}
