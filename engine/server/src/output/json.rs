//! Messages as JSON, with the protocol's field names.
//!
//! Enumerations appear by their protobuf names, durations as milliseconds under the
//! field's name with the suffix `_ms`.

use serde_json::{Map, Number, Value, json};
use twn_protos::v1 as pb;

use crate::convert::json::from_struct;

/// The largest whole number up to which every one is a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Writes how an embedding was made; `null` where a field does not apply.
pub fn usage(usage: &pb::Usage) -> Value {
    let mut fields = json!({
        "route": usage.route().as_str_name(),
        "route_reason": usage.route_reason().as_str_name(),
        "gate_score": usage.gate_score,
        "gate_threshold": usage.gate_threshold,
        "prompt_tokens": usage.prompt_tokens,
        "vision_tokens": usage.vision_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "query_tokens": usage.query_tokens,
        "stop_reason": usage.stop_reason().as_str_name(),
        "truncated": usage.truncated,
        "encoder_fingerprint": usage.encoder_fingerprint,
        "cached": usage.cached,
        "base_threshold": usage.base_threshold,
        "threshold_source": usage.threshold_source().as_str_name(),
        "token_budget": usage.token_budget,
        "granted_budget": usage.granted_budget,
        "pressure": usage.pressure().as_str_name(),
        "original": usage.original.as_ref().map(cost),
        "cached_prompt_tokens": usage.cached_prompt_tokens,
    });
    if let Some(thought) = &usage.thought {
        fields["thought"] = thought.as_str().into();
    }
    fields
}

fn cost(cost: &pb::TokenCost) -> Value {
    json!({
        "prompt_tokens": cost.prompt_tokens,
        "cached_prompt_tokens": cost.cached_prompt_tokens,
        "vision_tokens": cost.vision_tokens,
        "reasoning_tokens": cost.reasoning_tokens,
        "query_tokens": cost.query_tokens,
    })
}

/// Writes what was run for an explanation alone.
fn explanation_cost(cost: &pb::ExplanationCost) -> Value {
    json!({
        "reasoning_tokens": cost.reasoning_tokens,
        "query_tokens": cost.query_tokens,
        "granted_budget": cost.granted_budget,
        "stop_reason": cost.stop_reason().as_str_name(),
        "pressure": cost.pressure().as_str_name(),
        "reasoning_ms": ms(cost.reasoning),
        "reembed_ms": ms(cost.reembed),
        "search_ms": ms(cost.search),
    })
}

/// Writes both rankings of a query.
pub fn search_explanation(explanation: &pb::SearchExplanation) -> Value {
    let ranking = |ranking: &pb::Ranking| {
        let document = |found: &pb::RankedDocument| json!({"id": found.id, "score": found.score});
        json!({
            "documents": ranking.documents.iter().map(document).collect::<Vec<_>>(),
            "plan": ranking.plan.as_ref().map(plan),
        })
    };
    json!({
        "direct": explanation.direct.as_ref().map(ranking),
        "reasoned": explanation.reasoned.as_ref().map(ranking),
        "thought": explanation.thought,
        "cost": explanation.cost.as_ref().map(explanation_cost),
    })
}

/// Writes both embeddings of an input.
fn embed_explanation(explanation: &pb::EmbedExplanation) -> Value {
    json!({
        "direct": explanation.direct,
        "reasoned": explanation.reasoned,
        "thought": explanation.thought,
        "cost": explanation.cost.as_ref().map(explanation_cost),
    })
}

/// Writes where the time of a request went; stages that did not run are 0.
pub fn timings(timings: &pb::Timings) -> Value {
    json!({
        "total_ms": ms(timings.total),
        "queue_ms": ms(timings.queue),
        "prepare_ms": ms(timings.prepare),
        "prefill_ms": ms(timings.prefill),
        "reasoning_ms": ms(timings.reasoning),
        "reembed_ms": ms(timings.reembed),
        "search_ms": ms(timings.search),
        "write_ms": ms(timings.write),
    })
}

/// Writes a stored document. Text, vector and usage appear where they were asked for.
pub fn document(document: &pb::Document) -> Value {
    let mut fields = json!({
        "id": document.id,
        "text": document.text,
        "payload": payload(document.payload.clone()),
        "sequence": document.sequence,
    });
    if !document.vector.is_empty() {
        fields["vector"] = json!(document.vector);
    }
    if let Some(made) = &document.usage {
        fields["usage"] = usage(made);
    }
    fields
}

/// Writes a found document, its score first.
pub fn hit(hit: &pb::Hit) -> Value {
    let mut fields = Map::from_iter([("score".to_owned(), json!(hit.score))]);
    if let Some(found) = &hit.document
        && let Value::Object(found) = document(found)
    {
        fields.extend(found);
    }
    fields.into()
}

/// Writes an embedding and how it was made.
pub fn embedding(embedding: &pb::Embedding) -> Value {
    let mut fields = json!({
        "values": embedding.values,
        "usage": embedding.usage.as_ref().map(usage),
        "timings": embedding.timings.as_ref().map(timings),
    });
    if let Some(explanation) = &embedding.explanation {
        fields["explanation"] = embed_explanation(explanation);
    }
    fields
}

