//! The task that writes to one collection: gathers what concurrent requests want to
//! write and hands it to the index together, so that they share one fsync.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use twn_index::{Applied, Collection, Durability, Operation};

use crate::error::ServiceError;

/// Requests that may wait for the writer; more wait for a place.
const QUEUE: usize = 256;
/// Operations gathered for one call of the index; one request may exceed it.
const MAX_GATHERED: usize = 1_024;

/// Hands operations to the writing task of one collection.
pub(crate) struct Writer {
    requests: mpsc::Sender<Request>,
    collection: Arc<Collection>,
    name: String,
}

struct Request {
    operations: Vec<Operation>,
    durability: Durability,
    answer: oneshot::Sender<Result<Vec<Applied>, ServiceError>>,
}

impl Writer {
    /// Starts the task; it ends when the writer is dropped.
    pub(crate) fn start(name: &str, collection: Arc<Collection>) -> Self {
        let (requests, inbox) = mpsc::channel(QUEUE);
        tokio::spawn(run(name.to_owned(), Arc::clone(&collection), inbox));
        Self { requests, collection, name: name.to_owned() }
    }

    /// Writes operations and waits until they are as durable as asked. Once handed
    /// over they are written even if the caller goes away.
    pub(crate) async fn write(
        &self,
        operations: Vec<Operation>,
        durability: Durability,
    ) -> Result<Vec<Applied>, ServiceError> {
        for operation in &operations {
            self.collection
                .validate(operation)
                .map_err(|error| ServiceError::from_index(error, &self.name, "documents"))?;
        }
        let (answer, answered) = oneshot::channel();
        let gone = || ServiceError::CollectionNotFound { name: self.name.clone() };
        let request = Request { operations, durability, answer };
        self.requests.send(request).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(name: String, collection: Arc<Collection>, mut inbox: mpsc::Receiver<Request>) {
    let mut requests = Vec::new();
    while inbox.recv_many(&mut requests, QUEUE).await > 0 {
        let mut waiting = requests.drain(..).peekable();
        while waiting.peek().is_some() {
            let mut gathered: Vec<Request> = Vec::new();
            let mut operations = 0;
            while let Some(request) = waiting
                .next_if(|r| gathered.is_empty() || operations + r.operations.len() <= MAX_GATHERED)
            {
                operations += request.operations.len();
                gathered.push(request);
            }
            write_gathered(&name, &collection, gathered).await;
        }
    }
}

async fn write_gathered(name: &str, collection: &Arc<Collection>, gathered: Vec<Request>) {
    let durable = gathered.iter().any(|r| r.durability == Durability::Durable);
    let durability = if durable { Durability::Durable } else { Durability::Accepted };
    let mut operations = Vec::new();
    let mut answers = Vec::new();
    for request in gathered {
        answers.push((request.answer, request.operations.len()));
        operations.extend(request.operations);
    }

    let index = Arc::clone(collection);
    let written = tokio::task::spawn_blocking(move || index.apply(operations, durability)).await;
    match written {
        Ok(Ok(applied)) => {
            let mut applied = applied.into_iter();
            for (answer, count) in answers {
                let _ = answer.send(Ok(applied.by_ref().take(count).collect()));
            }
        }
        Ok(Err(error)) => {
            // Each request was validated alone, so the failure is nobody's in particular.
            for (answer, _) in answers {
                let _ = answer.send(Err(ServiceError::from_index_shared(&error, name)));
            }
        }
        Err(panic) => {
            tracing::error!(collection = name, %panic, "writing");
            for (answer, _) in answers {
                let problem = format!("writing to collection `{name}` failed");
                let _ = answer.send(Err(ServiceError::Internal { problem }));
            }
        }
    }
}
