//! The adapter folder as a whole.

use std::path::Path;

use burn::{module::Module, tensor::Device};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{
    AdapterPlan, BackboneId, HostTensors, Lora, MANIFEST_VERSION, Manifest, StoredType, Target,
    files::Files,
    layout::{HEAD, Layout, MANIFEST},
    peft::read_peft_files,
    released,
    tensor_file::{parse_tensors, write_tensors},
    write_peft,
};
use crate::{
    backbone::BackboneConfig,
    checkpoint::Checkpoint,
    error::EncoderError,
    gate::{Gate, GateActivation, GateInput},
    pooling::Pooler,
    queries::Queries,
};

pub(super) const REASONING: &str = "reasoning";
pub(super) const EMBEDDING: &str = "embedding";

/// Fresh adapters together have at most this share of the backbone's parameters.
const FRESH_SHARE: f64 = 0.04;

/// Everything that is added to a backbone.
#[derive(Module, Debug)]
pub struct Adapters {
    /// How the parts work together.
    #[module(skip)]
    pub manifest: Manifest,
    /// Active on prompts and thoughts.
    pub reasoning: Lora,
    /// Active on the queries, and on all tokens with [`Interface::Reencode`].
    pub embedding: Lora,
    /// The embedding queries.
    pub queries: Queries,
    /// The gate.
    pub gate: Gate,
    /// Pooling's projections and lexicon.
    pub pooler: Pooler,
    /// Hex SHA-256 over the files, or over the seed of fresh adapters.
    #[module(skip)]
    digest: String,
    /// What of the manifest no file says.
    #[module(skip)]
    assumed: Vec<&'static str>,
}

impl Adapters {
    /// Initialises adapters that leave the backbone as it is: the LoRAs' `B` is zero, the
    /// gate scores 0.5, pooling is the mean. The rank is the largest that keeps all
    /// additions within 4 % of the backbone's `parameters`, and at least 1.
    pub fn fresh(checkpoint: &Checkpoint, parameters: u64, seed: u64, device: &Device) -> Self {
        let rank = fresh_rank(&checkpoint.config, parameters);
        let plan =
            AdapterPlan { reasoning_rank: rank, embedding_rank: rank, ..AdapterPlan::default() };
        Self::planned(checkpoint, &plan, seed, device)
    }

    /// Initialises adapters of the planned shapes, which add nothing to the backbone's
    /// linears yet: the LoRAs' `B` is zero, the gate scores 0.5, and what the queries add
    /// to the embedding is zero where both parts have projections.
    pub fn planned(
        checkpoint: &Checkpoint,
        plan: &AdapterPlan,
        seed: u64,
        device: &Device,
    ) -> Self {
        let config = &checkpoint.config;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut lora = |rank| Lora::fresh(config, rank, plan.scale, &mut rng, device);
        let (reasoning, embedding) = (lora(plan.reasoning_rank), lora(plan.embedding_rank));
        let manifest = Manifest {
            format_version: MANIFEST_VERSION,
            backbone: BackboneId {
                name: checkpoint.name.clone(),
                weights_sha256: checkpoint.weights_sha256.clone(),
            },
            interface: plan.interface,
            pooling: plan.pooling,
            queries: plan.queries,
            gate_threshold: 0.5,
            gate_curve: Vec::new(),
            gate_input: GateInput::default(),
            gate_activation: GateActivation::default(),
            gate_depth: plan.gate_depth,
            thought: plan.thought.clone(),
            instructions: plan.instructions.clone(),
            capitals: plan.capitals,
            trained: false,
        };
        let hidden = config.hidden_size;
        let queries = Queries::fresh(plan.queries, hidden, &mut rng, device);
        let gate = Gate { form: manifest.gate_form(), ..Gate::fresh(hidden, &mut rng, device) };
        let pooler = match plan.dimension {
            Some(dimension) => Pooler::fresh(plan.pooling, dimension, hidden, &mut rng, device),
            None => Pooler::plain(),
        };
        let seeded = format!("planned, {plan:?}, seed {seed}");
        let digest = format!("{:x}", Sha256::digest(seeded));
        let assumed = Vec::new();
        Self { manifest, reasoning, embedding, queries, gate, pooler, digest, assumed }
    }

    /// Reads an adapter folder made for `checkpoint`: as [`Self::write`] leaves it, or with
    /// the gate and the queries in files of their own, as released checkpoints have them.
    ///
    /// # Errors
    /// Fails when a file is missing or damaged, when the manifest is of another format or
    /// names another backbone, and when a tensor is missing, stray or of another shape.
    pub fn read(
        folder: &Path,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        Self::read_files(&Files::Folder(folder), checkpoint, device)
    }

    /// Reads an adapter folder's files, wherever they are.
    pub(super) fn read_files(
        files: &Files<'_>,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        let config = &checkpoint.config;
        let layout = Layout::find(files)?;
        let (manifest, assumed, head) = match &layout {
            Layout::House => {
                let manifest = Manifest::parse(&files.text(MANIFEST)?).map_err(|problem| {
                    EncoderError::ModelFile { path: files.path(MANIFEST), problem }
                })?;
                (manifest, Vec::new(), None)
            }
            Layout::Released(parts) => {
                let released = released::read(files, parts, checkpoint, device)?;
                let head = Head {
                    queries: released.queries,
                    gate: released.gate,
                    pooler: Pooler::plain(),
                };
                (released.manifest, released.assumed, Some(head))
            }
        };
        check_backbone(&manifest, checkpoint)
            .map_err(|problem| EncoderError::ModelFile { path: files.path(MANIFEST), problem })?;
        let reasoning = read_peft_files(files, Some(REASONING), config, device)?;
        let embedding = read_peft_files(files, Some(EMBEDDING), config, device)?;
        let head = match head {
            Some(head) => head,
            None => {
                let path = files.path(HEAD);
                let mut tensors = parse_tensors(&path, &files.read(HEAD)?)?;
                Head::take(&mut tensors, &manifest, config, device)
                    .map_err(|problem| EncoderError::ModelFile { path, problem })?
            }
        };
        Ok(Self {
            manifest,
            reasoning,
            embedding,
            queries: head.queries,
            gate: head.gate,
            pooler: head.pooler,
            digest: digest_files(files, &layout)?,
            assumed,
        })
    }

