//! Does the default model give the numbers of transformers, and does it learn as with PEFT? Recorded by
//! `tests/references/decoder.py` and `tests/references/curve.py`, in float32.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lorascope::cancel::Cancel;
use lorascope::model::decoder::{Decoder, KvCache};
use lorascope::model::generate::{Prompt, Sampling, generate};
use lorascope::model::lora::{LoraConfig, TrainableAdapter};
use lorascope::model::{self, Adapter};
use lorascope::train::batch::{Batch, Encoded};
use lorascope::train::optimizer::{AdamW, UpdateRule};
use lorascope::train::step::train_step;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Numbers {
    probe_ids: Vec<u32>,
    prompts: Vec<Prompted>,
    greedy: Vec<Greedy>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Prompted {
    ids: Vec<u32>,
    logits: Vec<f32>,
    argmax_of_each: Vec<u32>,
}

#[derive(Deserialize)]
struct Greedy {
    ids: Vec<u32>,
    continuation: Vec<u32>,
}

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
    perplexity: f64,
}

#[derive(Deserialize)]
struct Curve {
    lr: f64,
    seed: u64,
    losses: Vec<f64>,
    probe: Vec<u32>,
    probe_ids: Vec<u32>,
    logits: Vec<f32>,
    batches: Vec<Vec<Sequence>>,
}

#[derive(Deserialize)]
struct Sequence {
    tokens: Vec<u32>,
    first_supervised: usize,
}

fn recorded<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The default model, opened once for all tests.
fn decoder() -> Option<Arc<Decoder>> {
    static DECODER: OnceLock<Option<Arc<Decoder>>> = OnceLock::new();
    let open = || {
        let parts = model::open(&common::default_model()?).unwrap();
        Some(Arc::new(Decoder::new(parts.config, parts.weights).unwrap()))
    };
    DECODER.get_or_init(open).clone()
}

/// Logits of all positions of a text.
fn logits(decoder: &Decoder, ids: &[u32], lora: Option<(&Adapter, f64)>) -> Vec<Vec<f32>> {
    let hidden = decoder.forward(ids, &[ids.len()], lora).unwrap();
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    decoder.logits(&hidden.detach(), &rows).unwrap().to_vec2().unwrap()
}

fn largest(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
}

fn assert_logits(what: &str, row: &[f32], ids: &[u32], expected: &[f32]) {
    for (&id, expected) in ids.iter().zip(expected) {
        let ours = row[id as usize];
        assert!((ours - expected).abs() < 1e-3, "{what}, token {id}: {ours}, recorded {expected}");
    }
}

#[test]
fn ten_prompts_have_the_logits_of_transformers() {
    let Some(decoder) = decoder() else { return };
    let numbers: Numbers = recorded("decoder.json");
    assert_eq!(numbers.prompts.len(), 10);
    for (i, prompt) in numbers.prompts.iter().enumerate() {
        let ours = logits(&decoder, &prompt.ids, None);
        assert_logits(&format!("prompt {i}"), ours.last().unwrap(), &numbers.probe_ids, &prompt.logits);
        let choices: Vec<u32> = ours.iter().map(|row| largest(row)).collect();
        assert_eq!(choices, prompt.argmax_of_each, "prompt {i}");
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    let Some(decoder) = decoder() else { return };
    for greedy in recorded::<Numbers>("decoder.json").greedy {
        let prompts = [Prompt { tokens: &greedy.ids, lora: None }];
        let (sampling, mut go_on) = (Sampling::default(), |_, _| std::ops::ControlFlow::Continue(()));
        let ours = generate(&decoder, &prompts, (&sampling, &[]), &Cancel::new(), &mut go_on).unwrap();
        assert_eq!(greedy.continuation.len(), 64);
        assert_eq!(ours[0], greedy.continuation);
    }
}

#[test]
fn texts_have_the_perplexity_of_transformers() {
    let Some(decoder) = decoder() else { return };
    for text in recorded::<Numbers>("decoder.json").texts {
        let rows = logits(&decoder, &text.ids, None);
        let nats = |(row, &next): (&Vec<f32>, &u32)| {
            let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            sum.ln() - f64::from(row[next as usize])
        };
        let sum: f64 = rows.iter().zip(&text.ids[1..]).map(nats).sum();
        let ours = (sum / (text.ids.len() - 1) as f64).exp();
        assert!((ours - text.perplexity).abs() < 1e-4 * text.perplexity, "{ours}, {}", text.perplexity);
    }
}

/// KL divergence, in nats, of the distribution that logits `b` give from that of `a`.
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let log_sum = |row: &[f32]| row.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
    let (sum_a, sum_b) = (log_sum(a), log_sum(b));
    let log_probs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - sum_a, f64::from(b) - sum_b));
    log_probs.map(|(a, b)| a.exp() * (a - b)).sum()
}

