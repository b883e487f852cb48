//! What did the model learn, and how is it kept on disk?
//!
//! On disk an adapter is PEFT's pair of files: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Result as TensorResult, Tensor};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::config::ModelConfig;
use super::lora::{LoraConfig, Projection};
use crate::error::{Error, Result};
use crate::kernels::FlatGradient;

/// `lora_A` (rank, in) and `lora_B` (out, rank) of one projection.
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// (rank, in)
    pub a: Tensor,
    /// (out, rank)
    pub b: Tensor,
}

/// One tensor of a pair.
#[derive(Debug, Clone, Copy)]
enum Half {
    A,
    B,
}

/// A layer, a projection of it, and which of its two tensors.
type Place = (usize, Projection, Half);

impl LoraPair {
    fn half(&self, half: Half) -> &Tensor {
        match half {
            Half::A => &self.a,
            Half::B => &self.b,
        }
    }

    fn half_mut(&mut self, half: Half) -> &mut Tensor {
        match half {
            Half::A => &mut self.a,
            Half::B => &mut self.b,
        }
    }
}

/// The LoRA weights of a whole model.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Rank, alpha, targets.
    pub config: LoraConfig,
    /// The name of the model it was trained on.
    pub base: String,
    layers: Vec<BTreeMap<Projection, LoraPair>>,
    /// The vector that all weights are views of, where they are.
    flat: Option<Tensor>,
    gradient: Option<FlatGradient>,
}

impl Adapter {
    /// No weights yet.
    pub fn empty(config: LoraConfig, base: &str, n_layers: usize) -> Self {
        let layers = vec![BTreeMap::new(); n_layers];
        Self { config, base: base.to_owned(), layers, flat: None, gradient: None }
    }

    /// Puts one pair in place.
    pub fn set(&mut self, layer: usize, projection: Projection, pair: LoraPair) {
        self.layers[layer].insert(projection, pair);
        (self.flat, self.gradient) = (None, None);
    }

    /// All weights in one vector, where they are views of one: layer by layer, in each the projections of one input
    /// together, first every `A`, then every `B`.
    pub fn flat(&self) -> Option<&Tensor> {
        self.flat.as_ref()
    }

    /// Lets the gradient of that vector add up in a place of its own.
    pub(super) fn put_gradient(&mut self, gradient: FlatGradient) {
        self.gradient = Some(gradient);
    }

    /// Where the gradient of that vector goes, if it has a place of its own.
    pub fn gradient(&self) -> Option<&FlatGradient> {
        self.gradient.as_ref()
    }

    /// A copy of all weights in one vector, in that order.
    pub fn flattened(&self) -> TensorResult<Tensor> {
        let parts = self.in_order().into_iter().map(|place| self.tensor(place).flatten_all());
        Tensor::cat(&parts.collect::<TensorResult<Vec<_>>>()?, 0)
    }

    /// An adapter of the same shape whose weights are views of a vector, in that order.
    ///
    /// # Errors
    /// When the vector has another length than all weights together.
    pub fn over(&self, flat: Tensor) -> TensorResult<Self> {
        let (mut over, mut start) = (self.clone(), 0);
        for places in self.in_order().chunk_by(|a, b| a.0 == b.0) {
            // By way of the layer: the gradient of a view is as large as what it is a view of.
            let n = places.iter().map(|place| self.tensor(*place).elem_count()).sum();
            let (layer_values, mut at) = (flat.narrow(0, start, n)?, 0);
            start += n;
            for &(layer, projection, half) in places {
                let old = self.tensor((layer, projection, half));
                let view = layer_values.narrow(0, at, old.elem_count())?.reshape(old.shape())?;
                at += old.elem_count();
                if let Some(pair) = over.layers[layer].get_mut(&projection) {
                    *pair.half_mut(half) = view;
                }
            }
        }
        if start != flat.elem_count() {
            candle_core::bail!("{} values for an adapter of {start}", flat.elem_count());
        }
        (over.flat, over.gradient) = (Some(flat), None);
        Ok(over)
    }

    fn tensor(&self, (layer, projection, half): Place) -> &Tensor {
        self.layers[layer][&projection].half(half)
    }

