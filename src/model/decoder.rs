//! How does the model read?
//!
//! A Llama-family decoder: frozen weights, an adapter that comes with the call. The same forward pass
//! serves training (packed sequences, gradients for the adapter) and answering (cached keys).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};

use super::adapter::Adapter;
use super::config::ModelConfig;
use super::lora::Projection;
use super::weights::{LayerWeights, Weights};
use crate::kernels::{
    AttentionShape, CachedKeys, Correction, FrozenLinear, RopeTable, attend_cached, attention, lora_linear,
    low_rank, rms_norm, swiglu,
};

/// The frozen model. Cheap to share behind an `Arc`; nothing in it ever changes.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: FrozenLinear,
    rope: Arc<RopeTable>,
}

#[derive(Debug)]
struct Layer {
    attn_norm: Tensor,
    ffn_norm: Tensor,
    /// Queries, keys and values, one below the other: they read the same input.
    qkv: FrozenLinear,
    output: FrozenLinear,
    /// The MLP's gate and its way up, likewise.
    gate_up: FrozenLinear,
    down: FrozenLinear,
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
    kv_width: usize,
}

impl KvCache {
    /// Nothing read yet.
    pub fn new(config: &ModelConfig) -> Self {
        let kv_width = config.n_kv_heads * config.head_dim;
        Self { layers: vec![CachedKeys::default(); config.n_layers], n_tokens: 0, kv_width }
    }

    /// Tokens read so far.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Forgets everything after the first `n_tokens`.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.n_tokens = self.n_tokens.min(n_tokens);
        self.layers.iter_mut().for_each(|l| l.truncate(self.n_tokens * self.kv_width));
    }
}

/// What the attention of a pass looks at.
enum Past<'a, 'b> {
    /// Whole packed sequences, nothing before them.
    Nothing(Arc<AttentionShape>),
    /// New tokens of sequences whose earlier ones are cached.
    Cached(AttentionShape, &'a mut [&'b mut KvCache]),
}

impl Decoder {
    /// Takes the weights over; they stay in memory once.
    pub fn new(config: ModelConfig, weights: Weights) -> Result<Self> {
        let head = FrozenLinear::new(weights.output.as_ref().unwrap_or(&weights.token_embedding))?;
        let rope = RopeTable::new(&config.rotary_frequencies(), config.max_positions);
        let layers = weights.layers.into_iter().map(Layer::new).collect::<Result<_>>()?;
        let rope = Arc::new(rope);
        Ok(Self { config, embedding: weights.token_embedding, layers, norm: weights.output_norm, head, rope })
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
        let layer = |l: &Layer| {
            let projections = [&l.qkv, &l.output, &l.gate_up, &l.down];
            let weights: usize = projections.iter().map(|p| p.weight().elem_count()).sum();
            weights + l.attn_norm.elem_count() + l.ffn_norm.elem_count()
        };
        let head = if self.config.tie_embeddings { 0 } else { self.head.weight().elem_count() };
        let outer = self.embedding.elem_count() + self.norm.elem_count() + head;
        outer + self.layers.iter().map(layer).sum::<usize>()
    }

    /// Normalised hidden states (n, hidden) of sequences packed one after another, each from its own
    /// position 0. Gradients reach the adapter.
    pub fn forward(&self, tokens: &[u32], lengths: &[usize], lora: &[LoraRows]) -> Result<Tensor> {
        self.forward_sharing(tokens, (0, lengths), lora)
    }

    /// The same for sequences with a common start, which is read once: the first `n_shared` tokens, then
    /// `lengths[i]` tokens of each.
    pub fn forward_sharing(
        &self,
        tokens: &[u32],
        (n_shared, lengths): (usize, &[usize]),
        lora: &[LoraRows],
    ) -> Result<Tensor> {
        let shape = AttentionShape { n_shared, ..self.attention_shape(lengths) };
        self.pass(tokens, &mut Past::Nothing(Arc::new(shape)), lora)
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
        let hidden =
            self.pass(tokens, &mut Past::Cached(self.attention_shape(lengths), &mut *caches), lora)?;
        caches.iter_mut().zip(lengths).for_each(|(cache, n)| cache.n_tokens += n);
        Ok(hidden)
    }

    /// Logits (rows, vocab) of some rows of the hidden states.
    pub fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let rows = Tensor::from_slice(rows, rows.len(), hidden.device())?;
        self.head.forward(&hidden.index_select(&rows, 0)?)
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

