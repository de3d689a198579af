//! Image tasks: each query has candidates of its own, the first of which is right.

use std::path::Path;

use serde::Deserialize;

use super::{
    Task,
    data::{Candidates, MmebInput, MmebQuery, MmebTask},
    lines::{Texts, each_line, text},
};
use crate::eval::{EvalError, Relevance};

#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "text")]
    qry_inst: String,
    #[serde(default, deserialize_with = "text")]
    qry_text: String,
    #[serde(default, deserialize_with = "text")]
    qry_img_path: String,
    #[serde(default, deserialize_with = "text")]
    tgt_inst: String,
    #[serde(default)]
    tgt_text: Texts,
    #[serde(default)]
    tgt_img_path: Texts,
}

/// Reads `test.jsonl`.
pub(super) fn read(task: Task, path: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    let mut queries = Vec::new();
    each_line(path, |number, line: Line| {
        let fault = |problem: &str| EvalError::line(path, number, problem);
        let (texts, images) = (&line.tgt_text.0, &line.tgt_img_path.0);
        let count = texts.len().max(images.len());
        // One text may hold for all pictures, and none for all texts.
        let fits = |len: usize| len == count || len <= 1;
        if count == 0 || !fits(texts.len()) || !fits(images.len()) {
            return Err(fault("tgt_text and tgt_img_path are of different lengths"));
        }
        let of = |all: &[String], i: usize| match all {
            [] => String::new(),
            [one] => one.clone(),
            many => many[i].clone(),
        };
        let mut own = Vec::with_capacity(count);
        for i in 0..count {
            let (image, text) = (of(images, i), of(texts, i));
            let input = MmebInput::text(&line.tgt_inst, &text).with_image(&image);
            if input.is_empty() {
                return Err(fault("has a candidate without text and picture"));
            }
            own.push(candidates.position(&format!("{image}\0{text}"), || input));
        }
        let input = MmebInput::text(&line.qry_inst, &line.qry_text).with_image(&line.qry_img_path);
        // Some queries are an instruction alone: "Identify the object in the image."
        let input = if input.is_empty() {
            MmebInput { text: input.instruction, ..MmebInput::default() }
        } else {
            input
        };
        if input.is_empty() {
            return Err(fault("has a query without text and picture"));
        }
        let relevance = Relevance::new([(own[0], 1)]);
        queries.push(MmebQuery { input, candidates: own, relevance });
        Ok(())
    })?;
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}
