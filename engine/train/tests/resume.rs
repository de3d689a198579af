//! A run that is stopped after every step ends with the adapters of one that was not,
//! whatever is sampled and evaluated on the way.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use serde_json::{Value, json};
use twn_train::learn::{RecipeChange, RunEnd, TrainError, TrainOptions, plot_run, train};

const RECIPE: &str = r#"
seed = 7
sampler_threads = 1
content_tokens_max = 24
teacher = "teacher"

[adapters]
reasoning_rank = 2
embedding_rank = 2
queries = 2
interface = "INTERFACE"
pooling = "queries+mean"
dimension = 16
thought = { open = "<think>\n", close = "</think>", token_budget = 16 }

[data]
resolving = "resolving.jsonl"
distill = "distill.jsonl"

[evaluate]
every = 2
path = "held"
queries = 3
documents = 5
thoughts = true

[[stage]]
name = "first"
steps = 3
batch = { resolving = 3, distill = 2 }
learning_rate = 1e-2
pass_tokens_max = 256
case_noise = 0.3
weights = { thought = 1.0, direct = 1.0, reasoned = 1.0, cosine = 1.0, similarity = 1.0 }

[[stage]]
name = "second"
steps = 2
batch = { resolving = 4 }
learning_rate = 1e-2
warmup = 1
pass_tokens_max = 128
grad_cache = GRAD_CACHE
sampled_thoughts = 0.6
weights = { direct = 1.0, reasoned = 1.0 }

[[stage]]
name = "third"
steps = 2
batch = { resolving = 3 }
learning_rate = 1e-2
pass_tokens_max = 128
policy = { group = 3, token_budget = 8 }
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new(interface: &str, grad_cache: bool) -> Self {
        let place = Self(tempfile::tempdir().expect("temporary folder"));
        let recipe = RECIPE.replace("INTERFACE", interface);
        place.write("recipe.toml", recipe.replace("GRAD_CACHE", &grad_cache.to_string()));
        let resolving = |i: usize| {
            format!(
                "{{\"query\": \"part {i} of the pump\", \"positives\": [\"the pump has part \
                 {i}{i}\"], \"negatives\": [\"the fan has part {i}\"], \"thought\": \"part \
                 {i} is {i}{i}\"}}\n"
            )
        };
        place.write("resolving.jsonl", (0..9).map(resolving).collect::<String>());
        let text = |i: usize| format!("{{\"query\": \"text number {i}\"}}\n");
        place.write("distill.jsonl", (0..5).map(text).collect::<String>());
        let (mut keys, mut vectors) = (Vec::new(), Vec::new());
        for i in 0..5 {
            use sha2::Digest;
            keys.extend(&sha2::Sha256::digest(format!("text number {i}"))[..8]);
            for column in 0..16 {
                let value = half::f16::from_f32(((i * 16 + column) as f32).sin());
                vectors.extend(value.to_le_bytes());
            }
        }
        place.write("teacher.keys", keys);
        place.write("teacher.f16", vectors);
        place.write_held_out();
        place
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs_err::write(self.0.path().join(name), content).expect("writable");
    }

    /// Eight documents, and four queries of which three have a written thought.
    fn write_held_out(&self) {
        fs_err::create_dir_all(self.0.path().join("held/qrels")).expect("writable");
        let document =
            |i: usize| format!("{{\"_id\": \"d{i}\", \"text\": \"the fan has part {i}{i}\"}}\n");
        self.write("held/corpus.jsonl", (0..8).map(document).collect::<String>());
        let query = |i: usize| {
            let thought = format!(", \"metadata\": {{\"thought\": \"part {i} is {i}{i}\"}}");
            let thought = if i == 0 { "" } else { &thought };
            format!("{{\"_id\": \"q{i}\", \"text\": \"part {i} of the fan\"{thought}}}\n")
        };
        self.write("held/queries.jsonl", (0..4).map(query).collect::<String>());
        let judged = |i: usize| format!("q{i}\td{i}\t1\n");
        let judged: String = (0..4).map(judged).collect();
        self.write("held/qrels/test.tsv", format!("query-id\tcorpus-id\tscore\n{judged}"));
    }

    fn run(&self, run: &str, seconds_max: Option<u64>) -> Result<RunEnd, TrainError> {
        self.run_changed(run, seconds_max, &[])
    }

    fn run_changed(
        &self,
        run: &str,
        seconds_max: Option<u64>,
        changes: &[&str],
    ) -> Result<RunEnd, TrainError> {
        let changes = changes.iter().map(|change| change.parse().expect("a change"));
        let options = TrainOptions {
            recipe: self.0.path().join("recipe.toml"),
            changes: changes.collect::<Vec<RecipeChange>>(),
            model: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../encoder/tests/fixtures/tiny-llama"),
            adapters: None,
            run: self.folder(run),
            seconds_max,
        };
        train(&options, &Device::flex().autodiff(), &mut |_| {})
    }

    fn folder(&self, run: &str) -> PathBuf {
        self.0.path().join(run)
    }

    fn log(&self, run: &str) -> Vec<Value> {
        let text = fs_err::read_to_string(self.folder(run).join("log.jsonl")).expect("log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn adapters(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.folder(run).join("adapters");
        ["reasoning", "embedding", "."]
            .into_iter()
            .flat_map(|part| fs_err::read_dir(folder.join(part)).expect("written"))
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.is_file())
            .map(|path| (path.display().to_string(), fs_err::read(&path).expect("readable")))
            .map(|(path, bytes)| (path.replace(&folder.display().to_string(), ""), bytes))
            .collect()
    }
}

