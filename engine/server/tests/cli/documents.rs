//! Documents go in, are found, read, counted and deleted.

use serde_json::{Value, json};

use crate::support::Home;

const GOOD: &str = r#"{"id": "pump", "text": "the pump was changed in may", "payload": {"year": 2021, "lang": "en"}}
{"id": "valve", "text": "the valve leaks", "year": 2023, "lang": "en"}
{"id": "rohr", "text": "das rohr ist dicht", "payload": {"year": 2022, "lang": "de"}}
"#;

#[track_caller]
fn counts(summary: &Value) -> [u64; 5] {
    let names = ["inserted", "updated", "unchanged", "failed", "skipped"];
    names.map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}")))
}

#[test]
fn the_whole_way_of_a_document() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    assert_eq!(server.serving["trained"], false);
    assert!(server.serving["note"].as_str().unwrap().contains("untrained"), "{}", server.serving);

    let created = server.client(&home, &["collection", "create", "notes"]).ok().json();
    assert_eq!((&created["name"], &created["documents"]), (&json!("notes"), &json!(0)));
    server.client(&home, &["collection", "create", "notes"]).failed(1, "ALREADY_EXISTS");

    let file = home.write("notes.jsonl", GOOD);
    let ingest = ["ingest", &file, "--collection", "notes"];
    let summary = server.client(&home, &ingest).ok().json();
    assert_eq!(counts(&summary), [3, 0, 0, 0, 0]);
    assert!(summary["prompt_tokens"].as_u64().unwrap() > 0);
    let summary = server.client(&home, &ingest).ok().json();
    assert_eq!(counts(&summary), [0, 0, 3, 0, 0], "the server knows them");
    assert_eq!(summary["prompt_tokens"], 0);

    let find = ["search", "the valve", "--collection", "notes", "--limit", "2", "--exact"];
    let found = server.client(&home, &find).ok().json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 2);
    assert_eq!(found["usage"]["route"], "ROUTE_DIRECT");
    assert_eq!(found["usage"]["route_reason"], "ROUTE_REASON_GATE_BELOW_THRESHOLD");
    assert!(found["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(found["plan"]["strategy"], "STRATEGY_SCAN");

    let german =
        ["search", "rohr", "--collection", "notes", "--filter", "lang=de", "--filter", "year<2023"];
    let found = server.client(&home, &german).ok().json();
    let ids: Vec<_> = found["hits"].as_array().unwrap().iter().map(|hit| &hit["id"]).collect();
    assert_eq!(ids, ["rohr"]);
    assert_eq!(found["hits"][0]["payload"], json!({"lang": "de", "year": 2022}));

    let think = [
        "search",
        "why",
        "--collection",
        "notes",
        "--mode",
        "always",
        "--budget",
        "3",
        "--show-thought",
    ];
    let found = server.client(&home, &think).ok().json();
    assert_eq!(found["usage"]["route_reason"], "ROUTE_REASON_POLICY_ALWAYS");
    let tokens = found["usage"]["reasoning_tokens"].as_u64().unwrap();
    assert!((1..=3).contains(&tokens), "{found}");
    assert!(found["usage"]["thought"].is_string());

    let got =
        server.client(&home, &["get", "pump", "gone", "--collection", "notes"]).failed(1, "gone");
    assert_eq!(got.json()["documents"][0]["text"], "the pump was changed in may");
    assert_eq!(got.json()["missing_ids"], json!(["gone"]));
    let count = server.client(&home, &["count", "--collection", "notes", "--filter", "lang=en"]);
    assert_eq!(count.ok().json(), json!({"count": 2}));
    let deleted = server.client(&home, &["delete", "pump", "gone", "--collection", "notes"]);
    assert_eq!(deleted.ok().json(), json!({"asked": 2, "deleted": 1}));

    let sealed = server.client(&home, &["collection", "seal", "notes"]).ok().json();
    assert_eq!((&sealed["documents"], &sealed["tail_documents"]), (&json!(2), &json!(0)));
    server.client(&home, &["collection", "delete", "notes"]).failed(1, "--yes");
    server.client(&home, &["collection", "delete", "notes", "--yes"]).ok();
    assert_eq!(server.client(&home, &["collection", "list"]).ok().stdout, "");
    server.client(&home, &find).failed(1, "collection `notes` does not exist (NOT_FOUND)");
    assert_eq!(server.stop(), 0);
}

#[test]
fn texts_are_embedded() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    let lines = server.client(&home, &["embed", "one", "two", "one"]).ok().json_lines();
    assert_eq!(lines.len(), 3);
    let dimension = usize::try_from(server.serving["dimension"].as_u64().unwrap()).unwrap();
    assert_eq!(lines[0]["values"].as_array().unwrap().len(), dimension);
    assert_eq!(lines[1]["text"], "two");
    assert_ne!(lines[0]["values"], lines[1]["values"]);
    // A text that comes twice runs once.
    let ran = |at: usize| lines[at]["usage"]["prompt_tokens"].as_u64().unwrap() > 0;
    assert_eq!((ran(1), ran(0) != ran(2)), (true, true), "{lines:#?}");
    assert_eq!(lines[0]["values"], lines[2]["values"]);

    let piped = ["embed", "-", "--kind", "document", "--json", "--server", &server.url];
    let lines = home.run_with(&piped, b"one\r\n\ntwo\n").ok().json_lines();
    let texts: Vec<_> = lines.iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["one", "two"]);

    // People get words instead.
    let told = home.run(&["embed", "one", "--server", &server.url]).ok();
    assert!(told.stdout.contains("direct (gate below threshold)"), "{told:#?}");
}

