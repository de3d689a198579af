//! Filters that are answered by probing partitions.

use crate::support::{clustered, config, document, files, vector};
use std::{collections::HashSet, path::Path};
use twn_index::{
    Collection, CollectionConfig, Durability, Filter, Filtering, Operation, Quantization,
    SearchOptions, Snapshot, UnitVector,
};

const DIMENSION: usize = 32;
const ROWS: usize = 16_000;

/// A collection with the fields `draw`, which has nothing to do with the vectors, and `axis`,
/// which is the first value of each; both are shares of the rows, from 0 to 1.
fn sealed(folder: &Path, config: CollectionConfig, vectors: Vec<Vec<f32>>) -> Collection {
    let collection = Collection::create(folder, config).unwrap();
    let mut axis: Vec<f32> = vectors.iter().map(|vector| vector[0]).collect();
    axis.sort_by(f32::total_cmp);
    let rows = vectors.len();
    let operations = vectors.into_iter().enumerate().map(|(number, vector)| {
        let place = axis.partition_point(|&value| value < vector[0]);
        let mut document = document(&format!("d{number:05}"), vector, 1);
        let draw = (number * 7919 % rows) as f64 / rows as f64;
        document.payload.insert("draw".to_owned(), draw.into());
        document.payload.insert("axis".to_owned(), (place as f64 / rows as f64).into());
        Operation::Upsert(Box::new(document))
    });
    collection.apply(operations.collect(), Durability::Accepted).unwrap();
    collection.seal().unwrap();
    collection
}

fn below(field: &str, share: f64) -> Filter {
    Filter::Range { field: field.to_owned(), gt: None, gte: None, lt: Some(share), lte: None }
}

/// Holds a search to a recall, to scores of the vectors themselves, and to the filter.
fn check(snapshot: &Snapshot, queries: &[Vec<f32>], filter: Filter, least: f64) {
    let options = SearchOptions { filter: Some(filter.clone()), ..SearchOptions::new(10) };
    let exact = SearchOptions { exact: true, ..options.clone() };
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let query = UnitVector::new(query.clone()).unwrap();
        let truth = snapshot.rank(&query, &exact).unwrap();
        let ranking = snapshot.rank(&query, &options).unwrap();
        assert_eq!(ranking.plan.filtering, Some(Filtering::Probe), "{filter:?}");
        assert_eq!(ranking.plan.filter_matches, truth.plan.filter_matches);
        assert_eq!(ranking.ids.len(), 10);
        let ids: HashSet<&str> = ranking.ids.iter().map(|ranked| &*ranked.id).collect();
        assert_eq!(ids.len(), 10, "a document was found twice");
        assert!(ranking.ids.is_sorted_by(|a, b| a.score >= b.score));
        assert!(ranking.ids[0].score <= truth.ids[0].score, "a score is an estimate");
        found += truth.ids.iter().filter(|ranked| ranking.ids.contains(ranked)).count();
        wanted += truth.ids.len();
    }
    let recall = found as f64 / f64::from(wanted as u32);
    assert!(recall >= least, "recall {recall} of {filter:?}");
}

#[test]
fn probes_find_what_scans_find() {
    for (is_clustered, quantization) in
        [(true, Quantization::None), (true, Quantization::Sq8), (false, Quantization::None)]
    {
        let mut vectors = match is_clustered {
            true => clustered(ROWS + 100, DIMENSION, 8),
            false => (0..ROWS + 100).map(|number| vector(DIMENSION, number as u64)).collect(),
        };
        let queries = vectors.split_off(ROWS);
        let folder = tempfile::tempdir().unwrap();
        let config = CollectionConfig { quantization, ..config(DIMENSION) };
        let collection = sealed(folder.path(), config, vectors);
        let snapshot = collection.snapshot();
        for field in ["draw", "axis"] {
            for share in [0.5, 0.25] {
                check(&snapshot, &queries, below(field, share), 0.95);
            }
        }
        // With a tenth of the rows dead, and the same after an opening.
        let dead = (0..ROWS).step_by(10).map(|number| Operation::Delete(format!("d{number:05}")));
        collection.apply(dead.collect(), Durability::Accepted).unwrap();
        check(&collection.snapshot(), &queries, below("axis", 0.5), 0.95);
        drop(collection);
        let collection = Collection::open(folder.path()).unwrap();
        check(&collection.snapshot(), &queries, below("axis", 0.5), 0.95);
    }
}

