//! The number formats of weights, and how each becomes f32.

use half::{bf16, f16};

/// Elements that share one scale in the quantised formats.
const BLOCK: usize = 32;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// 32 elements in 18 bytes: f16 `d`, 16 bytes of nibbles; `w = d * (q - 8)`.
    Q4_0,
    /// 32 elements in 20 bytes: f16 `d`, f16 `m`, 16 bytes of nibbles; `w = d * q + m`.
    Q4_1,
    /// 32 elements in 34 bytes: f16 `d`, 32 signed bytes; `w = d * q`.
    Q8_0,
}

impl BlockKind {
    /// Finds the kind for a type number of GGUF.
    pub(super) fn from_gguf(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::F32),
            1 => Some(Self::F16),
            2 => Some(Self::Q4_0),
            3 => Some(Self::Q4_1),
            8 => Some(Self::Q8_0),
            30 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Elements in one block; 1 for the plain formats.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => BLOCK,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of a row of `elements`; `None` when they are no whole number of blocks or too many.
    pub fn row_bytes(self, elements: usize) -> Option<usize> {
        let is_whole = elements.is_multiple_of(self.block_elements());
        is_whole.then(|| (elements / self.block_elements()).checked_mul(self.block_bytes()))?
    }

    /// Bytes of a matrix; `None` when its rows do not consist of whole blocks, and when it has
    /// no rows or too many.
    pub(super) fn matrix_bytes(self, rows: usize, columns: usize) -> Option<usize> {
        self.row_bytes(columns)?.checked_mul(rows).filter(|_| rows > 0)
    }
}

/// Names the type numbers of GGUF that this reader does not support.
pub(super) fn unsupported_name(number: u32) -> String {
    let name = match number {
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16..=23 | 29 => return format!("an IQ type (number {number})"),
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("type number {number}"),
    };
    name.to_owned()
}

/// Converts stored blocks to f32. `bytes` must hold exactly the blocks of `out`.
pub(super) fn dequantise(kind: BlockKind, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(kind.row_bytes(out.len()), Some(bytes.len()));
    match kind {
        BlockKind::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        BlockKind::F16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        BlockKind::Bf16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        BlockKind::Q4_0 => each_block::<18>(bytes, out, |block, out| {
            let scale = half_at(block, 0);
            nibbles(&block[2..], out, |q| (f32::from(q) - 8.0) * scale);
        }),
        BlockKind::Q4_1 => each_block::<20>(bytes, out, |block, out| {
            let (scale, offset) = (half_at(block, 0), half_at(block, 2));
            nibbles(&block[4..], out, |q| f32::from(q) * scale + offset);
        }),
        BlockKind::Q8_0 => each_block::<34>(bytes, out, |block, out| {
            let scale = half_at(block, 0);
            for (value, q) in out.iter_mut().zip(&block[2..]) {
                *value = f32::from(q.cast_signed()) * scale;
            }
        }),
    }
}

/// Hands each block with its 32 elements to `convert`.
fn each_block<const BYTES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    convert: impl Fn(&[u8; BYTES], &mut [f32; BLOCK]),
) {
    let (blocks, elements) = (bytes.as_chunks::<BYTES>().0, out.as_chunks_mut::<BLOCK>().0);
    for (block, out) in blocks.iter().zip(elements) {
        convert(block, out);
    }
}

/// Spreads 16 bytes over 32 elements: low nibbles are the first half, high nibbles the second.
fn nibbles(bytes: &[u8], out: &mut [f32; BLOCK], convert: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = convert(byte & 0x0f);
        *high = convert(byte >> 4);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: BlockKind, bytes: &[u8], want: impl Fn(usize) -> f32) {
        let mut out = [f32::NAN; BLOCK];
        dequantise(kind, bytes, &mut out);
        for (index, got) in out.into_iter().enumerate() {
            assert_eq!(got, want(index), "element {index}");
        }
    }

    /// A block with the given halves in front and nibbles 0..=15 in both halves.
    fn block_of_nibbles(halves: &[f32]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            halves.iter().flat_map(|&half| f16::from_f32(half).to_le_bytes()).collect();
        bytes.extend((0..16u8).map(|q| q | (15 - q) << 4));
        bytes
    }

    fn nibble(index: usize) -> f32 {
        (if index < 16 { index } else { 31 - index }) as f32
    }

    #[test]
    fn quantised_blocks_follow_their_formulas() {
        check(BlockKind::Q4_0, &block_of_nibbles(&[0.5]), |i| 0.5 * (nibble(i) - 8.0));
        check(BlockKind::Q4_1, &block_of_nibbles(&[0.25, -3.0]), |i| 0.25 * nibble(i) - 3.0);
        let mut eights = f16::from_f32(2.0).to_le_bytes().to_vec();
        let eight_bits = |i: usize| (i as i16 * 8 - 127) as i8;
        eights.extend((0..BLOCK).map(|i| eight_bits(i % 31).cast_unsigned()));
        check(BlockKind::Q8_0, &eights, |i| 2.0 * f32::from(eight_bits(i % 31)));
    }

    #[test]
    fn plain_formats_convert() {
        let values: Vec<f32> = (0..32).map(|i| i as f32 - 16.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        check(BlockKind::F32, &bytes, |i| values[i]);
        let bytes: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        check(BlockKind::F16, &bytes, |i| values[i]);
        let bytes: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        check(BlockKind::Bf16, &bytes, |i| values[i]);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(BlockKind::Q4_1.row_bytes(64), Some(40));
        assert_eq!(BlockKind::Q4_1.row_bytes(63), None);
        assert_eq!(BlockKind::F32.row_bytes(usize::MAX), None);
    }
}
