//! `index`: our vector index beside hnswlib, faiss and usearch, and our server beside
//! LanceDB, Chroma, Qdrant Edge and milvus-lite, on the same vectors.
//!
//! Peers are set up by peers/ann_setup.sh, which makes the real vectors too. They are Python processes (peers/ann_peer.py), started where `--python` has their
//! packages. Ours and theirs take turns within each width of search; a rate at a recall is
//! read off the curve that results. Recall is against brute force.

mod contestant;
mod curve;
mod databases;
mod filters;
mod opening;
mod own;
mod peer;
mod plot;
mod served;
mod threads;
mod vectors;
mod writes;

use crate::{
    environment::Environment,
    peer::Peer,
    rows::{self, Report, Row, Target},
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use contestant::{Answers, Contestant, HITS};
use curve::{Point, ef_at, qps_at};
use fs_err as fs;
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use served::{Waiting, Way};
use std::path::{Path, PathBuf};
use twn_index::{Collection, Quantization, SearchOptions, Snapshot, UnitVector};
use vectors::DataSet;

/// Widths of search tried.
const WIDTHS: [usize; 11] = [12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400];

/// The least width of filtered searches.
const FILTERED_EF: usize = 64;

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

    /// Databases to measure our server beside, on the first set; none with an empty value.
    #[arg(long, value_delimiter = ',', default_value = "lancedb,chroma,qdrant,milvus")]
    databases: Vec<String>,

    /// Measure nothing but this.
    #[arg(long)]
    only: Option<Part>,

    /// The server's program; the one beside this program by default.
    #[arg(long)]
    twn: Option<PathBuf>,

    /// Draw the curves of each set into this folder, as index-SET.svg.
    #[arg(long)]
    plots: Option<PathBuf>,

    /// Rows of the clustered set, in place of 1,000,000 (50,000 with --quick).
    #[arg(long)]
    rows: Option<usize>,

    /// The Python that has the peers' packages.
    #[arg(long, default_value = "target/peers/ann/bin/python")]
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

/// A part of the benchmark that can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Our server beside the databases.
    Databases,
    /// Filtered search beside unfiltered.
    Filters,
}

/// Runs the benchmark and prints what it found.
pub(crate) fn main(arguments: &IndexArguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.heap_of {
        println!("{}", own::heap_of_open(folder)?);
        return Ok(());
    }
    fs::create_dir_all(&arguments.folder)?;
    let mut rows = Vec::new();
    for (number, set) in arguments.sets.iter().enumerate() {
        match data_set(arguments, set) {
            Ok(data) => rows.extend(Bench::new(arguments, set, data)?.run(number == 0)?),
            Err(error) => {
                let row = Row::state(format!("{set}: not measured"), "", &[], None);
                rows.push(row.with_note(format!("{error:#}")));
            }
        }
    }
    if arguments.only.is_none() {
        rows.push(writes::measure(&arguments.folder, if arguments.quick { 50 } else { 400 })?);
    }
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
    let most = arguments.rows.unwrap_or(if arguments.quick { 50_000 } else { 1_000_000 });
    if name == "clustered" {
        return DataSet::clustered(most, &arguments.folder);
    }
    DataSet::read(name, &arguments.data)?.cut(most, &arguments.folder)
}

