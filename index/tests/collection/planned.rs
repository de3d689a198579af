//! The ways of a search: codes, targets, filters, many at once.

use crate::support::{clustered, config, document, files, upsert, vector};
use std::{
    collections::HashSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};
use twn_index::{
    Collection, CollectionConfig, Durability, Filter, Filtering, IndexError, Operation, Projection,
    Quantization, Ranking, SearchOptions, Snapshot, UnitVector,
};

const DIMENSION: usize = 24;

/// A sealed collection with a field `draw`, spread evenly from 0 to 1, and
/// queries that are like its rows but not among them.
fn sealed(folder: &Path, config: CollectionConfig, rows: usize) -> (Collection, Vec<UnitVector>) {
    let mut vectors = clustered(rows + 40, DIMENSION, 21);
    let queries = vectors.split_off(rows);
    let collection = Collection::create(folder, config).unwrap();
    let operations = vectors.into_iter().enumerate().map(|(number, vector)| {
        let mut document = document(&format!("d{number:05}"), vector, 1);
        let draw = (number * 7919 % rows) as f64 / rows as f64;
        document.payload.insert("draw".to_owned(), draw.into());
        Operation::Upsert(Box::new(document))
    });
    collection.apply(operations.collect(), Durability::Accepted).unwrap();
    collection.seal().unwrap();
    let queries = queries.into_iter().map(|query| UnitVector::new(query).unwrap());
    (collection, queries.collect())
}

fn below(share: f64) -> Option<Filter> {
    let field = "draw".to_owned();
    Some(Filter::Range { field, gt: None, gte: None, lt: Some(share), lte: None })
}

fn recall(snapshot: &Snapshot, queries: &[UnitVector], options: &SearchOptions) -> f64 {
    let exact = SearchOptions { exact: true, ..options.clone() };
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let truth = snapshot.rank(query, &exact).unwrap().ids;
        let ids = snapshot.rank(query, options).unwrap().ids;
        assert_eq!(ids.len(), truth.len());
        let names: HashSet<&str> = ids.iter().map(|ranked| &*ranked.id).collect();
        found += truth.iter().filter(|ranked| names.contains(&*ranked.id)).count();
        wanted += truth.len();
        for ranked in &ids {
            let same = truth.iter().find(|other| other.id == ranked.id);
            assert!(same.is_none_or(|other| other.score == ranked.score), "a score is an estimate");
        }
    }
    found as f64 / wanted as f64
}

#[test]
fn codes_find_what_vectors_do_with_the_scores_of_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let config = CollectionConfig { quantization: Quantization::Sq8, ..config(DIMENSION) };
    let (collection, queries) = sealed(folder.path(), config.clone(), 4000);
    let options = SearchOptions::new(10);
    let first = recall(&collection.snapshot(), &queries, &options);
    assert!(first >= 0.95, "recall {first}");
    collection.verify().unwrap().into_result().unwrap();
    drop(collection);

    let collection = Collection::open(folder.path()).unwrap();
    assert_eq!(recall(&collection.snapshot(), &queries, &options), first);
    drop(collection);

    let codes = files(folder.path()).into_iter().find(|path| path.ends_with("sq8.arrow")).unwrap();
    let mut bytes = fs_err::read(&codes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&codes, bytes).unwrap();
    let found = Collection::open(folder.path()).unwrap().verify().unwrap();
    assert!(found.damage.iter().any(|damage| damage.path == codes), "{found:?}");
}

#[test]
fn collections_made_before_there_were_codes_have_none() {
    let mut json = serde_json::to_value(config(DIMENSION)).unwrap();
    assert_eq!(json["quantization"], "none");
    json.as_object_mut().unwrap().remove("quantization");
    let config: CollectionConfig = serde_json::from_value(json).unwrap();
    assert_eq!(config.quantization, Quantization::None);
}

#[test]
fn a_recall_target_picks_the_width() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, queries) = sealed(folder.path(), config(DIMENSION), 6000);
    let snapshot = collection.snapshot();
    let work = |target: f32| {
        let options = SearchOptions { recall_target: Some(target), ..SearchOptions::new(10) };
        let outcomes = queries.iter().map(|query| snapshot.rank(query, &options).unwrap());
        let work: u64 = outcomes.map(|ranking| ranking.plan.distance_computations).sum();
        (recall(&snapshot, &queries, &options), work)
    };
    let (low, high) = (work(0.8), work(0.99));
    assert!(low.1 < high.1, "{low:?} {high:?}");
    assert!(low.0 >= 0.75 && high.0 >= 0.97, "{low:?} {high:?}");
    for target in [0.49, 1.01, f32::NAN] {
        let options = SearchOptions { recall_target: Some(target), ..SearchOptions::new(10) };
        let error = snapshot.rank(&queries[0], &options).unwrap_err();
        assert!(matches!(error, IndexError::BadRecallTarget { .. }) && error.is_callers_fault());
    }
}

