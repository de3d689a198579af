//! Embeds content without storing anything.

use std::time::Instant;

use twn_encoder::{Content, EmbedKind, EncodeInput};

use crate::{
    batcher::Lane,
    call::Call,
    document::check_content,
    encoding::{EncodeRequest, Encoded},
    engine::Engine,
    error::ServiceError,
    policy::PolicyRequest,
    timings::Timings,
};

/// One input to embed.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedRequest {
    /// What to embed.
    pub content: Content,
    /// Task instruction; `None` takes the encoder's default for `kind`.
    pub instruction: Option<String>,
    /// Query or document.
    pub kind: EmbedKind,
    /// When to think.
    pub policy: PolicyRequest,
    /// Make both embeddings, whatever the route.
    pub explain: bool,
    /// The input's path in the request, for errors.
    pub field: String,
}

impl Engine {
    /// Embeds one input.
    ///
    /// # Errors
    /// The caller's faults by field; `Overloaded`, `DeadlineExceeded`, `Cancelled`.
    pub async fn embed(
        &self,
        request: EmbedRequest,
        call: &Call,
    ) -> Result<(Encoded, Timings), ServiceError> {
        let arrived = Instant::now();
        let EmbedRequest { content, instruction, kind, policy: wish, explain, field } = request;
        check_content(&content, &field, &self.limits)?;
        let request = EncodeRequest {
            input: EncodeInput { content, instruction, kind },
            field: &field,
            policy: self.resolve_policy(&wish)?,
            fixed: wish.fixed,
            explain,
            lane: Lane::Search,
        };
        let mut encoded = self.encoder.encode(request, call).await?;
        if !wish.include_thought {
            encoded.forget_thought();
        }
        let timings =
            Timings { total: arrived.elapsed(), encode: encoded.timings, ..Timings::default() };
        Ok((encoded, timings))
    }
}
