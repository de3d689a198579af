//! Typed fields: declared, inferred, filtered by, and read by others.

use crate::support::{config, vector};
use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType},
    ipc::reader::FileReader,
};
use serde_json::{Value, json};
use std::path::Path;
use twn_index::{
    Collection, CollectionConfig, CompactionConfig, Document, Durability, FieldInfo, FieldKind,
    FieldValue, Filter, IndexError, Operation, Schema, SearchOptions, UnitVector, parse_instant,
};

const DIMENSION: usize = 4;

fn operation(id: &str, payload: Value) -> Operation {
    Operation::Upsert(Box::new(Document {
        id: id.to_owned(),
        vector: UnitVector::new(vector(DIMENSION, 1)).unwrap(),
        text: String::new(),
        payload: payload.as_object().unwrap().clone(),
        provenance: String::new(),
        thought: None,
        content_hash: [0; 32],
    }))
}

fn declared() -> CollectionConfig {
    let fields =
        [("lang", FieldKind::Keyword), ("by.at", FieldKind::Timestamp), ("n", FieldKind::Integer)];
    let fields = fields.map(|(path, kind)| (path.to_owned(), kind)).into();
    let compaction = CompactionConfig { is_automatic: false, ..CompactionConfig::default() };
    CollectionConfig { schema: Schema { fields }, compaction, ..config(DIMENSION) }
}

fn documents() -> Vec<Operation> {
    vec![
        operation(
            "a",
            json!({"lang": "en", "n": 3, "by": {"at": "2024-01-01T12:00:00Z"}, "free": 1}),
        ),
        operation("b", json!({"lang": ["de", "en"], "n": 4.0, "free": "x", "tags": ["p"]})),
        operation("c", json!({"n": null, "by": {"at": "2024-01-01T13:30:00+01:00"}, "ratio": 0.5})),
        operation("d", json!({"ratio": 2, "tags": "q", "ok": true})),
    ]
}

fn after(path: &str, time: &str) -> Filter {
    let gt = parse_instant(time);
    assert!(gt.is_some());
    Filter::TimeRange { field: path.to_owned(), gt, gte: None, lt: None, lte: None }
}

fn ids(collection: &Collection, filter: &Filter) -> Vec<String> {
    let snapshot = collection.snapshot();
    let listed = snapshot.list(None, 100, Some(filter)).unwrap();
    let listed: Vec<String> = listed.into_iter().map(|document| document.id).collect();
    assert_eq!(snapshot.count(Some(filter)).unwrap(), listed.len() as u64);
    let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
    let options = SearchOptions { filter: Some(filter.clone()), ..SearchOptions::new(100) };
    let mut found: Vec<String> = snapshot
        .search(&query, &options)
        .unwrap()
        .hits
        .into_iter()
        .map(|hit| hit.document.id)
        .collect();
    found.sort();
    assert_eq!(found, listed);
    listed
}

/// The same questions to the tail, a segment, a merged segment and a reopened one.
#[test]
fn times_are_compared_as_points_in_time_wherever_a_document_is() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), declared()).unwrap();
    let check = |collection: &Collection| {
        assert_eq!(ids(collection, &after("by.at", "2024-01-01T11:59:59Z")), ["a", "c"]);
        assert_eq!(ids(collection, &after("by.at", "2024-01-01T12:00:00Z")), ["c"]);
        assert_eq!(ids(collection, &after("by.at", "2024-01-01T12:30:00Z")), [""; 0]);
        let not = Filter::Not(Box::new(after("by.at", "2024-01-01T12:00:00Z")));
        assert_eq!(ids(collection, &not), ["a", "b", "d"]);
        let english =
            Filter::Match { field: "lang".into(), value: FieldValue::Text("en".to_owned()) };
        assert_eq!(ids(collection, &english), ["a", "b"]);
        let n = Filter::Match { field: "n".into(), value: FieldValue::Number(4.0) };
        assert_eq!(ids(collection, &n), ["b"]);
    };
    let fields = |collection: &Collection| -> Vec<(String, Option<FieldKind>, bool)> {
        let info = |info: FieldInfo| (info.path, info.kind, info.is_declared);
        collection.snapshot().fields().into_iter().map(info).collect()
    };
    let expected: Vec<(String, Option<FieldKind>, bool)> = [
        ("by.at", Some(FieldKind::Timestamp), true),
        ("free", None, false),
        ("lang", Some(FieldKind::Keyword), true),
        ("n", Some(FieldKind::Integer), true),
        ("ok", Some(FieldKind::Bool), false),
        ("ratio", Some(FieldKind::Float), false),
        ("tags", Some(FieldKind::Keyword), false),
    ]
    .map(|(path, kind, is_declared)| (path.to_owned(), kind, is_declared))
    .into();

    collection.apply(documents(), Durability::Durable).unwrap();
    check(&collection);
    assert_eq!(fields(&collection), expected);
    collection.seal().unwrap();
    check(&collection);
    assert_eq!(fields(&collection), expected);
    collection.apply(vec![operation("e", json!({}))], Durability::Durable).unwrap();
    collection.seal().unwrap();
    collection.apply(vec![Operation::Delete("e".to_owned())], Durability::Durable).unwrap();
    collection.compact().unwrap().unwrap();
    check(&collection);
    assert_eq!(fields(&collection), expected);
    drop(collection);
    check(&Collection::open(folder.path()).unwrap());
}

