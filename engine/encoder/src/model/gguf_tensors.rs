//! The weights of a Llama in a GGUF file, under their Hugging Face names.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{
    block::{BlockKind, dequantise},
    gguf::{Header, TensorEntry},
    limits::check_config,
    mapped::MappedFile,
    model_file, tensor_names,
};
use crate::{
    backbone::BackboneConfig,
    checkpoint::{HostTensor, TensorSource},
    error::EncoderError,
};

/// The weights of a GGUF file, dequantised on demand.
#[derive(Debug)]
pub struct GgufTensors {
    file: MappedFile,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    tensor: TensorEntry,
    order: RowOrder,
}

/// How the rows of a tensor in the file relate to Hugging Face's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowOrder {
    /// The same.
    Same,
    /// Within each head of this width the two rotary halves are interleaved, as llama.cpp
    /// wants them for its rotation of neighbouring pairs.
    Interleaved { head_dim: usize },
}

impl RowOrder {
    /// Finds the row in the file that holds Hugging Face's row.
    fn stored_row(self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Interleaved { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let half = head_dim / 2;
                head * head_dim + within % half * 2 + within / half
            }
        }
    }
}

/// A tensor as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct RawTensor<'a> {
    /// How the elements are stored.
    pub kind: BlockKind,
    /// Output features; 1 for a vector.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    bytes: &'a [u8],
    order: RowOrder,
}

impl<'a> RawTensor<'a> {
    /// Borrows a tensor whose rows lie in Hugging Face's order.
    ///
    /// # Panics
    /// Panics when `bytes` are not those of `rows * columns` elements.
    pub fn plain(kind: BlockKind, [rows, columns]: [usize; 2], bytes: &'a [u8]) -> Self {
        let want = kind.matrix_bytes(rows, columns);
        assert_eq!(want, Some(bytes.len()), "bytes are those of the elements");
        Self { kind, rows, columns, bytes, order: RowOrder::Same }
    }

    /// Converts one row, counted in Hugging Face's order, to f32.
    ///
    /// # Panics
    /// Panics when `row` is not below `rows`, and when `out` is not `columns` long.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "a row has as many values as there are columns");
        dequantise(self.kind, self.row(row), out);
    }

    /// Borrows the stored blocks of one row, counted in Hugging Face's order.
    ///
    /// # Panics
    /// Panics when `row` is not below `rows`.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let length = self.bytes.len() / self.rows;
        let start = self.order.stored_row(row) * length;
        &self.bytes[start..start + length]
    }
}

impl GgufTensors {
    /// Names the tensors of a parsed header and checks them against its configuration.
    pub(super) fn new(
        file: MappedFile,
        header: &Header,
        config: &BackboneConfig,
    ) -> Result<Self, EncoderError> {
        let refuse = |problem: String| model_file(file.path(), problem);
        let mut tensors = BTreeMap::new();
        for tensor in &header.tensors {
            let name = tensor_names::from_gguf(&tensor.name).ok_or_else(|| {
                refuse(format!(
                    "has a tensor `{}` that a Llama without biases and rotary scaling \
                     does not have",
                    tensor.name
                ))
            })?;
            let is_rotated = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
            let order = if is_rotated {
                RowOrder::Interleaved { head_dim: config.head_dim }
            } else {
                RowOrder::Same
            };
            let entry = Entry { tensor: tensor.clone(), order };
            if tensors.insert(name, entry).is_some() {
                return Err(refuse(format!("has tensor `{}` twice", tensor.name)));
            }
        }
        let shapes = tensors.iter().map(|(name, entry)| (name.clone(), entry.tensor.shape.clone()));
        tensor_names::check_inventory(config, &shapes.collect()).map_err(refuse)?;
        Ok(Self { file, tensors })
    }

    /// Borrows a tensor as it is stored, for kernels that compute on quantised blocks.
    ///
    /// # Errors
    /// Fails when there is no tensor of this name.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, EncoderError> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| model_file(self.file.path(), format!("has no tensor `{name}`")))?;
        let shape = &entry.tensor.shape;
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        let bytes = &self.file.bytes()[entry.tensor.bytes.clone()];
        Ok(RawTensor { kind: entry.tensor.kind, rows, columns, bytes, order: entry.order })
    }
}

