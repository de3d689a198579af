//! What can be wrong with weights and shapes.

/// What can be wrong with weights and shapes. A forward pass itself cannot fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Sizes do not fit together.
    #[error("{problem}")]
    Shape {
        /// Which, and how.
        problem: String,
    },
    /// A weight is infinite or not a number.
    #[error("a weight is not finite")]
    NotFinite,
    /// The system gave no thread.
    #[error("cannot start a kernel thread: {problem}")]
    Thread {
        /// The system's words.
        problem: String,
    },
}
