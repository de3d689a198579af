//! Queries that come again.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use twn_encoder::{FakeOptions, TokenCost};
use twn_service::{
    CacheOptions, Call, EmbedKind, EmbedRequest, Encoded, Engine, EngineOptions, Limits,
    PolicyRequest, Pressure, PressureOptions, ReasoningMode, Route, SearchRequest, StopReason,
};

use crate::support::document;
use crate::support::{
    Counting, DIRECT_TEXT, HARD_TEXT, Totals, call, cost, embed_request, options, policy, search,
    search_request, sum, upsert,
};

struct Fixture {
    engine: Arc<Engine>,
    totals: Arc<Totals>,
    _data: TempDir,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut EngineOptions, &mut FakeOptions)) -> Self {
        let data = TempDir::new().expect("tempdir");
        let mut fake = FakeOptions::default();
        let mut options = options(data.path(), Limits::default());
        options.cache = CacheOptions::default();
        change(&mut options, &mut fake);
        let (embedder, totals) = Counting::new(fake);
        let engine = Engine::start(embedder, options).expect("starts");
        Self { engine, totals, _data: data }
    }

    async fn embed(&self, request: EmbedRequest) -> Encoded {
        let (call, _guard) = call();
        self.engine.embed(request, &call).await.expect("embeds").0
    }
}

fn wish(mode: ReasoningMode) -> EmbedRequest {
    embed_request(HARD_TEXT, policy(mode))
}

#[tokio::test]
async fn what_comes_again_runs_nothing_and_says_so() {
    let fixture = Fixture::new(|_, _| {});
    for mode in [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always] {
        let first = fixture.embed(wish(mode)).await;
        assert_eq!(first.usage.original, None);
        let ran = fixture.totals.get();
        let again = fixture.embed(wish(mode)).await;
        assert_eq!(fixture.totals.get(), ran, "nothing ran");
        assert_eq!((&again.embedding, &again.thought), (&first.embedding, &first.thought));
        assert_eq!(again.usage, first.usage.clone().recalled());
        assert_eq!(again.usage.cost(), TokenCost::default());
        assert_eq!(again.usage.original, Some(first.usage.cost()));
        assert_eq!(again.timings, Default::default());
    }
}

#[tokio::test]
async fn searches_and_embeds_share_what_is_remembered() {
    let fixture = Fixture::new(|_, _| {});
    upsert(&fixture.engine, vec![document("a", "some text")]).await;
    let request =
        || SearchRequest { policy: policy(ReasoningMode::Always), ..search_request(HARD_TEXT) };
    let first = search(&fixture.engine, request()).await.expect("finds");
    let again = search(&fixture.engine, request()).await.expect("finds");
    assert_eq!((first.usage.original.is_some(), again.usage.original.is_some()), (false, true));
    assert_eq!(again.hits[0].score, first.hits[0].score);
    assert_eq!(again.thought, first.thought);
    assert!(fixture.embed(wish(ReasoningMode::Always)).await.usage.original.is_some());
    let quiet = PolicyRequest { include_thought: false, ..policy(ReasoningMode::Always) };
    assert_eq!(fixture.embed(embed_request(HARD_TEXT, quiet)).await.thought, None);
}

#[tokio::test]
async fn whatever_is_asked_differently_is_made_anew() {
    let fixture = Fixture::new(|_, _| {});
    let plain = || wish(ReasoningMode::Always);
    let with = |change: &dyn Fn(&mut PolicyRequest)| {
        let mut request = plain();
        change(&mut request.policy);
        request
    };
    let requests = [
        plain(),
        embed_request(DIRECT_TEXT, policy(ReasoningMode::Always)),
        EmbedRequest { instruction: Some("look".into()), ..plain() },
        EmbedRequest { kind: EmbedKind::Document, ..plain() },
        with(&|policy| policy.token_budget = Some(3)),
        with(&|policy| policy.mode = Some(ReasoningMode::Auto)),
        with(&|policy| (policy.temperature, policy.seed) = (Some(1.0), Some(1))),
        with(&|policy| (policy.temperature, policy.seed) = (Some(1.0), Some(2))),
        EmbedRequest { explain: true, ..plain() },
        EmbedRequest { explain: true, ..plain() },
    ];
    for request in requests {
        let encoded = fixture.embed(request.clone()).await;
        assert_eq!(encoded.usage.original, None, "{request:?}");
    }
    let seeded = with(&|policy| (policy.temperature, policy.seed) = (Some(1.0), Some(2)));
    assert!(fixture.embed(seeded).await.usage.original.is_some(), "the seed decides");
}

#[tokio::test]
async fn nothing_is_remembered_when_nothing_may_be() {
    let fixture = Fixture::new(|options, _| options.cache.bytes = 0);
    fixture.embed(wish(ReasoningMode::Never)).await;
    assert_eq!(fixture.embed(wish(ReasoningMode::Never)).await.usage.original, None);
}

