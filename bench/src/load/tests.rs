//! The whole load generator against an in-process server whose delays are known.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{net::TcpListener, sync::Mutex};
use tokio_stream::{Empty, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};
use twn_protos::v1::{
    self,
    info_service_server::{InfoService, InfoServiceServer},
    search_request::Query,
    search_service_server::{SearchService, SearchServiceServer},
};

use super::{
    measure,
    options::{Loop, Options},
    report::Report,
    schedule::Arrivals,
};

/// Answers one search at a time. The query says how: `direct`, `reasoned` (a thought of
/// 12 tokens) or `refuse`.
#[derive(Default)]
struct FakeServer {
    direct: Duration,
    reasoned: Duration,
    /// The search of this number takes `stall` longer, and holds up those behind it.
    stalled_search: Option<u64>,
    stall: Duration,
    searches: AtomicU64,
    turn: Mutex<()>,
}

#[tonic::async_trait]
impl SearchService for FakeServer {
    type SearchStreamStream = Empty<Result<v1::SearchStreamResponse, Status>>;

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let Some(Query::Content(content)) = request.into_inner().query else {
            return Err(Status::invalid_argument("no content"));
        };
        let Some(v1::part::Kind::Text(text)) = &content.parts[0].kind else {
            return Err(Status::invalid_argument("no text"));
        };
        let _turn = self.turn.lock().await;
        if Some(self.searches.fetch_add(1, Ordering::Relaxed)) == self.stalled_search {
            tokio::time::sleep(self.stall).await;
        }
        let (route, delay, reasoning_tokens) = match text.as_str() {
            "direct" => (v1::Route::Direct, self.direct, 0),
            "reasoned" => (v1::Route::Reasoned, self.reasoned, 12),
            _ => return Err(Status::resource_exhausted("busy")),
        };
        tokio::time::sleep(delay).await;
        let usage = v1::Usage { route: route.into(), reasoning_tokens, ..Default::default() };
        Ok(Response::new(v1::SearchResponse { usage: Some(usage), ..Default::default() }))
    }

    async fn search_stream(
        &self,
        _: Request<tonic::Streaming<v1::SearchStreamRequest>>,
    ) -> Result<Response<Self::SearchStreamStream>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn list(
        &self,
        _: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn count(
        &self,
        _: Request<v1::CountRequest>,
    ) -> Result<Response<v1::CountResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }
}

struct FakeInfo;

#[tonic::async_trait]
impl InfoService for FakeInfo {
    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let encoder = v1::Encoder { model: "fake".into(), ..Default::default() };
        let info = v1::GetServerInfoResponse { encoder: Some(encoder), ..Default::default() };
        Ok(Response::new(info))
    }
}

async fn serve(server: FakeServer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(SearchServiceServer::new(server))
            .add_service(InfoServiceServer::new(FakeInfo))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    address
}

/// Runs the load for two seconds against `server`, after `change` to the options.
async fn load(server: FakeServer, queries: &[&str], change: impl FnOnce(&mut Options)) -> Report {
    let address = serve(server).await;
    let mut options = Options {
        address: format!("http://{address}"),
        queries: "queries.txt".into(),
        kind: open(100.0),
        connections: 2,
        duration: Duration::from_secs(2),
        warmup: Duration::ZERO,
        drain: Duration::from_secs(5),
        deadline: Duration::from_secs(5),
        hdr_log: None,
        template: v1::SearchRequest::default(),
    };
    change(&mut options);
    let queries = queries.iter().map(|query| (*query).to_owned()).collect();
    let report = measure(options, queries).await.unwrap();
    let result = &report.result;
    let parts = result.answered + result.failed + result.unfinished + result.dropped;
    assert_eq!(result.requests, parts, "a request is missing");
    report
}

fn open(rate: f64) -> Loop {
    Loop::Open { arrivals: Arrivals::Fixed { rate }, max_in_flight: 1_000 }
}

