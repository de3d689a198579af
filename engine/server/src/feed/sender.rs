//! The client's side of an ingest: spends credits, sends again what may succeed later,
//! and opens a new stream when the server restarts.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use twn_protos::v1::{self as pb, ingest_request, ingest_response};

use super::{
    journal::{self, Journal},
    queue::{Next, Pending, Queue},
    record::Record,
    report::{Failure, Report},
    retry::{self, ITEM_ATTEMPTS, STREAM_ATTEMPTS},
};
use crate::client::{Client, Refusal, code_name};

/// Items sent and not yet answered, however many credits there are: as many requests fit
/// into the channel, so that sending never waits while answers do.
const IN_FLIGHT_MAX: usize = 1_024;
/// How long a server may take from the last answer to the summary.
const SUMMARY_TIMEOUT: Duration = Duration::from_secs(60);

/// What an ingest is to do with the records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Job {
    /// An existing collection.
    pub collection: String,
    /// When to think.
    pub reasoning: pb::ReasoningPolicy,
    /// Task instruction; empty means the encoder's default.
    pub instruction: String,
}

/// Sends every record and waits until all of them are answered. When `stop` is cancelled,
/// what is under way is finished and the rest is left.
///
/// `journal` says what to skip and hears what is acknowledged; `watch` hears of progress.
///
/// # Errors
/// Fails when the server refuses the stream itself, or stays away; what was acknowledged
/// until then is in the journal.
pub async fn send(
    client: &Client,
    job: &Job,
    records: mpsc::Receiver<Record>,
    journal: Option<Journal>,
    stop: CancellationToken,
    mut watch: impl FnMut(&Report),
) -> anyhow::Result<Report> {
    let mut sender = Sender::new(records, journal, stop);
    let mut attempt = 0;
    let outcome = loop {
        let through = sender.report.through();
        match sender.converse(client, job, &mut watch).await {
            Ok(()) => break Ok(()),
            Err(status) if is_final(&status) => break Err(status),
            Err(status) => {
                attempt = if sender.report.through() > through { 1 } else { attempt + 1 };
                let Some(pause) = retry::pause(attempt, STREAM_ATTEMPTS) else { break Err(status) };
                let (code, message) = (code_name(status.code()), status.message());
                tracing::warn!(code, message, ?pause, "the stream broke off, opening it again");
                sender.take_back();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = sender.stop.cancelled() => {
                        sender.report.is_interrupted = true;
                        break Ok(());
                    }
                }
            }
        }
    };
    sender.finish(outcome)
}

/// Tells whether the same stream would fail again.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::DataLoss
    )
}

struct Sender {
    queue: Queue,
    in_flight: HashMap<u64, Pending>,
    next_seq: u64,
    journal: Option<Journal>,
    report: Report,
    stop: CancellationToken,
}

