//! Data to train and to evaluate on.
//!
//! Makes training files (an [`Example`] a line) and evaluation sets in BEIR's layout, from
//! a generator of queries that have to be resolved and from texts of packages that the
//! caller has unpacked. Knows no model. Invariants: the same inputs, options and seed give
//! the same files; no text of an evaluation set, and nothing that shares its phrasing,
//! names or values, is trained on.
//!
//! | module | owns |
//! |---|---|
//! | `resolving` | the generator: families of clues and values, phrasings, documents |
//! | `corpora` | reading WordNet, package descriptions, rationales, documentation |
//! | `split` | what is for training, for validation, for tests |
//! | `leak` | finding texts of evaluation sets in training texts |
//! | `collection` | writing an evaluation set |
//! | `make` | the whole run and what it counts |

mod collection;
mod corpora;
mod dice;
mod error;
mod example;
mod leak;
mod make;
mod resolving;
mod split;

pub use error::DataError;
pub use example::{Example, Kind};
pub use make::{DataOptions, DataSummary, FAVOUR, make};
pub use split::Split;