/// One set under measurement.
struct Bench<'a> {
    arguments: &'a IndexArguments,
    /// What the set is called on the command line.
    key: &'a str,
    data: DataSet,
    queries: Vec<UnitVector>,
    rounds: usize,
    /// Builds, and answers that are not timed.
    pool: ThreadPool,
    threads: usize,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a IndexArguments, key: &'a str, data: DataSet) -> anyhow::Result<Self> {
        let (count, rounds) = if arguments.quick { (500, 3) } else { (2000, 5) };
        let queries = own::queries(&data, count)?;
        let threads = 2;
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { arguments, key, data, queries, rounds, pool, threads })
    }

    fn run(self, with_databases: bool) -> anyhow::Result<Vec<Row>> {
        let set = &self.data.name;
        // Where our server looks for collections in its data folder.
        let collections = self.arguments.folder.join("served/collections");
        let (folder, quantised_folder) = (collections.join("plain"), collections.join("sq8"));
        let mut rows = Vec::new();
        let (plain, own_build) = self.build(&folder, Quantization::None)?;
        if self.arguments.only == Some(Part::Filters) {
            return self.filter_rows(&plain.snapshot(), FILTERED_EF);
        }
        let (quantised, quantised_build) = self.build(&quantised_folder, Quantization::Sq8)?;
        if self.arguments.only == Some(Part::Databases) {
            let truth = self.truth(&plain.snapshot())?;
            drop((plain, quantised));
            return self.database_rows(&folder, &quantised_folder, &truth);
        }
        let peers = self.start_peers(own_build, &mut rows)?;

        let snapshot = plain.snapshot();
        let quantised_snapshot = quantised.snapshot();
        let truth = self.truth(&snapshot)?;
        let queries = &self.queries;
        let mut names = vec!["ours".to_owned(), "ours, SQ8".to_owned()];
        let mut builds = vec![own_build, quantised_build];
        let mut memory = vec![self.bytes_per_row(&folder)?, self.bytes_per_row(&quantised_folder)?];
        let mut contestants = vec![
            Contestant::Ours { snapshot: &snapshot, queries },
            Contestant::Ours { snapshot: &quantised_snapshot, queries },
        ];
        for (name, peer, built) in peers {
            names.push(name);
            builds.push(built.seconds);
            memory.push(built.bytes / self.data.base.rows() as f64);
            contestants.push(Contestant::Peer(peer));
        }
        for contestant in &mut contestants {
            contestant.take_queries(&self.data.query_path, queries.len())?;
        }
        let by_cpu = self.arguments.cpu_time;
        let curves = contestant::curves(&mut contestants, &truth, &WIDTHS, self.rounds, by_cpu)?;
        drop(contestants);

        rows.extend(self.speed_rows(&names, &curves));
        rows.extend(self.memory_rows(&names, &memory));
        self.plot(&names, &curves, &builds, &memory)?;
        let ef = ef_at(&curves[0], 0.95).unwrap_or(WIDTHS[WIDTHS.len() - 1]);
        rows.push(threads::measure(set, &snapshot, queries, ef, self.rounds, by_cpu)?);
        rows.extend(self.target_rows(&snapshot, &truth)?);
        rows.extend(self.filter_rows(&snapshot, ef.max(FILTERED_EF))?);
        rows.push(self.graph_row(&folder)?);
        drop((snapshot, quantised_snapshot, plain, quantised));
        let query = queries.first().context("no query")?;
        rows.extend(opening::measure(set, &folder, query, self.rounds)?);
        rows.push(opening::heap(set, &folder, self.data.base.rows()));
        if with_databases {
            rows.extend(self.database_rows(&folder, &quantised_folder, &truth)?);
        }
        Ok(rows)
    }

    fn filter_rows(&self, snapshot: &Snapshot, ef: usize) -> anyhow::Result<Vec<Row>> {
        let some = &self.queries[..self.queries.len().min(200)];
        filters::measure(&self.data.name, snapshot, &self.data.base, some, ef, &self.pool)
    }

    fn database_rows(
        &self,
        plain: &Path,
        quantised: &Path,
        truth: &Answers,
    ) -> anyhow::Result<Vec<Row>> {
        let server = self.arguments.twn.clone().map_or_else(served::program_beside, Ok);
        let server = match server {
            Ok(server) => server,
            Err(error) => {
                let what = format!("{}: round trips", self.data.name);
                return Ok(vec![Row::state(what, "1/s", &[], None).with_note(error.to_string())]);
            }
        };
        // Round trips are slow enough for fewer of them to tell.
        let count = self.queries.len().min(500);
        let databases = databases::Databases {
            set: &self.data.name,
            names: &self.arguments.databases,
            python: &self.arguments.python,
            script: &self.arguments.peer_script,
            server: &server,
            base: &self.data.base_path,
            query_path: &self.data.query_path,
            queries: &self.queries[..count],
            threads: self.threads,
        };
        // What is compared keeps vectors as databases do, is asked within the machine, as they
        // are, and by a thread that does not sleep until the answer is there, as theirs.
        let own = |name, folder, way, waiting, is_compared| {
            let way = (way, waiting);
            databases::Own { name, folder, way, is_compared }
        };
        let ours = [
            own("f32 by socket, awake", plain, Way::Socket, Waiting::Awake, true),
            own("f32 by socket, asleep", plain, Way::Socket, Waiting::Asleep, false),
            own("f32 by TCP, awake", plain, Way::Port, Waiting::Awake, false),
            own("f32 by TCP, asleep", plain, Way::Port, Waiting::Asleep, false),
            own("SQ8 by socket, awake", quantised, Way::Socket, Waiting::Awake, false),
        ];
        databases.measure(&ours, &truth[..count].to_vec())
    }

    /// Files that a search reads of one of ours, by row: vectors, codes, graph, partitions.
    fn bytes_per_row(&self, folder: &Path) -> anyhow::Result<f64> {
        let names = ["vectors.arrow", "sq8.arrow", "graph.bin", "partitions.bin"];
        let bytes = names.into_iter().map(|name| own::file_bytes(folder, name));
        let bytes = bytes.sum::<anyhow::Result<u64>>()?;
        Ok(bytes as f64 / self.data.base.rows() as f64)
    }

    fn memory_rows(&self, names: &[String], bytes: &[f64]) -> Vec<Row> {
        let ours = &bytes[..1];
        let row = |(name, bytes): (&String, &f64)| {
            let what = format!("{}: vectors and index, vs {name}", self.data.name);
            let row = Row::compare(what, "bytes/row", ours, &[*bytes], None);
            row.with_note("ours as files in the page cache, theirs as memory of the process")
        };
        names.iter().zip(bytes).skip(2).map(row).collect()
    }

    fn plot(
        &self,
        names: &[String],
        curves: &[Vec<Point>],
        builds: &[f64],
        memory: &[f64],
    ) -> anyhow::Result<()> {
        let Some(folder) = &self.arguments.plots else { return Ok(()) };
        let lines = names.iter().zip(curves).zip(builds.iter().zip(memory));
        let lines: Vec<plot::Line> = lines
            .map(|((name, points), (&build, &bytes))| plot::Line {
                name: name.clone(),
                points: points.clone(),
                build_seconds: Some(build),
                bytes_per_row: Some(bytes),
            })
            .collect();
        let (rows, columns) = (self.data.base.rows(), self.data.base.dimension);
        let title = format!("{}: {rows} rows of {columns}, M = {}", self.key, own::M);
        let path = folder.join(format!("index-{}.svg", self.key));
        Ok(fs::write(path, plot::draw(&title, &lines))?)
    }

    fn build(&self, folder: &Path, kind: Quantization) -> anyhow::Result<(Collection, f64)> {
        own::build(folder, &self.data.base, kind, &self.pool)
    }

    /// Starts the peers that can be, and compares their builds with ours.
    fn start_peers(
        &self,
        own_build: f64,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<Vec<(String, Peer, peer::Built)>> {
        let mut peers = Vec::new();
        for name in self.arguments.peers.iter().filter(|name| !name.is_empty()) {
            let what = format!("{}: build, {} threads, vs {name}", self.data.name, self.threads);
            let target = (name == "hnswlib").then(|| Target::at_most(1.3));
            let built = peer::start(&self.arguments.python, &self.arguments.peer_script, name)
                .and_then(|mut peer| {
                    let built = peer::build(&mut peer, &self.data.base_path, self.threads)?;
                    Ok((peer, built))
                });
            match built {
                Ok((peer, built)) => {
                    let row = Row::compare(what, "s", &[own_build], &[built.seconds], target);
                    rows.push(row.with_note("ours with all files written, synced and tried"));
                    peers.push((name.clone(), peer, built));
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
}
