//! A server that is killed fifty times in the middle of ingests. Whatever it had
//! acknowledged is there afterwards, whole and once; the rest is whole or absent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use prost_types::value::Kind as ValueKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tonic::transport::Channel;
use twn_protos::v1::{
    self as pb, CountRequest, CreateCollectionRequest, DocumentMask, ListRequest, ReasoningMode,
    collection_service_client::CollectionServiceClient, ingest_service_client::IngestServiceClient,
    search_service_client::SearchServiceClient,
};

use crate::support::{connect, message, process::Process, stream::IngestClient};

const KILLS: u64 = 50;
const STREAMS: u64 = 3;
/// Far more items than one stream gets to send in one round, however fast the machine.
const ITEMS: u64 = 100_000;
/// Ids that are written again and again, over all rounds.
const REWRITTEN: u64 = 1_000;
/// The longest time from a round's start to its kill, in milliseconds.
const KILL_MS_MAX: u64 = 60;
/// Few, so that kills hit the sealing of segments too.
const SEAL_ROWS: u32 = 300;
const SEED: u64 = 4;

/// Versions that a document may have: one once its write is acknowledged, several
/// while it is not known what became of the last.
type Ledger = BTreeMap<String, Vec<Option<Version>>>;

/// What was written under an id, and can be told apart from every other write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    round: u64,
    stream: u64,
    item: u64,
}

impl Version {
    fn text(self) -> String {
        format!("round {} stream {} item {}", self.round, self.stream, self.item)
    }

    /// The first stream's documents are encoded, the others bring their vectors.
    fn document(self, id: &str) -> pb::DocumentInput {
        let payload = message::payload(&[("item", ValueKind::StringValue(self.text()))]);
        let plain = pb::DocumentInput { payload, ..message::document(id, &self.text()) };
        match self.stream {
            0 => plain,
            _ => pb::DocumentInput { vector: message::vector(self.seed()), ..plain },
        }
    }

    fn seed(self) -> usize {
        usize::try_from(self.round * 7 + self.stream * 3 + self.item).unwrap()
    }

    /// Tells whether a stored document is this version, in every part.
    fn is(self, stored: &pb::Document) -> bool {
        let wanted = self.document(&stored.id);
        stored.text == self.text()
            && stored.payload == wanted.payload
            && (wanted.vector.is_empty() || is_parallel(&wanted.vector, &stored.vector))
            && stored.vector.len() == crate::support::DIMENSION
    }
}

