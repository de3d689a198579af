//! Documents through the house: validate, encode unless unchanged, write, acknowledge.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;
use twn_encoder::{EmbedKind, EncodeInput, RouteReason, Usage};
use twn_index::{Document, Durability, Operation, Outcome, UnitVector};

use crate::{
    batcher::Lane,
    call::Call,
    collections::Hosted,
    document::{DocumentInput, ValidDocument, WriteContext},
    encoding::{EncodeRequest, Encoded},
    engine::Engine,
    error::ServiceError,
    policy::PolicyRequest,
    search::check_range,
    timings::Timings,
};

/// How documents are to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// Where to.
    pub collection: String,
    /// Create the collection, with defaults, when it does not exist.
    pub create_collection: bool,
    /// When to think.
    pub policy: PolicyRequest,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Task instruction; `None` takes the encoder's default.
    pub instruction: Option<String>,
}

/// What became of a written document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStatus {
    /// The id was new.
    Inserted,
    /// The id's document was replaced.
    Updated,
    /// The stored document was the same: nothing was done.
    Unchanged,
}

/// One written document.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its id.
    pub id: String,
    /// What became of it.
    pub status: WriteStatus,
    /// How its vector was made.
    pub usage: Usage,
    /// Its thought, if there was one and it was asked for.
    pub thought: Option<String>,
    /// Where the time went.
    pub timings: Timings,
}

/// A stream of documents into one collection.
///
/// Documents are written concurrently, except that those of the same id keep the
/// order of their submission.
pub struct IngestSession {
    engine: Arc<Engine>,
    target: Arc<Target>,
    /// For each id under way, what tells when its latest document is through.
    under_way: Arc<Mutex<HashMap<String, UnderWay>>>,
}

struct UnderWay {
    number: u64,
    done: oneshot::Receiver<()>,
}

/// Where a write goes and what decides about its vectors.
struct Target {
    hosted: Arc<Hosted>,
    context: WriteContext,
    durability: Durability,
    include_thought: bool,
}

/// A document that is ready to be written.
struct Ready {
    document: Document,
    usage: Usage,
    thought: Option<String>,
    timings: Timings,
}

/// What encoding made of a document.
enum Prepared {
    Unchanged { id: String, timings: Timings },
    Ready(Box<Ready>),
}

impl Engine {
    /// Opens a stream of documents into one collection.
    ///
    /// # Errors
    /// `CollectionNotFound` unless it is to be created, and the policy's faults.
    pub async fn open_ingest(
        self: &Arc<Self>,
        options: WriteOptions,
    ) -> Result<IngestSession, ServiceError> {
        let target = Arc::new(self.target(options).await?);
        Ok(IngestSession { engine: Arc::clone(self), target, under_way: Arc::default() })
    }

    /// Writes a few documents, all or none: every one is validated and encoded before
    /// the first is written.
    ///
    /// # Errors
    /// The first document's fault, by field; `DeadlineExceeded`, `Cancelled`.
    pub async fn upsert(
        self: &Arc<Self>,
        documents: Vec<DocumentInput>,
        options: WriteOptions,
        call: &Call,
    ) -> Result<Vec<Written>, ServiceError> {
        check_range("documents", documents.len(), self.limits.max_upsert_documents)?;
        let target = Arc::new(self.target(options).await?);

        let mut valid = Vec::with_capacity(documents.len());
        for (i, document) in documents.into_iter().enumerate() {
            let field = format!("documents[{i}]");
            let document = document.validate(&field, &target.context, &self.limits)?;
            valid.push((field, document));
        }
        let mut encoding = Vec::new();
        for (field, document) in valid {
            let (engine, target, call) = (Arc::clone(self), Arc::clone(&target), call.clone());
            encoding.push(tokio::spawn(async move {
                engine.prepare_document(document, &target, &field, &call).await
            }));
        }
        let mut prepared = Vec::with_capacity(encoding.len());
        for task in encoding {
            let joined = task.await;
            let internal =
                |e: tokio::task::JoinError| ServiceError::Internal { problem: e.to_string() };
            prepared.push(joined.map_err(internal)??);
        }
        call.check("writing")?;
        target.write(prepared).await
    }

    /// Deletes documents by id and tells how many of them existed. Durable on return.
    ///
    /// # Errors
    /// Refuses no ids, too many and unusable ones.
    pub async fn delete(
        &self,
        collection: &str,
        ids: Vec<String>,
        call: &Call,
    ) -> Result<usize, ServiceError> {
        let hosted = self.collections.get(collection)?;
        self.check_ids(&ids)?;
        call.check("deleting")?;
        let operations = ids.into_iter().map(Operation::Delete).collect();
        let applied = hosted.writer.write(operations, Durability::Durable).await?;
        Ok(applied.iter().filter(|a| a.outcome == Outcome::Deleted).count())
    }

    async fn target(self: &Arc<Self>, options: WriteOptions) -> Result<Target, ServiceError> {
        let policy = self.resolve_policy(&options.policy)?;
        let hosted = if options.create_collection {
            self.find_or_create(&options.collection).await?
        } else {
            self.collections.get(&options.collection)?
        };
        let context = WriteContext {
            collection: hosted.name.clone(),
            dimension: hosted.collection.config().dimension,
            schema: hosted.collection.config().schema.clone(),
            instruction: options.instruction,
            policy,
            encoder_fingerprint: hosted.collection.config().encoder_fingerprint.clone(),
        };
        let include_thought = options.policy.include_thought;
        Ok(Target { hosted, context, durability: options.durability, include_thought })
    }

