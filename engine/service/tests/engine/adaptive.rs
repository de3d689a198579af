//! Convergence, deadlines and load, as a caller meets them.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use twn_encoder::{FakeEmbedder, FakeOptions};
use twn_service::{
    Call, Convergence, ConvergenceRequest, Engine, EngineOptions, GatePoint, Limits,
    PolicyDefaults, PolicyRequest, Pressure, PressureOptions, ReasoningMode, Route, ServiceError,
    StopReason, ThresholdSource,
};

use crate::support::{HARD_TEXT, call, embed_request, engine, options, policy};

fn converging(every: u32, similarity: f32) -> PolicyRequest {
    let rule = ConvergenceRequest::By(Convergence { every, similarity });
    PolicyRequest { convergence: Some(rule), ..policy(ReasoningMode::Always) }
}

#[tokio::test]
async fn settled_thoughts_end_by_the_requests_rule_or_the_servers() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions { thought_tokens: 60, ..FakeOptions::default() };
    let rule = Some(Convergence { every: 5, similarity: 0.5 });
    let defaults = PolicyDefaults { convergence: rule, ..PolicyDefaults::default() };
    let options = EngineOptions { policy: defaults, ..options(data.path(), Limits::default()) };
    let engine = Engine::start(FakeEmbedder::new(fake), options).expect("starts");
    let usage = async |wish| {
        let (call, _guard) = call();
        engine.embed(embed_request(HARD_TEXT, wish), &call).await.expect("embeds").0.usage
    };
    let by_default = usage(policy(ReasoningMode::Always)).await;
    assert_eq!(
        (by_default.stop_reason, by_default.reasoning_tokens),
        (Some(StopReason::Converged), 15)
    );
    assert_eq!(by_default.query_tokens, 8 + 3 * 8);
    let asked = usage(converging(2, 0.5)).await;
    assert_eq!((asked.stop_reason, asked.reasoning_tokens), (Some(StopReason::Converged), 6));
    let off = PolicyRequest {
        convergence: Some(ConvergenceRequest::Off),
        ..policy(ReasoningMode::Always)
    };
    let off = usage(off).await;
    assert_eq!((off.stop_reason, off.query_tokens), (Some(StopReason::Closed), 8));
}

#[tokio::test]
async fn rules_of_convergence_have_bounds() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    for (every, similarity, field) in [
        (0, 0.9, "reasoning.convergence.every"),
        (513, 0.9, "reasoning.convergence.every"),
        (4, 1.1, "reasoning.convergence.similarity"),
        (4, f32::NAN, "reasoning.convergence.similarity"),
    ] {
        let (call, _guard) = call();
        let request = embed_request(HARD_TEXT, converging(every, similarity));
        let error = engine.embed(request, &call).await.expect_err("is refused");
        let ServiceError::InvalidArgument { field: got, .. } = &error else { panic!("{error}") };
        assert_eq!(got, field);
    }
}

#[tokio::test]
async fn near_its_deadline_a_thought_stops_and_is_answered() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions {
        thought_tokens: 10_000,
        context_tokens: 1 << 20,
        step_delay: Duration::from_millis(5),
        ..FakeOptions::default()
    };
    // Keeps all of the call's time but half a second; a slow machine only thinks less.
    let pressure = PressureOptions { deadline_margin_ms: 59_500, ..PressureOptions::default() };
    let options = EngineOptions { pressure, ..options(data.path(), Limits::default()) };
    let engine = Engine::start(FakeEmbedder::new(fake), options).expect("starts");
    let (call, _guard) = Call::within(Duration::from_secs(60));
    let wish = PolicyRequest { token_budget: Some(512), ..policy(ReasoningMode::Always) };
    let request = embed_request(HARD_TEXT, wish);
    let (encoded, _) = engine.embed(request, &call).await.expect("is answered in time");
    let usage = encoded.usage;
    assert_eq!((usage.route, usage.stop_reason), (Route::Reasoned, Some(StopReason::Deadline)));
    assert!(usage.reasoning_tokens < 512, "{}", usage.reasoning_tokens);
    assert_eq!((usage.token_budget, usage.query_tokens), (Some(512), 8));
}

#[tokio::test]
async fn a_full_house_shrinks_thoughts_and_says_so() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions { thought_tokens: 500, ..FakeOptions::default() };
    let limits = Limits { max_thoughts: 2, ..Limits::default() };
    let engine = Engine::start(FakeEmbedder::new(fake), options(data.path(), limits));
    let engine = engine.expect("starts");
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..20 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move {
            let (call, _guard) = call();
            let wish = PolicyRequest {
                token_budget: Some(40),
                fixed: i % 2 == 0,
                ..policy(ReasoningMode::Always)
            };
            let made = engine.embed(embed_request(&format!("{HARD_TEXT} {i}"), wish), &call).await;
            (i % 2 == 0, made.expect("embeds").0.usage)
        });
    }
    for (fixed, usage) in tasks.join_all().await {
        let granted = usage.granted_budget.expect("thinks");
        assert_eq!((usage.token_budget, usage.reasoning_tokens), (Some(40), granted));
        assert!((10..=40).contains(&granted), "{granted}");
        assert_eq!(granted < 40, usage.pressure == Pressure::Load);
        assert!(!fixed || usage.pressure == Pressure::None);
    }
}

#[tokio::test]
async fn a_deadline_moves_along_the_gates_curve() {
    let data = TempDir::new().expect("tempdir");
    let point = |threshold, reasoning_tokens_per_query, ndcg_at_10| GatePoint {
        threshold,
        think_rate: 0.5,
        reasoning_tokens_per_query,
        ndcg_at_10,
    };
    let gate_curve = vec![point(0.5, 20.0, 0.6), point(0.8, 9.0, 0.5), point(0.97, 0.0, 0.4)];
    let fake = FakeOptions { gate_curve, ..FakeOptions::default() };
    // No call has time for a thought: the curve's cheapest point is all that is left.
    let pressure = PressureOptions { deadline_margin_ms: 1 << 30, ..PressureOptions::default() };
    let options = EngineOptions { pressure, ..options(data.path(), Limits::default()) };
    let engine = Engine::start(FakeEmbedder::new(fake), options).expect("starts");
    assert_eq!(engine.encoder().gate_curve.len(), 3);
    let usage = async |fixed| {
        let (call, _guard) = call();
        let wish = PolicyRequest { fixed, ..policy(ReasoningMode::Auto) };
        engine.embed(embed_request(HARD_TEXT, wish), &call).await.expect("embeds").0.usage
    };
    // The pace of the model is known after the first thought.
    let first = usage(true).await;
    assert_eq!((first.route, first.gate_threshold), (Route::Reasoned, Some(0.5)));
    assert_eq!(first.threshold_source, Some(ThresholdSource::Policy));
    let pressed = usage(false).await;
    assert_eq!((pressed.route, pressed.pressure), (Route::Direct, Pressure::Deadline));
    assert_eq!((pressed.base_threshold, pressed.gate_threshold), (Some(0.5), Some(0.97)));
    assert_eq!(pressed.threshold_source, Some(ThresholdSource::Curve));
}

#[tokio::test]
async fn options_out_of_range_do_not_start() {
    let data = TempDir::new().expect("tempdir");
    let pressure = PressureOptions { budget_floor: 2.0, ..PressureOptions::default() };
    let options = EngineOptions { pressure, ..options(data.path(), Limits::default()) };
    let started = Engine::start(FakeEmbedder::new(FakeOptions::default()), options);
    let error = started.err().expect("does not start");
    assert!(error.to_string().contains("budget_floor"), "{error}");
}
