//! Training: data in, adapters that earn their tokens out.
//!
//! The backbone is frozen; what learns is what `Adapters` holds. One stage after another
//! of a recipe runs on any burn device. Knows no collection and no server. Invariant: a
//! run that is killed and resumed gives the adapters that it would have given.
//!
//! | module | owns |
//! |---|---|
//! | `recipe` | what to train, on what, in which stages |
//! | `dataset`, `draw` | examples, and which of them make a step |
//! | `sequence`, `batch` | from texts to padded tokens |
//! | `teacher`, `closed_form` | a teacher's vectors, and where a projection begins |
//! | `student` | the model under training |
//! | `loss`, `step`, `optimizer` | losses, a step's gradients, AdamW |
//! | `gate`, `calibrate` | the gate's fit to what thoughts were worth, and its threshold |
//! | `policy` | thoughts sampled, rewarded and reinforced |
//! | `checkpoint`, `trainer` | a run that can be killed |

mod batch;
mod calibrate;
mod checkpoint;
mod closed_form;
mod dataset;
mod draw;
mod error;
mod gate;
pub mod loss;
mod optimizer;
mod policy;
mod recipe;
mod sequence;
mod step;
mod student;
mod teacher;
mod trainer;

pub use batch::{Batch, group_by_length};
pub use calibrate::{CalibrateOptions, Calibration, calibrate};
pub use checkpoint::Place;
pub use dataset::{Example, read_examples};
pub use draw::{Case, Draw, Drawn};
pub use error::TrainError;
pub use gate::{GateFit, GateFitted, fit_gate};
pub use loss::{Contrast, Pairing};
pub use optimizer::{AdamW, AdamWOptions, OptimizerState, ParameterGradients};
pub use policy::PolicyFigures;
pub use recipe::{Policy, Recipe, Stage, Weights};
pub use sequence::{Sequence, SequenceLimits, Sequencer};
pub use step::{StepLosses, run_step};
pub use student::{Embedded, Student, Wiring};
pub use teacher::Teacher;
pub use trainer::{LogLine, RunEnd, TrainOptions, train};
