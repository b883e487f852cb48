//! Are model files of every kind read right, and faulty ones refused with all that is wrong with them?
//! Small files made on the spot; no real model is needed.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use gguf_file::Value;
use lorascope::model::gguf::Gguf;
use lorascope::model::{self, ModelConfig, Tokenizer, WeightName, Weights};

const VOCAB: usize = 40;

fn text(s: &str) -> Value {
    Value::String(s.to_owned())
}

fn texts<S: AsRef<str>>(all: &[S]) -> Value {
    Value::Array(all.iter().map(|s| text(s.as_ref())).collect())
}

/// The metadata of a model of one block: 4 heads of 64 over 256, 2 of them for keys.
fn metadata() -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(256)),
        ("llama.feed_forward_length", Value::U32(512)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(1e4)),
    ]
}

/// Its tensors by their GGUF names, all different, the same on every call.
fn tensors() -> Vec<(String, Tensor)> {
    let shapes: [(&str, &[usize]); 11] = [
        ("token_embd", &[VOCAB, 256]),
        ("blk.0.attn_norm", &[256]),
        ("blk.0.attn_q", &[256, 256]),
        ("blk.0.attn_k", &[128, 256]),
        ("blk.0.attn_v", &[128, 256]),
        ("blk.0.attn_output", &[256, 256]),
        ("blk.0.ffn_norm", &[256]),
        ("blk.0.ffn_gate", &[512, 256]),
        ("blk.0.ffn_up", &[512, 256]),
        ("blk.0.ffn_down", &[256, 512]),
        ("output_norm", &[256]),
    ];
    shapes
        .iter()
        .enumerate()
        .map(|(seed, (name, shape))| {
            let n: usize = shape.iter().product();
            let numbers: Vec<f32> = (0..n).map(|i| ((i * 37 + seed * 101) as f32 * 0.618).sin()).collect();
            (format!("{name}.weight"), Tensor::from_vec(numbers, *shape, &Device::Cpu).unwrap())
        })
        .collect()
}

