//! BM25, the lexical baseline that stands beside every encoder.
//!
//! Robertson and Zaragoza's formula with Lucene's never-negative idf,
//! `ln(1 + (N - df + 0.5) / (df + 0.5))`, and the parameters that Anserini uses:
//! k1 = 0.9, b = 0.4. Tokens are runs of letters, digits and underscores in lower case;
//! no stemming and no stop words.

use std::collections::HashMap;

use super::ranking::best;

const K1: f64 = 0.9;
const B: f64 = 0.4;

/// An index of texts by their words.
pub struct Bm25 {
    /// For each word, the texts that have it and how often.
    postings: HashMap<String, Vec<(u32, u32)>>,
    /// Words of each text.
    lengths: Vec<u32>,
    mean_length: f64,
}

impl Bm25 {
    /// Indexes texts; they are named by their position.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut postings: HashMap<String, Vec<(u32, u32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (text, position) in texts.into_iter().zip(0u32..) {
            let mut length = 0;
            for word in words(text.as_ref()) {
                length += 1;
                let list = postings.entry(word).or_default();
                match list.last_mut() {
                    Some((last, count)) if *last == position => *count += 1,
                    _ => list.push((position, 1)),
                }
            }
            lengths.push(length);
        }
        let total: f64 = lengths.iter().map(|length| f64::from(*length)).sum();
        let mean_length = (total / lengths.len().max(1) as f64).max(1.0);
        Self { postings, lengths, mean_length }
    }

    /// The `k` best texts, best first; texts that share no word with the query are not ranked.
    pub fn rank(&self, query: &str, k: usize) -> Vec<u32> {
        let scores = self.scores(query);
        best(scores.into_iter().map(|(position, score)| (score, position)).collect(), k)
    }

    /// The score of every text that shares a word with the query.
    fn scores(&self, query: &str) -> HashMap<u32, f64> {
        let texts = self.lengths.len() as f64;
        let mut scores = HashMap::new();
        for word in words(query) {
            let Some(list) = self.postings.get(&word) else { continue };
            let having = list.len() as f64;
            let idf = (1.0 + (texts - having + 0.5) / (having + 0.5)).ln();
            for (position, count) in list {
                let count = f64::from(*count);
                let length = f64::from(self.lengths[*position as usize]) / self.mean_length;
                let saturated = count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
                *scores.entry(*position).or_insert(0.0) += idf * saturated;
            }
        }
        scores
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// `tests/golden/bm25.json`, computed by the `bm25s` package.
    #[derive(Deserialize)]
    struct Golden {
        texts: Vec<String>,
        queries: Vec<String>,
        /// For each query, the score of every text.
        scores: Vec<Vec<f64>>,
    }

    #[test]
    fn scores_equal_those_of_an_outside_implementation() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../tests/golden/bm25.json")).unwrap();
        let index = Bm25::new(&golden.texts);
        let mut compared = 0;
        for (query, want) in golden.queries.iter().zip(&golden.scores) {
            let got = index.scores(query);
            for (position, want) in (0u32..).zip(want) {
                let got = got.get(&position).copied().unwrap_or(0.0);
                assert!((got - want).abs() < 1e-4, "{query:?}, text {position}: {got}, {want}");
                compared += usize::from(*want > 0.0);
            }
        }
        assert!(compared > 100, "only {compared} scores above 0");
    }

    #[test]
    fn words_are_lower_case_runs_and_unshared_texts_are_not_ranked() {
        let got: Vec<String> = words("Émile's re-entry, at 3_000 K!").collect();
        assert_eq!(got, ["émile", "s", "re", "entry", "at", "3_000", "k"]);
        let index = Bm25::new(["a wing", "a rotor and a wing", "heat"]);
        assert_eq!(index.rank("WING rotor", 10), [1, 0]);
        assert_eq!(index.rank("nothing", 10), [0u32; 0]);
        assert_eq!(Bm25::new([""; 0]).rank("wing", 10), [0u32; 0]);
    }
}
