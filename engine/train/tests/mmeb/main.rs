//! MMEB-V2: the scores are numpy's (golden/make_mmeb_golden.py), every layout is read and
//! evaluated, and finished tasks are not run again.
//!
//! The encoder here has no eyes: a picture is a file with words in it, which a stand-in
//! reads as text. So layouts, media folders, candidates and scores are proven; what a
//! vision tower sees is not.

mod benchmark;
mod reading;

use std::path::Path;

use benchmark::{benchmark, lines, write};
use reading::{Reading, encoder};
use serde_json::{Value, json};
use twn_encoder::{Embedder, ReasoningMode};
use twn_train::{
    EvalError, Relevance,
    mmeb::{
        Kept, MediaFolders, MmebOptions, MmebReport, MmebRow, MmebTask, evaluate_task, find_folder,
        find_task, score_query,
    },
};

fn read(root: &Path, name: &str) -> Result<MmebTask, String> {
    let task = find_task(name).expect("a task");
    let folder = find_folder(root, task).ok_or("no folder")?;
    MmebTask::read(task, &folder).map_err(|error| error.to_string())
}

fn folders(root: &Path, name: &str) -> MediaFolders {
    let task = find_folder(root, find_task(name).expect("a task")).expect("a folder");
    MediaFolders { roots: vec![task, root.to_owned()], frames: 8 }
}

fn run(encoder: &mut Reading, root: &Path, name: &str, modes: &[ReasoningMode]) -> Vec<MmebRow> {
    let data = read(root, name).expect("reads");
    let options = MmebOptions::default();
    evaluate_task(encoder, &data, &folders(root, name), modes, &options, &mut |_, _| {})
        .expect("evaluates")
}

const NEVER: [ReasoningMode; 1] = [ReasoningMode::Never];
const ALL: [ReasoningMode; 3] = [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];

#[test]
fn scores_are_those_of_an_independent_computation() {
    let text = fs_err::read_to_string("tests/golden/mmeb.json").expect("readable");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(cases.len(), 100);
    for case in cases {
        let numbers = |key: &str| case[key].as_array().expect("a list").clone();
        let similar = numbers("similarities").into_iter().zip(numbers("positions"));
        let similar = similar
            .map(|(s, p)| (s.as_f64().expect("a number"), p.as_u64().expect("a number") as u32));
        let grades = numbers("grades");
        let grades = grades.iter().map(|pair| {
            let number = |i: usize| pair[i].as_i64().expect("a number");
            (number(0) as u32, number(1) as i32)
        });
        let score = score_query(similar.collect(), &Relevance::new(grades));
        assert_eq!(score.hit_at_1, case["hit_at_1"].as_f64().expect("a number"));
        let want = case["ndcg_linear_at_5"].as_f64().expect("a number");
        assert!((score.ndcg_linear_at_5 - want).abs() < 1e-12, "{score:?} {want}");
    }
}

#[test]
fn every_layout_is_read_and_scored() {
    let root = benchmark();
    let mut encoder = encoder();
    for (task, queries, candidates, score) in [
        ("ImageNet-1K", 4, 3, 3.0 / 4.0),
        ("MSCOCO_t2i", 3, 2, 2.0 / 3.0),
        ("K700", 4, 3, 3.0 / 4.0),
        ("MSR-VTT", 4, 3, 3.0 / 4.0),
        ("NExTQA", 1, 2, 1.0),
        ("QVHighlight", 2, 3, 1.0 / 2.0),
        ("GQA", 3, 2, 2.0 / 3.0),
    ] {
        let rows = run(&mut encoder, root.path(), task, &NEVER);
        let [row] = rows.as_slice() else { panic!("one row") };
        assert_eq!((row.queries, row.candidates), (queries, candidates), "{task}");
        assert!((row.score - score).abs() < 1e-12, "{task}: {row:?}");
        assert_eq!(row.score, row.hit_at_1);
        assert!(row.prompt_tokens_per_query > 0.0 && row.think_rate == 0.0);
    }
    let [row] = &run(&mut encoder, root.path(), "ViDoSeek-page", &NEVER)[..] else {
        panic!("one row")
    };
    // The page of grade 1 comes before that of grade 2; the other query is answered rightly.
    let log3 = 3.0_f64.log2();
    let first = (1.0 + 2.0 / log3) / (2.0 + 1.0 / log3);
    assert_eq!((row.queries, row.candidates), (2, 3));
    assert!((row.score - f64::midpoint(first, 1.0)).abs() < 1e-12, "{row:?}");
    assert_eq!(row.score, row.ndcg_linear_at_5);
}

