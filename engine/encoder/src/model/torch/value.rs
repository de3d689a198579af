//! What the interpreter computes with.

use std::fmt;

use super::storage::{StorageRef, TorchType, View};
use crate::model::cursor::Problem;

/// Objects of one program at most.
const OBJECTS_MAX: usize = 1 << 16;

/// The globals that a file of tensors may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// A storage's type, for example `torch.FloatStorage`.
    StorageType(TorchType),
}

/// A value. Whatever owns others lies on the heap, so that nothing is dropped or compared
/// recursively, however deep a program nests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'p str),
    Global(Global),
    Object(usize),
}

/// What lies on the heap.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object<'p> {
    Tuple(Vec<Value<'p>>),
    List(Vec<Value<'p>>),
    Dict(Vec<(Value<'p>, Value<'p>)>),
    Storage(StorageRef<'p>),
    Tensor(View<'p>),
}

/// The objects of a program, which live as long as it.
#[derive(Debug, Default)]
pub(super) struct Heap<'p> {
    objects: Vec<Object<'p>>,
}

impl Global {
    /// Looks a global up.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, Problem> {
        let found = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch" | "torch.storage", name) => TorchType::of_storage(name).map(Self::StorageType),
            _ => None,
        };
        found.ok_or_else(|| {
            let advice = if module == "torch" && name.ends_with("Storage") {
                "supported storages are Float, Half, BFloat16, Double and Long"
            } else {
                "it was not run; only tensors, Parameters and dictionaries, lists and tuples of \
                 them are read: save the module's `state_dict()`"
            };
            format!("asks for `{}.{}`: {advice}", printable(module), printable(name))
        })
    }
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderedDict => f.write_str("collections.OrderedDict"),
            Self::RebuildTensor => f.write_str("torch._utils._rebuild_tensor_v2"),
            Self::RebuildParameter => f.write_str("torch._utils._rebuild_parameter"),
            Self::StorageType(stored) => write!(f, "torch.{}", stored.storage()),
        }
    }
}

impl<'p> Heap<'p> {
    /// Puts an object on the heap.
    pub(super) fn add(&mut self, object: Object<'p>) -> Result<Value<'p>, Problem> {
        if self.objects.len() >= OBJECTS_MAX {
            return Err(format!("has more than {OBJECTS_MAX} objects"));
        }
        self.objects.push(object);
        Ok(Value::Object(self.objects.len() - 1))
    }

    /// The object at `at`, which came from [`Self::add`].
    pub(super) fn get(&self, at: usize) -> &Object<'p> {
        &self.objects[at]
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, at: usize) -> &mut Object<'p> {
        &mut self.objects[at]
    }

    /// The items of a tuple.
    pub(super) fn tuple(&self, value: Value<'p>) -> Option<&[Value<'p>]> {
        let Value::Object(at) = value else { return None };
        match self.get(at) {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

/// Shortens names from a file so that they can stand in a message.
fn printable(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_debug).collect()
}
