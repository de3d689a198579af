//! The proximity graph of a segment.
//!
//! `hnsw_rs` builds its skeleton, the layers above the bottom, over row numbers
//! and the mapped vectors; the rest of the rows are inserted below. Rows that
//! cannot be reached are mended, the graph is tried on a sample and written, and
//! from then on walked where it lies in the map:
//!
//! ```text
//! skeleton -> level0 -> repair -> file -> (map) -> walk
//! ```

mod build;
mod file;
mod gated;
mod level0;
mod lists;
mod pool;
mod repair;
mod scratch;
mod skeleton;
mod trial;
mod walk;

pub(crate) use build::on_threads;
pub(crate) use file::Graph;
pub(crate) use level0::Stop;
pub(crate) use scratch::{Key, MAX_ROWS, closeness_of, key, row_of, with_scratch};
pub(crate) use skeleton::in_random_order;
pub(crate) use trial::{Recall, width_for};
pub(crate) use walk::{Exact, Space, Walk, Walked};

use crate::{
    config::HnswConfig,
    error::IndexError,
    manifest::FileEntry,
    segment::{Codes, Vectors},
};
use std::{path::Path, sync::Arc};

/// Segments with fewer rows are scanned: a scan of them is as fast as a walk,
/// and exact.
pub(crate) const MIN_GRAPH_ROWS: u32 = 1000;

/// A graph that was written.
pub(crate) struct Built {
    pub(crate) file: FileEntry,
    pub(crate) recall_curve: Vec<Recall>,
    /// Whether the curve is that of walks over codes: those to keep.
    pub(crate) is_for_codes: bool,
}

/// Builds and writes the graph over `vectors`, if one is of use.
///
/// Returns `None` where the segment is too small, or where the graph turned out
/// to find too little of what a scan finds; such a segment is scanned. Where it
/// finds too little over codes alone, walks are to compare the vectors.
pub(crate) fn build(
    path: &Path,
    vectors: &Arc<Vectors>,
    codes: Option<&Codes>,
    config: &HnswConfig,
    stop: &Stop,
) -> Result<Option<Built>, IndexError> {
    if vectors.rows() < MIN_GRAPH_ROWS {
        return Ok(None);
    }
    let tried = on_threads(|| {
        let Some(graph) = build::graph(vectors, config, stop)? else { return Ok(None) };
        let tried = |codes: Option<&Codes>| {
            let curve = trial::curve(&graph, vectors, codes);
            tracing::debug!(
                rows = vectors.rows(),
                codes = codes.is_some(),
                ?curve,
                "tried a graph"
            );
            Some(curve).filter(|curve| trial::is_of_use(curve, config.ef_search))
        };
        let over_codes = codes.and_then(|codes| tried(Some(codes)));
        let is_for_codes = over_codes.is_some();
        // Rows may be so alike that codes cannot tell them apart.
        let curve = over_codes.or_else(|| tried(None));
        Ok(curve.map(|curve| (graph, curve, is_for_codes)))
    })?;
    let Some((graph, recall_curve, is_for_codes)) = tried else {
        tracing::warn!(rows = vectors.rows(), "no graph finds enough, scanning instead");
        return Ok(None);
    };
    Ok(Some(Built { file: file::write(path, &graph)?, recall_curve, is_for_codes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checked::CheckedFile, document::Document, tail::TailRow, vector::UnitVector};
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
        let file = CheckedFile::just_written(&path, &entry).unwrap();
        Arc::new(Vectors::open(&file, DIMENSION, rows.len() as u32).unwrap())
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
        let added = repair::connect(&mut level0, 8, 3, &vectors);
        assert_eq!(reachable(&level0, 3), 61);
        assert!(added >= 1);
        let parents: Vec<usize> = (0..61).filter(|&row| level0[row].contains(&10)).collect();
        assert_eq!(parents.len(), 1, "row 10 got its way in and no more");

        let mut alone: Vec<Vec<u32>> = (0..61).map(|row| vec![(row + 1) % 60]).collect();
        alone[60] = vec![];
        assert_eq!(repair::connect(&mut alone, 8, 0, &vectors), 1);
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
        let entry = build(&path, &vectors, None, &config, &Stop::default()).unwrap().unwrap().file;
        let file = CheckedFile::alone(&path, &entry).unwrap();
        let graph = Graph::open(&file, vectors.rows()).unwrap();
        assert!(!graph.upper.layers.is_empty());
        let level0: Vec<Vec<u32>> =
            (0..vectors.rows()).map(|row| graph.level0.of(row).to_vec()).collect();
        assert_eq!(reachable(&level0, graph.upper.lands_on()), 1500);
        let edges: usize = level0.iter().map(Vec::len).sum();
        assert!(edges <= 16 * level0.len(), "{edges} edges");
        assert!(level0.iter().all(|neighbours| !neighbours.is_empty()));
        assert!(Graph::open(&file, vectors.rows() + 1).is_err());
        let curve = trial::curve(&graph, &vectors, None);
        assert!(trial::is_of_use(&curve, 64));
        assert!(curve.last().unwrap().recall > 0.98, "{curve:?}");
    }

    #[test]
    fn small_segments_and_stopped_builds_get_no_graph() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.bin");
        let small = vectors(folder.path(), random_values(999));
        let config = HnswConfig::default();
        assert!(build(&path, &small, None, &config, &Stop::default()).unwrap().is_none());
        let stop = Stop::default();
        stop.request();
        let large = vectors(folder.path(), random_values(1000));
        assert!(matches!(build(&path, &large, None, &config, &stop), Err(IndexError::Closed)));
        assert!(!path.exists());
    }

    #[test]
    fn a_walk_over_budget_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.bin");
        let vectors = vectors(folder.path(), random_values(2000));
        let config = HnswConfig { m: 8, ef_construction: 40, ef_search: 32 };
        let entry = build(&path, &vectors, None, &config, &Stop::default()).unwrap().unwrap().file;
        let graph =
            Graph::open(&CheckedFile::alone(&path, &entry).unwrap(), vectors.rows()).unwrap();
        let query = vectors.row(5);
        let mut found = Vec::new();
        let mut run = |budget: u64| {
            let space = &Exact { vectors: &vectors, query };
            let walk = Walk { graph: &graph, space, ef: 32, budget };
            let walked =
                with_scratch(|scratch| walk.run_gated(|row| row % 97 == 5, scratch, &mut found));
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
