//! Short ways to write messages.

use prost_types::{Struct, Value, value::Kind};
use twn_protos::v1 as pb;

use super::DIMENSION;

pub(crate) fn collection(name: &str) -> pb::CollectionConfig {
    pb::CollectionConfig { name: name.to_owned(), ..Default::default() }
}

pub(crate) fn text(text: &str) -> pb::Content {
    part(pb::part::Kind::Text(text.to_owned()))
}

pub(crate) fn part(kind: pb::part::Kind) -> pb::Content {
    pb::Content { parts: vec![pb::Part { kind: Some(kind) }] }
}

pub(crate) fn document(id: &str, words: &str) -> pb::DocumentInput {
    pb::DocumentInput { id: id.to_owned(), content: Some(text(words)), ..Default::default() }
}

/// A document with a vector of its own, so that nothing is encoded.
pub(crate) fn with_vector(id: &str, words: &str, seed: usize) -> pb::DocumentInput {
    pb::DocumentInput { vector: vector(seed), ..document(id, words) }
}

/// A vector in a direction of its own, not of unit length.
pub(crate) fn vector(seed: usize) -> Vec<f32> {
    (0..DIMENSION).map(|i| ((seed * 31 + i * 17) % 97) as f32 - 48.0 + 0.5).collect()
}

pub(crate) fn payload(fields: &[(&str, Kind)]) -> Option<Struct> {
    let fields = fields.iter().map(|(key, kind)| ((*key).to_owned(), value(kind.clone())));
    Some(Struct { fields: fields.collect() })
}

pub(crate) fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

pub(crate) fn string(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

pub(crate) fn policy(mode: pb::ReasoningMode) -> Option<pb::ReasoningPolicy> {
    Some(pb::ReasoningPolicy { mode: mode.into(), ..Default::default() })
}

/// Thinks for at most `budget` tokens and returns the thought.
pub(crate) fn thinking(budget: u32) -> Option<pb::ReasoningPolicy> {
    Some(pb::ReasoningPolicy {
        mode: pb::ReasoningMode::Always.into(),
        token_budget: Some(budget),
        include_thought: true,
        ..Default::default()
    })
}

pub(crate) fn search(collection: &str, words: &str) -> pb::SearchRequest {
    pb::SearchRequest {
        collection: collection.to_owned(),
        query: Some(pb::search_request::Query::Content(text(words))),
        ..Default::default()
    }
}

pub(crate) fn search_vector(collection: &str, values: Vec<f32>) -> pb::SearchRequest {
    pb::SearchRequest {
        collection: collection.to_owned(),
        query: Some(pb::search_request::Query::Vector(pb::Vector { values })),
        ..Default::default()
    }
}

pub(crate) fn filter(kind: pb::filter::Kind) -> Option<pb::Filter> {
    Some(pb::Filter { kind: Some(kind) })
}

pub(crate) fn equals(field: &str, kind: Kind) -> Option<pb::Filter> {
    let value = Some(value(kind));
    filter(pb::filter::Kind::Match(pb::Match { field: field.to_owned(), value }))
}

pub(crate) fn upsert(
    collection: &str,
    documents: impl IntoIterator<Item = pb::DocumentInput>,
) -> pb::UpsertRequest {
    pb::UpsertRequest {
        collection: collection.to_owned(),
        documents: documents.into_iter().collect(),
        ..Default::default()
    }
}
