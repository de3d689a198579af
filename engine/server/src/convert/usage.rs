//! Provenance and times, as every answer carries them.

use std::time::Duration;

use twn_protos::v1 as pb;
use twn_service::{
    Pressure, Route, RouteReason, StopReason, ThresholdSource, Timings, TokenCost, Usage,
};

/// Writes how an embedding was made, with its thought if that was asked for.
pub(crate) fn usage(usage: Usage, thought: Option<String>) -> pb::Usage {
    let pressure = match usage.route {
        Route::None => pb::Pressure::Unspecified,
        Route::Direct | Route::Reasoned => pressure(usage.pressure),
    };
    pb::Usage {
        route: route(usage.route).into(),
        route_reason: route_reason(usage.route_reason).into(),
        gate_score: usage.gate_score,
        gate_threshold: usage.gate_threshold,
        prompt_tokens: usage.prompt_tokens,
        vision_tokens: usage.vision_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        query_tokens: usage.query_tokens,
        stop_reason: stop_reason(usage.stop_reason).into(),
        truncated: usage.truncated,
        encoder_fingerprint: usage.encoder_fingerprint,
        cached: usage.original.is_some(),
        cached_prompt_tokens: usage.cached_prompt_tokens,
        thought,
        base_threshold: usage.base_threshold,
        token_budget: usage.token_budget,
        granted_budget: usage.granted_budget,
        pressure: pressure.into(),
        original: usage.original.map(cost),
        threshold_source: threshold_source(usage.threshold_source).into(),
    }
}

fn cost(cost: TokenCost) -> pb::TokenCost {
    pb::TokenCost {
        prompt_tokens: cost.prompt_tokens,
        cached_prompt_tokens: cost.cached_prompt_tokens,
        vision_tokens: cost.vision_tokens,
        reasoning_tokens: cost.reasoning_tokens,
        query_tokens: cost.query_tokens,
    }
}

/// Writes times; a stage that took none is absent, the total never is.
pub(crate) fn timings(timings: &Timings) -> pb::Timings {
    let encode = &timings.encode;
    pb::Timings {
        total: Some(duration(timings.total)),
        queue: stage(encode.queue),
        prepare: stage(encode.prepare),
        prefill: stage(encode.prefill),
        reasoning: stage(encode.reasoning),
        reembed: stage(encode.reembed),
        search: stage(timings.search),
        write: stage(timings.write),
    }
}

/// Adds one item's times to those of its stream; the total is the stream's own.
pub(crate) fn add_stages(sum: &mut Timings, item: &Timings) {
    sum.encode.queue += item.encode.queue;
    sum.encode.prepare += item.encode.prepare;
    sum.encode.prefill += item.encode.prefill;
    sum.encode.reasoning += item.encode.reasoning;
    sum.encode.reembed += item.encode.reembed;
    sum.search += item.search;
    sum.write += item.write;
}

/// Writes a duration; one beyond the protocol's 10,000 years shows as the longest.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    prost_types::Duration::try_from(duration).unwrap_or(longest)
}

/// Writes a stage's time; one that took none is absent.
pub(crate) fn stage(time: Duration) -> Option<prost_types::Duration> {
    (!time.is_zero()).then(|| duration(time))
}

fn route(route: Route) -> pb::Route {
    match route {
        Route::None => pb::Route::None,
        Route::Direct => pb::Route::Direct,
        Route::Reasoned => pb::Route::Reasoned,
    }
}

fn route_reason(reason: RouteReason) -> pb::RouteReason {
    match reason {
        RouteReason::GateAboveThreshold => pb::RouteReason::GateAboveThreshold,
        RouteReason::GateBelowThreshold => pb::RouteReason::GateBelowThreshold,
        RouteReason::PolicyNever => pb::RouteReason::PolicyNever,
        RouteReason::PolicyAlways => pb::RouteReason::PolicyAlways,
        RouteReason::VectorSupplied => pb::RouteReason::VectorSupplied,
        RouteReason::Unchanged => pb::RouteReason::Unchanged,
        RouteReason::NoRoom => pb::RouteReason::NoRoom,
    }
}

/// Writes why a thought ended; unspecified where there was none.
pub(crate) fn stop_reason(reason: Option<StopReason>) -> pb::StopReason {
    let Some(reason) = reason else { return pb::StopReason::Unspecified };
    match reason {
        StopReason::Closed => pb::StopReason::Closed,
        StopReason::EndOfTurn => pb::StopReason::EndOfTurn,
        StopReason::Budget => pb::StopReason::Budget,
        StopReason::Deadline => pb::StopReason::Deadline,
        StopReason::ContextFull => pb::StopReason::ContextFull,
        StopReason::Converged => pb::StopReason::Converged,
    }
}

