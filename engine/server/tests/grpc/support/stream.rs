//! The client's side of an ingest stream, message by message.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use twn_protos::v1::{
    DocumentInput, IngestAck, IngestFinish, IngestItem, IngestItemError, IngestRequest,
    IngestResponse, IngestStart, IngestSummary, ingest_request::Kind, ingest_response,
    ingest_service_client::IngestServiceClient,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The client's side of an ingest stream.
pub(crate) struct IngestClient {
    requests: Option<mpsc::Sender<IngestRequest>>,
    answers: Streaming<IngestResponse>,
    pub(crate) credits: u32,
    pub(crate) acks: Vec<IngestAck>,
    pub(crate) errors: Vec<IngestItemError>,
}

impl IngestClient {
    /// Opens a stream without sending anything.
    pub(crate) async fn open(mut client: IngestServiceClient<Channel>) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(256);
        let answers = client.ingest(ReceiverStream::new(receiver)).await?.into_inner();
        let (acks, errors) = (Vec::new(), Vec::new());
        Ok(Self { requests: Some(requests), answers, credits: 0, acks, errors })
    }

    /// Opens a stream into `collection` and waits for the first credits.
    pub(crate) async fn start(
        client: IngestServiceClient<Channel>,
        collection: &str,
    ) -> Result<Self, Status> {
        let start = IngestStart { collection: collection.to_owned(), ..Default::default() };
        Self::start_with(client, start).await
    }

    pub(crate) async fn start_with(
        client: IngestServiceClient<Channel>,
        start: IngestStart,
    ) -> Result<Self, Status> {
        let mut stream = Self::open(client).await?;
        stream.send(Some(Kind::Start(start))).await;
        while stream.credits == 0 {
            if let Some(summary) = stream.receive().await? {
                panic!("summary before any credit: {summary:?}");
            }
        }
        Ok(stream)
    }

    pub(crate) async fn send(&self, kind: Option<Kind>) {
        let requests = self.requests.as_ref().expect("stream is open");
        // A server that has ended the stream says why in its answers.
        let _ = requests.send(IngestRequest { kind }).await;
    }

    /// Sends an item whatever the credits.
    pub(crate) async fn send_item(&mut self, seq: u64, document: DocumentInput) {
        self.credits = self.credits.saturating_sub(1);
        self.send(Some(Kind::Item(IngestItem { seq, document: Some(document) }))).await;
    }

    /// Sends an item as soon as there is a credit.
    pub(crate) async fn item(&mut self, seq: u64, document: DocumentInput) -> Result<(), Status> {
        while self.credits == 0 {
            if let Some(summary) = self.receive().await? {
                panic!("summary before the end: {summary:?}");
            }
        }
        self.send_item(seq, document).await;
        Ok(())
    }

    pub(crate) async fn finish(self) -> Result<Finished, Status> {
        self.send(Some(Kind::Finish(IngestFinish {}))).await;
        self.drain().await
    }

    /// Ends the client's half without `finish`.
    pub(crate) async fn half_close(mut self) -> Result<Finished, Status> {
        self.requests = None;
        self.drain().await
    }

    /// Reads answers up to the summary, and checks that nothing follows it.
    pub(crate) async fn drain(mut self) -> Result<Finished, Status> {
        loop {
            if let Some(summary) = self.receive().await? {
                assert_eq!(self.answers.message().await?, None, "something follows the summary");
                let Self { acks, errors, .. } = self;
                return Ok(Finished { acks, errors, summary });
            }
        }
    }

    /// Reads one answer; returns the summary if it is that.
    pub(crate) async fn receive(&mut self) -> Result<Option<IngestSummary>, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message());
        let answer = answer.await.expect("server answers in time")?;
        let Some(answer) = answer else { return Err(Status::ok("stream ended without summary")) };
        match answer.kind.expect("answer has a kind") {
            ingest_response::Kind::Ack(ack) => self.acks.push(ack),
            ingest_response::Kind::ItemError(error) => self.errors.push(error),
            ingest_response::Kind::Window(window) => self.credits += window.credits,
            ingest_response::Kind::Summary(summary) => return Ok(Some(summary)),
        }
        Ok(None)
    }
}

/// Everything that a stream answered.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) acks: Vec<IngestAck>,
    pub(crate) errors: Vec<IngestItemError>,
    pub(crate) summary: IngestSummary,
}
