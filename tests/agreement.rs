//! Does the machine's fastest arithmetic agree with plain float32?
//!
//! How a process computes is chosen once, so this one starts another, of the same program, that computes with plain candle
//! operations. Figures are printed with `--nocapture`; `LORASCOPE_TEST_POSITIONS=5000 LORASCOPE_TEST_PROMPTS=50` measures
//! more than is needed to notice a fault.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use lorascope::cancel::Cancel;
use lorascope::corpus::Corpus;
use lorascope::kernels;
use lorascope::model::LanguageModel;
use lorascope::model::decoder::{Decoder, KvCache};
use lorascope::model::encoder::Encoder;
use lorascope::model::generate::{Prompt, Sampling, generate};
use serde::{Deserialize, Serialize};

const MODEL: &str = "smollm2-135m-instruct";
/// Where the other process finds its work and leaves what it makes of it.
const FOLDER: &str = "LORASCOPE_TEST_FOLDER";
/// Tokens of a text.
const LENGTH: usize = 250;
/// Two tokens this close in probability may change places.
const CLOSE: f64 = 0.02;
/// What distributions may differ by, in nats.
const DIVERGENCE: f64 = 1e-3;

/// Tokens, and the first position whose distribution is asked for.
#[derive(Serialize, Deserialize)]
struct Sequence {
    tokens: Vec<u32>,
    from: usize,
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |n| n.parse().unwrap())
}

fn language_model() -> Option<LanguageModel> {
    Some(LanguageModel::load(&common::found(MODEL)?, MODEL).unwrap())
}

fn log_probs(row: &[f32]) -> Vec<f32> {
    let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
    row.iter().map(|&l| (f64::from(l) - sum.ln()) as f32).collect()
}

/// Log-probabilities after each position from `from` on, of tokens that are read together.
fn read(decoder: &Decoder, sequence: &Sequence) -> Vec<Vec<f32>> {
    let (tokens, mut cache) = (&sequence.tokens, KvCache::new(decoder.config()));
    let hidden = decoder.forward_cached(tokens, &[tokens.len()], &mut [&mut cache], &[]).unwrap();
    let rows: Vec<u32> = (sequence.from as u32..tokens.len() as u32).collect();
    let logits = decoder.logits(&hidden, &rows).unwrap().to_vec2::<f32>().unwrap();
    logits.iter().map(|row| log_probs(row)).collect()
}

/// The same, of tokens that are read one by one, as they are written.
fn read_one_by_one(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut cache = KvCache::new(decoder.config());
    let mut next = |&token: &u32| {
        let hidden = decoder.forward_cached(&[token], &[1], &mut [&mut cache], &[]).unwrap();
        log_probs(&decoder.next_logits(&hidden).unwrap().to_vec2::<f32>().unwrap()[0])
    };
    tokens.iter().map(&mut next).collect()
}

fn output(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{index}.f32"))
}

/// What the other process does.
fn leave_plain_distributions(folder: &Path) {
    assert_eq!(kernels::level(), kernels::Level::Portable);
    let model = language_model().unwrap();
    let work: Vec<Sequence> =
        serde_json::from_slice(&std::fs::read(folder.join("sequences.json")).unwrap()).unwrap();
    for (i, sequence) in work.iter().enumerate() {
        let values = read(&model.decoder, sequence).concat();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(output(folder, i), bytes).unwrap();
    }
}

/// What the other process finds for each sequence; a sequence at a time, for they are large.
fn plain(work: &[Sequence], vocab: usize, mut each: impl FnMut(usize, Vec<Vec<f32>>)) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sequences.json"), serde_json::to_vec(work).unwrap()).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "distributions_and_greedy_answers_are_those_of_plain_float32"]);
    let output_of_it =
        other.env("LORASCOPE_KERNELS", "portable").env(FOLDER, folder.path()).output().unwrap();
    assert!(output_of_it.status.success(), "{}", String::from_utf8_lossy(&output_of_it.stdout));
    for i in 0..work.len() {
        let bytes = std::fs::read(output(folder.path(), i)).unwrap();
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        each(i, values.chunks(vocab).map(<[f32]>::to_vec).collect());
    }
}

