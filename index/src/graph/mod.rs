//! The proximity graph of a segment.
//!
//! `hnsw_rs` builds it, over row numbers and the mapped vectors; it is then
//! exported to flat arrays, mended where rows cannot be reached, tried on a
//! sample, written, and from then on walked by our own search:
//!
//! ```text
//! build -> export -> repair -> file -> (map) -> walk
//! ```
//! The builder's graph is gone once the file is written. Walking the arrays
//! takes a twentieth of its memory and a fraction of its time.

mod build;
mod export;
mod file;
mod repair;
mod scratch;
mod trial;
mod walk;

pub(crate) use build::Stop;
pub(crate) use file::Graph;
pub(crate) use scratch::{Key, key, row_of, with_scratch};
pub(crate) use walk::Walk;

use crate::{config::HnswConfig, error::IndexError, manifest::FileEntry, segment::Vectors};
use std::{path::Path, sync::Arc};

/// Segments with fewer rows are scanned: a scan of them is as fast as a walk,
/// and exact.
pub(crate) const MIN_GRAPH_ROWS: u32 = 1000;

/// Builds and writes the graph over `vectors`, if one is of use.
///
/// Returns `None` where the segment is too small, or where the graph turned out
/// to find too little of what a scan finds; such a segment is scanned.
pub(crate) fn build(
    path: &Path,
    vectors: &Arc<Vectors>,
    config: &HnswConfig,
    stop: &Stop,
) -> Result<Option<FileEntry>, IndexError> {
    if vectors.rows() < MIN_GRAPH_ROWS {
        return Ok(None);
    }
    let Some(mut layers) = build::layers(vectors, config, stop)? else { return Ok(None) };
    let repaired_rows = repair::connect(&mut layers.level0, layers.entry, vectors);
    let entry = file::write(path, &layers)?;
    drop(layers);
    let graph = Graph::open(path, &entry, vectors.rows())?;
    let recall = trial::recall(&graph, vectors, config.ef_search);
    tracing::debug!(rows = vectors.rows(), repaired_rows, recall, "built a graph");
    if recall < trial::LEAST_RECALL {
        tracing::warn!(rows = vectors.rows(), recall, "graph finds too little, scanning instead");
        crate::durable::remove_file(path)?;
        return Ok(None);
    }
    Ok(Some(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Document, tail::TailRow, vector::UnitVector};
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use std::collections::HashSet;

    const DIMENSION: usize = 8;

    fn vectors(folder: &Path, values: Vec<Vec<f32>>) -> Arc<Vectors> {
        let rows: Vec<Arc<TailRow>> = values
            .into_iter()
            .enumerate()
            .map(|(number, values)| {
                let document = Document {
                    id: format!("{number:06}"),
                    vector: UnitVector::new(values).unwrap(),
                    text: String::new(),
                    payload: serde_json::Map::new(),
                    provenance: String::new(),
                    thought: None,
                    content_hash: [0; 32],
                };
                Arc::new(TailRow { document, sequence: number as u64 + 1 })
            })
            .collect();
        let path = folder.join("vectors.arrow");
        let entry = Vectors::write(&path, DIMENSION, &rows).unwrap();
        Arc::new(Vectors::open(&path, &entry, DIMENSION, rows.len() as u32).unwrap())
    }

    fn random_values(count: usize) -> Vec<Vec<f32>> {
        let mut random = StdRng::seed_from_u64(4);
        let mut row = || (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
        (0..count).map(|_| row()).collect()
    }

    fn reachable(level0: &[Vec<u32>], entry: u32) -> usize {
        let (mut seen, mut queue) = (HashSet::from([entry]), vec![entry]);
        while let Some(row) = queue.pop() {
            queue.extend(level0[row as usize].iter().filter(|&&row| seen.insert(row)));
        }
        seen.len()
    }

    #[test]
    fn rows_without_a_way_in_get_one_from_near_by() {
        let folder = tempfile::tempdir().unwrap();
        let mut values = random_values(60);
        let twin = values[7].clone();
        values.push(twin);
        let vectors = vectors(folder.path(), values);
        // A ring of the first ten; the others lead to nowhere or each other.
        let mut level0: Vec<Vec<u32>> = (0..61).map(|row| vec![(row + 1) % 61]).collect();
        level0[9] = vec![0];
        level0[60] = vec![];
        assert_eq!(reachable(&level0, 3), 10);
        let added = repair::connect(&mut level0, 3, &vectors);
        assert_eq!(reachable(&level0, 3), 61);
        assert!(added >= 1);
        let parents: Vec<usize> = (0..61).filter(|&row| level0[row].contains(&10)).collect();
        assert_eq!(parents.len(), 1, "row 10 got its way in and no more");

        let mut alone: Vec<Vec<u32>> = (0..61).map(|row| vec![(row + 1) % 60]).collect();
        alone[60] = vec![];
        assert_eq!(repair::connect(&mut alone, 0, &vectors), 1);
        assert_eq!(alone[7], [8, 60], "the nearest row is the twin");
    }

    #[test]
    fn a_built_graph_reaches_every_row_and_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.bin");
        let mut values = random_values(1200);
        values.extend(vec![vec![1.0; DIMENSION]; 300]);
        let vectors = vectors(folder.path(), values);
        let config = HnswConfig { m: 8, ef_construction: 40, ef_search: 32 };
        let entry = build(&path, &vectors, &config, &Stop::default()).unwrap().unwrap();
        let graph = Graph::open(&path, &entry, vectors.rows()).unwrap();
        assert!(!graph.upper.is_empty());
        let level0: Vec<Vec<u32>> =
            (0..vectors.rows()).map(|row| graph.level0.of(row).to_vec()).collect();
        let top = graph.upper.last().unwrap();
        assert_eq!(reachable(&level0, top.rows[graph.entry as usize]), 1500);
        assert!(level0.iter().all(|neighbours| !neighbours.is_empty()));
        assert!(Graph::open(&path, &entry, vectors.rows() + 1).is_err());
        assert!(trial::recall(&graph, &vectors, 64) >= trial::LEAST_RECALL);
    }

    #[test]
    fn small_segments_and_stopped_builds_get_no_graph() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.bin");
        let small = vectors(folder.path(), random_values(999));
        let config = HnswConfig::default();
        assert_eq!(build(&path, &small, &config, &Stop::default()).unwrap(), None);
        let stop = Stop::default();
        stop.request();
        let large = vectors(folder.path(), random_values(1000));
        assert!(matches!(build(&path, &large, &config, &stop), Err(IndexError::Closed)));
        assert!(!path.exists());
    }

    #[test]
    fn a_walk_over_budget_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.bin");
        let vectors = vectors(folder.path(), random_values(2000));
        let config = HnswConfig { m: 8, ef_construction: 40, ef_search: 32 };
        let entry = build(&path, &vectors, &config, &Stop::default()).unwrap().unwrap();
        let graph = Graph::open(&path, &entry, vectors.rows()).unwrap();
        let query = vectors.row(5);
        let mut found = Vec::new();
        let mut run = |budget: u64| {
            let walk = Walk { graph: &graph, vectors: &vectors, query, ef: 32, budget };
            let walked = with_scratch(|scratch| walk.run(scratch, |row| row % 97 == 5, &mut found));
            (walked.is_complete, walked.distance_computations, found.clone())
        };
        let (is_complete, computed, found) = run(u64::MAX);
        assert!(is_complete && computed > 500);
        assert_eq!(row_of(found[0]), 5);
        assert!(found.iter().all(|&key| row_of(key) % 97 == 5));
        let (is_complete, computed, _) = run(100);
        assert!(!is_complete && computed < 200);
    }
}
