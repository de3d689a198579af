//! `index`: our vector index beside hnswlib, faiss and usearch, on the same vectors.
//!
//! Peers are Python processes (peers/ann_peer.py), started where `--python` has their
//! packages. Ours and theirs take turns within each width of search; a rate at a recall is
//! read off the curve that results. Recall is against brute force.

mod contestant;
mod curve;
mod filters;
mod own;
mod peer;
mod vectors;
mod writes;

use crate::{
    environment::Environment,
    peer::Peer,
    rows::{self, Report, Row, Target},
};
use anyhow::Context;
use clap::Args;
use contestant::{Answers, Contestant, HITS};
use curve::{Point, ef_at, qps_at};
use fs_err as fs;
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use twn_index::{Collection, Quantization, SearchOptions, Snapshot, UnitVector};
use vectors::DataSet;

/// Widths of search tried.
const WIDTHS: [usize; 11] = [12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400];

/// Measures the vector index, beside hnswlib, faiss and usearch.
#[derive(Debug, Args)]
pub(crate) struct IndexArguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,

    /// Take 50,000 rows of each set, fewer queries and fewer rounds.
    #[arg(long)]
    quick: bool,

    /// Where indexes and made vectors are kept while it runs.
    #[arg(long, default_value = "target/bench-index")]
    folder: PathBuf,

    /// Where NAME.base.fbin and NAME.query.fbin of the real sets are
    /// (see bench/peers/ann_vectors.py).
    #[arg(long, default_value = "target/bench-index/data")]
    data: PathBuf,

    /// Sets to measure.
    #[arg(long, value_delimiter = ',', default_value = "wordllama,clustered,minilm")]
    sets: Vec<String>,

    /// Peers to measure; none with an empty value.
    #[arg(long, value_delimiter = ',', default_value = "hnswlib,faiss,usearch")]
    peers: Vec<String>,

    /// The Python that has the peers' packages.
    #[arg(long, default_value = "python3")]
    python: PathBuf,

    /// The script that runs a peer.
    #[arg(long, default_value = "bench/peers/ann_peer.py")]
    peer_script: PathBuf,

    /// Rate single threads by the processor time they took, not by the clock: for
    /// machines where something else runs too.
    #[arg(long)]
    cpu_time: bool,

    /// Print the heap of one open collection and do nothing else: a process that has
    /// built something has memory of it left.
    #[arg(long, hide = true)]
    heap_of: Option<PathBuf>,
}

/// Runs the benchmark and prints what it found.
pub(crate) fn main(arguments: &IndexArguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.heap_of {
        println!("{}", own::heap_of_open(folder)?);
        return Ok(());
    }
    fs::create_dir_all(&arguments.folder)?;
    let mut rows = Vec::new();
    for set in &arguments.sets {
        match data_set(arguments, set) {
            Ok(data) => rows.extend(Bench::new(arguments, data)?.run()?),
            Err(error) => {
                let row = Row::state(format!("{set}: not measured"), "", &[], None);
                rows.push(row.with_note(format!("{error:#}")));
            }
        }
    }
    rows.push(writes::measure(&arguments.folder, if arguments.quick { 50 } else { 400 })?);
    let report = Report { rows, environment: Environment::capture(None) };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", rows::table(&report.rows));
        for row in &report.rows {
            if let Some(note) = &row.note {
                println!("{}: {note}", row.what);
            }
        }
    }
    Ok(())
}

fn data_set(arguments: &IndexArguments, name: &str) -> anyhow::Result<DataSet> {
    let most = if arguments.quick { 50_000 } else { 1_000_000 };
    if name == "clustered" {
        return DataSet::clustered(most, &arguments.folder);
    }
    DataSet::read(name, &arguments.data)?.cut(most, &arguments.folder)
}