#[tokio::test]
async fn what_pressure_has_shaped_is_not_remembered() {
    // A margin of a day presses every call.
    let fixture = Fixture::new(|options, _| {
        options.pressure =
            PressureOptions { deadline_margin_ms: 86_400_000, ..PressureOptions::default() };
    });
    for mode in [ReasoningMode::Auto, ReasoningMode::Always] {
        for _ in 0..2 {
            let usage = fixture.embed(wish(mode)).await.usage;
            assert_eq!((usage.pressure, usage.original), (Pressure::Deadline, None), "{mode:?}");
            let stop = (usage.route == Route::Reasoned).then_some(StopReason::Deadline);
            assert_eq!(usage.stop_reason, stop);
        }
        // One that keeps to its policy is, and answers those that would be pressed.
        let fixed = PolicyRequest { fixed: true, ..policy(mode) };
        let made = fixture.embed(embed_request(HARD_TEXT, fixed)).await;
        assert_eq!((made.usage.pressure, made.usage.route), (Pressure::None, Route::Reasoned));
        let again = fixture.embed(wish(mode)).await;
        assert_eq!(again.usage.original, Some(made.usage.cost()));
    }
}

/// Calls the engine `count` times at once with the same request.
fn together(fixture: &Fixture, count: usize, mode: ReasoningMode) -> tokio::task::JoinSet<Encoded> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let engine = Arc::clone(&fixture.engine);
        tasks.spawn(async move {
            let (call, _guard) = call();
            engine.embed(wish(mode), &call).await.expect("embeds").0
        });
    }
    tasks
}

#[tokio::test]
async fn the_same_request_many_times_at_once_runs_once() {
    // More of them than the queue has places.
    let fixture = Fixture::new(|options, fake| {
        options.limits.max_queue_items = 2;
        fake.step_delay = Duration::from_millis(2);
    });
    let answers = together(&fixture, 32, ReasoningMode::Always).join_all().await;
    let leads = answers.iter().filter(|answer| answer.usage.original.is_none());
    assert_eq!(leads.count(), 1);
    let ran = fixture.totals.get();
    for answer in &answers {
        assert_eq!(answer.embedding, answers[0].embedding);
        assert_eq!(answer.thought, answers[0].thought);
        assert_eq!(answer.usage.original.unwrap_or_else(|| answer.usage.cost()), ran);
    }
}

#[tokio::test]
async fn who_waits_for_a_caller_that_goes_away_is_served() {
    let fixture = Fixture::new(|_, fake| fake.step_delay = Duration::from_millis(20));
    let (first, guard) = call();
    let engine = Arc::clone(&fixture.engine);
    let leads =
        tokio::spawn(async move { engine.embed(wish(ReasoningMode::Always), &first).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let followers = together(&fixture, 4, ReasoningMode::Always);
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(guard);
    assert!(leads.await.expect("ends").is_err());
    let answers = followers.join_all().await;
    assert_eq!(answers.iter().filter(|one| one.usage.original.is_none()).count(), 1);
}

#[tokio::test]
async fn who_has_less_time_than_the_first_does_not_wait_for_it() {
    let fixture = Fixture::new(|_, fake| {
        fake.step_delay = Duration::from_millis(60);
        fake.thought_tokens = 40;
    });
    let slow = together(&fixture, 1, ReasoningMode::Always);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let (hurried, _guard) = Call::within(Duration::from_millis(600));
    let (answer, _) = fixture.engine.embed(wish(ReasoningMode::Always), &hurried).await.unwrap();
    let usage = answer.usage;
    let is_shaped =
        usage.pressure == Pressure::Deadline || usage.stop_reason == Some(StopReason::Deadline);
    assert!(usage.original.is_none() && is_shaped, "{usage:?}");
    slow.join_all().await;
}

#[tokio::test]
async fn what_pressure_has_shaped_is_not_shared() {
    let fixture = Fixture::new(|options, fake| {
        options.pressure =
            PressureOptions { deadline_margin_ms: 86_400_000, ..PressureOptions::default() };
        fake.direct_delay = Duration::from_millis(5);
    });
    let answers = together(&fixture, 4, ReasoningMode::Always).join_all().await;
    assert!(answers.iter().all(|one| one.usage.original.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_of_a_small_cache_get_what_they_asked_for() {
    // Room for some four of ten texts: entries come and go all the time.
    let fixture = Fixture::new(|options, _| options.cache.bytes = 4 * 1_024);
    let text = |i: usize| format!("question {} of ten?", i % 10);
    let mut want = Vec::new();
    for i in 0..10 {
        let fresh = Fixture::new(|options, _| options.cache.bytes = 0);
        want.push(fresh.embed(embed_request(&text(i), policy(ReasoningMode::Auto))).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let engine = Arc::clone(&fixture.engine);
        tasks.spawn(async move {
            let mut answers = Vec::new();
            for round in 0..40 {
                let i = (caller * 7 + round * round) % 10;
                let wish = PolicyRequest { fixed: true, ..policy(ReasoningMode::Auto) };
                let (call, _guard) = Call::within(Duration::from_secs(600));
                let made = engine.embed(embed_request(&text(i), wish), &call).await;
                answers.push((i, made.expect("embeds").0));
            }
            answers
        });
    }
    let answers: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let mut told = TokenCost::default();
    for (i, answer) in &answers {
        assert_eq!((&answer.embedding, &answer.thought), (&want[*i].embedding, &want[*i].thought));
        let original = answer.usage.original.unwrap_or_else(|| answer.usage.cost());
        assert_eq!(original, want[*i].usage.cost());
        told = sum(told, cost(&answer.usage, None));
    }
    assert_eq!(told, fixture.totals.get(), "every token that ran is told once");
    assert!(answers.iter().any(|(_, answer)| answer.usage.original.is_some()), "none was recalled");
}
