//! Norms of single heads, as Qwen3 has them.

use super::DecoderShape;
use crate::{KernelError, kernels::Kernels};

/// One layer's scales for the root-mean-square norms of queries and keys, `[head_dim]` each.
#[derive(Debug, Clone)]
pub struct HeadNorms {
    /// For the queries of every head.
    pub queries: Vec<f32>,
    /// For the keys of every head.
    pub keys: Vec<f32>,
}

/// Checks that there is one for each layer, as wide as a head.
pub(super) fn check(norms: &[HeadNorms], shape: &DecoderShape) -> Result<(), KernelError> {
    let fits = |norm: &HeadNorms| [&norm.queries, &norm.keys].map(Vec::len) == [shape.head_dim; 2];
    if norms.len() == shape.layers && norms.iter().all(fits) {
        return Ok(());
    }
    let problem = format!("the norms of heads do not fit a decoder of {shape:?}");
    Err(KernelError::Shape { problem })
}

/// Normalises one head in place.
///
/// # Safety
/// `head` holds as many values as `scales`.
pub(super) unsafe fn normalise(kernels: &Kernels, scales: &[f32], eps: f32, head: *mut f32) {
    // SAFETY: the caller's promise; normalising in place reads each value before it writes
    // it; `Kernels::of` has checked the instructions.
    unsafe { (kernels.normalise)(head, scales.as_ptr(), scales.len(), eps, head) }
}
