//! `twn config`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Globals, Outcome};
use crate::{
    config::{Layers, Setting},
    output::Output,
};

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting and where it comes from, as a TOML file that can be used
    Print,
    /// Check a configuration file, or the configuration as it is; exits with 1 on problems
    Check {
        /// The file [default: the one that other commands would use]
        file: Option<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// Fails when the configuration that is to be printed can't be used.
pub fn run(command: ConfigCommand, globals: &Globals) -> anyhow::Result<Outcome> {
    let output = Output::new(globals.json);
    match command {
        ConfigCommand::Print => {
            let settings = Layers::of_process(globals.config.clone(), vec![]).load()?.settings();
            output.either(&as_json(&settings), || as_toml(&settings))?;
            Ok(Outcome::Done)
        }
        ConfigCommand::Check { file } => {
            let layers = Layers::of_process(file.or_else(|| globals.config.clone()), vec![]);
            let name = layers.file.as_ref().map(|path| path.display().to_string());
            let problems = layers.load().err().map(|error| error.problems).unwrap_or_default();
            let is_good = problems.is_empty();
            let json = json!({"file": name, "ok": is_good, "problems": problems});
            let name = name.unwrap_or_else(|| "the configuration (there is no file)".to_owned());
            output.either(&json, || match is_good {
                true => format!("{name} is good"),
                false => format!("{name} can't be used:\n  {}", problems.join("\n  ")),
            })?;
            Ok(if is_good { Outcome::Done } else { Outcome::Failed })
        }
    }
}

fn as_json(settings: &[Setting]) -> Value {
    let fields = settings.iter().map(|setting| {
        let value = json!({"value": setting.value, "origin": setting.origin});
        (setting.key.clone(), value)
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Writes a file with the same settings, the origins as comments.
fn as_toml(settings: &[Setting]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut current = "";
    for Setting { key, value, origin } in settings {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        if section != current {
            if !current.is_empty() {
                lines.push(String::new());
            }
            lines.push(format!("[{section}]"));
            current = section;
        }
        // JSON's texts, numbers and bools are TOML's, and there are no others here.
        let setting = match value {
            Value::Null => format!("# {name} is not set"),
            value => format!("{name} = {value}"),
        };
        lines.push(format!("{setting:<48} # {origin}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flag;

    #[test]
    fn what_is_printed_can_be_used() {
        let flags = vec![
            Flag::new("server.drain_s", "--drain", 3_u64),
            Flag::new("data.path", "--data", "/with \"quotes\""),
            Flag::new("reasoning.threshold", "--threshold", 0.25_f64),
        ];
        let loaded = Layers { flags, ..Layers::default() }.load().unwrap();
        let printed = as_toml(&loaded.settings());
        assert!(printed.contains("# flag --drain"), "{printed}");
        assert!(printed.contains("# adapters is not set"), "{printed}");

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("twn.toml");
        fs_err::write(&file, printed).unwrap();
        let again = Layers { file: Some(file), ..Layers::default() }.load().unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn json_has_values_and_origins() {
        let json = as_json(&Layers::default().load().unwrap().settings());
        assert_eq!(json["server.drain_s"], json!({"value": 20, "origin": "default"}));
        assert_eq!(json["model.path"], json!({"value": null, "origin": "default"}));
    }
}
