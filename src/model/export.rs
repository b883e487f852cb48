//! How does a model become a folder that other programs can load?
//!
//! A merged model is a folder in Hugging Face layout with float32 weights. Where the base is such a
//! folder itself, all but the weights are its own files; where it is a GGUF file they are written from
//! what the file says.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Map, Value as Json, json};

use super::adapter::Adapter;
use super::chat::special_tokens;
use super::config::{ModelConfig, read_json, rope_scaling_json};
use super::gguf::Gguf;
use super::merge::merge;
use super::weights::Weights;
use super::{ModelParts, open};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::files::write_whole;

/// The files of a Hugging Face folder that are taken over as they are, where it has them.
const TAKEN_OVER: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Copies PEFT's two files from `adapter` to `folder`, with `base` as the name of the model that they
/// belong to. Everything else stays as it is.
///
/// # Errors
/// When a file is missing or broken, or cannot be written.
pub fn copy_adapter(adapter: &Path, base: &str, folder: &Path) -> Result<()> {
    let mut config: Json = read_json(&adapter.join("adapter_config.json"))?;
    config["base_model_name_or_path"] = json!(base);
    let (from, to) = (adapter.join("adapter_model.safetensors"), folder.join("adapter_model.safetensors"));
    super::weights::tensors_of_file(&from)?;
    fs::copy(&from, &to).map_err(Error::io("write", &to))?;
    let described = folder.join("adapter_config.json");
    write_json(&described, &config)?;
    share(&to, &described)
}

/// Fills `folder` with the model at `base` (see [`open`]), the adapter in the folder `adapter` merged
/// into it.
///
/// # Errors
/// When either cannot be read or they don't belong together, the folder cannot be written, or `cancel`
/// was set meanwhile.
pub fn write_merged(base: &Path, adapter: &Path, folder: &Path, cancel: &Cancel) -> Result<()> {
    let mut parts = open(base)?;
    let adapter = Adapter::load(adapter, &parts.config)?;
    cancel.check()?;
    parts.weights = merge(parts.weights, &adapter)?;
    cancel.check()?;
    if base.is_dir() {
        take_over(base, &parts, folder)?;
    } else {
        write_descriptions(&Gguf::open(base)?, &parts, folder)?;
    }
    let to = folder.join("model.safetensors");
    save_weights(&parts.weights, &to)?;
    share(&to, &folder.join("config.json"))?;
    cancel.check()
}

/// Lets those read `weights` who may read the file `like`: safetensors are written for the owner alone.
fn share(weights: &Path, like: &Path) -> Result<()> {
    let permissions = fs::metadata(like).map_err(Error::io("read", like))?.permissions();
    fs::set_permissions(weights, permissions).map_err(Error::io("write", weights))
}

/// Writes the weights as Hugging Face names them, in float32.
fn save_weights(weights: &Weights, path: &Path) -> Result<()> {
    let named: Vec<(String, &Tensor)> =
        weights.named().into_iter().map(|(name, tensor)| (name.hugging_face(), tensor)).collect();
    // transformers reads no file that does not name its framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(named, Some(metadata), path)
        .map_err(|e| Error::file(path, e.to_string(), "check that the disk has room"))
}

/// Takes over what a Hugging Face folder says about its model; only the numbers' type has changed.
fn take_over(base: &Path, parts: &ModelParts, folder: &Path) -> Result<()> {
    for name in TAKEN_OVER {
        let (from, to) = (base.join(name), folder.join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(Error::io("write", &to))?;
        }
    }
    let mut config: Map<String, Json> = read_json(&base.join("config.json"))?;
    config.remove("quantization_config");
    config.remove("dtype");
    config.insert("torch_dtype".to_owned(), json!("float32"));
    write_json(&folder.join("config.json"), &Json::Object(config))?;
    let generation = folder.join("generation_config.json");
    if generation.is_file() { Ok(()) } else { write_json(&generation, &generation_config(&parts.config)) }
}

/// Writes what a GGUF file says about its model.
fn write_descriptions(gguf: &Gguf, parts: &ModelParts, folder: &Path) -> Result<()> {
    write_json(&folder.join("config.json"), &model_config(&parts.config, &gguf.path)?)?;
    write_json(&folder.join("generation_config.json"), &generation_config(&parts.config))?;
    parts.tokenizer.save(&folder.join("tokenizer.json"))?;
    let mut tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": parts.config.max_positions,
        "clean_up_tokenization_spaces": false,
    });
    for (name, token) in special_tokens(gguf) {
        tokenizer[name] = json!(token);
    }
    if let Some(template) = gguf.text("tokenizer.chat_template") {
        tokenizer["chat_template"] = json!(template);
    }
    write_json(&folder.join("tokenizer_config.json"), &tokenizer)
}

/// `config.json` of a Llama model, as transformers writes it.
fn model_config(config: &ModelConfig, path: &Path) -> Result<Json> {
    let scaling = match &config.rope_factors {
        None => Json::Null,
        Some(factors) => rope_scaling_json(factors, config.rope_theta).ok_or_else(|| {
            let what = "its rotary scaling cannot be written in a config.json";
            Error::file(path, what, "name the model's Hugging Face folder with --model, and export again")
        })?,
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "vocab_size": config.vocab_size, "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads, "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim, "max_position_embeddings": config.max_positions,
        "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
        "rms_norm_eps": config.rms_norm_eps, "rope_theta": config.rope_theta, "rope_scaling": scaling,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_token, "eos_token_id": config.eos_token,
    }))
}

/// `generation_config.json`: where an answer ends.
fn generation_config(config: &ModelConfig) -> Json {
    json!({"bos_token_id": config.bos_token, "eos_token_id": config.stop_tokens})
}

fn write_json(path: &Path, value: &Json) -> Result<()> {
    write_whole(path, format!("{value:#}\n").as_bytes())
}