fn write(path: &Path, metadata: &[(&str, Value)], tensors: &[(String, QTensor)]) {
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

/// Matrices in `kind`, norms in float32.
fn quantised(tensors: &[(String, Tensor)], kind: GgmlDType) -> Vec<(String, QTensor)> {
    let kind_of = |tensor: &Tensor| if tensor.rank() == 1 { GgmlDType::F32 } else { kind };
    tensors.iter().map(|(name, t)| (name.clone(), QTensor::quantize(t, kind_of(t)).unwrap())).collect()
}

fn in_folder(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn weights(path: &Path) -> lorascope::error::Result<Weights> {
    let gguf = Gguf::open(path)?;
    Weights::from_gguf(&gguf, &ModelConfig::from_gguf(&gguf)?)
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Rows (x0, y0, x1, y1, ...) of each head of 64 as (x0, x1, ..., y0, y1, ...).
fn halves(tensor: &Tensor) -> Tensor {
    let (rows, columns) = tensor.dims2().unwrap();
    let pairs = tensor.reshape((rows / 64, 32, 2, columns)).unwrap();
    pairs.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
}

#[test]
fn every_quantisation_is_read_as_candle_reads_it() {
    use GgmlDType::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let (_folder, path) = in_folder("small.gguf");
    let originals = tensors();
    for kind in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K] {
        let stored = quantised(&originals, kind);
        write(&path, &metadata(), &stored);
        let expected: HashMap<&str, Tensor> =
            stored.iter().map(|(name, t)| (name.as_str(), t.dequantize(&Device::Cpu).unwrap())).collect();
        let weights = weights(&path).unwrap();
        assert_eq!(weights.named().len(), 11);
        for (name, found) in weights.named() {
            let file_name = name.gguf();
            let expected = &expected[file_name.as_str()];
            let in_pairs = file_name.contains("attn_q") || file_name.contains("attn_k");
            let expected = if in_pairs { halves(expected) } else { expected.clone() };
            assert_eq!((found.dims(), found.dtype()), (expected.dims(), DType::F32));
            assert_eq!(numbers(found), numbers(&expected), "{kind:?} {file_name}");
        }
    }
}

#[test]
fn all_mismatches_are_told_at_once() {
    let (_folder, path) = in_folder("wrong.gguf");
    let mut stored = quantised(&tensors(), GgmlDType::Q8_0);
    stored.retain(|(name, _)| name != "blk.0.attn_v.weight" && name != "output_norm.weight");
    stored[1].1 =
        QTensor::quantize(&Tensor::zeros(255, DType::F32, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap();
    stored[2].0 = "blk.0.attn_q.bias".to_owned();
    write(&path, &metadata(), &stored);
    let error = weights(&path).unwrap_err().to_string();
    for part in [
        "wrong.gguf",
        "`blk.0.attn_v.weight` is missing",
        "`output_norm.weight` is missing",
        "`blk.0.attn_q.weight` is missing",
        "`blk.0.attn_norm.weight` has the shape [255], the configuration asks for [256]",
        "`blk.0.attn_q.bias` has no place",
        "again",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn metadata_that_cannot_be_right_are_refused() {
    let (_folder, path) = in_folder("odd.gguf");
    let stored = quantised(&tensors(), GgmlDType::F16);
    let cases: [(&str, Value, &str); 12] = [
        ("general.architecture", text("gemma3"), "`gemma3` are not supported"),
        ("llama.expert_count", Value::U32(8), "mixture of experts"),
        ("llama.rope.dimension_count", Value::U32(32), "only 32 of the 64"),
        ("llama.rope.scaling.type", text("yarn"), "`yarn`"),
        ("llama.attention.head_count", Value::U32(0), "cannot be right"),
        ("llama.attention.head_count_kv", Value::U32(3), "4 heads cannot share 3"),
        ("llama.block_count", Value::U32(u32::MAX), "number of layers 4294967295"),
        ("llama.context_length", Value::F32(1.5), "not one whole number"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "epsilon"),
        ("llama.rope.freq_base", Value::F32(-1.0), "rotary base"),
        ("general.alignment", Value::U32(0), "general.alignment"),
        ("llama.embedding_length", Value::U64(u64::MAX), "cannot be right"),
    ];
    for (key, value, expected) in cases {
        let mut metadata = metadata();
        metadata.retain(|(known, _)| *known != key);
        metadata.push((key, value));
        write(&path, &metadata, &stored);
        let error = weights(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("odd.gguf"), "{key}: {error}");
    }
}

#[test]
fn llama_3_rotary_factors_come_from_their_tensor() {
    let (_folder, path) = in_folder("stretched.gguf");
    let mut stored = quantised(&tensors(), GgmlDType::F16);
    let factors: Vec<f32> = (0..32).map(|i| 1.0 + i as f32).collect();
    let tensor = Tensor::from_vec(factors.clone(), 32, &Device::Cpu).unwrap();
    stored.push(("rope_freqs.weight".to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
    write(&path, &metadata(), &stored);
    let config = ModelConfig::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    assert_eq!(config.rope_factors, Some(factors));
    let frequencies = config.rotary_frequencies();
    assert_eq!((frequencies.len(), frequencies[0]), (32, 1.0));
    assert!((frequencies[31] - 1e4f32.powf(-62.0 / 64.0) / 32.0).abs() < 1e-9);
    assert_eq!(weights(&path).unwrap().named().len(), 11);
}

#[test]
fn an_untied_output_is_read() {
    let (_folder, path) = in_folder("untied.gguf");
    let mut all = tensors();
    let output = Tensor::ones((VOCAB, 256), DType::F32, &Device::Cpu).unwrap();
    all.push(("output.weight".to_owned(), output));
    write(&path, &metadata(), &quantised(&all, GgmlDType::Q8_0));
    let weights = weights(&path).unwrap();
    assert!(!weights.config.tie_embeddings);
    assert_eq!(weights.named().last().unwrap().0, WeightName::Output);
    assert_eq!(weights.output.unwrap().dims(), [VOCAB, 256]);
}

#[test]
fn a_whole_small_model_opens_from_one_file_and_without_a_template_asks_plainly() {
    let (_folder, path) = in_folder("tiny.gguf");
    let mut metadata = metadata();
    let tokens: Vec<String> =
        ('!'..='~').take(VOCAB - 2).map(String::from).chain(["ab".into(), "<|im_end|>".into()]).collect();
    let mut types = vec![Value::I32(1); VOCAB];
    types[VOCAB - 1] = Value::I32(3);
    metadata.push(("tokenizer.ggml.model", text("gpt2")));
    metadata.push(("tokenizer.ggml.tokens", texts(&tokens)));
    metadata.push(("tokenizer.ggml.token_type", Value::Array(types)));
    metadata.push(("tokenizer.ggml.merges", texts::<&str>(&[])));
    write(&path, &metadata, &quantised(&tensors(), GgmlDType::Q4_0));
    let parts = model::open(&path).unwrap();
    assert_eq!((parts.name.as_str(), parts.tokenizer.vocab_size()), ("tiny", VOCAB));
    assert_eq!(parts.config.stop_tokens, [VOCAB as u32 - 1], "an end of turn by its name alone");
    assert!(parts.chat.name().contains("Question/Answer"));
    assert_eq!(parts.tokenizer.encode("!\"<|im_end|>").unwrap(), [0, 1, VOCAB as u32 - 1]);

    metadata.push(("tokenizer.ggml.pre", text("klingon")));
    write(&path, &metadata, &quantised(&tensors(), GgmlDType::Q4_0));
    let error = model::open(&path).unwrap_err().to_string();
    assert!(error.contains("klingon") && error.contains("Hugging Face folder"), "{error}");
}

#[test]
fn merges_of_unknown_tokens_are_refused() {
    let (_folder, path) = in_folder("merges.gguf");
    for (merge, fine) in [("a b", true), ("a z", false), ("ab a", false), ("ab", false)] {
        let mut metadata = metadata();
        metadata.push(("tokenizer.ggml.model", text("gpt2")));
        metadata.push(("tokenizer.ggml.tokens", texts(&["a", "b", "ab"])));
        metadata.push(("tokenizer.ggml.merges", texts(&[merge])));
        write(&path, &metadata, &[]);
        let found = Tokenizer::from_gguf(&Gguf::open(&path).unwrap());
        assert_eq!(found.is_ok(), fine, "{merge}: {found:?}");
    }
}

#[test]
fn a_sentencepiece_vocabulary_gives_the_ids_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/small_vocabulary.json");
    let reference: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let array = |key: &str| reference[key].as_array().unwrap().clone();
    let (_folder, path) = in_folder("sentences.gguf");
    let mut metadata = metadata();
    let tokens: Vec<String> = array("tokens").iter().map(|t| t.as_str().unwrap().to_owned()).collect();
    metadata.push(("tokenizer.ggml.model", text("llama")));
    metadata.push(("tokenizer.ggml.tokens", texts(&tokens)));
    let scores = array("scores").iter().map(|s| Value::F32(s.as_f64().unwrap() as f32)).collect();
    metadata.push(("tokenizer.ggml.scores", Value::Array(scores)));
    let types = array("types").iter().map(|t| Value::I32(t.as_i64().unwrap() as i32)).collect();
    metadata.push(("tokenizer.ggml.token_type", Value::Array(types)));
    for (key, id) in [("bos", 1), ("eos", 2), ("unknown", 0)] {
        metadata.push((Box::leak(format!("tokenizer.ggml.{key}_token_id").into_boxed_str()), Value::U32(id)));
    }
    write(&path, &metadata, &[]);
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    for case in array("cases") {
        let (said, decoded) = (case[0].as_str().unwrap(), case[2].as_str().unwrap());
        let expected: Vec<u32> =
            case[1].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.encode(said).unwrap(), expected, "{said:?}");
        assert_eq!(tokenizer.decode(&expected).unwrap(), decoded, "{said:?}");
        let mut stream = tokenizer.detokenizer();
        let mut pieces: Vec<String> = expected.iter().filter_map(|id| stream.push(*id)).collect();
        pieces.extend(stream.finish());
        assert_eq!(pieces.concat(), decoded, "{said:?} in pieces {pieces:?}");
    }
}

/// A Hugging Face folder of the small model.
fn hugging_face_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true,
        "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": [2, 7], "rope_scaling": null}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": 9}"#).unwrap();
    let (_other, gguf) = in_folder("small.gguf");
    write(&gguf, &metadata(), &quantised(&tensors(), GgmlDType::F32));
    let all: HashMap<String, Tensor> = weights(&gguf)
        .unwrap()
        .named()
        .into_iter()
        .map(|(name, t)| (name.hugging_face(), t.clone()))
        .collect();
    candle_core::safetensors::save(&all, folder.path().join("model.safetensors")).unwrap();
    folder
}

#[test]
fn a_hugging_face_folder_is_read_and_its_faults_are_named() {
    let folder = hugging_face_folder();
    let config = ModelConfig::from_hugging_face(folder.path()).unwrap();
    assert_eq!((config.stop_tokens.as_slice(), config.eos_token), (&[2, 7, 9][..], Some(2)));
    assert_eq!((config.max_positions, config.rope_theta, config.head_dim), (2048, 10_000.0, 64));
    assert_eq!(Weights::from_hugging_face(folder.path(), &config).unwrap().named().len(), 11);

    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for n in (0..whole.len()).step_by(whole.len() / 50) {
        fs::write(&path, &whole[..n]).unwrap();
        let error = Weights::from_hugging_face(folder.path(), &config).unwrap_err().to_string();
        assert!(error.contains("safetensors") || error.contains("ends at byte"), "{n}: {error}");
    }
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, lying).unwrap();
    let error = Weights::from_hugging_face(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("a header of"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = Weights::from_hugging_face(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("holds neither model.safetensors"), "{error}");
    let index = r#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let error = Weights::from_hugging_face(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("outside its folder"), "{error}");
}

#[test]
fn rotary_scaling_is_read_from_either_spelling() {
    let folder = hugging_face_folder();
    let path = folder.path().join("config.json");
    let plain = fs::read_to_string(&path).unwrap();
    let llama3 = r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024, "rope_theta": 500000.0}"#;
    let with = |key: &str, value: &str| {
        fs::write(&path, plain.replace("\"rope_scaling\": null", &format!("\"{key}\": {value}"))).unwrap();
        ModelConfig::from_hugging_face(folder.path())
    };
    let (old, new) = (with("rope_scaling", llama3).unwrap(), with("rope_parameters", llama3).unwrap());
    assert_eq!(old, new);
    assert!((new.rope_theta - 500_000.0).abs() < 1e-9);
    let factors = new.rope_factors.unwrap();
    assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 8.0));
    let linear = with("rope_scaling", r#"{"type": "linear", "factor": 2.0}"#).unwrap();
    assert_eq!(linear.rope_factors, Some(vec![2.0; 32]));
    for bad in
        [r#"{"type": "yarn", "factor": 2.0}"#, r#"{"type": "linear"}"#, r#"{"type": "linear", "factor": 0}"#]
    {
        let error = with("rope_scaling", bad).unwrap_err().to_string();
        assert!(error.contains("rotary scaling"), "{error}");
    }
}
