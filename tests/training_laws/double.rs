//! What stands in for a real model here?

use candle_core::{Device, Tensor};
use lorascope::model::adapter::LoraPair;
use lorascope::model::decoder::Decoder;
use lorascope::model::lora::{LoraConfig, Projection, TrainableAdapter};
use lorascope::model::{Adapter, Architecture, LayerWeights, ModelConfig, Weights};
use lorascope::train::batch::{Batch, Encoded};
use lorascope::train::optimizer::{AdamW, UpdateRule};
use lorascope::train::step::{StepResult, train_step};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const VOCAB: usize = 50;

pub(crate) fn config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: VOCAB,
        hidden_size: 24,
        intermediate_size: 40,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        max_positions: 96,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_factors: None,
        tie_embeddings: false,
        bos_token: None,
        eos_token: Some(0),
        stop_tokens: vec![0],
    }
}

/// Random weights, the same ones always.
pub(crate) fn weights() -> Weights {
    let config = config();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut random = |dims: &[usize]| {
        let n = dims.iter().product();
        let size = 1.5 / (dims[dims.len() - 1] as f32).sqrt();
        let values: Vec<f32> = (0..n).map(|_| rng.random_range(-size..size)).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    };
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
    let mut layer = |_| LayerWeights {
        attn_norm: (random(&[hidden]) + 1.0).unwrap(),
        q: random(&[q, hidden]),
        k: random(&[kv, hidden]),
        v: random(&[kv, hidden]),
        o: random(&[hidden, q]),
        ffn_norm: (random(&[hidden]) + 1.0).unwrap(),
        gate: random(&[inner, hidden]),
        up: random(&[inner, hidden]),
        down: random(&[hidden, inner]),
    };
    let layers = (0..config.n_layers).map(&mut layer).collect();
    Weights {
        token_embedding: random(&[VOCAB, hidden]),
        output: Some(random(&[VOCAB, hidden])),
        output_norm: (random(&[hidden]) + 1.0).unwrap(),
        layers,
        config,
    }
}

pub(crate) fn decoder() -> Decoder {
    lorascope::kernels::choose_float32();
    Decoder::new(config(), weights()).unwrap()
}

pub(crate) fn lora(targets: &[Projection]) -> LoraConfig {
    LoraConfig { rank: 4, alpha: 8.0, targets: targets.iter().copied().collect(), rslora: false }
}

pub(crate) fn fresh(seed: u64) -> TrainableAdapter {
    TrainableAdapter::fresh(&lora(&Projection::ALL), &config(), "double", seed).unwrap()
}

/// An adapter that changes much: 20 updates at a high rate.
pub(crate) fn trained(seed: u64) -> Adapter {
    let mut run = Run::new(fresh(seed));
    let batch = Batch::pack(&examples(seed, 4));
    for _ in 0..20 {
        run.step(std::slice::from_ref(&batch));
    }
    run.trainable.publish().unwrap()
}

/// Sequences of 5 to 14 random tokens, of which the later ones are supervised.
pub(crate) fn examples(seed: u64, n: usize) -> Vec<Encoded> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut example = |_| {
        let length = rng.random_range(5..15);
        let tokens = (0..length).map(|_| rng.random_range(1..VOCAB as u32)).collect();
        Encoded { tokens, first_supervised: rng.random_range(1..4) }
    };
    (0..n).map(&mut example).collect()
}

/// Training of the double.
pub(crate) struct Run {
    pub(crate) decoder: Decoder,
    pub(crate) trainable: TrainableAdapter,
    pub(crate) optimizer: AdamW,
    pub(crate) lr: f64,
}

impl Run {
    pub(crate) fn new(trainable: TrainableAdapter) -> Self {
        let optimizer = AdamW::new(&trainable.weights, 0.0);
        Self { decoder: decoder(), trainable, optimizer, lr: 1e-2 }
    }

    pub(crate) fn step(&mut self, batches: &[Batch]) -> StepResult {
        let rule = UpdateRule { lr: self.lr, clip: 0.0 };
        train_step(&self.decoder, &self.trainable, &mut self.optimizer, (&batches.to_vec().into(), rule))
            .unwrap()
    }

    pub(crate) fn values(&self) -> Vec<(String, Vec<f32>)> {
        let of = |(layer, projection, pair): (usize, Projection, &LoraPair)| {
            [("A", &pair.a), ("B", &pair.b)]
                .map(|(half, tensor)| (Adapter::tensor_name(layer, projection, half), values(tensor)))
        };
        self.trainable.adapter.pairs().flat_map(of).collect()
    }
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Logits of every position of packed sequences, (n, vocab) in one row after another.
pub(crate) fn logits(decoder: &Decoder, sequences: &[&[u32]], lora: Option<(&Adapter, f64)>) -> Vec<f32> {
    let tokens = sequences.concat();
    let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
    let hidden = decoder.forward(&tokens, &lengths, lora).unwrap().detach();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    values(&decoder.logits(&hidden, &rows).unwrap())
}

/// The same with an adapter.
pub(crate) fn tuned_logits(decoder: &Decoder, sequences: &[&[u32]], lora: (&Adapter, f64)) -> Vec<f32> {
    logits(decoder, sequences, Some(lora))
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
