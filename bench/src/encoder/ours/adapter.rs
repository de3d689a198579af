//! Made-up adapters of rank 8 on every linear layer.

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twn_encoder::{
    HostTensor,
    adapter::{AdapterPlan, Adapters, Interface, Lora, LoraLayer, LoraPair, StoredType, Target},
    backbone::BackboneConfig,
    model, open_device,
};

const RANK: usize = 8;

/// Makes an adapter none of whose values is zero and that is too small to upset the model.
pub(super) fn rank_eight(config: &BackboneConfig) -> anyhow::Result<Lora> {
    let device = open_device("flex")?;
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut random = |rows: usize, columns: usize, size: f32| HostTensor {
        shape: vec![rows, columns],
        values: (0..rows * columns).map(|_| rng.random_range(-size..size)).collect(),
    };
    let mut pair = |target: Target| {
        let (input, output) = target.shape(config);
        let a = random(RANK, input, 1.0 / (input as f32).sqrt());
        Some(LoraPair::new(a, random(output, RANK, 0.02), 2.0, &device))
    };
    let layers = (0..config.layers).map(|_| LoraLayer {
        query: pair(Target::Query),
        key: pair(Target::Key),
        value: pair(Target::Value),
        output: pair(Target::Output),
        gate: pair(Target::Gate),
        up: pair(Target::Up),
        down: pair(Target::Down),
    });
    Ok(Lora { layers: layers.collect() })
}

/// Writes a folder of both adapters, of queries and a gate, whose thoughts continue from the
/// prompt's own keys and values.
pub(super) fn write_one_cache(model: &Path, folder: &Path) -> anyhow::Result<()> {
    let checkpoint = model::open(model)?;
    let plan = AdapterPlan {
        reasoning_rank: RANK,
        embedding_rank: RANK,
        interface: Interface::Cache,
        ..AdapterPlan::default()
    };
    let mut adapters = Adapters::planned(&checkpoint, &plan, 8, &open_device("flex")?);
    adapters.reasoning = rank_eight(&checkpoint.config)?;
    adapters.embedding = rank_eight(&checkpoint.config)?;
    Ok(adapters.write(folder, StoredType::F16)?)
}
