//! Tiles against f64 on random shapes.

use proptest::prelude::*;

use super::*;
use crate::{
    ActivationBits, BlockFormat, Isa, Matrix, Precision, Source,
    activations::Activations,
    fixture::{Random, q4_1_rows},
    kernels::Kernels,
};

/// Multiplies rows by a matrix tile by tile, without a team: `[rows, padded outputs]`.
fn multiply(isa: Isa, bits: ActivationBits, matrix: &Matrix, values: &[f32]) -> Vec<f32> {
    let kernels = Kernels::of(isa);
    let columns = matrix.columns();
    let rows = values.len() / columns;
    let mut activations = Activations::default();
    let form = kernels.form(bits, matrix.precision());
    activations.ensure(rows, columns, form);
    let input = activations.layout(rows, columns, form);
    for (tile, values) in values.chunks(TILE * columns).enumerate() {
        // SAFETY: the layout has the tile, as wide.
        unsafe { kernels.lay(values.as_ptr(), columns, &input, tile) };
    }
    let mut out = vec![0.0; rows * matrix.padded_rows()];
    let product = crate::product::Product { kernels, matrix, input, low_rank: None };
    for tile in 0..input.tiles() {
        product.run_tile(tile, |tile, outputs| {
            for row in 0..tile.rows {
                let at = (tile.row + row) * matrix.padded_rows() + tile.output;
                out[at..at + GROUP].copy_from_slice(&outputs[row * GROUP..(row + 1) * GROUP]);
            }
        });
    }
    out
}

const BITS: [ActivationBits; 2] = [ActivationBits::Eight, ActivationBits::Sixteen];

/// What rounded activations amount to.
fn rounded(values: &[f32], columns: usize, bits: ActivationBits) -> Vec<f64> {
    let limit = match bits {
        ActivationBits::Eight => 127.0_f32,
        ActivationBits::Sixteen => 32767.0,
    };
    let block = |block: &[f32]| -> Vec<f64> {
        let largest = block.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
        let inverse = if largest > 0.0 { limit / largest } else { 0.0 };
        let scale = f64::from(largest / limit);
        block.iter().map(|v| f64::from((v * inverse).round_ties_even()) * scale).collect()
    };
    values.chunks(columns).flat_map(|row| row.chunks(BLOCK).flat_map(block)).collect()
}

fn check(seed: u64, rows: usize, outputs: usize, columns: usize, precision: Precision) {
    for bits in BITS {
        check_bits(seed, rows, outputs, columns, precision, bits);
    }
}

