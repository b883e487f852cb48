//! How does the model write?
//!
//! Several sequences are written together: each step reads the weights once for all of them. The
//! engine knows token ids only, no tokenizer.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::adapter::Adapter;
use super::decoder::{Decoder, KvCache, LoraRows};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::kernels::{first_of_largest, with_values};

/// Prompt tokens read in one pass.
const PREFILL_TOKENS: usize = 1024;

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token always.
    pub temperature: f64,
    /// Only the most probable tokens that together have this probability.
    pub top_p: f64,
    /// Only this many of the most probable tokens; 0 is all.
    pub top_k: usize,
    /// Of the generator; sequence `i` of a batch draws from stream `i`.
    pub seed: u64,
    /// Tokens written at most.
    pub max_tokens: usize,
}

impl Default for Sampling {
    /// Greedy, 64 tokens.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0, max_tokens: 64 }
    }
}

/// One sequence to be continued.
#[derive(Debug, Clone)]
pub struct Prompt<'a> {
    /// What the model reads first; not empty.
    pub tokens: &'a [u32],
    /// The adapter and its scale; `None` is the base model.
    pub lora: Option<(&'a Adapter, f64)>,
}

struct Writing<'a> {
    index: usize,
    lora: Option<(&'a Adapter, f64)>,
    cache: KvCache,
    next: u32,
    written: Vec<u32>,
    rng: ChaCha8Rng,
}

/// What was written after a prompt.
#[derive(Debug, Clone)]
pub struct Written {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Keys and values of the prompt and of all tokens but the last: who has more to read there need not read the
    /// prompt again.
    pub cache: KvCache,
}

/// Continues all prompts until each meets a token of `stop` (which is not part of its result), has
/// `max_tokens`, fills the model's window, or `watch(index, token)` breaks it off.
pub fn generate(
    decoder: &Decoder,
    prompts: &[Prompt],
    (sampling, stop): (&Sampling, &[u32]),
    cancel: &Cancel,
    watch: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>> {
    let written = generate_keeping(decoder, prompts, (sampling, stop), cancel, watch)?;
    Ok(written.into_iter().map(|written| written.tokens).collect())
}

/// The same, with what is left in memory of each.
pub fn generate_keeping(
    decoder: &Decoder,
    prompts: &[Prompt],
    (sampling, stop): (&Sampling, &[u32]),
    cancel: &Cancel,
    watch: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Written>> {
    let window = decoder.config().max_positions;
    for prompt in prompts {
        if prompt.tokens.is_empty() || prompt.tokens.len() >= window {
            let what =
                format!("a prompt of {} tokens; the model reads 1 to {}", prompt.tokens.len(), window - 1);
            return Err(Error::refused(what, "shorten the question or take fewer passages"));
        }
    }
    let nothing = Written { tokens: Vec::new(), cache: KvCache::new(decoder.config()) };
    let mut all = vec![nothing; prompts.len()];
    if sampling.max_tokens == 0 {
        return Ok(all);
    }
    let mut active = prefill(decoder, prompts, sampling, cancel)?;
    while !active.is_empty() {
        cancel.check()?;
        let mut going = Vec::with_capacity(active.len());
        for mut writing in active {
            let ended = stop.contains(&writing.next) || {
                writing.written.push(writing.next);
                watch(writing.index, writing.next).is_break()
                    || writing.written.len() >= sampling.max_tokens
                    || writing.cache.n_tokens() >= window
            };
            if ended {
                all[writing.index] = Written { tokens: writing.written, cache: writing.cache };
            } else {
                going.push(writing);
            }
        }
        active = going;
        if active.is_empty() {
            break;
        }
        let tokens: Vec<u32> = active.iter().map(|w| w.next).collect();
        let lengths = vec![1; active.len()];
        let lora = lora_rows(&active.iter().map(|w| (1, w.lora)).collect::<Vec<_>>());
        let mut caches: Vec<_> = active.iter_mut().map(|w| &mut w.cache).collect();
        let hidden = decoder.forward_cached(&tokens, &lengths, &mut caches, &lora)?;
        choose_all(&decoder.next_logits(&hidden)?, &mut active, sampling)?;
    }
    Ok(all)
}

/// Reads all prompts. What they have in common at the start is read once.
fn prefill<'a>(
    decoder: &Decoder,
    prompts: &[Prompt<'a>],
    sampling: &Sampling,
    cancel: &Cancel,
) -> Result<Vec<Writing<'a>>> {
    let (shared, n_shared) = shared_start(decoder, prompts, cancel)?;
    let mut all = Vec::with_capacity(prompts.len());
    let mut at = 0;
    while at < prompts.len() {
        cancel.check()?;
        let mut n_tokens = 0;
        let fits = |p: &&Prompt| {
            n_tokens += p.tokens.len() - n_shared;
            n_tokens <= PREFILL_TOKENS
        };
        let n = prompts[at..].iter().take_while(fits).count().max(1);
        let group = &prompts[at..at + n];
        let mut writing: Vec<Writing> = group
            .iter()
            .enumerate()
            .map(|(i, p)| Writing {
                index: at + i,
                lora: p.lora,
                cache: shared.clone(),
                next: 0,
                written: Vec::new(),
                rng: stream(sampling.seed, (at + i) as u64),
            })
            .collect();
        let rests: Vec<&[u32]> = group.iter().map(|p| &p.tokens[n_shared..]).collect();
        let lengths: Vec<usize> = rests.iter().map(|r| r.len()).collect();
        let lora = lora_rows(&writing.iter().zip(&lengths).map(|(w, &n)| (n, w.lora)).collect::<Vec<_>>());
        let mut caches: Vec<_> = writing.iter_mut().map(|w| &mut w.cache).collect();
        let hidden = decoder.forward_cached(&rests.concat(), &lengths, &mut caches, &lora)?;
        let ends: Vec<u32> = lengths
            .iter()
            .scan(0, |sum, &n| {
                *sum += n as u32;
                Some(*sum - 1)
            })
            .collect();
        choose_all(&decoder.logits(&hidden, &ends)?, &mut writing, sampling)?;
        all.append(&mut writing);
        at += n;
    }
    Ok(all)
}

/// The cache of the longest common start of all prompts, if they share an adapter.
fn shared_start(decoder: &Decoder, prompts: &[Prompt], cancel: &Cancel) -> Result<(KvCache, usize)> {
    const WORTH_IT: usize = 8;
    let mut cache = KvCache::new(decoder.config());
    let [first, others @ ..] = prompts else { return Ok((cache, 0)) };
    if others.is_empty() || others.iter().any(|p| !same_lora(p.lora, first.lora)) {
        return Ok((cache, 0));
    }
    let common = |p: &Prompt| p.tokens.iter().zip(first.tokens).take_while(|(a, b)| a == b).count();
    let shortest = prompts.iter().map(|p| p.tokens.len()).min().unwrap_or(0);
    let n = others.iter().map(common).min().unwrap_or(0).min(shortest - 1);
    if n < WORTH_IT {
        return Ok((cache, 0));
    }
    cancel.check()?;
    let lora = lora_rows(&[(n, first.lora)]);
    decoder.forward_cached(&first.tokens[..n], &[n], &mut [&mut cache], &lora)?;
    Ok((cache, n))
}

fn same_lora(a: Option<(&Adapter, f64)>, b: Option<(&Adapter, f64)>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some((a, s)), Some((b, t))) => std::ptr::eq(a, b) && s.total_cmp(&t).is_eq(),
        _ => false,
    }
}

