//! Whole evaluations through the public interface, with an embedder that hashes words.

use std::path::Path;

use twn_encoder::{FakeEmbedder, FakeFailure, FakeOptions, ReasoningMode};
use twn_train::{
    Beir, DataSummary, EvalError, EvalOptions, Evaluation, Progress, Report, Stage, evaluate,
    evaluate_bm25,
};

const WORDS: [&str; 12] = [
    "wing", "rotor", "heat", "shock", "layer", "nozzle", "flutter", "panel", "wake", "vortex",
    "buckling", "shell",
];

/// Writes 150 documents, one of them empty, and 12 queries, the last 3 of them questions.
/// The query for a word is answered by the documents that begin with it.
fn write_data(folder: &Path) {
    let mut corpus = String::new();
    let mut qrels = String::from("query-id\tcorpus-id\tscore\n");
    for number in 0..150 {
        let word = WORDS[number % WORDS.len()];
        let text =
            if number == 77 { String::new() } else { format!("{word} {word} paper {number}") };
        corpus += &format!("{{\"_id\": \"d{number}\", \"title\": \"\", \"text\": \"{text}\"}}\n");
        if number < 60 {
            let grade = 1 + number % 3;
            qrels += &format!("q{}\td{number}\t{grade}\n", number % WORDS.len());
        }
    }
    let mut queries = String::new();
    for (number, word) in WORDS.iter().enumerate() {
        let mark = if number >= 9 { "?" } else { "" };
        queries += &format!("{{\"_id\": \"q{number}\", \"text\": \"{word}{mark} paper\"}}\n");
    }
    fs_err::create_dir(folder.join("qrels")).unwrap();
    fs_err::write(folder.join("corpus.jsonl"), corpus).unwrap();
    fs_err::write(folder.join("queries.jsonl"), queries).unwrap();
    fs_err::write(folder.join("qrels/test.tsv"), qrels).unwrap();
}

fn data() -> Beir {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    Beir::read(folder.path()).unwrap()
}

fn encoder(failure: FakeFailure) -> FakeEmbedder {
    FakeEmbedder::new(FakeOptions { dimension: 256, failure, ..FakeOptions::default() })
}

fn run(data: &Beir, mode: ReasoningMode, options: &EvalOptions) -> Result<Evaluation, EvalError> {
    evaluate(&mut encoder(FakeFailure::Never), data, mode, options, &mut |_| {})
}

/// What does not depend on the clock or the cache.
fn figures(evaluation: &Evaluation) -> (Vec<twn_train::QueryScores>, Option<f64>, Option<f64>) {
    let row = &evaluation.row;
    (evaluation.scores.clone(), row.think_rate, row.reasoning_tokens_per_query)
}

#[test]
fn each_mode_finds_documents_and_counts_its_thoughts() {
    let data = data();
    let options = EvalOptions::default();
    for (mode, name, think_rate) in [
        (ReasoningMode::Never, "never", 0.0),
        (ReasoningMode::Auto, "adaptive", 0.25),
        (ReasoningMode::Always, "always", 1.0),
    ] {
        let row = run(&data, mode, &options).unwrap().row;
        assert_eq!((row.system.as_str(), row.mode), ("fake", Some(name)));
        assert_eq!(row.think_rate, Some(think_rate), "{name}");
        assert_eq!(row.reasoning_tokens_per_query, Some(6.0 * think_rate), "{name}");
        assert_eq!(row.document_think_rate, Some(0.0));
        // A word is in 13 documents, 5 of them relevant: 10 at random hold 3.8 of the 5.
        assert!(row.scores.recall_at_10 > 0.5, "{name}: {:?}", row.scores);
        assert!(row.encoded_document_tokens > 149 * 4);
    }
}

#[test]
fn figures_do_not_depend_on_how_much_runs_at_once() {
    let data = data();
    let want = run(&data, ReasoningMode::Auto, &EvalOptions::default()).unwrap();
    for (batch_tokens, thoughts) in [(1, 1), (7, 2), (100_000, 64)] {
        let options = EvalOptions { batch_tokens, thoughts, ..EvalOptions::default() };
        let got = run(&data, ReasoningMode::Auto, &options).unwrap();
        assert_eq!(figures(&got), figures(&want), "{batch_tokens} tokens, {thoughts} thoughts");
    }
}

