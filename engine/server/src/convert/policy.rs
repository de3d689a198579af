//! The request's wish about thinking, and what its inputs are embedded as.

use twn_protos::v1 as pb;
use twn_service::{
    Convergence, ConvergenceRequest, EmbedKind, PolicyRequest, ReasoningMode, ServiceError,
};

use super::known;

/// Reads a policy; an absent one takes the server's defaults. Bounds are the engine's to check.
pub(crate) fn policy(message: Option<pb::ReasoningPolicy>) -> Result<PolicyRequest, ServiceError> {
    let message = message.unwrap_or_default();
    let mode = match known(message.mode, "reasoning.mode")? {
        pb::ReasoningMode::Unspecified => None,
        pb::ReasoningMode::Auto => Some(ReasoningMode::Auto),
        pb::ReasoningMode::Never => Some(ReasoningMode::Never),
        pb::ReasoningMode::Always => Some(ReasoningMode::Always),
    };
    Ok(PolicyRequest {
        mode,
        threshold: message.threshold,
        token_budget: message.token_budget,
        temperature: message.temperature,
        seed: message.seed,
        convergence: message.convergence.map(convergence),
        fixed: message.fixed,
        include_thought: message.include_thought,
    })
}

fn convergence(message: pb::Convergence) -> ConvergenceRequest {
    let pb::Convergence { every, similarity } = message;
    match every {
        0 => ConvergenceRequest::Off,
        every => ConvergenceRequest::By(Convergence { every, similarity }),
    }
}

/// Reads whether an input is a query or a document.
pub(crate) fn embed_kind(number: i32) -> Result<EmbedKind, ServiceError> {
    Ok(match known(number, "kind")? {
        pb::EmbedKind::Unspecified | pb::EmbedKind::Query => EmbedKind::Query,
        pb::EmbedKind::Document => EmbedKind::Document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_policy_takes_all_defaults() {
        assert_eq!(policy(None).unwrap(), PolicyRequest::default());
    }

    #[test]
    fn fields_pass_through() {
        let message = pb::ReasoningPolicy {
            mode: pb::ReasoningMode::Always.into(),
            threshold: Some(0.25),
            token_budget: Some(7),
            include_thought: true,
            temperature: Some(0.5),
            seed: Some(9),
            convergence: Some(pb::Convergence { every: 4, similarity: 0.75 }),
            fixed: true,
        };
        let want = PolicyRequest {
            mode: Some(ReasoningMode::Always),
            threshold: Some(0.25),
            token_budget: Some(7),
            temperature: Some(0.5),
            seed: Some(9),
            convergence: Some(ConvergenceRequest::By(Convergence { every: 4, similarity: 0.75 })),
            fixed: true,
            include_thought: true,
        };
        assert_eq!(policy(Some(message)).unwrap(), want);
        let off = Some(pb::Convergence { every: 0, similarity: 0.75 });
        let message = pb::ReasoningPolicy { convergence: off, ..Default::default() };
        assert_eq!(policy(Some(message)).unwrap().convergence, Some(ConvergenceRequest::Off));
    }

    #[test]
    fn unknown_numbers_are_refused_by_field() {
        let message = pb::ReasoningPolicy { mode: 44, ..Default::default() };
        let error = policy(Some(message)).unwrap_err().to_string();
        assert!(error.starts_with("reasoning.mode: 44"), "{error}");
        let error = embed_kind(-1).unwrap_err().to_string();
        assert!(error.starts_with("kind: -1"), "{error}");
    }
}
