//! Building a graph from end to end: the skeleton, the bottom layer, the mends.

use super::{
    file::{Edges, Graph},
    level0::{self, Stop},
    repair,
    skeleton::{self, in_random_order, sample_size},
};
use crate::{config::HnswConfig, error::IndexError, segment::Vectors};
use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Builds the graph on the threads of the current pool; `None` where the builder gave up on these vectors.
pub(super) fn graph(
    vectors: &Arc<Vectors>,
    config: &HnswConfig,
    stop: &Stop,
) -> Result<Option<Graph>, IndexError> {
    // The skeleton's builder panics on what it does not expect. Rows then stay
    // searchable by scanning, so that is a loss of speed and not of data.
    let built = catch_unwind(AssertUnwindSafe(|| assemble(vectors, config, stop)));
    built.unwrap_or_else(|_| {
        tracing::warn!(rows = vectors.rows(), "graph builder panicked, scanning instead");
        Ok(None)
    })
}

fn assemble(
    vectors: &Arc<Vectors>,
    config: &HnswConfig,
    stop: &Stop,
) -> Result<Option<Graph>, IndexError> {
    let order = in_random_order(0..vectors.rows());
    let (sample, rest) = order.split_at(sample_size(order.len(), config));
    let Some(upper) = skeleton::build(vectors, sample.to_vec(), config)? else { return Ok(None) };
    let mut level0 = level0::build(vectors, &upper, rest, config, stop);
    if stop.is_requested() {
        return Err(IndexError::Closed);
    }
    let degree = 2 * config.m;
    repair::strengthen(&mut level0, degree);
    let repaired_rows = repair::connect(&mut level0, degree, upper.lands_on(), vectors);
    let level0 = Edges::collect(level0.into_iter())?;
    tracing::debug!(rows = vectors.rows(), repaired_rows, "built a graph");
    Ok(Some(Graph::in_memory(upper, level0)))
}

/// Runs a build on the caller's pool if the caller is on one, and else on
/// threads of its own: half of the machine's, since a build is long and whoever
/// encodes or searches meanwhile should not wait for it. On the process-wide
/// pool, every small job of others would queue behind it.
pub(crate) fn on_threads<T: Send>(
    work: impl FnOnce() -> Result<T, IndexError> + Send,
) -> Result<T, IndexError> {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads(cores.div_ceil(2))
        .thread_name(|i| format!("twn-build-{i}"))
        .build()
        .map_err(|error| IndexError::Build { problem: error.to_string() })?
        .install(work)
}
