//! Sealed files that are not what was written.

use crate::{
    history::points,
    support::{clustered, config, copy_folder, files, filled, filled_as},
};
use std::path::Path;
use twn_index::{
    Collection, CollectionConfig, Durability, Filter, IndexError, Operation, Quantization,
    SearchOptions, UnitVector,
};

const DIMENSION: usize = 8;

/// A closed collection with a graph, codes, tombstones, and something in the log.
fn sealed(folder: &Path) {
    let config = CollectionConfig { quantization: Quantization::Sq8, ..config(DIMENSION) };
    let collection = filled_as(folder, config, &clustered(1100, DIMENSION, 8));
    collection.seal().unwrap();
    collection.apply(vec![Operation::Delete("d00003".to_owned())], Durability::Durable).unwrap();
    collection.seal().unwrap();
    collection.apply(vec![Operation::Delete("d00004".to_owned())], Durability::Durable).unwrap();
    collection.close().unwrap();
}

/// Opens, verifies and reads everything; the error if any step has one.
fn use_all(folder: &Path) -> Result<(), IndexError> {
    let collection = Collection::open(folder)?;
    collection.verify()?.into_result()?;
    let snapshot = collection.snapshot();
    assert_eq!(snapshot.list(None, 10_000, None)?.len(), 1098);
    Ok(())
}

#[test]
fn every_changed_byte_is_a_clear_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    sealed(&original);
    use_all(&original).unwrap();
    let copy = folder.path().join("copy");
    copy_folder(&original, &copy);
    let sealed_files: Vec<_> = files(&copy)
        .into_iter()
        .filter(|path| !path.ends_with("LOCK") && path.parent() != Some(&copy.join("wal")))
        .collect();
    assert_eq!(sealed_files.len(), 11, "{sealed_files:?}");
    for path in sealed_files {
        let bytes = fs_err::read(&path).unwrap();
        // Every byte of the small files; of the large ones the ends, where
        // their structure is, and some of the middle.
        let step = (bytes.len() / points(60)).max(1);
        let sampled = (0..bytes.len()).step_by(step);
        let last = bytes.len().saturating_sub(40)..bytes.len();
        for position in sampled.chain(0..40.min(bytes.len())).chain(last) {
            let mut changed = bytes.clone();
            changed[position] ^= 1 << (position % 8);
            fs_err::write(&path, &changed).unwrap();
            let found = Collection::verify_folder(&copy);
            assert!(found.is_ok_and(|found| !found.damage.is_empty()), "byte {position}");
            let error = match use_all(&copy) {
                Err(error) => error,
                Ok(()) => panic!("byte {position} of {} went unnoticed", path.display()),
            };
            assert!(
                matches!(
                    error,
                    IndexError::Corrupt { .. }
                        | IndexError::NewerFormat { .. }
                        | IndexError::Arrow { .. }
                ),
                "byte {position} of {}: {error}",
                path.display()
            );
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs_err::write(&path, &bytes[..length]).unwrap();
            let error = use_all(&copy).unwrap_err();
            assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
        }
        fs_err::remove_file(&path).unwrap();
        let error = use_all(&copy).unwrap_err();
        let is_current = path.ends_with("CURRENT");
        assert!(
            matches!(error, IndexError::Corrupt { .. })
                || is_current && matches!(error, IndexError::NotFound { .. }),
            "{} missing: {error}",
            path.display()
        );
        fs_err::write(&path, &bytes).unwrap();
    }
    use_all(&copy).unwrap();
}

#[test]
fn rotten_text_is_an_error_for_those_who_read_it_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    sealed(folder.path());
    let path = folder.path().join("seg/00000001/payload.arrow");
    let mut bytes = fs_err::read(&path).unwrap();
    let text = b"text of d01090";
    let position = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[position] = b'T';
    fs_err::write(&path, &bytes).unwrap();

    let collection = Collection::open(folder.path()).unwrap();
    let snapshot = collection.snapshot();
    assert!(matches!(snapshot.get("d01090").unwrap_err(), IndexError::Corrupt { .. }));
    assert!(snapshot.get("d00010").unwrap().is_some());
    assert_eq!(snapshot.content_hash("d01090").unwrap(), Some([1090_u64 as u8; 32]));
    assert!(collection.verify().unwrap().damage.iter().any(|damage| damage.path == path));
}

