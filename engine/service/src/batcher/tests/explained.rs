//! Provenance: every count of an answer, recomputed from its tokens.

use twn_encoder::{Convergence, Pressure, Route, RouteReason, StopReason, TokenCost, Usage};

use super::*;
use crate::explanation::ExplanationCost;

/// Embedding-query tokens that the fake runs for each embedding.
const QUERY_TOKENS: u32 = 8;
/// Tokens before the content, which the fake claims to have reused.
const PREFIX_TOKENS: u32 = 1;

fn options() -> FakeOptions {
    FakeOptions { thought_tokens: 12, ..FakeOptions::default() }
}

fn convergence(every: u32, similarity: f32) -> Option<Convergence> {
    Some(Convergence { every, similarity })
}

/// Probes of a thought that decoded so many tokens and ended for this reason.
fn probes(rule: Option<Convergence>, tokens: u32, stop: Option<StopReason>) -> u32 {
    // The last token of a thought is probed only where that probe ended it.
    let probed =
        if stop == Some(StopReason::Converged) { tokens } else { tokens.saturating_sub(1) };
    rule.map_or(0, |rule| probed / rule.every)
}

/// Tokens of a thought by its text: the closing marker is one and is no word.
fn thought_tokens(thought: Option<&str>, stop: Option<StopReason>) -> u32 {
    let words = thought.map_or(0, |thought| thought.split_whitespace().count() as u32);
    words + u32::from(stop == Some(StopReason::Closed))
}

/// Recomputes every figure of an answer, and of its explanation.
#[track_caller]
fn check(ask: Ask, route: Route, stop: Option<StopReason>) -> Encoded {
    let bench = Bench::with(SHARES, options());
    let encoded = bench.alone(ask.clone(), options());
    let Encoded { embedding, thought, usage, explanation, .. } = &encoded;

    assert_eq!((usage.route, usage.stop_reason), (route, stop), "{}", ask.text);
    let prompt_tokens = PREFIX_TOKENS + ask.text.split_whitespace().count() as u32;
    let reasoning_tokens = thought_tokens(thought.as_deref(), stop);
    let rule = ask.policy.convergence.filter(|rule| rule.can_end(ask.policy.token_budget));
    let reembedded = match route {
        Route::Reasoned => QUERY_TOKENS * (1 + probes(rule, reasoning_tokens, stop)),
        Route::Direct | Route::None => 0,
    };
    // Who has to think has a direct embedding only where an explanation shows it.
    let is_asked = usage.route_reason != RouteReason::PolicyAlways;
    let embedded = if is_asked { QUERY_TOKENS } else { 0 };
    assert_eq!(usage.gate_score.is_some(), is_asked || ask.explain);
    let want = TokenCost {
        prompt_tokens,
        cached_prompt_tokens: PREFIX_TOKENS,
        vision_tokens: 0,
        reasoning_tokens,
        query_tokens: embedded + reembedded,
    };
    assert_eq!((usage.cost(), usage.original), (want, None), "{}", ask.text);
    let is_never = ask.policy.mode == ReasoningMode::Never;
    assert_eq!(usage.token_budget, (!is_never).then_some(ask.policy.token_budget));
    assert_eq!(usage.granted_budget.is_some(), route == Route::Reasoned);
    assert_eq!(usage.pressure, Pressure::None);

    assert_eq!(explanation.is_some(), ask.explain);
    if let Some(explanation) = explanation {
        let cost = &explanation.cost;
        let own = if route == Route::Reasoned {
            explanation.reasoned.as_ref()
        } else {
            Some(&explanation.direct)
        };
        assert_eq!(own, Some(embedding));
        if let (Route::Direct, Some(_)) = (route, &explanation.reasoned) {
            let tokens = thought_tokens(explanation.thought.as_deref(), cost.stop_reason);
            assert_eq!(cost.reasoning_tokens, tokens);
            assert_eq!(cost.granted_budget, Some(ask.policy.token_budget));
            let probes = probes(rule, tokens, cost.stop_reason);
            assert_eq!(cost.query_tokens, QUERY_TOKENS * (1 + probes));
        } else {
            let query_tokens = QUERY_TOKENS - embedded;
            assert_eq!(*cost, ExplanationCost { query_tokens, ..ExplanationCost::default() });
        }
    }
    encoded
}

