//! The query file: plain lines, or JSON objects with a `text` field.

use std::{io::Read, path::Path};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

const MAX_FILE_BYTES: u64 = 256 << 20;
const MAX_QUERIES: usize = 1_000_000;

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// Reads the queries of a file, in its order; blank lines are left out.
///
/// A file named `.jsonl` or one that begins with `{` is read as JSONL.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let shown = path.display();
    ensure!(bytes.len() as u64 <= MAX_FILE_BYTES, "{shown} is larger than {MAX_FILE_BYTES} bytes");
    let text = String::from_utf8(bytes).with_context(|| format!("{shown} is not UTF-8"))?;

    let is_jsonl = path.extension().is_some_and(|extension| extension == "jsonl")
        || text.trim_start().starts_with('{');
    let mut queries = Vec::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() {
            continue;
        }
        ensure!(queries.len() < MAX_QUERIES, "{shown} has more than {MAX_QUERIES} queries");
        let query = if is_jsonl { parse(line) } else { Ok(line.to_owned()) };
        queries.push(query.with_context(|| format!("{shown}, line {number}"))?);
    }
    ensure!(!queries.is_empty(), "{shown} has no query");
    Ok(queries)
}

fn parse(line: &str) -> anyhow::Result<String> {
    let Line { text } = serde_json::from_str(line)?;
    if text.trim().is_empty() {
        bail!("`text` is empty");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, text: &str) -> anyhow::Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        fs_err::write(&path, text)?;
        read(&path)
    }

    #[test]
    fn lines_and_jsonl_are_read() {
        assert_eq!(read_as("q.txt", " one \n\n two\r\n").unwrap(), ["one", "two"]);
        let jsonl = "{\"_id\": \"1\", \"text\": \"one\"}\n{\"text\": \"two\"}\n";
        assert_eq!(read_as("queries.jsonl", jsonl).unwrap(), ["one", "two"]);
        assert_eq!(read_as("queries", jsonl).unwrap(), ["one", "two"]);
    }

    #[test]
    fn errors_name_the_line() {
        let check = |text: &str, want: &str| {
            let message = format!("{:#}", read_as("q.jsonl", text).unwrap_err());
            assert!(message.contains(want), "{message:?} does not have {want:?}");
        };
        check("{\"text\": \"a\"}\n{}\n", "line 2: missing field `text`");
        check("{\"text\": \" \"}\n", "line 1: `text` is empty");
        check("\n", "has no query");
    }
}
