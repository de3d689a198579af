//! Codes and recall curves through everything that makes, moves or checks a segment.

use crate::support::{clustered, document, files};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex},
};
use twn_index::{
    Collection, CollectionConfig, CompactionConfig, Document, Durability, FieldKind, FieldValue,
    Filter, Filtering, HnswConfig, Operation, Quantization, SearchOptions, Snapshot, Strategy,
    UnitVector,
    observer::{Observer, Step, observe},
};

const DIMENSION: usize = 24;
/// Enough for walks and probes to be less work than scans, of half of the rows too.
const PER_SEGMENT: usize = 3200;
const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// Quantises, compacts by hand, and knows what two of the fields hold.
fn quantised() -> CollectionConfig {
    let mut config = CollectionConfig {
        quantization: Quantization::Sq8,
        hnsw: HnswConfig { m: 8, ef_construction: 80, ef_search: 28 },
        compaction: CompactionConfig { is_automatic: false, ..CompactionConfig::default() },
        ..CollectionConfig::new(DIMENSION)
    };
    let fields = [("draw", FieldKind::Float), ("at", FieldKind::Timestamp)];
    config.schema.fields =
        fields.map(|(path, kind)| (path.to_owned(), kind)).into_iter().collect::<BTreeMap<_, _>>();
    config
}

/// A document with a share `draw` and a day `at` that follow from its number.
fn drawn(number: usize, vector: Vec<f32>) -> Document {
    let mut document = document(&format!("d{number:05}"), vector, number as u64);
    let draw = (number * 7919 % 10_000) as f64 / 10_000.0;
    document.payload.insert("draw".to_owned(), draw.into());
    let day = 1 + number % 28;
    document.payload.insert("at".to_owned(), format!("2026-02-{day:02}T00:00:00Z").into());
    document
}

/// Three segments, each of which takes the place of some rows of the one before, a
/// few deleted documents, and queries that are like the documents but not among them.
fn three_segments(folder: &Path) -> (Collection, Vec<UnitVector>) {
    let mut vectors = clustered(3 * PER_SEGMENT + 40, DIMENSION, 5);
    let queries = vectors.split_off(3 * PER_SEGMENT);
    let collection = Collection::create(folder, quantised()).unwrap();
    for (segment, vectors) in vectors.chunks(PER_SEGMENT).enumerate() {
        let first = segment * (PER_SEGMENT - 200);
        let upserts = vectors.iter().enumerate().map(|(place, vector)| {
            Operation::Upsert(Box::new(drawn(first + place, vector.clone())))
        });
        collection.apply(upserts.collect(), Durability::Accepted).unwrap();
        collection.seal().unwrap();
    }
    let deletes = (0..50).map(|number| Operation::Delete(format!("d{:05}", number * 60)));
    collection.apply(deletes.collect(), Durability::Accepted).unwrap();
    let queries = queries.into_iter().map(|query| UnitVector::new(query).unwrap());
    (collection, queries.collect())
}

fn named(folder: &Path, name: &str) -> usize {
    files(folder).iter().filter(|path| path.ends_with(name)).count()
}

/// The share of the exact answers that a search gives, and the comparisons it takes.
fn recall(snapshot: &Snapshot, queries: &[UnitVector], options: &SearchOptions) -> (f64, u64) {
    let exact = SearchOptions { exact: true, ..options.clone() };
    let (mut found, mut wanted, mut work) = (0, 0, 0);
    for query in queries {
        let truth = snapshot.rank(query, &exact).unwrap().ids;
        let ranking = snapshot.rank(query, options).unwrap();
        assert_eq!(ranking.ids.len(), truth.len());
        found += truth.iter().filter(|ranked| ranking.ids.contains(ranked)).count();
        wanted += truth.len();
        work += ranking.plan.distance_computations;
    }
    (found as f64 / wanted as f64, work)
}

