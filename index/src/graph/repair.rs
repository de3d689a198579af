//! Making every row reachable from the entry.
//!
//! The builder prunes the edges back to a row by distance alone, so some rows
//! end up with no way in: many duplicates of one vector, for one. No search
//! would ever find them. Each gets an edge from a row near to it.

use crate::{segment::Vectors, simd::dot};

/// Adds edges until every row is reachable, and returns how many it took.
pub(super) fn connect(level0: &mut [Vec<u32>], entry: u32, vectors: &Vectors) -> usize {
    let mut reached = vec![false; level0.len()];
    let mut queue = Vec::new();
    spread(level0, entry, &mut reached, &mut queue);
    let mut added = 0;
    for row in 0..level0.len() as u32 {
        if reached[row as usize] {
            continue;
        }
        let parent = nearest_reached(level0, row, &reached, vectors);
        level0[parent as usize].push(row);
        added += 1;
        spread(level0, row, &mut reached, &mut queue);
    }
    added
}

/// Marks everything that can be reached from a row.
fn spread(level0: &[Vec<u32>], from: u32, reached: &mut [bool], queue: &mut Vec<u32>) {
    reached[from as usize] = true;
    queue.push(from);
    while let Some(row) = queue.pop() {
        for &neighbour in &level0[row as usize] {
            if !reached[neighbour as usize] {
                reached[neighbour as usize] = true;
                queue.push(neighbour);
            }
        }
    }
}

/// Picks the row to lead to `row`: of its own neighbours if one is reached,
/// which are near, and else of all rows.
fn nearest_reached(level0: &[Vec<u32>], row: u32, reached: &[bool], vectors: &Vectors) -> u32 {
    let vector = vectors.row(row);
    let nearest = |candidates: &mut dyn Iterator<Item = u32>| {
        candidates
            .filter(|&candidate| reached[candidate as usize])
            .map(|candidate| (dot(vector, vectors.row(candidate)), candidate))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, candidate)| candidate)
    };
    nearest(&mut level0[row as usize].iter().copied())
        .or_else(|| nearest(&mut (0..level0.len() as u32)))
        .unwrap_or(row)
}
