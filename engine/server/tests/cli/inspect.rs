//! `twn model inspect`: what folders hold, and why they would not load.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Home, tiny_model};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures")
}

fn copy(home: &Home, from: &str, to: &str) {
    let bytes = fs_err::read(fixtures().join(from)).expect("fixture");
    home.write(to, bytes);
}

/// A released checkpoint for the tiny model.
fn released(home: &Home) -> String {
    for (part, name) in [("reasoning", "patterns"), ("embedding", "qv")] {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            copy(home, &format!("peft/{name}/{file}"), &format!("twn/{part}/{file}"));
        }
    }
    copy(home, "released/gate_gelu.pt", "twn/gate_mlp.pt");
    copy(home, "released/queries.pt", "twn/queries.pt");
    home.write("twn/README.md", "what its makers say");
    home.path("twn").to_str().expect("UTF-8").to_owned()
}

fn inspect(home: &Home, adapters: &[&str], code: i32) -> Value {
    let model = tiny_model();
    let inspect = ["model", "inspect", "--json", "--model", model.to_str().expect("UTF-8")];
    home.run(&[&inspect[..], adapters].concat()).failed(code, "").json()
}

fn setting<'a>(seen: &'a Value, key: &str) -> &'a Value {
    let settings = seen["adapters"]["settings"].as_array().expect("settings");
    settings.iter().find(|setting| setting["key"] == key).expect("a setting")
}

#[test]
fn a_model_without_adapters() {
    let home = Home::new();
    let seen = inspect(&home, &[], 0);
    let model = &seen["model"];
    assert_eq!((&model["format"], &model["family"]), (&json!("safetensors"), &json!("llama")));
    let config: Value = serde_json::from_str(
        &fs_err::read_to_string(tiny_model().join("config.json")).expect("readable"),
    )
    .expect("JSON");
    for (key, name) in [
        ("layers", "num_hidden_layers"),
        ("hidden_size", "hidden_size"),
        ("vocab_size", "vocab_size"),
        ("kv_heads", "num_key_value_heads"),
    ] {
        assert_eq!(model["shape"][key], config[name], "{key}");
    }
    assert_eq!(model["weights_sha256"].as_str().map(str::len), Some(64));
    let stored = model["stored"].as_array().expect("types");
    let sum =
        |key: &str| stored.iter().map(|one| one[key].as_u64().expect("a number")).sum::<u64>();
    assert_eq!(sum("parameters"), model["parameters"].as_u64().expect("a number"));
    assert_eq!(sum("tensors"), model["tensors"].as_u64().expect("a number"));
    assert_eq!(seen["adapters"]["source"], "fresh");
    assert_eq!(seen["problems"], json!([]));

    let by_position = home.run(&["model", "inspect", tiny_model().to_str().expect("UTF-8")]).ok();
    let text = by_position.stdout;
    assert!(text.contains("This would load.") && text.contains("llama, safetensors"), "{text}");
}

#[test]
fn a_released_checkpoint_and_where_its_settings_are_from() {
    let home = Home::new();
    let twn = released(&home);
    let seen = inspect(&home, &["--adapters", &twn], 0);
    let adapters = &seen["adapters"];
    assert_eq!((&adapters["source"], &adapters["layout"]), (&json!("folder"), &json!("released")));
    let [reasoning, embedding] = [&adapters["lora"][0], &adapters["lora"][1]];
    assert_eq!(
        (&reasoning["name"], &embedding["name"]),
        (&json!("reasoning"), &json!("embedding"))
    );
    assert_eq!(embedding["targets"], json!(["self_attn.q_proj", "self_attn.v_proj"]));
    assert!(reasoning["ranks"].as_array().expect("ranks").len() > 1, "{reasoning}");
    let head = adapters["head"]["tensors"].as_array().expect("tensors");
    let sizes = head.iter().map(|tensor| {
        let shape = tensor["shape"].as_array().expect("a shape").iter();
        shape.map(|size| size.as_u64().expect("a size")).product::<u64>()
    });
    let numbers = |value: &Value| value["parameters"].as_u64().expect("a number");
    let all = numbers(reasoning) + numbers(embedding) + sizes.sum::<u64>();
    assert_eq!(numbers(adapters), all);
    let share = 100.0 * all as f64 / numbers(&seen["model"]) as f64;
    assert!((adapters["percent_of_backbone"].as_f64().expect("a share") - share).abs() < 1e-9);
    assert_eq!(adapters["head"]["queries"], 3);
    assert_eq!(adapters["ignored"], json!(["README.md"]));
    assert_eq!(setting(&seen, "interface")["from"], "default");
    assert_eq!(setting(&seen, "queries")["from"], "files");

    home.write("twn/twn.json", r#"{"interface": "reencode", "gate_threshold": 0.25}"#);
    let seen = inspect(&home, &["--adapters", &twn], 0);
    let interface = setting(&seen, "interface");
    assert_eq!((&interface["value"], &interface["from"]), (&json!("reencode"), &json!("twn.json")));
    assert_eq!(setting(&seen, "pooling")["from"], "default");
    let model = tiny_model();
    let inspect = ["model", "inspect", "--adapters", &twn, "--model"];
    let text = home.run(&[&inspect[..], &[model.to_str().expect("UTF-8")]].concat()).ok().stdout;
    for want in ["gate_mlp.pt", "0.weight [5, 64]", "(from default)", "% of the backbone"] {
        assert!(text.contains(want), "{want}: {text}");
    }
}

#[test]
fn problems_are_named_with_file_tensor_and_shapes() {
    let home = Home::new();
    let twn = released(&home);
    let problems = |want: &str| {
        let seen = inspect(&home, &["--adapters", &twn], 1);
        let said = seen["problems"].to_string();
        assert!(said.contains(want), "{want}: {said}");
    };
    copy(&home, "released/gate_tanh.pt", "twn/gate_mlp.pt");
    home.write("twn/twn.json", r#"{"gate_input": "queries_mean"}"#);
    problems("gate_mlp.pt: tensor `0.weight` has shape [5, 192], expected [width, 64]");
    home.write("twn/twn.json", r#"{"gate_input": "thin air"}"#);
    problems("unknown variant");
    home.write("twn/twn.json", "{}");
    copy(&home, "pt/refused/evil.pt", "twn/queries.pt");
    problems("queries.pt: asks for `posix.system`");
    copy(&home, "released/queries.pt", "twn/queries.pt");
    let config = fs_err::read_to_string(home.path("twn/embedding/adapter_config.json"));
    let mut config: Value = serde_json::from_str(&config.expect("readable")).expect("JSON");
    config["target_modules"] = json!(["q_proj"]);
    home.write("twn/embedding/adapter_config.json", config.to_string());
    problems("matches no module that the adapter targets");
    config["target_modules"] = json!(["q_proj", "v_proj"]);
    config["r"] = json!(17);
    home.write("twn/embedding/adapter_config.json", config.to_string());
    problems("adapter_config.json says [17]");

    home.write("broken/config.json", r#"{"model_type": "mamba"}"#);
    let broken = home.path("broken");
    home.run(&["model", "inspect", broken.to_str().expect("UTF-8")]).failed(1, "mamba");
    home.run(&["model", "inspect", "./gone"]).failed(1, "gone");
}
