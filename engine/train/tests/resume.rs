//! A run that is stopped after every step ends with the adapters of one that was not.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use twn_train::learn::{RunEnd, TrainError, TrainOptions, train};

const RECIPE: &str = r#"
seed = 7
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
weights = { direct = 1.0, reasoned = 1.0 }
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
        place
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs_err::write(self.0.path().join(name), content).expect("writable");
    }

    fn run(&self, run: &str, seconds_max: Option<u64>) -> Result<RunEnd, TrainError> {
        let options = TrainOptions {
            recipe: self.0.path().join("recipe.toml"),
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
    let log = fs_err::read_to_string(place.folder("whole").join("log.jsonl")).expect("log");
    assert_eq!(log.lines().count(), 5);
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
