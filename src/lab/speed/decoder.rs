//! How fast does the model learn, read and write?

use std::ops::ControlFlow;
use std::time::Instant;

use super::{Runs, Sample};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::kernels;
use crate::model::LanguageModel;
use crate::model::config::ModelConfig;
use crate::model::generate::{Prompt, Sampling, generate};
use crate::model::lora::{LoraConfig, Projection, TrainableAdapter};
use crate::train::batch::{Batch, Encoded};
use crate::train::data::TrainData;
use crate::train::optimizer::{AdamW, UpdateRule};
use crate::train::step::train_step;
use crate::train::{Recipe, TrainConfig, estimate};

/// Tokens of the prompt that is read.
pub const N_PROMPT: usize = 512;
/// Tokens written after it.
pub const N_DECODED: usize = 128;

/// What one training step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each; every one is supervised.
    pub length: usize,
    /// LoRA rank, on all seven projections.
    pub rank: usize,
}

/// How [`flop_per_token`] counts, in words.
pub const FLOP_FORMULA: &str = "4 FLOP for each weight of the projections and of the output layer: 2 forward, 2 for the \
     gradient of its input; frozen weights have no gradient; attention scores, LoRA and norms not counted";

/// Multiplications and additions for one supervised training token: see [`FLOP_FORMULA`].
pub fn flop_per_token(config: &ModelConfig) -> f64 {
    let weights = |(d_out, d_in): (usize, usize)| d_out * d_in;
    let layer: usize = Projection::ALL.iter().map(|p| weights(p.dims(config))).sum();
    4.0 * (layer * config.n_layers + config.vocab_size * config.hidden_size) as f64
}

/// Tokens a second in training: whole optimizer updates, each on other windows of `text`.
///
/// # Errors
/// When the shape cannot be trained on this model or machine, or when cancelled.
pub fn train(model: &LanguageModel, text: &[u32], shape: TrainShape, runs: &mut Runs) -> Result<Sample> {
    let config = checked(model, text, shape)?;
    let decoder = &model.decoder;
    let trainable = TrainableAdapter::fresh(&config.lora, decoder.config(), &model.name, config.seed)?;
    let mut optimizer = AdamW::new(&trainable.weights, config.weight_decay);
    let rule = UpdateRule { lr: config.lr, clip: config.clip };
    let sample = runs.sample(|run| {
        let batch = supervised(text, run, shape);
        let begun = Instant::now();
        train_step(decoder, &trainable, &mut optimizer, (&vec![batch].into(), rule))?;
        Ok((shape.batch * shape.length) as f64 / begun.elapsed().as_secs_f64())
    });
    // A step of another shape needs other sizes.
    kernels::release_buffers();
    sample
}

/// The settings of the training; refuses what the model or the machine has no room for.
fn checked(model: &LanguageModel, text: &[u32], shape: TrainShape) -> Result<TrainConfig> {
    let TrainShape { batch, length, rank } = shape;
    let longest = model.decoder.config().max_positions;
    if length == 0 || length > longest {
        let what = format!("sequences of {length} tokens; the model takes 1 to {longest}");
        return Err(Error::refused(what, "choose another --length"));
    }
    let lora = LoraConfig { rank, alpha: 2.0 * rank as f64, ..LoraConfig::default() };
    let config = TrainConfig { batch, lora, ..TrainConfig::defaults(Recipe::Documents) };
    config.check()?;
    let train = vec![Encoded { tokens: window(text, 0, length)?, first_supervised: 1 }; batch];
    estimate::memory(model, &TrainData { train, ..TrainData::default() }, &config)?;
    Ok(config)
}

/// The batch of one run: windows of `text` one after another, each token answering for the next.
fn supervised(text: &[u32], run: usize, shape: TrainShape) -> Batch {
    let TrainShape { batch, length, .. } = shape;
    let mut packed = Batch { lengths: vec![length; batch], ..Batch::default() };
    for i in 0..batch {
        let start = (run * batch + i) * (length + 1) % text.len();
        let tokens = || text.iter().cycle().skip(start).copied();
        packed.tokens.extend(tokens().take(length));
        packed.targets.extend(tokens().skip(1).take(length));
    }
    packed.rows = (0..packed.tokens.len() as u32).collect();
    packed
}

