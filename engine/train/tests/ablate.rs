//! Variants of a recipe are trained and evaluated alike, and what is finished stays.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use twn_encoder::LoadOptions;
use twn_train::learn::{AblationEvent, AblationOptions, AblationTable, TrainError, ablate};

const RECIPE: &str = r#"
seed = 7
sampler_threads = 1
content_tokens_max = 24

[adapters]
reasoning_rank = 2
embedding_rank = 3
queries = 2
interface = "cache"
pooling = "queries+mean"
dimension = 16
thought = { open = "<think>\n", close = "</think>", token_budget = 8 }

[data]
resolving = "resolving.jsonl"

[[stage]]
name = "embedding"
steps = 2
batch = { resolving = 4 }
learning_rate = 1e-2
weights = { direct = 1.0, reasoned = 1.0 }

[[stage]]
name = "policy"
steps = 1
batch = { resolving = 2 }
learning_rate = 1e-2
policy = { group = 2, token_budget = 8 }
"#;

const PLAN: &str = r#"
recipe = "recipe.toml"
evaluate = "held"
gate = "held"
set = { "stage.embedding.steps" = 1 }

[[variant]]
name = "paper"

[[variant]]
name = "attached"
set = { "wiring.detach" = false }

[[variant]]
name = "single"
set = { "wiring.single" = true, "stage.policy.skip" = true }
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("temporary folder"));
        place.write("recipe.toml", RECIPE);
        place.write("plan.toml", PLAN);
        let example = |i: usize| {
            format!(
                "{{\"query\": \"part {i} of the pump\", \"positives\": [\"the pump has part \
                 {i}{i}\"], \"negatives\": [\"the fan has part {i}\"], \"thought\": \"part \
                 {i} is {i}{i}\"}}\n"
            )
        };
        place.write("resolving.jsonl", &(0..9).map(example).collect::<String>());
        fs_err::create_dir_all(place.path("held/qrels")).expect("writable");
        let document = |i: usize| format!("{{\"_id\": \"d{i}\", \"text\": \"the fan has {i}\"}}\n");
        place.write("held/corpus.jsonl", &(0..60).map(document).collect::<String>());
        let query = |i: usize| format!("{{\"_id\": \"q{i}\", \"text\": \"what has {i}\"}}\n");
        place.write("held/queries.jsonl", &(0..60).map(query).collect::<String>());
        let judged: String = (0..60).map(|i| format!("q{i}\td{i}\t1\n")).collect();
        place.write("held/qrels/test.tsv", &format!("query-id\tcorpus-id\tscore\n{judged}"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs_err::write(self.path(name), content).expect("writable");
    }

    /// Runs the plan, and tells which variants were trained and evaluated.
    fn run(&self, seconds_max: Option<u64>) -> Result<(AblationTable, Vec<String>), TrainError> {
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama");
        let options = AblationOptions {
            plan: self.path("plan.toml"),
            changes: Vec::new(),
            load: LoadOptions { threads: 1, context_tokens: 256, ..LoadOptions::new(model) },
            run: self.path("run"),
            seconds_max,
        };
        let mut done = Vec::new();
        let table = ablate(&options, &Device::flex().autodiff(), &mut |event| {
            done.push(match event {
                AblationEvent::Train(name, _) => format!("train {name}"),
                AblationEvent::Gate(name) => format!("gate {name}"),
                AblationEvent::Evaluate(name) => format!("evaluate {name}"),
            });
        })?;
        Ok((table, done))
    }
}

#[test]
fn variants_are_trained_evaluated_and_kept() {
    let place = Place::new();
    let (table, done) = place.run(Some(0)).expect("begins");
    assert_eq!(done, ["train paper"], "a step, and no time for more");
    assert_eq!(table.unfinished, ["paper", "attached", "single"]);
    assert!(table.rows.is_empty());

    let (table, done) = place.run(None).expect("goes on");
    let of = |what: &str| done.iter().filter(|event| event.starts_with(what)).count();
    // The step that was taken is not taken again, and one variant has no policy.
    assert_eq!((of("train paper"), of("train attached"), of("train single")), (1, 2, 1));
    assert_eq!((of("gate"), of("evaluate")), (3, 3));
    assert_eq!((table.queries, table.gates_fitted), (60, true));
    assert!(table.unfinished.is_empty());
    let modes: Vec<(&str, &str)> =
        table.rows.iter().map(|row| (row.variant.as_str(), row.mode.as_str())).collect();
    let all = ["paper", "attached", "single"];
    let want: Vec<(&str, &str)> = all
        .into_iter()
        .flat_map(|variant| ["never", "adaptive", "always"].map(|mode| (variant, mode)))
        .collect();
    assert_eq!(modes, want);
    for row in &table.rows {
        assert_eq!(row.difference.is_none(), row.variant == "paper");
        let rate = match row.mode.as_str() {
            "never" => 0.0..=0.0,
            "always" => 1.0..=1.0,
            _ => 0.0..=1.0,
        };
        assert!(rate.contains(&row.think_rate), "{row:?}");
    }
    let (again, done) = place.run(None).expect("is there");
    assert_eq!((again, done), (table, Vec::new()));
}

#[test]
fn one_adapter_for_both_tasks_is_served_as_both() {
    let place = Place::new();
    place.run(None).expect("trains");
    let adapter = |variant: &str, part: &str| {
        let file = place.path(&format!("run/{variant}/adapters/{part}/adapter_model.safetensors"));
        fs_err::read(file).expect("written")
    };
    assert!(adapter("single", "reasoning") == adapter("single", "embedding"));
    assert!(adapter("paper", "reasoning") != adapter("paper", "embedding"));
}
