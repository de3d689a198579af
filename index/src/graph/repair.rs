//! Making every row reachable from the entry, and the lonely ones easily so.
//!
//! Pruning leaves some rows with few ways in, or none: many duplicates of one
//! vector, for one. No search would ever find those without. Each gets an edge
//! from rows near to it.

use crate::{segment::Vectors, simd::dot};

/// A row that fewer others lead to is easily missed.
const LEAST_WAYS_IN: u32 = 4;

/// Adds edges to rows that few others lead to, from the neighbours that they
/// lead to themselves, as far as those have room: no list grows beyond `degree`.
pub(super) fn strengthen(level0: &mut [Vec<u32>], degree: usize) {
    let mut ways_in = vec![0_u32; level0.len()];
    for &neighbour in level0.iter().flatten() {
        ways_in[neighbour as usize] += 1;
    }
    for row in 0..level0.len() {
        if ways_in[row] >= LEAST_WAYS_IN {
            continue;
        }
        for neighbour in level0[row].clone() {
            let list = &mut level0[neighbour as usize];
            if list.len() < degree && !list.contains(&(row as u32)) {
                list.push(row as u32);
                ways_in[row] += 1;
            }
            if ways_in[row] == LEAST_WAYS_IN {
                break;
            }
        }
    }
}

/// Adds edges until every row is reachable, and returns how many it took. A
/// list grows beyond `degree` only where there is no other way.
pub(super) fn connect(
    level0: &mut [Vec<u32>],
    degree: usize,
    entry: u32,
    vectors: &Vectors,
) -> usize {
    let mut reached = vec![false; level0.len()];
    let mut queue = Vec::new();
    spread(level0, entry, &mut reached, &mut queue);
    let mut added = 0;
    for row in 0..level0.len() as u32 {
        if reached[row as usize] {
            continue;
        }
        let parent = nearest_reached(level0, degree, row, &reached, vectors);
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
/// which are near, rather one with room, and else of all rows.
fn nearest_reached(
    level0: &[Vec<u32>],
    degree: usize,
    row: u32,
    reached: &[bool],
    vectors: &Vectors,
) -> u32 {
    let vector = vectors.row(row);
    let nearest = |candidates: &mut dyn Iterator<Item = u32>| {
        candidates
            .filter(|&candidate| reached[candidate as usize])
            .map(|candidate| (dot(vector, vectors.row(candidate)), candidate))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, candidate)| candidate)
    };
    let own = || level0[row as usize].iter().copied();
    nearest(&mut own().filter(|&neighbour| level0[neighbour as usize].len() < degree))
        .or_else(|| nearest(&mut own()))
        .or_else(|| nearest(&mut (0..level0.len() as u32)))
        .unwrap_or(row)
}
