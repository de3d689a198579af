//! `twn train`: a run that is paused, goes on, is changed from outside and drawn.

use serde_json::json;

use crate::support::{Home, tiny_model};

const RECIPE: &str = r#"
content_tokens_max = 24
sampler_threads = 1

[adapters]
reasoning_rank = 2
embedding_rank = 2
queries = 2
interface = "reencode"
thought = { open = "<think>\n", close = "</think>", token_budget = 8 }

[data]
pairs = "pairs.jsonl"

[[stage]]
name = "embedding"
steps = 2
batch = { pairs = 3 }
learning_rate = 1e-2
weights = { direct = 1.0 }

[[stage]]
name = "more"
steps = 9
batch = { pairs = 3 }
learning_rate = 1e-2
weights = { direct = 1.0 }
"#;

fn home() -> Home {
    let home = Home::new();
    home.write("recipe.toml", RECIPE);
    let pair =
        |i: usize| format!("{{\"query\": \"part {i}\", \"positives\": [\"part {i} of it\"]}}\n");
    home.write("pairs.jsonl", (0..6).map(pair).collect::<String>());
    home
}

fn path(home: &Home, name: &str) -> String {
    home.path(name).to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_run_pauses_goes_on_and_is_drawn() {
    let home = home();
    let (model, run, recipe) = (tiny_model(), path(&home, "run"), path(&home, "recipe.toml"));
    let model = model.to_str().expect("UTF-8");
    let base = ["train", "run", &recipe, "--run", &run, "--model", model, "--json"];
    let short = ["--set", "stage.more.skip=true"];
    let paused = home.run(&[&base[..], &short, &["--seconds", "0"]].concat()).ok().json();
    assert_eq!(paused["state"], "paused");
    let complete = home.run(&[&base[..], &short].concat()).ok().json();
    assert_eq!(complete["state"], "complete");
    assert!(home.path("run/adapters/twn.json").is_file());
    let log = fs_err::read_to_string(home.path("run/log.jsonl")).expect("log");
    assert_eq!(log.lines().count(), 2, "a stage was left out:\n{log}");

    let drawn = home.run(&["train", "plot", &run, "--json"]).ok().json();
    assert_eq!(drawn, json!({ "curves": [path(&home, "run/curves/1-embedding.svg")] }));
    home.run(&["train", "plot", &path(&home, "nowhere")]).failed(1, "nowhere");

    // The other stages are another recipe, and what fits nothing is named.
    home.run(&base).failed(1, "another recipe");
    let wrong = home.run(&[&base[..], &["--set", "stage.last.steps=1"]].concat());
    wrong.failed(1, "there is no stage `last`");
    assert_eq!(home.run(&[&base[..], &["--set", "steps"]].concat()).code, 2);
}

#[test]
fn adapters_get_a_lexicon_and_train_on() {
    let home = home();
    let (model, run, recipe) = (tiny_model(), path(&home, "run"), path(&home, "recipe.toml"));
    let model = model.to_str().expect("UTF-8");
    let short = ["--set", "stage.more.skip=true", "--model", model, "--json"];
    home.run(&[&["train", "run", &recipe, "--run", &run][..], &short].concat()).ok();

    let text = |i: usize| format!("{{\"query\": \"part {i} of {} turns\"}}\n", i * i % 89);
    home.write("texts.jsonl", (0..150).map(text).collect::<String>());
    let (texts, before, out) =
        (path(&home, "texts.jsonl"), path(&home, "run/adapters"), path(&home, "lexicon"));
    let fit = ["train", "lexicon", &texts, "--adapters", &before, "--out", &out, "--model", model];
    home.run(&[&fit[..], &["--share", "0"]].concat()).failed(1, "--share is 0");
    let sizes = ["--states", "16", "--words", "8"];
    let seen = home.run(&[&fit[..], &sizes, &["--json"]].concat()).ok().json();
    assert_eq!((&seen["counted"], &seen["embedded"]), (&json!(150), &json!(150)));
    let again = ["train", "lexicon", &texts, "--adapters", &out, "--out", &out, "--model", model];
    home.run(&[&again[..], &sizes].concat()).failed(1, "have one already");

    // Training goes on beside it, but no teacher's vectors have its dimensions.
    let next = path(&home, "next");
    let on = ["train", "run", &recipe, "--run", &next, "--from", &out];
    assert_eq!(home.run(&[&on[..], &short].concat()).ok().json()["state"], "complete");
    let distils = RECIPE.replacen("[adapters]", "teacher = \"teacher\"\n[adapters]", 1).replacen(
        "direct = 1.0",
        "direct = 1.0, cosine = 1.0",
        1,
    );
    let recipe = home.write("distils.toml", distils);
    home.write("teacher.keys", [0; 8]);
    home.write("teacher.f16", [0; 48]);
    let run = path(&home, "distils");
    let distils = ["train", "run", &recipe, "--run", &run, "--from", &out];
    home.run(&[&distils[..], &short].concat()).failed(1, "the adapters have a lexicon");
}
