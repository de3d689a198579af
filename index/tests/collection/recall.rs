//! How much of the exact answer the graph finds.

use crate::support::{clustered, document, filled, upsert, vector};
use std::collections::HashSet;
use twn_index::{
    Collection, Durability, FieldValue, Filter, Filtering, Operation, SearchOptions, Snapshot,
    Strategy as SearchStrategy, UnitVector,
};

const DIMENSION: usize = 48;

/// The mean share of the exact answers' ids that the graph's answers have, and
/// the strategies met.
fn recall(snapshot: &Snapshot, queries: &[Vec<f32>], options: &SearchOptions) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let query = UnitVector::new(query.clone()).unwrap();
        let exact_options = SearchOptions { exact: true, ..options.clone() };
        let exact = snapshot.search(&query, &exact_options).unwrap();
        let outcome = snapshot.search(&query, options).unwrap();
        assert_eq!(outcome.hits.len(), exact.hits.len());
        assert_eq!(outcome.plan.filter_matches, exact.plan.filter_matches);
        assert!(outcome.hits.is_sorted_by(|a, b| a.score >= b.score));
        let ids: HashSet<&str> = outcome.hits.iter().map(|hit| &*hit.document.id).collect();
        assert_eq!(ids.len(), outcome.hits.len(), "a document was found twice");
        found += exact.hits.iter().filter(|hit| ids.contains(&*hit.document.id)).count();
        wanted += exact.hits.len();
    }
    found as f64 / f64::from(wanted.max(1) as u32)
}

fn strategy(snapshot: &Snapshot, query: &[f32], options: &SearchOptions) -> SearchStrategy {
    let query = UnitVector::new(query.to_vec()).unwrap();
    snapshot.search(&query, options).unwrap().plan.strategy
}

fn every(divisor: u64) -> Filter {
    Filter::In {
        field: "group".to_owned(),
        values: vec![FieldValue::Text(format!("one in {divisor}"))],
    }
}

fn labelled(number: usize, vector: Vec<f32>) -> Operation {
    let mut document = document(&format!("d{number:05}"), vector, number as u64);
    let groups: Vec<String> = [2, 10, 100]
        .into_iter()
        .filter(|divisor| number.is_multiple_of(*divisor))
        .map(|divisor| format!("one in {divisor}"))
        .collect();
    document.payload.insert("group".to_owned(), groups.into());
    Operation::Upsert(Box::new(document))
}

#[test]
fn graphs_find_what_a_scan_finds_with_and_without_filters() {
    let mut vectors = clustered(20_100, DIMENSION, 11);
    let queries = vectors.split_off(20_000);
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), crate::support::config(DIMENSION)).unwrap();
    let operations: Vec<Operation> =
        vectors.into_iter().enumerate().map(|(number, vector)| labelled(number, vector)).collect();
    for batch in operations.chunks(1000) {
        collection.apply(batch.to_vec(), Durability::Accepted).unwrap();
    }
    collection.seal().unwrap();

    let check = |snapshot: &Snapshot, filter: Option<Filter>| {
        for ef in [64, 128] {
            let options =
                SearchOptions { ef: Some(ef), filter: filter.clone(), ..SearchOptions::new(10) };
            let recall = recall(snapshot, &queries, &options);
            assert!(recall >= 0.95, "recall {recall} at ef {ef} with {filter:?}");
        }
    };
    let snapshot = collection.snapshot();
    let plain = SearchOptions::new(10);
    assert_eq!(strategy(&snapshot, &queries[0], &plain), SearchStrategy::Graph);
    let half = SearchOptions { filter: Some(every(2)), ..plain.clone() };
    assert_eq!(strategy(&snapshot, &queries[0], &half), SearchStrategy::Probe);
    let rare = SearchOptions { filter: Some(every(100)), ..plain.clone() };
    assert_eq!(strategy(&snapshot, &queries[0], &rare), SearchStrategy::Scan);
    check(&snapshot, None);
    for divisor in [2, 10, 100] {
        check(&snapshot, Some(every(divisor)));
    }

    // With a third of the rows dead, and some written again into the tail.
    let dead = (0..20_000).step_by(3).map(|number| Operation::Delete(format!("d{number:05}")));
    collection.apply(dead.collect(), Durability::Accepted).unwrap();
    let fresh = (0..200).map(|number| upsert(&format!("f{number}"), vector(DIMENSION, number), 1));
    collection.apply(fresh.collect(), Durability::Accepted).unwrap();
    let snapshot = collection.snapshot();
    assert_eq!(strategy(&snapshot, &queries[0], &plain), SearchStrategy::Mixed);
    check(&snapshot, None);
    check(&snapshot, Some(every(2)));
    let query = UnitVector::new(queries[0].clone()).unwrap();
    let plan = snapshot.search(&query, &half).unwrap().plan;
    assert_eq!(plan.filtering, Some(Filtering::Probe), "past what is dead too");

    // Asking for more than there is gives all there is.
    let all = SearchOptions { limit: 10_000, filter: Some(every(10)), ..plain };
    let query = UnitVector::new(queries[0].clone()).unwrap();
    let outcome = snapshot.search(&query, &all).unwrap();
    assert_eq!(outcome.hits.len() as u64, snapshot.count(Some(&every(10))).unwrap());
}

/// Equal vectors crowd each other out of the builder's lists of neighbours.
#[test]
fn duplicates_stay_reachable() {
    let mut vectors = clustered(1500, 16, 3);
    vectors.extend(vec![vector(16, 1); 700]);
    let folder = tempfile::tempdir().unwrap();
    let collection = filled(folder.path(), &vectors);
    collection.seal().unwrap();
    let query = UnitVector::new(vector(16, 1)).unwrap();
    let options = SearchOptions { ef: Some(60), ..SearchOptions::new(60) };
    let outcome = collection.snapshot().search(&query, &options).unwrap();
    assert_eq!(outcome.plan.strategy, SearchStrategy::Graph);
    assert_eq!(outcome.hits.len(), 60);
    assert!(outcome.hits.iter().all(|hit| hit.score > 0.999_99));
}
