//! What shape do the metadata of a GGUF file give a model?

use super::{Architecture, ModelConfig, Rope};
use crate::error::{Error, Result};
use crate::model::gguf::{Gguf, Value};
use crate::model::stored::RowOrder;

impl ModelConfig {
    /// The configuration in a GGUF header.
    ///
    /// # Errors
    /// When the architecture is not supported, or the metadata are incomplete or make no sense.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let name = gguf.text("general.architecture").unwrap_or("(none named)");
        let architecture = Architecture::named(name, &gguf.path)?;
        let keys = Keys { gguf, prefix: name };
        keys.refuse_unsupported()?;
        let (hidden_size, n_heads) = (keys.size("embedding_length")?, keys.size("attention.head_count")?);
        let head_dim =
            keys.optional("attention.key_length")?.or(hidden_size.checked_div(n_heads)).unwrap_or(0);
        let rope_theta = gguf.float(&keys.key("rope.freq_base")).unwrap_or(10_000.0);
        let embedding = gguf.tensors.get("token_embd.weight").map(|stored| stored.shape.clone());
        let mut config = Self {
            architecture,
            // The embedding may have more rows than the tokenizer has tokens.
            vocab_size: embedding.and_then(|shape| shape.first().copied()).unwrap_or(0),
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            n_layers: keys.size("block_count")?,
            n_heads,
            n_kv_heads: keys.optional("attention.head_count_kv")?.unwrap_or(n_heads),
            head_dim,
            max_positions: keys.size("context_length")?,
            rms_norm_eps: gguf.float(&keys.key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
            rope_theta,
            rope_factors: None,
            tie_embeddings: !gguf.tensors.contains_key("output.weight"),
            bos_token: token(gguf, "bos"),
            eos_token: token(gguf, "eos"),
            stop_tokens: Vec::new(),
        }
        .check(&gguf.path)?;
        config.rope_factors = keys.rope_factors(&config)?;
        for name in ["eos", "eot", "eom"] {
            if let Some(id) = token(gguf, name) {
                config.stop_at(id);
            }
        }
        Ok(config)
    }
}

fn token(gguf: &Gguf, name: &str) -> Option<u32> {
    gguf.int(&format!("tokenizer.ggml.{name}_token_id")).and_then(|id| u32::try_from(id).ok())
}

/// The metadata of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn wrong(&self, what: String) -> Error {
        Error::file(&self.gguf.path, what, "get the file again, or another conversion of the model")
    }

    fn optional(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        match self.gguf.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Int(_)) => Ok(self.gguf.int(&key)),
            Some(_) => Err(self.wrong(format!("`{key}` is not one whole number"))),
        }
    }

    fn size(&self, name: &str) -> Result<usize> {
        self.optional(name)?.ok_or_else(|| self.wrong(format!("`{}` is missing", self.key(name))))
    }

    /// Mixtures of experts and half-rotated heads share the name `llama` but not the arithmetic.
    fn refuse_unsupported(&self) -> Result<()> {
        if self.optional("expert_count")?.unwrap_or(0) > 0 {
            return Err(Error::file(
                &self.gguf.path,
                "the model is a mixture of experts, which is not supported",
                "use a dense model of the Llama family",
            ));
        }
        let (rotated, head) =
            (self.optional("rope.dimension_count")?, self.optional("attention.key_length")?);
        let head = match head {
            Some(head) => head,
            None => {
                self.size("embedding_length")?.checked_div(self.size("attention.head_count")?).unwrap_or(0)
            }
        };
        match rotated {
            Some(rotated) if rotated != head => {
                Err(self.wrong(format!("only {rotated} of the {head} coordinates of a head are rotated")))
            }
            _ => Ok(()),
        }
    }

    /// The divisors stand in a tensor (Llama 3's way) or follow from the scaling's name.
    fn rope_factors(&self, config: &ModelConfig) -> Result<Option<Vec<f32>>> {
        if let Some(stored) = self.gguf.tensors.get("rope_freqs.weight") {
            if stored.shape != [config.head_dim / 2] {
                return Err(
                    self.wrong(format!("tensor `rope_freqs.weight` has the shape {:?}", stored.shape))
                );
            }
            let n_bytes =
                std::fs::metadata(&self.gguf.path).map_err(Error::io("read", &self.gguf.path))?.len();
            if let Some(fault) = stored.fault(n_bytes) {
                return Err(self.wrong(format!("tensor `rope_freqs.weight` {fault}")));
            }
            return Ok(Some(stored.load(RowOrder::AsStored)?.to_vec1()?));
        }
        let factor = self.gguf.float(&self.key("rope.scaling.factor")).unwrap_or(1.0);
        let rope = match self.gguf.text(&self.key("rope.scaling.type")) {
            None | Some("none") => return Ok(None),
            Some("linear") => Rope::Linear { factor },
            Some(other) => Rope::Other(other),
        };
        rope.factors(config.rope_theta, config.head_dim, &self.gguf.path).map(Some)
    }
}