/// Where most that match are dead, and all of those near the query, the others are found.
#[test]
fn probes_go_past_what_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = clustered(ROWS, DIMENSION, 9);
    let queries: Vec<Vec<f32>> = vectors.iter().filter(|v| v[0] > 1.2).take(50).cloned().collect();
    assert_eq!(queries.len(), 50);
    let dead: Vec<Operation> = vectors
        .iter()
        .enumerate()
        .filter(|(_, vector)| vector[0] > 0.0)
        .map(|(number, _)| Operation::Delete(format!("d{number:05}")))
        .collect();
    assert!(dead.len() > ROWS / 4);
    let collection = sealed(folder.path(), config(DIMENSION), vectors);
    collection.apply(dead, Durability::Accepted).unwrap();
    check(&collection.snapshot(), &queries, below("draw", 0.6), 0.9);
}

/// A recall that is asked for is found, whatever the width that a graph takes for it.
#[test]
fn recall_targets_hold_for_probes() {
    let mut vectors = clustered(ROWS + 100, DIMENSION, 10);
    let queries = vectors.split_off(ROWS);
    let folder = tempfile::tempdir().unwrap();
    let collection = sealed(folder.path(), config(DIMENSION), vectors);
    let snapshot = collection.snapshot();
    for target in [0.9, 0.95, 0.99] {
        let filter = Some(below("axis", 0.4));
        let options =
            SearchOptions { recall_target: Some(target), filter, ..SearchOptions::new(10) };
        let exact = SearchOptions { exact: true, ..options.clone() };
        let (mut found, mut wanted) = (0, 0);
        for query in &queries {
            let query = UnitVector::new(query.clone()).unwrap();
            let truth = snapshot.rank(&query, &exact).unwrap().ids;
            let ids = snapshot.rank(&query, &options).unwrap().ids;
            found += truth.iter().filter(|ranked| ids.contains(ranked)).count();
            wanted += truth.len();
        }
        let recall = found as f32 / wanted as f32;
        assert!(recall >= target, "recall {recall} at {target}");
    }
}

#[test]
fn the_same_rows_give_the_same_partitions_and_small_segments_none() {
    let partitions = |folder: &Path, rows: usize| -> Vec<Vec<u8>> {
        drop(sealed(folder, config(DIMENSION), clustered(rows, DIMENSION, 4)));
        let files = files(folder).into_iter().filter(|path| path.ends_with("partitions.bin"));
        files.map(|path| fs_err::read(path).unwrap()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let first = partitions(&folder.path().join("a"), 1200);
    assert_eq!(first.len(), 1);
    assert_eq!(first, partitions(&folder.path().join("b"), 1200));
    assert!(partitions(&folder.path().join("c"), 900).is_empty());
}

#[test]
fn damaged_partitions_are_refused_where_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(sealed(folder.path(), config(DIMENSION), clustered(6000, DIMENSION, 2)));
    let path = files(folder.path()).into_iter().find(|path| path.ends_with("partitions.bin"));
    let path = path.unwrap();
    let bytes = fs_err::read(&path).unwrap();
    let query = UnitVector::new(vector(DIMENSION, 5)).unwrap();
    let options =
        SearchOptions { ef: Some(32), filter: Some(below("draw", 0.5)), ..SearchOptions::new(10) };
    let right = Collection::open(folder.path()).unwrap().snapshot().rank(&query, &options).unwrap();
    assert_eq!(right.plan.filtering, Some(Filtering::Probe));
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        fs_err::write(&path, changed).unwrap();
        let Ok(collection) = Collection::open(folder.path()) else { continue };
        match collection.snapshot().rank(&query, &options) {
            Ok(ranking) => assert_eq!(ranking.ids, right.ids, "byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("partitions.bin"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused}");
}