    fn pass(&self, tokens: &[u32], past: &mut Past, lora: &[LoraRows]) -> Result<Tensor> {
        if let Some(token) = tokens.iter().find(|&&t| t as usize >= self.config.vocab_size) {
            bail!("token {token} is outside the vocabulary of {}", self.config.vocab_size);
        }
        let ids = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
        let mut x = self.embedding.index_select(&ids, 0)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, index, past, (lora, &self.config))?;
        }
        rms_norm(&x, &self.norm, self.config.rms_norm_eps)
    }
}

impl Layer {
    fn new(weights: LayerWeights) -> Result<Self> {
        let LayerWeights { attn_norm, q, k, v, o, ffn_norm, gate, up, down } = weights;
        let (output, down) = (FrozenLinear::new(&o)?, FrozenLinear::new(&down)?);
        let qkv = FrozenLinear::new(&Tensor::cat(&[q, k, v], 0)?)?;
        let gate_up = FrozenLinear::new(&Tensor::cat(&[gate, up], 0)?)?;
        Ok(Self { attn_norm, ffn_norm, qkv, output, gate_up, down })
    }

    fn forward(
        &self,
        x: &Tensor,
        index: usize,
        past: &mut Past,
        (lora, config): (&[LoraRows], &ModelConfig),
    ) -> Result<Tensor> {
        let project = |x: &Tensor, base: &FrozenLinear, stack: &[Projection]| {
            project(x, base, lora, (config, index, stack))
        };
        let h = rms_norm(x, &self.attn_norm, config.rms_norm_eps)?;
        let qkv = project(&h, &self.qkv, &[Projection::Query, Projection::Key, Projection::Value])?;
        let attended = match past {
            Past::Nothing(shape) => attention(&qkv, shape)?,
            Past::Cached(shape, caches) => {
                let mut keys: Vec<_> = caches.iter_mut().map(|c| &mut c.layers[index]).collect();
                attend_cached(&qkv, shape, &mut keys)?
            }
        };
        let x = (x + project(&attended, &self.output, &[Projection::Output])?)?;
        let h = rms_norm(&x, &self.ffn_norm, config.rms_norm_eps)?;
        let inner = swiglu(&project(&h, &self.gate_up, &[Projection::Gate, Projection::Up])?)?;
        &x + project(&inner, &self.down, &[Projection::Down])?
    }
}

/// The frozen projection of all rows, corrected where an adapter applies. `place` is the model's shape,
/// the layer, and which projections `base` holds, one below the other.
fn project(
    x: &Tensor,
    base: &FrozenLinear,
    lora: &[LoraRows],
    place: (&ModelConfig, usize, &[Projection]),
) -> Result<Tensor> {
    let (n, width) = (x.dim(0)?, base.weight().dim(0)?);
    let scaling = |l: &LoraRows| l.adapter.config.scaling() * l.scale;
    if let [only] = lora
        && only.rows == (0..n)
    {
        return lora_linear(x, base, &corrections(only, place), scaling(only));
    }
    let y = base.forward(x)?;
    let mut parts = Vec::new();
    let mut done = 0;
    for rows in lora {
        let corrections = corrections(rows, place);
        if corrections.is_empty() {
            continue;
        }
        if rows.rows.start > done {
            parts.push(y.narrow(0, done, rows.rows.start - done)?);
        }
        let own = |t: &Tensor| t.narrow(0, rows.rows.start, rows.rows.len());
        let correction = (low_rank(&own(x)?.contiguous()?, &corrections, width)? * scaling(rows))?;
        parts.push((own(&y)? + correction)?);
        done = rows.rows.end;
    }
    if parts.is_empty() {
        return Ok(y);
    }
    if done < n {
        parts.push(y.narrow(0, done, n - done)?);
    }
    Tensor::cat(&parts, 0)
}

/// An adapter's corrections of a stack of projections; none at scale 0.
fn corrections<'a>(
    lora: &'a LoraRows,
    (config, layer, stack): (&ModelConfig, usize, &[Projection]),
) -> Vec<Correction<'a>> {
    let mut start = 0;
    let mut found = Vec::with_capacity(stack.len());
    for &projection in stack {
        if let (Some(pair), true) = (lora.adapter.get(layer, projection), lora.scale != 0.0) {
            found.push(Correction { start, a: &pair.a, b: &pair.b });
        }
        start += projection.dims(config).0;
    }
    found
}
