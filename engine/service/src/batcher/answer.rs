//! What an input is answered: its embedding, its provenance, and the explanation.

use std::time::Duration;

use twn_encoder::{Pressure, Reasoned, Route, RouteReason, StopReason, Usage};

use super::job::{FirstPass, Job, Task};
use crate::{
    encoding::Encoded,
    error::ServiceError,
    explanation::{Explanation, ExplanationCost},
    pressure::Grant,
};

/// How an input is to be embedded, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    pub(super) route: Route,
    pub(super) reason: RouteReason,
    pub(super) grant: Grant,
}

/// What became of a thought, and the time it took.
pub(super) struct Ending {
    pub(super) reasoned: Reasoned,
    pub(super) reasoning: Duration,
    pub(super) reembed: Duration,
}

impl Verdict {
    /// Gives the policy's verdict under a grant.
    pub(super) fn new(job: &Job, pass: &FirstPass, grant: Grant) -> Self {
        let mut policy = job.policy;
        policy.threshold = grant.threshold;
        // Without a score no gate is asked.
        let (route, reason) = policy.route(pass.gate_score.unwrap_or_default(), pass.has_room);
        Self { route, reason, grant }
    }
}

/// Answers from the direct pass. `ending` is that of a thought run for the explanation.
pub(super) fn direct(
    task: Task,
    pass: FirstPass,
    verdict: Verdict,
    ending: Option<Ending>,
    fingerprint: &str,
) {
    let Task { job, timings } = task;
    let mut usage = usage(&job, &pass, verdict, fingerprint);
    usage.route = Route::Direct;
    let Some(embedding) = pass.embedding else {
        let problem = "an input that has to think was to be answered directly".to_owned();
        return job.reply(Err(ServiceError::Internal { problem }));
    };
    let explanation = job.explain.then(|| {
        let cost = ending.as_ref().map(|ending| ExplanationCost {
            reasoning_tokens: ending.reasoned.reasoning_tokens,
            query_tokens: ending.reasoned.query_tokens,
            granted_budget: Some(verdict.grant.token_budget),
            stop_reason: Some(ending.reasoned.stop_reason),
            pressure: verdict.grant.pressure,
            reasoning: ending.reasoning,
            reembed: ending.reembed,
        });
        let (reasoned, thought) =
            ending.map(|ending| (ending.reasoned.embedding, ending.reasoned.thought)).unzip();
        let direct = embedding.clone();
        Box::new(Explanation { direct, reasoned, thought, cost: cost.unwrap_or_default() })
    });
    job.reply(Ok(Encoded { embedding, thought: None, usage, timings, explanation }));
}

/// Answers after a thought.
pub(super) fn reasoned(
    task: Task,
    pass: FirstPass,
    verdict: Verdict,
    ending: Ending,
    fingerprint: &str,
) {
    let Task { job, mut timings } = task;
    let Ending { reasoned, reasoning, reembed } = ending;
    (timings.reasoning, timings.reembed) = (reasoning, reembed);
    let mut usage = usage(&job, &pass, verdict, fingerprint);
    usage.route = Route::Reasoned;
    usage.granted_budget = Some(verdict.grant.token_budget);
    usage.reasoning_tokens = reasoned.reasoning_tokens;
    // Who has to think has a direct embedding for the explanation alone.
    let is_extra = verdict.reason == RouteReason::PolicyAlways;
    let extra = if is_extra { std::mem::take(&mut usage.query_tokens) } else { 0 };
    usage.query_tokens += reasoned.query_tokens;
    usage.stop_reason = Some(reasoned.stop_reason);
    let thought = Some(reasoned.thought);
    let explanation = pass.embedding.filter(|_| job.explain).map(|direct| {
        let reasoned = Some(reasoned.embedding.clone());
        let thought = thought.clone();
        let cost = ExplanationCost { query_tokens: extra, ..ExplanationCost::default() };
        Box::new(Explanation { direct, reasoned, thought, cost })
    });
    let embedding = reasoned.embedding;
    job.reply(Ok(Encoded { embedding, thought, usage, timings, explanation }));
}

/// What both routes have in common.
fn usage(job: &Job, pass: &FirstPass, verdict: Verdict, fingerprint: &str) -> Usage {
    let Verdict { reason, grant, .. } = verdict;
    let gate_decided =
        matches!(reason, RouteReason::GateAboveThreshold | RouteReason::GateBelowThreshold);
    let is_pressed = gate_decided || reason == RouteReason::PolicyAlways;
    Usage {
        gate_score: pass.gate_score,
        gate_threshold: gate_decided.then_some(grant.threshold),
        base_threshold: gate_decided.then_some(job.policy.threshold),
        threshold_source: gate_decided.then_some(grant.threshold_source),
        token_budget: (reason != RouteReason::PolicyNever).then_some(job.policy.token_budget),
        pressure: if is_pressed { grant.pressure } else { Pressure::None },
        prompt_tokens: u32::try_from(job.tokens()).unwrap_or(u32::MAX),
        cached_prompt_tokens: pass.cached_prompt_tokens,
        vision_tokens: job.prompt.vision_tokens,
        query_tokens: pass.query_tokens,
        truncated: job.prompt.truncated,
        ..Usage::not_encoded(reason, fingerprint)
    }
}

/// Tells whether an idle server would have given the same answer.
pub(crate) fn is_unpressed(usage: &Usage) -> bool {
    usage.pressure == Pressure::None && usage.stop_reason != Some(StopReason::Deadline)
}