/// Writes why less was granted than the policy asked for.
pub(crate) fn pressure(pressure: Pressure) -> pb::Pressure {
    match pressure {
        Pressure::None => pb::Pressure::None,
        Pressure::Load => pb::Pressure::Load,
        Pressure::Deadline => pb::Pressure::Deadline,
    }
}

/// Writes who set the threshold; unspecified where the gate did not decide.
fn threshold_source(source: Option<ThresholdSource>) -> pb::ThresholdSource {
    match source {
        None => pb::ThresholdSource::Unspecified,
        Some(ThresholdSource::Policy) => pb::ThresholdSource::Policy,
        Some(ThresholdSource::Formula) => pb::ThresholdSource::Formula,
        Some(ThresholdSource::Curve) => pb::ThresholdSource::Curve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_keeps_every_figure() {
        let domain = Usage {
            route: Route::Reasoned,
            route_reason: RouteReason::GateAboveThreshold,
            gate_score: Some(0.75),
            gate_threshold: Some(0.5),
            base_threshold: Some(0.25),
            threshold_source: Some(ThresholdSource::Curve),
            token_budget: Some(64),
            granted_budget: Some(16),
            pressure: Pressure::Load,
            prompt_tokens: 11,
            cached_prompt_tokens: 5,
            vision_tokens: 2,
            reasoning_tokens: 7,
            query_tokens: 8,
            stop_reason: Some(StopReason::Budget),
            truncated: true,
            encoder_fingerprint: "f".into(),
            original: None,
        };
        let message = usage(domain.clone(), Some("hm".into()));
        assert_eq!(message.route(), pb::Route::Reasoned);
        assert_eq!(message.route_reason(), pb::RouteReason::GateAboveThreshold);
        assert_eq!(message.stop_reason(), pb::StopReason::Budget);
        assert_eq!((message.gate_score, message.gate_threshold), (Some(0.75), Some(0.5)));
        assert_eq!((message.prompt_tokens, message.cached_prompt_tokens), (11, 5));
        assert_eq!((message.vision_tokens, message.reasoning_tokens), (2, 7));
        assert_eq!((message.query_tokens, message.truncated), (8, true));
        assert_eq!((message.encoder_fingerprint.as_str(), message.cached), ("f", false));
        assert_eq!(message.thought.as_deref(), Some("hm"));
        assert_eq!((message.base_threshold, message.pressure()), (Some(0.25), pb::Pressure::Load));
        assert_eq!((message.token_budget, message.granted_budget), (Some(64), Some(16)));
        assert_eq!(message.threshold_source(), pb::ThresholdSource::Curve);
        assert_eq!(message.original, None);

        let recalled = usage(domain.recalled(), None);
        assert!(recalled.cached);
        assert_eq!((recalled.prompt_tokens, recalled.cached_prompt_tokens), (0, 0));
        assert_eq!((recalled.reasoning_tokens, recalled.query_tokens), (0, 0));
        let original = recalled.original.unwrap();
        assert_eq!((original.prompt_tokens, original.cached_prompt_tokens), (11, 5));
        assert_eq!((original.vision_tokens, original.reasoning_tokens), (2, 7));
        assert_eq!(original.query_tokens, 8);
    }

    #[test]
    fn what_was_not_encoded_felt_no_pressure() {
        let supplied = usage(Usage::not_encoded(RouteReason::VectorSupplied, ""), None);
        assert_eq!((supplied.pressure(), supplied.cached), (pb::Pressure::Unspecified, false));
        assert_eq!(supplied.stop_reason(), pb::StopReason::Unspecified);
        assert_eq!(supplied.threshold_source(), pb::ThresholdSource::Unspecified);
    }

    #[test]
    fn stages_that_did_not_run_are_absent() {
        let mut times = Timings { total: Duration::from_millis(3), ..Timings::default() };
        times.encode.prefill = Duration::from_millis(2);
        let message = timings(&times);
        assert_eq!(message.total, Some(prost_types::Duration { seconds: 0, nanos: 3_000_000 }));
        assert!(message.prefill.is_some());
        assert!(message.reasoning.is_none() && message.search.is_none());
    }
}
