//! A thousand requests of all kinds at once, each of which gets exactly what it would get
//! alone; and every token that ran is in exactly one answer.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use twn_encoder::{
    EmbedKind, Embedder, EncodeInput, FakeEmbedder, FakeOptions, Route, Thought, ThoughtOptions,
    TokenCost, Usage,
};
use twn_index::UnitVector;
use twn_service::{
    Call, Content, Convergence, ConvergenceRequest, CreateCollection, DocumentInput, Engine,
    IngestSession, Limits, PolicyRequest, PressureOptions, Query, ReasoningMode, SearchRequest,
    WriteOptions,
};

use crate::support::{
    Counting, cost, document, embed_request, options, policy, search_request, sum, write_options,
};

const REQUESTS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(3_600);

fn fake() -> FakeOptions {
    FakeOptions { thought_tokens: 20, ..FakeOptions::default() }
}

/// What one request asks for, by its number.
pub(crate) struct Ask {
    pub(crate) text: String,
    pub(crate) policy: PolicyRequest,
    pub(crate) explain: bool,
}

impl Ask {
    pub(crate) fn numbered(i: usize) -> Self {
        let modes = [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];
        // From a word to more than the context holds; every third text is a question.
        let words = 1 + (i * i * 7) % 600;
        let mut text: String = (0..words).map(|word| format!("w{} ", (i + word) % 97)).collect();
        if i.is_multiple_of(3) {
            text.push_str("why?");
        }
        let rule = Convergence { every: 1 + (i % 7) as u32, similarity: 0.9 };
        let policy = PolicyRequest {
            token_budget: Some(1 + (i % 30) as u32),
            temperature: Some((i % 2) as f32),
            seed: Some(i as u64),
            convergence: i.is_multiple_of(4).then_some(ConvergenceRequest::By(rule)),
            fixed: i.is_multiple_of(2),
            ..policy(modes[i / 5 % modes.len()])
        };
        Self { text, policy, explain: i.is_multiple_of(11) }
    }

    /// The embedding of an embedder that has nothing else to do.
    fn alone(&self, kind: EmbedKind) -> (Vec<f32>, Route) {
        self.alone_on(&mut FakeEmbedder::new(fake()), kind)
    }

    /// The same on an embedder of any kind.
    pub(crate) fn alone_on(
        &self,
        embedder: &mut impl Embedder,
        kind: EmbedKind,
    ) -> (Vec<f32>, Route) {
        let content = Content::text(self.text.as_str());
        let input = EncodeInput { content, instruction: None, kind };
        let prompt = embedder.prompter().prepare(&input).expect("has words");
        let direct = embedder.direct(&[&prompt]).expect("embeds").remove(0);
        let resolved = self
            .policy
            .resolve(&Default::default(), embedder.info(), &Limits::default())
            .expect("is a policy");
        let (route, _) = resolved.route(direct.gate_score, direct.room > 0);
        if route == Route::Direct {
            return (direct.embedding, route);
        }
        let options = ThoughtOptions {
            token_budget: resolved.token_budget,
            temperature: resolved.temperature,
            seed: resolved.seed,
            convergence: resolved.convergence,
        };
        let mut thought = embedder.think(direct.context, &options).expect("thinks");
        while thought.stop_reason().is_none() {
            embedder.step(&mut [&mut thought]).expect("thinks");
        }
        (embedder.reasoned(thought).expect("embeds").embedding, route)
    }
}

