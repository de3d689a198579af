//! `adapter_config.json` as the `peft` package writes it.
//!
//! Every key is accounted for: used, known to change nothing at inference, or accepted
//! only with its neutral value. An unknown key is refused, since ignoring it could
//! silently compute something else than the adapter's author did.

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::error::EncoderError;

/// Keys that matter only to training or to the package's bookkeeping.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "lora_ga_config",
    "loftq_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Keys whose value must be null, false or empty, since anything else changes the
/// computation in a way that is not implemented.
const NEUTRAL_ONLY: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// The most a rank may be; limits what a damaged file makes us allocate.
const RANK_MAX: u64 = 4096;

/// Which modules have an addition, of what rank and strength.
#[derive(Debug)]
pub(super) struct PeftConfig {
    targets: Targets,
    rank: usize,
    alpha: f64,
    rank_patterns: Vec<(Regex, usize)>,
    alpha_patterns: Vec<(Regex, f64)>,
    rank_stabilised: bool,
}

#[derive(Debug)]
enum Targets {
    /// Names that a module's path equals or ends with.
    Suffixes(Vec<String>),
    /// A pattern that the whole path matches.
    Pattern(Regex),
    /// Every linear but the output head.
    AllLinear,
}

impl PeftConfig {
    /// Reads a configuration's text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let keys: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let used = |key: &str| {
            matches!(
                key,
                "peft_type"
                    | "r"
                    | "lora_alpha"
                    | "target_modules"
                    | "rank_pattern"
                    | "alpha_pattern"
                    | "use_rslora"
                    | "bias"
            )
        };
        for (key, value) in &keys {
            let key = key.as_str();
            if NEUTRAL_ONLY.contains(&key) {
                if !is_neutral(value) {
                    return Err(format!("`{key}` is {value}, which is not supported"));
                }
            } else if !used(key) && !WITHOUT_EFFECT.contains(&key) {
                return Err(format!("key `{key}` is unknown"));
            }
        }
        let get = |key: &str| keys.get(key).unwrap_or(&Value::Null);
        if get("peft_type") != "LORA" {
            return Err(format!("`peft_type` is {}, expected \"LORA\"", get("peft_type")));
        }
        if !is_neutral(get("bias")) && get("bias") != "none" {
            return Err(format!("`bias` is {}, which is not supported", get("bias")));
        }
        let rank_stabilised = match get("use_rslora") {
            Value::Null => false,
            value => value.as_bool().ok_or("`use_rslora` is no boolean")?,
        };
        Ok(Self {
            targets: Targets::parse(get("target_modules"))?,
            rank: rank(get("r")).ok_or_else(|| wrong("r", get("r")))?,
            alpha: alpha(get("lora_alpha"))
                .ok_or_else(|| wrong("lora_alpha", get("lora_alpha")))?,
            rank_patterns: patterns("rank_pattern", get("rank_pattern"), rank)?,
            alpha_patterns: patterns("alpha_pattern", get("alpha_pattern"), alpha)?,
            rank_stabilised,
        })
    }

    /// Tells whether a module, for example `model.layers.0.mlp.up_proj`, has an addition.
    pub(super) fn targets(&self, module: &str) -> bool {
        match &self.targets {
            Targets::Suffixes(suffixes) => suffixes.iter().any(|suffix| {
                module
                    .strip_suffix(suffix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
            Targets::Pattern(pattern) => pattern.is_match(module),
            Targets::AllLinear => true,
        }
    }

    /// The rank of the addition to a module with these paths.
    pub(super) fn rank(&self, paths: [&String; 2]) -> usize {
        first_match(&self.rank_patterns, paths).unwrap_or(self.rank)
    }

    /// The factor of the addition to a module with these paths.
    pub(super) fn scale(&self, paths: [&String; 2]) -> f64 {
        let alpha = first_match(&self.alpha_patterns, paths).unwrap_or(self.alpha);
        let rank = self.rank(paths) as f64;
        alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }
}

impl Targets {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(all) if all == "all-linear" => Ok(Self::AllLinear),
            Value::String(pattern) => Ok(Self::Pattern(whole(pattern)?)),
            Value::Array(names) if !names.is_empty() => names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::Suffixes)
                .ok_or_else(|| wrong("target_modules", value)),
            _ => Err(wrong("target_modules", value)),
        }
    }
}

