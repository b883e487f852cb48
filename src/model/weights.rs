//! What did the model know before?
//!
//! [`Weights`] are the frozen tensors of a decoder as float32 on the CPU, under one set of names,
//! whether they come from a GGUF file (dequantised) or from a Hugging Face folder. First everything the
//! file says it holds is compared with what the configuration asks for, and all mismatches are reported at
//! once: [`StoredWeights`]. Only then is anything read, all of it or layer by layer.

mod names;
mod safetensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::model::config::{ModelConfig, all_faults};
use crate::model::gguf::Gguf;
use crate::model::stored::{RowOrder, Stored};

pub use names::{LayerWeight, WeightName};
pub(crate) use safetensors::tensors_of_file;

/// The frozen tensors of a decoder: contiguous float32, on the CPU.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The shape they follow.
    pub config: ModelConfig,
    /// (vocab, hidden).
    pub token_embedding: Tensor,
    /// (vocab, hidden); `None` when the output projection is the token embedding.
    pub output: Option<Tensor>,
    /// (hidden).
    pub output_norm: Tensor,
    /// One a block, first to last.
    pub layers: Vec<LayerWeights>,
}

/// The frozen tensors of one block. Projections are (out, in); the rows of `q` and `k` are in
/// half-rotation order, as Hugging Face has them.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// (hidden): the norm before attention.
    pub attn_norm: Tensor,
    /// (heads · `head_dim`, hidden).
    pub q: Tensor,
    /// (`kv_heads` · `head_dim`, hidden).
    pub k: Tensor,
    /// (`kv_heads` · `head_dim`, hidden).
    pub v: Tensor,
    /// (hidden, heads · `head_dim`).
    pub o: Tensor,
    /// (hidden): the norm before the feed-forward layer.
    pub ffn_norm: Tensor,
    /// (intermediate, hidden).
    pub gate: Tensor,
    /// (intermediate, hidden).
    pub up: Tensor,
    /// (hidden, intermediate).
    pub down: Tensor,
}

impl Weights {
    /// Reads and dequantises the tensors of a GGUF file.
    ///
    /// # Errors
    /// As [`StoredWeights::of_gguf`], or when the file cannot be read.
    pub fn from_gguf(gguf: &Gguf, config: &ModelConfig) -> Result<Self> {
        StoredWeights::of_gguf(gguf, config)?.read()
    }

    /// Reads the safetensors of a Hugging Face folder.
    ///
    /// # Errors
    /// As [`StoredWeights::of_hugging_face`], or when a file cannot be read.
    pub fn from_hugging_face(folder: &Path, config: &ModelConfig) -> Result<Self> {
        StoredWeights::of_hugging_face(folder, config)?.read()
    }

    /// Every tensor with its name, in the model's order.
    pub fn named(&self) -> Vec<(WeightName, &Tensor)> {
        let mut all = vec![(WeightName::TokenEmbedding, &self.token_embedding)];
        for (i, layer) in self.layers.iter().enumerate() {
            all.extend(LayerWeight::ALL.map(|kind| (WeightName::Layer(i, kind), layer.get(kind))));
        }
        all.push((WeightName::OutputNorm, &self.output_norm));
        all.extend(self.output.as_ref().map(|output| (WeightName::Output, output)));
        all
    }

    /// How many numbers they are.
    pub fn n_parameters(&self) -> usize {
        self.named().iter().map(|(_, tensor)| tensor.elem_count()).sum()
    }
}

impl LayerWeights {
    /// The tensor of the kind `kind`.
    pub fn get(&self, kind: LayerWeight) -> &Tensor {
        match kind {
            LayerWeight::AttnNorm => &self.attn_norm,
            LayerWeight::Q => &self.q,
            LayerWeight::K => &self.k,
            LayerWeight::V => &self.v,
            LayerWeight::O => &self.o,
            LayerWeight::FfnNorm => &self.ffn_norm,
            LayerWeight::Gate => &self.gate,
            LayerWeight::Up => &self.up,
            LayerWeight::Down => &self.down,
        }
    }
}

/// Whether a file keeps the rows of q and k in pairs (GGUF of the Llama family) or in halves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InPairs {
    Yes,
    No,
}

/// What a kind of file calls the tensors.
#[derive(Clone, Copy)]
struct Names {
    of: fn(WeightName) -> String,
    q_k_in_pairs: InPairs,
}

impl Names {
    fn order(self, name: WeightName, config: &ModelConfig) -> RowOrder {
        match name {
            WeightName::Layer(_, LayerWeight::Q | LayerWeight::K) if self.q_k_in_pairs == InPairs::Yes => {
                RowOrder::HalvesFromPairs { head_dim: config.head_dim }
            }
            _ => RowOrder::AsStored,
        }
    }
}