#[test]
fn every_count_follows_from_the_tokens() {
    use Route::{Direct, Reasoned};
    use StopReason::{Budget, Closed, Converged};
    check(Ask::direct(STATEMENT), Direct, None);
    check(Ask::auto(STATEMENT, 64), Direct, None);
    check(Ask::auto(QUESTION, 64), Reasoned, Some(Closed));
    check(Ask::always(STATEMENT, 64), Reasoned, Some(Closed));
    check(Ask::always(STATEMENT, 5), Reasoned, Some(Budget));
    check(Ask::always("five words make a text", 1).document(), Reasoned, Some(Budget));
    for every in 1..8 {
        for similarity in [0.0, 0.9, 1.0] {
            let mut ask = Ask::always("a text of six words here", 11);
            ask.policy.convergence = convergence(every, similarity);
            let ends = similarity < 1.0 && 3 * every < 11;
            check(ask.clone(), Reasoned, Some(if ends { Converged } else { Budget }));
            ask.policy.token_budget = 64;
            let ends = similarity < 1.0 && 3 * every < 12;
            check(ask, Reasoned, Some(if ends { Converged } else { Closed }));
        }
    }
}

#[test]
fn explanations_have_both_embeddings_and_their_own_cost() {
    let direct = check(Ask::direct(QUESTION), Route::Direct, None);
    let thought = check(Ask::always(QUESTION, 64), Route::Reasoned, Some(StopReason::Closed));
    assert_ne!(direct.embedding, thought.embedding);

    for (ask, route) in [
        (Ask::new(QUESTION, ReasoningMode::Never, 64), Route::Direct),
        (Ask::always(QUESTION, 64), Route::Reasoned),
        (Ask::auto(QUESTION, 64), Route::Reasoned),
    ] {
        let stop = (route == Route::Reasoned).then_some(StopReason::Closed);
        let plain = check(ask.clone(), route, stop);
        let explained = check(ask.explained(), route, stop);
        let gate_score = explained.usage.gate_score;
        let plain = Usage { gate_score, ..plain.usage };
        assert_eq!(explained.usage, plain, "the answer's cost is what it is without");
        let explanation = explained.explanation.expect("was asked for");
        assert_eq!(explanation.direct, direct.embedding);
        assert_eq!(explanation.reasoned.as_ref(), Some(&thought.embedding));
        assert_eq!(explanation.thought, thought.thought);
    }

    let mut watched = Ask::new("a text of six words here", ReasoningMode::Never, 64).explained();
    watched.policy.convergence = convergence(2, 0.9);
    let explained = check(watched, Route::Direct, None).explanation.expect("was asked for");
    assert_eq!(explained.cost.stop_reason, Some(StopReason::Converged));
}

#[test]
fn without_room_there_is_only_the_direct_embedding() {
    let embedder = FakeEmbedder::new(FakeOptions { context_tokens: 20, ..options() });
    let mut bench = Bench::over(SHARES, embedder);
    let mut asked = bench.ask(Ask::always("word ".repeat(11), 9).explained());
    let mut plain = bench.ask(Ask::always("word ".repeat(11), 9));
    bench.finish();
    let encoded = asked.encoded();
    let plain = plain.encoded();
    assert_eq!((&plain.embedding, &plain.usage), (&encoded.embedding, &encoded.usage));
    assert_eq!(encoded.usage.route_reason, RouteReason::NoRoom);
    let explanation = encoded.explanation.expect("was asked for");
    assert_eq!((explanation.direct, explanation.reasoned), (encoded.embedding, None));
    assert_eq!(explanation.cost, Default::default());
}

#[test]
fn a_full_context_is_told_from_a_spent_budget() {
    let embedder = FakeEmbedder::new(FakeOptions { context_tokens: 20, ..options() });
    let mut bench = Bench::over(SHARES, embedder);
    let mut asked = bench.ask(Ask::always("word ".repeat(7), 9));
    bench.finish();
    let usage = asked.encoded().usage;
    assert_eq!((usage.stop_reason, usage.reasoning_tokens), (Some(StopReason::ContextFull), 4));
}
