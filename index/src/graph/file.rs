//! `graph.bin`: the graph as flat arrays, walked where they lie in the map.
//!
//! Sections, all u32: 0. the entry; 1. where the neighbours of each row start,
//! one more than there are rows; 2. the neighbours end to end. Then four for
//! each upper layer, lowest first: the row of each node; the node's number one
//! layer down (the row itself at the bottom); starts; neighbours as numbers of
//! nodes in the same layer. So coming down a layer is one look-up.

use super::export::Layers;
use crate::{
    error::IndexError,
    manifest::FileEntry,
    segment::sections::{SectionKind, SectionWriter, Sections},
};
use arrow::buffer::ScalarBuffer;
use std::path::Path;

const BASE_SECTIONS: usize = 3;
const LAYER_SECTIONS: usize = 4;

/// A mapped graph.
#[derive(Debug)]
pub(crate) struct Graph {
    /// The node in the highest layer that searches start from.
    pub(super) entry: u32,
    pub(super) level0: Edges,
    /// Lowest first.
    pub(super) upper: Vec<UpperLayer>,
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

impl Graph {
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
        Ok(entry.map(|entry| Self { entry, level0, upper }))
    }
}

/// Writes and fsyncs a graph.
pub(super) fn write(path: &Path, layers: &Layers) -> Result<FileEntry, IndexError> {
    let mut file = SectionWriter::new(SectionKind::Graph);
    let mut members: Vec<Vec<u32>> = Vec::with_capacity(layers.upper.len());
    members.extend(layers.upper.iter().map(|layer| layer.keys().copied().collect()));
    let entry = match members.last() {
        None => layers.entry,
        Some(top) => node_of(top, layers.entry),
    };
    file.push(bytemuck::bytes_of(&entry));
    push_edges(&mut file, path, layers.level0.iter().map(Vec::as_slice))?;
    for (number, layer) in layers.upper.iter().enumerate() {
        let rows = &members[number];
        let below: Vec<u32> = match number.checked_sub(1) {
            None => rows.clone(),
            Some(lower) => rows.iter().map(|&row| node_of(&members[lower], row)).collect(),
        };
        let neighbours: Vec<Vec<u32>> = layer
            .values()
            .map(|neighbours| neighbours.iter().map(|&row| node_of(rows, row)).collect())
            .collect();
        file.push(bytemuck::cast_slice(rows));
        file.push(bytemuck::cast_slice(&below));
        push_edges(&mut file, path, neighbours.iter().map(Vec::as_slice))?;
    }
    file.write(path)
}

/// Returns the number of a row's node among the sorted rows of a layer, which
/// the export made sure it is one of.
fn node_of(rows: &[u32], row: u32) -> u32 {
    rows.partition_point(|&member| member < row) as u32
}

fn push_edges<'a>(
    file: &mut SectionWriter,
    path: &Path,
    lists: impl Iterator<Item = &'a [u32]>,
) -> Result<(), IndexError> {
    let (mut starts, mut neighbours) = (vec![0_u32], Vec::new());
    for list in lists {
        neighbours.extend_from_slice(list);
        let end = u32::try_from(neighbours.len()).map_err(|_| IndexError::Build {
            problem: format!("{} would have over 2^32 edges", path.display()),
        })?;
        starts.push(end);
    }
    file.push(bytemuck::cast_slice(&starts));
    file.push(bytemuck::cast_slice(&neighbours));
    Ok(())
}