/// What a segment's Arrow file shows to any reader of Arrow files.
#[test]
fn sealed_payloads_have_typed_columns() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), declared()).unwrap();
    collection.apply(documents(), Durability::Durable).unwrap();
    collection.seal().unwrap();
    let batch = read_payload(&folder.path().join("seg/00000001/payload.arrow"));
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    let zone = Some("UTC".into());
    assert_eq!(
        column("payload.by.at").data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, zone)
    );
    let times = column("payload.by.at").as_primitive::<TimestampMicrosecondType>();
    assert_eq!(
        times.iter().flatten().collect::<Vec<_>>(),
        [1_704_110_400_000_000, 1_704_112_200_000_000]
    );
    assert!(times.is_null(1) && times.is_null(3));
    let numbers = column("payload.n").as_primitive::<Int64Type>();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(3), Some(4), None, None]);
    assert_eq!(column("payload.ratio").data_type(), &DataType::Float64);
    assert_eq!(
        column("payload.ok").as_boolean().iter().collect::<Vec<_>>(),
        [None, None, None, Some(true)]
    );
    let languages = column("payload.lang").as_list::<i32>();
    assert_eq!(
        languages.value(1).as_string::<i64>().iter().flatten().collect::<Vec<_>>(),
        ["de", "en"]
    );
    assert_eq!(languages.value(0).len(), 1);
    assert!(languages.is_null(2));
    assert!(batch.column_by_name("payload.free").is_none(), "its kinds do not mix");
}

fn read_payload(path: &Path) -> arrow::array::RecordBatch {
    let file = fs_err::File::open(path).unwrap();
    FileReader::try_new(file, None).unwrap().next().unwrap().unwrap()
}

#[test]
fn documents_and_filters_of_another_kind_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), declared()).unwrap();
    for payload in [json!({"n": "3"}), json!({"lang": 3}), json!({"by": {"at": "noon"}})] {
        let batch = vec![operation("good", json!({"n": 1})), operation("bad", payload)];
        let error = collection.apply(batch, Durability::Durable).unwrap_err();
        assert!(matches!(error, IndexError::BadDocument { ref id, .. } if id == "bad"), "{error}");
        assert!(error.is_callers_fault());
    }
    assert_eq!(collection.stats().last_sequence, 0);
    let filter = Filter::Match { field: "n".into(), value: FieldValue::Text("3".to_owned()) };
    let snapshot = collection.snapshot();
    let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
    let options = SearchOptions { filter: Some(filter.clone()), ..SearchOptions::new(1) };
    for error in [
        snapshot.count(Some(&filter)).unwrap_err(),
        snapshot.list(None, 1, Some(&filter)).unwrap_err(),
        snapshot.search(&query, &options).unwrap_err(),
    ] {
        assert!(error.to_string().contains("`n` is of kind integer"), "{error}");
        assert!(error.is_callers_fault());
    }
    let fields = [("a", FieldKind::Bool), ("a.b", FieldKind::Bool)];
    let schema = Schema { fields: fields.map(|(path, kind)| (path.to_owned(), kind)).into() };
    let elsewhere = folder.path().join("elsewhere");
    let bad = CollectionConfig { schema, ..config(DIMENSION) };
    assert!(Collection::create(&elsewhere, bad).unwrap_err().is_callers_fault());
    assert!(!elsewhere.exists());
}
