//! Questions with rationales: JSONL files of `{question, answer, rationale}`.

use std::path::Path;

use serde::Deserialize;

use super::{super::error::DataError, prose};

/// Words of a thought's facts.
const THOUGHT_WORDS: usize = 24;

/// A question with its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) source: String,
    pub(crate) question: String,
    pub(crate) thought: String,
    pub(crate) rationale: String,
}

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
    rationale: String,
}

/// Reads every `*.jsonl` file of `folder`.
///
/// # Errors
/// Fails when a file cannot be read or a line has another shape.
pub(crate) fn read(folder: &Path) -> Result<Vec<Question>, DataError> {
    let mut paths: Vec<_> = fs_err::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    let mut questions = Vec::new();
    for path in paths {
        let source = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (index, text) in fs_err::read_to_string(&path)?.lines().enumerate() {
            let line: Line = serde_json::from_str(text).map_err(|error| DataError::Line {
                path: path.clone(),
                line: index + 1,
                problem: error.to_string(),
            })?;
            questions.extend(question(&source, &line));
        }
    }
    if questions.is_empty() {
        return Err(DataError::Empty { path: folder.to_owned(), what: "questions" });
    }
    Ok(questions)
}

fn question(source: &str, line: &Line) -> Option<Question> {
    let (stem, options) = match line.question.split_once("\nOptions:") {
        Some((stem, options)) => (stem, options),
        None => (line.question.as_str(), ""),
    };
    let options: Vec<&str> = options
        .lines()
        .map(|option| option.trim().trim_start_matches('-').trim())
        .filter(|option| !option.is_empty())
        .collect();
    let mut answer = line.answer.trim().to_owned();
    // An answer that names an option by its letter is replaced by the option.
    if let Some(option) = options.iter().find(|option| {
        option.starts_with(&answer) && (answer.starts_with('(') || answer.starts_with("Sentence"))
    }) {
        answer = option[answer.len()..].trim_matches([' ', ':', '"']).to_owned();
    }
    let is_sentences = options.first().is_some_and(|option| option.contains("Sentence A"));
    let stem = stem.replace('\n', " ");
    // The options are what is asked about, or else they would give the answer away.
    let text = if is_sentences { format!("{stem} {}", options.join(" ")) } else { stem };
    let rationale = prose::cut(&line.rationale.replace('\n', " "), 90);
    let words = rationale.split_whitespace().count();
    let facts = prose::cut(&rationale, THOUGHT_WORDS);
    let is_usable = (5..=90).contains(&words) && text.split_whitespace().count() <= 90;
    is_usable.then(|| Question {
        source: source.to_owned(),
        question: prose::squeeze(&text),
        thought: prose::squeeze(&format!("{answer}. {facts}")),
        rationale: prose::squeeze(&rationale),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_resolved_and_cut() {
        let line = Line {
            question: "What comes from reproduction?\nOptions:\n- (A) babies\n- (B) protein".into(),
            answer: "(A)".into(),
            rationale: "Reproduction makes offspring. Babies are offspring of people.".into(),
        };
        let question = question("qasc", &line).expect("usable");
        assert_eq!(question.question, "What comes from reproduction?");
        assert!(question.thought.starts_with("babies. Reproduction"));
    }
}