/// Row ranges by adapter; neighbours with the same one become one range.
fn lora_rows<'a>(sequences: &[(usize, Option<(&'a Adapter, f64)>)]) -> Vec<LoraRows<'a>> {
    let mut ranges: Vec<LoraRows> = Vec::new();
    let mut at = 0;
    for &(n, lora) in sequences {
        let rows = at..at + n;
        at = rows.end;
        let Some((adapter, scale)) = lora else { continue };
        match ranges.last_mut() {
            Some(last)
                if last.rows.end == rows.start && same_lora(lora, Some((last.adapter, last.scale))) =>
            {
                last.rows.end = rows.end;
            }
            _ => ranges.push(LoraRows { rows, adapter, scale }),
        }
    }
    ranges
}

fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}

fn choose_all(logits: &Tensor, writing: &mut [Writing], sampling: &Sampling) -> Result<()> {
    let width = logits.dim(1)?;
    let are_numbers = with_values(&logits.to_device(&Device::Cpu)?, |logits| {
        let mut are_numbers = true;
        for (logits, w) in logits.chunks_exact(width).zip(writing) {
            w.next = choose(logits, sampling, &mut w.rng);
            are_numbers &= logits[w.next as usize].is_finite();
        }
        Ok(are_numbers)
    })?;
    if are_numbers {
        return Ok(());
    }
    let what = "what the model says is not a number: its weights or the adapter's are damaged, or the scale is too large";
    Err(Error::refused(what, "see `lorascope models verify`"))
}

/// One token: the most probable one, or a draw from what temperature, top-k and top-p leave.
fn choose(logits: &[f32], sampling: &Sampling, rng: &mut ChaCha8Rng) -> u32 {
    let best = first_of_largest(logits);
    if sampling.temperature <= 0.0 {
        return best as u32;
    }
    let weight = |i: usize| (f64::from(logits[i] - logits[best]) / sampling.temperature).exp();
    let mut ranked: Vec<(usize, f64)> = (0..logits.len()).map(|i| (i, weight(i))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        ranked.truncate(sampling.top_k);
    }
    let total: f64 = ranked.iter().map(|r| r.1).sum();
    let mut kept = 0.0;
    let within = |r: &&(usize, f64)| {
        let take = kept < sampling.top_p * total;
        kept += r.1;
        take
    };
    let n = ranked.iter().take_while(within).count().max(1);
    ranked.truncate(n);
    let mut left = rng.random::<f64>() * ranked.iter().map(|r| r.1).sum::<f64>();
    for &(token, weight) in &ranked {
        left -= weight;
        if left <= 0.0 {
            return token as u32;
        }
    }
    ranked[n - 1].0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let mut rng = stream(0, 0);
        assert_eq!(choose(&[0.0, 2.0, 2.0, -1.0], &Sampling::default(), &mut rng), 1);
    }

    #[test]
    fn top_k_and_top_p_keep_only_the_probable() {
        let mut rng = stream(1, 0);
        let logits = [3.0, 2.9, 0.0, -5.0];
        let two = Sampling { temperature: 1.0, top_k: 2, ..Sampling::default() };
        let half = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::default() };
        let drawn = |s: &Sampling, rng: &mut _| (0..200).map(|_| choose(&logits, s, rng)).collect::<Vec<_>>();
        let draws = drawn(&two, &mut rng);
        assert!(draws.contains(&0) && draws.contains(&1) && draws.iter().all(|&t| t < 2));
        assert!(drawn(&half, &mut rng).iter().all(|&t| t == 0));
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let sampling = Sampling { temperature: 1.5, ..Sampling::default() };
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let draw = |i| {
            let mut rng = stream(7, i);
            (0..20).map(|_| choose(&logits, &sampling, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
