//! Dot products with many rows at once, which lie in blocks: the first values of
//! [`BLOCK_ROWS`] rows, then their second values, and so on.
//!
//! A value of the query then meets a whole register of rows, and no sum is taken across
//! a register. Plain loops, which compilers turn into vector code for each processor.

use super::{Level, level};

/// Rows in a block.
pub(crate) const BLOCK_ROWS: usize = 32;

/// Queries compared at a time: their sums fill the registers.
const QUERIES: usize = 6;

/// Sums of one query by turns, so that none waits for the one before.
const TURNS: usize = 4;

/// Lays out rows in blocks; there are as many as fill some.
pub(crate) fn to_blocks(rows: &[f32], dimension: usize) -> Vec<f32> {
    let mut blocks = vec![0.0; rows.len()];
    for (block, rows) in
        blocks.chunks_exact_mut(BLOCK_ROWS * dimension).zip(rows.chunks(BLOCK_ROWS * dimension))
    {
        for (lane, row) in rows.chunks_exact(dimension).enumerate() {
            for (&value, values) in row.iter().zip(block.chunks_exact_mut(BLOCK_ROWS)) {
                values[lane] = value;
            }
        }
    }
    blocks
}

/// Puts the dot product of the query with each row of `blocks` into `out`.
pub(crate) fn dot_blocks(query: &[f32], blocks: &[f32], out: &mut Vec<f32>) {
    out.clear();
    for block in blocks.chunks_exact(BLOCK_ROWS * query.len().max(1)) {
        out.extend_from_slice(&one_at(level(), query, block));
    }
}

/// Puts the number of the row in `blocks` with the greatest dot product into `out`, for each
/// query.
pub(crate) fn nearest_in_blocks(queries: &[&[f32]], blocks: &[f32], out: &mut [u32]) {
    nearest_at(level(), queries, blocks, out);
}

fn nearest_at(level: Level, queries: &[&[f32]], blocks: &[f32], out: &mut [u32]) {
    let Some(last) = queries.last() else { return };
    let mut best = vec![[f32::MIN; BLOCK_ROWS]; queries.len()];
    let mut places = vec![[0_u32; BLOCK_ROWS]; queries.len()];
    // Each block is read once for all queries.
    for (number, block) in blocks.chunks_exact(BLOCK_ROWS * last.len().max(1)).enumerate() {
        let state = best.chunks_mut(QUERIES).zip(places.chunks_mut(QUERIES));
        for (queries, (best, places)) in queries.chunks(QUERIES).zip(state) {
            let queries: [&[f32]; QUERIES] =
                std::array::from_fn(|at| *queries.get(at).unwrap_or(last));
            let dots = some_at(level, queries, block);
            for ((dots, best), places) in dots.iter().zip(best).zip(places) {
                for lane in 0..BLOCK_ROWS {
                    let is_nearer = dots[lane] > best[lane];
                    best[lane] = if is_nearer { dots[lane] } else { best[lane] };
                    places[lane] = if is_nearer { number as u32 } else { places[lane] };
                }
            }
        }
    }
    for ((best, places), out) in best.iter().zip(&places).zip(out) {
        let lane =
            (1..BLOCK_ROWS).fold(0, |at, lane| if best[lane] > best[at] { lane } else { at });
        *out = places[lane] * BLOCK_ROWS as u32 + lane as u32;
    }
}

