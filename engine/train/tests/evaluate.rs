//! Whole evaluations through the public interface, with an embedder that hashes words.

use std::path::Path;

use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, FakeEmbedder, FakeFailure, FakeOptions, Prompt,
    ReasoningMode, ReasoningPolicy, Route, Thought, ThoughtOptions,
};
use twn_train::{
    Beir, EncoderEvaluation, EvalError, EvalOptions, Evaluation, LocalOptions, LocalSource,
    Progress, QueryResult, Report, ReportOptions, Stage, evaluate, evaluate_bm25, frontier_svg,
    read_baseline,
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
        let kind = if number >= 9 { "resolving" } else { "plain" };
        queries += &format!(
            "{{\"_id\": \"q{number}\", \"text\": \"{word}{mark} paper\", \
             \"metadata\": {{\"kind\": \"{kind}\"}}}}\n"
        );
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

const MODES: [ReasoningMode; 3] =
    [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];

fn run_all(data: &Beir, options: &EvalOptions) -> Result<EncoderEvaluation, EvalError> {
    let mut encoder = encoder(FakeFailure::Never);
    let mut source = LocalSource::new(&mut encoder, LocalOptions::default())?;
    evaluate(&mut source, data, options, &mut |_| {})
}

fn run(data: &Beir, mode: ReasoningMode, options: &EvalOptions) -> Result<Evaluation, EvalError> {
    let options = EvalOptions { modes: vec![mode], ..options.clone() };
    run_all(data, &options).map(|mut done| done.evaluations.remove(0))
}

fn all_modes() -> EvalOptions {
    EvalOptions { modes: MODES.to_vec(), ..EvalOptions::default() }
}

/// What does not depend on the clock or the cache.
fn figures(evaluation: &Evaluation) -> (&Option<Vec<QueryResult>>, Option<f64>, Option<f64>) {
    let row = &evaluation.row;
    (&evaluation.per_query, row.think_rate, row.reasoning_tokens_per_query)
}

#[test]
fn each_mode_finds_documents_and_counts_its_thoughts() {
    let data = data();
    let done = run_all(&data, &all_modes()).unwrap();
    let wanted = [("never", 0.0), ("adaptive", 0.25), ("always", 1.0)];
    for (evaluation, (name, think_rate)) in done.evaluations.iter().zip(wanted) {
        let row = &evaluation.row;
        assert_eq!((row.system.as_str(), row.mode.as_deref()), ("fake", Some(name)));
        assert_eq!(row.think_rate, Some(think_rate), "{name}");
        assert_eq!(row.reasoning_tokens_per_query, Some(6.0 * think_rate), "{name}");
        assert_eq!(row.document_think_rate, Some(0.0));
        // A word is in 13 documents, 5 of them relevant: 10 at random hold 3.8 of the 5.
        assert!(row.scores.recall_at_10 > 0.5, "{name}: {:?}", row.scores);
        assert!(row.encoded_document_tokens > 149 * 4);
    }
}

#[test]
fn modes_that_share_a_run_score_as_they_would_alone() {
    let data = data();
    let shared = run_all(&data, &all_modes()).unwrap();
    for (mode, shared) in MODES.into_iter().zip(&shared.evaluations) {
        let alone = run(&data, mode, &EvalOptions::default()).unwrap();
        assert_eq!(figures(&alone), figures(shared), "{mode:?}");
    }
    for threshold in [0.0, 0.1, 0.5, 0.9] {
        let at = |options: EvalOptions| EvalOptions { threshold: Some(threshold), ..options };
        let shared = run_all(&data, &at(all_modes())).unwrap();
        let alone = run(&data, ReasoningMode::Auto, &at(EvalOptions::default())).unwrap();
        assert_eq!(figures(&alone), figures(&shared.evaluations[1]), "threshold {threshold}");
    }
}

/// Embeds a text as the engine does under `Auto`, step by step and alone.
fn embed_under_the_gate(encoder: &mut FakeEmbedder, text: &str) -> (Vec<f32>, Option<u32>) {
    let input =
        EncodeInput { content: Content::text(text), instruction: None, kind: EmbedKind::Query };
    let prompt: Prompt = encoder.prompter().prepare(&input).unwrap();
    let policy = ReasoningPolicy {
        mode: ReasoningMode::Auto,
        threshold: encoder.info().gate_threshold,
        token_budget: encoder.info().token_budget,
        temperature: 0.0,
        seed: 0,
        convergence: None,
    };
    let direct = encoder.direct(&[&prompt]).unwrap().remove(0);
    if policy.route(direct.gate_score, direct.room > 0).0 != Route::Reasoned {
        return (direct.embedding, None);
    }
    let options = ThoughtOptions {
        token_budget: policy.token_budget.min(direct.room),
        temperature: 0.0,
        seed: 0,
        convergence: None,
    };
    let mut thought = encoder.think(direct.context, &options).unwrap();
    while thought.stop_reason().is_none() {
        encoder.step(&mut [&mut thought]).unwrap();
    }
    let reasoned = encoder.reasoned(thought).unwrap();
    (reasoned.embedding, Some(reasoned.reasoning_tokens))
}

#[test]
fn the_adaptive_row_is_that_of_a_run_under_the_gate() {
    let data = data();
    let shared = run_all(&data, &all_modes()).unwrap();
    let adaptive = shared.evaluations[1].per_query.as_ref().unwrap();

    let mut encoder = encoder(FakeFailure::Never);
    let prompter = encoder.prompter();
    let documents: Vec<Option<Vec<f32>>> = data
        .documents
        .iter()
        .map(|document| {
            let content = Content::text(document.content());
            let input = EncodeInput { content, instruction: None, kind: EmbedKind::Document };
            let prompt = prompter.prepare(&input).ok()?;
            Some(encoder.direct(&[&prompt]).unwrap().remove(0).embedding)
        })
        .collect();
    let mut thoughts = 0;
    for (query, got) in data.queries.iter().zip(adaptive) {
        let (embedding, tokens) = embed_under_the_gate(&mut encoder, &query.text);
        let mut scored: Vec<(f32, u32)> = (0u32..)
            .zip(&documents)
            .filter_map(|(position, document)| {
                let document = document.as_ref()?;
                let score: f32 = embedding.iter().zip(document).map(|(a, b)| a * b).sum();
                Some((score, position))
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let ranking: Vec<u32> = scored.into_iter().map(|(_, position)| position).collect();
        let want = twn_train::ndcg(&ranking, &query.relevance, 10, twn_train::Gain::Graded);
        assert!((got.scores.ndcg_at_10 - want).abs() < 1e-9, "query {}", query.id);
        assert_eq!(got.reasoning_tokens, tokens, "query {}", query.id);
        thoughts += usize::from(tokens.is_some());
    }
    assert_eq!(thoughts, 3);
}

#[test]
fn figures_do_not_depend_on_how_much_runs_at_once() {
    let data = data();
    let want = run_all(&data, &all_modes()).unwrap().evaluations;
    for (batch_tokens, thoughts) in [(1, 1), (7, 2), (100_000, 64)] {
        let mut encoder = encoder(FakeFailure::Never);
        let limits = LocalOptions { batch_tokens, thoughts };
        let mut source = LocalSource::new(&mut encoder, limits).unwrap();
        let got = evaluate(&mut source, &data, &all_modes(), &mut |_| {}).unwrap();
        for (got, want) in got.evaluations.iter().zip(&want) {
            assert_eq!(figures(got), figures(want), "{batch_tokens} tokens, {thoughts} thoughts");
        }
    }
}

#[test]
fn a_broken_off_evaluation_goes_on_from_its_cache() {
    let data = data();
    let folder = tempfile::tempdir().unwrap();
    let plain = EvalOptions::default();
    let cached = EvalOptions { cache: Some(folder.path().to_owned()), ..plain.clone() };
    let want = run(&data, ReasoningMode::Never, &plain).unwrap();

    let small = LocalOptions { batch_tokens: 64, ..LocalOptions::default() };
    let mut breaking = encoder(FakeFailure::DirectAfter(12));
    let mut source = LocalSource::new(&mut breaking, small).unwrap();
    let broken = evaluate(&mut source, &data, &cached, &mut |_| {});
    let message = broken.unwrap_err().to_string();
    assert!(message.contains("cannot encode a batch from document `d128`"), "{message}");

    let mut first = None;
    let mut progress = |progress: Progress| {
        if progress.stage == Stage::Documents {
            first.get_or_insert(progress.done);
        }
    };
    let mut whole = encoder(FakeFailure::Never);
    let mut source = LocalSource::new(&mut whole, small).unwrap();
    let resumed = evaluate(&mut source, &data, &cached, &mut progress).unwrap().evaluations;
    assert_eq!(resumed[0].row.cached_documents, 128);
    assert!(first.unwrap() > 128, "{first:?}");
    assert_eq!(figures(&resumed[0]), figures(&want));

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
    let options = EvalOptions { limit_queries: Some(10), ..all_modes() };
    let bm25 = evaluate_bm25(&data, &options);
    let done = run_all(&data, &options).unwrap();
    let report = Report::new(&data, vec![bm25], done, ReportOptions::default()).unwrap();
    let summary = &report.data;
    assert_eq!((summary.documents, summary.empty_documents), (150, 1));
    assert_eq!((summary.queries, summary.skipped_queries, summary.judgments), (10, 2, 60));

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
    assert!(json["rows"][1].get("per_query").is_none());
    // Every pair of the four rows.
    assert_eq!(json["comparisons"].as_array().unwrap().len(), 6);
    assert_eq!(json["comparisons"][0]["a"], "bm25");
    assert_eq!(json["comparisons"][0]["b"], "fake never");
    assert!(json["comparisons"][0]["p_value"].is_number());
    assert!(json["gate"]["auroc"].is_number() || json["gate"]["auroc"].is_null());
}

#[test]
fn kinds_have_tables_of_their_own() {
    let data = data();
    let done = run_all(&data, &all_modes()).unwrap();
    let bm25 = evaluate_bm25(&data, &all_modes());
    let report = Report::new(&data, vec![bm25], done, ReportOptions::default()).unwrap();
    let kinds: Vec<(&str, usize, usize)> =
        report.kinds.iter().map(|k| (k.kind.as_str(), k.queries, k.rows.len())).collect();
    assert_eq!(kinds, [("plain", 9, 4), ("resolving", 3, 4)]);
    let rates: Vec<Option<f64>> = report.kinds.iter().map(|k| k.rows[2].think_rate).collect();
    assert_eq!(rates, [Some(0.0), Some(1.0)]);
    let whole = report.rows[3].scores.ndcg_at_10;
    let parts = report.kinds.iter().map(|k| k.rows[3].scores.ndcg_at_10 * k.queries as f64);
    assert!((parts.sum::<f64>() / 12.0 - whole).abs() < 1e-12);
    assert_eq!(report.kinds[1].comparisons.len(), 6);
}

#[test]
fn the_frontier_ends_at_never_and_always_and_is_drawn() {
    let data = data();
    let done = run_all(&data, &all_modes()).unwrap();
    let options = ReportOptions { token_share: Some(0.5), ..ReportOptions::default() };
    let report = Report::new(&data, Vec::new(), done, options).unwrap();
    let frontier = report.frontier.as_ref().unwrap();
    let ends = [frontier.never().unwrap(), frontier.always().unwrap()];
    for (end, row) in ends.into_iter().zip([&report.rows[0], &report.rows[2]]) {
        assert!((end.ndcg_at_10 - row.scores.ndcg_at_10).abs() < 1e-9);
        assert_eq!(Some(end.think_rate), row.think_rate);
        assert_eq!(Some(end.reasoning_tokens_per_query), row.reasoning_tokens_per_query);
    }
    // Two scores, so one threshold between them: the adaptive row.
    assert_eq!(frontier.points.len(), 3);
    assert_eq!(Some(frontier.points[1].think_rate), report.rows[1].think_rate);
    let choice = report.choice.unwrap();
    assert_eq!((choice.token_share, choice.token_budget), (0.5, 3.0));
    assert!(choice.point.reasoning_tokens_per_query <= 3.0);

    let svg = frontier_svg(&report).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for text in ["nDCG@10", "thought tokens per query", "adaptive", "always"] {
        assert!(svg.contains(text), "no {text} in the picture");
    }
    let without = Report { frontier: None, ..report };
    assert!(frontier_svg(&without).unwrap_err().to_string().contains("no frontier"));
}

#[test]
fn a_gate_is_judged_only_where_every_query_thought() {
    let data = data();
    let never = run_all(&data, &EvalOptions::default()).unwrap();
    assert!(never.gate.is_none() && never.frontier.is_none() && never.latency.is_none());
    let options = EvalOptions { judge_gate: true, latency_queries: 5, ..EvalOptions::default() };
    let judged = run_all(&data, &options).unwrap();
    assert_eq!(judged.evaluations.len(), 1);
    assert_eq!(judged.gate.unwrap().queries, 12);
    let latency = judged.latency.unwrap();
    let routes = [latency.direct.unwrap(), latency.reasoned.unwrap()];
    assert!(routes.iter().all(|route| route.queries == 5 && route.p50_ms <= route.p95_ms));
    assert!(routes[0].p95_ms <= routes[1].p95_ms);
}

#[test]
fn recall_is_told_at_further_cut_offs() {
    let data = data();
    let options = EvalOptions { recall_at: vec![10, 150], ..EvalOptions::default() };
    let row = run(&data, ReasoningMode::Never, &options).unwrap().row;
    assert!((row.recall_at[&10] - row.scores.recall_at_10).abs() < 1e-12);
    assert_eq!(row.recall_at[&150], 1.0);
    let json = serde_json::to_value(&row).unwrap();
    assert_eq!(json["recall_at"]["150"], 1.0);
}

#[test]
fn one_runs_output_is_another_ones_baseline() {
    let data = data();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let report = |done, per_query| {
        let options = ReportOptions { per_query, ..ReportOptions::default() };
        Report::new(&data, Vec::new(), done, options).unwrap()
    };
    let named = EvalOptions { system: Some("other".into()), ..all_modes() };
    let told = report(run_all(&data, &named).unwrap(), true);
    let line = serde_json::to_string(&told).unwrap();
    let elsewhere = line.replace(&format!("\"name\":\"{}\"", data.name), "\"name\":\"x\"");
    fs_err::write(&path, format!("{elsewhere}\n\n{line}\n")).unwrap();

    let baselines = read_baseline(&path, &data, &EvalOptions::default()).unwrap();
    let done = run_all(&data, &EvalOptions::default()).unwrap();
    let both = Report::new(&data, baselines, done, ReportOptions::default()).unwrap();
    let names: Vec<String> = both.rows.iter().map(twn_train::Row::name).collect();
    assert_eq!(names, ["other never", "other adaptive", "other always", "fake never"]);
    // The scores went through JSON: equal but for the last digit.
    assert!(both.comparisons[2].significance.difference.abs() < 1e-12);
    assert_eq!(
        (both.comparisons[2].a.as_str(), both.comparisons[2].b.as_str()),
        ("other never", "fake never")
    );
    assert_eq!(both.rows[1].think_rate, told.rows[1].think_rate);

    // Over fewer queries the means are those of the fewer.
    let few = EvalOptions { limit_queries: Some(9), ..EvalOptions::default() };
    let rows = read_baseline(&path, &data, &few).unwrap();
    assert_eq!(rows[1].row.think_rate, Some(0.0));

    // Without the queries' results only the means are known, and only of all queries.
    let line = serde_json::to_string(&report(run_all(&data, &named).unwrap(), false)).unwrap();
    fs_err::write(&path, &line).unwrap();
    let rows = read_baseline(&path, &data, &EvalOptions::default()).unwrap();
    assert!(rows[0].per_query.is_none());
    assert_eq!(rows[0].row.scores, told.rows[0].scores);
    let check = |text: &str, options: &EvalOptions, want: &str| {
        fs_err::write(&path, text).unwrap();
        let message = read_baseline(&path, &data, options).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} does not have {want:?}");
    };
    check(&line, &few, "line 1: row `other` is about 12 queries, 9 are evaluated");
    check("nonsense", &few, "line 1:");
    check(&elsewhere, &few, "has no row about");
    let fewer = line.replace("\"documents\":150", "\"documents\":7");
    check(&fewer, &few, "is about 7 documents");
}

#[test]
fn evaluations_on_different_queries_are_not_compared() {
    let data = data();
    let few = EvalOptions { limit_queries: Some(3), ..EvalOptions::default() };
    let baseline = evaluate_bm25(&data, &few);
    let done = run_all(&data, &EvalOptions::default()).unwrap();
    let refused = Report::new(&data, vec![baseline], done, ReportOptions::default());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("3 and 12 queries cannot be paired"), "{message}");
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let data = data();
    let fine = EvalOptions::default();
    let check = |options: EvalOptions, want: &str| {
        let message = run_all(&data, &options).unwrap_err().to_string();
        assert!(message.contains(want), "{message:?} does not have {want:?}");
    };
    check(EvalOptions { modes: Vec::new(), ..fine.clone() }, "option `modes`");
    check(EvalOptions { limit_queries: Some(0), ..fine.clone() }, "option `limit_queries`");
    check(EvalOptions { recall_at: vec![0], ..fine.clone() }, "option `recall_at`");
    check(EvalOptions { recall_at: vec![1; 17], ..fine.clone() }, "option `recall_at`");
    check(EvalOptions { threshold: Some(f32::NAN), ..fine }, "option `threshold`");
    for (limits, want) in [
        (LocalOptions { batch_tokens: 0, thoughts: 1 }, "option `batch_tokens`"),
        (LocalOptions { batch_tokens: 1, thoughts: 0 }, "option `thoughts`"),
    ] {
        let refused = LocalSource::new(&mut encoder(FakeFailure::Never), limits).err().unwrap();
        assert!(refused.to_string().contains(want), "{refused}");
    }
}