/// Writes a collection.
pub fn collection(collection: &pb::Collection) -> Value {
    let config = collection.config.clone().unwrap_or_default();
    let hnsw = config.hnsw.unwrap_or_default();
    let compaction = config.compaction.unwrap_or_default();
    json!({
        "name": config.name,
        "dimension": config.dimension,
        "hnsw": {"m": hnsw.m, "ef_construction": hnsw.ef_construction, "ef_search": hnsw.ef_search},
        "quantization": config.quantization().as_str_name(),
        "seal_rows": config.seal_rows,
        "compaction": {
            "automatic": !compaction.off, "dead_percent": compaction.dead_percent,
            "max_segments": compaction.max_segments,
        },
        "documents": collection.documents,
        "tail_documents": collection.tail_documents,
        "tombstones": collection.tombstones,
        "segments": collection.segments,
        "disk_bytes": collection.disk_bytes,
        "encoder_fingerprint": collection.encoder_fingerprint,
        "create_time": collection.create_time.as_ref().map(ToString::to_string),
        "last_sequence": collection.last_sequence,
    })
}

/// Writes how the index answered.
pub fn plan(plan: &pb::SearchPlan) -> Value {
    json!({
        "strategy": plan.strategy().as_str_name(),
        "distance_computations": plan.distance_computations,
        "filter_matches": plan.filter_matches,
        "segments": plan.segments,
        "filtering": plan.filter_matches.map(|_| plan.filtering().as_str_name()),
    })
}

fn gate_point(point: &pb::GatePoint) -> Value {
    json!({
        "threshold": point.threshold,
        "think_rate": point.think_rate,
        "reasoning_tokens_per_query": point.reasoning_tokens_per_query,
        "ndcg_at_10": point.ndcg_at_10,
    })
}

/// Writes what a server is and which encoder it runs.
pub fn server_info(info: &pb::GetServerInfoResponse) -> Value {
    let encoder = info.encoder.clone().unwrap_or_default();
    json!({
        "version": info.version,
        "model": encoder.model,
        "trained": encoder.trained,
        "note": encoder.note,
        "fingerprint": encoder.fingerprint,
        "dimension": encoder.dimension,
        "context_tokens": encoder.context_tokens,
        "device": encoder.device,
        "interface": encoder.interface,
        "pooling": encoder.pooling,
        "embedding_queries": encoder.embedding_queries,
        "gate_threshold": encoder.gate_threshold,
        "gate_curve": encoder.gate_curve.iter().map(gate_point).collect::<Vec<_>>(),
        "default_token_budget": encoder.default_token_budget,
        "backbone_parameters": encoder.backbone_parameters,
        "adapter_parameters": encoder.adapter_parameters,
        "supported_parts": encoder.supported_parts,
    })
}

/// The whole time of a request, in milliseconds.
pub fn summary_of_timings(timings: Option<&pb::Timings>) -> f64 {
    timings.map_or(0.0, |timings| ms(timings.total))
}

/// Writes a payload, whole numbers without a fraction.
fn payload(message: Option<prost_types::Struct>) -> Value {
    // A server's payload came in through the same door; one that can't be JSON shows as empty.
    let fields = from_struct(message, "payload").unwrap_or_default();
    whole(Value::Object(fields))
}

/// The wire has doubles only; a person who wrote 7 wants to read 7.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(double) if double.fract() == 0.0 && double.abs() <= WHOLE_MAX => {
                Value::Number(Number::from(double as i64))
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, whole(value))).collect()
        }
        other => other,
    }
}

/// Writes a duration in milliseconds, to the microsecond.
fn ms(duration: Option<prost_types::Duration>) -> f64 {
    let Some(duration) = duration else { return 0.0 };
    let microseconds = duration.seconds as f64 * 1e6 + f64::from(duration.nanos) / 1e3;
    microseconds.round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::json::to_struct;

    #[test]
    fn usage_has_the_protocols_names() {
        let made = pb::Usage {
            route: pb::Route::Reasoned.into(),
            route_reason: pb::RouteReason::PolicyAlways.into(),
            gate_score: Some(0.5),
            reasoning_tokens: 9,
            stop_reason: pb::StopReason::Budget.into(),
            ..pb::Usage::default()
        };
        let json = usage(&made);
        assert_eq!(json["route"], "ROUTE_REASONED");
        assert_eq!(json["route_reason"], "ROUTE_REASON_POLICY_ALWAYS");
        assert_eq!(json["stop_reason"], "STOP_REASON_BUDGET");
        assert_eq!((&json["gate_score"], &json["gate_threshold"]), (&json!(0.5), &Value::Null));
        assert_eq!(json["reasoning_tokens"], 9);
        assert!(json.get("thought").is_none());
        let thinking = pb::Usage { thought: Some("hm".into()), ..made };
        assert_eq!(usage(&thinking)["thought"], "hm");
    }

    #[test]
    fn durations_are_milliseconds() {
        let total = Some(prost_types::Duration { seconds: 2, nanos: 1_234_567 });
        let json = timings(&pb::Timings { total, ..pb::Timings::default() });
        assert_eq!((&json["total_ms"], &json["search_ms"]), (&json!(2001.235), &json!(0.0)));
    }

    #[test]
    fn whole_numbers_of_payloads_stay_whole() {
        let stored = json!({"year": 2020.0, "share": 0.5, "tags": [1.0, "a"], "huge": 1e300});
        let stored = to_struct(stored.as_object().unwrap().clone());
        let want = json!({"huge": 1e300, "share": 0.5, "tags": [1, "a"], "year": 2020});
        assert_eq!(payload(Some(stored)), want);
    }

    #[test]
    fn hits_are_documents_with_a_score() {
        let found = pb::Document { id: "a".into(), text: "t".into(), ..pb::Document::default() };
        let json = hit(&pb::Hit { score: 0.25, document: Some(found) });
        assert_eq!(
            (&json["score"], &json["id"], &json["text"]),
            (&json!(0.25), &json!("a"), &json!("t"))
        );
        assert!(json.get("vector").is_none());
    }
}
