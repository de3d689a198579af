//! What is added to the backbone: two LoRA adapters, the queries, the gate, projections.
//!
//! Owns the adapter folder: `reasoning/` and `embedding/` in PEFT format,
//! `head.safetensors` and the manifest `twn.json`, or the released checkpoints' gate and
//! queries in files of their own. Knows no text and runs no backbone.
//! Invariant: a tensor that is missing, stray or of another shape is an error.

mod files;
mod folder;
mod inspect;
mod inspect_lora;
mod layout;
mod lora;
mod manifest;
mod mini;
mod peft;
mod peft_config;
mod plan;
mod released;
mod released_gate;
mod released_manifest;
mod target;
mod tensor_file;

pub use folder::Adapters;
pub use inspect::{
    AdaptersInspection, HeadInspection, LoraInspection, Setting, TensorShape, inspect_adapters,
};
pub use lora::{Lora, LoraLayer, LoraPair};
pub(crate) use lora::{parameter, to_host};
pub use manifest::{
    BackboneId, GatePoint, Instructions, Interface, MANIFEST_VERSION, Manifest, ThoughtFormat,
};
pub use peft::{read_peft, write_peft};
pub use plan::AdapterPlan;
pub use target::Target;
pub(crate) use tensor_file::HostTensors;
pub use tensor_file::StoredType;
