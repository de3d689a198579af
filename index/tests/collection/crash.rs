//! Folders as a crash leaves them.

use crate::support::{clustered, config, copy_folder, document, filled, upsert, vector};
use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use twn_index::{Collection, Durability, IndexError, Operation};

const DIMENSION: usize = 4;

/// What closing a collection adds to its log: a record without operations.
const END_MARK_BYTES: usize = 32;

fn wal_file(folder: &Path) -> PathBuf {
    let mut logs: Vec<PathBuf> =
        fs_err::read_dir(folder.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.sort();
    logs.pop().unwrap()
}

/// Three batches of two documents each, as a crash leaves them, and the log's
/// length after each.
fn three_batches(folder: &Path, durability: Durability) -> Vec<u64> {
    let live = tempfile::tempdir().unwrap();
    let collection = Collection::create(live.path(), config(DIMENSION)).unwrap();
    let mut lengths = Vec::new();
    for batch in 0..3_u64 {
        let operation =
            |number: u64| upsert(&format!("{batch}-{number}"), vector(DIMENSION, number), batch);
        collection.apply(vec![operation(1), operation(2)], durability).unwrap();
        lengths.push(fs_err::metadata(wal_file(live.path())).unwrap().len());
    }
    copy_folder(live.path(), folder);
    lengths
}

#[test]
fn a_log_cut_anywhere_keeps_whole_batches_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let lengths = three_batches(&original, Durability::Durable);
    let bytes = fs_err::read(wal_file(&original)).unwrap();
    assert_eq!(bytes.len() as u64, lengths[2]);
    for cut in lengths[0]..lengths[2] {
        let copy = folder.path().join(format!("cut-{cut}"));
        copy_folder(&original, &copy);
        fs_err::write(wal_file(&copy), &bytes[..cut as usize]).unwrap();
        let batches = if cut < lengths[1] { 1 } else { 2 };
        let collection = Collection::open(&copy).unwrap();
        assert_eq!(collection.stats().documents, 2 * batches, "cut at {cut}");
        assert_eq!(collection.stats().last_sequence, 2 * batches);

        // What is written next is found by the next opening.
        let next = upsert("next", vector(DIMENSION, 9), 9);
        collection.apply(vec![next], Durability::Durable).unwrap();
        drop(collection);
        let reopened = Collection::open(&copy).unwrap();
        assert_eq!(reopened.stats().documents, 2 * batches + 1, "cut at {cut}");
        fs_err::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn garbage_after_the_last_record_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    three_batches(&original, Durability::Durable);
    let bytes = fs_err::read(wal_file(&original)).unwrap();
    for garbage in [vec![0; 5], vec![0; 500], vec![0xff; 40], bytes[24..60].to_vec()] {
        let copy = folder.path().join("copy");
        copy_folder(&original, &copy);
        fs_err::write(wal_file(&copy), [bytes.clone(), garbage].concat()).unwrap();
        assert_eq!(Collection::open(&copy).unwrap().stats().documents, 6);
        // Closing has put its mark where the garbage was.
        let now = fs_err::read(wal_file(&copy)).unwrap();
        assert_eq!(now[..bytes.len()], bytes);
        assert_eq!(now.len(), bytes.len() + END_MARK_BYTES);
        fs_err::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn rot_before_records_that_were_durable_is_reported_and_nothing_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let lengths = three_batches(&original, Durability::Durable);
    let bytes = fs_err::read(wal_file(&original)).unwrap();
    for position in 0..lengths[1] as usize {
        let copy = folder.path().join("copy");
        copy_folder(&original, &copy);
        let mut changed = bytes.clone();
        changed[position] ^= 0x20;
        fs_err::write(wal_file(&copy), &changed).unwrap();
        let error = Collection::open(&copy).unwrap_err();
        assert!(matches!(error, IndexError::Corrupt { .. }), "byte {position}: {error}");
        assert_eq!(fs_err::read(wal_file(&copy)).unwrap(), changed);
        fs_err::remove_dir_all(&copy).unwrap();
    }
    // The last record has nothing behind it to tell rot from a torn write.
    for position in lengths[1] as usize..bytes.len() {
        let copy = folder.path().join("copy");
        copy_folder(&original, &copy);
        let mut changed = bytes.clone();
        changed[position] ^= 0x20;
        fs_err::write(wal_file(&copy), &changed).unwrap();
        assert_eq!(Collection::open(&copy).unwrap().stats().documents, 4);
        fs_err::remove_dir_all(&copy).unwrap();
    }
}

/// Closing writes behind the last record how far the log is on disk.
#[test]
fn any_flipped_byte_in_the_log_of_a_closed_collection_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    three_batches(&original, Durability::Accepted);
    Collection::open(&original).unwrap().close().unwrap();
    let bytes = fs_err::read(wal_file(&original)).unwrap();
    let mark = bytes.len() - END_MARK_BYTES;
    for position in 0..bytes.len() {
        let copy = folder.path().join("copy");
        copy_folder(&original, &copy);
        let mut changed = bytes.clone();
        changed[position] ^= 1 << (position % 8);
        fs_err::write(wal_file(&copy), &changed).unwrap();
        match Collection::open(&copy) {
            Ok(collection) => {
                assert!(position >= mark, "byte {position} went unnoticed");
                assert_eq!(collection.stats().documents, 6);
            }
            Err(error) => {
                assert!(matches!(error, IndexError::Corrupt { .. }), "byte {position}: {error}");
                let found = Collection::verify_folder(&copy).unwrap();
                assert_eq!(found.damage.len(), 1, "byte {position}: {found:?}");
            }
        }
        fs_err::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn pages_that_reached_the_disk_out_of_order_are_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = three_batches(folder.path(), Durability::Accepted);
    let path = wal_file(folder.path());
    let mut bytes = fs_err::read(&path).unwrap();
    // The second record is a hole, the third is whole; nobody was promised either.
    bytes[lengths[0] as usize..lengths[1] as usize].fill(0);
    fs_err::write(&path, &bytes).unwrap();
    assert_eq!(Collection::open(folder.path()).unwrap().stats().documents, 2);
}

#[test]
fn a_missing_log_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    three_batches(folder.path(), Durability::Durable);
    fs_err::remove_file(wal_file(folder.path())).unwrap();
    let error = Collection::open(folder.path()).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
}

/// Copies the folder again and again while documents are replaced, deleted and
/// sealed; each copy has to open with everything acknowledged before it began.
#[test]
fn copies_taken_at_any_time_have_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let vectors = clustered(1200, 8, 2);
    let collection = filled(&live, &vectors);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..60_u64 {
                let number = round * 17 % 1200;
                let values = vectors[number as usize].clone();
                let operations = vec![
                    upsert(&format!("d{number:05}"), values, 10_000 + round),
                    Operation::Delete(format!("d{:05}", (number + 1) % 1200)),
                ];
                collection.apply(operations, Durability::Durable).unwrap();
                if round % 12 == 5 {
                    collection.seal().unwrap();
                }
                thread::sleep(Duration::from_millis(3));
            }
        });
        let mut copies = 0;
        while !writer.is_finished() {
            let before = collection.snapshot();
            let copy = folder.path().join(format!("copy-{copies}"));
            // A file removed meanwhile means that a seal ended: not the state
            // of one moment, so that copy does not count.
            let is_copied = std::panic::catch_unwind(|| copy_folder(&live, &copy)).is_ok();
            let manifest_moved =
                fs_err::read(live.join("CURRENT")).ok() != fs_err::read(copy.join("CURRENT")).ok();
            if is_copied && !manifest_moved {
                check_copy(&copy, &before);
                copies += 1;
            }
            let _ = fs_err::remove_dir_all(&copy);
        }
        assert!(copies > 5, "only {copies} copies were taken");
    });
}

