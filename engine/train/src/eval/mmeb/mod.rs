//! MMEB-V2: 78 tasks over images, videos and document pages.
//!
//! Reads a task's folder in one of the layouts below, embeds its queries and candidates,
//! and scores the rankings as the public harness (VLM2Vec) does: hit@1 for images and
//! videos, linear NDCG@5 for documents, and the mean of tasks for groups, families and all.
//! Knows no protocol and decodes no media: parts go to the encoder as they lie on disk.
//! Invariant: the same data, encoder and options give the same scores.
//!
//! | layout | files of a task's folder |
//! |---|---|
//! | image | `test.jsonl`: `qry_inst`, `qry_text`, `qry_img_path`, `tgt_inst`, `tgt_text[]`, `tgt_img_path[]`; the first target is right |
//! | video | `videos.jsonl`, and a folder of frames for each video below `frames/` |
//! | pages | `queries.jsonl`, `corpus.jsonl`, `qrels.jsonl`, as BEIR's three parts |
//! | rows | `rows.jsonl`: `query_input`, `cand_input[]`, `dataset_infos{cand_names, label_name, rel_scores}`, as the harness normalises every task |
//!
//! | module | owns |
//! |---|---|
//! | `catalogue` | the tasks |
//! | `data`, `media` | a task's inputs; the files that they name |
//! | `lines`, `image`, `video`, `pages`, `rows` | reading the layouts |
//! | `run`, `score` | one task in several modes |
//! | `kept` | finished tasks, so that a broken-off evaluation goes on |
//! | `report` | rows, means, and the shape that public results have |

mod catalogue;
mod data;
mod image;
mod kept;
mod lines;
mod media;
mod pages;
mod report;
mod rows;
mod run;
mod score;
mod video;

pub use catalogue::{Group, Measure, TASKS, Task, find_task};
pub use data::{MmebInput, MmebQuery, MmebTask, find_folder};
pub use kept::Kept;
pub use media::MediaFolders;
pub use report::{MmebReport, MmebRow, MmebSummary, PublicScores};
pub use run::{MmebOptions, evaluate_task};
pub use score::{QueryScore, score_query};
