//! Progress bars, drawn only where a person is looking.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use twn_encoder::model::PullProgress;

use super::Output;

const TICK: Duration = Duration::from_millis(120);

/// A progress bar on standard error, or nothing when nobody is looking.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts bytes towards a total.
    pub fn bytes(output: Output, total: u64) -> Self {
        let template =
            "{msg} [{bar:24}] {binary_bytes} of {binary_total_bytes}, {elapsed}, {eta} left";
        Self::new(output, Some(total), template)
    }

    /// Counts items towards a total.
    pub fn items(output: Output, total: u64) -> Self {
        Self::new(output, Some(total), "{msg} [{bar:24}] {pos} of {len}, {elapsed}, {eta} left")
    }

    /// Shows that something goes on, of unknown length.
    pub fn endless(output: Output) -> Self {
        Self::new(output, None, "{spinner} {msg}, {elapsed}")
    }

    fn new(output: Output, total: Option<u64>, template: &str) -> Self {
        if !output.is_watched() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Says what is going on.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Moves to a position.
    pub fn reach(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how far a pull has come: a bar for each of its stages. Where nobody is looking,
/// and not for programs, it says each stage once.
pub fn pull_progress(output: Output, name: &str) -> impl FnMut(PullProgress) + use<> {
    let name = name.to_owned();
    let mut shown: Option<(&'static str, Progress)> = None;
    move |progress| {
        let (stage, bytes, total) = match progress {
            PullProgress::Waiting => ("waiting for another pull of", 0, 0),
            PullProgress::Downloading { bytes, total } => ("fetching", bytes, total),
            PullProgress::Verifying { bytes, total } => ("verifying", bytes, total),
            PullProgress::Unpacking { bytes, total } => ("unpacking", bytes, total),
        };
        let is_new = shown.as_ref().is_none_or(|(current, _)| *current != stage);
        if is_new {
            let bar = Progress::bytes(output, total);
            bar.say(format!("{stage} {name}"));
            if !output.is_watched() && !output.is_json() {
                output.note(format_args!("{stage} {name}"));
            }
            shown = Some((stage, bar));
        }
        if let Some((_, bar)) = &shown {
            bar.reach(bytes);
        }
    }
}
