//! What an embedding depends on, in one digest.

use sha2::{Digest, Sha256};

use crate::{adapter::Adapters, checkpoint::Checkpoint, prompter::Eye};

/// Raised whenever the same files would give other embeddings than before.
const ENCODER_VERSION: u32 = 3;

/// Digests everything that an embedding depends on: weights and shapes of the backbone,
/// tokenizer, template, adapters, manifest, the weights' precision, and this crate's way of
/// using them.
pub(super) fn fingerprint(
    checkpoint: &Checkpoint,
    adapters: &Adapters,
    execution: &str,
    eye: Option<&Eye>,
) -> String {
    let json = |text: serde_json::Result<String>| text.expect("plain data serialises");
    let tokenizer = checkpoint.tokenizer.to_string(false).unwrap_or_default();
    let eos_ids = json(serde_json::to_string(&checkpoint.eos_ids));
    let config = json(serde_json::to_string(&checkpoint.config));
    let version = ENCODER_VERSION.to_string();
    let mut hash = Sha256::new();
    // What a model without eyes does not have leaves its digest as it was.
    let eye = eye.map(Eye::describe);
    let parts = [
        "twn encoder",
        &version,
        &checkpoint.weights_sha256,
        &config,
        &checkpoint.chat_template,
        &tokenizer,
        &eos_ids,
        &adapters.manifest.to_json(),
        adapters.digest(),
        execution,
    ];
    for part in parts.into_iter().chain(eye.as_deref()) {
        // With its length, no part can run over into the next.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}
