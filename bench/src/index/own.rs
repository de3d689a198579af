//! Our own index in the comparison: building, opening, memory, disk.

use super::vectors::{DataSet, Vectors};
use anyhow::Context;
use fs_err as fs;
use rayon::ThreadPool;
use serde_json::json;
use std::{path::Path, time::Instant};
use twn_index::{
    Collection, CollectionConfig, Document, Durability, HnswConfig, Operation, Quantization,
    SearchOptions, UnitVector,
};

pub(crate) const M: usize = 16;
pub(crate) const EF_CONSTRUCTION: usize = 200;

/// Rows written in one call.
const BATCH: usize = 1000;

/// Writes a set into a new collection and seals it on `pool`; returns the
/// collection and the seconds that sealing took: writing all files, building
/// the graph and trying it.
pub(crate) fn build(
    folder: &Path,
    data: &Vectors,
    quantization: Quantization,
    pool: &ThreadPool,
) -> anyhow::Result<(Collection, f64)> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let config = CollectionConfig {
        hnsw: HnswConfig { m: M, ef_construction: EF_CONSTRUCTION, ef_search: 64 },
        quantization,
        seal_rows: data.rows() + 1,
        ..CollectionConfig::new(data.dimension)
    };
    let collection = Collection::create(folder, config)?;
    let mut batch = Vec::with_capacity(BATCH);
    for (row, vector) in data.iter().enumerate() {
        batch.push(document(row, vector)?);
        if batch.len() == BATCH {
            collection.apply(std::mem::take(&mut batch), Durability::Accepted)?;
        }
    }
    if !batch.is_empty() {
        collection.apply(batch, Durability::Accepted)?;
    }
    let start = Instant::now();
    pool.install(|| collection.seal())?;
    Ok((collection, start.elapsed().as_secs_f64()))
}

/// A document with a field for filters that have nothing to do with the vector
/// (`draw`, evenly spread from 0 to 1) and one for those that do (`axis`).
pub(crate) fn document(row: usize, vector: &[f32]) -> anyhow::Result<Operation> {
    let payload = json!({"draw": draw(row), "axis": vector[0]});
    Ok(Operation::Upsert(Box::new(Document {
        id: format!("{row:08}"),
        vector: UnitVector::new(vector.to_vec())?,
        text: String::new(),
        payload: payload.as_object().context("a payload is an object")?.clone(),
        provenance: String::new(),
        thought: None,
        content_hash: [0; 32],
    })))
}

/// Spreads the numbers of rows evenly over 0 to 1, in no order.
pub(crate) fn draw(row: usize) -> f64 {
    let mixed = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the bytes of all files of a name in a collection.
pub(crate) fn file_bytes(folder: &Path, name: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for segment in fs::read_dir(folder.join("seg"))? {
        let path = segment?.path().join(name);
        if path.exists() {
            bytes += fs::metadata(path)?.len();
        }
    }
    Ok(bytes)
}

/// Opens a collection and asks it one query, in milliseconds.
pub(crate) fn open_and_ask(folder: &Path, query: &UnitVector) -> anyhow::Result<f64> {
    let start = Instant::now();
    let collection = Collection::open(folder)?;
    collection.snapshot().rank(query, &SearchOptions::new(10))?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// Documents whose vectors are the queries of [`heap_of_open`]: few, since what this
/// benchmark keeps of them counts too.
const ASKED: usize = 20;

/// Opens a collection, searches it a thousand times, and returns the bytes that
/// this took beside the page cache; for a process that has done nothing else.
pub(crate) fn heap_of_open(folder: &Path) -> anyhow::Result<u64> {
    let before = heap_bytes()?;
    let collection = Collection::open(folder)?;
    let snapshot = collection.snapshot();
    let documents = snapshot.list(None, ASKED, None)?;
    let queries = documents.into_iter().map(|document| Ok(UnitVector::new(document.vector)?));
    let queries = queries.collect::<anyhow::Result<Vec<_>>>()?;
    for number in 0..1000 {
        let query = queries.get(number % ASKED).context("the collection is too small")?;
        snapshot.rank(query, &SearchOptions::new(10))?;
    }
    Ok(heap_bytes()?.saturating_sub(before))
}

/// Returns the anonymous memory of this process: what is not page cache.
fn heap_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.context("the system does not say what memory this takes")?.parse::<u64>()? * 1024)
}

/// Returns the queries of a set, ready to be asked.
pub(crate) fn queries(data: &DataSet, count: usize) -> anyhow::Result<Vec<UnitVector>> {
    let vectors = data.queries.iter().take(count);
    vectors.map(|vector| Ok(UnitVector::new(vector.to_vec())?)).collect()
}
