//! One ingest stream: credits out, items in, acknowledgements as they finish.
//!
//! An item costs the client a credit, which comes back when the item is through and
//! its answer sent. So a client that does not read its answers runs out of credits,
//! and a stream never holds more than its credits' worth of documents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tonic::Streaming;
use twn_protos::v1::{
    IngestAck, IngestItem, IngestItemError, IngestRequest, IngestResponse, IngestSummary,
    IngestWindow, ingest_request, ingest_response,
};
use twn_service::{IngestSession, Limits, ServiceError, Timings, WriteStatus, Written};

use crate::{
    convert::{count32, document, required, usage, write},
    rpc::duplex::{Duplex, End},
    status,
};

/// Reads a stream to its end and answers everything on it.
pub(crate) async fn run(
    duplex: Duplex<IngestResponse>,
    mut inbound: Streaming<IngestRequest>,
) -> Result<(), End> {
    let engine = Arc::clone(duplex.host.engine()?);
    let session = {
        let first = timeout(duplex.patience(), inbound.message());
        let draining = duplex.host.draining.cancelled();
        let first = tokio::select! {
            biased;
            first = first => first,
            () = draining => return Err(End::stopping()),
        };
        let late = |_| ServiceError::DeadlineExceeded { stage: "waiting for `start`" };
        let start = match first.map_err(late)?.map_err(End::Broken)?.and_then(|first| first.kind) {
            Some(ingest_request::Kind::Start(start)) => start,
            _ => return Err(ServiceError::invalid("start", "must be the first message").into()),
        };
        engine.open_ingest(write::stream_options(start)?).await?
    };
    let mut stream = IngestStream::new(duplex, session, engine.limits());
    stream.grant().await?;
    stream.serve(&mut inbound).await
}

/// What is known of an item that is being written.
struct Flight {
    seq: u64,
    id: String,
}

struct IngestStream {
    duplex: Duplex<IngestResponse>,
    session: IngestSession,
    tasks: JoinSet<Result<Written, ServiceError>>,
    flights: HashMap<Id, Flight>,
    /// The sequence numbers of `flights`.
    seqs: HashSet<u64>,
    credits: Credits,
    summary: IngestSummary,
    timings: Timings,
    opened: Instant,
}

impl IngestStream {
    fn new(duplex: Duplex<IngestResponse>, session: IngestSession, limits: &Limits) -> Self {
        Self {
            duplex,
            session,
            tasks: JoinSet::new(),
            flights: HashMap::new(),
            seqs: HashSet::new(),
            credits: Credits::new(count32(limits.ingest_credits)),
            summary: IngestSummary::default(),
            timings: Timings::default(),
            opened: Instant::now(),
        }
    }

    /// Reads until the client is done or the server stops, then finishes what is under way.
    async fn serve(&mut self, inbound: &mut Streaming<IngestRequest>) -> Result<(), End> {
        let draining = self.duplex.host.draining.clone();
        let mut ending: Option<Result<(), End>> = None;
        loop {
            tokio::select! {
                Some(done) = self.tasks.join_next_with_id() => self.land(done).await?,
                message = inbound.message(), if ending.is_none() => match message {
                    Ok(Some(IngestRequest { kind: Some(ingest_request::Kind::Item(item)) })) => {
                        self.take(item).await?;
                    }
                    Ok(Some(IngestRequest { kind: Some(ingest_request::Kind::Finish(_)) }))
                    | Ok(None) => ending = Some(Ok(())),
                    Ok(Some(IngestRequest { kind: Some(ingest_request::Kind::Start(_)) })) => {
                        let error = ServiceError::invalid("start", "was sent twice");
                        ending = Some(Err(error.into()));
                    }
                    Ok(Some(IngestRequest { kind: None })) => {
                        let problem = "is none of start, item and finish";
                        ending = Some(Err(ServiceError::invalid("kind", problem).into()));
                    }
                    Err(status) => ending = Some(Err(End::Broken(status))),
                },
                () = draining.cancelled(), if ending.is_none() => {
                    ending = Some(Err(End::stopping()));
                }
                else => break,
            }
        }
        ending.unwrap_or(Ok(()))?;
        self.summarise().await
    }

    /// Starts on one item. Its own faults are answered; only overspending ends the stream.
    async fn take(&mut self, item: IngestItem) -> Result<(), End> {
        if !self.credits.spend() {
            return Err(End::Broken(status::overspent(&self.duplex.context.request_id)));
        }
        let seq = item.seq;
        let id = item.document.as_ref().map(|d| d.id.clone()).unwrap_or_default();
        if self.seqs.contains(&seq) {
            let error = ServiceError::invalid("item.seq", format!("{seq} is in flight already"));
            return self.refuse(Flight { seq, id }, &error).await;
        }
        let read = required(item.document, "item.document");
        let read = read.and_then(|message| document::input(message, "document"));
        let document = match read {
            Ok(document) => document,
            Err(error) => return self.refuse(Flight { seq, id }, &error).await,
        };

        let (call, guard) = self.duplex.item_call();
        let writing = self.session.submit(document, seq, call);
        let task = self.tasks.spawn(async move {
            let _guard = guard;
            writing.await
        });
        self.seqs.insert(seq);
        self.flights.insert(task.id(), Flight { seq, id });
        Ok(())
    }

