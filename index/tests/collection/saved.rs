//! Saved snapshots: taken, listed, restored and removed.

use crate::{
    history::{self, History},
    support::{clustered, files, filled, upsert, vector},
};
use std::{os::unix::fs::MetadataExt as _, path::Path, thread};
use twn_index::{Collection, Durability, IndexError};

const HISTORY: History = History { ids: 40, most_operations: 5 };
const DIMENSION: usize = 8;

#[test]
fn a_snapshot_is_what_was_there_whatever_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = Collection::create(&path, history::config(false)).unwrap();
    assert_eq!(collection.saved_snapshots().unwrap(), []);
    let mut saved = vec![collection.save_snapshot("empty").unwrap()];
    let write = |batches: usize| {
        for _ in 0..batches {
            HISTORY.step(&collection, Durability::Accepted).unwrap();
        }
    };
    write(10);
    saved.push(collection.save_snapshot("log-only").unwrap());
    collection.seal().unwrap();
    saved.push(collection.save_snapshot("sealed").unwrap());
    write(10);
    collection.seal().unwrap();
    write(5);
    saved.push(collection.save_snapshot("both").unwrap());
    collection.compact().unwrap();
    saved.push(collection.save_snapshot("merged").unwrap());
    write(10);
    collection.seal().unwrap();
    collection.compact().unwrap();

    let mut by_name = saved.clone();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(collection.saved_snapshots().unwrap(), by_name);
    assert!(saved.iter().is_sorted_by_key(|saved| saved.last_sequence));
    for (place, saved) in saved.iter().enumerate() {
        let to = folder.path().join(&saved.name);
        Collection::restore_snapshot(&path, &saved.name, &to).unwrap();
        let restored = Collection::open(&to).unwrap();
        assert_eq!(restored.snapshot().last_sequence(), saved.last_sequence);
        assert_eq!(restored.snapshot().len(), saved.documents);
        HISTORY.check(&restored.snapshot(), &saved.name);
        // The two go their own ways, though they share files.
        HISTORY.step(&restored, Durability::Durable).unwrap();
        restored.compact().unwrap();
        if place % 2 == 0 {
            let again = Collection::restore_snapshot(&path, &saved.name, &to).unwrap_err();
            assert!(matches!(again, IndexError::AlreadyExists { .. }), "{again}");
        }
    }
    HISTORY.check(&collection.snapshot(), "the original");
    collection.verify().unwrap().into_result().unwrap();

    collection.delete_snapshot("sealed").unwrap();
    assert_eq!(collection.saved_snapshots().unwrap().len(), 4);
    drop(collection);
    let collection = Collection::open(&path).unwrap();
    assert_eq!(collection.saved_snapshots().unwrap().len(), 4);
    HISTORY.check(&collection.snapshot(), "reopened");
}

#[test]
fn sealed_files_are_shared_and_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = filled(&path, &clustered(200, DIMENSION, 1));
    collection.seal().unwrap();
    collection.save_snapshot("one").unwrap();
    let inode = |file: &Path| fs_err::metadata(file).unwrap().ino();
    let mine = path.join("seg/00000001/vectors.arrow");
    let theirs = path.join("snapshots/one/seg/00000001/vectors.arrow");
    assert_eq!(inode(&mine), inode(&theirs));
}

#[test]
fn bad_names_and_bad_moments_are_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = filled(&path, &clustered(20, DIMENSION, 1));
    for name in ["", "..", "a/b", "A", "-a", "a.tmp", "ä", &"x".repeat(65)] {
        let error = collection.save_snapshot(name).unwrap_err();
        assert!(error.is_callers_fault(), "{name}: {error}");
        assert!(collection.delete_snapshot(name).unwrap_err().is_callers_fault());
        let to = folder.path().join("to");
        assert!(Collection::restore_snapshot(&path, name, &to).unwrap_err().is_callers_fault());
    }
    collection.save_snapshot("a").unwrap();
    let twice = collection.save_snapshot("a").unwrap_err();
    assert!(twice.to_string().contains("exists already"), "{twice}");
    let absent = collection.delete_snapshot("b").unwrap_err();
    assert!(absent.to_string().contains("there is none"), "{absent}");
    collection.close().unwrap();
    assert!(matches!(collection.save_snapshot("c").unwrap_err(), IndexError::Closed));
}

#[test]
fn what_was_not_finished_is_removed_by_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let collection = filled(folder.path(), &clustered(20, DIMENSION, 1));
    collection.save_snapshot("kept").unwrap();
    drop(collection);
    let unfinished = folder.path().join("snapshots/half.tmp/seg");
    fs_err::create_dir_all(&unfinished).unwrap();
    let collection = Collection::open(folder.path()).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(collection.saved_snapshots().unwrap().len(), 1);
}

#[test]
fn a_damaged_snapshot_is_not_restored_and_verify_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = filled(&path, &clustered(60, DIMENSION, 1));
    collection.save_snapshot("a").unwrap();
    collection.seal().unwrap();
    let all = files(&path.join("snapshots/a"));
    assert_eq!(all.len(), 4, "{all:?}");
    for file in all {
        let bytes = fs_err::read(&file).unwrap();
        for position in (0..bytes.len()).step_by((bytes.len() / 40).max(1)) {
            let mut changed = bytes.clone();
            changed[position] ^= 4;
            fs_err::write(&file, &changed).unwrap();
            let to = folder.path().join("to");
            Collection::restore_snapshot(&path, "a", &to).unwrap_err();
            assert!(!to.exists());
            let damage = collection.verify().unwrap().damage;
            assert!(
                damage.iter().any(|damage| damage.path.starts_with(path.join("snapshots/a"))),
                "byte {position} of {}: {damage:?}",
                file.display()
            );
        }
        fs_err::write(&file, &bytes).unwrap();
    }
    collection.verify().unwrap().into_result().unwrap();
}

#[test]
fn snapshots_are_taken_while_writing_and_sealing_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = Collection::create(&path, history::config(true)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200 {
                HISTORY.step(&collection, Durability::Accepted).unwrap();
                if round % 20 == 0 {
                    collection.seal().unwrap();
                }
            }
        });
        let mut count = 0;
        while !writer.is_finished() || count == 0 {
            let before = collection.snapshot().last_sequence();
            let name = format!("s{count}");
            let saved = collection.save_snapshot(&name).unwrap();
            assert!(saved.last_sequence >= before);
            HISTORY.check_saved(&path, &name, saved.last_sequence, &name);
            count += 1;
        }
    });
}

#[test]
fn a_collection_without_its_current_file_is_damaged_and_not_free_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), history::config(false)).unwrap();
    let operation = upsert("a", vector(history::DIMENSION, 1), 1);
    collection.apply(vec![operation], Durability::Durable).unwrap();
    drop(collection);
    fs_err::remove_file(folder.path().join("CURRENT")).unwrap();
    let error = Collection::open(folder.path()).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
    let error = Collection::create(folder.path(), history::config(false)).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
    assert!(folder.path().join("wal/00000001.log").exists());
}
