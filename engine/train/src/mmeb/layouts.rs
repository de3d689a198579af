//! Reads a task's folder in whichever of the three layouts it has.
//!
//! Strict: a line that cannot be used ends the reading with its number.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    catalogue::Task,
    data::{Candidates, MmebInput, MmebQuery, MmebTask},
};
use crate::{error::EvalError, metrics::Relevance};

const LINE_BYTES_MAX: u64 = 16 << 20;
/// What the annotations mark the place of an image and of a video with.
const PLACEHOLDERS: [&str; 3] = ["<|image_1|>", "<|image_pad|>", "<|video_pad|>"];

impl MmebTask {
    /// Reads the task's folder. Paths in it are relative to the folder.
    ///
    /// # Errors
    /// Fails when no layout is there, a line cannot be used, or nothing is to be asked.
    pub fn read(task: Task, folder: &Path) -> Result<Self, EvalError> {
        let file = |name: &str| folder.join(name);
        let read = if file("test.jsonl").is_file() {
            image(task, folder, &file("test.jsonl"))?
        } else if file("rows.jsonl").is_file() {
            rows(task, folder, &file("rows.jsonl"))?
        } else if file("queries.jsonl").is_file() {
            beir(task, folder)?
        } else {
            let problem = "has none of test.jsonl, rows.jsonl and queries.jsonl";
            return Err(EvalError::data(folder, problem));
        };
        if read.queries.is_empty() {
            return Err(EvalError::data(folder, "has no query with a right candidate"));
        }
        Ok(read)
    }
}

/// A line of the image annotations. Lists and single values both occur.
#[derive(Deserialize)]
struct ImageLine {
    #[serde(default)]
    qry_inst: String,
    #[serde(default)]
    qry_text: String,
    #[serde(default)]
    qry_img_path: String,
    #[serde(default)]
    tgt_inst: String,
    #[serde(default)]
    tgt_text: Vec<String>,
    #[serde(default)]
    tgt_img_path: Vec<String>,
}

fn image(task: Task, folder: &Path, path: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    let mut queries = Vec::new();
    for (number, line) in lines::<ImageLine>(path)? {
        let count = line.tgt_text.len().max(line.tgt_img_path.len());
        let is_even = |len: usize| len == 0 || len == count;
        if count == 0 || !is_even(line.tgt_text.len()) || !is_even(line.tgt_img_path.len()) {
            return Err(EvalError::line(path, number, "tgt_text and tgt_img_path do not match"));
        }
        let own: Vec<u32> = (0..count)
            .map(|i| {
                let text = line.tgt_text.get(i).map_or("", String::as_str);
                let image = line.tgt_img_path.get(i).map_or("", String::as_str);
                let input = || input(folder, (&line.tgt_inst, text), [image], [""; 0]);
                candidates.position(&format!("{image}\u{0}{text}"), input)
            })
            .collect();
        queries.push(MmebQuery {
            input: input(folder, (&line.qry_inst, &line.qry_text), [&line.qry_img_path], [""; 0]),
            relevance: Relevance::new([(own[0], 1)]),
            candidates: own,
        });
    }
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}

/// One side of a row of the harness.
#[derive(Deserialize, Default)]
struct Side {
    #[serde(default)]
    text: String,
    #[serde(default)]
    instruction: String,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    video: Option<String>,
}

#[derive(Deserialize)]
struct RowLine {
    query_input: Side,
    #[serde(default)]
    cand_input: Vec<Side>,
    dataset_infos: RowInfos,
}

