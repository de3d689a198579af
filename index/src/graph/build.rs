//! Building with `hnsw_rs`, without giving it a copy of the vectors.

use super::export::{Layers, export};
use crate::{config::HnswConfig, error::IndexError, segment::Vectors, simd::dot};
use hnsw_rs::{anndists::dist::distances::Distance, hnsw::Hnsw};
use rayon::prelude::*;
use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Layers the builder may use; it allows no more.
const MAX_LAYERS: usize = 16;

/// Tells a build that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The distance between two rows, each given by a slice of its number alone.
///
/// What the builder keeps as a point is four bytes; the vector stays in the map.
#[derive(Clone)]
struct RowDistance(Arc<Vectors>);

impl Distance<u32> for RowDistance {
    fn eval(&self, left: &[u32], right: &[u32]) -> f32 {
        // Rounding may take a cosine past 1, and the builder panics on a
        // distance below zero.
        (1.0 - dot(self.0.row(left[0]), self.0.row(right[0]))).max(0.0)
    }
}

/// Builds the graph; `None` where the builder gave up on these vectors.
pub(super) fn layers(
    vectors: &Arc<Vectors>,
    config: &HnswConfig,
    stop: &Stop,
) -> Result<Option<Layers>, IndexError> {
    // The builder panics on what it does not expect. Rows then stay searchable
    // by scanning, so that is a loss of speed and not of data.
    let pool = pool()?;
    let built = catch_unwind(AssertUnwindSafe(|| {
        let builder = pool.install(|| insert_all(vectors, config, stop));
        if stop.is_requested() { None } else { Some(export(&builder, vectors.rows())) }
    }));
    match built {
        Ok(Some(layers)) => Ok(layers),
        Ok(None) => Err(IndexError::Closed),
        Err(_) => {
            tracing::warn!(rows = vectors.rows(), "graph builder panicked, scanning instead");
            Ok(None)
        }
    }
}

/// Makes the threads of one build: half of the machine's, since a build is long and
/// whoever encodes or searches meanwhile should not wait for it. They are the build's
/// own: on the process-wide pool, every small job of others would queue behind it.
fn pool() -> Result<rayon::ThreadPool, IndexError> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads(cores.div_ceil(2))
        .thread_name(|i| format!("twn-build-{i}"))
        .build()
        .map_err(|error| IndexError::Build { problem: error.to_string() })
}

fn insert_all(
    vectors: &Arc<Vectors>,
    config: &HnswConfig,
    stop: &Stop,
) -> Hnsw<'static, u32, RowDistance> {
    let rows = vectors.rows();
    let builder = Hnsw::new(
        config.m,
        rows as usize,
        MAX_LAYERS,
        config.ef_construction,
        RowDistance(Arc::clone(vectors)),
    );
    let insert = |row: u32| builder.insert_slice((&[row], row as usize));
    let order = insertion_order(rows);
    let Some((&first, rest)) = order.split_first() else { return builder };
    // Two threads that both find an empty graph would each start their own.
    insert(first);
    rest.par_iter().for_each(|&row| {
        if !stop.is_requested() {
            insert(row);
        }
    });
    builder
}

/// Returns the rows in an order that has nothing to do with their ids.
///
/// Ids often follow the content, and a graph that grows one topic at a time
/// has few edges between them.
fn insertion_order(rows: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows).collect();
    order.sort_unstable_by_key(|&row| crc32c::crc32c(&row.to_le_bytes()));
    order
}
