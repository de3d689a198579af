//! Tensors in the files that `torch.save` writes (`.pt`).
//!
//! Such a file is a zip with a pickle in it, and a pickle is a program. This one is read by
//! an interpreter that knows only what a tensor, a `Parameter`, and dictionaries, lists and
//! tuples of them need; it calls nothing, and whatever else a file asks for is refused by
//! name. Knows no model. Invariant: whatever the bytes, reading them ends in tensors or in
//! an error, and takes memory in proportion to the file.
//!
//! | module | owns |
//! |---|---|
//! | `archive` | the zip: which file is which, whole and uncompressed |
//! | `pickle` | the interpreter |
//! | `opcode` | the instructions it knows |
//! | `value` | what it computes with |
//! | `storage` | numbers, and the part of them that a tensor is |

mod archive;
mod opcode;
mod pickle;
mod storage;
mod value;

use std::{collections::BTreeSet, path::Path};

use self::{
    archive::Archive,
    storage::Storages,
    value::{Heap, Object, Value},
};
use super::{cursor::Problem, model_file};
use crate::{checkpoint::HostTensor, error::EncoderError};

pub use storage::TorchType;

/// Dictionaries and lists within each other at most.
const DEPTH_MAX: usize = 16;
const TENSORS_MAX: usize = 4096;
/// Entries of dictionaries and lists that are looked at.
const ENTRIES_MAX: usize = 1 << 16;
const NAME_BYTES_MAX: usize = 512;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TorchTensor {
    /// Its place in the file, for example `0.weight`; empty for a file that is a tensor.
    pub name: String,
    /// How its values are stored.
    pub stored: TorchType,
    /// Its values, converted.
    pub tensor: HostTensor,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TorchFile {
    /// In the file's order.
    pub tensors: Vec<TorchTensor>,
    /// Names of entries that are numbers, texts, truth values or nothing.
    pub others: Vec<String>,
}

impl TorchFile {
    /// Reads a file's bytes; `path` names it in errors.
    ///
    /// # Errors
    /// Fails when the bytes are not such a file, are damaged or cut short, ask for a global
    /// beyond tensors, hold a type of number other than [`TorchType`]'s, or exceed a limit.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, EncoderError> {
        parse(bytes).map_err(|problem| model_file(path, problem))
    }
}

fn parse(bytes: &[u8]) -> Result<TorchFile, Problem> {
    let mut archive = Archive::open(bytes)?;
    let program = archive.program()?;
    let (heap, root) = pickle::run(&program)?;
    let mut walk = Walk {
        heap: &heap,
        storages: Storages::new(&mut archive, bytes.len()),
        file: TorchFile::default(),
        names: BTreeSet::new(),
        entries: 0,
    };
    walk.visit(root, String::new(), 0)?;
    if walk.file.tensors.is_empty() {
        return Err("holds no tensor".to_owned());
    }
    Ok(walk.file)
}

/// Collects the tensors below a value. A value may be reached on several ways, and a list
/// may hold itself: depth and the number of entries are bounded.
struct Walk<'h, 'p, 'a> {
    heap: &'h Heap<'p>,
    storages: Storages<'h, 'a>,
    file: TorchFile,
    names: BTreeSet<String>,
    entries: usize,
}

impl<'p> Walk<'_, 'p, '_> {
    fn visit(&mut self, value: Value<'p>, name: String, depth: usize) -> Result<(), Problem> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(format!("has more than {ENTRIES_MAX} entries"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("has dictionaries and lists more than {DEPTH_MAX} deep"));
        }
        let heap = self.heap;
        match value {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                self.file.others.push(name);
                Ok(())
            }
            Value::Global(global) => Err(format!("holds `{global}` itself, not a tensor")),
            Value::Object(at) => match heap.get(at) {
                Object::Tuple(items) | Object::List(items) => {
                    for (index, &item) in items.iter().enumerate() {
                        self.visit(item, below(&name, &index.to_string())?, depth + 1)?;
                    }
                    Ok(())
                }
                Object::Dict(entries) => {
                    for &(key, item) in entries {
                        let key = match key {
                            Value::Text(text) => text.to_owned(),
                            Value::Int(number) => number.to_string(),
                            _ => return Err(format!("has a key in `{name}` that is no text")),
                        };
                        self.visit(item, below(&name, &key)?, depth + 1)?;
                    }
                    Ok(())
                }
                Object::Storage(_) => {
                    Err(format!("`{name}` is a bare storage; save tensors instead"))
                }
                Object::Tensor(view) => {
                    if self.file.tensors.len() >= TENSORS_MAX {
                        return Err(format!("has more than {TENSORS_MAX} tensors"));
                    }
                    if !self.names.insert(name.clone()) {
                        return Err(format!("has tensor `{name}` twice"));
                    }
                    let tensor = self
                        .storages
                        .tensor(view)
                        .map_err(|problem| format!("tensor `{name}` {problem}"))?;
                    let stored = view.storage.stored;
                    self.file.tensors.push(TorchTensor { name, stored, tensor });
                    Ok(())
                }
            },
        }
    }
}

fn below(name: &str, key: &str) -> Result<String, Problem> {
    let full = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    if full.len() > NAME_BYTES_MAX {
        return Err(format!("has a name of more than {NAME_BYTES_MAX} bytes"));
    }
    Ok(full)
}
