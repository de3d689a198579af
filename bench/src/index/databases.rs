//! Our server beside databases, each asked one query at a time as a service would:
//! ours by gRPC, theirs through their own Python clients in their own process.

use super::{
    contestant::{self, Answers, Contestant},
    curve::{Point, qps_at},
    peer,
    served::Served,
};
use crate::rows::{Row, Target};
use std::path::Path;
use twn_index::UnitVector;

/// Widths of search tried.
const WIDTHS: [usize; 7] = [10, 16, 32, 64, 128, 256, 400];

/// The recall at which they are compared.
const RECALL: f64 = 0.95;

/// What is compared, and how.
pub(crate) struct Databases<'a> {
    pub(crate) set: &'a str,
    pub(crate) names: &'a [String],
    pub(crate) python: &'a Path,
    pub(crate) script: &'a Path,
    pub(crate) server: &'a Path,
    pub(crate) base: &'a Path,
    pub(crate) query_path: &'a Path,
    pub(crate) queries: &'a [UnitVector],
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
}

impl Databases<'_> {
    /// Measures ours, in `collection`, beside each database that can be started.
    /// Databases take memory and threads even at rest, so there is one at a time.
    pub(crate) fn measure(&self, collection: &Path, truth: &Answers) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            let what = format!("{}: round trips at recall@10 {RECALL}, vs {name}", self.set);
            let target = Some(Target::at_least(1.0));
            match self.beside(name, collection, truth) {
                Ok([ours, theirs]) => {
                    let (rate, peer) = (qps_at(&ours, RECALL), qps_at(&theirs, RECALL));
                    let row = Row::compare(what, "1/s", rate.as_slice(), peer.as_slice(), target);
                    let note = format!(
                        "gRPC with a supplied vector vs its Python client, by the clock; ours {}; \
                         theirs {}",
                        points(&ours),
                        points(&theirs)
                    );
                    rows.push(row.with_note(note));
                }
                Err(error) => {
                    let row = Row::compare(what, "1/s", &[], &[], target);
                    rows.push(row.with_note(format!("not measured: {error:#}")));
                }
            }
        }
        Ok(rows)
    }

    fn beside(
        &self,
        name: &str,
        collection: &Path,
        truth: &Answers,
    ) -> anyhow::Result<[Vec<Point>; 2]> {
        let mut peer = peer::start(self.python, self.script, name)?;
        peer::build(&mut peer, self.base, self.threads)?;
        let mut contestants = [
            Contestant::Served(Served::start(self.server, collection, self.queries)?),
            Contestant::Peer(peer),
        ];
        for contestant in &mut contestants {
            contestant.take_queries(self.query_path, self.queries.len())?;
        }
        let curves = contestant::curves(&mut contestants, truth, &WIDTHS, self.rounds, false)?;
        let [ours, theirs] = <[Vec<Point>; 2]>::try_from(curves)
            .map_err(|curves| anyhow::anyhow!("{} curves instead of two", curves.len()))?;
        Ok([ours, theirs])
    }
}

fn points(curve: &[Point]) -> String {
    let points = curve.iter().map(|point| format!("{:.4} at {:.0}", point.recall, point.qps));
    points.collect::<Vec<_>>().join(", ")
}