fn one_at(level: Level, query: &[f32], block: &[f32]) -> [f32; BLOCK_ROWS] {
    match level {
        Level::Portable => one::<false>(query, block),
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { one_avx2(query, block) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { one_avx512(query, block) },
    }
}

fn some_at(
    level: Level,
    queries: [&[f32]; QUERIES],
    block: &[f32],
) -> [[f32; BLOCK_ROWS]; QUERIES] {
    match level {
        Level::Portable => some::<16, false>(queries, block),
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { some_avx2(queries, block) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { some_avx512(queries, block) },
    }
}

/// Adds a product, in one step where the processor has one.
#[inline(always)]
fn add<const FUSED: bool>(sum: f32, left: f32, right: f32) -> f32 {
    if FUSED { left.mul_add(right, sum) } else { sum + left * right }
}

#[inline(always)]
fn one<const FUSED: bool>(query: &[f32], block: &[f32]) -> [f32; BLOCK_ROWS] {
    let mut sums = [[0.0_f32; BLOCK_ROWS]; TURNS];
    let (rows, _) = block.as_chunks::<BLOCK_ROWS>();
    let (queries, query_rest) = query.as_chunks::<TURNS>();
    let (turns, rest) = rows.as_chunks::<TURNS>();
    for (values, rows) in queries.iter().zip(turns) {
        for turn in 0..TURNS {
            for lane in 0..BLOCK_ROWS {
                sums[turn][lane] = add::<FUSED>(sums[turn][lane], values[turn], rows[turn][lane]);
            }
        }
    }
    for (value, row) in query_rest.iter().zip(rest) {
        for lane in 0..BLOCK_ROWS {
            sums[0][lane] = add::<FUSED>(sums[0][lane], *value, row[lane]);
        }
    }
    std::array::from_fn(|lane| sums.iter().map(|sums| sums[lane]).sum())
}

/// Goes over the block once for each of `LANES` rows of it.
#[inline(always)]
fn some<const LANES: usize, const FUSED: bool>(
    queries: [&[f32]; QUERIES],
    block: &[f32],
) -> [[f32; BLOCK_ROWS]; QUERIES] {
    let length = queries[0].len();
    let queries = queries.map(|query| &query[..length]);
    let mut out = [[0.0_f32; BLOCK_ROWS]; QUERIES];
    let (rows, _) = block.as_chunks::<BLOCK_ROWS>();
    for first in (0..BLOCK_ROWS).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; QUERIES];
        for (at, row) in rows[..length].iter().enumerate() {
            let Some(row) = row[first..].first_chunk::<LANES>() else { continue };
            for (query, sums) in queries.iter().zip(&mut sums) {
                for lane in 0..LANES {
                    sums[lane] = add::<FUSED>(sums[lane], query[at], row[lane]);
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            out[first..first + LANES].copy_from_slice(sums);
        }
    }
    out
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn one_avx2(query: &[f32], block: &[f32]) -> [f32; BLOCK_ROWS] {
    one::<true>(query, block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn one_avx512(query: &[f32], block: &[f32]) -> [f32; BLOCK_ROWS] {
    one::<true>(query, block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn some_avx2(queries: [&[f32]; QUERIES], block: &[f32]) -> [[f32; BLOCK_ROWS]; QUERIES] {
    some::<16, true>(queries, block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn some_avx512(queries: [&[f32]; QUERIES], block: &[f32]) -> [[f32; BLOCK_ROWS]; QUERIES] {
    some::<BLOCK_ROWS, true>(queries, block)
}

#[cfg(test)]
mod tests {
    use super::{super::levels_here, *};
    use crate::simd::dot;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn blocks_have_the_products_of_their_rows_and_tell_the_nearest() {
        let mut random = StdRng::seed_from_u64(3);
        for dimension in [1, 3, 8, 31, 64, 130] {
            let mut made = |rows: usize| -> Vec<f32> {
                (0..rows * dimension).map(|_| random.random_range(-1.0..1.0)).collect()
            };
            let (rows, queries) = (made(3 * BLOCK_ROWS), made(2 * QUERIES + 1));
            let blocks = to_blocks(&rows, dimension);
            let queries: Vec<&[f32]> = queries.chunks(dimension).collect();
            for level in levels_here() {
                let mut nearest = vec![0; queries.len()];
                nearest_at(level, &queries, &blocks, &mut nearest);
                for (query, nearest) in queries.iter().zip(nearest) {
                    let due: Vec<f32> = rows.chunks(dimension).map(|row| dot(query, row)).collect();
                    let got = blocks.chunks_exact(BLOCK_ROWS * dimension);
                    let got = got.flat_map(|block| one_at(level, query, block));
                    for (due, got) in due.iter().zip(got) {
                        assert!((due - got).abs() < 1e-4, "{level:?}, {dimension}");
                    }
                    let most = due.iter().copied().fold(f32::MIN, f32::max);
                    assert!(due[nearest as usize] > most - 1e-4, "{level:?}, {dimension}");
                }
            }
        }
    }
}
