//! From a checkpoint's tensors to packed matrices.

use rayon::prelude::*;
use twn_kernels::{
    BlockFormat, Decoder, DecoderOptions, DecoderShape, DecoderWeights, HeadNorms, Isa,
    KernelError, LayerWeights, Matrix, Precision, Source,
};

use super::{Fused, FusedOptions};
use crate::{
    adapter::Target,
    backbone::BackboneConfig,
    checkpoint::TensorSource,
    error::EncoderError,
    model::{BlockKind, RawTensor},
};

impl Fused {
    /// Packs the weights, layers side by side. Weights of a file are converted row by row, so
    /// that beside the packed ones no more than some rows are held in f32.
    pub(in crate::backbone) fn load(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        options: &FusedOptions,
    ) -> Result<Self, EncoderError> {
        let loader = Loader { config, tensors };
        let (layers, tables) = (options.precision.layers(), options.precision.tables());
        let table = |name: &str| {
            loader.matrix(&[(name.to_owned(), config.vocab_size)], config.hidden_size, tables)
        };
        let weights = DecoderWeights {
            embedding: table("model.embed_tokens.weight")?,
            head: (!config.tied_embeddings).then(|| table("lm_head.weight")).transpose()?,
            layers: (0..config.layers)
                .into_par_iter()
                .map(|index| loader.layer(index, layers))
                .collect::<Result<_, _>>()?,
            norm: loader.norm("model.norm.weight", config.hidden_size)?,
        };
        let head_norms: Option<Vec<HeadNorms>> = config
            .head_norms
            .then(|| (0..config.layers).map(|index| loader.head_norms(index)).collect())
            .transpose()?;
        let shape = DecoderShape {
            vocab: config.vocab_size,
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            layers: config.layers,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rope_theta: config.rope_theta,
            norm_eps: config.rms_norm_eps,
        };
        let activations = options.activations;
        let options = DecoderOptions {
            threads: options.resolved_threads(),
            isa: options.isa.unwrap_or_else(Isa::best),
            activations: activations.thoughts(),
            half_cache: layers != Precision::Dense,
            positions: options.positions,
        };
        let decoder = Decoder::new(shape, weights, options)
            .and_then(|decoder| match head_norms {
                Some(norms) => decoder.with_head_norms(norms),
                None => Ok(decoder),
            })
            .map_err(|error| failed("the decoder", &error))?;
        Ok(Self { config: config.clone(), decoder, activations })
    }
}

struct Loader<'a> {
    config: &'a BackboneConfig,
    tensors: &'a dyn TensorSource,
}

impl Loader<'_> {
    fn layer(&self, index: usize, precision: Precision) -> Result<LayerWeights, EncoderError> {
        let part = |target: Target| {
            let (_, rows) = target.shape(self.config);
            (format!("model.layers.{index}.{}.weight", target.module()), rows)
        };
        let stack = |targets: &[Target]| {
            let (columns, _) = targets[0].shape(self.config);
            let parts: Vec<_> = targets.iter().map(|&target| part(target)).collect();
            self.matrix(&parts, columns, precision)
        };
        let norm = |which: &str| {
            let name = format!("model.layers.{index}.{which}_layernorm.weight");
            self.norm(&name, self.config.hidden_size)
        };
        Ok(LayerWeights {
            attention_norm: norm("input")?,
            qkv: stack(&[Target::Query, Target::Key, Target::Value])?,
            output: stack(&[Target::Output])?,
            mlp_norm: norm("post_attention")?,
            gate_up: stack(&[Target::Gate, Target::Up])?,
            down: stack(&[Target::Down])?,
        })
    }

    fn head_norms(&self, index: usize) -> Result<HeadNorms, EncoderError> {
        let norm = |which: &str| {
            let name = format!("model.layers.{index}.self_attn.{which}_norm.weight");
            self.norm(&name, self.config.head_dim)
        };
        Ok(HeadNorms { queries: norm("q")?, keys: norm("k")? })
    }

    /// Packs tensors of `(name, rows)`, stacked.
    fn matrix(
        &self,
        parts: &[(String, usize)],
        columns: usize,
        precision: Precision,
    ) -> Result<Matrix, EncoderError> {
        let sources: Vec<_> = parts
            .iter()
            .map(|(name, rows)| self.source(name, *rows, columns))
            .collect::<Result<_, _>>()?;
        Matrix::pack(&sources, precision).map_err(|error| self.blame(parts, &error))
    }

    /// Says whose fault it is that tensors cannot be packed: values that are not finite are
    /// the file's, and reading them again names the tensor and the file.
    fn blame(&self, parts: &[(String, usize)], error: &KernelError) -> EncoderError {
        let read = |(name, _): &(String, usize)| self.tensors.tensor(name).err();
        match error {
            KernelError::NotFinite => parts.iter().find_map(read),
            _ => None,
        }
        .unwrap_or_else(|| failed(&parts[0].0, error))
    }

    /// Finds a tensor: in its stored blocks where the kernels know them, else row by row in f32.
    fn source(&self, name: &str, rows: usize, columns: usize) -> Result<Source<'_>, EncoderError> {
        if let Some(raw) = self.tensors.raw(name)?
            && (raw.rows, raw.columns) == (rows, columns)
        {
            return Ok(match block_format(&raw) {
                Some(format) => Source::blocks(format, rows, columns, move |row| raw.row(row)),
                None => Source::rows(rows, columns, move |row, out| raw.read_row(row, out)),
            });
        }
        let host = self.tensors.tensor(name)?;
        if host.shape != [rows, columns] {
            let problem =
                format!("tensor {name} has shape {:?}, expected [{rows}, {columns}]", host.shape);
            return Err(EncoderError::Internal { problem });
        }
        Ok(Source::dense(rows, columns, host.values))
    }

    fn norm(&self, name: &str, width: usize) -> Result<Vec<f32>, EncoderError> {
        let host = self.tensors.tensor(name)?;
        if host.values.len() != width {
            let problem = format!("tensor {name} has shape {:?}", host.shape);
            return Err(EncoderError::Internal { problem });
        }
        Ok(host.values)
    }
}

fn block_format(raw: &RawTensor<'_>) -> Option<BlockFormat> {
    match raw.kind {
        BlockKind::Q4_0 => Some(BlockFormat::Q4_0),
        BlockKind::Q4_1 => Some(BlockFormat::Q4_1),
        BlockKind::Q8_0 => Some(BlockFormat::Q8_0),
        BlockKind::F32 | BlockKind::F16 | BlockKind::Bf16 => None,
    }
}

pub(super) fn failed(what: &str, error: &KernelError) -> EncoderError {
    EncoderError::Internal { problem: format!("packing {what}: {error}") }
}
