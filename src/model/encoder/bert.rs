//! How is a BERT read and run?
//!
//! By the own kernels, without padding; with `LORASCOPE_KERNELS=portable`, or where the layers are not joined by GELU, by
//! candle's model.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, HiddenAct};

use crate::kernels::{Affine, EncoderLayer, LayerNorm, Level, among_threads, encode, level};

/// A BERT without its pooler.
pub(super) enum Bert {
    /// For the own kernels.
    Packed(Packed),
    /// As candle has it.
    Portable {
        /// The model.
        model: Box<BertModel>,
        /// Fills texts up to the longest.
        pad_token: u32,
    },
}

/// Weights ready for the own kernels.
pub(super) struct Packed {
    /// (vocab, hidden).
    words: Tensor,
    /// Of each position with that of the only kind of text (positions, hidden).
    places: Tensor,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    n_heads: usize,
}

impl Bert {
    /// Takes the weights of a model of that shape.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub(super) fn load(weights: VarBuilder, config: &Config) -> Result<Self> {
        if level() == Level::Portable || config.hidden_act != HiddenAct::Gelu {
            let pad_token = u32::try_from(config.pad_token_id).unwrap_or(0);
            return Ok(Self::Portable { model: Box::new(BertModel::load(weights, config)?), pad_token });
        }
        // Everything may stand at the top, or below the name of the kind.
        let is_at_top = weights.contains_tensor("embeddings.word_embeddings.weight");
        let below = config.model_type.as_deref().unwrap_or("bert");
        let weights = if is_at_top { weights } else { weights.pp(below) };
        Ok(Self::Packed(Packed::load(&weights, config)?))
    }

    /// Hidden states (n, hidden) of texts, one after another, in rows.
    ///
    /// # Errors
    /// When a token or a position is outside the model's.
    pub(super) fn forward(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        match self {
            Self::Packed(model) => model.forward(texts),
            Self::Portable { model, pad_token } => padded(model, *pad_token, texts),
        }
    }
}

impl Packed {
    fn load(weights: &VarBuilder, config: &Config) -> Result<Self> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let norm = |weights: VarBuilder| {
            // As older files name them.
            let named = |new: &str, old: &str| {
                weights.get(hidden, if weights.contains_tensor(new) { new } else { old })
            };
            LayerNorm::new(&named("weight", "gamma")?, &named("bias", "beta")?, eps)
        };
        let affine = |weights: VarBuilder, d_out, d_in| {
            Affine::new(&weights.get((d_out, d_in), "weight")?, &weights.get(d_out, "bias")?)
        };
        let layer = |index: usize| {
            let own = weights.pp("encoder.layer").pp(index);
            let attention = own.pp("attention");
            let of_each = ["query", "key", "value"].map(|name| attention.pp("self").pp(name));
            let qkv =
                of_each.iter().map(|w| w.get((hidden, hidden), "weight")).collect::<Result<Vec<_>>>()?;
            let biases = of_each.iter().map(|w| w.get(hidden, "bias")).collect::<Result<Vec<_>>>()?;
            Ok(EncoderLayer {
                qkv: Affine::new(&Tensor::cat(&qkv, 0)?, &Tensor::cat(&biases, 0)?)?,
                output: affine(attention.pp("output.dense"), hidden, hidden)?,
                attn_norm: norm(attention.pp("output.LayerNorm"))?,
                up: affine(own.pp("intermediate.dense"), inner, hidden)?,
                down: affine(own.pp("output.dense"), hidden, inner)?,
                ffn_norm: norm(own.pp("output.LayerNorm"))?,
            })
        };
        let own = weights.pp("embeddings");
        let kinds = own.get((config.type_vocab_size, hidden), "token_type_embeddings.weight")?;
        let places = own.get((config.max_position_embeddings, hidden), "position_embeddings.weight")?;
        Ok(Self {
            words: own.get((config.vocab_size, hidden), "word_embeddings.weight")?,
            places: places.broadcast_add(&kinds.get(0)?)?,
            norm: norm(own.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            n_heads: config.num_attention_heads,
        })
    }

    fn forward(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let places: Vec<u32> = lengths.iter().flat_map(|&len| 0..len as u32).collect();
        let rows = |table: &Tensor, of: &[u32]| {
            table.index_select(&Tensor::from_slice(of, of.len(), &Device::Cpu)?, 0)
        };
        let embedded = (rows(&self.words, &texts.concat())? + rows(&self.places, &places)?)?;
        let mut x: Vec<f32> = embedded.flatten_all()?.to_vec1()?;
        self.norm.rows(&mut x);
        among_threads(|| encode(&mut x, &self.layers, (&lengths, self.n_heads)));
        Ok(x)
    }
}

