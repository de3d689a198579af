//! Sealed files that are not what was written.

use crate::{
    history::points,
    support::{clustered, config, copy_folder, files, filled, filled_as},
};
use std::path::Path;
use twn_index::{
    Collection, CollectionConfig, Durability, IndexError, Operation, Quantization, SearchOptions,
    UnitVector,
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
    assert_eq!(sealed_files.len(), 10, "{sealed_files:?}");
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

/// Opens a collection whose manifest says that it has another format.
fn open_with_format(format: u32) -> IndexError {
    let folder = tempfile::tempdir().unwrap();
    sealed(folder.path());
    let manifest = files(folder.path())
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST-"))
        .unwrap();
    let text = fs_err::read_to_string(&manifest).unwrap();
    let other = format!("\"format\":{format}");
    assert!(text.contains("\"format\":3"), "{text:.60}");
    fs_err::write(&manifest, text.replacen("\"format\":3", &other, 1)).unwrap();
    let before = files(folder.path());
    let error = Collection::open(folder.path()).unwrap_err();
    assert_eq!(files(folder.path()), before, "a refused collection was changed");
    error
}

#[test]
fn other_formats_are_refused_by_number_and_left_as_they_are() {
    match open_with_format(4) {
        IndexError::NewerFormat { found: 4, supported: 3, .. } => {}
        other => panic!("{other}"),
    }
    for older in [1, 2] {
        let error = open_with_format(older);
        assert!(
            matches!(error, IndexError::OlderFormat { found, supported: 3, .. } if found == older),
            "{error}"
        );
        assert!(error.to_string().contains("write its documents into a new collection"), "{error}");
    }
    assert!(matches!(open_with_format(0), IndexError::Corrupt { .. }));
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