/// Holds a collection to what all of them promise: walks over codes that find the
/// nearest, targets that choose widths, filters that find just their rows.
fn check(collection: &Collection, queries: &[UnitVector], segments: usize) {
    let snapshot = collection.snapshot();
    let plain = SearchOptions::new(10);
    let plan = snapshot.rank(&queries[0], &plain).unwrap().plan;
    assert_eq!((plan.segments, plan.strategy), (segments, Strategy::Graph));
    let share = recall(&snapshot, queries, &plain).0;
    assert!(share >= 0.95, "recall {share}");

    let target = |target: f32| {
        let options = SearchOptions { recall_target: Some(target), ..SearchOptions::new(10) };
        recall(&snapshot, queries, &options)
    };
    let (low, high) = (target(0.8), target(0.99));
    assert!(low.1 < high.1, "{low:?} {high:?}");
    assert!(low.0 >= 0.75 && high.0 >= 0.97, "{low:?} {high:?}");

    let documents = snapshot.list(None, 10_000, None).unwrap();
    let below = |share: f64| {
        let field = "draw".to_owned();
        Filter::Range { field, gt: None, gte: None, lt: Some(share), lte: None }
    };
    // The first half of February 2026.
    let first_day = twn_index::parse_instant("2026-02-01T00:00:00Z").unwrap();
    let fortnight = Filter::TimeRange {
        field: "at".to_owned(),
        gt: None,
        gte: Some(first_day),
        lt: Some(first_day + 14 * DAY_MICROSECONDS),
        lte: None,
    };
    let ways = [
        (below(0.9), Filtering::Gated),
        (fortnight.clone(), Filtering::Probe),
        (Filter::And(vec![below(0.04), fortnight.clone()]), Filtering::Scan),
    ];
    for (filter, way) in ways {
        let options = SearchOptions { filter: Some(filter.clone()), ..SearchOptions::new(10) };
        let plan = snapshot.rank(&queries[0], &options).unwrap().plan;
        assert_eq!(plan.filtering, Some(way), "{filter:?}");
        let matching = snapshot.list(None, 10_000, Some(&filter)).unwrap().len() as u64;
        assert_eq!(plan.filter_matches, Some(matching), "{filter:?}");
        let share = recall(&snapshot, queries, &options).0;
        assert!(share >= 0.95, "recall {share} of {filter:?}");
    }
    let is_early = |day: &str| day < "2026-02-15";
    let due = documents.iter().filter(|d| is_early(d.payload["at"].as_str().unwrap())).count();
    assert_eq!(snapshot.count(Some(&fortnight)).unwrap(), due as u64);

    // A filter of another kind than is declared is refused by all who take one.
    let value = FieldValue::Text("a".to_owned());
    let wrong = Filter::Match { field: "draw".to_owned(), value };
    let options = SearchOptions { filter: Some(wrong.clone()), ..SearchOptions::new(10) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(snapshot.search(&queries[0], &options).unwrap_err().is_callers_fault());
    assert!(snapshot.search_many(&pool, queries, &options).unwrap_err().is_callers_fault());
    assert!(snapshot.count(Some(&wrong)).unwrap_err().is_callers_fault());
}

#[test]
fn merged_saved_and_reopened_segments_keep_codes_and_curves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let (collection, queries) = three_segments(&path);
    check(&collection, &queries, 3);
    assert_eq!(named(&path, "sq8.arrow"), 3);
    collection.save_snapshot("apart").unwrap();
    assert_eq!(named(&path.join("snapshots"), "sq8.arrow"), 3);
    let before = collection.snapshot().list(None, 10_000, None).unwrap();

    let compacted = collection.compact().unwrap().unwrap();
    assert_eq!((compacted.merged_segments, compacted.rows), (3, before.len() as u64));
    check(&collection, &queries, 1);
    assert_eq!(collection.snapshot().list(None, 10_000, None).unwrap(), before);
    collection.save_snapshot("merged").unwrap();
    collection.verify().unwrap().into_result().unwrap();
    drop(collection);

    let collection = Collection::open(&path).unwrap();
    assert_eq!(named(&path.join("seg"), "sq8.arrow"), 1);
    check(&collection, &queries, 1);
    for (name, segments) in [("apart", 3), ("merged", 1)] {
        let to = folder.path().join(name);
        Collection::restore_snapshot(&path, name, &to).unwrap();
        let restored = Collection::open(&to).unwrap();
        check(&restored, &queries, segments);
        assert_eq!(restored.snapshot().list(None, 10_000, None).unwrap(), before);
    }

    let codes: Vec<_> =
        files(&path).into_iter().filter(|path| path.ends_with("sq8.arrow")).collect();
    assert_eq!(codes.len(), 5, "its own, and those of two snapshots");
    for codes in codes {
        let bytes = fs_err::read(&codes).unwrap();
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 4;
        // In place, so that all names of the file see it.
        fs_err::write(&codes, changed).unwrap();
        let damage = collection.verify().unwrap().damage;
        assert!(damage.iter().any(|damage| damage.path == codes), "{damage:?}");
        fs_err::write(&codes, bytes).unwrap();
    }
    collection.verify().unwrap().into_result().unwrap();
}

