//! Every limit a client can meet, in one place, so that the server can publish them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Every limit a client can meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of all text parts of one content together.
    pub max_text_bytes: usize,
    /// Bytes of a document id.
    pub max_id_bytes: usize,
    /// Bytes of one payload as JSON.
    pub max_payload_bytes: usize,
    /// Parts of one content.
    pub max_parts: usize,
    /// Hits of one search.
    pub max_search_limit: usize,
    /// Candidate list size of one search.
    pub max_ef_search: usize,
    /// Thought tokens of one request.
    pub max_token_budget: u32,
    /// Documents of one unary write.
    pub max_upsert_documents: usize,
    /// Ids of one read or delete.
    pub max_ids: usize,
    /// Inputs of one embed request.
    pub max_embed_inputs: usize,
    /// Documents of one page.
    pub max_page_size: usize,
    /// Collections of one server.
    pub max_collections: usize,
    /// Dimension of a collection.
    pub max_dimension: usize,
    /// Items that an ingest stream may have in flight.
    pub ingest_credits: usize,
    /// Inputs waiting for the model, for each of the two lanes (search, ingest).
    pub max_queue_items: usize,
    /// Prompt tokens waiting for the model, for each of the two lanes.
    pub max_queue_tokens: usize,
    /// Thoughts decoded together; more wait.
    pub max_thoughts: usize,
    /// Longest time that one request may take, in seconds.
    pub max_deadline_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_text_bytes: 1 << 20,
            max_id_bytes: 512,
            max_payload_bytes: 256 << 10,
            max_parts: 16,
            max_search_limit: 1_000,
            max_ef_search: 4_096,
            max_token_budget: 512,
            max_upsert_documents: 256,
            max_ids: 1_000,
            max_embed_inputs: 64,
            max_page_size: 1_000,
            max_collections: 256,
            max_dimension: 4_096,
            ingest_credits: 64,
            max_queue_items: 256,
            max_queue_tokens: 65_536,
            max_thoughts: 8,
            max_deadline_s: 600,
        }
    }
}

impl Limits {
    /// Longest time that one request may take.
    pub fn max_deadline(&self) -> Duration {
        Duration::from_secs(self.max_deadline_s)
    }

    /// Finds a limit that would make the server useless.
    ///
    /// # Errors
    /// Names the first limit that is zero.
    pub fn validate(&self) -> Result<(), String> {
        let counts = [
            ("max_text_bytes", self.max_text_bytes),
            ("max_id_bytes", self.max_id_bytes),
            ("max_payload_bytes", self.max_payload_bytes),
            ("max_parts", self.max_parts),
            ("max_search_limit", self.max_search_limit),
            ("max_ef_search", self.max_ef_search),
            ("max_token_budget", self.max_token_budget as usize),
            ("max_upsert_documents", self.max_upsert_documents),
            ("max_ids", self.max_ids),
            ("max_embed_inputs", self.max_embed_inputs),
            ("max_page_size", self.max_page_size),
            ("max_collections", self.max_collections),
            ("max_dimension", self.max_dimension),
            ("ingest_credits", self.ingest_credits),
            ("max_queue_items", self.max_queue_items),
            ("max_queue_tokens", self.max_queue_tokens),
            ("max_thoughts", self.max_thoughts),
            ("max_deadline_s", self.max_deadline_s as usize),
        ];
        match counts.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("limit `{name}` is 0, it must be at least 1")),
            None => Ok(()),
        }
    }
}
