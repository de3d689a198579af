//! The pixels of a prompt, ready for the vision tower.

use crate::backbone::Grid;

/// The pixels of a prompt's images, videos and pages, ready for the vision tower.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pictures {
    /// How the patches of each lie, in reading order.
    pub grids: Vec<Grid>,
    /// Their patches one after another, `[patches, channels * frames * side²]`.
    pub patches: Vec<f32>,
}
