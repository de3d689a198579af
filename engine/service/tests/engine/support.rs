//! Engines to test, and short ways to say what the tests ask for.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use twn_encoder::{
    Begun, Direct, Embedder, EncoderError, EncoderInfo, FakeContext, FakeEmbedder, FakeOptions,
    FakeThought, Prepare, Prompt, Reasoned, Thought, ThoughtOptions, TokenCost, Usage,
};
use twn_service::{
    BatchOptions, CacheOptions, Call, CallGuard, Content, DocumentInput, Durability, EmbedKind,
    EmbedRequest, Engine, EngineOptions, ExplanationCost, Limits, PolicyDefaults, PolicyRequest,
    PressureOptions, Projection, Query, ReasoningMode, SearchAnswer, SearchRequest, ServiceError,
    WriteOptions, Written,
};

pub(crate) const DIRECT_TEXT: &str = "pumps move water";
pub(crate) const HARD_TEXT: &str = "why do pumps cavitate?";

pub(crate) fn options(data: &Path, limits: Limits) -> EngineOptions {
    EngineOptions {
        data: data.to_owned(),
        search_threads: 2,
        policy: PolicyDefaults::default(),
        batch: BatchOptions::default(),
        pressure: PressureOptions::default(),
        // What is recalled would not be made: only tests about that switch it on.
        cache: CacheOptions { bytes: 0 },
        limits,
    }
}

pub(crate) fn engine_with(data: &Path, fake: FakeOptions, limits: Limits) -> Arc<Engine> {
    Engine::start(FakeEmbedder::new(fake), options(data, limits)).expect("engine starts")
}

pub(crate) fn engine(data: &Path) -> Arc<Engine> {
    engine_with(data, FakeOptions::default(), Limits::default())
}

pub(crate) fn call() -> (Call, CallGuard) {
    Call::within(Duration::from_secs(20))
}

pub(crate) fn policy(mode: ReasoningMode) -> PolicyRequest {
    PolicyRequest { mode: Some(mode), include_thought: true, ..PolicyRequest::default() }
}

pub(crate) fn embed_request(text: &str, policy: PolicyRequest) -> EmbedRequest {
    EmbedRequest {
        content: Content::text(text),
        instruction: None,
        kind: EmbedKind::Query,
        policy,
        explain: false,
        field: "input".into(),
    }
}

pub(crate) fn write_options(mode: ReasoningMode) -> WriteOptions {
    WriteOptions {
        collection: "docs".into(),
        create_collection: true,
        policy: policy(mode),
        durability: Durability::Durable,
        instruction: None,
    }
}

pub(crate) fn document(id: &str, text: &str) -> DocumentInput {
    DocumentInput { id: id.into(), content: Content::text(text), ..DocumentInput::default() }
}

pub(crate) fn search_request(text: &str) -> SearchRequest {
    SearchRequest {
        collection: "docs".into(),
        query: Query::Content(Content::text(text)),
        instruction: None,
        limit: 3,
        filter: None,
        policy: PolicyRequest::default(),
        ef_search: None,
        recall_target: None,
        exact: false,
        projection: Projection::ALL,
        explain: false,
    }
}

pub(crate) async fn upsert(engine: &Arc<Engine>, documents: Vec<DocumentInput>) -> Vec<Written> {
    let (call, _guard) = call();
    engine.upsert(documents, write_options(ReasoningMode::Never), &call).await.expect("upsert")
}

pub(crate) async fn search(
    engine: &Engine,
    request: SearchRequest,
) -> Result<SearchAnswer, ServiceError> {
    let (call, _guard) = call();
    engine.search(request, &call).await
}

/// An embedder that counts the tokens which it runs.
pub(crate) struct Counting {
    inner: FakeEmbedder,
    totals: Arc<Totals>,
}

/// Tokens that ran, whoever they were for.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<TokenCost>);

impl Counting {
    pub(crate) fn new(options: FakeOptions) -> (Self, Arc<Totals>) {
        let totals: Arc<Totals> = Arc::default();
        (Self { inner: FakeEmbedder::new(options), totals: Arc::clone(&totals) }, totals)
    }
}

impl Totals {
    pub(crate) fn get(&self) -> TokenCost {
        *self.0.lock().expect("not poisoned")
    }

    fn add(&self, cost: TokenCost) {
        let mut totals = self.0.lock().expect("not poisoned");
        *totals = sum(*totals, cost);
    }
}

pub(crate) fn sum(a: TokenCost, b: TokenCost) -> TokenCost {
    TokenCost {
        prompt_tokens: a.prompt_tokens + b.prompt_tokens,
        cached_prompt_tokens: a.cached_prompt_tokens + b.cached_prompt_tokens,
        vision_tokens: a.vision_tokens + b.vision_tokens,
        reasoning_tokens: a.reasoning_tokens + b.reasoning_tokens,
        query_tokens: a.query_tokens + b.query_tokens,
    }
}

/// All tokens that an answer says ran for it.
pub(crate) fn cost(usage: &Usage, explanation: Option<&ExplanationCost>) -> TokenCost {
    let explanation = explanation.map_or_else(TokenCost::default, |cost| TokenCost {
        reasoning_tokens: cost.reasoning_tokens,
        query_tokens: cost.query_tokens,
        ..TokenCost::default()
    });
    sum(usage.cost(), explanation)
}

impl Embedder for Counting {
    type Context = FakeContext;
    type Thought = FakeThought;

    fn info(&self) -> &EncoderInfo {
        self.inner.info()
    }

    fn prompter(&self) -> Arc<dyn Prepare> {
        self.inner.prompter()
    }

    fn direct(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<FakeContext>>, EncoderError> {
        let made = self.inner.direct(prompts)?;
        for (prompt, direct) in prompts.iter().zip(&made) {
            self.totals.add(TokenCost {
                prompt_tokens: prompt.tokens.len() as u32,
                cached_prompt_tokens: direct.cached_prompt_tokens,
                query_tokens: direct.query_tokens,
                ..TokenCost::default()
            });
        }
        Ok(made)
    }

    fn room(&self, prompt: &Prompt) -> u32 {
        self.inner.room(prompt)
    }

    fn begin(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<FakeContext>>, EncoderError> {
        let begun = self.inner.begin(prompts)?;
        for (prompt, begun) in prompts.iter().zip(&begun) {
            self.totals.add(TokenCost {
                prompt_tokens: prompt.tokens.len() as u32,
                cached_prompt_tokens: begun.cached_prompt_tokens,
                ..TokenCost::default()
            });
        }
        Ok(begun)
    }

    fn open(
        &mut self,
        prompts: Vec<(FakeContext, ThoughtOptions)>,
    ) -> Result<Vec<FakeThought>, EncoderError> {
        self.inner.open(prompts)
    }

    fn step(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<(), EncoderError> {
        let decoded = |thoughts: &[&mut FakeThought]| thoughts.iter().map(|t| t.tokens()).sum();
        let before: u32 = decoded(thoughts);
        self.inner.step(thoughts)?;
        let reasoning_tokens = decoded(thoughts) - before;
        self.totals.add(TokenCost { reasoning_tokens, ..TokenCost::default() });
        Ok(())
    }

    fn catch_up(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<bool, EncoderError> {
        self.inner.catch_up(thoughts)
    }

    fn finish(&mut self, thoughts: Vec<FakeThought>) -> Result<Vec<Reasoned>, EncoderError> {
        let made = self.inner.finish(thoughts)?;
        let query_tokens = made.iter().map(|reasoned| reasoned.query_tokens).sum();
        self.totals.add(TokenCost { query_tokens, ..TokenCost::default() });
        Ok(made)
    }
}