#[test]
fn each_filter_takes_its_way_and_finds_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, queries) = sealed(folder.path(), config(DIMENSION), 16_000);
    let snapshot = collection.snapshot();
    let ways = [(0.9, Filtering::Gated), (0.3, Filtering::Probe), (0.003, Filtering::Scan)];
    for (share, way) in ways {
        let filter = below(share);
        let options = SearchOptions { ef: Some(32), filter, ..SearchOptions::new(10) };
        let ranking = snapshot.rank(&queries[0], &options).unwrap();
        assert_eq!(ranking.plan.filtering, Some(way), "{share}");
        assert_eq!(ranking.plan.filter_matches, Some((16_000.0 * share) as u64));
        let recall = recall(&snapshot, &queries, &options);
        assert!(recall >= 0.95, "recall {recall} of {share}");
    }
    assert_eq!(snapshot.rank(&queries[0], &SearchOptions::new(10)).unwrap().plan.filtering, None);

    // What is kept of a filter's answer knows nothing of what died since.
    let options = SearchOptions { filter: below(0.003), ..SearchOptions::new(100) };
    let before = snapshot.rank(&queries[0], &options).unwrap().ids;
    let dead = before[0].id.clone();
    collection.apply(vec![Operation::Delete(dead.clone())], Durability::Accepted).unwrap();
    let after = collection.snapshot().rank(&queries[0], &options).unwrap();
    assert_eq!(after.ids[..], before[1..]);
    assert_eq!(after.plan.filter_matches, Some(47));
}

#[test]
fn many_at_once_and_side_by_side_are_as_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, queries) = sealed(folder.path(), config(DIMENSION), 2000);
    for part in 0..3 {
        let rows = (0..1100).map(|row| {
            let number = part * 1100 + row;
            upsert(&format!("e{:04}", number % 2500), vector(DIMENSION, number), number)
        });
        collection.apply(rows.collect(), Durability::Accepted).unwrap();
        if part < 2 {
            collection.seal().unwrap();
        }
    }
    let snapshot = collection.snapshot();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let options = SearchOptions::new(10);
    let alone: Vec<Ranking> =
        queries.iter().map(|query| snapshot.rank(query, &options).unwrap()).collect();
    assert_eq!(alone[0].plan.segments, 3);
    assert_eq!(snapshot.rank_many(&pool, &queries, &options).unwrap(), alone);
    let documents = snapshot.search_many(&pool, &queries, &options).unwrap();
    for ((query, ranking), outcome) in queries.iter().zip(&alone).zip(documents) {
        assert_eq!(snapshot.search_on(&pool, query, &options).unwrap(), outcome);
        let ids = outcome.hits.iter().map(|hit| &hit.document.id);
        assert!(ids.eq(ranking.ids.iter().map(|ranked| &ranked.id)));
        assert_eq!(outcome.plan, ranking.plan);
    }
}

#[test]
fn hits_have_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, queries) = sealed(folder.path(), config(DIMENSION), 300);
    // The nearest of all, but not sealed.
    let fresh = document("fresh", queries[0].as_slice().to_vec(), 1);
    collection.apply(vec![Operation::Upsert(Box::new(fresh))], Durability::Accepted).unwrap();
    let snapshot = collection.snapshot();
    let options = SearchOptions::new(300);
    let whole = snapshot.search(&queries[0], &options).unwrap().hits;
    assert_eq!(whole[0].document.id, "fresh");
    assert!(whole.iter().all(|hit| !hit.document.vector.is_empty()));

    let none = Projection::NONE;
    for projection in [
        none,
        Projection { text: true, ..none },
        Projection { payload: true, ..none },
        Projection { provenance: true, ..none },
        Projection { vector: true, ..none },
    ] {
        let options = SearchOptions { projection, ..options.clone() };
        let hits = snapshot.search(&queries[0], &options).unwrap().hits;
        assert_eq!(hits.len(), whole.len());
        for (hit, whole) in hits.into_iter().zip(&whole) {
            let mut wanted = whole.clone();
            let document = &mut wanted.document;
            if !projection.text {
                document.text.clear();
            }
            if !projection.payload {
                document.payload.clear();
            }
            if !projection.provenance {
                document.provenance.clear();
                document.thought = None;
            }
            if !projection.vector {
                document.vector.clear();
            }
            assert_eq!(hit, wanted);
        }
    }
}

#[test]
fn effort_is_told_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, queries) = sealed(folder.path(), config(DIMENSION), 6000);
    let snapshot = collection.snapshot();
    let walk = SearchOptions { ef: Some(16), ..SearchOptions::new(10) };
    let told = snapshot.effort(&walk);
    let done = snapshot.search(&queries[0], &walk).unwrap().plan.distance_computations;
    assert!((told / 4..=told * 4).contains(&done), "{told} were told, {done} were done");

    let exact = SearchOptions { exact: true, ..walk.clone() };
    assert_eq!(snapshot.effort(&exact), 6000);
    let filtered = SearchOptions { filter: below(0.5), ..walk };
    assert_eq!(snapshot.effort(&filtered), u64::MAX);
}

#[test]
fn collections_settle_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, _) = sealed(folder.path(), config(DIMENSION), 300);
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    let started = Instant::now();
    while !collection.snapshot().is_settled() {
        assert!(started.elapsed() < Duration::from_secs(60), "its vectors are never read");
        thread::sleep(Duration::from_millis(5));
    }
}
