//! Retrieval on held-out data while training: what the losses are for.
//!
//! A bounded part of a test collection is embedded with the adapters as they are, on the
//! training device. Nothing of the run depends on it: a run that is evaluated ends with the
//! same adapters as one that is not.

use std::{path::PathBuf, time::Instant};

use serde::{Deserialize, Serialize};

use super::{
    Batch, Decoded, Sequence, Sequencer, Student, TrainError,
    sampler::{Decoding, Sampler, Use, Wanted, sample_all},
};
use crate::eval::{Beir, QueryScores, Relevance, Rows, rank};

/// Documents that are ranked for each query's metrics.
const DEPTH: usize = 10;

/// How to evaluate while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Steps between two evaluations; the beginning of the run and the end of a stage have
    /// one as well.
    pub every: usize,
    /// A test collection in BEIR's layout, relative to the recipe.
    pub path: PathBuf,
    /// Queries at most, spread evenly over the collection.
    #[serde(default = "default_queries")]
    pub queries: usize,
    /// Documents at most: those that answer the queries, and others spread evenly.
    #[serde(default = "default_documents")]
    pub documents: usize,
    /// Embeds the queries after the adapter's own greedy thoughts too.
    #[serde(default)]
    pub thoughts: bool,
}

fn default_queries() -> usize {
    200
}

fn default_documents() -> usize {
    1_000
}

/// What an evaluation saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOutFigures {
    /// Queries.
    pub queries: usize,
    /// Documents.
    pub documents: usize,
    /// Queries embedded directly.
    pub direct: QueryScores,
    /// The queries that have a written thought, embedded after it; absent when none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Thoughtful>,
    /// All queries, embedded after a greedy thought of the adapter's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<Thoughtful>,
    /// Time that it took.
    pub seconds: f64,
}

/// Queries that were embedded after a thought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thoughtful {
    /// Queries.
    pub queries: usize,
    /// After the thought.
    #[serde(flatten)]
    pub scores: QueryScores,
    /// The same queries embedded directly.
    pub direct_ndcg_at_10: f64,
    /// Mean tokens of a thought.
    pub thought_tokens: f64,
}

/// A bounded part of a test collection as sequences.
#[derive(Debug)]
pub(super) struct HeldOut {
    every: usize,
    thoughts: bool,
    documents: Vec<Sequence>,
    queries: Vec<Question>,
}

#[derive(Debug)]
struct Question {
    prompt: Sequence,
    /// With its written thought.
    written: Option<Sequence>,
    relevance: Relevance,
}

/// Queries after thoughts: their places, and their sequences.
struct Reasoned {
    places: Vec<usize>,
    sequences: Vec<Sequence>,
}

impl HeldOut {
    /// Reads the part of the collection that the recipe asks for.
    ///
    /// # Errors
    /// Fails when the collection cannot be read, a text cannot be made into a prompt, or
    /// the queries' answers alone are more documents than allowed.
    pub(super) fn read(wanted: &Evaluate, sequencer: &Sequencer) -> Result<Self, TrainError> {
        let refuse = |problem: String| TrainError::file(&wanted.path, problem);
        let data = Beir::read(&wanted.path)?;
        let chosen = spread(data.queries.len(), wanted.queries);
        let mut place: Vec<Option<u32>> = vec![None; data.documents.len()];
        for &query in &chosen {
            for (document, _) in data.queries[query].relevance.judgments() {
                place[document as usize] = Some(0);
            }
        }
        let relevant = place.iter().flatten().count();
        let Some(room) = wanted.documents.checked_sub(relevant) else {
            return Err(refuse(format!(
                "{relevant} documents answer {} queries, `evaluate.documents` is {}",
                chosen.len(),
                wanted.documents
            )));
        };
        let others: Vec<usize> = (0..place.len()).filter(|&at| place[at].is_none()).collect();
        for at in spread(others.len(), room) {
            place[others[at]] = Some(0);
        }
        let mut documents = Vec::new();
        for (document, place) in data.documents.iter().zip(&mut place) {
            let text = document.content();
            // A document without text is not retrieved, here as in any evaluation.
            *place = place.filter(|_| !text.is_empty()).map(|_| documents.len() as u32);
            if place.is_some() {
                documents.push(sequencer.document(&text)?);
            }
        }
        let mut queries = Vec::new();
        for query in chosen.into_iter().map(|query| &data.queries[query]) {
            let prompt = sequencer.query(&query.text, None)?;
            let written = query.thought.as_deref().map(|text| sequencer.think(&prompt, text));
            let judgments = query.relevance.judgments().filter_map(|(document, grade)| {
                Some((place[document as usize]?, i32::try_from(grade).unwrap_or(i32::MAX)))
            });
            let relevance = Relevance::new(judgments);
            queries.push(Question { written: written.transpose()?, relevance, prompt });
        }
        Ok(Self { every: wanted.every, thoughts: wanted.thoughts, documents, queries })
    }

