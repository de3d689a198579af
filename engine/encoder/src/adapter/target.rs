//! The linears of a layer that a LoRA can be added to.

use crate::backbone::BackboneConfig;

/// A linear of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// To attention's queries.
    Query,
    /// To attention's keys.
    Key,
    /// To attention's values.
    Value,
    /// From attention back to the residual stream.
    Output,
    /// To the feed-forward network's gate.
    Gate,
    /// Into the feed-forward network.
    Up,
    /// Out of the feed-forward network.
    Down,
}

impl Target {
    /// All of them, in the order of the layer.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Names the module within its layer, for example `self_attn.q_proj`.
    pub fn module(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Gives the widths of input and output.
    pub fn shape(self, config: &BackboneConfig) -> (usize, usize) {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let queries = config.heads * config.head_dim;
        let kv = config.kv_heads * config.head_dim;
        match self {
            Self::Query => (hidden, queries),
            Self::Key | Self::Value => (hidden, kv),
            Self::Output => (queries, hidden),
            Self::Gate | Self::Up => (hidden, inner),
            Self::Down => (inner, hidden),
        }
    }
}
