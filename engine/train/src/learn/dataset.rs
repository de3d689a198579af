//! Training examples: JSON lines in, checked examples out.

use std::{io::BufRead, path::Path};

use serde::Deserialize;

use super::TrainError;

/// The most bytes that a line may have.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One training example.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What sort of example it is, for example `resolving`; a step draws so many of each.
    #[serde(default)]
    pub kind: String,
    /// Instruction of the query; the manifest's own without.
    #[serde(default)]
    pub instruction: Option<String>,
    /// What is searched for, or a text alone.
    pub query: String,
    /// Documents that answer it; none for a text that is only distilled.
    #[serde(default)]
    pub positives: Vec<String>,
    /// Documents that look alike and do not answer it.
    #[serde(default)]
    pub negatives: Vec<String>,
    /// A thought that works out what the query leaves open.
    #[serde(default)]
    pub thought: Option<String>,
    /// Where the texts are from; for people.
    #[serde(default)]
    pub source: Option<String>,
}

/// Reads examples, one JSON object a line; empty lines are skipped. `kind` is what an
/// example that names none is.
///
/// # Errors
/// Fails when the file cannot be read, or a line is no example; the error names the line.
pub fn read_examples(path: &Path, kind: &str) -> Result<Vec<Example>, TrainError> {
    let mut examples = Vec::new();
    let reader = std::io::BufReader::new(fs_err::File::open(path)?);
    for (index, line) in reader.lines().enumerate() {
        let refuse = |problem: String| TrainError::line(path, index + 1, problem);
        let line = line?;
        if line.len() > LINE_BYTES_MAX {
            return Err(refuse(format!("has {} bytes, at most {LINE_BYTES_MAX}", line.len())));
        }
        if line.trim().is_empty() {
            continue;
        }
        let mut example: Example =
            serde_json::from_str(&line).map_err(|error| refuse(error.to_string()))?;
        example.check().map_err(refuse)?;
        if example.kind.is_empty() {
            kind.clone_into(&mut example.kind);
        }
        examples.push(example);
    }
    Ok(examples)
}

impl Example {
    /// Every text of the example, the thought excepted.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let documents = self.positives.iter().chain(&self.negatives);
        std::iter::once(self.query.as_str()).chain(documents.map(String::as_str))
    }

    fn check(&self) -> Result<(), String> {
        if self.texts().any(|text| text.trim().is_empty()) {
            return Err("has an empty text".to_owned());
        }
        if self.positives.is_empty() && !self.negatives.is_empty() {
            return Err("has negatives and no positives".to_owned());
        }
        if self.thought.as_ref().is_some_and(|thought| thought.trim().is_empty()) {
            return Err("has an empty thought".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) -> Result<Vec<Example>, String> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("some.jsonl");
        fs_err::write(&path, text).expect("writable");
        read_examples(&path, "plain").map_err(|error| error.to_string())
    }

    #[test]
    fn examples_are_read_with_their_kind() {
        let text = "{\"query\": \"a\"}\n\n{\"kind\": \"resolving\", \"query\": \"b\", \
                    \"positives\": [\"c\"], \"negatives\": [\"d\"], \"thought\": \"t\"}\n";
        let examples = check(text).expect("valid");
        let kinds: Vec<&str> = examples.iter().map(|example| example.kind.as_str()).collect();
        assert_eq!(kinds, ["plain", "resolving"]);
        assert_eq!(examples[1].texts().collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn wrong_lines_are_refused_by_number() {
        for (line, want) in [
            ("{", "EOF"),
            ("{\"query\": \" \"}", "empty text"),
            ("{\"query\": \"a\", \"negatives\": [\"b\"]}", "no positives"),
            ("{\"query\": \"a\", \"thought\": \"\"}", "empty thought"),
            ("{\"query\": \"a\", \"surprise\": 1}", "unknown field"),
        ] {
            let message =
                check(&format!("{{\"query\": \"fine\"}}\n{line}\n")).expect_err("refused");
            assert!(message.contains("line 2") && message.contains(want), "{message}");
        }
    }
}
