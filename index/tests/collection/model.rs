//! Random histories against a map in memory.

use crate::support::{config, document, upsert, vector};
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::collections::BTreeMap;
use twn_index::{
    Collection, CollectionConfig, CompactionConfig, Document, Durability, FieldValue, Filter,
    IndexError, Operation, Outcome, SearchOptions, Snapshot, StoredDocument,
    Strategy as SearchStrategy, UnitVector,
};

const DIMENSION: usize = 6;
const IDS: u64 = 40;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(u64, bool)>, Durability),
    Seal,
    Compact,
    SaveAndRestore,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let operation = (0..IDS, prop::bool::weighted(0.3));
    let durability = prop_oneof![
        4 => Just(Durability::Accepted),
        1 => Just(Durability::Durable),
    ];
    prop_oneof![
        10 => (prop::collection::vec(operation, 1..6), durability)
            .prop_map(|(operations, durability)| Step::Apply(operations, durability)),
        2 => Just(Step::Seal),
        1 => Just(Step::Compact),
        1 => Just(Step::SaveAndRestore),
        1 => Just(Step::Reopen),
    ]
}

fn id(number: u64) -> String {
    format!("id-{number:03}")
}

type Model = BTreeMap<String, (Document, u64)>;

/// Applies a batch to both sides and compares the receipts.
fn apply(
    collection: &Collection,
    model: &mut Model,
    sequence: &mut u64,
    batch: &[(u64, bool)],
    durability: Durability,
) {
    let mut operations = Vec::new();
    let mut expected = Vec::new();
    for &(number, is_delete) in batch {
        *sequence += 1;
        let id = id(number);
        if is_delete {
            let was_there = model.remove(&id).is_some();
            expected.push(if was_there { Outcome::Deleted } else { Outcome::Missing });
            operations.push(Operation::Delete(id));
        } else {
            // Few distinct vectors, so that equal scores are common.
            let values = vector(DIMENSION, *sequence % 25);
            let document = document(&id, values.clone(), *sequence);
            let was_there = model.insert(id.clone(), (document, *sequence)).is_some();
            expected.push(if was_there { Outcome::Updated } else { Outcome::Inserted });
            operations.push(upsert(&id, values, *sequence));
        }
    }
    let applied = collection.apply(operations, durability).unwrap();
    let outcomes: Vec<Outcome> = applied.iter().map(|applied| applied.outcome).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(applied.last().unwrap().sequence, *sequence);
}

fn stored((document, sequence): &(Document, u64)) -> StoredDocument {
    StoredDocument {
        id: document.id.clone(),
        text: document.text.clone(),
        payload: document.payload.clone(),
        provenance: document.provenance.clone(),
        thought: document.thought.clone(),
        content_hash: document.content_hash,
        sequence: *sequence,
        vector: document.vector.as_slice().to_vec(),
    }
}

/// A filter, and what it says of a version.
type Meaning = (Filter, fn(u64) -> bool);

/// The filters asked in every state.
fn filters() -> Vec<Meaning> {
    let text = |field: &str, value: &str| Filter::Match {
        field: field.to_owned(),
        value: FieldValue::Text(value.to_owned()),
    };
    let range = Filter::Range {
        field: "nested.half".to_owned(),
        gt: None,
        gte: Some(10.0),
        lt: Some(30.0),
        lte: None,
    };
    let number = Filter::Match { field: "tags".to_owned(), value: FieldValue::Number(2.0) };
    let not_odd = Filter::Not(Box::new(text("parity", "odd")));
    vec![
        (text("parity", "even"), |version| version.is_multiple_of(2)),
        (range.clone(), |version| (20..60).contains(&version)),
        (Filter::And(vec![not_odd, range]), |version| {
            version.is_multiple_of(2) && (20..60).contains(&version)
        }),
        (Filter::Or(vec![number, text("tags", "t1")]), |version| {
            version % 5 == 2 || version % 3 == 1
        }),
        (Filter::Exists { field: "absent".to_owned() }, |_| false),
    ]
}

fn check_reads(snapshot: &Snapshot, model: &Model) {
    let all: Vec<StoredDocument> = model.values().map(stored).collect();
    assert_eq!(snapshot.len(), model.len() as u64);
    assert_eq!(snapshot.list(None, 1000, None).unwrap(), all);
    let middle = id(IDS / 2);
    let after: Vec<&StoredDocument> = all.iter().filter(|document| document.id > middle).collect();
    let listed = snapshot.list(Some(&middle), 3, None).unwrap();
    assert!(listed.iter().eq(after.into_iter().take(3)));
    for number in 0..IDS {
        let id = id(number);
        let expected = model.get(&id).map(stored);
        let hash = expected.as_ref().map(|document| document.content_hash);
        assert_eq!(snapshot.content_hash(&id).unwrap(), hash);
        assert_eq!(snapshot.get(&id).unwrap(), expected);
    }
    for (filter, is_match) in filters() {
        let matching: Vec<&StoredDocument> =
            all.iter().filter(|document| is_match(document.sequence)).collect();
        assert_eq!(snapshot.count(Some(&filter)).unwrap(), matching.len() as u64, "{filter:?}");
        assert!(snapshot.list(None, 1000, Some(&filter)).unwrap().iter().eq(matching));
    }
}

