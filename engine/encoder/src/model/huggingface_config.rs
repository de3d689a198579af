//! `config.json` of the supported families: what the decoder understands of it, and what it
//! must refuse.

use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{cursor::Problem, huggingface::Ids, limits::check_config, model_file, read_json};
use crate::{
    backbone::{BackboneConfig, RopeAxes, VisionConfig},
    error::EncoderError,
};

/// Families by their `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Qwen3,
    Qwen3Vl,
}

const SUPPORTED: &str = "llama, qwen3, qwen3_vl";

/// What all families say about their decoder.
#[derive(Debug, Deserialize)]
struct TextConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    #[serde(default = "default_epsilon")]
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<IgnoredAny>,
    #[serde(default)]
    use_sliding_window: bool,
    quantization_config: Option<IgnoredAny>,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<Ids>,
}

/// Rotary settings under either of their names.
#[derive(Debug, Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
    mrope_section: Option<[usize; 3]>,
    mrope_interleaved: Option<bool>,
}

/// The outer part of a model that sees.
#[derive(Debug, Deserialize)]
struct VlConfig {
    text_config: TextConfig,
    vision_config: TowerConfig,
    image_token_id: u32,
    video_token_id: u32,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<Ids>,
    quantization_config: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct TowerConfig {
    depth: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    #[serde(default = "three")]
    in_channels: usize,
    patch_size: usize,
    spatial_merge_size: usize,
    temporal_patch_size: usize,
    out_hidden_size: usize,
    num_position_embeddings: usize,
    deepstack_visual_indexes: Vec<usize>,
    hidden_act: Option<String>,
    rope_parameters: Option<Rope>,
}

/// Reads a configuration, and the ids that it says end decoding.
pub(super) fn read(path: &Path) -> Result<(BackboneConfig, Option<Ids>), EncoderError> {
    let refuse = |problem: String| model_file(path, problem);
    // The type is looked at first: another architecture lacks fields, and the message about a
    // missing field would hide the reason.
    let value: Value = read_json(path)?;
    let model_type = value.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    let family = match model_type {
        "llama" => Family::Llama,
        "qwen3" => Family::Qwen3,
        "qwen3_vl" => Family::Qwen3Vl,
        other => {
            return Err(refuse(format!("has the architecture `{other}`; supported: {SUPPORTED}")));
        }
    };
    let wrong = |error: serde_json::Error| refuse(error.to_string());
    let (config, eos) = if family == Family::Qwen3Vl {
        let whole: VlConfig = serde_json::from_value(value).map_err(wrong)?;
        (vl_config(&whole).map_err(refuse)?, whole.eos_token_id.or(whole.text_config.eos_token_id))
    } else {
        let text: TextConfig = serde_json::from_value(value).map_err(wrong)?;
        (text_config(&text, family).map_err(refuse)?, text.eos_token_id)
    };
    check_config(&config).map_err(refuse)?;
    Ok((config, eos))
}

fn text_config(parsed: &TextConfig, family: Family) -> Result<BackboneConfig, Problem> {
    refuse_variants(parsed, family)?;
    let heads = parsed.num_attention_heads;
    let ropes = [&parsed.rope_parameters, &parsed.rope_scaling].map(Option::as_ref);
    let rope_theta = ropes.into_iter().flatten().find_map(|rope| rope.rope_theta);
    let is_qwen = family != Family::Llama;
    Ok(BackboneConfig {
        vocab_size: parsed.vocab_size,
        hidden_size: parsed.hidden_size,
        intermediate_size: parsed.intermediate_size,
        layers: parsed.num_hidden_layers,
        heads,
        kv_heads: parsed.num_key_value_heads.unwrap_or(heads),
        head_dim: match parsed.head_dim {
            Some(width) => width,
            None if is_qwen => 128,
            None => parsed.hidden_size.checked_div(heads).unwrap_or(0),
        },
        rope_theta: match rope_theta.or(parsed.rope_theta) {
            Some(theta) => theta,
            None if family == Family::Qwen3Vl => return Err("names no rotary base".to_owned()),
            None => 10_000.0,
        },
        rms_norm_eps: parsed.rms_norm_eps,
        max_positions: match (parsed.max_position_embeddings, is_qwen) {
            (Some(positions), _) => positions,
            (None, true) => 32_768,
            (None, false) => 2048,
        },
        tied_embeddings: parsed.tie_word_embeddings.unwrap_or(false),
        head_norms: is_qwen,
        rope_axes: None,
        vision: None,
    })
}

fn vl_config(parsed: &VlConfig) -> Result<BackboneConfig, Problem> {
    if parsed.quantization_config.is_some() {
        return Err("sets `quantization_config`, which is not supported".to_owned());
    }
    let text = &parsed.text_config;
    let mut config = text_config(text, Family::Qwen3Vl)?;
    // The outer word counts: the inner configuration has a default that it does not mean.
    config.tied_embeddings =
        parsed.tie_word_embeddings.or(text.tie_word_embeddings).unwrap_or(false);
    let ropes = [&text.rope_parameters, &text.rope_scaling].map(Option::as_ref);
    let sections = ropes.into_iter().flatten().find_map(|rope| rope.mrope_section);
    let sections = sections.ok_or("has no `mrope_section`")?;
    if ropes.into_iter().flatten().any(|rope| rope.mrope_interleaved == Some(false)) {
        return Err("deals rotary frequencies out in blocks, which is not supported".to_owned());
    }
    if sections.into_iter().try_fold(0_usize, usize::checked_add) != Some(config.head_dim / 2) {
        return Err(format!(
            "`mrope_section` is {sections:?}, which does not add up to half of the head width {}",
            config.head_dim
        ));
    }
    config.rope_axes = Some(RopeAxes { sections });
    config.vision = Some(tower_config(parsed, &config)?);
    Ok(config)
}

fn tower_config(parsed: &VlConfig, decoder: &BackboneConfig) -> Result<VisionConfig, Problem> {
    let tower = &parsed.vision_config;
    if let Some(name) = tower.hidden_act.as_deref().filter(|name| *name != "gelu_pytorch_tanh") {
        return Err(format!("has a vision tower with the activation `{name}`"));
    }
    let rope = tower.rope_parameters.as_ref();
    let is_other_rope = rope.is_some_and(|rope| {
        rope.rope_theta.is_some_and(|theta| theta != 10_000.0)
            || rope.rope_type.as_deref().is_some_and(|kind| kind != "axial")
    });
    if is_other_rope {
        return Err("has a vision tower with another rotary embedding".to_owned());
    }
    if tower.out_hidden_size != decoder.hidden_size {
        return Err(format!(
            "has a vision tower for a decoder {} wide, the decoder is {} wide",
            tower.out_hidden_size, decoder.hidden_size
        ));
    }
    let config = VisionConfig {
        depth: tower.depth,
        hidden_size: tower.hidden_size,
        intermediate_size: tower.intermediate_size,
        heads: tower.num_heads,
        channels: tower.in_channels,
        patch_size: tower.patch_size,
        merge_size: tower.spatial_merge_size,
        frames: tower.temporal_patch_size,
        positions: tower.num_position_embeddings,
        deepstack: tower.deepstack_visual_indexes.clone(),
        image_token: parsed.image_token_id,
        video_token: parsed.video_token_id,
    };
    config.check(decoder)?;
    Ok(config)
}

/// Refuses what such a configuration can say but this decoder does not compute.
fn refuse_variants(parsed: &TextConfig, family: Family) -> Result<(), Problem> {
    for rope in [&parsed.rope_parameters, &parsed.rope_scaling].into_iter().flatten() {
        let kind = rope.rope_type.as_deref().unwrap_or("default");
        // Early files call rotary positions on several axes a kind of their own.
        if kind != "default" && !(kind == "mrope" && family == Family::Qwen3Vl) {
            return Err(format!("scales its rotary positions ({kind}), which is not supported"));
        }
    }
    if parsed.hidden_act.as_deref().is_some_and(|name| name != "silu") {
        let name = parsed.hidden_act.as_deref().unwrap_or_default();
        return Err(format!("has the activation `{name}`; supported: silu"));
    }
    let in_rope = parsed.rope_parameters.as_ref().and_then(|rope| rope.partial_rotary_factor);
    let is_partial = in_rope.or(parsed.partial_rotary_factor).is_some_and(|factor| factor != 1.0);
    // Qwen3's files name a window beside a switch that is off.
    let has_window = match family {
        Family::Llama => parsed.sliding_window.is_some(),
        Family::Qwen3 | Family::Qwen3Vl => parsed.use_sliding_window,
    };
    let refused = [
        ("attention_bias", parsed.attention_bias),
        ("mlp_bias", parsed.mlp_bias),
        ("partial_rotary_factor", is_partial),
        ("sliding_window", has_window),
        ("quantization_config", parsed.quantization_config.is_some()),
    ];
    match refused.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(format!("sets `{name}`, which is not supported")),
        None => Ok(()),
    }
}

fn default_epsilon() -> f32 {
    1e-6
}

fn three() -> usize {
    3
}
