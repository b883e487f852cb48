//! What shape do `config.json` and `generation_config.json` give a model?

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Architecture, ModelConfig, Rope, all_faults};
use crate::error::{Error, Result};

/// The fields of `config.json` that matter, with the defaults of transformers' `LlamaConfig`.
#[derive(Deserialize)]
struct Json {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    #[serde(alias = "rope_scaling")]
    rope_parameters: Option<Scaling>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    bos_token_id: Ids,
    #[serde(default)]
    eos_token_id: Ids,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "activation")]
    hidden_act: String,
}

fn positions() -> usize {
    2048
}

fn epsilon() -> f64 {
    1e-6
}

fn activation() -> String {
    "silu".to_owned()
}

/// `rope_scaling`, or `rope_parameters` as it is called since transformers 5.
#[derive(Deserialize)]
struct Scaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

/// One token id, several, or none.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Ids {
    #[default]
    None,
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    fn list(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }
}

#[derive(Deserialize, Default)]
struct Generation {
    #[serde(default)]
    eos_token_id: Ids,
}

impl ModelConfig {
    /// The configuration of the Hugging Face folder `folder`: `config.json`, and the stop tokens of
    /// `generation_config.json` where there is one.
    ///
    /// # Errors
    /// When a file is missing or broken, the architecture is not supported, or the numbers make no sense.
    pub fn from_hugging_face(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let value: Value = read_json(&path)?;
        let name = value.get("model_type").and_then(Value::as_str).unwrap_or("(none named)");
        let architecture = Architecture::named(name, &path)?;
        let json: Json = serde_json::from_value(value.clone()).map_err(|e| broken(&path, &e))?;
        json.refuse_unsupported(&path)?;
        let scaling = json.rope_parameters.as_ref();
        let mut config = Self {
            architecture,
            vocab_size: json.vocab_size,
            hidden_size: json.hidden_size,
            intermediate_size: json.intermediate_size,
            n_layers: json.num_hidden_layers,
            n_heads: json.num_attention_heads,
            n_kv_heads: json.num_key_value_heads.unwrap_or(json.num_attention_heads),
            head_dim: json.head_dim.or(json.hidden_size.checked_div(json.num_attention_heads)).unwrap_or(0),
            max_positions: json.max_position_embeddings,
            rms_norm_eps: json.rms_norm_eps,
            rope_theta: json.rope_theta.or(scaling.and_then(|s| s.rope_theta)).unwrap_or(10_000.0),
            rope_factors: None,
            tie_embeddings: json.tie_word_embeddings,
            bos_token: json.bos_token_id.list().first().copied(),
            eos_token: json.eos_token_id.list().first().copied(),
            stop_tokens: json.eos_token_id.list().to_vec(),
        }
        .check(&path)?;
        if let Some(rope) = scaling.and_then(Scaling::rope) {
            config.rope_factors = Some(rope.factors(config.rope_theta, config.head_dim, &path)?);
        }
        let generation = folder.join("generation_config.json");
        if generation.is_file() {
            for id in read_json::<Generation>(&generation)?.eos_token_id.list() {
                config.stop_at(*id);
            }
        }
        Ok(config)
    }
}

impl Json {
    fn refuse_unsupported(&self, path: &Path) -> Result<()> {
        let mut faults = Vec::new();
        if self.attention_bias || self.mlp_bias {
            faults.push("biases on the projections are not supported".to_owned());
        }
        if self.hidden_act != "silu" {
            faults.push(format!("the activation `{}` is not supported (silu is)", self.hidden_act));
        }
        if self.rope_parameters.as_ref().is_some_and(|s| s.partial_rotary_factor.is_some_and(|f| f < 1.0)) {
            faults.push("partly rotated heads are not supported".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(all_faults(path, &faults)) }
    }
}

impl Scaling {
    fn rope(&self) -> Option<Rope<'_>> {
        let factor = self.factor.unwrap_or(f64::NAN);
        match self.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => Some(Rope::Linear { factor }),
            Some("llama3") => Some(Rope::Llama3 {
                factor,
                low: self.low_freq_factor.unwrap_or(f64::NAN),
                high: self.high_freq_factor.unwrap_or(f64::NAN),
                original: self.original_max_position_embeddings.unwrap_or(f64::NAN),
            }),
            Some(other) => Some(Rope::Other(other)),
        }
    }
}

fn broken(path: &Path, error: &serde_json::Error) -> Error {
    Error::file(path, format!("cannot be understood: {error}"), "get the model's folder again")
}

/// Reads a JSON file of a model's folder.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| broken(path, &e))
}