#[track_caller]
fn check(interface: &str, grad_cache: bool) {
    let place = Place::new(interface, grad_cache);
    assert_eq!(place.run("whole", None).expect("trains"), RunEnd::Complete);
    let mut pauses = 0;
    while place.run("broken", Some(0)).expect("trains") == RunEnd::Paused {
        pauses += 1;
        assert!(pauses < 20, "a run ends");
    }
    assert!(pauses >= 4, "{pauses}");
    let (whole, broken) = (place.adapters("whole"), place.adapters("broken"));
    assert_eq!(whole.len(), 6);
    assert!(whole == broken, "the adapters are the same bytes");
    let log = place.log("whole");
    let steps: Vec<&Value> = log.iter().filter(|line| line.get("loss").is_some()).collect();
    assert_eq!(steps.len(), 7);
    let held_out: Vec<&Value> = log.iter().filter(|line| !line["held_out"].is_null()).collect();
    // Before the first step, every second one, and at the end of each stage.
    let places: Vec<(&str, u64)> = held_out
        .iter()
        .map(|line| (line["stage"].as_str().expect("named"), line["step"].as_u64().expect("step")))
        .collect();
    assert_eq!(places, [("first", 0), ("first", 2), ("first", 3), ("second", 2), ("third", 2)]);
    for line in held_out {
        let seen = &line["held_out"];
        assert_eq!((&seen["queries"], &seen["documents"]), (&json!(3), &json!(5)));
        assert_eq!((&seen["written"]["queries"], &seen["own"]["queries"]), (&json!(2), &json!(3)));
        for part in ["direct", "written", "own"] {
            let ndcg = seen[part]["ndcg_at_10"].as_f64().expect("a figure");
            // Five documents are ranked to the tenth place: none is missed.
            assert!(ndcg > 0.0 && ndcg <= 1.0, "{seen}");
        }
        let tokens = seen["own"]["thought_tokens"].as_f64().expect("a figure");
        assert!(tokens > 0.0 && tokens <= 16.0, "{seen}");
    }
    // The same evaluations in the run that was broken off, times aside.
    assert_eq!(figures(&place.log("broken")), figures(&log));
    let curves = plot_run(&place.folder("whole")).expect("draws");
    assert_eq!(curves.len(), 3);
}

/// What was seen on held-out data, by stage and step, without the time that it took.
fn figures(log: &[Value]) -> BTreeMap<String, Value> {
    let of = |line: &Value| {
        let mut seen = line.get("held_out")?.clone();
        seen["seconds"].take();
        Some((format!("{} {}", line["stage"], line["step"]), seen))
    };
    log.iter().filter_map(of).collect()
}

#[test]
fn evaluating_changes_nothing_and_may_change_on_the_way() {
    let place = Place::new("reencode", false);
    assert_eq!(place.run("evaluated", None).expect("trains"), RunEnd::Complete);
    // Begun without thoughts in its evaluation, and more often evaluated later.
    let begun = ["evaluate.thoughts=false"];
    assert_eq!(place.run_changed("plain", Some(0), &begun).expect("trains"), RunEnd::Paused);
    assert_eq!(
        place.run_changed("plain", None, &["evaluate.every=1"]).expect("trains"),
        RunEnd::Complete
    );
    assert!(place.adapters("evaluated") == place.adapters("plain"));
}

#[test]
fn own_thoughts_and_left_out_stages_make_another_model() {
    let place = Place::new("reencode", false);
    let short = "stage.third.skip=true";
    let run = |name: &str, changes: &[&str]| {
        let changes = [&[short], changes].concat();
        assert_eq!(place.run_changed(name, None, &changes).expect("trains"), RunEnd::Complete);
        place.adapters(name)
    };
    let own = run("own", &[]);
    assert!(own == run("again", &["stage.second.thought_temperature=0.7"]), "0.7 is the default");
    let written = run("written", &["stage.second.sampled_thoughts=0.0"]);
    let greedy = run("greedy", &["stage.second.thought_temperature=0.0"]);
    assert!(own != written && own != greedy && written != greedy);
    let log = place.log("own");
    assert!(log.iter().all(|line| line["stage"] != "third"));
}

#[test]
fn changes_that_fit_nothing_are_refused() {
    let place = Place::new("cache", false);
    for (change, want) in [
        ("stage.fourth.steps=3", "no stage `fourth`"),
        ("stage.second.sampled_thoughts=1.5", "must be 0 to 1"),
        ("stage.third.policy.token_budget=17", "longer than the adapters'"),
        ("evaluate.documents=2", "3 documents answer 3 queries"),
        ("evaluate.every=0", "`evaluate` has a 0"),
        ("evaluate.path=nowhere", "nowhere"),
        ("surprise=1", "unknown field `surprise`"),
    ] {
        let problem = place.run_changed("run", None, &[change]).expect_err(change).to_string();
        assert!(problem.contains(want), "{change}: {problem}");
    }
}

#[test]
fn a_broken_run_over_caches_ends_alike() {
    check("cache", false);
}

#[test]
fn a_broken_run_that_encodes_again_ends_alike() {
    check("reencode", true);
}

#[test]
fn another_recipe_cannot_go_on() {
    let place = Place::new("cache", false);
    place.run("run", Some(0)).expect("trains");
    let recipe = fs_err::read_to_string(place.folder("recipe.toml")).expect("readable");
    place.write("recipe.toml", recipe.replace("seed = 7", "seed = 8"));
    let message = place.run("run", None).expect_err("refused").to_string();
    assert!(message.contains("another recipe"), "{message}");
}
