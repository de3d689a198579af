//! `graph.bin`: the graph as flat arrays, walked where they lie in the map.
//!
//! Sections, all u32: 0. the entry; 1. where the neighbours of each row start,
//! one more than there are rows; 2. the neighbours end to end. Then four for
//! each upper layer, lowest first: the row of each node; the node's number one
//! layer down (the row itself at the bottom); starts; neighbours as numbers of
//! nodes in the same layer. So coming down a layer is one look-up.

use super::walk::Adjacency;
use crate::{
    checked::{CheckedArray, CheckedFile, Links},
    error::IndexError,
    manifest::FileEntry,
    segment::sections::{SectionKind, SectionWriter, Sections},
    simd,
};
use std::{path::Path, sync::Arc};

const BASE_SECTIONS: usize = 3;
const LAYER_SECTIONS: usize = 4;

/// A graph, mapped or in memory.
///
/// Where a part of the file is damaged, a walk finds no neighbours there and the
/// segment's alarm is raised (see [`crate::checked`]).
#[derive(Debug)]
pub(crate) struct Graph {
    pub(super) upper: Upper,
    pub(super) level0: Edges,
    /// Absent while it is in memory only.
    file: Option<Arc<CheckedFile>>,
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
    pub(super) rows: Links,
    pub(super) below: Links,
    pub(super) edges: Edges,
}

/// Lists of neighbours, end to end.
#[derive(Debug)]
pub(super) struct Edges {
    starts: CheckedArray<u32>,
    neighbours: Links,
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
        let nodes = starts.len() - 1;
        Ok(Self { starts: starts.into(), neighbours: Links::new(neighbours, nodes) })
    }

    fn push_to(&self, file: &mut SectionWriter) {
        file.push(bytemuck::cast_slice(self.starts.unchecked()));
        file.push(bytemuck::cast_slice(self.neighbours.unchecked()));
    }

    /// Returns the neighbours of a node, each of them a node.
    #[inline]
    pub(super) fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        match self.starts.read(node..node + 2) {
            &[start, end] => self.neighbours.read(start as usize..end as usize),
            _ => &[],
        }
    }

    /// Finds two sections for lists of `nodes`.
    fn open(sections: &Sections, first: usize, nodes: usize) -> Result<Option<Self>, IndexError> {
        let starts = sections.array::<u32>(first)?;
        let neighbours = sections.array::<u32>(first + 1)?;
        let is_sound = starts.len().checked_sub(1) == Some(nodes)
            && starts.slice(nodes..nodes + 1) == Some(&[neighbours.len() as u32]);
        Ok(is_sound.then(|| Self { starts, neighbours: Links::new(neighbours, nodes) }))
    }

    /// Looks through lists whose blocks have all been verified.
    fn are_sound(&self) -> bool {
        self.starts.unchecked().is_sorted() && self.neighbours.are_sound()
    }
}

impl Adjacency for Edges {
    #[inline]
    fn each(&self, row: u32, take: impl FnMut(u32)) {
        self.of(row).iter().copied().for_each(take);
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        let (row, starts) = (row as usize, self.starts.unchecked());
        if let Some(&[start, end]) = starts.get(row..row + 2)
            && let Some(list) = self.neighbours.unchecked().get(start as usize..end as usize)
        {
            simd::prefetch(list);
        }
    }
}

impl Graph {
    /// Puts a graph together in memory.
    pub(super) fn in_memory(upper: Upper, level0: Edges) -> Self {
        Self { upper, level0, file: None }
    }

    pub(crate) fn rows(&self) -> usize {
        self.level0.starts.len() - 1
    }

    /// Finds a graph in a mapped file.
    pub(crate) fn open(file: &Arc<CheckedFile>, rows: u32) -> Result<Self, IndexError> {
        let sections = Sections::read(file, SectionKind::Graph)?;
        let found = Self::read(&sections, rows as usize)?;
        let Some((upper, level0)) = found else {
            let problem = format!("it is no graph of {rows} rows");
            return Err(IndexError::corrupt(file.path(), problem));
        };
        Ok(Self { upper, level0, file: Some(Arc::clone(file)) })
    }

    fn read(sections: &Sections, rows: usize) -> Result<Option<(Upper, Edges)>, IndexError> {
        let entry = sections.array::<u32>(0)?;
        let Some(level0) = Edges::open(sections, 1, rows)? else { return Ok(None) };
        let layer_sections = sections.len().saturating_sub(BASE_SECTIONS);
        let mut layers = Vec::with_capacity(layer_sections / LAYER_SECTIONS);
        let mut nodes_below = rows;
        for first in (BASE_SECTIONS..sections.len()).step_by(LAYER_SECTIONS) {
            let layer_rows = sections.array::<u32>(first)?;
            let below = sections.array::<u32>(first + 1)?;
            let nodes = layer_rows.len();
            let Some(edges) = Edges::open(sections, first + 2, nodes)? else { return Ok(None) };
            if below.len() != nodes {
                return Ok(None);
            }
            let below = Links::new(below, nodes_below);
            layers.push(UpperLayer { rows: Links::new(layer_rows, rows), below, edges });
            nodes_below = nodes;
        }
        let entry = entry.slice(0..1).map(|entry| entry[0]);
        let entry = entry.filter(|&entry| (entry as usize) < nodes_below);
        Ok(entry.map(|entry| (Upper { entry, layers }, level0)))
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(crate) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        let Some(file) = &self.file else { return Ok(()) };
        if file.is_whole() || !file.check_all(is_over)? {
            return Ok(());
        }
        let is_sound = |layer: &UpperLayer| {
            layer.rows.are_sound() && layer.below.are_sound() && layer.edges.are_sound()
        };
        if self.level0.are_sound() && self.upper.layers.iter().all(is_sound) {
            file.set_whole();
        } else {
            file.raise("its edges lead outside of it");
        }
        Ok(())
    }
}

/// Writes and fsyncs a graph.
pub(super) fn write(path: &Path, graph: &Graph) -> Result<FileEntry, IndexError> {
    let mut file = SectionWriter::new(SectionKind::Graph);
    file.push(bytemuck::bytes_of(&graph.upper.entry));
    graph.level0.push_to(&mut file);
    for layer in &graph.upper.layers {
        file.push(bytemuck::cast_slice(layer.rows.unchecked()));
        file.push(bytemuck::cast_slice(layer.below.unchecked()));
        layer.edges.push_to(&mut file);
    }
    file.write(path)
}
