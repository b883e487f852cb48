//! How likely does a model hold the right answer to be?

use candle_core::D;
use serde::Serialize;

use crate::error::Result;
use crate::model::LanguageModel;
use crate::model::decoder::{KvCache, LoraRows};
use crate::model::generate::Prompt;

/// What a model makes of a right answer that it is shown word by word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gold {
    /// The mean log-probability of its tokens, in nats.
    pub log_prob: f64,
    /// The worst rank any of its tokens has among the vocabulary; at 1 the model writes this answer by itself.
    pub rank: usize,
}

/// An answer whose probability is wanted, and where it would stand.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// What the model has read before it.
    pub prompt: &'a Prompt<'a>,
    /// Its keys and values, with or without those of what was written after it.
    pub cache: KvCache,
    /// The answer: plain text, no end token.
    pub answer: &'a str,
}

/// Reads each answer after its prompt, which is not read again, and says how likely the answer was; 0 and rank 1 for an
/// answer of no tokens. All prompts were read with the same weights.
///
/// # Errors
/// When the arithmetic fails.
pub fn gold(model: &LanguageModel, wanted: Vec<Wanted>) -> Result<Vec<Gold>> {
    let Some(lora) = wanted.first().map(|wanted| wanted.prompt.lora) else { return Ok(Vec::new()) };
    let (mut read, mut targets, mut lengths, mut caches) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Wanted { prompt, mut cache, answer } in wanted {
        let answer = model.tokenizer.encode_plain(answer)?;
        lengths.push(answer.len());
        // The last token of the prompt tells what comes first.
        let [start @ .., last] = prompt.tokens else { continue };
        let Some((_, before_last)) = answer.split_last() else { continue };
        cache.truncate(start.len());
        read.push(*last);
        read.extend_from_slice(before_last);
        targets.extend_from_slice(&answer);
        caches.push(cache);
    }
    let rows = match lora {
        Some((adapter, scale)) => vec![LoraRows { rows: 0..read.len(), adapter, scale }],
        None => Vec::new(),
    };
    let of_cache: Vec<usize> = lengths.iter().copied().filter(|&n| n > 0).collect();
    let mut log_probs = Vec::new();
    if !read.is_empty() {
        let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
        let hidden = model.decoder.forward_cached(&read, &of_cache, &mut caches, &rows)?;
        let logits = model.decoder.logits(&hidden, &(0..read.len() as u32).collect::<Vec<_>>())?;
        log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
    }
    let mut rows = log_probs.iter().zip(&targets);
    let of_answer = |n: usize| {
        let (mut sum, mut rank) = (0.0, 1);
        for (row, &target) in rows.by_ref().take(n) {
            let own = row[target as usize];
            sum += f64::from(own);
            rank = rank.max(1 + row.iter().filter(|&&other| other > own).count());
        }
        Gold { log_prob: if n == 0 { 0.0 } else { sum / n as f64 }, rank }
    };
    Ok(lengths.into_iter().map(of_answer).collect())
}
