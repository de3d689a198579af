//! A task's queries and candidates, whatever layout they came in.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Task, image, pages, rows, video};
use crate::eval::{EvalError, Relevance};

/// Queries and candidates of one task at most.
pub(super) const INPUTS_MAX: usize = 1 << 22;
/// What the annotations mark the place of an image and of a video with.
const PLACEHOLDERS: [&str; 4] = ["<|image_1|>", "<|image_pad|>", "<|video_pad|>", "<image>"];

/// Something to encode, with its media still on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct MmebInput {
    /// May be empty when there is media.
    pub text: String,
    /// The task's instruction; empty takes the encoder's own.
    pub instruction: String,
    /// Picture files, by their names in the data.
    pub images: Vec<PathBuf>,
    /// Pages of documents, likewise.
    pub pages: Vec<PathBuf>,
    /// Folders of a video's frames, likewise.
    pub videos: Vec<PathBuf>,
}

/// A query and what is right for it.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebQuery {
    /// What is asked.
    pub input: MmebInput,
    /// Its candidates, by position in [`MmebTask::candidates`]; empty means all.
    pub candidates: Vec<u32>,
    /// The right ones and their grades, by the same positions.
    pub relevance: Relevance,
}

/// One task's data.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebTask {
    /// Which one it is.
    pub task: Task,
    /// The queries, in the file's order.
    pub queries: Vec<MmebQuery>,
    /// The candidates, each name once.
    pub candidates: Vec<MmebInput>,
}

/// Finds a task's folder below the benchmark's: by its name, there or in a folder
/// `image-tasks`, `video-tasks` or `visdoc-tasks`, as the benchmark is laid out; or `root`
/// itself, when that is its name.
pub fn find_folder(root: &Path, task: Task) -> Option<PathBuf> {
    let family = root.join(format!("{}-tasks", task.group.family()));
    let is_root = root.file_name().is_some_and(|name| name == task.name);
    let places = [root.join(task.name), family.join(task.name)];
    let mut places: Vec<PathBuf> = places.into();
    places.extend(is_root.then(|| root.to_owned()));
    places.into_iter().find(|folder| Layout::find(folder).is_some())
}

/// How a task's folder is laid out.
enum Layout {
    Image(PathBuf),
    Video(PathBuf),
    Pages,
    Rows(PathBuf),
}

impl Layout {
    fn find(folder: &Path) -> Option<Self> {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        None.or_else(|| file("rows.jsonl").map(Self::Rows))
            .or_else(|| file("test.jsonl").map(Self::Image))
            .or_else(|| file("videos.jsonl").map(Self::Video))
            .or_else(|| file("queries.jsonl").map(|_| Self::Pages))
    }
}

impl MmebTask {
    /// Reads the task's folder.
    ///
    /// # Errors
    /// Fails when no layout is there, a line cannot be used (the error has its number), or
    /// nothing is to be asked.
    pub fn read(task: Task, folder: &Path) -> Result<Self, EvalError> {
        let read = match Layout::find(folder) {
            Some(Layout::Image(path)) => image::read(task, &path)?,
            Some(Layout::Video(path)) => video::read(task, folder, &path)?,
            Some(Layout::Pages) => pages::read(task, folder)?,
            Some(Layout::Rows(path)) => rows::read(task, &path)?,
            None => {
                let problem = "has none of test.jsonl, videos.jsonl, queries.jsonl and rows.jsonl";
                return Err(EvalError::data(folder, problem));
            }
        };
        if read.queries.is_empty() {
            return Err(EvalError::data(folder, "has no query with a right candidate"));
        }
        let inputs = read.queries.len().max(read.candidates.len());
        if inputs > INPUTS_MAX {
            let problem = format!("has {inputs} inputs, at most {INPUTS_MAX} are evaluated");
            return Err(EvalError::data(folder, problem));
        }
        Ok(read)
    }

    /// Hex digest over all that is asked; the media's bytes are not part of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |value: &[u8]| {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        };
        let json = |input: &MmebInput| serde_json::to_vec(input).unwrap_or_default();
        add(self.task.name.as_bytes());
        for query in &self.queries {
            add(&json(&query.input));
            let own: Vec<u8> = query.candidates.iter().flat_map(|c| c.to_le_bytes()).collect();
            add(&own);
            let count = self.candidates.len() as u32;
            let all = if query.candidates.is_empty() { 0..count } else { 0..0 };
            let graded = query.candidates.iter().copied().chain(all);
            let grades = graded.map(|c| (c, query.relevance.grade(c))).filter(|(_, g)| *g > 0);
            add(&grades
                .flat_map(|(c, g)| [c.to_le_bytes(), g.to_le_bytes()].concat())
                .collect::<Vec<u8>>());
        }
        for candidate in &self.candidates {
            add(&json(candidate));
        }
        format!("{:x}", hash.finalize())
    }
}

impl MmebInput {
    /// An input of text alone; marks of media are taken out.
    pub(super) fn text(instruction: &str, text: &str) -> Self {
        Self { text: plain(text), instruction: plain(instruction), ..Self::default() }
    }

    /// Adds a picture; an empty name adds none.
    pub(super) fn with_image(mut self, name: &str) -> Self {
        self.images.extend(named(name));
        self
    }

    /// Adds a page.
    pub(super) fn with_page(mut self, name: &str) -> Self {
        self.pages.extend(named(name));
        self
    }

    /// Adds a folder of frames; an empty name adds none.
    pub(super) fn with_video(mut self, name: impl Into<PathBuf>) -> Self {
        let name = name.into();
        if !name.as_os_str().is_empty() {
            self.videos.push(name);
        }
        self
    }

    /// Tells whether there is nothing to encode.
    pub(super) fn is_empty(&self) -> bool {
        let media = self.images.len() + self.pages.len() + self.videos.len();
        media == 0 && self.text.is_empty()
    }
}

fn named(name: &str) -> Option<PathBuf> {
    (!name.is_empty()).then(|| PathBuf::from(name))
}

fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for placeholder in PLACEHOLDERS {
        text = text.replace(placeholder, "");
    }
    text.trim().to_owned()
}

/// Gathers candidates and gives each name one position.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    positions: HashMap<String, u32>,
    pub(super) inputs: Vec<MmebInput>,
}

impl Candidates {
    /// The position of a candidate; the first input of a name counts.
    pub(super) fn position(&mut self, name: &str, input: impl FnOnce() -> MmebInput) -> u32 {
        if let Some(&position) = self.positions.get(name) {
            return position;
        }
        let position = self.inputs.len() as u32;
        self.positions.insert(name.to_owned(), position);
        self.inputs.push(input());
        position
    }

    /// The position of a name that is there.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.positions.get(name).copied()
    }
}
