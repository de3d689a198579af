//! Makes data from small inputs, and holds it to its promises.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use serde_json::Value;
use twn_train::{
    Beir,
    data::{DataOptions, DataSummary, Example, make},
};

const GLOSSES: usize = 600;

/// Inputs in their packages' formats, with texts that say nothing.
fn inputs(folder: &Path) -> DataOptions {
    let wordnet = folder.join("wordnet");
    fs_err::create_dir_all(&wordnet).expect("folder");
    for (part, name) in ["data.noun", "data.verb", "data.adj", "data.adv"].iter().enumerate() {
        let mut lines = String::from("  1 A licence line.\n");
        for index in 0..GLOSSES / 4 {
            lines += &format!(
                "00000000 00 n 01 word{part}x{index} 0 000 | thing number {index} of kind {part} in the row; \"see {index} of {part}\"\n"
            );
        }
        fs_err::write(wordnet.join(name), lines).expect("glosses");
    }
    let rationales = folder.join("rationales");
    fs_err::create_dir_all(&rationales).expect("folder");
    let lines: String = (0..400)
        .map(|index| {
            format!(
                "{{\"question\": \"Why is case {index} so?\", \"answer\": \"yes\", \"rationale\": \"Case {index} follows from rule {index} of the book.\"}}\n"
            )
        })
        .collect();
    fs_err::write(rationales.join("set.jsonl"), lines).expect("rationales");
    let excluded = folder.join("excluded.jsonl");
    fs_err::write(
        &excluded,
        "{\"_id\": \"x\", \"text\": \"thing number 3 of kind 1 in the row\"}\n",
    )
    .expect("excluded");
    DataOptions {
        seed: 9,
        wordnet: Some(wordnet),
        rationales: Some(rationales),
        exclude: vec![excluded],
        resolving: 2000,
        plain: 10_000,
        texts_per_source: 10_000,
        distill_bytes: 1 << 20,
        ..DataOptions::default()
    }
}

fn run(options: &DataOptions, out: &Path) -> DataSummary {
    make(out, options, &mut |_| {}).expect("data")
}

fn files(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>, root: &Path) {
    for entry in fs_err::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, found, root);
        } else {
            let name = path.strip_prefix(root).expect("below").display().to_string();
            found.insert(name, fs_err::read(&path).expect("file"));
        }
    }
}

fn examples(out: &Path, kind: &str) -> Vec<Example> {
    let text = fs_err::read_to_string(out.join(format!("train_{kind}.jsonl"))).expect("file");
    text.lines().map(|line| serde_json::from_str(line).expect("example")).collect()
}

#[test]
fn the_same_seed_makes_the_same_files() {
    let folder = tempfile::tempdir().expect("folder");
    let options = inputs(folder.path());
    let mut found = Vec::new();
    for name in ["one", "two"] {
        let out = folder.path().join(name);
        run(&options, &out);
        let mut all = BTreeMap::new();
        files(&out, &mut all, &out);
        found.push(all);
    }
    assert_eq!(found[0].len(), 4 + 8 * 3);
    assert!(found[0] == found[1]);
    let other = folder.path().join("other");
    run(&DataOptions { seed: 10, ..options }, &other);
    let lines = fs_err::read(other.join("train_resolving.jsonl")).expect("file");
    assert!(lines != found[0]["train_resolving.jsonl"]);
}

#[test]
fn evaluation_texts_are_not_trained_on() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("out");
    let summary = run(&inputs(folder.path()), &out);

    let mut trained = HashSet::new();
    for kind in ["resolving", "explain", "plain", "distill"] {
        for example in examples(&out, kind) {
            let texts = example.positives.into_iter().chain(example.negatives);
            trained.extend(texts.chain([example.query]).map(|text| text.to_lowercase()));
        }
    }
    assert!(!trained.contains("thing number 3 of kind 1 in the row"));
    for set in ["mixed", "valid/mixed"] {
        let set = Beir::read(&out.join(set)).expect("a BEIR folder");
        assert!(set.queries.len() > 400, "{}", set.queries.len());
        assert_eq!(set.skipped_queries, 0);
        for document in &set.documents {
            assert!(!trained.contains(&document.text.to_lowercase()), "{}", document.text);
        }
        for query in &set.queries {
            assert!(!trained.contains(&query.text.to_lowercase()), "{}", query.text);
        }
    }
    assert!(summary.leaks["distill"].0 > 0);
    assert_eq!(summary.excluded_texts, 1);
}

#[test]
fn the_mixed_set_names_each_querys_kind() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("out");
    run(&inputs(folder.path()), &out);
    let lines = fs_err::read_to_string(out.join("mixed/queries.jsonl")).expect("queries");
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines.lines() {
        let query: Value = serde_json::from_str(line).expect("JSON");
        *kinds
            .entry(query["metadata"]["kind"].as_str().expect("a kind").to_owned())
            .or_default() += 1;
    }
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["explain", "plain", "resolving"]);
}

#[test]
fn a_missing_input_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let options =
        DataOptions { wordnet: Some(folder.path().join("nothing")), ..DataOptions::default() };
    let error = make(folder.path(), &options, &mut |_| {}).expect_err("no input");
    assert!(error.to_string().contains("nothing"), "{error}");
}