fn stalling() -> FakeServer {
    let stall = Duration::from_millis(600);
    FakeServer { stalled_search: Some(50), stall, ..FakeServer::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_shows_a_stall_to_every_request_that_was_due_in_it() {
    let report = load(stalling(), &["direct"], |_| {}).await;
    let all = &report.result.routes.all;
    assert_eq!(all.samples, 200);
    let latency = all.latency_ms.unwrap();
    // 60 of 200 requests were due in the 600 ms, evenly: the 90th percentile of all
    // waited 400 ms, the 95th 500 ms.
    assert!(latency.p95 > 400.0 && latency.p95 < 1_000.0, "{latency:?}");
    assert!(latency.max > 590.0, "{latency:?}");
    assert!(latency.mean > 60.0, "{latency:?}");
    assert!(latency.p50 < 200.0, "{latency:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_hides_the_stall_and_says_that_it_is_closed() {
    let report = load(stalling(), &["direct"], |options| {
        options.kind = Loop::Closed { concurrency: 1 };
    })
    .await;
    assert_eq!((report.setup.kind, report.setup.latency_from), ("closed", "sent"));
    assert!(report.to_string().contains("CLOSED LOOP"));
    let latency = report.result.routes.all.latency_ms.unwrap();
    assert!(latency.p95 < 100.0 && latency.max > 590.0, "{latency:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_sends_count_from_when_they_were_due() {
    let report = load(stalling(), &["direct"], |options| {
        options.kind = Loop::Open { arrivals: Arrivals::Fixed { rate: 100.0 }, max_in_flight: 1 };
    })
    .await;
    let result = &report.result;
    assert_eq!((result.answered, result.dropped), (200, 0));
    assert!(result.late >= 50, "{} late", result.late);
    assert!(result.max_lag_ms > 500.0, "{}", result.max_lag_ms);
    let (latency, service) = (result.routes.all.latency_ms, result.routes.all.service_ms);
    assert!(latency.unwrap().p95 > 400.0, "{latency:?}");
    assert!(service.unwrap().p95 < 100.0, "{service:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_split_by_route_and_errors_by_code() {
    let server = FakeServer {
        direct: Duration::from_millis(2),
        reasoned: Duration::from_millis(60),
        ..FakeServer::default()
    };
    let queries = ["direct", "reasoned", "direct", "refuse"];
    let report = load(server, &queries, |options| options.kind = open(20.0)).await;
    let result = &report.result;
    let routes = &result.routes;
    assert_eq!(routes.direct.samples, 20);
    assert_eq!(routes.reasoned.samples, 10);
    assert_eq!(routes.all.samples, 30);
    assert_eq!(routes.failed.samples, 10);
    assert_eq!(result.errors.get("RESOURCE_EXHAUSTED"), Some(&10));
    assert_eq!(result.error_rate, 0.25);
    assert_eq!(result.think_rate, Some(10.0 / 30.0));
    assert_eq!(routes.reasoned.reasoning_tokens_per_query, Some(12.0));
    assert_eq!(routes.direct.reasoning_tokens, 0);
    assert_eq!(routes.all.reasoning_tokens, 120);
    let (direct, reasoned) =
        (routes.direct.latency_ms.unwrap(), routes.reasoned.latency_ms.unwrap());
    assert!(direct.p50 >= 2.0 && direct.p50 < 50.0, "{direct:?}");
    assert!(reasoned.p50 >= 60.0 && reasoned.p50 < 110.0, "{reasoned:?}");
    assert_eq!(report.environment.server.as_ref().unwrap().model, "fake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_cannot_take_is_counted_as_unfinished_and_dropped() {
    let server = FakeServer { direct: Duration::from_secs(30), ..FakeServer::default() };
    let report = load(server, &["direct"], |options| {
        options.kind = Loop::Open { arrivals: Arrivals::Fixed { rate: 50.0 }, max_in_flight: 10 };
        options.duration = Duration::from_secs(1);
        options.drain = Duration::from_millis(200);
        options.deadline = Duration::from_secs(60);
    })
    .await;
    let result = &report.result;
    assert_eq!((result.unfinished, result.dropped, result.answered), (10, 40, 0));
    assert_eq!((result.error_rate, result.think_rate), (1.0, None));
    assert!(report.to_string().contains("did not keep up: 50 requests"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_deadline_has_its_code() {
    let server = FakeServer { direct: Duration::from_millis(300), ..FakeServer::default() };
    let report = load(server, &["direct"], |options| {
        options.kind = open(2.0);
        options.duration = Duration::from_secs(1);
        options.deadline = Duration::from_millis(50);
    })
    .await;
    assert_eq!(report.result.errors.get("DEADLINE_EXCEEDED"), Some(&2), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_warm_up_is_left_out_and_the_interval_log_has_every_answer() {
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load.hlog");
    let log = path.clone();
    let report = load(FakeServer::default(), &["direct", "reasoned"], |options| {
        options.kind = open(40.0);
        options.warmup = Duration::from_millis(500);
        options.hdr_log = Some(log);
    })
    .await;
    assert_eq!(report.result.requests, 80);
    assert!((report.result.measured_s - 2.0).abs() < 0.2, "{}", report.result.measured_s);

    let bytes = fs_err::read(&path).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for entry in IntervalLogIterator::new(&bytes) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let tag = interval.tag().map_or("all", |tag| tag.as_str()).to_owned();
        let compressed = decode_base64(interval.encoded_histogram());
        let histogram: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut &compressed[..]).unwrap();
        *counts.entry(tag).or_insert(0) += histogram.len();
    }
    let want = [("all", 80), ("direct", 40), ("reasoned", 40)];
    assert_eq!(counts, want.map(|(tag, count)| (tag.to_owned(), count)).into());
}

fn decode_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = ALPHABET.iter().position(|letter| *letter == digit).unwrap();
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
