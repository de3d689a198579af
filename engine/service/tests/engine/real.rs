//! The same promise on a real model, a tiny one: requests of all kinds at once, batched as
//! they come, get the bits that each gets alone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use twn_encoder::{EmbedKind, Encoder, LoadOptions};
use twn_service::{Call, Engine, Limits, PressureOptions};

use crate::{
    mixed::Ask,
    support::{embed_request, options},
};

const PATIENCE: Duration = Duration::from_secs(3_600);
/// Requests on the tiny model.
const REQUESTS: usize = 1_000;

/// The model: the tiny one of the encoder's tests, or what `TWN_TEST_MODEL` names.
fn model() -> PathBuf {
    std::env::var_os("TWN_TEST_MODEL").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama"),
        PathBuf::from,
    )
}

fn encoder() -> Encoder {
    let options = LoadOptions { threads: 1, context_tokens: 512, ..LoadOptions::new(model()) };
    Encoder::load(&options).expect("loads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_on_a_real_model_get_what_each_gets_alone() {
    let data = TempDir::new().expect("tempdir");
    let limits = Limits {
        max_queue_items: REQUESTS,
        max_queue_tokens: 1 << 20,
        max_deadline_s: PATIENCE.as_secs(),
        ..Limits::default()
    };
    let pressure = PressureOptions { load_from: 1.0, ..PressureOptions::default() };
    let options = twn_service::EngineOptions { pressure, ..options(data.path(), limits) };
    let engine = Engine::start(encoder(), options).expect("starts");
    let alone = Arc::new(Mutex::new(encoder()));
    let (call, _guard) = Call::within(PATIENCE);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..REQUESTS {
        let (engine, alone, call) = (Arc::clone(&engine), Arc::clone(&alone), call.clone());
        tasks.spawn(async move {
            let ask = Ask::numbered(i);
            let kind = if i.is_multiple_of(2) { EmbedKind::Query } else { EmbedKind::Document };
            let wish = embed_request(ask.text.as_str(), ask.policy.clone());
            let wish = twn_service::EmbedRequest { kind, explain: ask.explain, ..wish };
            let (encoded, _) = engine.embed(wish, &call).await.expect("embeds");
            let got = (encoded.embedding, encoded.usage.route);
            let want = tokio::task::spawn_blocking(move || {
                let mut alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
                ask.alone_on(&mut *alone, kind)
            });
            assert_eq!(got, want.await.expect("embeds alone"), "{i}");
            u64::from(encoded.usage.reasoning_tokens)
        });
    }
    let reasoned: u64 = tasks.join_all().await.into_iter().sum();
    assert!(reasoned > 1_000, "{reasoned} tokens of thoughts");
}
