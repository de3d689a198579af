//! Golden files and fixtures, for the tests beside this folder.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use safetensors::SafeTensors;

/// A golden file in safetensors format.
pub(crate) struct GoldenFile {
    bytes: Vec<u8>,
}

impl GoldenFile {
    /// Reads a file of the test folder, for example `golden/model.safetensors`.
    pub(crate) fn read(name: &str) -> Self {
        let path = tests_folder().join(name);
        Self { bytes: fs_err::read(path).expect("golden file is committed") }
    }

    /// Reads a tensor of 32-bit integers.
    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name).map(u32::from_le_bytes).collect()
    }

    /// Reads a tensor of 32-bit floats.
    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).map(f32::from_le_bytes).collect()
    }

    fn words(&self, name: &str) -> impl Iterator<Item = [u8; 4]> {
        let file = SafeTensors::deserialize(&self.bytes).expect("golden file is whole");
        let data = file.tensor(name).unwrap_or_else(|_| panic!("golden {name} is there")).data();
        data.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]])
    }
}

/// The folder of the tests.
pub(crate) fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The tiny random Llama.
pub(crate) fn tiny_llama() -> PathBuf {
    tests_folder().join("fixtures/tiny-llama")
}

/// Reads a tensor's values.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32 values")
}

/// The largest difference, relative to the largest value that was wanted.
pub(crate) fn relative_error(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let difference = largest(&mut got.iter().zip(want).map(|(a, b)| (a - b).abs()));
    assert!(got.iter().all(|value| value.is_finite()));
    difference / largest(&mut want.iter().map(|value| value.abs()))
}