/// The tensors of a decoder where they lie, all of the shapes that the configuration asks for.
#[derive(Debug, Clone)]
pub struct StoredWeights {
    /// The shape they follow.
    pub config: ModelConfig,
    /// The file or the folder.
    path: PathBuf,
    tensors: BTreeMap<WeightName, (Stored, RowOrder)>,
}

impl StoredWeights {
    /// Those of a GGUF file.
    ///
    /// # Errors
    /// When tensors are missing, unexpected, of the wrong shape or cut off: all of them named.
    pub fn of_gguf(gguf: &Gguf, config: &ModelConfig) -> Result<Self> {
        let mut stored = gguf.tensors.clone();
        stored.remove("rope_freqs.weight"); // part of the configuration
        Self::checked(config, &gguf.path, stored, Names { of: WeightName::gguf, q_k_in_pairs: InPairs::Yes })
    }

    /// The safetensors of a Hugging Face folder: `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// As [`StoredWeights::of_gguf`].
    pub fn of_hugging_face(folder: &Path, config: &ModelConfig) -> Result<Self> {
        let mut stored = safetensors::tensors_of_folder(folder)?;
        stored.retain(|name, _| !name.ends_with("rotary_emb.inv_freq")); // old files keep a copy
        if config.tie_embeddings {
            stored.remove(&WeightName::Output.hugging_face());
        }
        Self::checked(
            config,
            folder,
            stored,
            Names { of: WeightName::hugging_face, q_k_in_pairs: InPairs::No },
        )
    }

    fn checked(
        config: &ModelConfig,
        path: &Path,
        mut stored: BTreeMap<String, Stored>,
        names: Names,
    ) -> Result<Self> {
        let mut faults = Vec::new();
        let mut wanted = Vec::new();
        for name in WeightName::all(config) {
            let file_name = (names.of)(name);
            let shape = name.shape(config);
            match stored.remove(&file_name) {
                None => faults.push(format!("tensor `{file_name}` is missing")),
                Some(found) if found.shape != shape => faults.push(format!(
                    "tensor `{file_name}` has the shape {:?}, the configuration asks for {shape:?}",
                    found.shape
                )),
                Some(found) => wanted.push((name, found)),
            }
        }
        faults.extend(stored.keys().map(|name| format!("tensor `{name}` has no place in a Llama model")));
        faults.extend(cut_off(&wanted, names)?);
        if !faults.is_empty() {
            return Err(all_faults(path, &faults));
        }
        let of = |(name, found)| (name, (found, names.order(name, config)));
        Ok(Self {
            config: config.clone(),
            path: path.to_path_buf(),
            tensors: wanted.into_iter().map(of).collect(),
        })
    }

    /// Reads all.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self) -> Result<Weights> {
        let layers =
            (0..self.config.n_layers).into_par_iter().map(|i| self.layer(i)).collect::<Result<_>>()?;
        Ok(Weights {
            config: self.config.clone(),
            token_embedding: self.tensor(WeightName::TokenEmbedding)?,
            output: self.output()?,
            output_norm: self.tensor(WeightName::OutputNorm)?,
            layers,
        })
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// When the model has no such tensor, or the file cannot be read.
    pub fn tensor(&self, name: WeightName) -> Result<Tensor> {
        match self.tensors.get(&name) {
            Some((stored, order)) => stored.load(*order),
            None => Err(all_faults(&self.path, &[format!("tensor {name:?} is missing")])),
        }
    }

    /// Reads the output projection, if it is not the token embedding.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn output(&self) -> Result<Option<Tensor>> {
        (!self.config.tie_embeddings).then(|| self.tensor(WeightName::Output)).transpose()
    }

    /// Reads one block.
    ///
    /// # Errors
    /// As [`StoredWeights::tensor`].
    pub fn layer(&self, index: usize) -> Result<LayerWeights> {
        let of = |kind| self.tensor(WeightName::Layer(index, kind));
        Ok(LayerWeights {
            attn_norm: of(LayerWeight::AttnNorm)?,
            q: of(LayerWeight::Q)?,
            k: of(LayerWeight::K)?,
            v: of(LayerWeight::V)?,
            o: of(LayerWeight::O)?,
            ffn_norm: of(LayerWeight::FfnNorm)?,
            gate: of(LayerWeight::Gate)?,
            up: of(LayerWeight::Up)?,
            down: of(LayerWeight::Down)?,
        })
    }
}

/// Tensors that reach beyond the end of their file.
fn cut_off(wanted: &[(WeightName, Stored)], names: Names) -> Result<Vec<String>> {
    let mut lengths = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, found) in wanted {
        if !lengths.contains_key(&found.path) {
            let metadata = std::fs::metadata(&found.path).map_err(Error::io("read", &found.path))?;
            lengths.insert(found.path.clone(), metadata.len());
        }
        if let Some(fault) = found.fault(lengths[&found.path]) {
            faults.push(format!("tensor `{}` {fault}", (names.of)(*name)));
        }
    }
    Ok(faults)
}
