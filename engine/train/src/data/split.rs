//! Which of the three parts of the data something belongs to.

use super::dice::{hash, mix};

/// A part of the data. What is in one is in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Adapters and queries learn from it.
    Train,
    /// The gate is calibrated on it.
    Valid,
    /// Results are reported on it.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The part that the value pair `key` of a resolving family belongs to: four fifths
    /// train, a tenth each for the others.
    pub fn of_pair(key: &str) -> Self {
        match mix(hash(key)) % 20 {
            0 | 1 => Self::Valid,
            2 | 3 => Self::Test,
            _ => Self::Train,
        }
    }

    /// The part that a text of a corpus belongs to, by the name that its relatives share:
    /// a fiftieth each for validation and test.
    pub fn of_text(key: &str) -> Self {
        match mix(hash(key)) % 50 {
            0 => Self::Valid,
            1 => Self::Test,
            _ => Self::Train,
        }
    }
}

/// Things that each split has its own of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<T: 'static> {
    pub(crate) train: &'static [T],
    pub(crate) valid: &'static [T],
    pub(crate) test: &'static [T],
}

impl<T> Parts<T> {
    /// Those of `split`.
    pub(crate) fn of(&self, split: Split) -> &'static [T] {
        match split {
            Split::Train => self.train,
            Split::Valid => self.valid,
            Split::Test => self.test,
        }
    }
}
