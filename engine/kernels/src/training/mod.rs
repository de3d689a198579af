//! A decoder's pass in f32 that can be gone back through: what a training step runs on a CPU.
//!
//! A tensor library runs a layer as some sixty operations forward and twice as many back, each of
//! which reads and writes memory, and most of which one thread computes. Here a layer is a dozen
//! phases of a team of threads, nearly all of whose time goes to products of matrices; sequences
//! are not padded, and beginnings that sequences share are computed once ([`Forest`]).
//!
//! | module | owns |
//! |---|---|
//! | `forest` | rows, what each sees, and their positions |
//! | `factors` | where the low-rank additions' factors lie |
//! | `tile`, `product` | products of matrices |
//! | `attention` | attention of one segment and one key-value head, there and back |
//! | `decoder` | packed weights, the way there |
//! | `backward` | the way back |
//! | `tape` | what the way back needs of the way there |
//!
//! Invariant: results do not depend on how many threads there are, nor on their timing.

mod attention;
mod backward;
mod decoder;
mod factors;
mod forest;
mod pass;
mod product;
mod tape;
#[cfg(test)]
mod tests;
mod tile;

pub use decoder::{Factors, TrainingDecoder, TrainingLayer, TrainingWeights};
pub use factors::{FactorLayout, FactorShape, TARGETS};
pub use forest::{Forest, Segment};
pub use tape::Tape;

pub(crate) use product::TileSet;
pub(crate) use tile::{TileInput, tile};
