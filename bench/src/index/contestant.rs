//! One index in the comparison, ours or a peer's, behind the same questions.

use super::{curve::Point, served::Served};
use crate::{peer::Peer, rows::median};
use anyhow::Context;
use serde_json::{Value, json};
use std::{collections::HashSet, path::Path, time::Instant};
use twn_index::{SearchOptions, Snapshot, UnitVector};

/// Hits asked for, everywhere.
pub(crate) const HITS: usize = 10;

/// The rows nearest to each query.
pub(crate) type Answers = Vec<Vec<u64>>;

/// An index that answers.
pub(crate) enum Contestant<'a> {
    Ours {
        snapshot: &'a Snapshot,
        queries: &'a [UnitVector],
    },
    /// Ours, by gRPC.
    Served(Served),
    Peer(Peer),
}

/// What one round of all queries took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

impl Contestant<'_> {
    /// Tells a peer which queries will be asked.
    pub(crate) fn take_queries(&mut self, path: &Path, count: usize) -> anyhow::Result<()> {
        if let Self::Peer(peer) = self {
            let request = json!({"do": "queries", "path": path, "count": count});
            peer.call::<Value>(&request)?;
        }
        Ok(())
    }

    /// Asks all queries one after the other on one thread.
    pub(crate) fn round(&mut self, ef: usize) -> anyhow::Result<Round> {
        match self {
            Self::Ours { snapshot, queries } => {
                let options = SearchOptions { ef: Some(ef), ..SearchOptions::new(HITS) };
                timed(|| {
                    for query in *queries {
                        std::hint::black_box(snapshot.rank(query, &options)?);
                    }
                    Ok(())
                })
            }
            Self::Served(served) => timed(|| served.ask(ef).map(drop)),
            Self::Peer(peer) => {
                let answer: Value =
                    peer.call(&json!({"do": "search", "ef": ef, "k": HITS, "threads": 1}))?;
                let number = |key: &str| answer[key].as_f64().context("the peer gave no time");
                Ok(Round { seconds: number("seconds")?, cpu_seconds: number("cpu_seconds")? })
            }
        }
    }

    /// Returns what it finds.
    pub(crate) fn answers(&mut self, ef: usize) -> anyhow::Result<Answers> {
        match self {
            Self::Ours { snapshot, queries } => {
                let options = SearchOptions { ef: Some(ef), ..SearchOptions::new(HITS) };
                queries.iter().map(|query| rows(snapshot, query, &options)).collect()
            }
            Self::Served(served) => {
                let number = |id: &String| anyhow::Ok(id.parse()?);
                served.ask(ef)?.iter().map(|ids| ids.iter().map(number).collect()).collect()
            }
            Self::Peer(peer) => {
                let request =
                    json!({"do": "search", "ef": ef, "k": HITS, "threads": 1, "ids": true});
                let answer: Value = peer.call(&request)?;
                Ok(serde_json::from_value(answer["ids"].clone())?)
            }
        }
    }
}

/// Searches ours, and turns ids back into the numbers of rows.
pub(crate) fn rows(
    snapshot: &Snapshot,
    query: &UnitVector,
    options: &SearchOptions,
) -> anyhow::Result<Vec<u64>> {
    let ranking = snapshot.rank(query, options)?;
    ranking.ids.iter().map(|ranked| Ok(ranked.id.parse()?)).collect()
}

/// Returns the mean share of the true answers that were given.
pub(crate) fn recall(truth: &Answers, answers: &Answers) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for (truth, answer) in truth.iter().zip(answers) {
        let answer: HashSet<&u64> = answer.iter().collect();
        found += truth.iter().filter(|row| answer.contains(row)).count();
        wanted += truth.len();
    }
    found as f64 / f64::from(u32::try_from(wanted.max(1)).unwrap_or(u32::MAX))
}

/// Walks all contestants through the widths, taking turns within each, and
/// returns the curve of each. A width's rate is that of its median round.
pub(crate) fn curves(
    contestants: &mut [Contestant<'_>],
    truth: &Answers,
    widths: &[usize],
    rounds: usize,
    by_cpu: bool,
) -> anyhow::Result<Vec<Vec<Point>>> {
    let mut curves = vec![Vec::new(); contestants.len()];
    for &ef in widths {
        let mut samples = vec![Vec::new(); contestants.len()];
        for _ in 0..rounds {
            for (contestant, samples) in contestants.iter_mut().zip(&mut samples) {
                let round = contestant.round(ef)?;
                samples.push(if by_cpu { round.cpu_seconds } else { round.seconds });
            }
        }
        let queries = truth.len() as f64;
        for ((contestant, samples), curve) in contestants.iter_mut().zip(samples).zip(&mut curves) {
            let recall = recall(truth, &contestant.answers(ef)?);
            let seconds = median(&samples).context("no round was run")?;
            curve.push(Point { ef, recall, qps: queries / seconds });
        }
    }
    Ok(curves)
}

/// Times work on this thread.
pub(crate) fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Round> {
    let (start, cpu_start) = (Instant::now(), thread_cpu_seconds());
    work()?;
    let seconds = start.elapsed().as_secs_f64();
    // Where the system does not tell, it is as if nothing else were running.
    let cpu_seconds = cpu_start.zip(thread_cpu_seconds()).map(|(start, end)| end - start);
    Ok(Round { seconds, cpu_seconds: cpu_seconds.unwrap_or(seconds) })
}

/// Returns what this thread has had of the processor, on Linux.
fn thread_cpu_seconds() -> Option<f64> {
    let text = fs_err::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_the_share_of_the_truth() {
        let truth = vec![vec![1, 2], vec![3, 4]];
        assert_eq!(recall(&truth, &vec![vec![2, 9], vec![4, 3]]), 0.75);
        assert_eq!(recall(&truth, &truth), 1.0);
    }
}