    /// Gives a document its vector, unless the stored document is the same.
    async fn prepare_document(
        &self,
        document: ValidDocument,
        target: &Target,
        field: &str,
        call: &Call,
    ) -> Result<Prepared, ServiceError> {
        let started = Instant::now();
        let stored = target.hosted.collection.snapshot().content_hash(&document.id);
        let stored = stored
            .map_err(|error| ServiceError::from_index(error, &target.context.collection, field))?;
        if stored == Some(document.content_hash) {
            let timings = Timings { total: started.elapsed(), ..Timings::default() };
            return Ok(Prepared::Unchanged { id: document.id, timings });
        }

        let mut document = document;
        let (vector, usage, thought, encode) = match document.vector.take() {
            Some(vector) => {
                let usage = Usage::not_encoded(RouteReason::VectorSupplied, "");
                (vector, usage, None, twn_encoder::EncodeTimings::default())
            }
            None => {
                target.hosted.check_encoder(self.encoder.info())?;
                let input = EncodeInput {
                    content: document.content.clone(),
                    instruction: target.context.instruction.clone(),
                    kind: EmbedKind::Document,
                };
                let request = EncodeRequest {
                    input,
                    field: &format!("{field}.content"),
                    policy: target.context.policy,
                    // What is stored must not depend on the load of the moment.
                    fixed: true,
                    explain: false,
                    lane: Lane::Ingest,
                };
                let Encoded { embedding, thought, usage, timings, .. } =
                    self.encoder.encode(request, call).await?;
                let vector = UnitVector::new(embedding)
                    .map_err(|error| ServiceError::Internal { problem: error.to_string() })?;
                (vector, usage, thought, timings)
            }
        };
        let document = document.into_stored(vector, &usage, thought.clone())?;
        let timings = Timings { total: started.elapsed(), encode, ..Timings::default() };
        let thought = thought.filter(|_| target.include_thought);
        Ok(Prepared::Ready(Box::new(Ready { document, usage, thought, timings })))
    }
}

impl IngestSession {
    /// Submits a document and returns the future of its writing. The order of calls
    /// is the order in which documents of one id take effect; the futures may be
    /// polled in any order or at once. Dropping one gives its document up unless it
    /// has reached the write-ahead log.
    pub fn submit(
        &self,
        document: DocumentInput,
        number: u64,
        call: Call,
    ) -> impl Future<Output = Result<Written, ServiceError>> + Send + use<> {
        let id = document.id.clone();
        let (done, waiter) = oneshot::channel::<()>();
        let earlier = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.insert(id.clone(), UnderWay { number, done: waiter })
        };
        let departure =
            Departure { under_way: Arc::clone(&self.under_way), id, number, _done: done };
        let (engine, target) = (Arc::clone(&self.engine), Arc::clone(&self.target));

        async move {
            let _departure = departure;
            let started = Instant::now();
            let document = document.validate("document", &target.context, &engine.limits)?;
            if let Some(earlier) = earlier {
                // An error only tells that the earlier document is through.
                let _ = earlier.done.await;
            }
            let prepared = engine.prepare_document(document, &target, "document", &call).await?;
            call.check("writing")?;
            let mut written = target.write(vec![prepared]).await?.pop().ok_or_else(|| {
                ServiceError::Internal { problem: "write without an answer".into() }
            })?;
            written.timings.total = started.elapsed();
            Ok(written)
        }
    }
}

/// Lets the next document of the same id go ahead, however this one ended.
struct Departure {
    under_way: Arc<Mutex<HashMap<String, UnderWay>>>,
    id: String,
    number: u64,
    _done: oneshot::Sender<()>,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&self.id).is_some_and(|latest| latest.number == self.number) {
            under_way.remove(&self.id);
        }
    }
}

impl Target {
    /// Writes what is ready in one atomic step and reports on every document.
    async fn write(&self, prepared: Vec<Prepared>) -> Result<Vec<Written>, ServiceError> {
        let started = Instant::now();
        let mut operations = Vec::new();
        let mut reports = Vec::with_capacity(prepared.len());
        for document in prepared {
            reports.push(match document {
                Prepared::Unchanged { id, timings } => Written {
                    id,
                    status: WriteStatus::Unchanged,
                    usage: Usage::not_encoded(
                        RouteReason::Unchanged,
                        self.context.encoder_fingerprint.clone(),
                    ),
                    thought: None,
                    timings,
                },
                Prepared::Ready(ready) => {
                    let Ready { document, usage, thought, timings } = *ready;
                    let id = document.id.clone();
                    operations.push(Operation::Upsert(Box::new(document)));
                    Written { id, status: WriteStatus::Inserted, usage, thought, timings }
                }
            });
        }
        if operations.is_empty() {
            return Ok(reports);
        }

        let applied = self.hosted.writer.write(operations, self.durability).await?;
        let write = started.elapsed();
        let changed = reports.iter_mut().filter(|r| r.status != WriteStatus::Unchanged);
        for (report, applied) in changed.zip(applied) {
            if applied.outcome == Outcome::Updated {
                report.status = WriteStatus::Updated;
            }
            report.timings.write = write;
            report.timings.total += write;
        }
        Ok(reports)
    }
}
