//! MMEB-V2: the 78 tasks of the multimodal embedding benchmark.
//!
//! A task is a folder named as in the [`TASKS`] catalogue, in one of three layouts:
//!
//! | layout | files |
//! |---|---|
//! | image | `test.jsonl`: `qry_inst`, `qry_text`, `qry_img_path`, `tgt_inst`, `tgt_text[]`, `tgt_img_path[]`; the first target is right |
//! | rows | `rows.jsonl`: `query_input`, `cand_input[]`, `dataset_infos{cand_names, label_name, rel_scores}`, as the public harness normalises every task; videos are folders of frames |
//! | BEIR | `queries.jsonl`, `corpus.jsonl` with `image`, `qrels.jsonl` with graded `score` |
//!
//! Candidates are told apart by name and encoded once. Scores are dot products; images
//! and videos are scored by hit@1, documents by linear NDCG@5, and groups by the mean of
//! their tasks, as the public harness does.

mod catalogue;
mod data;
mod layouts;
mod report;
mod run;

pub use catalogue::{Group, Measure, TASKS, Task, find_task};
pub use data::{MmebInput, MmebQuery, MmebTask};
pub use report::{MmebReport, MmebRow, MmebSummary};
pub use run::{MmebOptions, evaluate_task, finished, score};
