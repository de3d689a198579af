//! Numbers, and the part of them that a tensor is.

use std::collections::BTreeMap;

use half::{bf16, f16};

use super::{
    archive::Archive,
    value::{Global, Heap, Object, Value},
};
use crate::{checkpoint::HostTensor, model::cursor::Problem};

const DIMENSIONS_MAX: usize = 8;
/// Values of all tensors of a file together: 512 MiB as f32.
const VALUES_MAX: usize = 1 << 27;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TorchType {
    /// `torch.float32`.
    F32,
    /// `torch.float16`.
    F16,
    /// `torch.bfloat16`.
    Bf16,
    /// `torch.float64`, rounded to f32.
    F64,
    /// `torch.int64`, read where f32 has the number exactly.
    I64,
}

/// A storage as a program names it: an entry of the archive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StorageRef<'p> {
    pub(super) stored: TorchType,
    key: &'p str,
    /// Values in it.
    len: usize,
}

/// A tensor as a program describes it; it lies within its storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View<'p> {
    pub(super) storage: StorageRef<'p>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl TorchType {
    const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::F64, Self::I64];

    /// The name of its storages, for example `FloatStorage`.
    pub(super) fn storage(self) -> &'static str {
        match self {
            Self::F32 => "FloatStorage",
            Self::F16 => "HalfStorage",
            Self::Bf16 => "BFloat16Storage",
            Self::F64 => "DoubleStorage",
            Self::I64 => "LongStorage",
        }
    }

    /// Finds the type by its storages' name.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stored| stored.storage() == name)
    }

    /// The name in PyTorch, without its module.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F64 => "float64",
            Self::I64 => "int64",
        }
    }

    /// Bytes of a value.
    fn width(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// Converts one value's bytes; `None` when f32 has no such number.
    fn convert(self, bytes: &[u8]) -> Option<f32> {
        let value = match self {
            Self::F32 => f32::from_le_bytes(bytes.try_into().ok()?),
            Self::F16 => f16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Self::F64 => f64::from_le_bytes(bytes.try_into().ok()?) as f32,
            Self::I64 => {
                let whole = i64::from_le_bytes(bytes.try_into().ok()?);
                let value = whole as f32;
                // Compared in a type that has both exactly.
                (value as i128 == i128::from(whole)).then_some(value)?
            }
        };
        value.is_finite().then_some(value)
    }
}

impl<'p> StorageRef<'p> {
    /// Reads a persistent id: `("storage", type, key, device, length)`.
    pub(super) fn described(items: &[Value<'p>]) -> Result<Self, Problem> {
        let &[Value::Text("storage"), stored, Value::Text(key), Value::Text(_), Value::Int(len)] =
            items
        else {
            return Err("describes a storage in a way that `torch.save` does not".to_owned());
        };
        let Value::Global(Global::StorageType(stored)) = stored else {
            return Err("has a storage whose type is none".to_owned());
        };
        if key.is_empty() || key.len() > 64 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err("has a storage whose key is no number".to_owned());
        }
        let len = usize::try_from(len).ok().filter(|&len| len <= VALUES_MAX).ok_or_else(|| {
            format!("has a storage of {len} values, at most {VALUES_MAX} are read")
        })?;
        Ok(Self { stored, key, len })
    }
}

