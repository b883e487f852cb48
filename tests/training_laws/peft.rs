//! Does training here equal training with PEFT? Recorded by `tests/references/adapter.py`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::{Device, safetensors};
use lorascope::model::decoder::Decoder;
use lorascope::model::lora::TrainableAdapter;
use lorascope::model::{Adapter, ModelConfig, Weights};
use lorascope::train::batch::{Batch, Encoded};
use serde::Deserialize;

use crate::double::{Run, largest_difference, logits, tuned_logits, values};

#[derive(Deserialize)]
struct Sequence {
    tokens: Vec<u32>,
    first_supervised: usize,
}

#[derive(Deserialize)]
struct Logits {
    base: Vec<Vec<f32>>,
    #[serde(rename = "final")]
    last: Vec<Vec<f32>>,
    rslora: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Curve {
    lr: f64,
    probe: Vec<u32>,
    logits: Logits,
    batches: Vec<Vec<Sequence>>,
    losses: Vec<f64>,
}

fn recorded(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/peft").join(part)
}

fn curve() -> Curve {
    serde_json::from_str(&std::fs::read_to_string(recorded("curve.json")).unwrap()).unwrap()
}

fn decoder() -> (Decoder, ModelConfig) {
    lorascope::kernels::choose_float32();
    let config = ModelConfig::from_hugging_face(&recorded("model")).unwrap();
    let weights = Weights::from_hugging_face(&recorded("model"), &config).unwrap();
    (Decoder::new(config.clone(), weights).unwrap(), config)
}

/// Trains from PEFT's start weights over PEFT's batches.
fn repeated(curve: &Curve) -> (Run, Vec<f64>) {
    let (decoder, config) = decoder();
    let start = Adapter::load(&recorded("start"), &config).unwrap();
    let mut run = Run::new(TrainableAdapter::from_adapter(&start).unwrap());
    run.decoder = decoder;
    run.lr = curve.lr;
    let encoded = |s: &Sequence| Encoded { tokens: s.tokens.clone(), first_supervised: s.first_supervised };
    let batches: Vec<Batch> =
        curve.batches.iter().map(|b| Batch::pack(&b.iter().map(encoded).collect::<Vec<_>>())).collect();
    let losses = batches.iter().map(|batch| run.step(std::slice::from_ref(batch)).loss).collect();
    (run, losses)
}

#[test]
fn the_base_gives_the_logits_of_transformers() {
    let curve = curve();
    let ours = logits(&decoder().0, &[&curve.probe], None);
    assert!(largest_difference(&ours, &curve.logits.base.concat()) < 1e-4);
}

#[test]
fn each_step_has_the_loss_of_peft() {
    let curve = curve();
    let (_, losses) = repeated(&curve);
    assert_eq!(losses.len(), curve.losses.len());
    assert!(curve.losses[19] < curve.losses[0] * 0.7, "the recorded curve learns nothing");
    for (step, (ours, theirs)) in losses.iter().zip(&curve.losses).enumerate() {
        assert!((ours - theirs).abs() < 1e-3 * theirs, "step {}: {ours}, PEFT {theirs}", step + 1);
    }
}

#[test]
fn the_weights_end_where_peft_s_end() {
    let (run, _) = repeated(&curve());
    let theirs = Adapter::load(&recorded("final"), run.decoder.config()).unwrap();
    let start = Adapter::load(&recorded("start"), run.decoder.config()).unwrap();
    for (layer, projection, pair) in run.trainable.adapter.pairs() {
        let (end, begin) = (theirs.get(layer, projection).unwrap(), start.get(layer, projection).unwrap());
        for (ours, end, begin) in [(&pair.a, &end.a, &begin.a), (&pair.b, &end.b, &begin.b)] {
            let off = largest_difference(&values(ours), &values(end));
            let way = largest_difference(&values(end), &values(begin));
            assert!(off < 1e-3 && off < way / 20.0, "{projection:?} of layer {layer}: off by {off} of {way}");
        }
    }
}

#[test]
fn adapters_of_peft_load_and_give_its_logits() {
    let curve = curve();
    let (decoder, config) = decoder();
    for (name, expected) in [("final", &curve.logits.last), ("rslora", &curve.logits.rslora)] {
        let adapter = Adapter::load(&recorded(name), &config).unwrap();
        let ours = tuned_logits(&decoder, &[&curve.probe], (&adapter, 1.0));
        let off = largest_difference(&ours, &expected.concat());
        assert!(off < 2e-4, "{name}: off by {off}");
        assert!(largest_difference(&ours, &curve.logits.base.concat()) > 0.1, "{name} changes nothing");
    }
}

#[test]
fn adapters_saved_here_have_peft_s_names_shapes_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (_, config) = decoder();
    for name in ["final", "rslora"] {
        let adapter = Adapter::load(&recorded(name), &config).unwrap();
        adapter.save(folder.path()).unwrap();
        let read = |path: &Path| {
            let tensors = safetensors::load(path.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
            let entry =
                |(name, t): (String, candle_core::Tensor)| (name, format!("{:?} {:?}", t.dims(), t.dtype()));
            tensors.into_iter().map(entry).collect::<BTreeSet<_>>()
        };
        assert_eq!(read(folder.path()), read(&recorded(name)));
        let settings = |path: &Path| -> serde_json::Value {
            let text = std::fs::read_to_string(path.join("adapter_config.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let (ours, theirs) = (settings(folder.path()), settings(&recorded(name)));
        for key in
            ["peft_type", "task_type", "r", "use_rslora", "bias", "fan_in_fan_out", "base_model_name_or_path"]
        {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        assert_eq!(ours["lora_alpha"].as_f64(), theirs["lora_alpha"].as_f64());
        let targets = |v: &serde_json::Value| {
            let list = v["target_modules"].as_array().unwrap().iter();
            list.map(|t| t.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(targets(&ours), targets(&theirs));
    }
}