impl TensorSource for GgufTensors {
    fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError> {
        let raw = self.raw(name)?;
        let mut values = vec![0.0; raw.rows * raw.columns];
        let all_finite = values.par_chunks_mut(raw.columns).enumerate().all(|(row, out)| {
            dequantise(raw.kind, raw.row(row), out);
            out.iter().all(|value| value.is_finite())
        });
        if !all_finite {
            let problem = format!("tensor `{name}` holds a value that is not finite");
            return Err(model_file(self.file.path(), problem));
        }
        Ok(HostTensor { shape: self.tensors[name].tensor.shape.clone(), values })
    }

    fn raw(&self, name: &str) -> Result<Option<RawTensor<'_>>, EncoderError> {
        GgufTensors::raw(self, name).map(Some)
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}

/// Reads the configuration out of a header.
pub(super) fn config(header: &Header) -> Result<BackboneConfig, String> {
    let architecture = header.text("general.architecture")?.unwrap_or("(none)");
    if architecture != "llama" {
        return Err(format!("has the architecture `{architecture}`; supported: llama"));
    }
    refuse_variants(header)?;
    let size = |key: &str| {
        let value = header.unsigned(&format!("llama.{key}"))?;
        value.map(|value| value as usize).ok_or_else(|| format!("lacks `llama.{key}`"))
    };
    let optional = |key: &str| -> Result<Option<usize>, String> {
        Ok(header.unsigned(&format!("llama.{key}"))?.map(|value| value as usize))
    };
    let hidden_size = size("embedding_length")?;
    let heads = size("attention.head_count")?;
    let head_dim = match optional("attention.key_length")? {
        Some(width) => width,
        None => hidden_size.checked_div(heads).unwrap_or(0),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if optional(key)?.is_some_and(|width| width != head_dim) {
            return Err(format!("`llama.{key}` differs from the head width {head_dim}"));
        }
    }
    let vocabulary = header.list_len("tokenizer.ggml.tokens");
    let epsilon = header.float("llama.attention.layer_norm_rms_epsilon")?;
    let config = BackboneConfig {
        vocab_size: optional("vocab_size")?.or(vocabulary).unwrap_or(0),
        hidden_size,
        intermediate_size: size("feed_forward_length")?,
        layers: size("block_count")?,
        heads,
        kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rope_theta: header.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
        rms_norm_eps: epsilon.ok_or("lacks `llama.attention.layer_norm_rms_epsilon`")?,
        max_positions: size("context_length")?,
        tied_embeddings: !header.tensors.iter().any(|tensor| tensor.name == "output.weight"),
        head_norms: false,
        rope_axes: None,
        vision: None,
    };
    check_config(&config)?;
    Ok(config)
}

/// Refuses what the Llama key space can say but this decoder does not compute.
fn refuse_variants(header: &Header) -> Result<(), String> {
    if let Some(kind) = header.text("llama.rope.scaling.type")?
        && kind != "none"
    {
        return Err(format!("scales its rotary positions ({kind}), which is not supported"));
    }
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        if header.float(key)?.is_some_and(|factor| factor != 1.0 && factor != 0.0) {
            return Err(format!("sets `{key}`, which is not supported"));
        }
    }
    for key in ["llama.expert_count", "llama.attention.sliding_window"] {
        if header.unsigned(key)?.is_some_and(|value| value != 0) {
            return Err(format!("sets `{key}`, which is not supported"));
        }
    }
    if header.boolean("llama.attention.causal")? == Some(false) {
        return Err("has attention that is not causal, which is not supported".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_back() {
        // llama.cpp's converter maps row (head, half, pair) to (head, pair, half).
        let order = RowOrder::Interleaved { head_dim: 4 };
        let stored: Vec<usize> = (0..8).map(|row| order.stored_row(row)).collect();
        assert_eq!(stored, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