#[derive(Deserialize)]
struct RowInfos {
    cand_names: Vec<String>,
    label_name: OneOrMany,
    #[serde(default)]
    rel_scores: Option<Vec<i32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn rows(task: Task, folder: &Path, path: &Path) -> Result<MmebTask, EvalError> {
    let side = |side: &Side| {
        let (image, video) = (side.image.as_deref(), side.video.as_deref());
        input(folder, (&side.instruction, &side.text), image, video)
    };
    let mut candidates = Candidates::default();
    let mut queries = Vec::new();
    for (number, line) in lines::<RowLine>(path)? {
        let fault = |problem: String| EvalError::line(path, number, problem);
        let RowInfos { cand_names, label_name, rel_scores } = line.dataset_infos;
        if line.cand_input.len() != cand_names.len() {
            let (inputs, names) = (line.cand_input.len(), cand_names.len());
            return Err(fault(format!("has {inputs} candidates and {names} names")));
        }
        let pairs = cand_names.iter().zip(&line.cand_input);
        let own: Vec<u32> =
            pairs.map(|(name, one)| candidates.position(name, || side(one))).collect();
        let labels = match label_name {
            OneOrMany::One(label) => vec![label],
            OneOrMany::Many(labels) => labels,
        };
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
        queries.push(MmebQuery { input: side(&line.query_input), candidates: own, relevance });
    }
    queries.retain(|query| query.relevance.relevant() > 0);
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}

#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "query-id", deserialize_with = "name")]
    id: String,
    query: String,
}

#[derive(Deserialize)]
struct CorpusLine {
    #[serde(rename = "corpus-id", deserialize_with = "name")]
    id: String,
    image: String,
}

#[derive(Deserialize)]
struct QrelLine {
    #[serde(rename = "query-id", deserialize_with = "name")]
    query: String,
    #[serde(rename = "corpus-id", deserialize_with = "name")]
    document: String,
    score: i32,
}

/// Ids are numbers in some of the data sets and words in others.
fn name<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!("{other} is no id"))),
    }
}

fn beir(task: Task, folder: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    for (_, line) in lines::<CorpusLine>(&folder.join("corpus.jsonl"))? {
        let page = || input(folder, ("", ""), [line.image.as_str()], [""; 0]);
        candidates.position(&line.id, page);
    }
    let path = folder.join("qrels.jsonl");
    let mut judgments: HashMap<String, Vec<(u32, i32)>> = HashMap::new();
    for (number, line) in lines::<QrelLine>(&path)? {
        let unknown = || format!("judges `{}`, which the corpus does not have", line.document);
        let position = candidates.find(&line.document);
        let position = position.ok_or_else(|| EvalError::line(&path, number, unknown()))?;
        judgments.entry(line.query).or_default().push((position, line.score));
    }
    let mut queries = Vec::new();
    for (_, line) in lines::<QueryLine>(&folder.join("queries.jsonl"))? {
        let relevance = Relevance::new(judgments.remove(&line.id).unwrap_or_default());
        if relevance.relevant() > 0 {
            let input = input(folder, ("", &line.query), [""; 0], [""; 0]);
            queries.push(MmebQuery { input, candidates: Vec::new(), relevance });
        }
    }
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}

/// Makes an input; empty paths are none, and marks of media are taken out of the text.
fn input<'a>(
    folder: &Path,
    (instruction, text): (&str, &str),
    images: impl IntoIterator<Item = impl AsRef<str> + 'a>,
    videos: impl IntoIterator<Item = impl AsRef<str> + 'a>,
) -> MmebInput {
    MmebInput {
        text: plain(text),
        instruction: plain(instruction),
        images: paths(folder, images),
        videos: paths(folder, videos),
    }
}

fn paths<'a>(
    folder: &Path,
    names: impl IntoIterator<Item = impl AsRef<str> + 'a>,
) -> Vec<PathBuf> {
    let named = names.into_iter().filter(|name| !name.as_ref().is_empty());
    named.map(|name| folder.join(name.as_ref())).collect()
}

fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for placeholder in PLACEHOLDERS {
        text = text.replace(placeholder, "");
    }
    text.trim().to_owned()
}

/// Reads JSON lines with their numbers, from 1.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>, EvalError> {
    let mut reader = BufReader::new(fs_err::File::open(path)?);
    let mut parsed = Vec::new();
    for number in 1.. {
        let mut line = String::new();
        let bytes = reader.by_ref().take(LINE_BYTES_MAX + 1).read_line(&mut line)? as u64;
        if bytes == 0 {
            break;
        }
        if bytes > LINE_BYTES_MAX {
            return Err(EvalError::line(path, number, "is longer than 16 MiB"));
        }
        if !line.trim().is_empty() {
            let value = serde_json::from_str(&line);
            parsed.push((number, value.map_err(|e| EvalError::line(path, number, e.to_string()))?));
        }
    }
    Ok(parsed)
}