/// What reads of all kinds say, each by itself: the right answer, or damage.
fn read_all(collection: &Collection) -> Vec<Result<String, IndexError>> {
    let snapshot = collection.snapshot();
    let query = UnitVector::new(clustered(1, DIMENSION, 8).remove(0)).unwrap();
    let range = Filter::Range {
        field: "version".to_owned(),
        gt: None,
        gte: Some(200.0),
        lt: Some(900.0),
        lte: None,
    };
    let searched =
        |options: SearchOptions| Ok(format!("{:?}", snapshot.rank(&query, &options)?.ids));
    vec![
        searched(SearchOptions::new(10)),
        searched(SearchOptions { filter: Some(range.clone()), ..SearchOptions::new(10) }),
        searched(SearchOptions { exact: true, ..SearchOptions::new(10) }),
        snapshot.search(&query, &SearchOptions::new(10)).map(|found| format!("{:?}", found.hits)),
        snapshot.count(Some(&range)).map(|count| count.to_string()),
        snapshot.get("d00700").map(|found| format!("{found:?}")),
        snapshot.content_hash("d00800").map(|hash| format!("{hash:?}")),
        snapshot.list(Some("d00500"), 40, None).map(|listed| format!("{listed:?}")),
    ]
}

/// Nothing is verified before it is read, and the background thread may come
/// first or last: whatever is answered has to be right.
#[test]
fn whatever_is_read_of_a_damaged_file_is_right_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    sealed(&original);
    let right: Vec<String> =
        read_all(&Collection::open(&original).unwrap()).into_iter().map(Result::unwrap).collect();
    let copy = folder.path().join("copy");
    copy_folder(&original, &copy);
    let (mut at_opening, mut at_reading, mut elsewhere) = (0, 0, 0);
    for path in files(&copy.join("seg")) {
        let bytes = fs_err::read(&path).unwrap();
        let step = (bytes.len() / points(60)).max(1);
        for position in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[position] ^= 1 << (position % 8);
            fs_err::write(&path, &changed).unwrap();
            let collection = match Collection::open(&copy) {
                Ok(collection) => collection,
                Err(IndexError::Corrupt { .. } | IndexError::NewerFormat { .. }) => {
                    at_opening += 1;
                    continue;
                }
                Err(error) => panic!("byte {position} of {}: {error}", path.display()),
            };
            let mut was_refused = false;
            for (read, right) in read_all(&collection).into_iter().zip(&right) {
                match read {
                    Ok(answer) => assert_eq!(&answer, right, "{position} of {}", path.display()),
                    Err(IndexError::Corrupt { .. } | IndexError::Arrow { .. }) => {
                        was_refused = true;
                    }
                    Err(error) => panic!("byte {position} of {}: {error}", path.display()),
                }
            }
            if was_refused {
                at_reading += 1
            } else {
                elsewhere += 1
            }
            assert!(!collection.verify().unwrap().damage.is_empty(), "byte {position}");
        }
        fs_err::write(&path, &bytes).unwrap();
    }
    let counts = [at_opening, at_reading, elsewhere];
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

/// Opens a collection whose manifest says that it has another format.
fn write_format(folder: &Path, format: u32) {
    let manifest = files(folder)
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST-"))
        .unwrap();
    let text = fs_err::read_to_string(&manifest).unwrap();
    let other = format!("\"format\":{format}");
    assert!(text.contains("\"format\":4"), "{text:.60}");
    fs_err::write(&manifest, text.replacen("\"format\":4", &other, 1)).unwrap();
}

fn open_with_format(format: u32) -> IndexError {
    let folder = tempfile::tempdir().unwrap();
    sealed(folder.path());
    write_format(folder.path(), format);
    let before = files(folder.path());
    let error = Collection::open(folder.path()).unwrap_err();
    assert_eq!(files(folder.path()), before, "a refused collection was changed");
    error
}

#[test]
fn other_formats_are_refused_by_number_and_left_as_they_are() {
    match open_with_format(5) {
        IndexError::NewerFormat { found: 5, supported: 4, .. } => {}
        other => panic!("{other}"),
    }
    for older in [1, 2] {
        let error = open_with_format(older);
        assert!(
            matches!(error, IndexError::OlderFormat { found, oldest: 3, .. } if found == older),
            "{error}"
        );
        assert!(error.to_string().contains("write its documents into a new collection"), "{error}");
    }
    assert!(matches!(open_with_format(0), IndexError::Corrupt { .. }));
}

#[test]
fn the_format_before_is_read_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    sealed(folder.path());
    write_format(folder.path(), 3);
    let collection = Collection::open(folder.path()).unwrap();
    let before = collection.snapshot().len();
    assert!(before > 0);
    collection.apply(vec![Operation::Delete("d00005".to_owned())], Durability::Durable).unwrap();
    collection.close().unwrap();
    assert_eq!(Collection::open(folder.path()).unwrap().snapshot().len(), before - 1);
}

#[test]
fn files_under_a_reader_may_be_unlinked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let collection = filled(&path, &clustered(1100, DIMENSION, 8));
    collection.seal().unwrap();
    let snapshot = collection.snapshot();
    drop(collection);
    fs_err::remove_dir_all(&path).unwrap();
    let query = UnitVector::new(vec![1.0; DIMENSION]).unwrap();
    let outcome = snapshot.search(&query, &SearchOptions::new(1100)).unwrap();
    assert_eq!(outcome.hits.len(), 1100);
}
