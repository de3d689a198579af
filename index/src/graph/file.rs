//! `graph.bin`: the graph as flat arrays, walked where they lie in the map.
//!
//! Sections, all u32: 0. the entry; 1. where the neighbours of each row start,
//! one more than there are rows; 2. the neighbours end to end. Then four for
//! each upper layer, lowest first: the row of each node; the node's number one
//! layer down (the row itself at the bottom); starts; neighbours as numbers of
//! nodes in the same layer. So coming down a layer is one look-up.

use super::walk::Adjacency;
use crate::{
    error::IndexError,
    manifest::FileEntry,
    segment::sections::{SectionKind, SectionWriter, Sections},
    simd,
};
use arrow::buffer::ScalarBuffer;
use std::path::Path;

const BASE_SECTIONS: usize = 3;
const LAYER_SECTIONS: usize = 4;

/// A mapped graph.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(super) upper: Upper,
    pub(super) level0: Edges,
}

/// The layers above the bottom, which lead a search to where it begins there.
#[derive(Debug)]
pub(super) struct Upper {
    /// The node in the highest layer that searches start from; a row where
    /// there is no layer.
    pub(super) entry: u32,
    /// Lowest first.
    pub(super) layers: Vec<UpperLayer>,
}

/// One layer above the bottom.
#[derive(Debug)]
pub(super) struct UpperLayer {
    pub(super) rows: ScalarBuffer<u32>,
    pub(super) below: ScalarBuffer<u32>,
    pub(super) edges: Edges,
}

/// Lists of neighbours, end to end.
#[derive(Debug)]
pub(super) struct Edges {
    starts: ScalarBuffer<u32>,
    neighbours: ScalarBuffer<u32>,
}

impl Edges {
    /// Lays out lists end to end, in memory.
    pub(super) fn collect<L: IntoIterator<Item = u32>>(
        lists: impl Iterator<Item = L>,
    ) -> Result<Self, IndexError> {
        let (mut starts, mut neighbours) = (vec![0_u32], Vec::new());
        for list in lists {
            neighbours.extend(list);
            let end = u32::try_from(neighbours.len()).map_err(|_| IndexError::Build {
                problem: "a graph would have over 2^32 edges".to_owned(),
            })?;
            starts.push(end);
        }
        Ok(Self { starts: starts.into(), neighbours: neighbours.into() })
    }

    fn push_to(&self, file: &mut SectionWriter) {
        file.push(bytemuck::cast_slice(&self.starts));
        file.push(bytemuck::cast_slice(&self.neighbours));
    }

    #[inline]
    pub(super) fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.neighbours[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// Reads two sections, and makes sure that no list leads out of `nodes`.
    fn open(sections: &Sections, first: usize, nodes: usize) -> Result<Option<Self>, IndexError> {
        let starts = sections.scalars::<u32>(first)?;
        let neighbours = sections.scalars::<u32>(first + 1)?;
        let is_sound = starts.len() == nodes + 1
            && starts.is_sorted()
            && starts[nodes] as usize == neighbours.len()
            && neighbours.iter().all(|&neighbour| (neighbour as usize) < nodes);
        Ok(is_sound.then_some(Self { starts, neighbours }))
    }
}

impl Adjacency for Edges {
    #[inline]
    fn each(&self, row: u32, take: impl FnMut(u32)) {
        self.of(row).iter().copied().for_each(take);
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        simd::prefetch(self.of(row));
    }
}

impl Graph {
    pub(super) fn rows(&self) -> usize {
        self.level0.starts.len() - 1
    }

    /// Maps a graph and makes sure that walking it stays within its arrays.
    pub(crate) fn open(path: &Path, entry: &FileEntry, rows: u32) -> Result<Self, IndexError> {
        let sections = Sections::open(path, SectionKind::Graph, entry)?;
        Self::read(&sections, rows as usize)?
            .ok_or_else(|| IndexError::corrupt(path, format!("it is no graph of {rows} rows")))
    }

    fn read(sections: &Sections, rows: usize) -> Result<Option<Self>, IndexError> {
        let entry = sections.scalars::<u32>(0)?.first().copied();
        let Some(level0) = Edges::open(sections, 1, rows)? else { return Ok(None) };
        let layer_sections = sections.len().saturating_sub(BASE_SECTIONS);
        let mut upper = Vec::with_capacity(layer_sections / LAYER_SECTIONS);
        let mut nodes_below = rows;
        for first in (BASE_SECTIONS..sections.len()).step_by(LAYER_SECTIONS) {
            let layer_rows = sections.scalars::<u32>(first)?;
            let below = sections.scalars::<u32>(first + 1)?;
            let nodes = layer_rows.len();
            let is_sound = below.len() == nodes
                && layer_rows.iter().all(|&row| (row as usize) < rows)
                && below.iter().all(|&node| (node as usize) < nodes_below);
            let Some(edges) = Edges::open(sections, first + 2, nodes)? else { return Ok(None) };
            if !is_sound {
                return Ok(None);
            }
            upper.push(UpperLayer { rows: layer_rows, below, edges });
            nodes_below = nodes;
        }
        let entry = entry.filter(|&entry| (entry as usize) < nodes_below);
        Ok(entry.map(|entry| Self { upper: Upper { entry, layers: upper }, level0 }))
    }
}

/// Writes and fsyncs a graph.
pub(super) fn write(path: &Path, graph: &Graph) -> Result<FileEntry, IndexError> {
    let mut file = SectionWriter::new(SectionKind::Graph);
    file.push(bytemuck::bytes_of(&graph.upper.entry));
    graph.level0.push_to(&mut file);
    for layer in &graph.upper.layers {
        file.push(bytemuck::cast_slice(&layer.rows));
        file.push(bytemuck::cast_slice(&layer.below));
        layer.edges.push_to(&mut file);
    }
    file.write(path)
}
