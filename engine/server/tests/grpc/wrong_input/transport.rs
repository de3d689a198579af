//! What is wrong before a message is read, or whatever it says: bytes, sizes,
//! deadlines, overload.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;
use twn_protos::v1 as pb;

use super::{Case, refused, server};
use crate::support::{
    TestServer, message,
    raw::{RawConnection, framed},
};

#[tokio::test(flavor = "multi_thread")]
async fn long_names_do_not_break_the_answer() {
    let server = server().await;
    let status = refused(server.search().search(message::search(&"x".repeat(5 << 20), "a")).await);
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().len() < 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_are_refused_unread() {
    let server = TestServer::with(|options| options.max_message_bytes = 1 << 20).await;
    let request = message::search("docs", &"x".repeat(2 << 20));
    let status = refused(server.search().search(request).await);
    assert!(status.message().contains("the limit is: 1048576 bytes"), "{}", status.message());
    let message = status.message().to_owned();
    let (code, reason) = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    Case { name: "oversized", status, code, message: &message, field: "", reason }.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() {
    let server = server().await;
    let connection = RawConnection::open(server.address()).await;
    let search = "/twn.v1.SearchService/Search";
    let ingest = "/twn.v1.IngestService/Ingest";
    // Field 1, a string, of two bytes that are not UTF-8; a length beyond the end; a
    // flag for a compression that was not announced; nothing at all.
    let not_utf8 = framed(b"\x0a\x02\xff\xfe");
    let cut = framed(b"\x0a\x7fabc");
    let compressed = Bytes::from_static(b"\x01\x00\x00\x00\x02ab");
    for (name, path, body, told) in [
        ("not UTF-8", search, not_utf8, "invalid string value"),
        ("cut", search, cut.clone(), "failed to decode"),
        ("cut on a stream", ingest, cut, "failed to decode"),
        ("compressed", search, compressed, "compressed-flag"),
        ("nothing", search, Bytes::new(), "Missing request message"),
    ] {
        let status = connection.call(path, &[], body).await.unwrap().status;
        assert!(status.message().contains(told), "{name}: {}", status.message());
        let message = status.message().to_owned();
        let (code, reason) = (Code::InvalidArgument, "MALFORMED_MESSAGE");
        Case { name, status, code, message: &message, field: "", reason }.check();
    }

    for path in ["/twn.v1.SearchService/Find", "/twn.v1.NoService/Find"] {
        let status = connection.call(path, &[], framed(b"")).await.unwrap().status;
        let (code, reason) = (Code::Unimplemented, "UNKNOWN_METHOD_OR_ENCODING");
        let message = "there is no such method";
        Case { name: path, status, code, message, field: "", reason }.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_answered_as_such_and_free_the_model() {
    let server = server().await;
    let connection = RawConnection::open(server.address()).await;
    let path = "/twn.v1.SearchService/Search";
    let call = async |timeout: &str| {
        // A policy that bends would answer in time, and so would a thought from the cache.
        let fixed = |policy| pb::ReasoningPolicy { fixed: true, ..policy };
        let request = pb::SearchRequest {
            reasoning: message::thinking(400).map(fixed),
            ..message::search("docs", &format!("What takes longer than {timeout}?"))
        };
        let headers = [("grpc-timeout", timeout), ("x-request-id", "late-1")];
        connection.call(path, &headers, framed(&request.encode_to_vec())).await.unwrap()
    };

    // No machine thinks 400 tokens in a millisecond.
    for timeout in ["1m", "500u", "1n", "0S"] {
        let answer = call(timeout).await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded, "{timeout}: {answer:?}");
        assert!(answer.status.message().starts_with("deadline exceeded while "), "{answer:?}");
        let details = answer.status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "DEADLINE_EXCEEDED");
        assert_eq!(details.request_info().unwrap().request_id, "late-1");
        assert_eq!(answer.headers["x-request-id"], "late-1");
    }
    let answer = call("60S").await;
    assert_eq!(answer.status.code(), Code::Ok, "the model is free again: {answer:?}");
    for malformed in ["15", "m", "15s", "123456789S"] {
        let answer = call(malformed).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{malformed}");
        assert!(answer.status.message().starts_with("grpc-timeout: must be"), "{answer:?}");
    }

    // The server's own longest time holds for callers that name none.
    let server = TestServer::with(|options| options.engine.limits.max_deadline_s = 1).await;
    server.collection("docs").await;
    let patient = pb::ListRequest { collection: "docs".into(), ..Default::default() };
    server.search().list(patient).await.unwrap();
    let info = server.info().get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    let longest = info.into_inner().limits.unwrap().max_deadline.unwrap();
    assert_eq!(Duration::try_from(longest).unwrap(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_refused_with_a_time_to_wait() {
    let server = TestServer::with(|options| options.engine.limits.max_queue_items = 1).await;
    server.collection("docs").await;
    let searches = (0..16).map(|_| {
        let mut client = server.search();
        let request = pb::SearchRequest {
            reasoning: message::thinking(400),
            ..message::search("docs", "What takes so long?")
        };
        tokio::spawn(async move { client.search(request).await })
    });
    let searches: Vec<_> = searches.collect();
    let mut refusals = 0;
    for search in searches {
        let Err(status) = search.await.unwrap() else { continue };
        refusals += 1;
        let (code, reason) = (Code::ResourceExhausted, "OVERLOADED");
        let retry = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!((Duration::from_millis(50)..=Duration::from_secs(30)).contains(&retry));
        let ms = retry.as_millis();
        let message = &format!("server is busy, the encoder's queue is full: retry in {ms} ms");
        Case { name: "overload", status, code, message, field: "", reason }.check();
    }
    assert!((1..16).contains(&refusals), "{refusals} of 16 were refused");
}
