//! Is a model that leaves the house the model that was trained?

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor, safetensors};
use lorascope::cancel::Cancel;
use lorascope::error::Error;
use lorascope::model::decoder::Decoder;
use lorascope::model::export::{copy_adapter, write_merged};
use lorascope::model::lora::{Projection, TrainableAdapter};
use lorascope::model::merge::merge;
use lorascope::model::{self, Adapter, GenerationPrompt, Message, WeightName, Weights};
use serde_json::{Value as Json, json};

use crate::double::{
    VOCAB, config, decoder, fresh, largest_difference, logits, lora, trained, tuned_logits, values, weights,
};

const PROBE: [u32; 7] = [3, 9, 27, 31, 4, 4, 12];

fn merged_logits(adapter: &Adapter) -> Vec<f32> {
    let merged = merge(weights(), adapter).unwrap();
    logits(&Decoder::new(config(), merged).unwrap(), &[&PROBE], None)
}

#[test]
fn a_merged_model_gives_the_logits_of_base_and_adapter() {
    let (base, rslora) = (decoder(), {
        let mut adapter = trained(61);
        adapter.config.rslora = true;
        adapter
    });
    for adapter in [trained(60), rslora] {
        let tuned = tuned_logits(&base, &[&PROBE], (&adapter, 1.0));
        let merged = merged_logits(&adapter);
        assert!(largest_difference(&merged, &tuned) < 1e-4, "{}", largest_difference(&merged, &tuned));
        assert!(largest_difference(&merged, &logits(&base, &[&PROBE], None)) > 0.1, "it changes nothing");
    }
}

#[test]
fn an_adapter_that_learnt_nothing_merges_into_the_base_itself() {
    let adapter = fresh(62).publish().unwrap();
    assert_eq!(merged_logits(&adapter), logits(&decoder(), &[&PROBE], None));
    let some = TrainableAdapter::fresh(&lora(&[Projection::Value]), &config(), "double", 1).unwrap();
    let merged = merge(weights(), &some.adapter).unwrap();
    for ((name, ours), (_, base)) in merged.named().iter().zip(weights().named()) {
        assert_eq!(values(ours), values(base), "{name:?}");
    }
}

#[test]
fn an_adapter_of_another_depth_is_not_merged() {
    let adapter = Adapter::empty(lora(&Projection::ALL), "deeper", 3);
    let error = merge(weights(), &adapter).unwrap_err().to_string();
    assert!(error.contains("3 layers") && error.contains("deeper"), "{error}");
}

#[test]
fn a_copied_adapter_is_the_same_one_with_another_base() {
    let (folder, adapter) = (tempfile::tempdir().unwrap(), trained(63));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    adapter.save(&from).unwrap();
    fs::create_dir(&to).unwrap();
    copy_adapter(&from, "Org/Name", &to).unwrap();
    let back = Adapter::load(&to, &config()).unwrap();
    assert_eq!((back.digest().unwrap(), back.base.as_str()), (adapter.digest().unwrap(), "Org/Name"));
    assert_eq!(back.config, adapter.config);
    fs::remove_file(from.join("adapter_config.json")).unwrap();
    assert!(copy_adapter(&from, "Org/Name", &to).unwrap_err().to_string().contains("adapter_config.json"));
}

