//! Encoders on the tiny Llama in many variants, and a plain reference for them that is
//! written without batches, shared prefixes or running sums.

use std::path::Path;

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use serde_json::Value;
use tempfile::TempDir;
use twn_encoder::{
    Checkpoint, Content, Context, Direct, EmbedKind, Embedder, EncodeInput, Encoder, HostTensor,
    Lexicon, LoadOptions, Precision, Projection, Prompt, Reasoned, Thought, ThoughtOptions,
    adapter::{Adapters, Lora, StoredType},
    backbone::{Backbone, KvCache, Span},
    model,
};

use crate::golden::{tests_folder, tiny_llama, values};

pub(crate) const INTERFACES: [&str; 2] = ["cache", "reencode"];
pub(crate) const POOLINGS: [&str; 3] = ["queries", "mean", "queries+mean"];
/// Short, long and foreign.
pub(crate) const TEXTS: [&str; 5] = [
    "What keeps a queue from growing without end?",
    "cats",
    "The wing of an aircraft in a supersonic stream heats at the leading edge. The boundary \
     layer is thin there, and the pressure is high.",
    "привет мир 你好世界",
    "one must think before one can search",
];
const OPEN: &str = "<think>\n";
const HIDDEN: usize = 64;
/// Dimensions of the lexical part.
const WORDS: usize = 24;
/// Its length beside the states'.
const SHARE: f32 = 0.7;

/// A variant of the encoder.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Random LoRA adapters instead of fresh ones; always through a folder.
    pub(crate) random_adapters: bool,
    /// Fresh adapters that are written and read again.
    pub(crate) through_folder: bool,
    pub(crate) interface: &'static str,
    pub(crate) pooling: &'static str,
    pub(crate) close: Option<String>,
    pub(crate) gate_bias: f32,
    /// After how many layers the gate reads; after the final norm without a number.
    pub(crate) gate_depth: Option<usize>,
    /// Projects the mean by this multiple of the identity.
    pub(crate) projection: Option<f32>,
    /// Whether there is a lexicon.
    pub(crate) lexicon: bool,
    pub(crate) context_tokens: usize,
    pub(crate) seed: u64,
    /// `cpu`, the fused pass in f32, or `flex`, the portable module.
    pub(crate) device: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            random_adapters: false,
            through_folder: false,
            interface: "cache",
            pooling: "mean",
            close: None,
            gate_bias: 0.0,
            gate_depth: None,
            projection: None,
            lexicon: false,
            context_tokens: 512,
            seed: 0,
            device: "cpu",
        }
    }
}

/// Computes what the encoder should, one token sequence at a time.
pub(crate) struct Reference {
    checkpoint: Checkpoint,
    backbone: Backbone,
    adapters: Adapters,
    reencode: bool,
    pooling: &'static str,
}

impl Setup {
    pub(crate) fn with_adapters() -> Self {
        Self { random_adapters: true, ..Self::default() }
    }

    fn fresh(&self, checkpoint: &Checkpoint) -> Adapters {
        let device = Device::flex();
        let backbone = Backbone::load(&checkpoint.config, checkpoint.tensors.as_ref(), 8, &device);
        let parameters = backbone.expect("loads").parameters();
        let mut adapters = Adapters::fresh(checkpoint, parameters, self.seed, &device);
        let bias = Tensor::from_data([self.gate_bias], &device);
        adapters.gate.outer_bias = Param::from_tensor(bias);
        if self.random_adapters {
            // Large enough that the queries matter.
            let rows = adapters.queries.rows.val().mul_scalar(20.0);
            adapters.queries.rows = Param::from_tensor(rows);
        }
        if let Some(factor) = self.projection {
            let weight = Tensor::<2>::eye(HIDDEN, &device).mul_scalar(factor);
            let bias = Tensor::from_data(TensorData::new(vec![factor; HIDDEN], [HIDDEN]), &device);
            adapters.pooler.mean = Some(Projection {
                weight: Param::from_tensor(weight),
                bias: Param::from_tensor(bias),
            });
        }
        if self.lexicon {
            let values = (0..WORDS * HIDDEN).map(|at| (at as f32).sin()).collect();
            let projection = HostTensor { shape: vec![WORDS, HIDDEN], values };
            let weights = (0..checkpoint.config.vocab_size).map(weight).collect();
            adapters.pooler.lexicon = Some(Lexicon::new(weights, projection, SHARE, &device));
        }
        adapters
    }

