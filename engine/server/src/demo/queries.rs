//! What the demonstration asks: six queries of differing difficulty for the gate to
//! decide about, and one that has to be thought about.

use std::collections::HashMap;

use twn_protos::v1::ReasoningMode;

/// Thought tokens of the one query that has to think.
const BUDGET: u32 = 48;
const QUERIES: usize = 6;
const OPENING_WORDS: usize = 6;
const SENTENCE_WORDS: usize = 14;
const RARE_WORDS: usize = 3;
const WORD_CHARS_MIN: usize = 4;

/// One search of the demonstration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    pub(crate) query: String,
    pub(crate) mode: ReasoningMode,
    pub(crate) token_budget: Option<u32>,
}

/// From a name that is in the text to a need that shares no word with the answer.
const ABOUT_CRATES: [&str; QUERIES] = [
    "JSON serialization",
    "random number generator",
    "parse command line arguments",
    "walk through all files below a folder",
    "let several threads change one value without waiting for each other",
    "my service has to survive a crash in the middle of saving a file",
];

/// What is asked about crates.
pub(crate) fn of_crates() -> Vec<Ask> {
    asks(ABOUT_CRATES.map(str::to_owned).into())
}

/// What is asked about documents that nobody knows: their opening words (easy), a sentence
/// from their middle, and their rarest words (hard), each of another document.
pub(crate) fn of_documents(texts: &[String]) -> Vec<Ask> {
    let frequency = document_frequency(texts);
    let queries = (0..QUERIES).filter_map(|i| {
        let text = texts.get(i * texts.len() / QUERIES)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let query = match i % 3 {
            0 => words[..words.len().min(OPENING_WORDS)].join(" "),
            1 => {
                let middle = words.len() / 2;
                words[middle..words.len().min(middle + SENTENCE_WORDS)].join(" ")
            }
            _ => rarest(text, &frequency),
        };
        let is_usable = query.chars().any(char::is_alphanumeric);
        is_usable.then_some(query).or_else(|| Some("what is this about".to_owned()))
    });
    asks(queries.collect())
}

fn asks(queries: Vec<String>) -> Vec<Ask> {
    let last = queries.last().cloned();
    let auto = |query| Ask { query, mode: ReasoningMode::Auto, token_budget: Some(BUDGET) };
    let always = |query| Ask { query, mode: ReasoningMode::Always, token_budget: Some(BUDGET) };
    queries.into_iter().map(auto).chain(last.map(always)).collect()
}

fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.chars().count() >= WORD_CHARS_MIN).map(str::to_lowercase)
}

/// In how many documents each word is.
fn document_frequency(texts: &[String]) -> HashMap<String, usize> {
    let mut frequency = HashMap::new();
    for text in texts {
        let mut words: Vec<String> = words_of(text).collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            *frequency.entry(word).or_default() += 1;
        }
    }
    frequency
}

fn rarest(text: &str, frequency: &HashMap<String, usize>) -> String {
    let mut words: Vec<String> = words_of(text).collect();
    words.sort_by_cached_key(|word| (frequency.get(word).copied().unwrap_or(0), word.clone()));
    words.dedup();
    words.truncate(RARE_WORDS);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(asks: &[Ask]) {
        assert_eq!(asks.len(), QUERIES + 1);
        let (always, auto) = asks.split_last().unwrap();
        assert!(auto.iter().all(|ask| ask.mode == ReasoningMode::Auto));
        assert_eq!((always.mode, always.token_budget), (ReasoningMode::Always, Some(BUDGET)));
        assert!(asks.iter().all(|ask| !ask.query.trim().is_empty()));
    }

    #[test]
    fn six_are_for_the_gate_and_one_is_for_thinking() {
        check(&of_crates());
        let texts: Vec<String> =
            (0..20).map(|i| format!("Document number {i} is about topic{i} and more")).collect();
        check(&of_documents(&texts));
        check(&of_documents(&["one".to_owned()]));
        check(&of_documents(&["…".to_owned(), String::new()]));
    }

    #[test]
    fn queries_of_documents_differ_in_kind() {
        let texts: Vec<String> =
            (0..6).map(|i| format!("alpha beta gamma delta topic{i}")).collect();
        let asks = of_documents(&texts);
        assert_eq!(asks[0].query, "alpha beta gamma delta topic0");
        assert_eq!(asks[1].query, "gamma delta topic1");
        assert!(asks[2].query.contains("topic2") && !asks[2].query.starts_with("alpha beta"));
    }
}
