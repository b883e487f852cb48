//! How does the model read?
//!
//! A Llama-family decoder: frozen weights, an adapter that comes with the call. The same forward pass
//! serves training (packed sequences, gradients for the adapter) and answering (cached keys).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::adapter::Adapter;
use super::config::ModelConfig;
use super::lora::Projection;
use super::weights::{LayerWeights, StoredWeights, WeightName, Weights};
use crate::kernels::{
    AttentionShape, CachedKeys, CorrectedRows, Correction, Corrections, FrozenLayer, FrozenLinear, RmsNorm,
    RopeTable, among_threads, answer_layer, decoder_layers, rms_norm,
};

/// The frozen model. Cheap to share behind an `Arc`; nothing in it ever changes.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    /// (vocab, hidden), of which rows are looked up.
    embedding: FrozenLinear,
    layers: Vec<Arc<FrozenLayer>>,
    norm: RmsNorm,
    head: FrozenLinear,
    rope: Arc<RopeTable>,
}

/// An adapter applied to some rows of the input, unmerged: the rows outside see the base model.
#[derive(Debug, Clone)]
pub struct LoraRows<'a> {
    /// The rows.
    pub rows: Range<usize>,
    /// The correction.
    pub adapter: &'a Adapter,
    /// Multiplies the adapter's own scaling; 0 is the base model.
    pub scale: f64,
}

/// Keys and values of one sequence in every layer.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<CachedKeys>,
    n_tokens: usize,
    head_dim: usize,
}

impl KvCache {
    /// Nothing read yet.
    pub fn new(config: &ModelConfig) -> Self {
        let layers = vec![CachedKeys::default(); config.n_layers];
        Self { layers, n_tokens: 0, head_dim: config.head_dim }
    }

    /// Tokens read so far.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Forgets everything after the first `n_tokens`.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.n_tokens = self.n_tokens.min(n_tokens);
        self.layers.iter_mut().for_each(|l| l.truncate(self.n_tokens, self.head_dim));
    }
}

impl Decoder {
    /// Takes the weights over; they stay in memory once.
    pub fn new(config: ModelConfig, weights: Weights) -> Result<Self> {
        let eps = config.rms_norm_eps;
        let layers = weights.layers.into_par_iter().map(|l| frozen_layer(l, eps)).collect::<Result<_>>()?;
        Self::around(config, layers, (weights.token_embedding, weights.output, &weights.output_norm))
    }