/// KL divergence, in nats, of `b` from `a`.
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a).exp() * (f64::from(a) - f64::from(b))).sum()
}

#[test]
fn distributions_and_greedy_answers_are_those_of_plain_float32() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return leave_plain_distributions(Path::new(&folder));
    }
    let Some(model) = language_model() else { return };
    let (decoder, vocab) = (&model.decoder, model.decoder.config().vocab_size);
    let corpus = Corpus::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus")).unwrap();
    let all: Vec<u32> =
        corpus.documents.iter().flat_map(|d| model.tokenizer.encode_plain(&d.text).unwrap()).collect();
    let texts = all[..number("LORASCOPE_TEST_POSITIONS", 500)].chunks(LENGTH);
    let mut work: Vec<Sequence> = texts.map(|t| Sequence { tokens: t.to_vec(), from: 0 }).collect();
    let n_texts = work.len();
    let sampling = Sampling { max_tokens: 40, ..Sampling::default() };
    for fact in corpus.facts.iter().take(number("LORASCOPE_TEST_PROMPTS", 5)) {
        let tokens = model.question_prompt(&fact.questions[0].text).unwrap();
        let (prompt, stop) = ([Prompt { tokens: &tokens, lora: None }], (&sampling, &model.stop[..]));
        let mut go_on = |_, _| ControlFlow::Continue(());
        let written = generate(decoder, &prompt, stop, &Cancel::new(), &mut go_on).unwrap().remove(0);
        let from = tokens.len() - 1;
        work.push(Sequence { tokens: [tokens, written].concat(), from });
    }
    let (mut of_reading, mut of_writing, mut n) = (0.0, 0.0, 0);
    let (mut n_answers, mut n_same) = (0, 0);
    plain(&work, vocab, |i, plain| {
        let sequence = &work[i];
        if i < n_texts {
            let (read, written) = (read(decoder, sequence), read_one_by_one(decoder, &sequence.tokens));
            for ((plain, read), written) in plain.iter().zip(&read).zip(&written) {
                of_reading += divergence(plain, read);
                of_writing += divergence(plain, written);
                n += 1;
            }
            return;
        }
        n_answers += 1;
        for (plain, &chosen) in plain.iter().zip(&sequence.tokens[sequence.from + 1..]) {
            let best = plain.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if plain[chosen as usize] < best {
                let apart = f64::from(best).exp() - f64::from(plain[chosen as usize]).exp();
                assert!(apart < CLOSE, "answer {n_answers} differs where {apart:.4} lie between");
                return;
            }
        }
        n_same += 1;
    });
    let (of_reading, of_writing) = (of_reading / f64::from(n), of_writing / f64::from(n));
    eprintln!(
        "{}: {n} positions, KL {of_reading:.2e} nats read together and {of_writing:.2e} one by one; {n_same} of {n_answers} \
         greedy answers the same, the others apart where two tokens are within {CLOSE}",
        kernels::level().name(),
    );
    assert!(of_reading.abs() < DIVERGENCE && of_writing.abs() < DIVERGENCE);
}

/// The vectors that sentence-transformers finds in float32 (`references/encoder.json`), at the level in use.
#[test]
fn vectors_point_where_those_of_sentence_transformers_do() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        vector: Vec<f64>,
    }
    let Some(folder) = common::found("all-minilm-l6-v2") else { return };
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/encoder.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(recorded).unwrap()).unwrap();
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let vectors = Encoder::load(&folder).unwrap().encode(&texts, &Cancel::new()).unwrap();
    let cosine = |(case, vector): (&Case, &Vec<f32>)| {
        case.vector.iter().zip(vector).map(|(a, b)| a * f64::from(*b)).sum::<f64>()
    };
    let least = cases.iter().zip(&vectors).map(cosine).fold(1.0, f64::min);
    println!("{}: {} texts, the least cosine {least:.6}", kernels::level().name(), cases.len());
    assert!(least >= 0.999, "{least}");
}