    /// Writes the folder, which is made if it is missing, with values of type `stored`.
    ///
    /// # Errors
    /// Fails when a file cannot be written, or a value is out of `stored`'s range.
    pub fn write(&self, folder: &Path, stored: StoredType) -> Result<(), EncoderError> {
        fs_err::create_dir_all(folder)?;
        let base_model = &self.manifest.backbone.name;
        write_peft(&folder.join(REASONING), &self.reasoning, base_model, stored)?;
        write_peft(&folder.join(EMBEDDING), &self.embedding, base_model, stored)?;
        let mut tensors = HostTensors::new();
        self.queries.put(&mut tensors);
        self.gate.put(&mut tensors);
        self.pooler.put(&mut tensors);
        write_tensors(&folder.join(HEAD), &tensors, stored)?;
        self.manifest.write(&folder.join(MANIFEST))
    }

    /// Takes a fresh gate in place of the one that is there: on the mean of the query states
    /// after `depth` of the backbone's layers, or after the final norm.
    pub fn renew_gate(&mut self, depth: Option<usize>, seed: u64) {
        let [_, hidden] = self.queries.rows.dims();
        let device = self.queries.rows.device();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.manifest.gate_input = GateInput::default();
        self.manifest.gate_activation = GateActivation::default();
        self.manifest.gate_depth = depth;
        self.manifest.gate_curve.clear();
        self.gate =
            Gate { form: self.manifest.gate_form(), ..Gate::fresh(hidden, &mut rng, &device) };
    }

    /// The number of parameters in all parts.
    pub fn parameters(&self) -> u64 {
        self.num_params() as u64
    }

    /// Keys of the manifest whose values no file gave: TWN's defaults, not the word of
    /// whoever trained the adapters. Empty but for released checkpoints.
    pub fn assumed(&self) -> &[&'static str] {
        &self.assumed
    }

    /// Hex SHA-256 over what the parts were made from.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

/// What `head.safetensors` holds.
struct Head {
    queries: Queries,
    gate: Gate,
    pooler: Pooler,
}

impl Head {
    fn take(
        tensors: &mut HostTensors,
        manifest: &Manifest,
        config: &BackboneConfig,
        device: &Device,
    ) -> Result<Self, String> {
        let hidden = config.hidden_size;
        let head = Self {
            queries: Queries::take(tensors, manifest.queries, hidden, device)?,
            gate: Gate::take(
                tensors,
                manifest.gate_input.width(manifest.queries, hidden),
                manifest.gate_form(),
                device,
            )?,
            pooler: Pooler::take(tensors, manifest.pooling, (config.vocab_size, hidden), device)?,
        };
        match tensors.keys().next() {
            Some(name) => Err(format!("tensor {name} is unknown")),
            None => Ok(head),
        }
    }
}

fn check_backbone(manifest: &Manifest, checkpoint: &Checkpoint) -> Result<(), String> {
    let made_for = &manifest.backbone;
    let layers = checkpoint.config.layers;
    if let Some(depth) = manifest.gate_depth.filter(|&depth| depth > layers) {
        return Err(format!("`gate_depth` is {depth}, the model has {layers} layers"));
    }
    if made_for.weights_sha256 == checkpoint.weights_sha256 {
        return Ok(());
    }
    Err(format!(
        "adapters were made for {} with weights sha256 {}, the model is {} with {}",
        made_for.name, made_for.weights_sha256, checkpoint.name, checkpoint.weights_sha256
    ))
}

fn fresh_rank(config: &BackboneConfig, parameters: u64) -> usize {
    let widths = |target: Target| {
        let (input, output) = target.shape(config);
        input + output
    };
    let per_rank = 2 * config.layers * Target::ALL.into_iter().map(widths).sum::<usize>();
    ((parameters as f64 * FRESH_SHARE / per_rank as f64) as usize).max(1)
}

/// Hashes every file of the folder, each with its name and length so that moving bytes
/// from one file to another changes the digest.
fn digest_files(files: &Files<'_>, layout: &Layout) -> Result<String, EncoderError> {
    let peft = ["adapter_config.json", "adapter_model.safetensors"];
    let mut names: Vec<String> = [REASONING, EMBEDDING]
        .into_iter()
        .flat_map(|adapter| peft.map(|file| format!("{adapter}/{file}")))
        .collect();
    names.extend(layout.files().into_iter().map(str::to_owned));
    // Last, as fingerprints of folders from before had it.
    names.extend(files.has(MANIFEST).then(|| MANIFEST.to_owned()));
    let mut hash = Sha256::new();
    for name in names {
        let bytes = files.read(&name)?;
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(&bytes);
    }
    Ok(format!("{:x}", hash.finalize()))
}