/// Does one request and checks its answer. Returns what it says it cost.
async fn request(engine: &Engine, session: &IngestSession, i: usize, call: Call) -> TokenCost {
    let ask = Ask::numbered(i);
    let (text, explain) = (ask.text.as_str(), ask.explain);
    match i % 5 {
        0 | 1 => {
            let kind = if i.is_multiple_of(5) { EmbedKind::Query } else { EmbedKind::Document };
            let wish = embed_request(text, ask.policy);
            let wish = twn_service::EmbedRequest { kind, explain, ..wish };
            let (encoded, _) = engine.embed(wish, &call).await.expect("embeds");
            let (want, route) = ask.alone(kind);
            assert_eq!((&encoded.embedding, encoded.usage.route), (&want, route), "{i}");
            let explanation = encoded.explanation.map(|explanation| explanation.cost);
            assert_eq!(explanation.is_some(), explain);
            cost(&encoded.usage, explanation.as_ref())
        }
        2 | 3 => {
            let wish = SearchRequest {
                collection: "still".into(),
                policy: ask.policy,
                exact: true,
                explain,
                ..search_request(text)
            };
            let found = engine.search(wish, &call).await.expect("finds");
            let (want, route) = ask.alone(EmbedKind::Query);
            assert_eq!(found.usage.route, route);
            let by_vector = SearchRequest {
                collection: "still".into(),
                query: Query::Vector(want),
                exact: true,
                ..search_request("")
            };
            let wanted = engine.search(by_vector, &call).await.expect("finds");
            let ranking = |hits: &[twn_service::Hit]| -> Vec<(String, f32)> {
                hits.iter().map(|hit| (hit.document.id.clone(), hit.score)).collect()
            };
            assert_eq!(ranking(&found.hits), ranking(&wanted.hits), "{i}");
            let explanation = found.explanation.map(|explanation| explanation.cost);
            cost(&found.usage, explanation.as_ref())
        }
        _ => {
            let id = format!("d{i}");
            let written = session.submit(document(&id, text), i as u64, call.clone()).await;
            let usage: Usage = written.expect("is written").usage;
            let stored = engine.get("docs", vec![id], &call).await.expect("reads");
            let wish = PolicyRequest { include_thought: false, ..document_policy() };
            let ask = Ask { policy: wish, ..ask };
            let (want, route) = ask.alone(EmbedKind::Document);
            let want = UnitVector::new(want).expect("is a unit vector");
            assert_eq!(
                (&stored.documents[0].vector[..], usage.route),
                (want.as_slice(), route),
                "{i}"
            );
            cost(&usage, None)
        }
    }
}

fn document_policy() -> PolicyRequest {
    PolicyRequest { token_budget: Some(9), ..policy(ReasoningMode::Auto) }
}

/// A collection that nobody writes to.
async fn fill(engine: &Arc<Engine>, call: &Call) {
    let name = "still".to_owned();
    let create = CreateCollection { name: name.clone(), ..CreateCollection::default() };
    engine.create_collection(create).await.expect("creates");
    let vector = |i: usize| (0..32).map(|axis| ((i * 31 + axis * 17) % 97) as f32 - 48.5).collect();
    let documents = (0..100).map(|i| DocumentInput {
        id: format!("s{i}"),
        vector: Some(vector(i)),
        ..DocumentInput::default()
    });
    let options = WriteOptions { collection: name, ..write_options(ReasoningMode::Never) };
    engine.upsert(documents.collect(), options, call).await.expect("writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_get_what_each_gets_alone() {
    let data = TempDir::new().expect("tempdir");
    let limits = Limits {
        max_queue_items: REQUESTS,
        max_queue_tokens: 1 << 20,
        max_deadline_s: PATIENCE.as_secs(),
        ..Limits::default()
    };
    let pressure = PressureOptions { load_from: 1.0, ..PressureOptions::default() };
    let (embedder, totals) = Counting::new(fake());
    let options = twn_service::EngineOptions { pressure, ..options(data.path(), limits) };
    let engine = Engine::start(embedder, options).expect("starts");
    let (call, _guard) = Call::within(PATIENCE);
    fill(&engine, &call).await;

    let writes = WriteOptions { policy: document_policy(), ..write_options(ReasoningMode::Auto) };
    let session = Arc::new(engine.open_ingest(writes).await.expect("opens"));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..REQUESTS {
        let (engine, session) = (Arc::clone(&engine), Arc::clone(&session));
        let call = call.clone();
        tasks.spawn(async move { request(&engine, &session, i, call).await });
    }
    let told = tasks.join_all().await.into_iter().fold(TokenCost::default(), sum);
    assert_eq!(told, totals.get(), "every token that ran is told once");
    assert!(told.reasoning_tokens > 1_000 && told.prompt_tokens > 100_000, "{told:?}");
}
