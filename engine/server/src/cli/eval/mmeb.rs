//! `twn eval mmeb`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use twn_encoder::{Embedder, Encoder, ReasoningMode, model::default_home};
use twn_train::{
    LocalOptions,
    mmeb::{
        Kept, MediaFolders, MmebOptions, MmebReport, MmebRow, MmebTask, TASKS, Task, evaluate_task,
        find_folder, find_task,
    },
};

use super::{
    arguments::{EvalMode, each_once},
    mmeb_show,
};
use crate::{
    cli::{ModelArgs, Outcome, Session, model},
    config::Flag,
    output::{Output, Progress},
};

/// Folder of results below `TWN_HOME`.
const RESULTS: &str = "mmeb";

/// What to evaluate, and how.
#[derive(Debug, Clone, Args)]
pub struct MmebArgs {
    /// The benchmark: a folder with a folder for each task, by its name
    folder: PathBuf,
    /// Tasks to run [default: all that are there]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = task)]
    task: Vec<Task>,
    /// When queries think; several modes give several rows
    #[arg(long, value_enum, value_delimiter = ',', default_value = "never")]
    mode: Vec<EvalMode>,
    /// When candidates think
    #[arg(long, value_enum, default_value = "never")]
    candidate_mode: EvalMode,
    /// Take only the first so many queries of each task; the scores are then no longer
    /// comparable
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit_queries: Option<u32>,
    /// With `adaptive`: think when the gate's score is above this, from 0 to 1
    #[arg(long, value_parser = threshold)]
    threshold: Option<f32>,
    /// Tokens that a thought may have at most
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// Frames of a video
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=768))]
    frames: u32,
    /// A further folder in which the files that the data names are looked up, beside the
    /// task's and the benchmark's
    #[arg(long, value_name = "FOLDER")]
    media: Option<PathBuf>,
    /// Thoughts that are decoded together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    thoughts: Option<u32>,
    /// Keep the result of each finished task here [default: mmeb in TWN_HOME]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_results")]
    results: Option<PathBuf>,
    /// Neither use nor keep results
    #[arg(long)]
    no_results: bool,
    /// Pull the model first if it is not there
    #[arg(long)]
    pull: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// A task whose data was read.
struct Found {
    data: MmebTask,
    media: MediaFolders,
}

impl MmebArgs {
    /// The settings that the flags change.
    pub(super) fn flags(&self) -> Vec<Flag> {
        self.model.flags()
    }

    fn options(&self) -> MmebOptions {
        let default = LocalOptions::default();
        let thoughts = self.thoughts.map_or(default.thoughts, |thoughts| thoughts as usize);
        MmebOptions {
            limit_queries: self.limit_queries.map(|queries| queries as usize),
            threshold: self.threshold,
            token_budget: self.budget,
            candidate_mode: self.candidate_mode.reasoning(),
            batch: LocalOptions { thoughts, ..default },
        }
    }

    fn results(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(match (&self.results, self.no_results) {
            (_, true) => None,
            (Some(folder), false) => Some(folder.clone()),
            (None, false) => Some(default_home()?.join(RESULTS)),
        })
    }

    /// Finds the tasks' folders; every task that was asked for must be there.
    fn folders(&self) -> anyhow::Result<Vec<(Task, PathBuf)>> {
        let root = &self.folder;
        if !root.is_dir() {
            bail!("there is no folder `{}`", root.display());
        }
        let folder = |task: &Task| Some((*task, find_folder(root, *task)?));
        let found: Vec<(Task, PathBuf)> = if self.task.is_empty() {
            TASKS.iter().filter_map(folder).collect()
        } else {
            let missing = |task: &Task| {
                let (name, root) = (task.name, root.display());
                format!("`{root}` has no data of the task {name}, in a folder of that name")
            };
            let all = self.task.iter().map(|task| folder(task).with_context(|| missing(task)));
            all.collect::<anyhow::Result<_>>()?
        };
        if found.is_empty() {
            bail!("`{}` has no folder of any task, for example ImageNet-1K", root.display());
        }
        Ok(found)
    }
}

/// Runs the command.
///
/// # Errors
/// Fails when the data can't be read, the model is missing or the encoder fails.
pub(super) async fn run(arguments: MmebArgs, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    let folders = arguments.folders()?;
    let results = arguments.results()?;
    let model = model::locate(session, arguments.pull).await?;
    let load = session.config().model.load_options(&model);
    let evaluating = tokio::task::spawn_blocking(move || -> anyhow::Result<MmebReport> {
        // Data that can't be read is said before a model is loaded.
        let root = arguments.folder.clone();
        for (task, folder) in &folders {
            read(*task, folder, &root, &arguments)?;
        }
        let mut encoder = Encoder::load(&load).context("cannot load the encoder")?;
        let options = arguments.options();
        let frames = arguments.frames as usize;
        let kept = results.map(|folder| Kept::new(&folder, encoder.info(), &options, frames));
        let mut rows = Vec::new();
        for (task, folder) in &folders {
            let found = read(*task, folder, &root, &arguments)?;
            let modes = each_once(&arguments.mode);
            rows.extend(finish(&mut encoder, &found, &modes, &options, kept.as_ref(), output)?);
        }
        Ok(MmebReport::new(encoder.info(), rows))
    });
    let report = evaluating.await.context("evaluating panicked")??;
    output.either(&report, || mmeb_show::written(&report))?;
    Ok(Outcome::Done)
}

fn read(task: Task, folder: &Path, root: &Path, arguments: &MmebArgs) -> anyhow::Result<Found> {
    let mut roots = vec![folder.to_owned(), root.to_owned()];
    roots.extend(folder.parent().map(Path::to_owned).filter(|parent| parent != root));
    roots.extend(arguments.media.clone());
    let data = MmebTask::read(task, folder)?;
    Ok(Found { data, media: MediaFolders { roots, frames: arguments.frames as usize } })
}

/// Evaluates what is not kept yet of one task, and gives its rows in the modes' order.
fn finish<E: Embedder>(
    encoder: &mut E,
    found: &Found,
    modes: &[ReasoningMode],
    options: &MmebOptions,
    kept: Option<&Kept>,
    output: Output,
) -> anyhow::Result<Vec<MmebRow>> {
    let mut rows: Vec<Option<MmebRow>> = Vec::new();
    for &mode in modes {
        let row = kept.map(|kept| kept.find(&found.data, mode)).transpose()?.flatten();
        rows.push(row);
    }
    let missing: Vec<_> =
        modes.iter().zip(&rows).filter(|(_, row)| row.is_none()).map(|(mode, _)| *mode).collect();
    if !missing.is_empty() {
        let mut bar: Option<Progress> = None;
        let mut show = |done: usize, total: usize| {
            let bar = bar.get_or_insert_with(|| Progress::items(output, total as u64));
            bar.say(found.data.task.name);
            bar.reach(done as u64);
        };
        let made = evaluate_task(encoder, &found.data, &found.media, &missing, options, &mut show)?;
        for (mode, row) in missing.iter().zip(&made) {
            if let Some(kept) = kept {
                kept.keep(&found.data, *mode, row)?;
            }
        }
        let mut made = made.into_iter();
        for row in rows.iter_mut().filter(|row| row.is_none()) {
            *row = made.next();
        }
    }
    Ok(rows.into_iter().flatten().collect())
}

fn task(name: &str) -> Result<Task, String> {
    find_task(name).ok_or_else(|| {
        let names: Vec<_> = TASKS.iter().map(|task| task.name).collect();
        format!("there is no task `{name}`; there are {}", names.join(", "))
    })
}

fn threshold(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{value} is outside 0 to 1")) }
}
