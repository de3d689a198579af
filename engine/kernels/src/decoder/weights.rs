//! Shapes and packed weights of a decoder.

use crate::{KernelError, Matrix, Precision};

/// Shapes and constants of a Llama-type decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderShape {
    /// Token ids there are.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the feed-forward network.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Added to the mean square under the root.
    pub norm_eps: f32,
}

/// One layer's weights.
#[derive(Debug)]
pub struct LayerWeights {
    /// Scales of the norm before attention, `[hidden]`.
    pub attention_norm: Vec<f32>,
    /// Queries, keys and values, stacked.
    pub qkv: Matrix,
    /// From attention back to the residual stream.
    pub output: Matrix,
    /// Scales of the norm before the feed-forward network, `[hidden]`.
    pub mlp_norm: Vec<f32>,
    /// The feed-forward network's gate and the way in, stacked.
    pub gate_up: Matrix,
    /// The way out of the feed-forward network.
    pub down: Matrix,
}

/// All weights.
#[derive(Debug)]
pub struct DecoderWeights {
    /// `[vocab, hidden]`.
    pub embedding: Matrix,
    /// The output head, `[vocab, hidden]`; `None` when it is the embedding table.
    pub head: Option<Matrix>,
    /// In order.
    pub layers: Vec<LayerWeights>,
    /// Scales of the final norm, `[hidden]`.
    pub norm: Vec<f32>,
}

impl DecoderWeights {
    /// The output head.
    pub(super) fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Tells whether the layers' activations are quantised: all of them are, or none.
    pub(super) fn is_quantised(&self) -> bool {
        self.layers.first().is_some_and(|layer| layer.qkv.is_quantised())
    }

    /// How the layers are packed: the least of their matrices.
    pub(super) fn precision(&self) -> Precision {
        let matrices = || self.layers.iter().flat_map(LayerWeights::matrices);
        let all = |precision| matrices().all(|matrix| matrix.precision() == precision);
        match [Precision::Dense, Precision::Eight].into_iter().find(|&precision| all(precision)) {
            Some(precision) => precision,
            None => Precision::Four,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(LayerWeights::bytes).sum();
        layers + self.embedding.bytes() + self.head.as_ref().map_or(0, Matrix::bytes)
    }

    pub(super) fn step_bytes(&self) -> usize {
        self.layers.iter().map(LayerWeights::bytes).sum::<usize>() + self.head().bytes()
    }

    /// Checks every matrix against the shape, so that a pass need not.
    pub(super) fn check(&self, shape: &DecoderShape) -> Result<(), KernelError> {
        let wrong = |what: &str| {
            let problem = format!("{what} does not fit a decoder of {shape:?}");
            Err(KernelError::Shape { problem })
        };
        let sizes = [shape.vocab, shape.hidden, shape.intermediate, shape.heads, shape.kv_heads];
        let heads_fit = shape.kv_heads > 0
            && shape.heads.is_multiple_of(shape.kv_heads)
            && shape.head_dim > 0
            && shape.head_dim.is_multiple_of(2);
        if sizes.contains(&0) || !heads_fit || self.layers.len() != shape.layers {
            return wrong("the number of heads or layers");
        }
        // Sizes that wrapped around would pass for small ones, and the kernels trust them.
        // 4096: keys and values of 32 positions in f32, a head rounded up to 16 values.
        let page = [shape.layers, shape.kv_heads, shape.head_dim, 4096];
        let page = page.iter().try_fold(1_usize, |size, &by| size.checked_mul(by));
        let (Some(queries), Some(_)) = (shape.heads.checked_mul(shape.head_dim), page) else {
            return wrong("the size of a head");
        };
        let keys = shape.kv_heads * shape.head_dim;
        let fits = |matrix: &Matrix, outputs: &[usize], inputs: usize| {
            matrix.parts() == outputs && matrix.columns() == inputs
        };
        if !fits(&self.embedding, &[shape.vocab], shape.hidden)
            || !fits(self.head(), &[shape.vocab], shape.hidden)
            || self.norm.len() != shape.hidden
        {
            return wrong("the embedding, the head or the final norm");
        }
        let is_quantised = self.is_quantised();
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.matrices().iter().any(|matrix| matrix.is_quantised() != is_quantised) {
                return wrong(&format!("f32 beside quantised weights in layer {index}"));
            }
            let layer_fits = fits(&layer.qkv, &[queries, keys, keys], shape.hidden)
                && fits(&layer.output, &[shape.hidden], queries)
                && fits(&layer.gate_up, &[shape.intermediate; 2], shape.hidden)
                && fits(&layer.down, &[shape.hidden], shape.intermediate)
                && layer.attention_norm.len() == shape.hidden
                && layer.mlp_norm.len() == shape.hidden;
            if !layer_fits {
                return wrong(&format!("layer {index}"));
            }
        }
        Ok(())
    }
}

impl LayerWeights {
    fn matrices(&self) -> [&Matrix; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }

    fn bytes(&self) -> usize {
        self.matrices().into_iter().map(Matrix::bytes).sum()
    }
}
