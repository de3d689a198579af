//! What needs no server: configuration, completions, models, exit codes.

use std::{io::Read, process::Stdio};

use serde_json::json;

use crate::support::Home;

#[test]
fn settings_have_origins() {
    let home = Home::new();
    home.write("twn.toml", "[server]\ndrain_s = 7\n[search]\nthreads = 2\n");
    let mut command = home.command(&["config", "print", "--json"]);
    let output = command.env("TWN__SEARCH__THREADS", "3").output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["server.drain_s"], json!({"value": 7, "origin": "file twn.toml"}));
    let origin = "environment variable TWN__SEARCH__THREADS";
    assert_eq!(printed["search.threads"], json!({"value": 3, "origin": origin}));
    assert_eq!(printed["server.listen"]["origin"], "default");

    let toml = home.run(&["config", "print"]).ok().stdout;
    home.write("again.toml", toml);
    home.run(&["config", "check", "again.toml"]).ok();

    home.write("bad.toml", "[server]\nlisten = 'nowhere'\nport = 1\n");
    home.run(&["config", "check", "bad.toml"]).failed(1, "bad.toml");
    home.run(&["--config", "bad.toml", "model", "list"])
        .failed(1, "error: the configuration can't be used");
    let report = home.run(&["config", "check", "--json", "gone.toml"]);
    assert_eq!((report.code, &report.json()["ok"]), (1, &json!(false)));
}

#[test]
fn command_lines_that_cannot_be_understood_exit_with_2() {
    let home = Home::new();
    for arguments in [&["swim"][..], &[], &["search"], &["serve", "--listen", "x"]] {
        assert_eq!(home.run(arguments).code, 2, "{arguments:?}");
    }
    home.run(&["--help"]).ok();
    home.run(&["--version"]).ok();
}

#[test]
fn every_shell_has_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("collection"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let home = Home::new();
    let mut command = home.command(&["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn models_are_looked_at() {
    let home = Home::new();
    let listed = home.run(&["model", "list", "--json"]).ok().json_lines();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["path"]),
        (&json!("smollm2-135m-instruct"), &json!(null))
    );
    home.run(&["model", "show", "unheard-of"]).failed(1, "there is no model `unheard-of`");
    let data = home.path("data");
    let serve = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    home.run(&serve).failed(1, "`twn model pull` fetches it");
    home.run(&["model", "pull", "--from", "gone"]).failed(1, "gone");
    home.run(&[&serve[..], &["--model", "./gone"]].concat()).failed(1, "gone");
}