    /// Writes the adapter folder.
    pub(crate) fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        let checkpoint = model::open(&tiny_llama()).expect("opens");
        self.fresh(&checkpoint).write(folder.path(), StoredType::F32).expect("written");
        edit_manifest(folder.path(), |manifest| {
            manifest["interface"] = self.interface.into();
            manifest["pooling"] = self.pooling.into();
            if let Some(depth) = self.gate_depth {
                manifest["gate_depth"] = depth.into();
            }
            if let Some(close) = &self.close {
                manifest["thought"]["close"] = close.as_str().into();
            }
        });
        if self.random_adapters {
            for (role, name) in [("reasoning", "all"), ("embedding", "rslora")] {
                for file in ["adapter_config.json", "adapter_model.safetensors"] {
                    let from = tests_folder().join("fixtures/peft").join(name).join(file);
                    fs_err::copy(from, folder.path().join(role).join(file)).expect("copied");
                }
            }
        }
        folder
    }

    pub(crate) fn load(&self) -> Encoder {
        let folder = (self.random_adapters || self.through_folder).then(|| self.write());
        let options = LoadOptions {
            adapters: folder.as_ref().map(|folder| folder.path().to_owned()),
            context_tokens: self.context_tokens,
            seed: self.seed,
            device: self.device.to_owned(),
            precision: Precision::F32,
            ..LoadOptions::new(tiny_llama())
        };
        Encoder::load(&options).expect("loads")
    }

    pub(crate) fn reference(&self) -> Reference {
        let device = Device::flex();
        let checkpoint = model::open(&tiny_llama()).expect("opens");
        let tensors = checkpoint.tensors.as_ref();
        let backbone = Backbone::load(&checkpoint.config, tensors, 512, &device).expect("loads");
        let adapters = if self.random_adapters {
            let folder = self.write();
            Adapters::read(folder.path(), &checkpoint, &device).expect("whole")
        } else {
            Adapters::fresh(&checkpoint, backbone.parameters(), self.seed, &device)
        };
        let reencode = self.interface == "reencode";
        Reference { checkpoint, backbone, adapters, reencode, pooling: self.pooling }
    }
}

impl Reference {
    fn forward(&self, rows: Tensor<2>, cache: &mut KvCache, lora: &Lora) -> Tensor<2> {
        let span = Span { len: rows.dims()[0], cache };
        let lora = self.backbone.prepare(lora).expect("fits");
        self.backbone.forward(rows, &mut [span], Some(&lora))
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        let encoding = self.checkpoint.tokenizer.encode(text, false).expect("tokenises");
        encoding.get_ids().to_vec()
    }

    /// Tokens that both thought markers take.
    pub(crate) fn marker_tokens(&self) -> usize {
        self.ids(OPEN).len() + self.ids("</think>").len()
    }

    /// Embeds `tokens` with the states at `pooled` as the mean.
    fn embed(&self, tokens: &[u32], pooled: &[usize]) -> Vec<f32> {
        let lora = if self.reencode { &self.adapters.embedding } else { &self.adapters.reasoning };
        let mut cache = self.backbone.new_cache(0);
        let states = values(self.forward(self.backbone.embed(tokens), &mut cache, lora));
        let queries = self.adapters.queries.repeated(1);
        let queries = values(self.forward(queries, &mut cache, &self.adapters.embedding));
        let mut sum = vec![0.0; HIDDEN];
        if self.pooling != "queries" {
            for &position in pooled {
                add(&mut sum, &states[position * HIDDEN..][..HIDDEN], pooled.len());
            }
        }
        if self.pooling != "mean" {
            for row in queries.chunks_exact(HIDDEN) {
                add(&mut sum, row, queries.len() / HIDDEN);
            }
        }
        if self.adapters.pooler.lexicon.is_some() {
            let words: Vec<u32> = pooled.iter().map(|&position| tokens[position]).collect();
            sum = unit(&sum);
            sum.extend(self.words(&words));
        }
        unit(&sum)
    }