#[test]
fn modes_share_a_run_and_agree_with_runs_of_their_own() {
    let root = benchmark();
    let strip = |mut row: MmebRow| {
        (row.query_seconds, row.candidate_seconds) = (0.0, 0.0);
        row
    };
    let together = run(&mut encoder(), root.path(), "GQA", &ALL);
    for (mode, row) in ALL.into_iter().zip(together.clone()) {
        let alone = run(&mut encoder(), root.path(), "GQA", &[mode]);
        assert_eq!(strip(alone[0].clone()), strip(row));
    }
    let rates: Vec<f64> = together.iter().map(|row| row.think_rate).collect();
    assert_eq!(rates, [0.0, 1.0 / 3.0, 1.0], "one of the queries is a question");
    let tokens: Vec<f64> = together.iter().map(|row| row.reasoning_tokens_per_query).collect();
    assert!(tokens[0] == 0.0 && tokens[1] > 0.0 && tokens[2] > tokens[1], "{tokens:?}");
    assert_eq!(together[1].threshold, Some(encoder().info().gate_threshold));
}

#[test]
fn limits_cut_queries_and_the_candidates_that_only_the_others_have() {
    let root = benchmark();
    let data = read(root.path(), "MSCOCO_t2i").expect("reads");
    let options = MmebOptions { limit_queries: Some(1), ..MmebOptions::default() };
    let media = folders(root.path(), "MSCOCO_t2i");
    let mut last = (0, 0);
    let mut done = |done, total| last = (done, total);
    let rows =
        evaluate_task(&mut encoder(), &data, &media, &NEVER, &options, &mut done).expect("runs");
    assert_eq!((rows[0].queries, rows[0].candidates), (1, 2));
    assert_eq!(last, (3, 3));
}

#[test]
fn a_finished_task_is_kept_until_its_data_or_options_change() {
    let (root, results) = (benchmark(), tempfile::tempdir().expect("temporary folder"));
    let data = read(root.path(), "GQA").expect("reads");
    let (mode, options) = (ReasoningMode::Always, MmebOptions::default());
    let info = encoder().info().clone();
    let kept = Kept::new(results.path(), &info, &options, 8);
    assert_eq!(kept.find(&data, mode).expect("readable"), None);
    let row = run(&mut encoder(), root.path(), "GQA", &[mode]).remove(0);
    kept.keep(&data, mode, &row).expect("kept");
    let mut found = kept.find(&data, mode).expect("readable").expect("there");
    // The JSON reader is an ulp off at times; a second run would take another time.
    assert!((found.query_seconds - row.query_seconds).abs() < 1e-12, "{found:?}");
    assert!((found.candidate_seconds - row.candidate_seconds).abs() < 1e-12, "{found:?}");
    (found.query_seconds, found.candidate_seconds) = (row.query_seconds, row.candidate_seconds);
    assert_eq!(found, row);
    assert_eq!(kept.find(&data, ReasoningMode::Never).expect("readable"), None);

    let other = MmebOptions { token_budget: Some(3), ..options.clone() };
    let elsewhere = Kept::new(results.path(), &info, &other, 8);
    assert_eq!(elsewhere.find(&data, mode).expect("readable"), None);
    let mut changed = data.clone();
    changed.queries[0].relevance = Relevance::new([(1, 1)]);
    assert_eq!(kept.find(&changed, mode).expect("readable"), None);

    let file = kept.folder().join("GQA.always.json");
    let whole = fs_err::read(&file).expect("readable");
    fs_err::write(&file, &whole[..whole.len() / 2]).expect("written");
    let problem = kept.find(&data, mode).expect_err("torn").to_string();
    assert!(problem.contains("GQA.always.json") && problem.contains("remove it"), "{problem}");
}

