//! `twn eval mmeb` with a real encoder, on text in the benchmark's layouts.

use serde_json::{Value, json};

use crate::support::{Home, tiny_model};

fn write_tasks(home: &Home) -> String {
    let line = |text: &str, right: &str, wrong: &str| {
        json!({"qry_inst": "Classify", "qry_text": text, "tgt_text": [right, wrong]}).to_string()
    };
    let lines = [line("a wing", "wing", "rotor"), line("a rotor", "rotor", "wing")];
    home.write("mmeb/image-tasks/VOC2007/test.jsonl", lines.join("\n"));
    home.write("mmeb/OVEN/test.jsonl", line("heat", "heat", "shock"));
    home.path("mmeb").to_str().expect("UTF-8").to_owned()
}

fn run(home: &Home, arguments: &[&str]) -> Value {
    let model = tiny_model();
    let model = ["--model", model.to_str().expect("UTF-8"), "--context-tokens", "256"];
    home.run(&[arguments, &model, &["--json"]].concat()).ok().json()
}

/// Figures to a billionth: the JSON reader is an ulp off at times, and the seconds of another
/// run are much further off.
fn rounded(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) if number.is_f64() => {
            let figure = number.as_f64().expect("a figure");
            json!((figure * 1e9).round() as i64)
        }
        Value::Array(items) => items.iter().cloned().map(rounded).collect(),
        Value::Object(entries) => {
            entries.iter_mut().for_each(|(_, entry)| *entry = rounded(entry.take()));
            value
        }
        _ => value,
    }
}

#[test]
fn tasks_are_scored_in_every_mode_and_kept() {
    let home = Home::new();
    let data = write_tasks(&home);
    let all = ["eval", "mmeb", &data, "--mode", "never,adaptive,always", "--budget", "5"];
    let report = run(&home, &all);
    let rows = report["rows"].as_array().expect("rows");
    let names: Vec<Value> = rows.iter().map(|row| json!([row["task"], row["mode"]])).collect();
    let want = json!([
        ["VOC2007", "never"],
        ["VOC2007", "adaptive"],
        ["VOC2007", "always"],
        ["OVEN", "never"],
        ["OVEN", "adaptive"],
        ["OVEN", "always"],
    ]);
    assert_eq!(Value::from(names), want);
    assert_eq!((&rows[0]["queries"], &rows[0]["candidates"]), (&json!(2), &json!(2)));
    assert_eq!((&rows[2]["think_rate"], &rows[0]["think_rate"]), (&json!(1.0), &json!(0.0)));
    assert!(rows[2]["reasoning_tokens_per_query"].as_f64().expect("a number") > 0.0);
    assert_eq!(report["missing"].as_array().map(Vec::len), Some(76));
    assert_eq!(report["summaries"].as_array().map(Vec::len), Some(3));
    assert!(report["metrics"]["never"]["image"]["OVEN"]["hit@1"].is_number(), "{report}");

    // Nothing runs again: even the times are the same.
    assert_eq!(rounded(run(&home, &all)), rounded(report.clone()));
    // What is missing runs, and what is there is taken.
    let results = home.path("twn-home/mmeb");
    let folder = fs_err::read_dir(&results).expect("kept").next().expect("one").expect("entry");
    fs_err::remove_file(folder.path().join("OVEN.always.json")).expect("removed");
    let again = run(&home, &all);
    assert_eq!(rounded(again["rows"][0].clone()), rounded(report["rows"][0].clone()));
    assert_ne!(again["rows"][5]["query_seconds"], report["rows"][5]["query_seconds"]);
    assert_eq!(again["rows"][5]["score"], report["rows"][5]["score"]);

    let one = run(&home, &["eval", "mmeb", &data, "--task", "OVEN", "--no-results"]);
    assert_eq!(one["rows"].as_array().map(Vec::len), Some(1));
    let model = tiny_model();
    let text = home.run(&[
        "eval",
        "mmeb",
        &data,
        "--model",
        model.to_str().expect("UTF-8"),
        "--context-tokens",
        "256",
    ]);
    let text = text.ok().stdout;
    for want in ["VOC2007", "hit@1", "image_classification", "76 of 78 tasks were not run"] {
        assert!(text.contains(want), "{want}: {text}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let home = Home::new();
    let data = write_tasks(&home);
    let model = tiny_model();
    let model = ["--model", model.to_str().expect("UTF-8")];
    let fails = |arguments: &[&str], code: i32, want: &str| {
        home.run(&[&["eval", "mmeb"], arguments, &model].concat()).failed(code, want);
    };
    fails(&["gone"], 1, "there is no folder `gone`");
    fails(&[&data, "--task", "GQA"], 1, "has no data of the task GQA");
    fails(&[&data, "--task", "Nothing"], 2, "there is no task `Nothing`");
    home.write("mmeb/GQA/test.jsonl", "{");
    fails(&[&data], 1, "test.jsonl, line 1");
    let empty = home.write("empty/x", "");
    fails(&[empty.trim_end_matches("/x")], 1, "has no folder of any task");
}
