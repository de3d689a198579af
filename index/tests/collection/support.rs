//! Documents, folders and brute force for the tests.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::path::Path;
use twn_index::{
    Collection, CollectionConfig, Document, Durability, HnswConfig, Operation, UnitVector,
};

/// A document whose every part follows from its id and version.
pub(crate) fn document(id: &str, vector: Vec<f32>, version: u64) -> Document {
    let payload = json!({
        "version": version,
        "parity": if version.is_multiple_of(2) { "even" } else { "odd" },
        "tags": [format!("t{}", version % 3), version % 5],
        "nested": { "half": version as f64 / 2.0 },
    });
    Document {
        id: id.to_owned(),
        vector: UnitVector::new(vector).unwrap(),
        text: format!("text of {id}, version {version}"),
        payload: payload.as_object().unwrap().clone(),
        provenance: format!("{{\"version\":{version}}}"),
        thought: version.is_multiple_of(3).then(|| format!("thought {version}")),
        content_hash: [version as u8; 32],
    }
}

pub(crate) fn upsert(id: &str, vector: Vec<f32>, version: u64) -> Operation {
    Operation::Upsert(Box::new(document(id, vector, version)))
}

/// A vector that is the same for the same number and unlike for others.
pub(crate) fn vector(dimension: usize, number: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Vectors around a number of centres, as embeddings lie.
pub(crate) fn clustered(count: usize, dimension: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut noise = |scale: f32| -> Vec<f32> {
        (0..dimension).map(|_| scale * random.random_range(-1.0_f32..1.0)).collect()
    };
    let centres: Vec<Vec<f32>> = (0..50).map(|_| noise(1.0)).collect();
    (0..count)
        .map(|number| {
            let centre = &centres[number * 7919 % centres.len()];
            centre.iter().zip(noise(0.6)).map(|(centre, noise)| centre + noise).collect()
        })
        .collect()
}

/// A configuration whose segments get a cheap graph.
pub(crate) fn config(dimension: usize) -> CollectionConfig {
    CollectionConfig {
        hnsw: HnswConfig { m: 12, ef_construction: 80, ef_search: 64 },
        ..CollectionConfig::new(dimension)
    }
}

/// A collection with a document `d00000`, `d00001`, … for each vector.
pub(crate) fn filled(folder: &Path, vectors: &[Vec<f32>]) -> Collection {
    filled_as(folder, config(vectors[0].len()), vectors)
}

/// The same in a collection of one's own configuration.
pub(crate) fn filled_as(
    folder: &Path,
    config: CollectionConfig,
    vectors: &[Vec<f32>],
) -> Collection {
    let collection = Collection::create(folder, config).unwrap();
    let operations: Vec<Operation> = vectors
        .iter()
        .enumerate()
        .map(|(number, vector)| upsert(&format!("d{number:05}"), vector.clone(), number as u64))
        .collect();
    for batch in operations.chunks(500) {
        collection.apply(batch.to_vec(), Durability::Accepted).unwrap();
    }
    collection
}

/// Copies a folder as it is on disk, as a crash would leave it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files in a folder and below.
pub(crate) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
