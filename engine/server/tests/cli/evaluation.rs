//! `twn eval`: through an encoder of its own and through a server.

use serde_json::Value;

use crate::support::{Home, Server, tiny_model};

const WORDS: [&str; 8] = ["wing", "rotor", "heat", "shock", "layer", "nozzle", "flutter", "panel"];

/// Writes 40 documents, one of them empty, and 8 queries of two kinds.
fn write_data(home: &Home) -> String {
    let mut corpus = String::new();
    let mut qrels = String::from("query-id\tcorpus-id\tscore\n");
    for number in 0..40 {
        let word = WORDS[number % WORDS.len()];
        let text = if number == 9 { String::new() } else { format!("the {word} of {number}") };
        corpus += &format!("{{\"_id\": \"d{number}\", \"title\": \"\", \"text\": \"{text}\"}}\n");
        qrels += &format!("q{}\td{number}\t1\n", number % WORDS.len());
    }
    let mut queries = String::new();
    for (number, word) in WORDS.iter().enumerate() {
        let kind = if number % 2 == 0 { "plain" } else { "resolving" };
        queries += &format!(
            "{{\"_id\": \"q{number}\", \"text\": \"what of the {word}\", \"metadata\": {{\"kind\": \
             \"{kind}\"}}}}\n"
        );
    }
    home.write("set/corpus.jsonl", corpus);
    home.write("set/queries.jsonl", queries);
    home.write("set/qrels/test.tsv", qrels);
    home.path("set").to_str().expect("UTF-8").to_owned()
}

fn local(home: &Home, arguments: &[&str]) -> Value {
    let model = tiny_model();
    let model = ["--model", model.to_str().expect("UTF-8"), "--context-tokens", "512", "--json"];
    home.run(&[arguments, &model].concat()).ok().json()
}

/// A report without what depends on the clock, on caches and on where it ran.
fn figures(mut report: Value) -> Value {
    report["latency"].take();
    for row in report["rows"].as_array_mut().expect("rows") {
        for field in
            ["seconds", "document_seconds", "query_seconds", "cached_documents", "recalled_queries"]
        {
            row[field].take();
        }
        row["encoded_document_tokens"].take();
    }
    report
}

fn remote(home: &Home, server: &Server, arguments: &[&str]) -> Value {
    server.client(home, arguments).ok().json()
}

#[test]
fn a_server_and_an_encoder_of_its_own_agree() {
    let home = Home::new();
    let data = write_data(&home);
    let server = home.serve("127.0.0.1:0");
    let common = ["eval", "beir", &data, "--budget", "9", "--no-cache", "--per-query"];
    for more in [
        &["--mode", "never,adaptive,always", "--latency-queries", "3", "--recall-at", "20"][..],
        &["--mode", "never,adaptive", "--threshold", "0.4"],
        &["--mode", "adaptive", "--document-mode", "always", "--token-share", "0.5"],
    ] {
        let arguments = [&common, more].concat();
        let (own, served) = (local(&home, &arguments), remote(&home, &server, &arguments));
        assert_eq!(figures(own.clone()), figures(served), "{more:?}");
        assert_eq!(own["rows"][0]["per_query"].as_array().map(Vec::len), Some(8));
    }
    // Only a direct query can be recalled: it was embedded above.
    let arguments = [&common[..], &["--mode", "never"]].concat();
    let again = remote(&home, &server, &arguments);
    assert_eq!(again["rows"][0]["recalled_queries"], 8);
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_report_has_everything_that_was_asked_for() {
    let home = Home::new();
    let data = write_data(&home);
    let common = ["eval", "beir", &data, "--budget", "9", "--limit-queries", "6"];
    let first = local(&home, &[&common[..], &["--per-query", "--system", "before"]].concat());
    let before = home.write("before.json", first.to_string());
    let baselines = format!("bm25,{before}");
    let more = ["--mode", "never,adaptive,always", "--baseline", &baselines];
    let files = ["--plot", "f.svg", "--frontier", "f.json", "--token-share", "0.5"];
    let report = local(&home, &[&common[..], &more, &files].concat());

    let rows = report["rows"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|row| (&row["system"], &row["mode"])).collect();
    let names = serde_json::to_value(names).expect("JSON");
    let model = &rows[2]["system"];
    let want = serde_json::json!([
        ["bm25", null],
        ["before", "never"],
        [model, "never"],
        [model, "adaptive"],
        [model, "always"]
    ]);
    assert_eq!(names, want);
    assert_eq!(rows[1]["ndcg_at_10"], rows[2]["ndcg_at_10"]);
    assert_eq!(rows[2]["cached_documents"], 40);
    assert_eq!((&rows[2]["think_rate"], &rows[4]["think_rate"]), (&0.0.into(), &1.0.into()));
    assert_eq!(report["comparisons"].as_array().map(Vec::len), Some(10));
    assert_eq!(report["kinds"][0]["kind"], "plain");
    assert_eq!(report["kinds"][1]["rows"].as_array().map(Vec::len), Some(5));
    assert!(report["choice"]["threshold"].is_number(), "{}", report["choice"]);
    assert!(report["latency"]["reasoned"]["p95_ms"].is_number(), "{}", report["latency"]);
    assert!(report["gate"]["expected_calibration_error"].is_number(), "{}", report["gate"]);

    let frontier = std::fs::read_to_string(home.path("f.json")).expect("frontier");
    let frontier: Value = serde_json::from_str(&frontier).expect("JSON");
    assert_eq!(frontier, report["frontier"]);
    let plot = std::fs::read_to_string(home.path("f.svg")).expect("plot");
    assert!(plot.starts_with("<svg"), "{plot}");

    let text = home.run(
        &[
            &common[..],
            &["--model", tiny_model().to_str().expect("UTF-8"), "--context-tokens", "512"],
        ]
        .concat(),
    );
    let text = text.ok().stdout;
    assert!(text.contains("nDCG@10") && text.contains("resolving: 3 queries"), "{text}");
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    let home = Home::new();
    let data = write_data(&home);
    home.run(&["eval", "beir", "gone"]).failed(1, "gone/corpus.jsonl");
    home.run(&["eval", "beir", &data, "--baseline", "gone"]).failed(2, "neither `bm25` nor a file");
    home.run(&["eval", "beir", &data, "--server", "http://127.0.0.1:1"])
        .failed(1, "no server answers");
    home.run(&["eval", "beir", &data, "--server", "http://127.0.0.1:1", "--model", "m"])
        .failed(1, "its own model");
}
