//! Where a run stands, on disk.
//!
//! `RUN/checkpoint-A` and `-B` are written in turn, each whole before `RUN/CURRENT` names
//! it, so that a kill at any moment leaves one that can be resumed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use twn_encoder::{
    Checkpoint,
    adapter::{Adapters, StoredType},
};

use super::{OptimizerState, TrainError};

const CURRENT: &str = "CURRENT";
const PLACE: &str = "place.json";
const MOMENTS: &str = "moments.bin";
const ADAPTERS: &str = "adapters";

/// Where in its recipe a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Digest of the recipe: another recipe cannot go on.
    pub recipe: String,
    /// Stages that are done.
    pub stage: usize,
    /// Steps of the next stage that are done.
    pub step: usize,
}

/// Writes where a run stands.
///
/// # Errors
/// Fails when a file cannot be written; the checkpoint before stays valid.
pub(super) fn save(
    run: &Path,
    place: &Place,
    adapters: &Adapters,
    optimizer: &OptimizerState,
) -> Result<(), TrainError> {
    let name = match current(run)?.as_deref() {
        Some("checkpoint-A") => "checkpoint-B",
        _ => "checkpoint-A",
    };
    let folder = run.join(name);
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    adapters.write(&folder.join(ADAPTERS), StoredType::F32)?;
    fs_err::write(folder.join(MOMENTS), pack(optimizer))?;
    let json = serde_json::to_vec_pretty(place).expect("plain data serialises");
    fs_err::write(folder.join(PLACE), json)?;
    sync(&folder)?;
    let fresh = run.join("CURRENT.new");
    fs_err::write(&fresh, name)?;
    fs_err::File::open(&fresh)?.sync_all()?;
    fs_err::rename(fresh, run.join(CURRENT))?;
    Ok(fs_err::File::open(run)?.sync_all()?)
}

/// Reads the last checkpoint of a run; `None` when it has none.
///
/// # Errors
/// Fails when a file is missing or damaged, or belongs to another recipe.
pub(super) fn load(
    run: &Path,
    recipe: &str,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<Option<(Place, Adapters, OptimizerState)>, TrainError> {
    let Some(name) = current(run)? else { return Ok(None) };
    let folder = run.join(name);
    let path = folder.join(PLACE);
    let place: Place = serde_json::from_slice(&fs_err::read(&path)?)
        .map_err(|error| TrainError::file(&path, error.to_string()))?;
    if place.recipe != recipe {
        let problem = "the run was begun with another recipe; name another folder";
        return Err(TrainError::file(run, problem));
    }
    let adapters = Adapters::read(&folder.join(ADAPTERS), checkpoint, device)?;
    let path = folder.join(MOMENTS);
    let state =
        unpack(&fs_err::read(&path)?).ok_or_else(|| TrainError::file(&path, "is damaged"))?;
    Ok(Some((place, adapters, state)))
}

fn current(run: &Path) -> Result<Option<String>, TrainError> {
    let path = run.join(CURRENT);
    if !path.exists() {
        return Ok(None);
    }
    let name = fs_err::read_to_string(&path)?;
    match name.as_str() {
        "checkpoint-A" | "checkpoint-B" => Ok(Some(name)),
        _ => Err(TrainError::file(&path, format!("names `{name}`, which is no checkpoint"))),
    }
}

/// Flushes every file below `folder`, and the folders.
fn sync(folder: &Path) -> Result<(), TrainError> {
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs_err::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
        fs_err::File::open(&path)?.sync_all()?;
    }
    Ok(())
}

/// Little-endian: steps, then for each parameter its index, its steps, its length, and
/// both moments.
fn pack(state: &OptimizerState) -> Vec<u8> {
    let mut bytes = (state.steps as u64).to_le_bytes().to_vec();
    for (&index, (steps, mean, square)) in &state.moments {
        for number in [index, *steps, mean.len()] {
            bytes.extend((number as u64).to_le_bytes());
        }
        for value in mean.iter().chain(square) {
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Option<OptimizerState> {
    let mut rest = bytes;
    let mut state = OptimizerState { steps: number(&mut rest)?, moments: BTreeMap::new() };
    while !rest.is_empty() {
        let (index, steps, len) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let (values, later) = rest.split_at_checked(len.checked_mul(8)?)?;
        rest = later;
        let values: Vec<f32> =
            values.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        let (mean, square) = values.split_at(len);
        state.moments.insert(index, (steps, mean.to_vec(), square.to_vec()));
    }
    Some(state)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (bytes, later) = rest.split_first_chunk::<8>()?;
    *rest = later;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_packing_and_cuts_are_seen() {
        let moments = BTreeMap::from([
            (0, (3, vec![1.0, -2.0], vec![0.5, 1e-20])),
            (7, (1, vec![0.25], vec![4.0])),
        ]);
        let state = OptimizerState { steps: 3, moments };
        let bytes = pack(&state);
        assert_eq!(unpack(&bytes), Some(state));
        assert_eq!(unpack(&bytes[..bytes.len() - 1]), None);
        assert_eq!(unpack(&bytes[..5]), None);
    }
}
