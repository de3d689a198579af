//! Pairs of real texts: the beginning of a paragraph finds the paragraph, and not another.

use anyhow::ensure;
use twn_train::learn::{Case, Drawn, Example};

use crate::encoder::texts;

/// Words of a paragraph that make its query.
const QUERY_WORDS: usize = 12;

/// The size of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) pairs: usize,
    /// Of a text's content at most.
    pub(super) content_tokens: usize,
    /// Positions of one pass.
    pub(super) pass_tokens: usize,
}

/// Examples with a positive and a negative each.
#[derive(Debug)]
pub(super) struct Workload(Vec<Example>);

impl Workload {
    /// Takes the first paragraphs of this repository whose openings, the queries, differ from
    /// each other and from what they open.
    ///
    /// # Errors
    /// Fails when the sources are not there, or too few.
    pub(super) fn of_this_repository(pairs: usize) -> anyhow::Result<Self> {
        let mut texts = texts::of_this_repository();
        let mut seen = std::collections::HashSet::new();
        texts.retain(|text| {
            text.split_whitespace().nth(QUERY_WORDS).is_some() && seen.insert(opening(text))
        });
        ensure!(texts.len() >= 2 * pairs, "{} texts for {pairs} pairs", texts.len());
        let (positives, negatives) = texts[..2 * pairs].split_at(pairs);
        let example = |(positive, negative): (&String, &String)| Example {
            kind: "pair".to_owned(),
            instruction: None,
            query: opening(positive),
            positives: vec![positive.clone()],
            negatives: vec![negative.clone()],
            thought: None,
            source: None,
        };
        Ok(Self(positives.iter().zip(negatives).map(example).collect()))
    }

    /// The examples as a step draws them.
    pub(super) fn drawn(&self) -> Vec<Drawn<'_>> {
        let drawn = |example| Drawn {
            example,
            positive: example.positives.first().map(String::as_str),
            negatives: example.negatives.iter().map(String::as_str).collect(),
            case: Case::Kept,
            is_document: false,
            own_thought: None,
        };
        self.0.iter().map(drawn).collect::<Vec<_>>()
    }

    pub(super) fn queries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|example| example.query.as_str())
    }

    /// Each query's positive, then each query's negative.
    pub(super) fn documents(&self) -> impl Iterator<Item = &str> {
        let positives = self.0.iter().flat_map(|example| &example.positives);
        let negatives = self.0.iter().flat_map(|example| &example.negatives);
        positives.chain(negatives).map(String::as_str)
    }

    pub(super) fn texts(&self) -> usize {
        self.queries().count() + self.documents().count()
    }
}

/// A text's first words.
fn opening(text: &str) -> String {
    text.split_whitespace().take(QUERY_WORDS).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_occurs_once() {
        let workload = Workload::of_this_repository(8).expect("the sources are here");
        let all: Vec<&str> = workload.queries().chain(workload.documents()).collect();
        let different: std::collections::HashSet<&&str> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (24, 24));
        assert!(Workload::of_this_repository(1 << 30).is_err());
    }
}
