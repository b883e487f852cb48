//! What is each tensor called, here and in files?

use crate::model::config::ModelConfig;

/// The name of one tensor of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightName {
    /// The token embedding.
    TokenEmbedding,
    /// One of a block's, by the block's place from 0.
    Layer(usize, LayerWeight),
    /// The norm before the output projection.
    OutputNorm,
    /// The output projection, where it is not the token embedding.
    Output,
}

/// The tensors of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerWeight {
    /// The norm before attention.
    AttnNorm,
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Out of attention.
    O,
    /// The norm before the feed-forward layer.
    FfnNorm,
    /// Into the feed-forward layer's gate.
    Gate,
    /// Into the feed-forward layer.
    Up,
    /// Out of the feed-forward layer.
    Down,
}

impl LayerWeight {
    /// All of them, in the order a token meets them.
    pub const ALL: [Self; 9] =
        [Self::AttnNorm, Self::Q, Self::K, Self::V, Self::O, Self::FfnNorm, Self::Gate, Self::Up, Self::Down];

    fn gguf(self) -> &'static str {
        match self {
            Self::AttnNorm => "attn_norm",
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::FfnNorm => "ffn_norm",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    fn hugging_face(self) -> &'static str {
        match self {
            Self::AttnNorm => "input_layernorm",
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::FfnNorm => "post_attention_layernorm",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }
}

impl WeightName {
    /// The names a model of this configuration has, in the model's order.
    pub fn all(config: &ModelConfig) -> Vec<Self> {
        let mut all = vec![Self::TokenEmbedding];
        for i in 0..config.n_layers {
            all.extend(LayerWeight::ALL.map(|kind| Self::Layer(i, kind)));
        }
        all.push(Self::OutputNorm);
        if !config.tie_embeddings {
            all.push(Self::Output);
        }
        all
    }

    /// Its name in a GGUF file.
    pub fn gguf(self) -> String {
        match self {
            Self::TokenEmbedding => "token_embd.weight".to_owned(),
            Self::Layer(i, kind) => format!("blk.{i}.{}.weight", kind.gguf()),
            Self::OutputNorm => "output_norm.weight".to_owned(),
            Self::Output => "output.weight".to_owned(),
        }
    }

    /// Its name in Hugging Face's safetensors.
    pub fn hugging_face(self) -> String {
        match self {
            Self::TokenEmbedding => "model.embed_tokens.weight".to_owned(),
            Self::Layer(i, kind) => format!("model.layers.{i}.{}.weight", kind.hugging_face()),
            Self::OutputNorm => "model.norm.weight".to_owned(),
            Self::Output => "lm_head.weight".to_owned(),
        }
    }

    /// Its shape, row-major; projections are (out, in).
    pub fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
        match self {
            Self::TokenEmbedding | Self::Output => vec![config.vocab_size, hidden],
            Self::OutputNorm | Self::Layer(_, LayerWeight::AttnNorm | LayerWeight::FfnNorm) => vec![hidden],
            Self::Layer(_, LayerWeight::Q) => vec![queries, hidden],
            Self::Layer(_, LayerWeight::K | LayerWeight::V) => vec![keys, hidden],
            Self::Layer(_, LayerWeight::O) => vec![hidden, queries],
            Self::Layer(_, LayerWeight::Gate | LayerWeight::Up) => vec![inner, hidden],
            Self::Layer(_, LayerWeight::Down) => vec![hidden, inner],
        }
    }
}