impl<'p> View<'p> {
    /// Reads the arguments of `_rebuild_tensor_v2`: storage, offset, shape, strides, whether
    /// it is trained, hooks, and in newer files metadata.
    pub(super) fn described(heap: &Heap<'p>, arguments: &[Value<'p>]) -> Result<Self, Problem> {
        let (&[storage, offset, shape, strides, ..], 6 | 7) = (arguments, arguments.len()) else {
            return Err(format!("makes a tensor of {} arguments", arguments.len()));
        };
        let storage = match storage {
            Value::Object(at) => match heap.get(at) {
                Object::Storage(storage) => *storage,
                _ => return Err("makes a tensor of something that is no storage".to_owned()),
            },
            _ => return Err("makes a tensor of something that is no storage".to_owned()),
        };
        let whole = |value: Value<'_>| match value {
            Value::Int(number) => usize::try_from(number).ok(),
            _ => None,
        };
        let all = |value| {
            let items = heap.tuple(value)?;
            items.iter().map(|&item| whole(item)).collect::<Option<Vec<usize>>>()
        };
        let (Some(offset), Some(shape), Some(strides)) = (whole(offset), all(shape), all(strides))
        else {
            return Err("makes a tensor whose offset, shape or strides are no numbers".to_owned());
        };
        let view = Self { storage, offset, shape, strides };
        view.check()?;
        Ok(view)
    }

    /// Checks that every value lies in the storage and that they are no more than it has, so
    /// that a stride of 0 cannot make much of little.
    fn check(&self) -> Result<(), Problem> {
        let (shape, strides) = (&self.shape, &self.strides);
        if shape.len() != strides.len() || shape.len() > DIMENSIONS_MAX {
            let (sizes, steps) = (shape.len(), strides.len());
            return Err(format!("makes a tensor of {sizes} sizes and {steps} strides"));
        }
        let fault = || {
            let (offset, len) = (self.offset, self.storage.len);
            format!(
                "makes a tensor of shape {shape:?}, strides {strides:?} and offset {offset} in a \
                 storage of {len} values, which has not so many"
            )
        };
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count = count.ok_or_else(fault)?;
        if count == 0 {
            return Err(format!("makes a tensor of shape {shape:?}, which is empty"));
        }
        let last = shape.iter().zip(strides).try_fold(self.offset, |last, (&size, &stride)| {
            last.checked_add((size - 1).checked_mul(stride)?)
        });
        if count > self.storage.len || last.ok_or_else(fault)? >= self.storage.len {
            return Err(fault());
        }
        Ok(())
    }
}

/// The storages of a file, read when a tensor is in them.
pub(super) struct Storages<'h, 'a> {
    archive: &'h mut Archive<'a>,
    read: BTreeMap<String, Vec<u8>>,
    /// Bytes that may yet be read: entries may not share the file's bytes.
    bytes_left: usize,
    values_left: usize,
}

impl<'h, 'a> Storages<'h, 'a> {
    /// Begins with none read, in a file of `file_bytes`.
    pub(super) fn new(archive: &'h mut Archive<'a>, file_bytes: usize) -> Self {
        let values_left = VALUES_MAX;
        Self { archive, read: BTreeMap::new(), bytes_left: file_bytes, values_left }
    }

    /// Reads a tensor's values in row-major order.
    pub(super) fn tensor(&mut self, view: &View<'_>) -> Result<HostTensor, Problem> {
        let StorageRef { stored, key, len } = view.storage;
        let count: usize = view.shape.iter().product();
        self.values_left = self.values_left.checked_sub(count).ok_or_else(|| {
            format!("comes after others with which it has more than {VALUES_MAX} values")
        })?;
        let width = stored.width();
        if !self.read.contains_key(key) {
            let bytes = self.archive.storage(key, self.bytes_left as u64)?;
            self.bytes_left -= bytes.len();
            self.read.insert(key.to_owned(), bytes);
        }
        let bytes = &self.read[key];
        if bytes.len() != len * width {
            let (got, want) = (bytes.len(), len * width);
            return Err(format!("is in a storage of {got} bytes that should have {want}"));
        }
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; view.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&view.strides);
            let at = view.offset + steps.map(|(i, stride)| i * stride).sum::<usize>();
            let value = stored.convert(&bytes[at * width..(at + 1) * width]);
            values.push(value.ok_or_else(|| {
                format!("has a value at {index:?} that is not finite, or that f32 does not have")
            })?);
            advance(&mut index, &view.shape);
        }
        Ok(HostTensor { shape: view.shape.clone(), values })
    }
}

/// Steps to the next position in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &size) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < size {
            return;
        }
        *i = 0;
    }
}
