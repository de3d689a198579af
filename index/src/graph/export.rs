//! Taking a finished graph out of the builder, through its public calls.

use hnsw_rs::{anndists::dist::distances::Distance, hnsw::Hnsw};
use std::collections::BTreeMap;

/// A graph as lists of neighbours, by row.
pub(super) struct Layers {
    /// Neighbours of every row.
    pub(super) level0: Vec<Vec<u32>>,
    /// Neighbours of the rows that reach up to each upper layer, lowest first.
    pub(super) upper: Vec<BTreeMap<u32, Vec<u32>>>,
    /// The row every search starts from; it reaches up to the highest layer.
    pub(super) entry: u32,
}

/// Reads the graph; `None` where it has not all the rows it was given.
pub(super) fn export<D>(builder: &Hnsw<'_, u32, D>, rows: u32) -> Option<Layers>
where
    D: Distance<u32> + Send + Sync,
{
    let points = builder.get_point_indexation();
    let highest = usize::from(points.get_max_level_observed());
    let entry = points.get_layer_iterator(highest).next()?.get_origin_id() as u32;
    let mut level0 = vec![Vec::new(); rows as usize];
    let mut upper = vec![BTreeMap::new(); highest];
    let mut seen = 0;
    for point in points {
        let row = point.get_origin_id();
        let reaches = usize::from(point.get_point_id().0);
        seen += 1;
        // Lists above the layer that a point reaches are notes of the builder.
        let lists = point.get_neighborhood_id().into_iter().take(reaches + 1);
        for (layer, neighbours) in lists.enumerate() {
            let neighbours =
                neighbours.iter().map(|neighbour| neighbour.d_id as u32).collect::<Vec<_>>();
            match layer.checked_sub(1) {
                None => *level0.get_mut(row)? = neighbours,
                Some(layer) => {
                    upper.get_mut(layer)?.insert(row as u32, neighbours);
                }
            }
        }
    }
    let mut layers = Layers { level0, upper, entry };
    layers.clean();
    (seen == rows as usize && layers.has_entry_throughout()).then_some(layers)
}

impl Layers {
    /// Drops edges that lead nowhere within their layer: to the row itself, to
    /// a row seen already, to one that does not reach that high.
    fn clean(&mut self) {
        let rows = self.level0.len();
        for (row, neighbours) in self.level0.iter_mut().enumerate() {
            keep_first(neighbours, |neighbour| {
                neighbour as usize != row && (neighbour as usize) < rows
            });
        }
        for layer in &mut self.upper {
            let members: Vec<u32> = layer.keys().copied().collect();
            for (row, neighbours) in layer.iter_mut() {
                keep_first(neighbours, |neighbour| {
                    neighbour != *row && members.binary_search(&neighbour).is_ok()
                });
            }
        }
    }

    /// Tells whether a search can start at the top and come down: the entry is
    /// in every layer, and every row of a layer is in the one below.
    fn has_entry_throughout(&self) -> bool {
        let is_nested =
            self.upper.windows(2).all(|pair| pair[1].keys().all(|row| pair[0].contains_key(row)));
        is_nested && self.upper.iter().all(|layer| layer.contains_key(&self.entry))
    }
}

/// Keeps the neighbours that are wanted, each once, in their order.
fn keep_first(neighbours: &mut Vec<u32>, is_wanted: impl Fn(u32) -> bool) {
    let mut kept: Vec<u32> = Vec::with_capacity(neighbours.len());
    for &neighbour in neighbours.iter() {
        if is_wanted(neighbour) && !kept.contains(&neighbour) {
            kept.push(neighbour);
        }
    }
    *neighbours = kept;
}