    /// Reads the weights, layer by layer, so that beside what stays in memory there are never more than a few.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(stored: &StoredWeights) -> crate::error::Result<Self> {
        let config = stored.config.clone();
        let layer = |i| Ok(frozen_layer(stored.layer(i)?, config.rms_norm_eps)?);
        let layers = (0..config.n_layers).into_par_iter().map(layer).collect::<crate::error::Result<_>>()?;
        let embedding = stored.tensor(WeightName::TokenEmbedding)?;
        let norm = stored.tensor(WeightName::OutputNorm)?;
        Ok(Self::around(config, layers, (embedding, stored.output()?, &norm))?)
    }

    fn around(
        config: ModelConfig,
        layers: Vec<Arc<FrozenLayer>>,
        (embedding, output, norm): (Tensor, Option<Tensor>, &Tensor),
    ) -> Result<Self> {
        let embedding = FrozenLinear::looked_up(&embedding)?;
        let head = output.map_or_else(|| Ok(embedding.clone()), |output| FrozenLinear::looked_up(&output))?;
        let rope = Arc::new(RopeTable::new(&config.rotary_frequencies(), config.max_positions));
        let norm = RmsNorm::new(norm, config.rms_norm_eps)?;
        Ok(Self { config, embedding, layers, norm, head, rope })
    }

    /// Its shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The projection onto the vocabulary (vocab, hidden).
    pub fn head(&self) -> &FrozenLinear {
        &self.head
    }

    /// Number of frozen weights.
    pub fn n_parameters(&self) -> usize {
        let size = |p: &FrozenLinear| p.dims().0 * p.dims().1;
        let layer = |l: &Arc<FrozenLayer>| {
            l.stacks().into_iter().map(size).sum::<usize>() + l.attn_norm.width() + l.ffn_norm.width()
        };
        let head = if self.config.tie_embeddings { 0 } else { size(&self.head) };
        let outer = size(&self.embedding) + self.norm.width() + head;
        outer + self.layers.iter().map(layer).sum::<usize>()
    }

    /// Bytes that its weights take, and how many more when it is trained: packed in float32, they are kept once more for the
    /// way down.
    pub fn n_bytes(&self) -> (usize, usize) {
        let of = |p: &FrozenLinear| match p.n_packed_bytes() {
            (0, _) => (p.dims().0 * p.dims().1 * size_of::<f32>(), 0),
            packed => packed,
        };
        let all = self.layers.iter().flat_map(|l| l.stacks()).chain([&self.head]);
        let (up, down) = all.map(of).fold((0, 0), |(up, down), (a, b)| (up + a, down + b));
        let looked_up = if self.config.tie_embeddings { 0 } else { of(&self.embedding).0 };
        (up + looked_up, down)
    }

    /// Normalised hidden states (n, hidden) of sequences packed one after another, each from its own
    /// position 0. Gradients reach the adapter.
    pub fn forward(
        &self,
        tokens: &[u32],
        lengths: &[usize],
        lora: Option<(&Adapter, f64)>,
    ) -> Result<Tensor> {
        self.forward_sharing(tokens, (0, lengths), lora)
    }

    /// The same for sequences with a common start, which is read once: the first `n_shared` tokens, then
    /// `lengths[i]` tokens of each.
    pub fn forward_sharing(
        &self,
        tokens: &[u32],
        (n_shared, lengths): (usize, &[usize]),
        lora: Option<(&Adapter, f64)>,
    ) -> Result<Tensor> {
        let shape = Arc::new(AttentionShape { n_shared, ..self.attention_shape(lengths) });
        let x =
            decoder_layers(&self.embedding.look_up(tokens)?, &self.layers, &self.corrections(lora), &shape)?;
        rms_norm(&x, &self.norm)
    }

    /// What an adapter adds to the layers.
    fn corrections<'a>(&self, lora: Option<(&'a Adapter, f64)>) -> Corrections<'a> {
        let Some((adapter, scale)) = lora else { return Corrections::default() };
        let layer = |i| Projection::STACKS.map(|stack| corrections(adapter, (&self.config, i, stack)));
        let layers = (0..self.layers.len()).map(layer).collect();
        let (scaling, flat) = (adapter.config.scaling() * scale, adapter.flat());
        Corrections { layers, scaling, flat, gradient: adapter.gradient() }
    }

    /// Normalised hidden states of new tokens of several sequences, `lengths[i]` of them for
    /// `caches[i]`, to which they are added. No gradient.
    pub fn forward_cached(
        &self,
        tokens: &[u32],
        lengths: &[usize],
        caches: &mut [&mut KvCache],
        lora: &[LoraRows],
    ) -> Result<Tensor> {
        for (cache, n) in caches.iter().zip(lengths) {
            if cache.n_tokens + n > self.config.max_positions {
                bail!("{} tokens; the model takes {}", cache.n_tokens + n, self.config.max_positions);
            }
        }
        let shape = self.attention_shape(lengths);
        let hidden = among_threads(|| {
            let mut x = self.embedding.look_up(tokens)?;
            for (index, layer) in self.layers.iter().enumerate() {
                let mut keys: Vec<_> = caches.iter_mut().map(|c| &mut c.layers[index]).collect();
                let parts = Projection::STACKS.map(|stack| self.corrected_rows(lora, index, stack));
                x = answer_layer(&x, layer, &parts, (&shape, &mut keys))?;
            }
            rms_norm(&x, &self.norm)
        })?;
        caches.iter_mut().zip(lengths).for_each(|(cache, n)| cache.n_tokens += n);
        Ok(hidden)
    }

    /// Logits (rows, vocab) of some rows of the hidden states.
    pub fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let rows = Tensor::from_slice(rows, rows.len(), hidden.device())?;
        let hidden = hidden.index_select(&rows, 0)?;
        among_threads(|| self.head.forward(&hidden))
    }

    /// Those of all rows, for writing on token by token: a few rows meet the weight in few bits. (To read a prompt is not to
    /// wait for these: they are made at the first such row.)
    pub fn next_logits(&self, hidden: &Tensor) -> Result<Tensor> {
        among_threads(|| self.head.answer(hidden))
    }

    fn attention_shape(&self, lengths: &[usize]) -> AttentionShape {
        AttentionShape {
            n_heads: self.config.n_heads,
            n_kv_heads: self.config.n_kv_heads,
            head_dim: self.config.head_dim,
            rope: self.rope.clone(),
            n_shared: 0,
            lengths: lengths.to_vec(),
        }
    }

    /// Who corrects which rows of a stack's input.
    fn corrected_rows<'a>(
        &self,
        lora: &[LoraRows<'a>],
        layer: usize,
        stack: &[Projection],
    ) -> Vec<CorrectedRows<'a>> {
        let part = |l: &LoraRows<'a>| CorrectedRows {
            rows: l.rows.clone(),
            corrections: corrections(l.adapter, (&self.config, layer, stack)),
            scaling: l.adapter.config.scaling() * l.scale,
        };
        lora.iter().map(part).collect()
    }
}

fn frozen_layer(weights: LayerWeights, eps: f64) -> Result<Arc<FrozenLayer>> {
    let LayerWeights { attn_norm, q, k, v, o, ffn_norm, gate, up, down } = weights;
    Ok(Arc::new(FrozenLayer {
        attn_norm: RmsNorm::new(&attn_norm, eps)?,
        qkv: FrozenLinear::new(&Tensor::cat(&[q, k, v], 0)?)?,
        output: FrozenLinear::new(&o)?,
        ffn_norm: RmsNorm::new(&ffn_norm, eps)?,
        gate_up: FrozenLinear::new(&Tensor::cat(&[gate, up], 0)?)?,
        down: FrozenLinear::new(&down)?,
    }))
}

/// An adapter's corrections of a stack of projections.
fn corrections<'a>(
    adapter: &'a Adapter,
    (config, layer, stack): (&ModelConfig, usize, &[Projection]),
) -> Vec<Correction<'a>> {
    let mut start = 0;
    let mut found = Vec::with_capacity(stack.len());
    for &projection in stack {
        if let Some(pair) = adapter.get(layer, projection) {
            found.push(Correction { start, a: &pair.a, b: &pair.b });
        }
        start += projection.dims(config).0;
    }
    found
}
