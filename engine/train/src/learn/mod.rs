//! Training: data in, adapters that earn their tokens out.
//!
//! The backbone is frozen; what learns is what `Adapters` holds. One stage after another
//! of a recipe runs on any burn device. Knows no collection and no server. Invariant: a
//! run that is killed and resumed gives the adapters that it would have given.
//!
//! | module | owns |
//! |---|---|
//! | `recipe`, `recipe_change` | what to train, on what, in which stages; what is tried otherwise |
//! | `dataset`, `draw` | examples, and which of them make a step |
//! | `sequence`, `batch`, `grove` | from texts to tokens, padded, or with what they share once |
//! | `teacher`, `closed_form` | a teacher's vectors, and where a projection begins |
//! | `neighbourhood` | texts to distil, with those that the teacher finds near |
//! | `student` | the model under training |
//! | `loss`, `step`, `optimizer` | losses, a step's gradients, AdamW |
//! | `gate`, `calibrate` | the gate's fit to what thoughts were worth, and its threshold |
//! | `lexicon` | which words weigh how much in trained adapters' embeddings |
//! | `sampler`, `own_thoughts` | thoughts of the student's own, as the server decodes them |
//! | `policy` | thoughts sampled, rewarded and reinforced |
//! | `held_out` | retrieval on held-out data while training |
//! | `checkpoint`, `log`, `trainer` | a run that can be killed |
//! | `curves` | a run's log as pictures |
//! | `ablation` | one recipe in several variants, in one table |

mod ablation;
mod batch;
mod calibrate;
mod checkpoint;
mod closed_form;
mod curves;
mod dataset;
mod draw;
mod error;
mod gate;
mod grove;
mod held_out;
mod lexicon;
mod log;
pub mod loss;
mod neighbourhood;
mod optimizer;
mod own_thoughts;
mod policy;
mod recipe;
mod recipe_change;
mod sampler;
mod sequence;
mod step;
mod student;
mod teacher;
mod trainer;

pub use ablation::{
    AblationEvent, AblationOptions, AblationPlan, AblationRow, AblationTable, Variant, ablate,
};
pub use batch::Batch;
use batch::group_by_length;
pub use calibrate::{CalibrateOptions, Calibration, calibrate};
pub use checkpoint::Place;
pub use curves::plot_run;
pub use dataset::{Example, read_examples};
pub use draw::{Case, Draw, Drawn};
pub use error::TrainError;
pub use gate::{GateFit, GateFitted, fit_gate};
pub use held_out::{Evaluate, HeldOutFigures, Thoughtful};
pub use lexicon::{LexiconFit, LexiconOptions, fit_lexicon};
pub use log::{HeldOutLine, LogLine, TrainEvent};
pub use loss::{Contrast, Pairing};
pub use optimizer::{AdamW, AdamWOptions, OptimizerState, ParameterGradients};
pub use policy::PolicyFigures;
pub use recipe::{Policy, Recipe, Stage, Weights};
pub use recipe_change::RecipeChange;
pub use sequence::{Decoded, Sequence, SequenceLimits, Sequencer};
pub use step::{StepLosses, run_step};
pub use student::{Embedded, Student, Wiring};
pub use teacher::Teacher;
pub use trainer::{RunEnd, TrainOptions, train};
