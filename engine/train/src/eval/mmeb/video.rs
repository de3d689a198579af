//! Video tasks: frames in a folder for each video, `frames/<video>/`.
//!
//! What a line of `videos.jsonl` has says what is asked, in the field names of the public
//! data sets:
//!
//! | fields | asks |
//! |---|---|
//! | `video_id`, `pos_text`, `neg_text[]` | which text fits the video, among its own |
//! | `video_id`, `pos_text` | which text fits the video, among all lines' |
//! | `video_id`, `caption` | which video of all a text describes |
//! | `video`, `question`, `candidates[]`, `answer` | which answer is right |
//! | `video_path`, `query` | which clip of the video is meant: folders beside `query/`, of which those named `positive…` are right |

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    Task,
    data::{Candidates, MmebInput, MmebQuery, MmebTask},
    lines::{Texts, each_line, id, text},
};
use crate::eval::{EvalError, Relevance};

const FRAMES: &str = "frames";
/// The instructions with which the public harness asks for videos and moments.
const FIND_VIDEO: &str = "Find a video that contains the following visual content:";
const FIND_CLIP: &str = "Find the clip that corresponds to the described scene in the given video:";
const VIDEO: &str = "Understand the content of the provided video.";
const ANSWER: &str = "Given a video and a question, select the most accurate answer from the \
                      provided candidates. Return only the exact text of your chosen answer.";
/// The classes of MMEB-V2 differ in it; a line's own `instruction` goes before.
const CLASSIFY: &str = "Recognize the category of the video content.";
const CLIPS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Line {
    #[serde(alias = "video", deserialize_with = "id", default)]
    video_id: String,
    #[serde(default, deserialize_with = "text")]
    instruction: String,
    #[serde(default)]
    pos_text: Texts,
    #[serde(default)]
    neg_text: Texts,
    #[serde(default)]
    caption: Texts,
    #[serde(default, deserialize_with = "text")]
    question: String,
    #[serde(default)]
    candidates: Texts,
    #[serde(default, deserialize_with = "text")]
    answer: String,
    #[serde(default, deserialize_with = "text")]
    query: String,
    #[serde(default, deserialize_with = "text")]
    video_path: String,
}

/// Reads `videos.jsonl`.
pub(super) fn read(task: Task, folder: &Path, path: &Path) -> Result<MmebTask, EvalError> {
    let mut candidates = Candidates::default();
    let mut queries = Vec::new();
    each_line(path, |number, line: Line| {
        let fault = |problem: &str| EvalError::line(path, number, problem);
        let query = if !line.video_path.is_empty() {
            clips(folder, &line, &mut candidates)?
        } else if line.video_id.is_empty() {
            return Err(fault("names no video"));
        } else if !line.question.is_empty() {
            answers(&line, &mut candidates).map_err(|problem| fault(&problem))?
        } else if !line.caption.0.is_empty() {
            for caption in &line.caption.0 {
                queries.push(described(&line, caption, &mut candidates));
            }
            return Ok(());
        } else {
            labels(&line, &mut candidates).map_err(|problem| fault(&problem))?
        };
        queries.push(query);
        Ok(())
    })?;
    if let Some(position) = queries.iter().position(|query| query.input.is_empty()) {
        let problem = format!("query {} has nothing to encode", position + 1);
        return Err(EvalError::data(path, problem));
    }
    Ok(MmebTask { task, queries, candidates: candidates.inputs })
}

/// Which of all videos a text describes.
fn described(line: &Line, caption: &str, candidates: &mut Candidates) -> MmebQuery {
    let video = frames(&line.video_id);
    let own = candidates.position(&line.video_id, || MmebInput::text(VIDEO, "").with_video(video));
    let input = MmebInput::text(or(&line.instruction, FIND_VIDEO), caption);
    MmebQuery { input, candidates: Vec::new(), relevance: Relevance::new([(own, 1)]) }
}

/// Which text fits the video.
fn labels(line: &Line, candidates: &mut Candidates) -> Result<MmebQuery, String> {
    let [label] = line.pos_text.0.as_slice() else {
        return Err("has neither pos_text, caption, question nor query".to_owned());
    };
    let mut position = |text: &String| candidates.position(text, || MmebInput::text("", text));
    let right = position(label);
    let mut own: Vec<u32> = line.neg_text.0.iter().map(&mut position).collect();
    // In some data sets the right text is among the others.
    if !own.is_empty() && !own.contains(&right) {
        own.insert(0, right);
    }
    let input = MmebInput::text(or(&line.instruction, CLASSIFY), "");
    let input = input.with_video(frames(&line.video_id));
    Ok(MmebQuery { input, candidates: own, relevance: Relevance::new([(right, 1)]) })
}

/// Which answer is right; the answers are part of the question, with letters.
fn answers(line: &Line, candidates: &mut Candidates) -> Result<MmebQuery, String> {
    let options: Vec<String> =
        line.candidates.0.iter().zip('A'..='Z').map(|(text, c)| format!("({c}) {text}")).collect();
    if options.is_empty() || options.len() < line.candidates.0.len() {
        return Err(format!("has {} candidates, 1 to 26 are read", line.candidates.0.len()));
    }
    let right = line.candidates.0.iter().position(|text| *text == line.answer);
    let right = right.ok_or_else(|| format!("answer `{}` is no candidate", line.answer))?;
    let own: Vec<u32> = options
        .iter()
        .map(|text| candidates.position(text, || MmebInput::text("", text)))
        .collect();
    let text = format!("{}\nOptions:\n{}", line.question, options.join("\n"));
    let input = MmebInput::text(or(&line.instruction, ANSWER), &text);
    let input = input.with_video(frames(&line.video_id));
    let relevance = Relevance::new([(own[right], 1)]);
    Ok(MmebQuery { input, candidates: own, relevance })
}

/// Which clip of a video is meant.
fn clips(folder: &Path, line: &Line, candidates: &mut Candidates) -> Result<MmebQuery, EvalError> {
    let stem = Path::new(&line.video_path).file_stem().unwrap_or_default();
    let video = Path::new(FRAMES).join(stem);
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder.join(&video))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "query" {
            names.push(name);
        }
    }
    names.sort_unstable();
    let is_right = |name: &String| name.starts_with("positive");
    if names.len() > CLIPS_MAX || !names.iter().any(is_right) {
        let problem = format!("has {} clips, at least one must be named positive…", names.len());
        return Err(EvalError::data(&folder.join(&video), problem));
    }
    let mut own = Vec::new();
    let mut right = Vec::new();
    for name in &names {
        let clip = video.join(name);
        let key = clip.to_string_lossy().into_owned();
        let position = candidates.position(&key, || MmebInput::text(VIDEO, "").with_video(clip));
        own.push(position);
        right.extend(is_right(name).then_some((position, 1)));
    }
    let input = MmebInput::text(or(&line.instruction, FIND_CLIP), &line.query);
    let input = input.with_video(video.join("query"));
    Ok(MmebQuery { input, candidates: own, relevance: Relevance::new(right) })
}

fn frames(video: &str) -> PathBuf {
    Path::new(FRAMES).join(video)
}

fn or<'a>(given: &'a str, default: &'a str) -> &'a str {
    if given.is_empty() { default } else { given }
}
