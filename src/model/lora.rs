//! What does LoRA add to a frozen model?

use std::collections::BTreeSet;
use std::str::FromStr;

use candle_core::{Device, Result as TensorResult, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::adapter::{Adapter, LoraPair};
use super::config::ModelConfig;
use crate::error::{Error, Result};
use crate::kernels::FlatGradient;

/// One of the seven projections of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Projection {
    /// Queries.
    #[serde(rename = "q_proj")]
    Query,
    /// Keys.
    #[serde(rename = "k_proj")]
    Key,
    /// Values.
    #[serde(rename = "v_proj")]
    Value,
    /// Attention's output.
    #[serde(rename = "o_proj")]
    Output,
    /// The MLP's gate.
    #[serde(rename = "gate_proj")]
    Gate,
    /// The MLP's way up.
    #[serde(rename = "up_proj")]
    Up,
    /// The MLP's way down.
    #[serde(rename = "down_proj")]
    Down,
}

impl Projection {
    /// All seven, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Those that read the same input together, in the order of the forward pass.
    pub const STACKS: [&[Self]; 4] =
        [&[Self::Query, Self::Key, Self::Value], &[Self::Output], &[Self::Gate, Self::Up], &[Self::Down]];

    /// PEFT's name of the module, `q_proj` to `down_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The module that holds it in transformers' Llama.
    pub fn module(self) -> &'static str {
        match self {
            Self::Query | Self::Key | Self::Value | Self::Output => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }

    /// (out, in) of its weight.
    pub fn dims(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
        match self {
            Self::Query => (q, hidden),
            Self::Key | Self::Value => (kv, hidden),
            Self::Output => (hidden, q),
            Self::Gate | Self::Up => (inner, hidden),
            Self::Down => (hidden, inner),
        }
    }
}

impl FromStr for Projection {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|p| p.name() == name || p.name() == format!("{name}_proj"));
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::refused(format!("`{name}` is no projection"), format!("choose from {names}"))
        })
    }
}

/// PEFT's `LoraConfig`, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// r: the width of the correction.
    pub rank: usize,
    /// `lora_alpha`.
    pub alpha: f64,
    /// Which projections are corrected.
    pub targets: BTreeSet<Projection>,
    /// Scale by `alpha / sqrt(rank)` instead of `alpha / rank` (rsLoRA, Kalajdzievski 2023).
    #[serde(default)]
    pub rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Projection::ALL.into(), rslora: false }
    }
}

impl LoraConfig {
    /// What the correction is multiplied by.
    pub fn scaling(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Refuses what cannot be trained.
    pub fn check(&self) -> Result<()> {
        if self.rank == 0 || self.rank > 1024 {
            return Err(Error::refused(format!("LoRA rank {} is out of range", self.rank), "take 1 to 1024"));
        }
        if self.targets.is_empty() {
            return Err(Error::refused("no projection is to be trained", "name at least one target"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::refused(
                format!("LoRA alpha {} is out of range", self.alpha),
                "take 2 x rank",
            ));
        }
        Ok(())
    }

    /// Number of trainable weights on a model.
    pub fn n_trainable(&self, model: &ModelConfig) -> usize {
        let sizes = self.targets.iter().map(|p| p.dims(model)).map(|(o, i)| (o + i) * self.rank);
        sizes.sum::<usize>() * model.n_layers
    }
}

/// Trainable LoRA weights, and the adapter made of them.
///
/// The adapter's tensors are views of the weights: an update is seen by the next forward pass.
#[derive(Debug)]
pub struct TrainableAdapter {
    /// All weights in one vector.
    pub weights: Var,
    /// What the decoder reads.
    pub adapter: Adapter,
}

impl TrainableAdapter {
    /// A fresh start as PEFT makes it: A uniform in ±1/sqrt(in) (Kaiming, a = sqrt(5)), B zero, so that
    /// nothing changes before the first update. The generator is our own: the same seed gives the same
    /// weights on every machine.
    pub fn fresh(config: &LoraConfig, model: &ModelConfig, base: &str, seed: u64) -> Result<Self> {
        config.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut adapter = Adapter::empty(config.clone(), base, model.n_layers);
        for layer in 0..model.n_layers {
            for &projection in &config.targets {
                let (d_out, d_in) = projection.dims(model);
                let bound = 1.0 / (d_in as f32).sqrt();
                let a: Vec<f32> = (0..config.rank * d_in).map(|_| rng.random_range(-bound..bound)).collect();
                let a = Tensor::from_vec(a, (config.rank, d_in), &Device::Cpu)?;
                let b = Tensor::zeros((d_out, config.rank), candle_core::DType::F32, &Device::Cpu)?;
                adapter.set(layer, projection, LoraPair { a, b });
            }
        }
        Self::from_adapter(&adapter)
    }

    /// Goes on from finished weights, which are copied.
    pub fn from_adapter(start: &Adapter) -> Result<Self> {
        let weights = Var::from_tensor(&start.flattened()?)?;
        let mut adapter = start.over(weights.as_tensor().clone())?;
        adapter.put_gradient(FlatGradient::default());
        Ok(Self { weights, adapter })
    }

    /// The gradient of a loss by all weights, as one vector; `None` where none led back to them.
    pub fn gradient(&self, loss: &Tensor) -> TensorResult<Option<Tensor>> {
        let left = || self.adapter.gradient().and_then(FlatGradient::take);
        // Of another pass.
        drop(left());
        let mut store = loss.backward()?;
        let tensor = |own| Tensor::from_vec(own, self.weights.shape(), self.weights.device());
        match (left().map(tensor).transpose()?, store.remove(&self.weights)) {
            (Some(own), Some(other)) => Ok(Some((own + other)?)),
            (own, other) => Ok(own.or(other)),
        }
    }

    /// A finished copy that later updates don't reach.
    pub fn publish(&self) -> TensorResult<Adapter> {
        self.adapter.over(self.weights.as_tensor().copy()?.detach())
    }

    /// Number of trainable weights.
    pub fn n_trainable(&self) -> usize {
        self.weights.elem_count()
    }
}
