//! From stored weights to packed ones.

use half::f16;

use super::{
    BLOCK, BlockFormat, Data, EIGHT_BYTES, FOUR_BYTES, GROUP, Matrix, Precision, Source, quad_byte,
    scale::eight_bit_scale, source::Stored,
};
use crate::{buffer::Buffer, error::KernelError};

/// Packs stacked parts; see [`Matrix::pack`].
pub(super) fn pack(parts: &[Source<'_>], precision: Precision) -> Result<Matrix, KernelError> {
    let columns = parts.first().map_or(0, |part| part.columns);
    for part in parts {
        check(part, columns)?;
    }
    if columns == 0 {
        return Err(KernelError::Shape { problem: "a matrix has no columns".to_owned() });
    }
    let groups: usize = parts.iter().map(|part| part.rows.div_ceil(GROUP)).sum();
    let blocks = columns.div_ceil(BLOCK);
    let mut data = match target(parts, precision) {
        Precision::Four => Data::Four {
            quants: Buffer::lasting(groups * blocks * FOUR_BYTES),
            scales: Buffer::lasting(groups * blocks * GROUP),
            offsets: Buffer::lasting(groups * blocks * GROUP),
        },
        Precision::Dense => {
            Data::Dense { values: Buffer::lasting(groups * blocks * BLOCK * GROUP) }
        }
        Precision::Eight | Precision::AsStored => Data::Eight {
            quants: Buffer::lasting(groups * blocks * EIGHT_BYTES),
            scales: Buffer::lasting(groups * blocks * GROUP),
        },
    };
    let mut first_group = 0;
    for part in parts {
        for row in 0..part.rows {
            let place = Place { group: first_group + row / GROUP, lane: row % GROUP, blocks };
            place.put(part, row, &mut data)?;
        }
        first_group += part.rows.div_ceil(GROUP);
    }
    Ok(Matrix { parts: parts.iter().map(|part| part.rows).collect(), columns, data })
}

fn check(part: &Source<'_>, columns: usize) -> Result<(), KernelError> {
    let fits = match &part.stored {
        Stored::Dense(values) => Some(values.len()) == part.rows.checked_mul(part.columns),
        Stored::Rows(_) => true,
        Stored::Blocks(format, row) => {
            let bytes = part.columns / BLOCK * format.block_bytes();
            part.columns.is_multiple_of(BLOCK) && (0..part.rows).all(|i| row(i).len() == bytes)
        }
    };
    if part.rows == 0 || part.columns != columns || !fits {
        let problem = format!("{part:?} is empty, is not {columns} wide, or lacks values");
        return Err(KernelError::Shape { problem });
    }
    Ok(())
}

/// Decides the format: only what is stored in 4 bits throughout stays in 4 bits.
fn target(parts: &[Source<'_>], precision: Precision) -> Precision {
    let is_four = |part: &Source<'_>| {
        matches!(part.stored, Stored::Blocks(BlockFormat::Q4_0 | BlockFormat::Q4_1, _))
    };
    match precision {
        Precision::AsStored if parts.iter().all(is_four) => Precision::Four,
        Precision::AsStored => Precision::Eight,
        other => other,
    }
}

/// Where a row goes.
struct Place {
    group: usize,
    lane: usize,
    blocks: usize,
}

impl Place {
    fn put(&self, part: &Source<'_>, row: usize, data: &mut Data) -> Result<(), KernelError> {
        match (&part.stored, data) {
            (
                Stored::Blocks(format @ (BlockFormat::Q4_0 | BlockFormat::Q4_1), bytes),
                Data::Four { quants, scales, offsets },
            ) => self.keep_four(*format, bytes(row), quants, scales, offsets),
            (Stored::Blocks(BlockFormat::Q8_0, bytes), Data::Eight { quants, scales }) => {
                self.keep_eight(bytes(row), quants, scales)
            }
            (Stored::Blocks(format, bytes), data) => {
                self.put_dense(&dequantise(*format, bytes(row)), data)
            }
            (Stored::Rows(read), data) => {
                let mut values = vec![0.0; part.columns];
                read(row, &mut values);
                self.put_dense(&values, data)
            }
            (Stored::Dense(values), data) => {
                self.put_dense(&values[row * part.columns..(row + 1) * part.columns], data)
            }
        }
    }

    /// Interleaves nibbles as they are: the file's byte order within a block is the
    /// kernels' as well.
    fn keep_four(
        &self,
        format: BlockFormat,
        bytes: &[u8],
        quants: &mut [u8],
        scales: &mut [f16],
        offsets: &mut [f16],
    ) -> Result<(), KernelError> {
        for (block, bytes) in bytes.chunks_exact(format.block_bytes()).enumerate() {
            let scale = finite(half_at(bytes, 0))?;
            let (offset, nibbles) = match format {
                // Eight is a power of two: the product is exact.
                BlockFormat::Q4_0 => (f16::from_f32(-8.0 * scale.to_f32()), &bytes[2..]),
                BlockFormat::Q4_1 | BlockFormat::Q8_0 => (half_at(bytes, 2), &bytes[4..]),
            };
            let at = self.scale_at(block);
            scales[at] = scale;
            offsets[at] = finite(offset)?;
            let start = (self.group * self.blocks + block) * FOUR_BYTES;
            for (column, &byte) in nibbles.iter().enumerate() {
                quants[start + quad_byte(column, self.lane)] = byte;
            }
        }
        Ok(())
    }

    fn keep_eight(
        &self,
        bytes: &[u8],
        quants: &mut [u8],
        scales: &mut [f16],
    ) -> Result<(), KernelError> {
        let size = BlockFormat::Q8_0.block_bytes();
        for (block, bytes) in bytes.chunks_exact(size).enumerate() {
            scales[self.scale_at(block)] = finite(half_at(bytes, 0))?;
            let start = (self.group * self.blocks + block) * EIGHT_BYTES;
            for (column, &byte) in bytes[2..].iter().enumerate() {
                quants[start + quad_byte(column, self.lane)] = byte ^ 0x80;
            }
        }
        Ok(())
    }

    fn put_dense(&self, row: &[f32], data: &mut Data) -> Result<(), KernelError> {
        if !row.iter().all(|value| value.is_finite()) {
            return Err(KernelError::NotFinite);
        }
        for (block, values) in row.chunks(BLOCK).enumerate() {
            let (at, index) = (self.scale_at(block), self.group * self.blocks + block);
            match data {
                Data::Four { quants, scales, offsets } => {
                    let (scale, offset) = four_bit_range(values);
                    scales[at] = scale;
                    offsets[at] = offset;
                    let (scale, offset) = (scale.to_f32(), offset.to_f32());
                    for (column, value) in values.iter().enumerate() {
                        let q = divide(value - offset, scale).clamp(0.0, 15.0) as u8;
                        let shift = if column < 16 { 0 } else { 4 };
                        quants[index * FOUR_BYTES + quad_byte(column % 16, self.lane)] |=
                            q << shift;
                    }
                }
                Data::Eight { quants, scales } => {
                    let scale = eight_bit_scale(values);
                    scales[at] = scale;
                    for (column, value) in values.iter().enumerate() {
                        let q = divide(*value, scale.to_f32()).clamp(-127.0, 127.0) as i8;
                        quants[index * EIGHT_BYTES + quad_byte(column, self.lane)] =
                            q.cast_unsigned() ^ 0x80;
                    }
                }
                Data::Dense { values: packed } => {
                    for (column, value) in values.iter().enumerate() {
                        packed[(index * BLOCK + column) * GROUP + self.lane] = *value;
                    }
                }
            }
        }
        Ok(())
    }

    fn scale_at(&self, block: usize) -> usize {
        (self.group * self.blocks + block) * GROUP + self.lane
    }
}

/// The scale and offset that spread a block's range over 16 levels.
fn four_bit_range(values: &[f32]) -> (f16, f16) {
    let bounded = |value: f32| f16::from_f32(value.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32()));
    let (min, max) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &v| (min.min(v), max.max(v)));
    (bounded((max - min) / 15.0), bounded(min))
}

/// Divides and rounds; 0 where the scale is.
fn divide(value: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { (value / scale).round() }
}

fn dequantise(format: BlockFormat, bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() * 2);
    for bytes in bytes.chunks_exact(format.block_bytes()) {
        let scale = half_at(bytes, 0).to_f32();
        let (offset, nibbles) = match format {
            BlockFormat::Q8_0 => {
                values.extend(bytes[2..].iter().map(|q| f32::from(q.cast_signed()) * scale));
                continue;
            }
            BlockFormat::Q4_0 => (-8.0 * scale, &bytes[2..]),
            BlockFormat::Q4_1 => (half_at(bytes, 2).to_f32(), &bytes[4..]),
        };
        values.extend(nibbles.iter().map(|byte| f32::from(byte & 15) * scale + offset));
        values.extend(nibbles.iter().map(|byte| f32::from(byte >> 4) * scale + offset));
    }
    values
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn finite(value: f16) -> Result<f16, KernelError> {
    if value.is_finite() { Ok(value) } else { Err(KernelError::NotFinite) }
}
