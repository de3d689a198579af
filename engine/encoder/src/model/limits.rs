//! Bounds on what a configuration may claim, before anything is allocated for it.

use super::cursor::Problem;
use crate::backbone::BackboneConfig;

const LAYERS_MAX: usize = 1024;
const WIDTH_MAX: usize = 1 << 18;
const VOCABULARY_MAX: usize = 1 << 22;
const POSITIONS_MAX: usize = 1 << 24;

/// Checks that shapes and constants are possible and within what any such model has.
pub(super) fn check_config(config: &BackboneConfig) -> Result<(), Problem> {
    let sizes = [
        ("vocabulary", config.vocab_size, VOCABULARY_MAX),
        ("hidden width", config.hidden_size, WIDTH_MAX),
        ("feed-forward width", config.intermediate_size, WIDTH_MAX),
        ("number of layers", config.layers, LAYERS_MAX),
        ("number of heads", config.heads, WIDTH_MAX),
        ("number of key-value heads", config.kv_heads, WIDTH_MAX),
        ("head width", config.head_dim, WIDTH_MAX),
        ("number of positions", config.max_positions, POSITIONS_MAX),
    ];
    for (what, got, max) in sizes {
        if !(1..=max).contains(&got) {
            return Err(format!("{what} is {got}; supported: 1 to {max}"));
        }
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        return Err(format!(
            "{} heads cannot share {} key-value heads evenly",
            config.heads, config.kv_heads
        ));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(format!("head width {} is odd, so it cannot be rotated", config.head_dim));
    }
    for (what, value) in [("rotary base", config.rope_theta), ("norm epsilon", config.rms_norm_eps)]
    {
        if !(value.is_finite() && value > 0.0) {
            return Err(format!("{what} is {value}; it must be finite and above 0"));
        }
    }
    Ok(())
}
