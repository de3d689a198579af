//! A vector index of others in a process of its own (peers/ann_peer.py).

use super::own::{EF_CONSTRUCTION, M};
use crate::peer::{Peer, PeerCommand, PeerError};
use serde::Deserialize;
use serde_json::json;
use std::{path::Path, time::Duration};

/// How long one answer may take: a build of a million rows is one.
const ANSWER_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

/// What a build took.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Built {
    pub(super) seconds: f64,
    /// Memory of the process's own, vectors included.
    pub(super) bytes: f64,
}

/// Starts `python SCRIPT NAME`.
pub(super) fn start(python: &Path, script: &Path, name: &str) -> Result<Peer, PeerError> {
    Peer::start(PeerCommand {
        name: name.to_owned(),
        program: python.to_path_buf(),
        arguments: vec![script.into(), name.into()],
        variables: &[],
        // One without a folder is found by the shell's path.
        needs: [script, python].into_iter().filter(|path| is_place(path)).map(Into::into).collect(),
        setup: "bench/peers/ann_setup.sh".to_owned(),
        answer_within: ANSWER_WITHIN,
    })
}

/// Has it build an index over a file of vectors.
pub(super) fn build(peer: &mut Peer, base: &Path, threads: usize) -> Result<Built, PeerError> {
    peer.call(&json!({
        "do": "build", "base": base, "m": M,
        "ef_construction": EF_CONSTRUCTION, "threads": threads,
    }))
}

fn is_place(path: &Path) -> bool {
    path.components().count() > 1
}
