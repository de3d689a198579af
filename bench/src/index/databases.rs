//! Our server beside databases, each asked one query at a time as a service would:
//! ours by gRPC, theirs through their own Python clients in their own process.

use super::{
    contestant::{self, Answers, Contestant},
    curve::{Point, qps_at},
    peer,
    served::{Served, Server, Waiting, Way},
};
use crate::rows::{Row, Target};
use anyhow::Context;
use std::{path::Path, rc::Rc};
use twn_index::UnitVector;

/// Widths of search tried.
const WIDTHS: [usize; 9] = [10, 16, 24, 32, 40, 48, 64, 128, 256];

/// Queries that tell how many a database can be asked.
const PILOT: usize = 20;
/// A slow database is asked fewer queries, so that it takes about this many seconds…
const SECONDS: f64 = 120.0;
/// … but at least these, whose thousand hits tell recall@10.
const QUERIES_MIN: usize = 100;

/// How often each width is asked; a database that is asked every query has more rounds, since
/// those are short.
const ROUNDS: usize = 3;
const MORE_ROUNDS: usize = 9;

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
    pub(crate) threads: usize,
}

impl Databases<'_> {
    /// Measures collections of ours, which have these names, beside each database that can be
    /// started. Databases take memory and threads even at rest, so there is one at a time.
    pub(crate) fn measure(&self, ours: &[Own<'_>], truth: &Answers) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            let what = |own: &str| {
                format!("{}: {own}, round trips at recall@10 {RECALL}, vs {name}", self.set)
            };
            let target = |own: &Own<'_>| own.is_compared.then(|| Target::at_least(1.0));
            match self.beside(name, ours, truth) {
                Ok(Beside { curves, theirs, queries, rounds }) => {
                    let peer = qps_at(&theirs, RECALL);
                    for (own, curve) in ours.iter().zip(&curves) {
                        let rate = qps_at(curve, RECALL);
                        let (rate, peer) = (rate.as_slice(), peer.as_slice());
                        let row = Row::compare(what(own.name), "1/s", rate, peer, target(own));
                        let note = format!(
                            "gRPC with a supplied vector vs its Python client, by the clock, \
                             {queries} queries, median of {rounds} rounds of each width; \
                             ours {}; theirs {}",
                            points(curve),
                            points(&theirs)
                        );
                        rows.push(row.with_note(note));
                    }
                }
                Err(error) => {
                    for own in ours {
                        let row = Row::compare(what(own.name), "1/s", &[], &[], target(own));
                        rows.push(row.with_note(format!("not measured: {error:#}")));
                    }
                }
            }
        }
        Ok(rows)
    }

    fn beside(&self, name: &str, ours: &[Own<'_>], truth: &Answers) -> anyhow::Result<Beside> {
        let mut peer = peer::start(self.python, self.script, name)?;
        peer::build(&mut peer, self.base, self.threads)?;
        let mut theirs = Contestant::Peer(peer);
        let queries = self.affordable(&mut theirs)?;
        let rounds = if queries == self.queries.len() { MORE_ROUNDS } else { ROUNDS };
        theirs.take_queries(self.query_path, queries)?;
        let first = ours.first().context("there is no collection of ours")?;
        let server = Rc::new(Server::start(self.server, first.folder)?);
        let served = ours
            .iter()
            .map(|own| Served::connect(&server, own.way, own.folder, &self.queries[..queries]));
        let mut contestants = Vec::new();
        for served in served {
            contestants.push(Contestant::Served(served?));
        }
        contestants.push(theirs);
        let truth = truth[..queries].to_vec();
        let mut curves = contestant::curves(&mut contestants, &truth, &WIDTHS, rounds, false)?;
        let theirs = curves.pop().context("there is no curve")?;
        Ok(Beside { curves, theirs, queries, rounds })
    }

    /// How many queries a database is asked, by its rate at the least and the greatest width,
    /// after a round that warms it up.
    fn affordable(&self, database: &mut Contestant<'_>) -> anyhow::Result<usize> {
        let pilot = PILOT.min(self.queries.len());
        database.take_queries(self.query_path, pilot)?;
        database.round(WIDTHS[0])?;
        let ends = [WIDTHS[0], WIDTHS[WIDTHS.len() - 1]].map(|ef| database.round(ef));
        let [least, greatest] = ends;
        let seconds = (least?.seconds + greatest?.seconds) / (2 * pilot) as f64;
        // Each width has its rounds, and one more that returns what was found.
        let asked = (WIDTHS.len() * (ROUNDS + 1)) as f64;
        let most = (SECONDS / asked / seconds.max(1e-9)) as usize;
        Ok(most.max(QUERIES_MIN).min(self.queries.len()))
    }
}

/// A collection of ours.
pub(crate) struct Own<'a> {
    pub(crate) name: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) way: (Way, Waiting),
    /// It is the one that has to be faster: it keeps vectors as they are, as the databases do.
    pub(crate) is_compared: bool,
}

/// Curves of ours and of a database over the same queries.
struct Beside {
    /// One for each collection of ours.
    curves: Vec<Vec<Point>>,
    theirs: Vec<Point>,
    queries: usize,
    rounds: usize,
}

fn points(curve: &[Point]) -> String {
    let points = curve.iter().map(|point| format!("{:.4} at {:.0}", point.recall, point.qps));
    points.collect::<Vec<_>>().join(", ")
}