/// Read one by one, tokens meet the weights in 4 or 8 bits; read together, in float32.
#[test]
fn a_text_read_token_by_token_has_the_distributions_of_one_read_at_once() {
    let Some(decoder) = decoder() else { return };
    for text in recorded::<Numbers>("decoder.json").texts {
        let ids = &text.ids[..text.ids.len().min(150)];
        let mut cache = KvCache::new(decoder.config());
        let mut one_by_one = |&id: &u32| {
            let hidden = decoder.forward_cached(&[id], &[1], &mut [&mut cache], &[]).unwrap();
            decoder.next_logits(&hidden).unwrap().to_vec2::<f32>().unwrap().remove(0)
        };
        let rows = logits(&decoder, ids, None);
        let sum: f64 = ids.iter().zip(&rows).map(|(id, row)| divergence(row, &one_by_one(id))).sum();
        let mean = sum / ids.len() as f64;
        assert!(mean.abs() < 1e-6, "{mean} nats");
    }
}

fn start(curve: &Curve, decoder: &Decoder) -> TrainableAdapter {
    TrainableAdapter::fresh(&LoraConfig::default(), decoder.config(), "start", curve.seed).unwrap()
}

/// Where `LORASCOPE_TEST_START` says, the start weights for `curve.py`.
#[test]
fn the_start_is_the_same_again() {
    let Some(decoder) = decoder() else { return };
    let curve: Curve = recorded("curve.json");
    let (one, two) = (start(&curve, &decoder).adapter, start(&curve, &decoder).adapter);
    assert_eq!(one.digest().unwrap(), two.digest().unwrap());
    if let Some(folder) = std::env::var_os("LORASCOPE_TEST_START") {
        one.save(Path::new(&folder)).unwrap();
    }
}

#[test]
fn twenty_updates_have_the_losses_of_peft() {
    let Some(decoder) = decoder() else { return };
    let curve: Curve = recorded("curve.json");
    let trainable = start(&curve, &decoder);
    let mut optimizer = AdamW::new(&trainable.weights, 0.0);
    let rule = UpdateRule { lr: curve.lr, clip: 0.0 };
    assert_eq!(curve.batches.len(), 20);
    for (step, (sequences, theirs)) in curve.batches.iter().zip(&curve.losses).enumerate() {
        let encoded = sequences
            .iter()
            .map(|s| Encoded { tokens: s.tokens.clone(), first_supervised: s.first_supervised })
            .collect::<Vec<_>>();
        let batches = [Batch::pack(&encoded)];
        let ours =
            train_step(&decoder, &trainable, &mut optimizer, (&batches.to_vec().into(), rule)).unwrap().loss;
        assert!((ours - theirs).abs() < 1e-3 * theirs, "step {}: {ours}, PEFT {theirs}", step + 1);
    }
    let adapter = trainable.publish().unwrap();
    let rows = logits(&decoder, &curve.probe, Some((&adapter, 1.0)));
    let end = rows.last().unwrap();
    for (&id, theirs) in curve.probe_ids.iter().zip(&curve.logits) {
        let ours = end[id as usize];
        assert!((ours - theirs).abs() < 0.05, "after 20 updates, token {id}: {ours}, PEFT {theirs}");
    }
    let base = logits(&decoder, &curve.probe, None);
    let moved = |(&id, theirs): (&u32, &f32)| (base.last().unwrap()[id as usize] - theirs).abs();
    assert!(curve.probe_ids.iter().zip(&curve.logits).map(moved).fold(0.0, f32::max) > 1.0);
}
