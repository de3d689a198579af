//! Tasks as the public harness normalises them: any of the 78 can be written so.

use std::path::Path;

use serde::Deserialize;

use super::{
    Task,
    data::{Candidates, MmebInput, MmebQuery, MmebTask},
    lines::{Texts, each_line, text},
};
use crate::eval::{EvalError, Relevance};

/// A query or a candidate.
#[derive(Deserialize, Default)]
struct Side {
    #[serde(default, deserialize_with = "text")]
    text: String,
    #[serde(default, deserialize_with = "text")]
    instruction: String,
    #[serde(default)]
    image: Texts,
    #[serde(default)]
    page: Texts,
    #[serde(default)]
    video: Texts,
}

#[derive(Deserialize)]
struct Line {
    query_input: Side,
    #[serde(default)]
    cand_input: Vec<Side>,
    dataset_infos: Infos,
}

#[derive(Deserialize)]
struct Infos {
    cand_names: Vec<String>,
    label_name: Texts,
    #[serde(default)]
    rel_scores: Option<Vec<i32>>,
    /// Whether a query is compared with its own candidates only.
    #[serde(default)]
    local: Option<bool>,
}

impl Side {
    fn input(&self) -> MmebInput {
        let mut input = MmebInput::text(&self.instruction, &self.text);
        for name in &self.image.0 {
            input = input.with_image(name);
        }
        for name in &self.page.0 {
            input = input.with_page(name);
        }
        for name in &self.video.0 {
            input = input.with_video(name);
        }
        input
    }
}

/// Reads `rows.jsonl`.
pub(super) fn read(task: Task, path: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    let mut queries = Vec::new();
    each_line(path, |number, line: Line| {
        let fault = |problem: String| EvalError::line(path, number, problem);
        let Infos { cand_names, label_name, rel_scores, local } = line.dataset_infos;
        if line.cand_input.len() != cand_names.len() {
            let (inputs, names) = (line.cand_input.len(), cand_names.len());
            return Err(fault(format!("has {inputs} candidates and {names} names")));
        }
        let mut own = Vec::with_capacity(cand_names.len());
        for (name, side) in cand_names.iter().zip(&line.cand_input) {
            let input = side.input();
            if input.is_empty() {
                return Err(fault(format!("candidate `{name}` has nothing to encode")));
            }
            own.push(candidates.position(name, || input));
        }
        let input = line.query_input.input();
        if input.is_empty() {
            return Err(fault("the query has nothing to encode".to_owned()));
        }
        let labels = label_name.0;
        let grades = rel_scores.unwrap_or_else(|| vec![1; labels.len()]);
        if grades.len() != labels.len() {
            return Err(fault("has other than one grade for each label".to_owned()));
        }
        let judged = labels.iter().zip(grades).map(|(label, grade)| {
            let position = candidates.find(label);
            let unknown = || fault(format!("label `{label}` is no candidate"));
            Ok((position.ok_or_else(unknown)?, grade))
        });
        let relevance = Relevance::new(judged.collect::<Result<Vec<_>, EvalError>>()?);
        if relevance.relevant() > 0 {
            let candidates = if local.unwrap_or(true) { own } else { Vec::new() };
            queries.push(MmebQuery { input, candidates, relevance });
        }
        Ok(())
    })?;
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}
