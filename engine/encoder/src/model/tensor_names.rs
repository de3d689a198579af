//! Which tensors a checkpoint has, by their Hugging Face names, and what others call them.

use std::collections::BTreeMap;

use super::cursor::Problem;
use crate::backbone::{BackboneConfig, TOWER_PREFIX};

/// Name of the embedding table.
pub(super) const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// Name of the output head, absent when it is tied to the embedding table.
pub(super) const HEAD: &str = "lm_head.weight";
/// Tensors named in one message at most.
const NAMED_MAX: usize = 3;

/// Translates a GGUF tensor name; `None` when a Llama has no such tensor.
pub(super) fn from_gguf(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some(EMBEDDINGS.to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some(HEAD.to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let part = match part {
        "attn_norm.weight" => "input_layernorm.weight",
        "attn_q.weight" => "self_attn.q_proj.weight",
        "attn_k.weight" => "self_attn.k_proj.weight",
        "attn_v.weight" => "self_attn.v_proj.weight",
        "attn_output.weight" => "self_attn.o_proj.weight",
        "ffn_norm.weight" => "post_attention_layernorm.weight",
        "ffn_gate.weight" => "mlp.gate_proj.weight",
        "ffn_up.weight" => "mlp.up_proj.weight",
        "ffn_down.weight" => "mlp.down_proj.weight",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}"))
}

/// Brings the names that versions of transformers have given to the parts of a model that
/// sees to one form: `model.layers…` for the decoder and `model.visual…` for the tower.
pub(super) fn from_huggingface(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        return format!("model.{rest}");
    }
    match name.strip_prefix("visual.") {
        Some(rest) => format!("{TOWER_PREFIX}{rest}"),
        None => name.to_owned(),
    }
}

/// Lists every tensor that a model of this configuration has, with its shape.
pub(super) fn expected(config: &BackboneConfig) -> BTreeMap<String, Vec<usize>> {
    let hidden = config.hidden_size;
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let mut shapes = BTreeMap::new();
    shapes.insert(EMBEDDINGS.to_owned(), vec![config.vocab_size, hidden]);
    shapes.insert("model.norm.weight".to_owned(), vec![hidden]);
    if !config.tied_embeddings {
        shapes.insert(HEAD.to_owned(), vec![config.vocab_size, hidden]);
    }
    for layer in 0..config.layers {
        let parts = [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![queries, hidden]),
            ("self_attn.k_proj", vec![keys, hidden]),
            ("self_attn.v_proj", vec![keys, hidden]),
            ("self_attn.o_proj", vec![hidden, queries]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![config.intermediate_size, hidden]),
            ("mlp.up_proj", vec![config.intermediate_size, hidden]),
            ("mlp.down_proj", vec![hidden, config.intermediate_size]),
        ];
        let head_norms =
            ["self_attn.q_norm", "self_attn.k_norm"].map(|p| (p, vec![config.head_dim]));
        let head_norms = head_norms.into_iter().filter(|_| config.head_norms);
        for (part, shape) in parts.into_iter().chain(head_norms) {
            shapes.insert(format!("model.layers.{layer}.{part}.weight"), shape);
        }
    }
    if let Some(vision) = &config.vision {
        shapes.extend(vision.tensors(hidden));
    }
    shapes
}

/// Checks that a file has exactly the tensors of its configuration, in the right shapes.
pub(super) fn check_inventory(
    config: &BackboneConfig,
    found: &BTreeMap<String, Vec<usize>>,
) -> Result<(), Problem> {
    let expected = expected(config);
    let missing: Vec<&str> =
        expected.keys().filter(|name| !found.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!("lacks tensors: {}", shortened(&missing)));
    }
    let unknown: Vec<&str> =
        found.keys().filter(|name| !expected.contains_key(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "has tensors that a model of this configuration does not have: {}",
            shortened(&unknown)
        ));
    }
    for (name, want) in &expected {
        let got = &found[name];
        if got != want {
            return Err(format!(
                "tensor `{name}` has shape {got:?}, the configuration says {want:?}"
            ));
        }
    }
    Ok(())
}

/// Names a few and counts the rest.
pub(super) fn shortened(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMED_MAX));
    }
    text
}
