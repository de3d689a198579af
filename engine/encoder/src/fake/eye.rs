//! How the fake embedder looks at pictures.

use sha2::{Digest, Sha256};
use twn_media::{Media, MediaError, MediaReader, VideoSpec, VisionSpec};

/// Shades that the mean of a token's pixels is told apart in, for each channel.
const SHADES: f32 = 8.0;

/// Makes one token of each small square of a picture, from its place and mean colour, so
/// that pictures that look alike share tokens.
#[derive(Debug)]
pub(crate) struct FakeEye {
    reader: MediaReader,
}

impl Default for FakeEye {
    fn default() -> Self {
        let image = VisionSpec { min_pixels: 16_384, max_pixels: 16_384, ..VisionSpec::QWEN3_VL };
        let video = VideoSpec {
            vision: VisionSpec { max_pixels: 65_536, ..image.clone() },
            max_frames: 8,
            ..VideoSpec::QWEN3_VL
        };
        Self { reader: MediaReader { image, video, page_dpi: 50.0, ..MediaReader::default() } }
    }
}

impl FakeEye {
    /// Reads a piece of media, and returns at least one token. They are even, as those of
    /// words that ask nothing.
    pub(crate) fn tokens(&self, media: &Media) -> Result<Vec<u32>, MediaError> {
        let patches = self.reader.read(media)?;
        let merge = self.reader.image.merge as usize;
        let token_len = patches.row_len() * merge * merge;
        let tokens = patches.values.chunks_exact(token_len).enumerate();
        Ok(tokens.map(|(place, values)| token(place, values, patches.row_len())).collect())
    }
}

fn token(place: usize, values: &[f32], row_len: usize) -> u32 {
    let mut sums = [0.0_f32; 3];
    for row in values.chunks_exact(row_len) {
        for (sum, channel) in sums.iter_mut().zip(row.chunks_exact(row_len / 3)) {
            *sum += channel.iter().sum::<f32>();
        }
    }
    let per_channel = (values.len() / 3) as f32;
    let shades = sums.map(|sum| ((sum / per_channel + 1.0) / 2.0 * SHADES) as u32);
    let digest = Sha256::digest(format!("{place} {shades:?}"));
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]) & !1
}
