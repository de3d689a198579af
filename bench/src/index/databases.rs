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

/// Queries that tell how many a database can be asked.
const PILOT: usize = 20;
/// A slow database is asked fewer queries, so that it takes about this many seconds…
const SECONDS: f64 = 120.0;
/// … but at least these, whose thousand hits tell recall@10.
const QUERIES_MIN: usize = 100;

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
                Ok(Beside { ours, theirs, queries }) => {
                    let (rate, peer) = (qps_at(&ours, RECALL), qps_at(&theirs, RECALL));
                    let row = Row::compare(what, "1/s", rate.as_slice(), peer.as_slice(), target);
                    let note = format!(
                        "gRPC with a supplied vector vs its Python client, by the clock, \
                         {queries} queries; ours {}; theirs {}",
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

    fn beside(&self, name: &str, collection: &Path, truth: &Answers) -> anyhow::Result<Beside> {
        let mut peer = peer::start(self.python, self.script, name)?;
        peer::build(&mut peer, self.base, self.threads)?;
        let mut theirs = Contestant::Peer(peer);
        let queries = self.affordable(&mut theirs)?;
        theirs.take_queries(self.query_path, queries)?;
        let ours = Served::start(self.server, collection, &self.queries[..queries])?;
        let mut contestants = [Contestant::Served(ours), theirs];
        let truth = truth[..queries].to_vec();
        let curves = contestant::curves(&mut contestants, &truth, &WIDTHS, self.rounds, false)?;
        let [ours, theirs] = <[Vec<Point>; 2]>::try_from(curves)
            .map_err(|curves| anyhow::anyhow!("{} curves instead of two", curves.len()))?;
        Ok(Beside { ours, theirs, queries })
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
        let asked = (WIDTHS.len() * (self.rounds + 1)) as f64;
        let most = (SECONDS / asked / seconds.max(1e-9)) as usize;
        Ok(most.max(QUERIES_MIN).min(self.queries.len()))
    }
}

/// Curves of ours and of a database over the same queries.
struct Beside {
    ours: Vec<Point>,
    theirs: Vec<Point>,
    queries: usize,
}

fn points(curve: &[Point]) -> String {
    let points = curve.iter().map(|point| format!("{:.4} at {:.0}", point.recall, point.qps));
    points.collect::<Vec<_>>().join(", ")
}
