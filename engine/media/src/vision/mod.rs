//! From pixels to the patches of a vision tower, as the Hugging Face processors of
//! Qwen2-VL and Qwen3-VL make them.

mod flatten;
mod patches;
mod preprocess;
mod smart_resize;
mod spec;

pub use patches::{Grid, Patches};
pub(crate) use preprocess::patches_of_frames;
pub use preprocess::preprocess_image;
pub use smart_resize::{Size, image_size, video_frame_size};
pub use spec::{VideoSpec, VisionSpec};