impl Sender {
    fn new(
        records: mpsc::Receiver<Record>,
        journal: Option<Journal>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            queue: Queue::new(records),
            in_flight: HashMap::new(),
            next_seq: 0,
            journal,
            report: Report::default(),
            stop,
        }
    }

    /// Runs one stream, to the end of the records or to its breakdown.
    async fn converse(
        &mut self,
        client: &Client,
        job: &Job,
        watch: &mut impl FnMut(&Report),
    ) -> Result<(), Status> {
        let (requests, outbound) = mpsc::channel(IN_FLIGHT_MAX + 2);
        let start = pb::IngestStart {
            collection: job.collection.clone(),
            reasoning: Some(job.reasoning),
            durability: pb::Durability::Durable.into(),
            instruction: job.instruction.clone(),
            create_collection: false,
        };
        let closed = |_| Status::unavailable("the server closed the stream");
        let say = |kind| pb::IngestRequest { kind: Some(kind) };
        requests.send(say(ingest_request::Kind::Start(start))).await.map_err(closed)?;
        let mut answers = client.ingest().ingest(ReceiverStream::new(outbound)).await?.into_inner();

        let mut credits = 0_u32;
        while !self.is_done() {
            let may_send =
                credits > 0 && self.in_flight.len() < IN_FLIGHT_MAX && !self.is_stopped();
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer?.and_then(|answer| answer.kind);
                    let answer = answer.ok_or_else(|| Status::unavailable("the stream ended early"))?;
                    if let ingest_response::Kind::Window(window) = answer {
                        credits = credits.saturating_add(window.credits);
                    } else {
                        self.hear(answer)?;
                    }
                }
                next = self.queue.next(), if may_send => {
                    if let Some(pending) = self.admit(next) {
                        let (seq, document) = (self.next_seq, Some(pending.document.clone()));
                        self.next_seq += 1;
                        self.in_flight.insert(seq, pending);
                        let item = ingest_request::Kind::Item(pb::IngestItem { seq, document });
                        requests.send(say(item)).await.map_err(closed)?;
                        credits -= 1;
                    }
                }
                () = self.stop.cancelled(), if !self.is_stopped() => {
                    self.report.is_interrupted = true;
                }
            }
            watch(&self.report);
        }
        requests
            .send(say(ingest_request::Kind::Finish(pb::IngestFinish {})))
            .await
            .map_err(closed)?;
        // Every item has been answered, so a missing summary loses nothing.
        let summary = async { while let Ok(Some(_)) = answers.message().await {} };
        let _ = tokio::time::timeout(SUMMARY_TIMEOUT, summary).await;
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.report.is_interrupted
    }

    fn is_done(&self) -> bool {
        self.in_flight.is_empty() && (self.is_stopped() || self.queue.is_empty())
    }

    /// Settles records that need not be sent, and returns the others.
    fn admit(&mut self, next: Next) -> Option<Pending> {
        let record = match next {
            Next::Ready(pending) => return Some(pending),
            Next::New(record) => record,
            Next::Exhausted => return None,
        };
        let document = match record.document {
            Ok(document) => document,
            Err(message) => {
                let id = String::new();
                self.report.fail(Failure { place: record.place, id, code: None, message });
                return None;
            }
        };
        let key = journal::key(&document);
        if self.journal.as_ref().is_some_and(|journal| journal.has(&key)) {
            self.report.skipped += 1;
            return None;
        }
        self.queue.line_up(Pending { place: record.place, document, key, attempts: 1 })
    }

    /// Takes in an item's answer.
    fn hear(&mut self, answer: ingest_response::Kind) -> Result<(), Status> {
        match answer {
            ingest_response::Kind::Ack(ack) => {
                let Some(pending) = self.in_flight.remove(&ack.seq) else { return Ok(()) };
                self.queue.settle(&pending.document.id);
                self.report.acknowledge(&ack);
                if let Some(journal) = &mut self.journal
                    && let Err(error) = journal.note(pending.key)
                {
                    // Without a journal a later run only takes longer.
                    tracing::warn!(%error, "the journal cannot be written, going on without");
                    self.journal = None;
                }
            }
            ingest_response::Kind::ItemError(error) => {
                let Some(pending) = self.in_flight.remove(&error.seq) else { return Ok(()) };
                self.refused(pending, error);
            }
            ingest_response::Kind::Window(_) => {}
            ingest_response::Kind::Summary(_) => {
                return Err(Status::unavailable("the server ended the stream early"));
            }
        }
        Ok(())
    }

    /// Has an item sent again, later, or counts it as failed.
    fn refused(&mut self, mut pending: Pending, error: pb::IngestItemError) {
        let pause = retry::pause(pending.attempts, ITEM_ATTEMPTS).filter(|_| error.retriable);
        if let Some(pause) = pause {
            pending.attempts += 1;
            self.queue.again(Instant::now() + pause, pending);
            return;
        }
        self.queue.settle(&pending.document.id);
        let code = Some(code_name(Code::from_i32(error.code)));
        let Pending { place, document, .. } = pending;
        self.report.fail(Failure { place, id: document.id, code, message: error.message });
    }

    /// Takes back what was on its way when the stream broke.
    fn take_back(&mut self) {
        let mut lost: Vec<_> = self.in_flight.drain().collect();
        lost.sort_unstable_by_key(|(seq, _)| *seq);
        for (_, pending) in lost {
            self.queue.again(Instant::now(), pending);
        }
    }

    /// Closes the journal and hands the report out.
    fn finish(mut self, outcome: Result<(), Status>) -> anyhow::Result<Report> {
        if let Some(mut journal) = self.journal.take() {
            let is_complete = outcome.is_ok() && self.report.is_complete();
            let closed = if is_complete { journal.remove() } else { journal.flush() };
            if let Err(error) = closed {
                tracing::warn!(%error, "the journal cannot be closed");
            }
        }
        let through = self.report.through();
        outcome.map_err(Refusal::from).with_context(|| {
            format!(
                "the ingest broke off after {through} records; the same command goes on from there"
            )
        })?;
        Ok(self.report)
    }
}
