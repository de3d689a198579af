//! Texts of evaluation sets that must not be trained on.
//!
//! A text leaks when, in lower case and without punctuation, it is one of theirs, or when
//! its runs of eight words are also theirs: a fifth of them, or eight of them (fifteen
//! words in a row).

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{dice::hash, error::DataError};

const RUN: usize = 8;
/// Shared runs of words that make a leak, whatever the length.
const MAX_SHARED: usize = 8;
/// Shared runs are a leak when they are more than one in so many.
const MAX_SHARE: usize = 5;

/// The texts that are kept out.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    whole: HashSet<u64>,
    runs: HashSet<u64>,
}

/// How a text leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Leak {
    /// It is a text of an evaluation set.
    Exact,
    /// It shares runs of words with one.
    Near,
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn runs(words: &[String]) -> impl Iterator<Item = u64> + '_ {
    words.windows(RUN).map(|run| hash(&run.join(" ")))
}

impl Guard {
    /// Keeps `text` out.
    pub(crate) fn add(&mut self, text: &str) {
        let words = words(text);
        self.whole.insert(hash(&words.join(" ")));
        self.runs.extend(runs(&words));
    }

    /// Keeps out every string in the JSONL files of `path`, a file or a folder, its folders
    /// included. Names in fields that end in `id` are no texts.
    ///
    /// # Errors
    /// Fails when there is none, or one cannot be read.
    pub(crate) fn add_path(&mut self, path: &Path) -> Result<usize, DataError> {
        let mut files = Vec::new();
        list(path, &mut files)?;
        if files.is_empty() {
            return Err(DataError::Empty { path: path.to_owned(), what: "JSONL files" });
        }
        let mut added = 0;
        for file in files {
            for (index, line) in fs_err::read_to_string(&file)?.lines().enumerate() {
                let value: Value = serde_json::from_str(line).map_err(|error| DataError::Line {
                    path: file.clone(),
                    line: index + 1,
                    problem: error.to_string(),
                })?;
                added += self.add_value(&value);
            }
        }
        Ok(added)
    }

    fn add_value(&mut self, value: &Value) -> usize {
        match value {
            Value::String(text) if text.split_whitespace().nth(2).is_some() => {
                self.add(text);
                1
            }
            Value::Array(items) => items.iter().map(|item| self.add_value(item)).sum(),
            Value::Object(fields) => {
                let texts = fields.iter().filter(|(name, _)| !name.ends_with("id"));
                texts.map(|(_, value)| self.add_value(value)).sum()
            }
            _ => 0,
        }
    }

    /// Whether and how `text` leaks.
    pub(crate) fn leak(&self, text: &str) -> Option<Leak> {
        let words = words(text);
        if self.whole.contains(&hash(&words.join(" "))) {
            return Some(Leak::Exact);
        }
        let total = words.len().saturating_sub(RUN - 1);
        let shared = runs(&words).filter(|run| self.runs.contains(run)).count();
        let is_near = shared >= MAX_SHARED || (shared > 0 && shared * MAX_SHARE >= total);
        is_near.then_some(Leak::Near)
    }
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs_err::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        for entry in entries.iter().filter(|entry| !entry.is_symlink()) {
            if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "jsonl") {
                list(entry, files)?;
            }
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_near_copies_are_found() {
        let mut guard = Guard::default();
        guard.add("The boundary layer on a flat plate at high speed becomes turbulent far behind.");
        let leak = |text: &str| guard.leak(text);
        assert_eq!(
            leak("the boundary layer on a flat plate, at high speed becomes turbulent far behind"),
            Some(Leak::Exact)
        );
        assert_eq!(
            leak("We say: the boundary layer on a flat plate at high speed is thin."),
            Some(Leak::Near)
        );
        assert_eq!(leak("The boundary layer is thin."), None);
    }
}
