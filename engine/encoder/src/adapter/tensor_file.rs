//! Small safetensors files on the host: adapters and heads.

use std::{collections::BTreeMap, path::Path};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{checkpoint::HostTensor, error::EncoderError};

/// Adapters of the largest backbones stay well below this.
const BYTES_MAX: u64 = 4 << 30;

/// Type of the values in a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// Four bytes a value; loses nothing.
    F32,
    /// Two bytes a value; for adapters that ship.
    F16,
}

/// Tensors by name.
pub(crate) type HostTensors = BTreeMap<String, HostTensor>;

/// Reads a whole file, converting f16 and bf16 to f32.
///
/// # Errors
/// Fails when the file is missing, too large, damaged, or has other types in it.
pub(crate) fn read_tensors(path: &Path) -> Result<HostTensors, EncoderError> {
    let damaged = |problem: String| EncoderError::ModelFile { path: path.to_owned(), problem };
    let size = fs_err::metadata(path)?.len();
    if size > BYTES_MAX {
        return Err(damaged(format!("file has {size} bytes, at most {BYTES_MAX} are read")));
    }
    let bytes = fs_err::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    file.iter()
        .map(|(name, view)| match convert(&view) {
            Some(values) if values.iter().all(|value| value.is_finite()) => {
                Ok((name.to_owned(), HostTensor { shape: view.shape().to_vec(), values }))
            }
            Some(_) => Err(damaged(format!("tensor {name} has values that are not finite"))),
            None => Err(damaged(format!(
                "tensor {name} has type {:?}; supported are F32, F16 and BF16",
                view.dtype()
            ))),
        })
        .collect()
}

/// Writes tensors with values of type `stored`.
///
/// # Errors
/// Fails when the file cannot be written, or a value is out of `stored`'s range.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &HostTensors,
    stored: StoredType,
) -> Result<(), EncoderError> {
    let problem = |error: safetensors::SafeTensorError| EncoderError::ModelFile {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let mut bytes: BTreeMap<&String, Vec<u8>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let converted =
            to_bytes(&tensor.values, stored).ok_or_else(|| EncoderError::ModelFile {
                path: path.to_owned(),
                problem: format!("tensor {name} has values out of range for {stored:?}"),
            })?;
        bytes.insert(name, converted);
    }
    let dtype = match stored {
        StoredType::F32 => Dtype::F32,
        StoredType::F16 => Dtype::F16,
    };
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let view = TensorView::new(dtype, tensor.shape.clone(), &bytes[name]);
            view.map(|view| (name.as_str(), view)).map_err(problem)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let file = safetensors::serialize(views, None).map_err(problem)?;
    Ok(fs_err::write(path, file)?)
}

/// The values' bytes; `None` when one is not finite in the stored type.
fn to_bytes(values: &[f32], stored: StoredType) -> Option<Vec<u8>> {
    match stored {
        StoredType::F32 => Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        StoredType::F16 => {
            let halves = values.iter().map(|&value| f16::from_f32(value));
            halves
                .map(|half| half.is_finite().then(|| half.to_le_bytes()))
                .collect::<Option<Vec<[u8; 2]>>>()
                .map(|halves| halves.concat())
        }
    }
}

fn convert(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let halves = || view.data().chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
    match view.dtype() {
        Dtype::F32 => Some(
            view.data()
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect(),
        ),
        Dtype::F16 => Some(halves().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect()),
        Dtype::BF16 => Some(halves().map(|bytes| bf16::from_le_bytes(bytes).to_f32()).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_tensors_read_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("some.safetensors");
        let tensor = HostTensor { shape: vec![2, 2], values: vec![1.0, -2.5, 0.0, 1e-20] };
        let tensors = HostTensors::from([("weight".to_owned(), tensor)]);
        write_tensors(&path, &tensors, StoredType::F32).expect("writable");
        assert_eq!(read_tensors(&path).expect("readable"), tensors);
    }

    #[test]
    fn damage_and_infinities_are_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("some.safetensors");
        fs_err::write(&path, b"no safetensors").expect("writable");
        assert!(matches!(read_tensors(&path), Err(EncoderError::ModelFile { .. })));
        let tensor = HostTensor { shape: vec![1], values: vec![f32::NAN] };
        write_tensors(&path, &HostTensors::from([("x".to_owned(), tensor)]), StoredType::F32)
            .expect("writable");
        let message = read_tensors(&path).expect_err("not finite").to_string();
        assert!(message.contains("tensor x"), "{message}");
    }
}