#[test]
fn means_are_over_tasks() {
    let root = benchmark();
    let mut encoder = encoder();
    let mut rows = Vec::new();
    for task in ["ImageNet-1K", "GQA", "K700", "ViDoSeek-page"] {
        rows.extend(run(&mut encoder, root.path(), task, &NEVER));
    }
    let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
    let report = MmebReport::new(encoder.info(), rows);
    let [summary] = report.summaries.as_slice() else { panic!("one mode") };
    assert!((summary.all - scores.iter().sum::<f64>() / 4.0).abs() < 1e-12);
    assert!((summary.families["image"] - f64::midpoint(scores[0], scores[1])).abs() < 1e-12);
    assert_eq!(summary.groups["video_classification"], scores[2]);
    assert_eq!((summary.tasks, report.missing.len()), (4, 74));
    let json = serde_json::to_value(&report).expect("JSON");
    let public = &json["metrics"]["never"]["visdoc"]["ViDoSeek-page"];
    assert_eq!(public["ndcg_linear@5"].as_f64(), Some(scores[3]));
    assert_eq!(public["num_data"], 2);
    assert_eq!(json["metrics"]["never"]["image"]["GQA"]["hit@1"].as_f64(), Some(scores[1]));
}

#[test]
fn data_that_cannot_be_used_is_refused_with_its_place() {
    let check = |task: &str, file: &str, text: &str, want: &str| {
        let root = tempfile::tempdir().expect("temporary folder");
        write(root.path(), &format!("{task}/{file}"), text);
        let problem = read(root.path(), task).expect_err("refused");
        assert!(problem.contains(want), "{want}: {problem}");
    };
    let line = r#"{"qry_text": "a", "tgt_text": ["b", "c"]}"#;
    check("GQA", "test.jsonl", &format!("{line}\n\n{{"), "test.jsonl, line 3");
    check("GQA", "test.jsonl", r#"{"qry_text": "a", "tgt_text": []}"#, "different lengths");
    let uneven = r#"{"qry_text": "a", "tgt_text": ["b", "c"], "tgt_img_path": ["1", "2", "3"]}"#;
    check("GQA", "test.jsonl", uneven, "different lengths");
    check("GQA", "test.jsonl", r#"{"tgt_text": ["b"]}"#, "query without text and picture");
    check("GQA", "test.jsonl", r#"{"qry_text": "a", "tgt_text": ["b", ""]}"#, "candidate without");
    check("GQA", "test.jsonl", "", "has no query");
    check("K700", "videos.jsonl", r#"{"pos_text": "a"}"#, "names no video");
    check("K700", "videos.jsonl", r#"{"video_id": "a"}"#, "has neither pos_text");
    let question = r#"{"video": "a", "question": "b", "candidates": ["c"], "answer": "d"}"#;
    check("NExTQA", "videos.jsonl", question, "answer `d` is no candidate");
    check("GQA", "rows.jsonl", r#"{"query_input": {}}"#, "dataset_infos");
    let names = r#"{"query_input": {"text": "a"}, "cand_input": [],
                    "dataset_infos": {"cand_names": ["x"], "label_name": "x"}}"#;
    check("GQA", "rows.jsonl", &names.replace('\n', " "), "0 candidates and 1 names");
    check("ViDoSeek-doc", "queries.jsonl", "", "corpus.jsonl");

    let root = benchmark();
    let failed = |task: &str| -> EvalError {
        let data = read(root.path(), task).expect("reads");
        let (media, options) = (folders(root.path(), task), MmebOptions::default());
        evaluate_task(&mut encoder(), &data, &media, &NEVER, &options, &mut |_, _| {})
            .expect_err("fails")
    };
    fs_err::remove_file(root.path().join("ImageNet-1K/b.png")).expect("removed");
    let problem = failed("ImageNet-1K").to_string();
    assert!(problem.contains("ImageNet-1K/b.png: is not in"), "{problem}");
    write(
        root.path(),
        "GQA/rows.jsonl",
        lines(&[json!({
            "query_input": {"text": "a", "image": "../../etc/passwd"},
            "cand_input": [{"text": "b"}],
            "dataset_infos": {"cand_names": ["b"], "label_name": "b"},
        })]),
    );
    let problem = failed("GQA").to_string();
    assert!(problem.contains("within the data's folders"), "{problem}");
    assert!(read(root.path(), "CIRR").is_err_and(|problem| problem == "no folder"));
}
