//! Embeds content without storing anything.

use std::time::Instant;

use twn_encoder::{Content, EmbedKind, EncodeInput};

use crate::{
    call::Call,
    document::check_content,
    encoding::{Encoded, Lane},
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
        let EmbedRequest { content, instruction, kind, policy, field } = request;
        check_content(&content, &field, &self.limits)?;
        let include_thought = policy.include_thought;
        let policy = self.resolve_policy(&policy)?;
        let input = EncodeInput { content, instruction, kind };
        let prompt = self.encoder.prepare(input, &field).await?;
        let mut encoded = self.encoder.encode(prompt, policy, Lane::Search, call).await?;
        encoded.thought = encoded.thought.filter(|_| include_thought);
        let timings =
            Timings { total: arrived.elapsed(), encode: encoded.timings, ..Timings::default() };
        Ok((encoded, timings))
    }
}