/// One set under measurement.
struct Bench<'a> {
    arguments: &'a IndexArguments,
    data: DataSet,
    queries: Vec<UnitVector>,
    rounds: usize,
    /// Builds, and answers that are not timed.
    pool: ThreadPool,
    threads: usize,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a IndexArguments, data: DataSet) -> anyhow::Result<Self> {
        let (count, rounds) = if arguments.quick { (500, 3) } else { (2000, 5) };
        let queries = own::queries(&data, count)?;
        let threads = 2;
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { arguments, data, queries, rounds, pool, threads })
    }

    fn run(self) -> anyhow::Result<Vec<Row>> {
        let set = &self.data.name;
        let folder = self.arguments.folder.join("plain");
        let quantised_folder = self.arguments.folder.join("sq8");
        let mut rows = Vec::new();
        let (plain, own_build) = self.build(&folder, Quantization::None)?;
        let (quantised, _) = self.build(&quantised_folder, Quantization::Sq8)?;
        let peers = self.start_peers(own_build, &mut rows)?;

        let snapshot = plain.snapshot();
        let quantised_snapshot = quantised.snapshot();
        let truth = self.truth(&snapshot)?;
        let queries = &self.queries;
        let mut names = vec!["ours".to_owned(), "ours, SQ8".to_owned()];
        let mut contestants = vec![
            Contestant::Ours { snapshot: &snapshot, queries },
            Contestant::Ours { snapshot: &quantised_snapshot, queries },
        ];
        for (name, peer) in peers {
            names.push(name);
            contestants.push(Contestant::Peer(peer));
        }
        for contestant in &mut contestants {
            contestant.take_queries(&self.data.query_path, queries.len())?;
        }
        let by_cpu = self.arguments.cpu_time;
        let curves = contestant::curves(&mut contestants, &truth, &WIDTHS, self.rounds, by_cpu)?;
        drop(contestants);

        rows.extend(self.speed_rows(&names, &curves));
        let ef = ef_at(&curves[0], 0.95).unwrap_or(WIDTHS[WIDTHS.len() - 1]);
        rows.push(self.thread_row(&snapshot, ef)?);
        rows.extend(self.target_rows(&snapshot, &truth)?);
        let base = &self.data.base;
        rows.extend(filters::measure(
            set,
            &snapshot,
            base,
            &queries[..200],
            ef.max(64),
            &self.pool,
        )?);
        rows.push(self.graph_row(&folder)?);
        drop((snapshot, quantised_snapshot, plain, quantised));
        rows.extend(self.open_rows(&folder)?);
        Ok(rows)
    }

    fn build(&self, folder: &Path, kind: Quantization) -> anyhow::Result<(Collection, f64)> {
        own::build(folder, &self.data.base, kind, &self.pool)
    }

    /// Starts the peers that can be, and compares their builds with ours.
    fn start_peers(
        &self,
        own_build: f64,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<Vec<(String, Peer)>> {
        let mut peers = Vec::new();
        for name in self.arguments.peers.iter().filter(|name| !name.is_empty()) {
            let what = format!("{}: build, {} threads, vs {name}", self.data.name, self.threads);
            let target = (name == "hnswlib").then(|| Target::at_most(1.3));
            let built = peer::start(&self.arguments.python, &self.arguments.peer_script, name)
                .and_then(|mut peer| {
                    let seconds = peer::build(&mut peer, &self.data.base_path, self.threads)?;
                    Ok((peer, seconds))
                });
            match built {
                Ok((peer, seconds)) => {
                    let row = Row::compare(what, "s", &[own_build], &[seconds], target);
                    rows.push(row.with_note("ours with all files written, synced and tried"));
                    peers.push((name.clone(), peer));
                }
                Err(error) => {
                    let row = Row::compare(what, "s", &[own_build], &[], target);
                    rows.push(row.with_note(error.to_string()));
                }
            }
        }
        Ok(peers)
    }

    fn truth(&self, snapshot: &Snapshot) -> anyhow::Result<Answers> {
        let exact = SearchOptions { exact: true, ..SearchOptions::new(HITS) };
        let queries = &self.queries;
        self.pool.install(|| {
            queries.par_iter().map(|query| contestant::rows(snapshot, query, &exact)).collect()
        })
    }

    fn speed_rows(&self, names: &[String], curves: &[Vec<Point>]) -> Vec<Row> {
        let set = &self.data.name;
        let mut rows = Vec::new();
        for recall in [0.95, 0.99] {
            let ours = qps_at(&curves[0], recall);
            let quantised = qps_at(&curves[1], recall);
            let mut best: Option<(f64, &str)> = None;
            for (name, curve) in names.iter().zip(curves).skip(2) {
                let peer = qps_at(curve, recall);
                let what = format!("{set}: one thread at recall@10 {recall}, vs {name}");
                rows.push(Row::compare(what, "QPS", ours.as_slice(), peer.as_slice(), None));
                if let Some(peer) = peer
                    && best.is_none_or(|(rate, _)| peer > rate)
                {
                    best = Some((peer, name));
                }
            }
            let peer = best.map(|(rate, _)| rate);
            let what = format!("{set}: one thread at recall@10 {recall}, vs the best peer");
            let target = Some(Target::at_least(1.0));
            let row = Row::compare(what, "QPS", ours.as_slice(), peer.as_slice(), target);
            rows.push(row.with_note(best.map_or("no peer got there", |(_, name)| name)));
            let what = format!("{set}: SQ8 at recall@10 {recall}, vs our f32");
            let target = Some(Target::at_least(1.3));
            let (quantised, ours) = (quantised.as_slice(), ours.as_slice());
            rows.push(Row::compare(what, "QPS", quantised, ours, target));
        }
        let note = |curve: &[Point]| {
            let points = curve
                .iter()
                .map(|point| format!("ef {}: {:.4} at {:.0}", point.ef, point.recall, point.qps));
            points.collect::<Vec<_>>().join("; ")
        };
        rows.extend(names.iter().zip(curves).map(|(name, curve)| {
            let best = curve.iter().map(|point| point.recall).fold(0.0, f64::max);
            let row = Row::state(format!("{set}: curve of {name}"), "recall", &[best], None);
            row.with_note(note(curve))
        }));
        rows
    }

    /// Two threads beside one, in one snapshot.
    fn thread_row(&self, snapshot: &Snapshot, ef: usize) -> anyhow::Result<Row> {
        let options = SearchOptions { ef: Some(ef), ..SearchOptions::new(HITS) };
        let single = ThreadPoolBuilder::new().num_threads(1).build()?;
        let rate = |pool: &ThreadPool| -> anyhow::Result<f64> {
            let start = std::time::Instant::now();
            snapshot.rank_many(pool, &self.queries, &options)?;
            Ok(self.queries.len() as f64 / start.elapsed().as_secs_f64())
        };
        let (mut two, mut one) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            one.push(rate(&single)?);
            two.push(rate(&self.pool)?);
        }
        let what = format!("{}: two threads vs one, ef {ef}", self.data.name);
        Ok(Row::compare(what, "QPS", &two, &one, Some(Target::at_least(1.8))))
    }

    /// What the recall target mode really finds, for queries it has not seen.
    fn target_rows(&self, snapshot: &Snapshot, truth: &Answers) -> anyhow::Result<Vec<Row>> {
        let measure = |target: f32| -> anyhow::Result<Row> {
            let options = SearchOptions { recall_target: Some(target), ..SearchOptions::new(HITS) };
            let answers =
                self.queries.iter().map(|query| contestant::rows(snapshot, query, &options));
            let answers = answers.collect::<anyhow::Result<Answers>>()?;
            let found = contestant::recall(truth, &answers);
            let what = format!("{}: recall@10 found at recall_target {target}", self.data.name);
            Ok(Row::state(what, "share", &[found], Some(Target::at_least(f64::from(target)))))
        };
        [0.9, 0.95, 0.99].into_iter().map(measure).collect()
    }

    fn graph_row(&self, folder: &Path) -> anyhow::Result<Row> {
        let bytes = own::file_bytes(folder, "graph.bin")? as f64 / self.data.base.rows() as f64;
        let what = format!("{}: graph, M = {}", self.data.name, own::M);
        Ok(Row::state(what, "bytes/row", &[bytes], Some(Target::at_most(160.0))))
    }

    /// Opening with warm pages, and the heap that an open collection takes.
    fn open_rows(&self, folder: &Path) -> anyhow::Result<Vec<Row>> {
        let query = self.queries.first().context("no query")?;
        let set = &self.data.name;
        let times: anyhow::Result<Vec<f64>> =
            (0..self.rounds).map(|_| own::open_and_ask(folder, query)).collect();
        let what = format!("{set}: open and answer one query, warm pages");
        let open = Row::state(what, "ms", &times?, Some(Target::at_most(100.0)));

        let heap = heap_in_a_new_process(folder);
        let note = heap.as_ref().err().map(|error| format!("{error:#}"));
        let heap = heap.ok().map(|bytes| bytes / self.data.base.rows() as f64);
        let what = format!("{set}: heap beside the page cache, open and searched");
        let mut heap = Row::state(what, "bytes/row", heap.as_slice(), Some(Target::at_most(16.0)));
        heap.note = note;
        Ok(vec![open, heap])
    }
}

fn heap_in_a_new_process(folder: &Path) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["index", "--heap-of"]).arg(folder).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
