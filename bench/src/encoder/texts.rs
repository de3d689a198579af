//! Real texts: what this repository says about itself.

use std::path::{Path, PathBuf};

/// Shorter paragraphs are headings and remnants.
const BYTES_MIN: usize = 60;

/// Collects the paragraphs of the documentation and of the sources' comments, in the order
/// of their files; none where the sources are not there.
pub(crate) fn of_this_repository() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["docs", "engine", "index", "protos", "bench/src"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let mut texts: Vec<String> = files.iter().flat_map(|path| paragraphs(path)).collect();
    // From all over the repository, whatever is taken from the front.
    let stride = 7;
    let mut spread = Vec::with_capacity(texts.len());
    for first in 0..stride.min(texts.len()) {
        spread.extend(texts.iter_mut().skip(first).step_by(stride).map(std::mem::take));
    }
    spread
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "md" || kind == "rs") {
            files.push(path);
        }
    }
}

/// Paragraphs of a page, or of a source's documentation comments.
fn paragraphs(path: &Path) -> Vec<String> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    let is_source = path.extension().is_some_and(|kind| kind == "rs");
    let line = |line: &str| -> String {
        if !is_source {
            return line.to_owned();
        }
        let line = line.trim_start();
        let comment = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        comment.unwrap_or_default().trim().to_owned()
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    paragraphs.filter(|text| text.len() >= BYTES_MIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_texts_and_none_is_empty() {
        let texts = of_this_repository();
        assert!(texts.len() >= 500, "{} texts", texts.len());
        assert!(texts.iter().all(|text| text.len() >= BYTES_MIN));
    }
}
