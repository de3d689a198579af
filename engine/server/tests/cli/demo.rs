//! `twn demo`

use crate::support::{Home, tiny_model};

#[test]
fn a_demo_shows_how_every_answer_was_made() {
    let home = Home::new();
    for i in 0..8 {
        home.write(&format!("texts/{i}.txt"), format!("text number {i} speaks about thing{i}"));
    }
    home.write("texts/bad.txt", b"\xff\xfe");
    let model = tiny_model();
    let (model, folder) = (model.to_str().unwrap(), home.path("texts"));
    let demo =
        ["demo", "--model", model, "--context-tokens", "512", "--folder", folder.to_str().unwrap()];
    let shown = home.run(&[&demo[..], &["--json"]].concat()).ok().json();

    assert_eq!(shown["documents"], 8);
    assert_eq!(shown["encoder"]["trained"], false);
    let queries = shown["queries"].as_array().unwrap();
    let policies: Vec<_> = queries.iter().map(|query| query["policy"].as_str().unwrap()).collect();
    assert_eq!(policies[..6], ["REASONING_MODE_AUTO"; 6]);
    assert_eq!(policies[6..], ["REASONING_MODE_ALWAYS"]);
    for query in queries {
        assert!(!query["query"].as_str().unwrap().is_empty());
        let hit = &query["hits"][0];
        assert!(
            hit["id"].is_string() && hit["score"].is_f64() && hit["text"].is_string(),
            "{query}"
        );
        let usage = query["usage"].as_object().unwrap();
        for field in [
            "route",
            "route_reason",
            "gate_score",
            "gate_threshold",
            "prompt_tokens",
            "vision_tokens",
            "reasoning_tokens",
            "query_tokens",
            "stop_reason",
            "truncated",
            "encoder_fingerprint",
            "cached",
            "cached_prompt_tokens",
        ] {
            assert!(usage.contains_key(field), "{field}: {query}");
        }
        assert!(query["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    }
    let last = &queries[6]["usage"];
    assert_eq!(last["route"], "ROUTE_REASONED");
    assert!((1..=48).contains(&last["reasoning_tokens"].as_u64().unwrap()), "{last}");

    let told =
        home.run(&[&demo[..], &["--data", home.path("kept").to_str().unwrap()]].concat()).ok();
    assert!(
        told.stdout.contains("is untrained") && told.stdout.contains("twn serve --data"),
        "{told:#?}"
    );
    assert!(home.path("kept/collections/demo").is_dir());
}

#[test]
fn a_demo_without_crates_asks_for_a_folder() {
    let home = Home::new();
    let mut command = home.command(&[
        "demo",
        "--model",
        tiny_model().to_str().unwrap(),
        "--context-tokens",
        "512",
    ]);
    let output = command.env("CARGO_HOME", home.path("cargo")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("twn demo --folder PATH"), "{said}");
}
