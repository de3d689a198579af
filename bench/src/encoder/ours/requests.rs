//! Requests side by side, through the service: admission, batcher and model thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::runtime::Runtime;
use twn_encoder::{
    Content, EmbedKind, Embedder, Encoder, ReasoningMode, Route, Usage, adapter::Interface,
};
use twn_service::{
    CacheOptions, Call, EmbedRequest, Engine, EngineOptions, Limits, PolicyDefaults, PolicyRequest,
};

use super::super::{
    contestant::{Order, Reasoned},
    ran::Ran,
};

const PATIENCE: Duration = Duration::from_secs(300);
/// Thought tokens of a reasoned request that is timed, at most: the adapters end most before.
const BUDGET: u32 = 32;
/// The same of those that only keep the model busy; one follows another.
const BACKGROUND_BUDGET: u32 = 256;
/// How long to wait until all background thoughts decode.
const SETTLE: Duration = Duration::from_millis(500);

/// The service over one encoder, without a cache of answers.
pub(super) struct Requests {
    runtime: Runtime,
    engine: Arc<Engine>,
    /// How its adapters meet, by [`Interface::name`].
    interface: &'static str,
    _data: tempfile::TempDir,
    /// No two requests have the same text.
    count: Arc<AtomicUsize>,
}

impl Requests {
    pub(super) fn start(encoder: Encoder) -> anyhow::Result<Self> {
        let interface = encoder.info().interface;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let data = tempfile::tempdir()?;
        let options = EngineOptions {
            data: data.path().to_owned(),
            search_threads: 1,
            policy: PolicyDefaults::default(),
            batch: twn_service::BatchOptions::default(),
            pressure: twn_service::PressureOptions::default(),
            cache: CacheOptions { bytes: 0 },
            limits: Limits::default(),
        };
        let engine = {
            let _guard = runtime.enter();
            Engine::start(encoder, options)?
        };
        Ok(Self { runtime, engine, interface, _data: data, count: Arc::default() })
    }

    /// Times reasoned requests, at once or one after another.
    ///
    /// # Errors
    /// Fails when the adapters do not meet by `interface`, as another model's may not.
    pub(super) fn reasoned(
        &self,
        interface: Interface,
        requests: usize,
        order: Order,
    ) -> anyhow::Result<Reasoned> {
        let (wanted, ours) = (interface.name(), self.interface);
        ensure!(wanted == ours, "the encoder's adapters have the interface {ours}, not {wanted}");
        // The same texts in both orders.
        self.count.store(0, Ordering::Relaxed);
        let (engine, count) = (&self.engine, &self.count);
        self.runtime.block_on(async {
            let (started, mut ran) = (Instant::now(), Vec::with_capacity(requests));
            match order {
                Order::InTurn => {
                    for _ in 0..requests {
                        ran.push(ask(engine, count, ReasoningMode::Always, BUDGET).await?);
                    }
                }
                Order::Together => {
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..requests {
                        let (engine, count) = (Arc::clone(engine), Arc::clone(count));
                        tasks.spawn(async move {
                            ask(&engine, &count, ReasoningMode::Always, BUDGET).await
                        });
                    }
                    while let Some(answer) = tasks.join_next().await {
                        ran.push(answer??);
                    }
                }
            }
            let time = started.elapsed();
            Ok(Reasoned { time, ran: ran.iter().map(|usage| ran_for(usage, interface)).sum() })
        })
    }

    /// Latencies of direct requests, one after another, while thoughts decode.
    pub(super) fn direct_latencies(
        &self,
        requests: usize,
        thoughts: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let (engine, count) = (&self.engine, &self.count);
        self.runtime.block_on(async {
            let stop = Arc::new(AtomicBool::new(false));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..thoughts {
                let (engine, count, stop) =
                    (Arc::clone(engine), Arc::clone(count), Arc::clone(&stop));
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        ask(&engine, &count, ReasoningMode::Always, BACKGROUND_BUDGET).await?;
                    }
                    anyhow::Ok(())
                });
            }
            if thoughts > 0 {
                tokio::time::sleep(SETTLE).await;
            }
            let mut latencies = Vec::with_capacity(requests);
            for _ in 0..requests {
                let started = Instant::now();
                ask(engine, count, ReasoningMode::Never, 1).await?;
                latencies.push(started.elapsed());
            }
            stop.store(true, Ordering::Relaxed);
            while let Some(answer) = tasks.join_next().await {
                answer??;
            }
            Ok(latencies)
        })
    }
}

/// What a reasoned request ran. With one cache a prompt is read once, and the queries over it;
/// otherwise prompt and thought once more than that, for the embedding.
fn ran_for(usage: &Usage, interface: Interface) -> Ran {
    let prompt = u64::from(usage.prompt_tokens - usage.cached_prompt_tokens);
    let (thought, queries) = (u64::from(usage.reasoning_tokens), u64::from(usage.query_tokens));
    match interface {
        Interface::Cache => Ran { embedded: 0, read: prompt + queries, thought },
        Interface::Reencode => Ran { embedded: prompt + thought + queries, read: prompt, thought },
    }
}

/// Embeds one new text and checks that it went the way that was asked for. Gives its usage.
async fn ask(
    engine: &Engine,
    count: &AtomicUsize,
    mode: ReasoningMode,
    token_budget: u32,
) -> anyhow::Result<Usage> {
    let number = count.fetch_add(1, Ordering::Relaxed);
    let text = format!(
        "Question {number}: how does a heat exchanger transfer heat between two fluids, and \
         what decides how much of it?"
    );
    let request = EmbedRequest {
        content: Content::text(text),
        instruction: None,
        kind: EmbedKind::Query,
        policy: PolicyRequest {
            mode: Some(mode),
            token_budget: Some(token_budget),
            // Neither load nor deadline shortens what is measured.
            fixed: true,
            ..PolicyRequest::default()
        },
        explain: false,
        field: "content".to_owned(),
    };
    let (call, _guard) = Call::within(PATIENCE);
    let (encoded, _) = engine.embed(request, &call).await?;
    let wanted = match mode {
        ReasoningMode::Always => Route::Reasoned,
        ReasoningMode::Auto | ReasoningMode::Never => Route::Direct,
    };
    ensure!(encoded.usage.route == wanted, "took the route {:?}", encoded.usage.route);
    Ok(encoded.usage)
}