/// `n` tokens of `text` from `start`, from its beginning again where it ends.
fn window(text: &[u32], start: usize, n: usize) -> Result<Vec<u32>> {
    if text.is_empty() {
        return Err(Error::refused("there is no text to measure with", "choose another --corpus"));
    }
    Ok(text.iter().cycle().skip(start % text.len()).take(n).copied().collect())
}

/// Tokens a second in reading a prompt of `n` tokens, up to the choice of the first new one.
///
/// # Errors
/// When the model's window is too small, or when cancelled.
pub fn prefill(model: &LanguageModel, text: &[u32], n: usize, runs: &mut Runs) -> Result<Sample> {
    let prompt = prompt(model, text, n)?;
    let cancel = runs.cancel;
    runs.sample(|_| {
        let begun = Instant::now();
        written(model, &prompt, 1, cancel)?;
        Ok(n as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Tokens a second in writing [`N_DECODED`] tokens after a prompt of `n`, greedily, one sequence alone.
/// Reading the prompt is not counted; no token ends the text.
///
/// # Errors
/// As [`prefill`].
pub fn decode(model: &LanguageModel, text: &[u32], n: usize, runs: &mut Runs) -> Result<Sample> {
    let prompt = prompt(model, text, n)?;
    let cancel = runs.cancel;
    runs.sample(|_| {
        // The first token comes from reading the prompt: it only starts the clock.
        let times = written(model, &prompt, N_DECODED + 1, cancel)?;
        let [first, .., last] = times.as_slice() else { return Ok(f64::NAN) };
        Ok((times.len() - 1) as f64 / (*last - *first).as_secs_f64())
    })
}

fn prompt(model: &LanguageModel, text: &[u32], n: usize) -> Result<Vec<u32>> {
    let (needed, longest) = (n + N_DECODED + 1, model.decoder.config().max_positions);
    if needed > longest {
        let what = format!("{} takes {longest} tokens; {needed} are needed", model.name);
        return Err(Error::refused(what, "choose a --model with a larger window"));
    }
    window(text, 0, n)
}

/// When each of `n` tokens was written.
fn written(model: &LanguageModel, prompt: &[u32], n: usize, cancel: &Cancel) -> Result<Vec<Instant>> {
    let prompts = [Prompt { tokens: prompt, lora: None }];
    let sampling = Sampling { max_tokens: n, ..Sampling::default() };
    let mut times = Vec::with_capacity(n);
    generate(&model.decoder, &prompts, (&sampling, &[]), cancel, &mut |_, _| {
        times.push(Instant::now());
        ControlFlow::Continue(())
    })?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    fn smollm2() -> ModelConfig {
        ModelConfig {
            architecture: Architecture::Llama,
            vocab_size: 49_152,
            hidden_size: 576,
            intermediate_size: 1536,
            n_layers: 30,
            n_heads: 9,
            n_kv_heads: 3,
            head_dim: 64,
            max_positions: 8192,
            rms_norm_eps: 1e-5,
            rope_theta: 1e5,
            rope_factors: None,
            tie_embeddings: true,
            bos_token: None,
            eos_token: None,
            stop_tokens: Vec::new(),
        }
    }

    #[test]
    fn a_training_token_of_smollm2_costs_half_a_gigaflop() {
        // 106,168,320 weights in the projections and 28,311,552 in the output layer, 4 FLOP each.
        assert!((flop_per_token(&smollm2()) - 537_919_488.0).abs() < 0.5);
    }

    #[test]
    fn every_token_of_a_batch_answers_for_the_next() {
        let text: Vec<u32> = (0..10).collect();
        let batch = supervised(&text, 1, TrainShape { batch: 2, length: 3, rank: 1 });
        assert_eq!(batch.tokens, [8, 9, 0, 2, 3, 4]);
        assert_eq!(batch.targets, [9, 0, 1, 3, 4, 5]);
        assert_eq!((batch.rows, batch.lengths), (vec![0, 1, 2, 3, 4, 5], vec![3, 3]));
    }

    #[test]
    fn a_short_text_is_read_again() {
        assert_eq!(window(&[1, 2, 3], 2, 5).unwrap(), [3, 1, 2, 3, 1]);
        assert!(window(&[], 0, 5).is_err());
    }
}
