//! Videos: which frames are looked at, and where they come from.

mod child;
mod ffmpeg;
mod frames;
mod ppm;
mod sampling;

pub use ffmpeg::{Ffmpeg, sample_video_file};
pub use frames::{Frames, decode_frames};
pub use sampling::{Sampling, sample};
