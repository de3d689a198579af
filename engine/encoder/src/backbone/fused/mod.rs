//! The decoder as one coarse operation over packed weights.
//!
//! The operation takes and gives burn tensors on the CPU, whose memory is host memory, and
//! hands it to `twn-kernels` as slices: per-operation dispatch would lose half of the
//! decoding speed (docs/adr/0010).

mod load;
mod lora;

use burn::tensor::{Device, Tensor, TensorData};
use twn_kernels::{Adapter, Decoder, Isa};

use super::{
    Activations, Addition, BackboneConfig, Position, Precision, Span, Tap, cache::Memory,
    positions::rotary_factors,
};

/// How the fused pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FusedOptions {
    /// How exactly the weights are kept.
    pub precision: Precision,
    /// How finely inputs of quantised weights are rounded.
    pub activations: Activations,
    /// Threads, the caller's included; 0 takes one for each core.
    pub threads: usize,
    /// Positions that the rotary tables cover.
    pub positions: usize,
    /// Instruction set; `None` takes the best there is.
    pub isa: Option<Isa>,
}

impl FusedOptions {
    /// Keeps the file's precision, rounds activations as [`Activations`] does by default and takes every core and
    /// the best instructions.
    pub fn new(positions: usize) -> Self {
        let (precision, activations) = (Precision::Auto, Activations::default());
        Self { precision, activations, threads: 0, positions, isa: None }
    }

    /// The number of threads that it comes to.
    pub(crate) fn resolved_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// The packed decoder.
#[derive(Debug)]
pub(super) struct Fused {
    config: BackboneConfig,
    decoder: Decoder,
    activations: Activations,
}

impl Fused {
    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(super) fn activations(&self) -> Activations {
        self.activations
    }

    /// Looks up tokens: `[tokens, hidden]`.
    pub(super) fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        tensor(self.decoder.embed(tokens), tokens.len())
    }

    /// Runs the layers and the final norm over `[T, hidden]`. Without `positions` rows have
    /// those of their caches' rows. Gives what a tap reads as well.
    pub(super) fn forward(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        adapter: Option<&Adapter>,
        positions: Option<&[Position]>,
        (additions, tap): (&[Addition], Option<Tap<'_>>),
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let [count, width] = rows.dims();
        let mut values = host(rows);
        let angles = positions.map(|positions| rotary_factors(&self.config, positions));
        let added: Vec<Vec<f32>> =
            additions.iter().map(|addition| host(addition.values.clone())).collect();
        let additions: Vec<_> = additions
            .iter()
            .zip(&added)
            .map(|(addition, values)| twn_kernels::Addition {
                layer: addition.layer,
                rows: &addition.rows,
                values,
            })
            .collect();
        let extras = twn_kernels::RowExtras {
            angles: angles.as_ref().map(|(cos, sin)| (cos.as_slice(), sin.as_slice())),
            additions: &additions,
        };
        let mut spans: Vec<twn_kernels::Span<'_>> = spans
            .iter_mut()
            .map(|span| match &mut span.cache.memory {
                Memory::Fused(cache) => twn_kernels::Span { len: span.len, cache },
                Memory::Portable(_) => panic!("the cache belongs to the portable execution"),
            })
            .collect();
        let mut read = tap.map(|tap| vec![0.0; tap.rows.len() * width]);
        let into = tap.zip(read.as_mut()).map(|(Tap { layers, rows }, values)| twn_kernels::Tap {
            layers,
            rows,
            values,
        });
        self.decoder.forward_with(&mut values, &mut spans, adapter, &extras, into);
        (tensor(values, count), tap.zip(read).map(|(tap, read)| tensor(read, tap.rows.len())))
    }

    /// Scores the next token for each row: `[rows, vocab]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let [count, _] = hidden.dims();
        tensor(self.decoder.logits(&host(hidden)), count)
    }
}

/// Takes a tensor's values; on the CPU no more than a copy, and none where nobody else has
/// them.
fn host(tensor: Tensor<2>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_into_vec::<f32>().expect("hidden states on the CPU are f32")
}

fn tensor(values: Vec<f32>, rows: usize) -> Tensor<2> {
    let columns = values.len() / rows.max(1);
    Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
}