/// The rows of each head as GGUF files of the Llama family keep them: x0, y0, x1, y1, ...
fn in_pairs(tensor: &Tensor) -> Tensor {
    let (rows, columns) = tensor.dims2().unwrap();
    let half = config().head_dim / 2;
    let halves = tensor.reshape((rows / (2 * half), 2, half, columns)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
}

const TEMPLATE: &str = "{% for m in messages %}{{ bos_token }}{{ m['role'] }}!{{ m['content'] }}{% endfor %}";

/// The double as a GGUF file with letters for words.
fn gguf(folder: &Path) -> PathBuf {
    let text = |s: &str| Value::String(s.to_owned());
    let letters = ('!'..='~').take(VOCAB - 2).map(String::from);
    let tokens: Vec<Value> = letters.chain(["<s>".into(), "<|im_end|>".into()]).map(Value::String).collect();
    let mut types = vec![Value::I32(1); VOCAB - 2];
    types.extend([Value::I32(3), Value::I32(3)]);
    let config = config();
    let size = |n: usize| Value::U32(n as u32);
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.block_count", size(config.n_layers)),
        ("llama.context_length", size(config.max_positions)),
        ("llama.embedding_length", size(config.hidden_size)),
        ("llama.feed_forward_length", size(config.intermediate_size)),
        ("llama.attention.head_count", size(config.n_heads)),
        ("llama.attention.head_count_kv", size(config.n_kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(1e4)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", Value::Array(Vec::new())),
        ("tokenizer.ggml.bos_token_id", size(VOCAB - 2)),
        ("tokenizer.ggml.eos_token_id", size(VOCAB - 1)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    let stored = |(name, tensor): (WeightName, &Tensor)| {
        let name = name.gguf();
        let is_turned = name.contains("attn_q") || name.contains("attn_k");
        let tensor = if is_turned { in_pairs(tensor) } else { tensor.clone() };
        (name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
    };
    let tensors: Vec<(String, QTensor)> = weights().named().into_iter().map(stored).collect();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let path = folder.join("double.gguf");
    gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    path
}

fn json_of(path: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_model_merged_from_a_gguf_file_opens_as_the_same_model() {
    let home = tempfile::tempdir().unwrap();
    let (base, adapter, out) = (gguf(home.path()), home.path().join("adapter"), home.path().join("out"));
    let learnt = trained(64);
    learnt.save(&adapter).unwrap();
    fs::create_dir(&out).unwrap();
    write_merged(&base, &adapter, &out, &Cancel::new()).unwrap();
    let (before, after) = (model::open(&base).unwrap(), model::open(&out).unwrap());
    assert_eq!(after.config, before.config);
    for said in ["ab!cd", "<s>a<|im_end|>"] {
        assert_eq!(after.tokenizer.encode(said).unwrap(), before.tokenizer.encode(said).unwrap());
    }
    let talk = [Message::user("abc"), Message::assistant("de")];
    let spoken = |parts: &model::ModelParts| parts.chat.render(&talk, GenerationPrompt::Add).unwrap();
    assert_eq!(spoken(&after), "<s>user!abc<s>assistant!de");
    assert_eq!(spoken(&after), spoken(&before));
    let tuned = tuned_logits(&decoder(), &[&PROBE], (&learnt, 1.0));
    let merged = logits(&Decoder::new(after.config, after.weights).unwrap(), &[&PROBE], None);
    assert!(largest_difference(&merged, &tuned) < 1e-4);

    let header = fs::read(out.join("model.safetensors")).unwrap();
    let n = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
    let header: Json = serde_json::from_slice(&header[8..8 + n]).unwrap();
    assert_eq!(header["__metadata__"]["format"], "pt", "or transformers refuses it");
    assert!(
        header.as_object().unwrap().iter().all(|(name, t)| name == "__metadata__" || t["dtype"] == "F32")
    );
    let rights = |name: &str| fs::metadata(out.join(name)).unwrap().permissions();
    assert_eq!(rights("model.safetensors"), rights("config.json"), "whoever may read one may read both");
    let tokenizer = json_of(&out.join("tokenizer_config.json"));
    assert_eq!((&tokenizer["bos_token"], &tokenizer["eos_token"]), (&json!("<s>"), &json!("<|im_end|>")));
    let ends = &json_of(&out.join("generation_config.json"))["eos_token_id"];
    assert_eq!(*ends, json!(before.config.stop_tokens));
    let processor = &json_of(&out.join("tokenizer.json"))["post_processor"];
    assert_eq!(
        processor["special_tokens"]["<s>"]["ids"],
        json!([VOCAB - 2]),
        "texts begin with it elsewhere"
    );
}

/// The small model that PEFT was recorded on, with words to it.
fn hugging_face(folder: &Path) -> PathBuf {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/peft/model");
    let to = folder.join("model");
    fs::create_dir(&to).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(recorded.join(name), to.join(name)).unwrap();
    }
    let vocab: BTreeMap<String, usize> = (0..64).map(|i| (format!("w{i}"), i)).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w1"},
    });
    fs::write(to.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(to.join("tokenizer_config.json"), r#"{"of": "its own"}"#).unwrap();
    to
}

#[test]
fn a_model_merged_from_a_folder_keeps_what_the_folder_says() {
    let home = tempfile::tempdir().unwrap();
    let base = hugging_face(home.path());
    let adapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/peft/final");
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    write_merged(&base, &adapter, &out, &Cancel::new()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(base.join(name)).unwrap(), "{name}");
    }
    let (ours, theirs) = (json_of(&out.join("config.json")), json_of(&base.join("config.json")));
    for (key, value) in theirs.as_object().unwrap().iter().filter(|(key, _)| *key != "dtype") {
        assert_eq!(ours[key], *value, "{key}");
    }
    let (before, after) = (model::open(&base).unwrap(), model::open(&out).unwrap());
    assert_eq!(after.config, before.config);
    let learnt = Adapter::load(&adapter, &before.config).unwrap();
    let of = |weights: Weights| Decoder::new(before.config.clone(), weights).unwrap();
    let tuned = tuned_logits(&of(before.weights.clone()), &[&PROBE], (&learnt, 1.0));
    let merged = logits(&of(after.weights), &[&PROBE], None);
    assert!(largest_difference(&merged, &tuned) < 1e-4, "{}", largest_difference(&merged, &tuned));
}

#[test]
fn what_does_not_belong_together_or_is_given_up_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let (base, adapter, out) = (gguf(home.path()), home.path().join("adapter"), home.path().join("out"));
    trained(65).save(&adapter).unwrap();
    fs::create_dir(&out).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(write_merged(&base, &adapter, &out, &cancel), Err(Error::Cancelled)));
    let other = hugging_face(home.path());
    let error = write_merged(&other, &adapter, &out, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("don't fit the model"), "{error}");
    let weights = HashMap::from([("x", Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap())]);
    safetensors::save(&weights, adapter.join("adapter_model.safetensors")).unwrap();
    assert!(write_merged(&base, &adapter, &out, &Cancel::new()).is_err());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}