fn check_copy(copy: &Path, before: &twn_index::Snapshot) {
    let opened = match Collection::open(copy) {
        Ok(opened) => opened,
        // The copy is not atomic: the log was copied after a later manifest
        // had taken its start away, or before it had its end.
        Err(error) => panic!("{}: {error}", copy.display()),
    };
    assert!(opened.stats().last_sequence >= before.last_sequence());
    opened.verify().unwrap().into_result().unwrap();
    let snapshot = opened.snapshot();
    for document in before.list(None, 10_000, None).unwrap() {
        match snapshot.get(&document.id).unwrap() {
            Some(found) => assert!(found.sequence >= document.sequence),
            // Deleted after the snapshot was taken and before it was copied.
            None => assert!(snapshot.last_sequence() > before.last_sequence()),
        }
    }
}

#[test]
fn what_a_dead_seal_left_behind_is_removed_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = clustered(300, DIMENSION, 4);
    let collection = filled(folder.path(), &vectors);
    collection.seal().unwrap();
    collection.apply(vec![Operation::Delete("d00007".to_owned())], Durability::Durable).unwrap();
    drop(collection);

    let orphan = folder.path().join("seg/00000002");
    fs_err::create_dir_all(&orphan).unwrap();
    fs_err::write(orphan.join("vectors.arrow"), b"half").unwrap();
    fs_err::write(folder.path().join("MANIFEST-9.tmp"), b"{").unwrap();
    fs_err::write(folder.path().join("MANIFEST-1"), b"{}").unwrap();
    fs_err::write(folder.path().join("seg/00000001/del-9.bin"), b"?").unwrap();
    fs_err::write(folder.path().join("wal/00000001.log"), b"old").unwrap();
    // The file of a seal that could not begin it.
    fs_err::write(folder.path().join("wal/00000003.log"), b"TWN").unwrap();

    let collection = Collection::open(folder.path()).unwrap();
    assert_eq!(collection.stats().documents, 299);
    assert_eq!(collection.snapshot().get("d00007").unwrap(), None);
    for leftover in ["seg/00000002", "MANIFEST-9.tmp", "MANIFEST-1", "seg/00000001/del-9.bin"]
        .into_iter()
        .chain(["wal/00000001.log", "wal/00000003.log"])
    {
        assert!(!folder.path().join(leftover).exists(), "{leftover} is still there");
    }
    collection.seal().unwrap();
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    assert_eq!(collection.snapshot().get("d00007").unwrap(), None);
    assert_eq!(collection.stats().tombstones, 1);
}