fn check_bits(
    seed: u64,
    rows: usize,
    outputs: usize,
    columns: usize,
    precision: Precision,
    bits: ActivationBits,
) {
    let mut random = Random::new(seed);
    let stored;
    let bytes = columns / 32 * 20;
    let source = if precision == Precision::AsStored {
        stored = q4_1_rows(&mut random, outputs, columns).0;
        Source::blocks(BlockFormat::Q4_1, outputs, columns, |row| &stored[row * bytes..][..bytes])
    } else {
        Source::dense(outputs, columns, random.values(outputs * columns))
    };
    let matrix = Matrix::pack(&[source], precision).expect("packs");
    let mut values = random.values(rows * columns);
    // Some blocks are zero and some large.
    values.chunks_mut(BLOCK).step_by(5).for_each(|block| block.fill(0.0));
    values.chunks_mut(BLOCK).skip(1).step_by(7).for_each(|block| block[0] = 300.0);
    let exact: Vec<f64> = if matrix.is_quantised() {
        rounded(&values, columns, bits)
    } else {
        values.iter().map(|&v| v.into()).collect()
    };
    let mut weights = vec![0.0; columns];
    for isa in Isa::available() {
        let got = multiply(isa, bits, &matrix, &values);
        for output in 0..outputs {
            matrix.row(output, &mut weights);
            for row in 0..rows {
                let inputs = &exact[row * columns..(row + 1) * columns];
                let want: f64 = weights.iter().zip(inputs).map(|(w, x)| f64::from(*w) * x).sum();
                // A scale times an integer and an offset can each be larger than the weight
                // that they add up to.
                let largest = weights.iter().fold(0.0_f32, |max, w| max.max(w.abs()));
                let size = 2.0 * f64::from(largest) * inputs.iter().map(|x| x.abs()).sum::<f64>();
                let got = f64::from(got[row * matrix.padded_rows() + output]);
                let bound = 2e-6 * size.max(1.0);
                assert!((got - want).abs() <= bound, "{isa:?} {precision:?}: {got} {want}");
            }
        }
        // A row alone gives the same bits.
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let alone = multiply(isa, bits, &matrix, values);
            assert_eq!(alone, got[row * alone.len()..(row + 1) * alone.len()], "{isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tiles_are_exact_but_for_the_rounding_of_activations(
        seed in any::<u64>(),
        rows in 1_usize..20,
        outputs in 1_usize..40,
        blocks in 1_usize..5,
        tail in 0_usize..32,
    ) {
        for precision in [Precision::Four, Precision::Eight, Precision::Dense] {
            check(seed, rows, outputs, blocks * BLOCK + tail, precision);
        }
        check(seed, rows, outputs, blocks * BLOCK, Precision::AsStored);
    }
}

#[test]
fn extreme_quants_do_not_overflow() {
    // Every weight and activation at its limit: the sums that 16 bits have to hold.
    for precision in [Precision::Four, Precision::Eight] {
        for sign in [1.0, -1.0] {
            let source = Source::dense(16, 64, vec![sign; 16 * 64]);
            let matrix = Matrix::pack(&[source], precision).expect("packs");
            for isa in Isa::available() {
                for (bits, value) in BITS.into_iter().flat_map(|bits| [(bits, 1.0), (bits, -1.0)]) {
                    let got = multiply(isa, bits, &matrix, &[value; 64]);
                    let want = 64.0 * sign * value;
                    assert!(got.iter().all(|v| (v - want).abs() < 0.1), "{isa:?} {got:?}");
                }
            }
        }
    }
}

#[test]
fn a_stored_weight_of_minus_128_is_exact() {
    // Quantisers make none, but a file may hold any byte.
    let mut row = half::f16::ONE.to_le_bytes().to_vec();
    row.extend([0x80_u8; 32]);
    let source = Source::blocks(BlockFormat::Q8_0, 16, 32, |_| &row);
    let matrix = Matrix::pack(&[source], Precision::AsStored).expect("packs");
    for isa in Isa::available() {
        for value in [127.0, -127.0] {
            for rows in [1, 5] {
                for bits in BITS {
                    let got = multiply(isa, bits, &matrix, &vec![value; 32 * rows]);
                    let want = -128.0 * 32.0 * value;
                    let bound = if bits == ActivationBits::Eight { 0.0 } else { 0.1 };
                    assert!(got.iter().all(|v| (v - want).abs() <= bound), "{isa:?} {got:?}");
                }
            }
        }
    }
}

#[test]
fn a_team_multiplies_stacked_parts_without_their_padding() {
    let mut random = Random::new(14);
    let (outputs, columns) = ([21, 3, 16], 44);
    for precision in [Precision::Four, Precision::Eight, Precision::Dense] {
        let parts = outputs.map(|rows| Source::dense(rows, columns, random.values(rows * columns)));
        let matrix = Matrix::pack(&parts, precision).expect("packs");
        for rows in [0, 1, 9, 17] {
            let values = random.values(rows * columns);
            for isa in Isa::available() {
                let bits = BITS[rows % 2];
                let padded = multiply(isa, bits, &matrix, &values);
                let want: Vec<f32> = padded
                    .chunks(matrix.padded_rows())
                    .flat_map(|row| [&row[..21], &row[32..35], &row[48..64]].concat())
                    .collect();
                for threads in [1, 3] {
                    let team = crate::Team::new(threads).expect("threads");
                    assert_eq!(
                        matrix.multiply(&values, bits, &team, isa),
                        want,
                        "{isa:?} {threads}"
                    );
                }
            }
        }
    }
}