    /// Tells whether an evaluation is due after `step` steps of a stage.
    pub(super) fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Evaluates the student, in passes of at most `pass_tokens` positions.
    ///
    /// # Errors
    /// Fails when an embedding is not finite, or the sampler fails.
    pub(super) fn evaluate(
        &self,
        student: &Student,
        sequencer: &Sequencer,
        sampler: &mut Sampler,
        pass_tokens: usize,
    ) -> Result<HeldOutFigures, TrainError> {
        let started = Instant::now();
        let frozen = student.frozen();
        let values = embed(&frozen, self.documents.iter(), pass_tokens)?.concat();
        let rows = Rows { values, present: vec![true; self.documents.len()] };
        let prompts = self.queries.iter().map(|query| &query.prompt);
        let direct =
            self.scores(0..self.queries.len(), &rows, embed(&frozen, prompts, pass_tokens)?);
        let thoughtful = |reasoned: Reasoned| -> Result<Option<Thoughtful>, TrainError> {
            if reasoned.places.is_empty() {
                return Ok(None);
            }
            let vectors = embed(&frozen, reasoned.sequences.iter(), pass_tokens)?;
            let before: Vec<QueryScores> =
                reasoned.places.iter().map(|&place| direct[place]).collect();
            let tokens: usize = reasoned.sequences.iter().map(|one| one.thought.len()).sum();
            let after = self.scores(reasoned.places.iter().copied(), &rows, vectors);
            Ok(Some(Thoughtful {
                queries: after.len(),
                scores: QueryScores::mean(&after),
                direct_ndcg_at_10: QueryScores::mean(&before).ndcg_at_10,
                thought_tokens: tokens as f64 / after.len() as f64,
            }))
        };
        let written = thoughtful(self.written())?;
        let own = match self.thoughts {
            true => thoughtful(self.own(student, sequencer, sampler)?)?,
            false => None,
        };
        Ok(HeldOutFigures {
            queries: self.queries.len(),
            documents: self.documents.len(),
            direct: QueryScores::mean(&direct),
            written,
            own,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// The queries that have a written thought, with it.
    fn written(&self) -> Reasoned {
        let with = |(place, query): (usize, &Question)| Some((place, query.written.clone()?));
        let (places, sequences) = self.queries.iter().enumerate().filter_map(with).unzip();
        Reasoned { places, sequences }
    }

    /// All queries, with greedy thoughts of the student's own.
    fn own(
        &self,
        student: &Student,
        sequencer: &Sequencer,
        sampler: &mut Sampler,
    ) -> Result<Reasoned, TrainError> {
        let wanted: Vec<Wanted<'_>> =
            self.queries.iter().map(|query| Wanted { prompt: &query.prompt, seed: 0 }).collect();
        let token_budget = student.adapters.manifest.thought.token_budget;
        let decoding = Decoding { token_budget, temperature: 0.0 };
        let encoder = sampler.encoder(student, Use::Thoughts)?;
        let thoughts = sample_all(encoder, &wanted, &decoding)?;
        let think = |(query, decoded): (&Question, &Decoded)| {
            sequencer.think_decoded(&query.prompt, decoded)
        };
        let sequences = self.queries.iter().zip(&thoughts).map(think).collect();
        Ok(Reasoned { places: (0..self.queries.len()).collect(), sequences })
    }

    fn scores(
        &self,
        places: impl Iterator<Item = usize>,
        rows: &Rows,
        vectors: Vec<Vec<f32>>,
    ) -> Vec<QueryScores> {
        let score = |(place, vector): (usize, Vec<f32>)| {
            let relevance = &self.queries[place].relevance;
            QueryScores::of(&rank(&vector, rows, relevance, DEPTH).nearest, relevance)
        };
        places.zip(vectors).map(score).collect()
    }
}

/// `count` places out of `total`, evenly spread; all of them when there are not so many.
fn spread(total: usize, count: usize) -> Vec<usize> {
    let count = count.min(total);
    (0..count).map(|turn| turn * total / count).collect()
}

/// Unit vectors of sequences, in their order.
fn embed<'a>(
    student: &Student,
    sequences: impl Iterator<Item = &'a Sequence>,
    pass_tokens: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let sequences: Vec<Sequence> = sequences.cloned().collect();
    let mut all = vec![Vec::new(); sequences.len()];
    for group in student.embedding_passes(&sequences, pass_tokens) {
        let rows = group.iter().map(|&at| &sequences[at]).collect();
        let vectors = student.embed(&Batch::new(rows, student.queries())).embeddings;
        let width = vectors.dims()[1];
        let values = vectors.into_data().convert::<f32>();
        let values = values.try_to_vec::<f32>().expect("converted to f32");
        if values.iter().any(|value| !value.is_finite()) {
            let problem = "a held-out embedding is not finite".to_owned();
            return Err(TrainError::Internal { problem });
        }
        for (&at, row) in group.iter().zip(values.chunks_exact(width)) {
            row.clone_into(&mut all[at]);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_evenly_and_each_is_taken_once() {
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(0, 4), [0_usize; 0]);
        assert_eq!(spread(5, 0), [0_usize; 0]);
    }
}