/// Writes the configuration of an adapter with one rank and strength on `modules`.
pub(super) fn write_config(
    path: &Path,
    base_model: &str,
    modules: &[&str],
    rank: usize,
    alpha: f64,
) -> Result<(), EncoderError> {
    let config = json!({
        "peft_type": "LORA",
        "base_model_name_or_path": base_model,
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": modules,
    });
    Ok(fs_err::write(path, format!("{config:#}\n"))?)
}

fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn rank(value: &Value) -> Option<usize> {
    value.as_u64().filter(|rank| (1..=RANK_MAX).contains(rank)).map(|rank| rank as usize)
}

fn alpha(value: &Value) -> Option<f64> {
    value.as_f64().filter(|alpha| alpha.is_finite())
}

/// Reads a map from patterns to values. A pattern matches the end of a module's path,
/// after a dot or at its beginning; the first that matches counts.
fn patterns<T>(
    key: &str,
    value: &Value,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(Regex, T)>, String> {
    let Value::Object(entries) = value else {
        return if value.is_null() { Ok(Vec::new()) } else { Err(wrong(key, value)) };
    };
    let entry = |(pattern, value): (&String, &Value)| {
        let number = read(value).ok_or_else(|| wrong(key, value))?;
        Ok((whole(&format!(r"(.*\.)?({pattern})"))?, number))
    };
    entries.iter().map(entry).collect()
}

fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| format!("pattern `{pattern}`: {e}"))
}

fn first_match<T: Copy>(patterns: &[(Regex, T)], paths: [&String; 2]) -> Option<T> {
    let matches = |pattern: &Regex| paths.iter().any(|path| pattern.is_match(path));
    patterns.iter().find(|(pattern, _)| matches(pattern)).map(|&(_, value)| value)
}

fn wrong(key: &str, value: &Value) -> String {
    format!("`{key}` cannot be {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "model.layers.1.self_attn.q_proj";

    /// Parses a minimal configuration with `entries` set.
    fn parse(entries: Value) -> Result<PeftConfig, String> {
        let mut config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]
        });
        let config_map = config.as_object_mut().expect("an object");
        config_map.extend(entries.as_object().expect("an object").clone());
        PeftConfig::parse(&config.to_string())
    }

    #[test]
    fn scale_follows_patterns_and_rank_stabilisation() {
        let path = MODULE.to_owned();
        let scale = |entries| parse(entries).expect("valid").scale([&path, &path]);
        assert_eq!(scale(json!({})), 2.0);
        assert_eq!(scale(json!({"use_rslora": true})), 4.0);
        assert_eq!(scale(json!({"rank_pattern": {"q_proj": 16}})), 0.5);
        assert_eq!(scale(json!({"rank_pattern": {"layers.0.self_attn.q_proj": 16}})), 2.0);
        assert_eq!(scale(json!({"alpha_pattern": {r"layers\.\d\..*": 4}})), 1.0);
    }

    #[test]
    fn targets_match_whole_names() {
        let targets = |value| parse(json!({ "target_modules": value })).expect("valid");
        assert!(targets(json!(["q_proj"])).targets(MODULE));
        assert!(targets(json!(["self_attn.q_proj"])).targets(MODULE));
        assert!(!targets(json!(["proj"])).targets(MODULE));
        assert!(targets(json!(".*q_proj")).targets(MODULE));
        assert!(!targets(json!("q_proj")).targets(MODULE));
        assert!(targets(json!("all-linear")).targets(MODULE));
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        for (key, value) in [
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("bias", json!("all")),
            ("layers_to_transform", json!([1])),
            ("some_new_trick", json!(false)),
            ("r", json!(0)),
            ("r", json!(1e9)),
            ("lora_alpha", json!("8")),
            ("target_modules", json!([])),
            ("target_modules", json!("(")),
            ("peft_type", json!("IA3")),
        ] {
            let problem = parse(json!({ key: value.clone() })).expect_err("refused");
            assert!(problem.contains(key) || problem.contains("pattern"), "{key}: {problem}");
        }
    }
}