    /// The lexical part.
    fn words(&self, tokens: &[u32]) -> Vec<f32> {
        let mut sum = vec![0.0; HIDDEN];
        for &token in tokens {
            let row = values(self.backbone.embed(&[token]));
            let weight = weight(token as usize);
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        let column = |at: usize| -> f32 {
            sum.iter().enumerate().map(|(k, value)| value * ((at * HIDDEN + k) as f32).sin()).sum()
        };
        let projected: Vec<f32> = (0..WORDS).map(column).collect();
        unit(&projected).iter().map(|value| value * SHARE).collect()
    }

    /// The direct embedding.
    pub(crate) fn direct(&self, prompt: &Prompt) -> Vec<f32> {
        let pooled: Vec<usize> = prompt.content.clone().collect();
        self.embed(&prompt.tokens, &pooled)
    }

    /// The mean of the content's states and those at `more`, whatever the pooling.
    pub(crate) fn mean(&self, prompt: &Prompt, more: &[usize]) -> Vec<f32> {
        let pooled: Vec<usize> = prompt.content.clone().chain(more.iter().copied()).collect();
        self.embed(&prompt.tokens, &pooled)
    }

    /// Decodes `count` tokens greedily; returns both markers with them in between, and
    /// where in the whole sequence the decoded ones lie.
    pub(crate) fn greedy_thought(&self, prompt: &Prompt, count: usize) -> (Vec<u32>, Vec<usize>) {
        let mut tokens = prompt.tokens.clone();
        tokens.extend(self.ids(OPEN));
        let begin = tokens.len();
        for _ in 0..count {
            let rows = self.backbone.embed(&tokens);
            let mut cache = self.backbone.new_cache(0);
            let states = self.forward(rows, &mut cache, &self.adapters.reasoning);
            let last = states.dims()[0];
            let logits = values(self.backbone.logits(states.slice(last - 1..last)));
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            tokens.push(best.expect("logits are there") as u32);
        }
        let decoded = (begin..tokens.len()).collect();
        tokens.extend(self.ids("</think>"));
        (tokens.split_off(prompt.tokens.len()), decoded)
    }

    /// The embedding after a thought.
    pub(crate) fn reasoned(
        &self,
        prompt: &Prompt,
        thought: &[u32],
        decoded: Vec<usize>,
    ) -> Vec<f32> {
        let tokens = [&prompt.tokens, thought].concat();
        let pooled: Vec<usize> = prompt.content.clone().chain(decoded).collect();
        self.embed(&tokens, &pooled)
    }
}

/// What a token counts in the lexicon.
fn weight(token: usize) -> f32 {
    0.5 + (token % 7) as f32
}

fn unit(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter().map(|value| value / norm).collect()
}

fn add(sum: &mut [f32], row: &[f32], count: usize) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value / count as f32;
    }
}

/// Changes a written manifest.
pub(crate) fn edit_manifest(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("twn.json");
    let text = fs_err::read_to_string(&path).expect("readable");
    let mut manifest = serde_json::from_str(&text).expect("JSON");
    edit(&mut manifest);
    fs_err::write(&path, manifest.to_string()).expect("writable");
}

pub(crate) fn prepare(encoder: &Encoder, text: &str) -> Prompt {
    let input =
        EncodeInput { content: Content::text(text), instruction: None, kind: EmbedKind::Query };
    encoder.prompter().prepare(&input).expect("has content")
}

pub(crate) fn direct(encoder: &mut Encoder, prompt: &Prompt) -> Direct<Context> {
    encoder.direct(&[prompt]).expect("runs").remove(0)
}

pub(crate) fn greedy_options(token_budget: u32) -> ThoughtOptions {
    ThoughtOptions { token_budget, temperature: 0.0, seed: 0, convergence: None }
}

/// Embeds a prompt, thinks about it to the end, and embeds again.
pub(crate) fn think(encoder: &mut Encoder, prompt: &Prompt, options: &ThoughtOptions) -> Reasoned {
    let context = direct(encoder, prompt).context;
    let mut thought = encoder.think(context, options).expect("opens");
    while thought.stop_reason().is_none() {
        encoder.step(&mut [&mut thought]).expect("steps");
    }
    encoder.reasoned(thought).expect("embeds")
}

/// The length of the difference.
pub(crate) fn error_between(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}
