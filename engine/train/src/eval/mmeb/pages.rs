//! Document tasks: BEIR's three parts, with a page's picture for every document.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::{
    Task,
    data::{Candidates, MmebInput, MmebQuery, MmebTask},
    lines::{each_line, id, text},
};
use crate::eval::{EvalError, Relevance};

/// The instructions with which the public harness asks these tasks.
const QUERY: &str = "Find a document image that matches the given query:";
const PAGE: &str = "Understand the content of the provided document image.";

#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "query-id", deserialize_with = "id")]
    id: String,
    query: String,
}

#[derive(Deserialize)]
struct CorpusLine {
    #[serde(rename = "corpus-id", deserialize_with = "id")]
    id: String,
    /// A file; left out, it is `<corpus-id>.png`.
    #[serde(default, deserialize_with = "text")]
    image: String,
}

#[derive(Deserialize)]
struct JudgmentLine {
    #[serde(rename = "query-id", deserialize_with = "id")]
    query: String,
    #[serde(rename = "corpus-id", deserialize_with = "id")]
    document: String,
    score: i32,
}

/// Reads `corpus.jsonl`, `qrels.jsonl` and `queries.jsonl`.
pub(super) fn read(task: Task, folder: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    each_line(&folder.join("corpus.jsonl"), |_, line: CorpusLine| {
        let file = if line.image.is_empty() { format!("{}.png", line.id) } else { line.image };
        candidates.position(&line.id, || MmebInput::text(PAGE, "").with_page(&file));
        Ok(())
    })?;
    let path = folder.join("qrels.jsonl");
    let mut judgments: HashMap<String, Vec<(u32, i32)>> = HashMap::new();
    each_line(&path, |number, line: JudgmentLine| {
        let unknown = || format!("judges `{}`, which the corpus does not have", line.document);
        let position = candidates.find(&line.document);
        let position = position.ok_or_else(|| EvalError::line(&path, number, unknown()))?;
        judgments.entry(line.query).or_default().push((position, line.score));
        Ok(())
    })?;
    let mut queries = Vec::new();
    let path = folder.join("queries.jsonl");
    each_line(&path, |number, line: QueryLine| {
        let relevance = Relevance::new(judgments.remove(&line.id).unwrap_or_default());
        let input = MmebInput::text(QUERY, &line.query);
        if input.is_empty() {
            return Err(EvalError::line(&path, number, "has an empty query"));
        }
        if relevance.relevant() > 0 {
            queries.push(MmebQuery { input, candidates: Vec::new(), relevance });
        }
        Ok(())
    })?;
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}