#[test]
fn damaged_codes_are_not_merged_away() {
    let folder = tempfile::tempdir().unwrap();
    let (collection, _) = three_segments(folder.path());
    let codes = files(folder.path()).into_iter().find(|path| path.ends_with("sq8.arrow")).unwrap();
    let mut bytes = fs_err::read(&codes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs_err::write(&codes, bytes).unwrap();
    let error = collection.compact().unwrap_err().to_string();
    assert!(error.contains("sq8.arrow"), "{error}");
    assert_eq!(collection.stats().segments, 3);
}

#[test]
fn rows_that_codes_cannot_tell_apart_are_walked_without() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), quantised()).unwrap();
    // On one narrow curve: neighbours differ by less than a step of the codes.
    let on_the_curve = |place: f32| {
        let value = |i: usize| 1.0 + 0.1 * (place * 6.0 + i as f32).sin();
        (0..DIMENSION).map(value).collect::<Vec<f32>>()
    };
    const ROWS: usize = 4000;
    let upserts = (0..ROWS).map(|row| {
        let vector = on_the_curve(row as f32 / ROWS as f32);
        Operation::Upsert(Box::new(drawn(row, vector)))
    });
    collection.apply(upserts.collect(), Durability::Accepted).unwrap();
    collection.seal().unwrap();
    assert_eq!(named(folder.path(), "sq8.arrow"), 0);
    assert_eq!(named(folder.path(), "graph.bin"), 1);
    collection.verify().unwrap().into_result().unwrap();
    drop(collection);
    let collection = Collection::open(folder.path()).unwrap();
    let query = UnitVector::new(on_the_curve(0.3137)).unwrap();
    let plan = collection.snapshot().rank(&query, &SearchOptions::new(10)).unwrap().plan;
    assert_eq!(plan.strategy, Strategy::Graph);
}

/// Fails one step below a folder, and notes whether that concerned codes.
struct FailsOnce {
    at: usize,
    seen: Mutex<(usize, bool)>,
}

impl Observer for FailsOnce {
    fn before(&self, _step: Step<'_>, path: &Path) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.0 += 1;
        if seen.0 != self.at {
            return Ok(());
        }
        seen.1 = path.ends_with("sq8.arrow");
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn an_error_at_any_step_of_sealing_codes_leaves_the_rows_to_the_next_seal() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = clustered(1100, DIMENSION, 6);
    let mut steps_on_codes = 0;
    for at in 1.. {
        let path = folder.path().join(format!("{at}"));
        let collection = Collection::create(&path, quantised()).unwrap();
        let upserts = vectors.iter().enumerate();
        let upserts = upserts.map(|(n, v)| Operation::Upsert(Box::new(drawn(n, v.clone()))));
        collection.apply(upserts.collect(), Durability::Durable).unwrap();
        let disk = Arc::new(FailsOnce { at, seen: Mutex::default() });
        let observation = observe(&path, disk.clone());
        let sealed = collection.seal();
        drop(observation);
        let (steps, is_on_codes) = *disk.seen.lock().unwrap();
        if steps < at {
            sealed.unwrap();
            break;
        }
        steps_on_codes += usize::from(is_on_codes);
        drop(collection);
        let collection = Collection::open(&path).unwrap();
        assert_eq!(collection.snapshot().len(), 1100, "step {at}");
        collection.seal().unwrap();
        assert_eq!(named(&path.join("seg"), "sq8.arrow"), 1, "step {at}");
        collection.verify().unwrap().into_result().unwrap();
        drop(collection);
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(steps_on_codes >= 3, "only {steps_on_codes} steps were on codes");
}