fn is_parallel(wanted: &[f32], stored: &[f32]) -> bool {
    let norm = wanted.iter().map(|value| value * value).sum::<f32>().sqrt();
    wanted.len() == stored.len()
        && wanted.iter().zip(stored).all(|(want, got)| (want / norm - got).abs() < 1e-5)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_documents_survive_fifty_kills() {
    let data = TempDir::new().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let ledger = Arc::new(Mutex::new(Ledger::new()));

    for round in 0..KILLS {
        let process = Process::serve(data.path()).await;
        let channel = connect(process.address).await;
        if round == 0 {
            create(channel.clone()).await;
        }
        compare(channel.clone(), &ledger).await;

        let mut streams = Vec::new();
        for stream in 0..STREAMS {
            streams.push(tokio::spawn(write(channel.clone(), round, stream, Arc::clone(&ledger))));
        }
        let moment = Duration::from_millis(rng.random_range(2..KILL_MS_MAX));
        tokio::time::sleep(moment).await;
        process.kill().await;
        for stream in streams {
            let acknowledged = stream.await.unwrap();
            assert!(acknowledged < ITEMS, "round {round} was over before the kill");
        }
    }

    let process = Process::serve(data.path()).await;
    let documents = compare(connect(process.address).await, &ledger).await;
    assert!(documents > 1_000, "only {documents} documents were there to be lost");
    process.terminate();
    assert!(process.exit().await.success());
}

async fn create(channel: Channel) {
    let config = pb::CollectionConfig { seal_rows: SEAL_ROWS, ..message::collection("docs") };
    let request = CreateCollectionRequest { config: Some(config) };
    CollectionServiceClient::new(channel).create_collection(request).await.unwrap();
}

/// Writes new documents and rewrites old ones until the server is gone; returns how many
/// were acknowledged.
async fn write(channel: Channel, round: u64, stream: u64, ledger: Arc<Mutex<Ledger>>) -> u64 {
    let start = pb::IngestStart {
        collection: "docs".into(),
        reasoning: message::policy(ReasoningMode::Never),
        ..Default::default()
    };
    let client = IngestServiceClient::new(channel);
    let Ok(mut ingest) = IngestClient::start_with(client, start).await else { return 0 };
    let mut acknowledged = 0;
    for item in 0..ITEMS {
        let version = Version { round, stream, item };
        // Every fourth write goes to one of few ids, most of which are there already.
        let id = if item % 4 == 3 {
            format!("s{stream}-{}", item * 5 % REWRITTEN)
        } else {
            format!("s{stream}-{}", round * ITEMS + item)
        };
        ledger.lock().unwrap().entry(id.clone()).or_insert_with(|| vec![None]).push(Some(version));
        if ingest.item(item, version.document(&id)).await.is_err() {
            break;
        }
        note(&mut acknowledged, &ingest, round, stream, &ledger);
    }
    // No `finish`: the kill is what ends the stream.
    while let Ok(None) = ingest.receive().await {
        note(&mut acknowledged, &ingest, round, stream, &ledger);
    }
    assert!(ingest.errors.is_empty(), "{:?}", ingest.errors);
    acknowledged as u64
}

/// Notes what has been acknowledged since last time: nothing older may come back.
fn note(noted: &mut usize, ingest: &IngestClient, round: u64, stream: u64, ledger: &Mutex<Ledger>) {
    let mut ledger = ledger.lock().unwrap();
    for ack in &ingest.acks[*noted..] {
        let version = Some(Version { round, stream, item: ack.seq });
        let versions = ledger.get_mut(&ack.id).expect("only what was sent is acknowledged");
        let at = versions.iter().position(|known| *known == version).expect("was sent");
        versions.drain(..at);
    }
    *noted = ingest.acks.len();
}

/// Compares everything stored with the ledger, and notes what it was found to be.
async fn compare(channel: Channel, ledger: &Mutex<Ledger>) -> usize {
    let stored = list(channel.clone()).await;
    let count = CountRequest { collection: "docs".into(), filter: None };
    let count = SearchServiceClient::new(channel).count(count).await.unwrap().into_inner().count;
    assert_eq!(stored.len() as u64, count, "count and list agree");

    let mut ledger = ledger.lock().unwrap();
    for (id, document) in &stored {
        let versions = ledger.get(id).unwrap_or_else(|| panic!("{id} was never sent"));
        let is_known = versions.iter().flatten().any(|version| version.is(document));
        assert!(is_known, "{id} is {document:?}, not one of {versions:?}");
    }
    for (id, versions) in ledger.iter_mut() {
        let found = match stored.get(id) {
            Some(document) => *versions.iter().find(|v| v.is_some_and(|v| v.is(document))).unwrap(),
            None => None,
        };
        assert!(versions.contains(&found), "{id} is gone, it should be one of {versions:?}");
        *versions = vec![found];
    }
    stored.len()
}

async fn list(channel: Channel) -> BTreeMap<String, pb::Document> {
    let mut client = SearchServiceClient::new(channel);
    let mut stored = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let mask = Some(DocumentMask { include_vector: true, ..Default::default() });
        let collection = "docs".to_owned();
        let request =
            ListRequest { collection, page_size: 1_000, page_token, mask, ..Default::default() };
        let page = client.list(request).await.unwrap().into_inner();
        for document in page.documents {
            let twice = stored.insert(document.id.clone(), document);
            assert_eq!(twice, None, "an id is listed twice");
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return stored;
        }
    }
}
