//! An ingest outlives the server.

use std::{io::Write, process::Stdio, time::Duration};

use serde_json::Value;

use crate::support::Home;

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|i| format!("{{\"id\": \"d{i}\", \"text\": \"document {i}\"}}\n")).collect()
}

#[test]
fn an_ingest_goes_on_when_the_server_comes_back() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    let (address, url) = (server.address().to_owned(), server.url.clone());

    let mut command =
        home.command(&["ingest", "-", "--collection", "c", "--json", "--server", &url]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ingest = command.spawn().expect("start");
    let mut input = ingest.stdin.take().expect("stdin");
    input.write_all(lines(0, 40).as_bytes()).expect("write");
    input.flush().expect("flush");

    // The first documents have to arrive before the crash means anything.
    let count = || {
        let ran = server.client(&home, &["count", "--collection", "c"]);
        serde_json::from_str::<Value>(&ran.stdout).ok().and_then(|json| json["count"].as_u64())
    };
    while count().unwrap_or(0) < 10 {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.crash();
    input.write_all(lines(40, 60).as_bytes()).expect("write");
    let server = home.serve(&address);
    drop(input);

    let output = ingest.wait_with_output().expect("output");
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("summary");
    let number = |name: &str| summary[name].as_u64().expect("count");
    assert_eq!(number("inserted") + number("unchanged"), 60, "{summary}");
    assert_eq!(number("failed"), 0, "{summary}");
    assert_eq!(server.client(&home, &["count", "--collection", "c"]).ok().json()["count"], 60);
    assert_eq!(server.stop(), 0);
}

#[test]
fn without_a_server_the_user_hears_what_to_do() {
    let home = Home::new();
    let nobody = ["--server", "http://127.0.0.1:9", "--json"];
    for command in [["search", "q", "--collection", "c"], ["ingest", "-", "--collection", "c"]] {
        let ran = home.run(&[&command[..], &nobody].concat());
        ran.failed(1, "start one with `twn serve`");
    }
}