#[test]
fn bad_records_are_reported_and_an_ingest_goes_on_where_it_stopped() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    let bad = format!("{GOOD}{{\"id\": \"broken\"\n");
    let file = home.write("notes.jsonl", &bad);
    let ingest = ["ingest", &file, "--collection", "notes"];

    let summary = server.client(&home, &ingest).failed(1, "is no JSON object").json();
    assert_eq!(counts(&summary), [3, 0, 0, 1, 0]);
    assert_eq!(summary["errors"][0]["line"], 4);
    assert_eq!(summary["errors"][0]["file"], file);

    home.write("notes.jsonl", bad.replace("{\"id\": \"broken\"", "{\"text\": \"mended\"}"));
    let summary = server.client(&home, &ingest).ok().json();
    assert_eq!(counts(&summary), [1, 0, 0, 0, 3], "the others need not be sent again");
    let summary = server.client(&home, &ingest).ok().json();
    assert_eq!(counts(&summary), [0, 0, 4, 0, 0], "a complete ingest leaves no journal");

    server
        .client(&home, &["ingest", &file, "--collection", "other", "--no-create"])
        .failed(1, "NOT_FOUND");
    // What was acknowledged of a collection that is gone says nothing about its successor.
    home.write("notes.jsonl", &bad);
    server.client(&home, &ingest).failed(1, "is no JSON object");
    server.client(&home, &["collection", "delete", "notes", "--yes"]).ok();
    let summary = server.client(&home, &ingest).failed(1, "is no JSON object").json();
    assert_eq!(counts(&summary), [3, 0, 0, 1, 0]);
}

#[test]
fn every_format_and_standard_input_are_read() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    let csv = home.write("a.csv", "key,body,year\na,first,2020\nb,\"second, longer\",2021\n");
    home.write("folder/deep/c.md", "# third");
    home.write("folder/d.txt", b"\xff not text");
    let folder = home.path("folder");
    let paths = ["ingest", &csv, folder.to_str().unwrap(), "-", "--collection", "all"];
    let rest = [
        "--id-field",
        "key",
        "--text-field",
        "body",
        "--numbers",
        "--json",
        "--server",
        &server.url,
    ];
    let ran = home.run_with(&[&paths[..], &rest].concat(), b"{\"key\": 7, \"body\": \"fourth\"}");
    let summary = ran.failed(1, "not UTF-8").json();
    assert_eq!(counts(&summary), [4, 0, 0, 1, 0]);

    let got =
        server.client(&home, &["get", "a", "deep/c.md", "7", "--collection", "all"]).ok().json();
    assert_eq!(got["documents"][0]["payload"], json!({"year": 2020}));
    assert_eq!(got["documents"][1]["payload"], json!({"path": "deep/c.md"}));
    assert_eq!(got["documents"][2]["text"], "fourth");
}

#[test]
fn the_servers_refusal_of_an_item_is_reported_with_its_code() {
    let home = Home::new();
    let server = home.serve("127.0.0.1:0");
    let vectors = "{\"id\":\"a\",\"vector\":[1,2,3]}\n{\"id\":\"b\",\"vector\":[1,2]}\n{\"id\":\"c\",\"text\":\"t\"}\n";
    let file = home.write("v.jsonl", vectors);
    server.client(&home, &["collection", "create", "v", "--dimension", "3"]).ok();
    let summary =
        server.client(&home, &["ingest", &file, "--collection", "v"]).failed(1, "dimension").json();
    assert_eq!(counts(&summary), [1, 0, 0, 2, 0]);
    let mut codes: Vec<_> = summary["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["line"].as_u64(), &e["code"]))
        .collect();
    codes.sort_by_key(|(line, _)| *line);
    assert_eq!(
        codes,
        [(Some(2), &json!("INVALID_ARGUMENT")), (Some(3), &json!("FAILED_PRECONDITION"))]
    );
}
