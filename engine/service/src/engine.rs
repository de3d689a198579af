//! The engine: an encoder, the collections, and the pipelines between them.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use twn_encoder::{Embedder, EncoderInfo, ReasoningPolicy};

use crate::{
    admission::Admission,
    batcher::{Batcher, Shares},
    cache::{CacheOptions, EmbeddingCache},
    collections::{CollectionView, Collections, CreateCollection, Hosted},
    encoding::EncoderHandle,
    error::ServiceError,
    limits::Limits,
    policy::{PolicyDefaults, PolicyRequest},
    pressure::PressureOptions,
    search_pool::SearchPool,
};

/// How an engine is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// Folder that holds the collections; created when missing.
    pub data: PathBuf,
    /// Threads that search.
    pub search_threads: usize,
    /// Defaults of the reasoning policy.
    pub policy: PolicyDefaults,
    /// What one batch of the encoder may hold.
    pub batch: BatchOptions,
    /// What load and deadlines do to thinking.
    pub pressure: PressureOptions,
    /// How many recent embeddings are remembered.
    pub cache: CacheOptions,
    /// Every limit a client can meet.
    pub limits: Limits,
}

/// What one batch of the encoder may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Prompt tokens of one batch of searches.
    pub search_tokens: usize,
    /// Prompt tokens of one batch of documents. A search that arrives waits for it, so
    /// it is small; larger ones gain nothing on a CPU.
    pub ingest_tokens: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { search_tokens: 1_024, ingest_tokens: 256 }
    }
}

/// An encoder, the collections, and the pipelines between them.
pub struct Engine {
    pub(crate) encoder: EncoderHandle,
    pub(crate) collections: Arc<Collections>,
    pub(crate) search_pool: SearchPool,
    pub(crate) limits: Limits,
    policy: PolicyDefaults,
}

impl Engine {
    /// Opens the collections and starts the model thread. Call within a tokio runtime.
    ///
    /// # Errors
    /// Refuses limits of zero and shares outside 0 to 1; fails when the data folder can't be used or a thread
    /// can't be started.
    pub fn start<E: Embedder>(
        embedder: E,
        options: EngineOptions,
    ) -> Result<Arc<Self>, ServiceError> {
        let internal = |problem: String| ServiceError::Internal { problem };
        let limits = options.limits;
        limits.validate().map_err(|problem| ServiceError::invalid("limits", problem))?;
        let pressure = options.pressure;
        pressure.validate().map_err(|problem| ServiceError::invalid("pressure", problem))?;

        let collections =
            Collections::open(&options.data, &limits).map_err(|e| internal(e.to_string()))?;
        let search_pool =
            SearchPool::start(options.search_threads).map_err(|e| internal(e.to_string()))?;

        let (info, prompter) = (embedder.info().clone(), embedder.prompter());
        let shares = Shares {
            search_tokens: options.batch.search_tokens,
            ingest_tokens: options.batch.ingest_tokens,
            thoughts: limits.max_thoughts,
            max_queue_tokens: limits.max_queue_tokens,
            pressure,
        };
        let batcher = Batcher::start(embedder, shares, limits.max_queue_items.saturating_mul(2))
            .map_err(|e| internal(e.to_string()))?;
        let cache = EmbeddingCache::new(options.cache);
        let encoder = EncoderHandle::new(info, prompter, Admission::new(&limits), batcher, cache);
        let collections = Arc::new(collections);
        Ok(Arc::new(Self { encoder, collections, search_pool, limits, policy: options.policy }))
    }

    /// Describes the encoder.
    pub fn encoder(&self) -> &EncoderInfo {
        self.encoder.info()
    }

    /// Every limit a client can meet.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// `CollectionExists`, or the configuration's faults by field.
    pub async fn create_collection(
        self: &Arc<Self>,
        request: CreateCollection,
    ) -> Result<CollectionView, ServiceError> {
        let created =
            self.on_disk(move |engine| engine.collections.create(&request, engine.encoder.info()));
        Ok(created.await?.view())
    }

    /// Describes a collection.
    ///
    /// # Errors
    /// `CollectionNotFound`, or `DataLoss` when it could not be opened.
    pub fn collection(&self, name: &str) -> Result<CollectionView, ServiceError> {
        Ok(self.collections.get(name)?.view())
    }

    /// Describes up to `limit` collections whose names follow `after`, in order of their names.
    pub fn list_collections(&self, after: &str, limit: usize) -> Vec<CollectionView> {
        self.collections.views(after, limit)
    }

    /// Deletes a collection and its files.
    ///
    /// # Errors
    /// `CollectionNotFound`, or `Internal` when the files can't be removed.
    pub async fn delete_collection(self: &Arc<Self>, name: String) -> Result<(), ServiceError> {
        self.on_disk(move |engine| engine.collections.delete(&name)).await
    }

    /// Writes a collection's tail into a sealed segment, and waits for it.
    ///
    /// # Errors
    /// `CollectionNotFound`, or the index's failure.
    pub async fn seal_collection(
        self: &Arc<Self>,
        name: String,
    ) -> Result<CollectionView, ServiceError> {
        self.on_disk(move |engine| {
            let hosted = engine.collections.get(&name)?;
            let sealed = hosted.collection.seal();
            sealed.map_err(|error| ServiceError::from_index(error, &name, "name"))?;
            Ok(hosted.view())
        })
        .await
    }

    /// Finishes the encoder's queue and closes the collections. Nothing that was
    /// acknowledged is lost; later requests fail with `Unavailable`.
    pub async fn shut_down(self: &Arc<Self>) {
        let closed = self.on_disk(|engine| {
            engine.encoder.shut_down();
            engine.collections.close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "shutting down");
        }
    }

    pub(crate) fn resolve_policy(
        &self,
        request: &PolicyRequest,
    ) -> Result<ReasoningPolicy, ServiceError> {
        request.resolve(&self.policy, self.encoder.info(), &self.limits)
    }

    pub(crate) async fn find_or_create(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Arc<Hosted>, ServiceError> {
        let name = name.to_owned();
        self.on_disk(move |engine| engine.collections.get_or_create(&name, engine.encoder.info()))
            .await
    }

    /// Runs blocking work off the async threads.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let engine = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&engine))
            .await
            .map_err(|error| ServiceError::Internal { problem: error.to_string() })?
    }
}