/// The same by candle's model, every text filled up to the longest.
fn padded(model: &BertModel, pad_token: u32, texts: &[&[u32]]) -> Result<Vec<f32>> {
    let (n, longest) = (texts.len(), texts.iter().map(|text| text.len()).max().unwrap_or(0));
    let (mut ids, mut mask) = (Vec::with_capacity(n * longest), Vec::with_capacity(n * longest));
    for text in texts {
        ids.extend(text.iter().copied().chain(std::iter::repeat(pad_token)).take(longest));
        mask.extend((0..longest).map(|i| if i < text.len() { 1f32 } else { 0f32 }));
    }
    let ids = Tensor::from_vec(ids, (n, longest), &Device::Cpu)?;
    let mask = Tensor::from_vec(mask, (n, longest), &Device::Cpu)?;
    // Without padding there is nothing to mask.
    let is_padded = texts.iter().any(|text| text.len() < longest);
    let hidden = model.forward(&ids, &ids.zeros_like()?, is_padded.then_some(&mask))?;
    let mut rows = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        rows.extend(hidden.get(i)?.narrow(0, 0, text.len())?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::DType;

    use super::*;

    const HIDDEN: usize = 32;
    const INNER: usize = 48;

    fn config() -> Config {
        Config {
            vocab_size: 50,
            hidden_size: HIDDEN,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: INNER,
            max_position_embeddings: 100,
            ..Config::default()
        }
    }

    /// A small model with weights of no meaning, their names below `prefix`.
    fn weights(prefix: &str) -> VarBuilder<'static> {
        let mut all = HashMap::new();
        let mut seed = 1_u64;
        let mut add = |name: String, dims: &[usize], around: f32| {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f32 / (1 << 24) as f32 - 0.5
            };
            let values: Vec<f32> = (0..dims.iter().product()).map(|_| around + 0.6 * next()).collect();
            all.insert(format!("{prefix}{name}"), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
        };
        for (name, n) in [("word", 50), ("position", 100), ("token_type", 2)] {
            add(format!("embeddings.{name}_embeddings.weight"), &[n, HIDDEN], 0.0);
        }
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for i in 0..2 {
            let layer = format!("encoder.layer.{i}");
            let square = ["self.query", "self.key", "self.value", "output.dense"];
            let square = square.map(|name| (format!("attention.{name}"), HIDDEN, HIDDEN));
            let thin = [
                ("intermediate.dense".to_owned(), INNER, HIDDEN),
                ("output.dense".to_owned(), HIDDEN, INNER),
            ];
            for (name, d_out, d_in) in square.into_iter().chain(thin) {
                add(format!("{layer}.{name}.weight"), &[d_out, d_in], 0.0);
                add(format!("{layer}.{name}.bias"), &[d_out], 0.0);
            }
            norms.extend(["attention.output", "output"].map(|of| format!("{layer}.{of}.LayerNorm")));
        }
        for norm in norms {
            add(format!("{norm}.weight"), &[HIDDEN], 1.0);
            add(format!("{norm}.bias"), &[HIDDEN], 0.0);
        }
        VarBuilder::from_tensors(all, DType::F32, &Device::Cpu)
    }

    fn texts() -> Vec<Vec<u32>> {
        [3, 70, 1, 12, 64].iter().map(|&len| (0..len).map(|i| (i * 7 + len) % 50).collect()).collect()
    }

    #[test]
    fn own_kernels_read_as_candle_does() {
        let tolerance = if level().rounds() { 0.1 } else { 1e-4 };
        for prefix in ["", "bert."] {
            let (texts, config) = (texts(), config());
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let own = Bert::load(weights(prefix), &config).unwrap().forward(&texts).unwrap();
            let theirs = padded(&BertModel::load(weights(prefix), &config).unwrap(), 0, &texts).unwrap();
            assert_eq!(own.len(), theirs.len());
            let off = own.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < tolerance, "off by {off}");
        }
    }

    #[test]
    fn a_text_is_read_alike_alone_and_among_others() {
        // What differs by a last digit may be rounded otherwise.
        let tolerance = match level() {
            Level::Bf16 | Level::Amx => 0.05,
            Level::Avx2 | Level::Vnni => 1e-3,
            _ => 1e-5,
        };
        let (texts, model) = (texts(), Bert::load(weights(""), &config()).unwrap());
        let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let together = model.forward(&all).unwrap();
        let mut rest = &together[..];
        for text in all {
            let (own, others) = rest.split_at(text.len() * HIDDEN);
            let alone = model.forward(&[text]).unwrap();
            let off = own.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < tolerance, "a text of {} tokens is off by {off}", text.len());
            rest = others;
        }
    }
}
