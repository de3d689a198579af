//! Media bytes to pixels, and pixels to the patches of a vision tower.
//!
//! Owns the decoding of images, video frames and PDF pages, their limits, and the
//! resizing and flattening that vision towers expect of a processor. Knows no model: a
//! [`VisionSpec`] says what one wants. Invariants: nothing here trusts a file name or a
//! declared type, nothing is fetched, and a hostile file gives an error, never a panic.
//!
//! ```
//! use twn_media::{Limits, VisionSpec, decode_image, preprocess_image};
//! # let mut bytes = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
//! # bytes.extend([0; 24]);
//! # bytes.extend([1, 2, 3, 0]);
//! let image = decode_image(&bytes, &Limits::default())?;
//! let patches = preprocess_image(&image, &VisionSpec::QWEN3_VL)?;
//! assert_eq!(patches.grid.tokens(2) * 4, patches.grid.rows());
//! # Ok::<(), twn_media::MediaError>(())
//! ```

mod error;
mod format;
mod guard;
mod image;
mod limits;
mod media;
mod pdf;
mod reader;
mod video;
mod vision;

pub use error::MediaError;
pub use format::Format;
pub use image::{Image, decode_image};
pub use limits::Limits;
pub use media::{Media, MediaKind};
pub use pdf::Pdf;
pub use reader::MediaReader;
pub use video::{Ffmpeg, Frames, Sampling, decode_frames, sample, sample_video_file};
pub use vision::{
    Grid, Patches, Size, VideoSpec, VisionSpec, image_size, preprocess_image, video_frame_size,
};
