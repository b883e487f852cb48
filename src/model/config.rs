//! What shape does a model have, and which family is it of?
//!
//! [`ModelConfig`] is plain data; it comes from the metadata of a GGUF file or from the `config.json`
//! (and `generation_config.json`) of a Hugging Face folder. [`Architecture`] is the seam where further
//! families come in.

mod gguf;
mod hugging_face;
mod rope;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use std::path::Path;

pub(crate) use hugging_face::read_json;
pub(crate) use rope::{Rope, named_in_json as rope_scaling_json};

/// A family of decoders. One today; what each of the next would need, beside a name here:
///
/// * **Qwen 2 / 2.5**: biases on q, k and v. **Qwen 3**: an RMS norm over each head of q and k
///   instead, and a `head_dim` of its own (already honoured).
/// * **Gemma 2**: embeddings scaled by √hidden; `1 + weight` in every RMS norm (GGUF files have the 1
///   added in); norms after attention and feed-forward as well as before; GELU (tanh) in place of
///   `SiLU`; logits and attention scores soft-capped; a sliding window on every other layer; its own
///   attention scale.
/// * **Gemma 3**: as Gemma 2, with a norm over each head of q and k in place of the soft caps, five
///   sliding-window layers to one full, and a rotary base of its own for the sliding ones.
/// * **Gemma 4**: as Gemma 3, with per-layer embeddings and key/value sharing between layers.
///
/// The GGUF files of those families store q and k in half-rotation order already: only Llama's are
/// put in order when read (see [`crate::model::stored::RowOrder`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// RMS norms before attention and feed-forward, rotary positions in half-rotation order, grouped
    /// queries, `SiLU`-gated feed-forward, no biases: Llama 2 and 3, `SmolLM2`, `TinyLlama` and their kin.
    Llama,
}

impl Architecture {
    /// The family called `name` in GGUF's `general.architecture` or Hugging Face's `model_type`.
    ///
    /// # Errors
    /// When it is none of those that can be run; `path` is the file that names it.
    pub fn named(name: &str, path: &Path) -> Result<Self> {
        match name {
            "llama" => Ok(Self::Llama),
            _ => Err(Error::file(
                path,
                format!("models of the architecture `{name}` are not supported yet"),
                "use one of the Llama family (llama), such as SmolLM2, Llama 3.2 or TinyLlama",
            )),
        }
    }
}

/// The sizes and constants of a decoder, and its special tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the token embedding; the tokenizer may know fewer tokens, never more.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// The longest sequence the model was made for, in tokens.
    pub max_positions: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// What each of the `head_dim / 2` rotary frequencies is divided by, when the model stretches its
    /// positions (Llama 3's and linear scaling).
    pub rope_factors: Option<Vec<f32>>,
    /// Whether the output projection is the token embedding.
    pub tie_embeddings: bool,
    /// The token that begins a text, if the model has one.
    pub bos_token: Option<u32>,
    /// The token that ends a text, if the model names one.
    pub eos_token: Option<u32>,
    /// Every token at which generation ends: `eos_token`, and the ends of a turn.
    pub stop_tokens: Vec<u32>,
}

impl ModelConfig {
    /// The angle per position of each pair of coordinates, (`head_dim / 2`): `theta^(-2i / head_dim)`,
    /// divided by [`ModelConfig::rope_factors`].
    pub fn rotary_frequencies(&self) -> Vec<f32> {
        let plain = rope::frequencies(self.rope_theta, self.head_dim);
        match &self.rope_factors {
            Some(factors) => plain.iter().zip(factors).map(|(f, by)| (f / f64::from(*by)) as f32).collect(),
            None => plain.iter().map(|f| *f as f32).collect(),
        }
    }

    /// Adds `token` to the stop tokens unless it is one already.
    pub fn stop_at(&mut self, token: u32) {
        if !self.stop_tokens.contains(&token) {
            self.stop_tokens.push(token);
        }
    }

    /// Everything that cannot be right, at once.
    fn check(self, path: &Path) -> Result<Self> {
        let sizes = [
            ("vocabulary size", self.vocab_size, 1 << 24),
            ("hidden size", self.hidden_size, 1 << 17),
            ("feed-forward size", self.intermediate_size, 1 << 19),
            ("number of layers", self.n_layers, 1 << 10),
            ("number of heads", self.n_heads, 1 << 10),
            ("number of key/value heads", self.n_kv_heads, 1 << 10),
            ("head size", self.head_dim, 1 << 12),
            ("number of positions", self.max_positions, 1 << 31),
        ];
        let mut faults: Vec<String> = sizes
            .iter()
            .filter(|(_, n, most)| *n == 0 || n > most)
            .map(|(what, n, _)| format!("{what} {n} cannot be right"))
            .collect();
        if faults.is_empty() && !self.n_heads.is_multiple_of(self.n_kv_heads) {
            faults.push(format!("{} heads cannot share {} key/value heads", self.n_heads, self.n_kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            faults.push(format!("head size {} is odd", self.head_dim));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            faults.push(format!("RMS norm epsilon {} cannot be right", self.rms_norm_eps));
        }
        if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            faults.push(format!("rotary base {} cannot be right", self.rope_theta));
        }
        if faults.is_empty() { Ok(self) } else { Err(all_faults(path, &faults)) }
    }
}

/// One error for every fault of a model file; the first dozen in words.
pub(crate) fn all_faults(path: &Path, faults: &[String]) -> Error {
    let mut said: Vec<String> = faults.iter().take(12).cloned().collect();
    if faults.len() > 12 {
        said.push(format!("and {} more like these", faults.len() - 12));
    }
    let what = said.join("; ");
    Error::file(path, what, "the file is damaged or not what it says it is: get it again")
}