fn check_search(snapshot: &Snapshot, model: &Model, query_number: u64) {
    let query = UnitVector::new(vector(DIMENSION, query_number)).unwrap();
    let cases = filters().into_iter().map(|(filter, is_match)| (Some(filter), is_match));
    for (filter, is_match) in cases.chain([(None, (|_| true) as fn(u64) -> bool)]) {
        let mut expected: Vec<(f64, &str)> = model
            .values()
            .filter(|(_, sequence)| is_match(*sequence))
            .map(|(document, _)| {
                let pairs = query.as_slice().iter().zip(document.vector.as_slice());
                let score = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                (score, document.id.as_str())
            })
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let matches = expected.len();
        expected.truncate(7);

        let is_filtered = filter.is_some();
        let options = SearchOptions { exact: true, filter, ..SearchOptions::new(7) };
        let outcome = snapshot.search(&query, &options).unwrap();
        assert_eq!(outcome.plan.strategy, SearchStrategy::Scan);
        assert_eq!(outcome.plan.filter_matches, is_filtered.then_some(matches as u64));
        assert_eq!(outcome.plan.distance_computations, matches as u64);
        let hits: Vec<(f32, &str)> =
            outcome.hits.iter().map(|hit| (hit.score, hit.document.id.as_str())).collect();
        assert_eq!(hits.len(), expected.len());
        for (hit, expected) in hits.iter().zip(&expected) {
            assert_eq!(hit.1, expected.1, "{hits:?} instead of {expected:?}");
            assert!((f64::from(hit.0) - expected.0).abs() < 1e-5);
            let document = &outcome.hits.iter().find(|h| h.document.id == hit.1).unwrap().document;
            assert_eq!(*document, stored(&model[hit.1]));
        }
    }
}

/// Takes a step that changes nothing of what is read.
fn maintain(collection: Collection, step: &Step, model: &Model) -> Collection {
    match step {
        Step::Apply(..) => unreachable!("a write changes what is read"),
        Step::Seal => collection.seal().unwrap(),
        Step::Compact => drop(collection.compact().unwrap()),
        Step::SaveAndRestore => {
            let elsewhere = tempfile::tempdir().unwrap();
            let to = elsewhere.path().join("restored");
            collection.save_snapshot("saved").unwrap();
            Collection::restore_snapshot(collection.path(), "saved", &to).unwrap();
            collection.delete_snapshot("saved").unwrap();
            check_reads(&Collection::open(&to).unwrap().snapshot(), model);
        }
        Step::Reopen => {
            let path = collection.path().to_path_buf();
            collection.close().unwrap();
            return Collection::open(&path).unwrap();
        }
    }
    collection
}

/// One long life of one collection, its background threads at work.
#[test]
fn ten_thousand_operations_leave_what_they_leave_in_a_map() {
    let mut random = StdRng::seed_from_u64(11);
    let folder = tempfile::tempdir().unwrap();
    let settings = CollectionConfig {
        seal_rows: 30,
        compaction: CompactionConfig { is_automatic: true, dead_percent: 20, max_segments: 4 },
        ..config(DIMENSION)
    };
    let mut collection = Collection::create(folder.path(), settings).unwrap();
    let (mut model, mut sequence, mut steps) = (Model::new(), 0, 0_u64);
    while sequence < 10_000 {
        let count = random.random_range(1..20);
        let mut operation = || (random.random_range(0..IDS), random.random_bool(0.3));
        let batch: Vec<(u64, bool)> = (0..count).map(|_| operation()).collect();
        apply(&collection, &mut model, &mut sequence, &batch, Durability::Accepted);
        steps += 1;
        if steps.is_multiple_of(10) {
            let step = match random.random_range(0..8) {
                0..3 => Step::Seal,
                3 | 4 => Step::Compact,
                5 => Step::SaveAndRestore,
                _ => Step::Reopen,
            };
            collection = maintain(collection, &step, &model);
            check_reads(&collection.snapshot(), &model);
            check_search(&collection.snapshot(), &model, 5000 + steps);
        }
    }
    collection.verify().unwrap().into_result().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_collection_behaves_as_a_map_does(
        steps in prop::collection::vec(step(), 1..60),
        query_number in 1000_u64..2000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
        let (mut model, mut sequence) = (Model::new(), 0);
        for step in steps {
            let earlier = (collection.snapshot(), model.clone());
            match step {
                Step::Apply(batch, durability) => {
                    apply(&collection, &mut model, &mut sequence, &batch, durability);
                }
                step => collection = maintain(collection, &step, &model),
            }
            check_reads(&collection.snapshot(), &model);
            // What was taken before the step still answers as it did.
            prop_assert_eq!(earlier.0.len(), earlier.1.len() as u64);
        }
        let snapshot = collection.snapshot();
        check_search(&snapshot, &model, query_number);
        let stats = collection.stats();
        prop_assert_eq!(stats.documents, model.len() as u64);
        prop_assert_eq!(stats.last_sequence, sequence);
        collection.verify().unwrap().into_result().unwrap();
        collection.close().unwrap();
        check_reads(&snapshot, &model);
    }
}