#[test]
fn a_failed_seal_loses_nothing_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
    let write = |id: &str, version: u64| {
        let operation =
            Operation::Upsert(Box::new(document(id, vector(DIMENSION, version), version)));
        collection.apply(vec![operation], Durability::Durable).unwrap();
    };
    write("a", 1);
    write("b", 2);
    // A file where the segment's folder has to go.
    fs_err::write(folder.path().join("seg/00000001"), b"in the way").unwrap();
    collection.seal().unwrap_err();
    write("b", 3);
    assert_eq!(collection.snapshot().get("b").unwrap().unwrap().sequence, 3);
    assert_eq!(collection.stats().documents, 2);
    assert_eq!(collection.stats().segments, 0);

    let copy = folder.path().join("copy");
    let source = folder.path().to_path_buf();
    for part in ["wal", "seg"] {
        copy_folder(&source.join(part), &copy.join(part));
    }
    for name in ["CURRENT", "MANIFEST-1"] {
        fs_err::copy(source.join(name), copy.join(name)).unwrap();
    }
    let crashed = Collection::open(&copy).unwrap();
    assert_eq!(crashed.snapshot().get("b").unwrap().unwrap().sequence, 3);
    assert_eq!(crashed.stats().documents, 2);

    collection.seal().unwrap();
    assert_eq!(collection.stats().segments, 1);
    assert_eq!(collection.stats().documents, 2);
    drop(collection);
    assert_eq!(Collection::open(folder.path()).unwrap().stats().documents, 2);
}