    /// Where its tensors are, in the order of [`Adapter::flat`].
    fn in_order(&self) -> Vec<Place> {
        let mut order = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for stack in Projection::STACKS {
                let own = || stack.iter().copied().filter(|p| layer.contains_key(p));
                order.extend(own().map(|p| (i, p, Half::A)));
                order.extend(own().map(|p| (i, p, Half::B)));
            }
        }
        order
    }

    /// The pair of one projection, if it is corrected.
    pub fn get(&self, layer: usize, projection: Projection) -> Option<&LoraPair> {
        self.layers.get(layer)?.get(&projection)
    }

    /// Layers of the model it belongs to.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// All pairs, layer by layer, in the order of the forward pass.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, Projection, &LoraPair)> {
        self.layers.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |(&p, pair)| (i, p, pair)))
    }

    /// A tensor's name in `adapter_model.safetensors`; `half` is "A" or "B".
    pub fn tensor_name(layer: usize, projection: Projection, half: &str) -> String {
        let (module, name) = (projection.module(), projection.name());
        format!("base_model.model.model.layers.{layer}.{module}.{name}.lora_{half}.weight")
    }

    /// Whether any weight of any `lora_B` differs from zero.
    pub fn is_trained(&self) -> Result<bool> {
        for (_, _, pair) in self.pairs() {
            if pair.b.abs()?.max_all()?.to_scalar::<f32>()? > 0.0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// SHA-256 over all weights in order, in hexadecimal.
    pub fn digest(&self) -> Result<String> {
        let mut hasher = Sha256::new();
        for (_, _, pair) in self.pairs() {
            for tensor in [&pair.a, &pair.b] {
                for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                    hasher.update(value.to_le_bytes());
                }
            }
        }
        Ok(format!("{:x}", hasher.finalize()))
    }

    /// Writes PEFT's two files into `folder`, which is made if missing. Each file is written under a
    /// temporary name and renamed: a reader never sees half of one.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let mut tensors = HashMap::new();
        for (layer, projection, pair) in self.pairs() {
            tensors.insert(Self::tensor_name(layer, projection, "A"), pair.a.clone());
            tensors.insert(Self::tensor_name(layer, projection, "B"), pair.b.clone());
        }
        let partial = folder.join("adapter_model.safetensors.part");
        candle_core::safetensors::save(&tensors, &partial)
            .map_err(|e| Error::file(&partial, e.to_string(), "check that the disk has room"))?;
        let to = folder.join("adapter_model.safetensors");
        fs::rename(&partial, &to).map_err(Error::io("write", &to))?;
        let targets: Vec<_> = self.config.targets.iter().map(|p| p.name()).collect();
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": self.base,
            "r": self.config.rank, "lora_alpha": self.config.alpha, "target_modules": targets,
            "use_rslora": self.config.rslora, "lora_dropout": 0.0, "bias": "none",
            "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
        });
        crate::files::write_whole(&folder.join("adapter_config.json"), format!("{config:#}\n").as_bytes())
    }

    /// Reads PEFT's two files and checks them against the model; every mismatch is reported at once.
    pub fn load(folder: &Path, model: &ModelConfig) -> Result<Self> {
        let path = folder.join("adapter_config.json");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let (config, base) = parse_config(&path, &text)?;
        let path = folder.join("adapter_model.safetensors");
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).map_err(|e| {
            Error::file(&path, e.to_string(), "the file is missing or damaged: export the adapter again")
        })?;
        let mut adapter = Self::empty(config, &base, model.n_layers);
        let mut mismatches = Vec::new();
        for layer in 0..model.n_layers {
            for projection in adapter.config.targets.clone() {
                let (d_out, d_in) = projection.dims(model);
                let rank = adapter.config.rank;
                let mut take = |half: &str, dims: (usize, usize)| {
                    taken(&mut tensors, &Self::tensor_name(layer, projection, half), dims)
                };
                match (take("A", (rank, d_in)), take("B", (d_out, rank))) {
                    (Ok(a), Ok(b)) => adapter.set(layer, projection, LoraPair { a, b }),
                    (a, b) => mismatches.extend([a.err(), b.err()].into_iter().flatten()),
                }
            }
        }
        mismatches.extend(tensors.keys().map(|name| format!("`{name}` has no place in the model")));
        if mismatches.is_empty() {
            return Ok(adapter);
        }
        mismatches.sort();
        let n = mismatches.len();
        mismatches.truncate(8);
        let what = format!("{n} tensors don't fit the model: {}", mismatches.join("; "));
        Err(Error::file(&path, what, format!("load the model it was trained on: {base}")))
    }
}

fn taken(tensors: &mut HashMap<String, Tensor>, name: &str, dims: (usize, usize)) -> Result<Tensor, String> {
    let tensor = tensors.remove(name).ok_or_else(|| format!("`{name}` is missing"))?;
    if tensor.dims() != [dims.0, dims.1] {
        return Err(format!("`{name}` is {:?}, not {dims:?}", tensor.dims()));
    }
    tensor.to_dtype(DType::F32).and_then(|t| t.contiguous()).map_err(|e| format!("`{name}`: {e}"))
}

fn parse_config(path: &Path, text: &str) -> Result<(LoraConfig, String)> {
    #[derive(serde::Deserialize)]
    struct PeftConfig {
        peft_type: String,
        r: usize,
        lora_alpha: f64,
        target_modules: Vec<String>,
        #[serde(default)]
        use_rslora: bool,
        #[serde(default)]
        base_model_name_or_path: Option<String>,
        #[serde(default)]
        alpha_pattern: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let wrong = |what: String| Error::file(path, what, "lorascope reads LoRA adapters as PEFT saves them");
    let config: PeftConfig = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    if config.peft_type != "LORA" {
        return Err(wrong(format!("`{}` is not LoRA", config.peft_type)));
    }
    if config.alpha_pattern.is_some_and(|pattern| !pattern.is_empty()) {
        return Err(wrong("`alpha_pattern` gives some layers a scale of their own".to_owned()));
    }
    let targets = config.target_modules.iter().map(|name| name.parse()).collect::<Result<_>>();
    let config_ = LoraConfig {
        rank: config.r,
        alpha: config.lora_alpha,
        targets: targets.map_err(|e| wrong(e.to_string()))?,
        rslora: config.use_rslora,
    };
    Ok((config_, config.base_model_name_or_path.unwrap_or_default()))
}