#[test]
fn bad_calls_are_the_callers_fault_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
    let good = || upsert("good", vector(DIMENSION, 1), 1);
    let with = |change: fn(&mut Document)| {
        let mut document = document("bad", vector(DIMENSION, 2), 2);
        change(&mut document);
        Operation::Upsert(Box::new(document))
    };
    let bad = [
        upsert("bad", vector(DIMENSION + 1, 1), 1),
        with(|document| document.id = String::new()),
        with(|document| document.id = "x".repeat(513)),
        with(|document| document.text = "x".repeat((16 << 20) + 1)),
        with(|document| document.provenance = "x".repeat((64 << 10) + 1)),
        with(|document| document.thought = Some("x".repeat((1 << 20) + 1))),
        with(|document| {
            document.payload.insert("x".to_owned(), "x".repeat(1 << 20).into());
        }),
        with(|document| {
            let deep = (0..20).fold(serde_json::Value::Null, |inner, _| vec![inner].into());
            document.payload.insert("x".to_owned(), deep);
        }),
        Operation::Delete(String::new()),
    ];
    for operation in bad {
        let error = collection.apply(vec![good(), operation], Durability::Durable).unwrap_err();
        assert!(error.is_callers_fault(), "{error}");
    }
    let too_many = vec![Operation::Delete("x".to_owned()); twn_index::MAX_BATCH_OPERATIONS + 1];
    assert!(collection.apply(too_many, Durability::Accepted).unwrap_err().is_callers_fault());
    assert_eq!(collection.stats().last_sequence, 0);
    assert!(collection.apply(vec![], Durability::Durable).unwrap().is_empty());

    let snapshot = collection.snapshot();
    let query = UnitVector::new(vector(DIMENSION + 1, 1)).unwrap();
    let error = snapshot.search(&query, &SearchOptions::new(1)).unwrap_err();
    assert_eq!(error.to_string(), "query vector has 7 dimensions, collection expects 6");
    let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
    let bad_options = [
        SearchOptions::new(0),
        SearchOptions::new(twn_index::MAX_LIMIT + 1),
        SearchOptions { ef: Some(0), ..SearchOptions::new(1) },
        SearchOptions { filter: Some(Filter::And(vec![])), ..SearchOptions::new(1) },
    ];
    for options in bad_options {
        assert!(snapshot.search(&query, &options).unwrap_err().is_callers_fault());
    }
    assert!(snapshot.count(Some(&Filter::Or(vec![]))).unwrap_err().is_callers_fault());
    assert!(snapshot.list(None, 0, None).unwrap_err().is_callers_fault());
}

#[test]
fn a_closed_collection_refuses_all_but_its_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(DIMENSION)).unwrap();
    collection.apply(vec![upsert("a", vector(DIMENSION, 1), 1)], Durability::Accepted).unwrap();
    let locked = Collection::open(folder.path()).unwrap_err();
    assert!(matches!(locked, IndexError::Locked { .. }), "{locked}");
    let existing = Collection::create(folder.path(), config(DIMENSION)).unwrap_err();
    assert!(matches!(existing, IndexError::AlreadyExists { .. }), "{existing}");

    collection.close().unwrap();
    collection.close().unwrap();
    let again = upsert("b", vector(DIMENSION, 2), 2);
    let refused = collection.apply(vec![again], Durability::Accepted).unwrap_err();
    assert!(matches!(refused, IndexError::Closed), "{refused}");
    assert!(matches!(collection.seal().unwrap_err(), IndexError::Closed));
    assert_eq!(collection.snapshot().len(), 1);

    let other = Collection::open(folder.path()).unwrap();
    assert_eq!(other.config(), &config(DIMENSION));
    let nowhere = Collection::open(&folder.path().join("nowhere")).unwrap_err();
    assert!(matches!(nowhere, IndexError::NotFound { .. }), "{nowhere}");
}