#[test]
fn a_broken_off_evaluation_goes_on_from_its_cache() {
    let data = data();
    let folder = tempfile::tempdir().unwrap();
    let plain = EvalOptions { batch_tokens: 64, ..EvalOptions::default() };
    let cached = EvalOptions { cache: Some(folder.path().to_owned()), ..plain.clone() };
    let want = run(&data, ReasoningMode::Never, &plain).unwrap();

    let mut breaking = encoder(FakeFailure::DirectAfter(8));
    let broken = evaluate(&mut breaking, &data, ReasoningMode::Never, &cached, &mut |_| {});
    let message = broken.unwrap_err().to_string();
    assert!(message.contains("cannot encode a batch from document `d64`"), "{message}");

    let mut first = None;
    let mut progress = |progress: Progress| {
        if progress.stage == Stage::Documents {
            first.get_or_insert(progress.done);
        }
    };
    let mut whole = encoder(FakeFailure::Never);
    let resumed =
        evaluate(&mut whole, &data, ReasoningMode::Never, &cached, &mut progress).unwrap();
    assert_eq!(resumed.row.cached_documents, 64);
    assert!(first.unwrap() > 64, "{first:?}");
    assert_eq!(figures(&resumed), figures(&want));

    let second_mode = run(&data, ReasoningMode::Always, &cached).unwrap();
    assert_eq!(second_mode.row.cached_documents, 150);
    assert_eq!(second_mode.row.encoded_document_tokens, 0);
    let fresh = run(&data, ReasoningMode::Always, &plain).unwrap();
    assert_eq!(figures(&second_mode), figures(&fresh));
}

#[test]
fn documents_think_only_when_asked_and_are_cached_apart() {
    let data = data();
    let folder = tempfile::tempdir().unwrap();
    let direct = EvalOptions { cache: Some(folder.path().to_owned()), ..EvalOptions::default() };
    let thinking = EvalOptions { document_mode: ReasoningMode::Always, ..direct.clone() };
    let first = run(&data, ReasoningMode::Never, &direct).unwrap().row;
    let second = run(&data, ReasoningMode::Never, &thinking).unwrap().row;
    assert_eq!((first.document_think_rate, second.document_think_rate), (Some(0.0), Some(1.0)));
    assert_eq!(second.cached_documents, 0);
    let again = run(&data, ReasoningMode::Never, &thinking).unwrap().row;
    assert_eq!((again.cached_documents, again.document_think_rate), (150, Some(1.0)));
}

#[test]
fn documents_are_cut_where_asked() {
    let data = data();
    let options = EvalOptions { max_document_tokens: Some(2), ..EvalOptions::default() };
    let row = run(&data, ReasoningMode::Never, &options).unwrap().row;
    // One token of the fake's template and two of content.
    assert_eq!(row.encoded_document_tokens, 149 * 3);
    assert_eq!(row.max_document_tokens, Some(2));
}

#[test]
fn the_report_has_the_baseline_and_says_which_differences_are_real() {
    let data = data();
    let options = EvalOptions { limit_queries: Some(10), ..EvalOptions::default() };
    let bm25 = evaluate_bm25(&data, &options);
    let never = run(&data, ReasoningMode::Never, &options).unwrap();
    assert_eq!((bm25.scores.len(), never.scores.len()), (10, 10));
    let summary = DataSummary::new(&data, options.queries(&data));
    assert_eq!((summary.documents, summary.empty_documents), (150, 1));
    assert_eq!((summary.queries, summary.skipped_queries, summary.judgments), (10, 2, 60));

    let report = Report::new(summary, vec![bm25, never]).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][0]["system"], "bm25");
    assert_eq!(json["rows"][0]["mode"], serde_json::Value::Null);
    for field in [
        "ndcg_at_10",
        "ndcg_binary_at_10",
        "recall_at_10",
        "mrr_at_10",
        "hit_at_1",
        "think_rate",
        "reasoning_tokens_per_query",
        "seconds",
    ] {
        assert!(json["rows"][1][field].is_number(), "{field}: {}", json["rows"][1]);
    }
    assert_eq!(json["comparisons"][0]["a"], "bm25");
    assert_eq!(json["comparisons"][0]["b"], "fake never");
    assert!(json["comparisons"][0]["p_value"].is_number());
}

#[test]
fn evaluations_on_different_queries_are_not_compared() {
    let data = data();
    let all = evaluate_bm25(&data, &EvalOptions::default());
    let options = EvalOptions { limit_queries: Some(3), ..EvalOptions::default() };
    let few = evaluate_bm25(&data, &options);
    let summary = DataSummary::new(&data, 3);
    let message = Report::new(summary, vec![all, few]).unwrap_err().to_string();
    assert!(message.contains("12 and 3 queries cannot be paired"), "{message}");
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let data = data();
    let fine = EvalOptions::default();
    let check = |options: EvalOptions, want: &str| {
        let message = run(&data, ReasoningMode::Never, &options).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} does not have {want:?}");
    };
    check(EvalOptions { batch_tokens: 0, ..fine.clone() }, "option `batch_tokens`");
    check(EvalOptions { thoughts: 0, ..fine.clone() }, "option `thoughts`");
    check(EvalOptions { limit_queries: Some(0), ..fine.clone() }, "option `limit_queries`");
    check(EvalOptions { threshold: Some(f32::NAN), ..fine }, "option `threshold`");
}
