//! The coarse graph, built by `hnsw_rs` over a sample of the rows.
//!
//! The rows above the bottom layer are a random share of all, and a graph over
//! them alone is what a search comes down through. `hnsw_rs` builds it without
//! a copy of the vectors: what it keeps as a point is the row's number. Its own
//! bottom layer is our layer 1.

use super::file::{Edges, Upper, UpperLayer};
use crate::{checked::Links, config::HnswConfig, error::IndexError, segment::Vectors, simd::dot};
use hnsw_rs::{anndists::dist::distances::Distance, hnsw::Hnsw};
use rayon::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// Layers the builder may use; it allows no more.
const MAX_LAYERS: usize = 16;

/// Fewer rows than this make no sample.
const MIN_SAMPLE: usize = 32;

/// The distance between two rows, each given by a slice of its number alone.
#[derive(Clone)]
struct RowDistance(Arc<Vectors>);

impl Distance<u32> for RowDistance {
    fn eval(&self, left: &[u32], right: &[u32]) -> f32 {
        // Rounding may take a cosine past 1, and the builder panics on a
        // distance below zero.
        (1.0 - dot(self.0.row(left[0]), self.0.row(right[0]))).max(0.0)
    }
}

/// Returns the rows in an order that has nothing to do with their ids.
///
/// Ids often follow the content, and a graph that grows one topic at a time
/// has few edges between them.
pub(crate) fn in_random_order(rows: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut order: Vec<u32> = rows.into_iter().collect();
    order.sort_unstable_by_key(|&row| crc32c::crc32c(&row.to_le_bytes()));
    order
}

/// Returns how many of the rows, the first in insertion order, are above the
/// bottom layer.
pub(super) fn sample_size(rows: usize, config: &HnswConfig) -> usize {
    (rows / config.m).max(MIN_SAMPLE).min(rows)
}

/// Builds the layers above the bottom over a sample of rows, on the threads of
/// the current pool; `None` where the builder lost a row.
pub(super) fn build(
    vectors: &Arc<Vectors>,
    mut sample: Vec<u32>,
    config: &HnswConfig,
) -> Result<Option<Upper>, IndexError> {
    let builder = Hnsw::new(
        config.m,
        sample.len(),
        MAX_LAYERS,
        config.ef_construction,
        RowDistance(Arc::clone(vectors)),
    );
    // Two threads that both find an empty graph would each start their own.
    let insert = |&row: &u32| builder.insert_slice((&[row], row as usize));
    let (first, rest) = sample.split_at(1);
    first.iter().for_each(insert);
    rest.par_iter().for_each(insert);
    sample.sort_unstable();
    export(&builder, &sample)
}

/// The neighbours of the rows that reach up to a layer.
type Layer = BTreeMap<u32, Vec<u32>>;

/// Takes the graph out of the builder, through its public calls.
fn export(
    builder: &Hnsw<'_, u32, RowDistance>,
    sample: &[u32],
) -> Result<Option<Upper>, IndexError> {
    let points = builder.get_point_indexation();
    let highest = usize::from(points.get_max_level_observed());
    let Some(entry) = points.get_layer_iterator(highest).next() else { return Ok(None) };
    let entry = entry.get_origin_id() as u32;
    let mut layers = vec![Layer::new(); highest + 1];
    for point in points {
        let row = point.get_origin_id() as u32;
        let reaches = usize::from(point.get_point_id().0).min(highest);
        // Lists above the layer that a point reaches are notes of the builder.
        let lists = point.get_neighborhood_id().into_iter().take(reaches + 1);
        for (layer, neighbours) in layers.iter_mut().zip(lists) {
            layer.insert(row, neighbours.iter().map(|other| other.d_id as u32).collect());
        }
    }
    layers.iter_mut().for_each(clean);
    let is_nested =
        layers.windows(2).all(|pair| pair[1].keys().all(|row| pair[0].contains_key(row)));
    let is_whole = layers[0].keys().eq(sample) && is_nested && layers[highest].contains_key(&entry);
    if is_whole { flatten(&layers, entry).map(Some) } else { Ok(None) }
}

/// Drops edges that lead nowhere within their layer: to the row itself, to a
/// row seen already, to one that does not reach that high.
fn clean(layer: &mut Layer) {
    let members: Vec<u32> = layer.keys().copied().collect();
    for (row, neighbours) in layer.iter_mut() {
        let mut kept: Vec<u32> = Vec::with_capacity(neighbours.len());
        for &neighbour in neighbours.iter() {
            let is_wanted = neighbour != *row && members.binary_search(&neighbour).is_ok();
            if is_wanted && !kept.contains(&neighbour) {
                kept.push(neighbour);
            }
        }
        *neighbours = kept;
    }
}

/// Numbers the nodes of each layer, so that coming down is one look-up.
fn flatten(layers: &[Layer], entry: u32) -> Result<Upper, IndexError> {
    let members: Vec<Vec<u32>> =
        layers.iter().map(|layer| layer.keys().copied().collect()).collect();
    let mut flat = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let rows = &members[number];
        let below: Vec<u32> = match number.checked_sub(1) {
            None => rows.clone(),
            Some(lower) => rows.iter().map(|&row| node_of(&members[lower], row)).collect(),
        };
        let lists = layer.values().map(|list| list.iter().map(|&row| node_of(rows, row)));
        let edges = Edges::collect(lists)?;
        let (all, nodes_below) = (u32::MAX as usize, members.get(number.wrapping_sub(1)));
        let below = Links::new(below, nodes_below.map_or(all, Vec::len));
        flat.push(UpperLayer { rows: Links::new(rows.clone(), all), below, edges });
    }
    let entry = members.last().map_or(entry, |top| node_of(top, entry));
    Ok(Upper { entry, layers: flat })
}

/// Returns the number of a row's node among the sorted rows of a layer, one of
/// which it is.
fn node_of(rows: &[u32], row: u32) -> u32 {
    rows.partition_point(|&member| member < row) as u32
}