    /// Answers an item that is through.
    async fn land(
        &mut self,
        done: Result<(Id, Result<Written, ServiceError>), JoinError>,
    ) -> Result<(), End> {
        let (task, outcome) = match done {
            Ok((task, outcome)) => (task, outcome),
            Err(error) => {
                let problem = format!("writing a document: {error}");
                (error.id(), Err(ServiceError::Internal { problem }))
            }
        };
        let Some(flight) = self.flights.remove(&task) else { return Ok(()) };
        self.seqs.remove(&flight.seq);
        match outcome {
            Ok(written) => {
                let ack = self.acknowledge(flight.seq, written);
                self.answer(ingest_response::Kind::Ack(ack)).await
            }
            Err(error) => self.refuse(flight, &error).await,
        }
    }

    fn acknowledge(&mut self, seq: u64, written: Written) -> IngestAck {
        let summary = &mut self.summary;
        match written.status {
            WriteStatus::Inserted => summary.inserted += 1,
            WriteStatus::Updated => summary.updated += 1,
            WriteStatus::Unchanged => summary.unchanged += 1,
        }
        let made = &written.usage;
        summary.reasoned += u64::from(made.route == twn_service::Route::Reasoned);
        summary.prompt_tokens += u64::from(made.prompt_tokens);
        summary.reasoning_tokens += u64::from(made.reasoning_tokens);
        self.duplex.context.notes.embedded(made);
        usage::add_stages(&mut self.timings, &written.timings);
        write::ack(seq, written)
    }

    async fn refuse(&mut self, item: Flight, error: &ServiceError) -> Result<(), End> {
        self.summary.failed += 1;
        let refusal = IngestItemError {
            seq: item.seq,
            id: item.id,
            code: status::code(error).into(),
            reason: status::reason(error).to_owned(),
            message: self.duplex.item_message(error),
            retriable: error.is_retriable(),
        };
        self.answer(ingest_response::Kind::ItemError(refusal)).await
    }

    /// Sends an item's answer and gives its credit back.
    async fn answer(&mut self, kind: ingest_response::Kind) -> Result<(), End> {
        self.duplex.send(IngestResponse { kind: Some(kind) }).await?;
        self.credits.give_back();
        self.grant().await
    }

    async fn grant(&mut self) -> Result<(), End> {
        let Some(credits) = self.credits.grant(self.flights.is_empty()) else { return Ok(()) };
        let window = ingest_response::Kind::Window(IngestWindow { credits });
        self.duplex.send(IngestResponse { kind: Some(window) }).await
    }

    async fn summarise(&mut self) -> Result<(), End> {
        self.timings.total = self.opened.elapsed();
        let mut summary = std::mem::take(&mut self.summary);
        summary.timings = Some(usage::timings(&self.timings));
        let kind = Some(ingest_response::Kind::Summary(summary));
        self.duplex.send(IngestResponse { kind }).await
    }
}

/// The credits of one stream: held by the client, spent on items under way, or waiting
/// to be granted again.
struct Credits {
    total: u32,
    held: u32,
    returned: u32,
}

impl Credits {
    fn new(total: u32) -> Self {
        Self { total, held: 0, returned: total }
    }

    /// Takes the credit of an arriving item; false when the client had none.
    fn spend(&mut self) -> bool {
        match self.held.checked_sub(1) {
            Some(held) => self.held = held,
            None => return false,
        }
        true
    }

    fn give_back(&mut self) {
        self.returned += 1;
    }

    /// Hands out what has come back, a quarter of all credits at a time, so that windows
    /// are few beside acknowledgements; everything when nothing is under way.
    fn grant(&mut self, is_idle: bool) -> Option<u32> {
        if self.returned == 0 || (!is_idle && self.returned < self.total.div_ceil(4)) {
            return None;
        }
        let granted = std::mem::take(&mut self.returned);
        self.held += granted;
        Some(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::Credits;

    #[test]
    fn credits_are_spent_and_come_back_in_quarters() {
        let mut credits = Credits::new(8);
        assert!(!credits.spend(), "the client starts with none");
        assert_eq!(credits.grant(true), Some(8));
        for _ in 0..8 {
            assert!(credits.spend());
        }
        assert!(!credits.spend());
        credits.give_back();
        assert_eq!(credits.grant(false), None);
        credits.give_back();
        assert_eq!(credits.grant(false), Some(2));
        credits.give_back();
        assert_eq!(credits.grant(true), Some(1));
        assert_eq!(credits.grant(true), None);
    }

    #[test]
    fn single_credit_goes_back_and_forth() {
        let mut credits = Credits::new(1);
        assert_eq!(credits.grant(true), Some(1));
        assert!(credits.spend());
        credits.give_back();
        assert_eq!(credits.grant(false), Some(1));
    }
}
