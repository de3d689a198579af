//! The server's description of itself.

use std::time::Duration;

use twn_protos::v1 as pb;
use twn_service::{EncoderInfo, GatePoint, Limits, MAX_FILTER_CLAUSES, MAX_FILTER_DEPTH};

use super::{count32, json::MAX_PAYLOAD_DEPTH, mask::MAX_MASK_PATHS, usage::duration};

/// Kinds of parts that the encoder reads, by their names in the protocol.
const SUPPORTED_PARTS: [&str; 1] = ["text"];

/// Writes the server's description.
pub(crate) fn response(
    encoder: &EncoderInfo,
    limits: &Limits,
    max_message_bytes: usize,
    uptime: Duration,
) -> pb::GetServerInfoResponse {
    pb::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        encoder: Some(self::encoder(encoder, limits)),
        limits: Some(self::limits(limits, max_message_bytes)),
        uptime: Some(duration(uptime)),
    }
}

fn encoder(info: &EncoderInfo, limits: &Limits) -> pb::Encoder {
    pb::Encoder {
        model: info.model.clone(),
        fingerprint: info.fingerprint.clone(),
        dimension: count32(info.dimension),
        context_tokens: count32(info.context_tokens),
        trained: info.trained,
        note: info.note.clone(),
        device: info.device.clone(),
        interface: info.interface.to_string(),
        pooling: info.pooling.to_string(),
        embedding_queries: count32(info.embedding_queries),
        gate_threshold: info.gate_threshold,
        default_token_budget: info.token_budget.min(limits.max_token_budget),
        supported_parts: SUPPORTED_PARTS.map(str::to_owned).into(),
        backbone_parameters: info.backbone_parameters,
        adapter_parameters: info.adapter_parameters,
        gate_curve: info.gate_curve.iter().map(gate_point).collect(),
    }
}

fn gate_point(point: &GatePoint) -> pb::GatePoint {
    pb::GatePoint {
        threshold: point.threshold,
        think_rate: point.think_rate,
        reasoning_tokens_per_query: point.reasoning_tokens_per_query,
        ndcg_at_10: point.ndcg_at_10,
    }
}

fn limits(limits: &Limits, max_message_bytes: usize) -> pb::Limits {
    pb::Limits {
        max_message_bytes: max_message_bytes as u64,
        max_text_bytes: limits.max_text_bytes as u64,
        max_id_bytes: count32(limits.max_id_bytes),
        max_payload_bytes: limits.max_payload_bytes as u64,
        max_parts: count32(limits.max_parts),
        max_search_limit: count32(limits.max_search_limit),
        max_ef_search: count32(limits.max_ef_search),
        max_token_budget: limits.max_token_budget,
        max_upsert_documents: count32(limits.max_upsert_documents),
        max_embed_inputs: count32(limits.max_embed_inputs),
        max_page_size: count32(limits.max_page_size),
        max_collections: count32(limits.max_collections),
        max_filter_depth: count32(MAX_FILTER_DEPTH),
        max_filter_clauses: count32(MAX_FILTER_CLAUSES),
        max_dimension: count32(limits.max_dimension),
        ingest_credits: count32(limits.ingest_credits),
        max_queue_items: count32(limits.max_queue_items),
        max_queue_tokens: limits.max_queue_tokens as u64,
        max_deadline: Some(duration(limits.max_deadline())),
        max_ids: count32(limits.max_ids),
        max_payload_depth: count32(MAX_PAYLOAD_DEPTH),
        max_mask_paths: count32(MAX_MASK_PATHS),
    }
}
