//! How likely does a model hold the right answer to be?

use candle_core::{D, Tensor};
use serde::Serialize;

use crate::error::Result;
use crate::model::generate::Prompt;
use crate::model::{Adapter, LanguageModel};
use crate::train::batch::{Batch, Encoded};
use crate::train::evaluate::passes;

/// What a model makes of a right answer that it is shown word by word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gold {
    /// The mean log-probability of its tokens, in nats.
    pub log_prob: f64,
    /// The worst rank any of its tokens has among the vocabulary; at 1 the model writes this answer by itself.
    pub rank: usize,
}

/// Reads each prompt with its answer (plain text, no end token) and says how likely the answer was; 0 and rank 1 for an
/// answer of no tokens. All prompts are read with the same weights.
///
/// # Errors
/// When the arithmetic fails.
pub fn gold(model: &LanguageModel, asked: &[(&Prompt, &str)]) -> Result<Vec<Gold>> {
    let encode = |(prompt, answer): &(&Prompt, &str)| {
        let answer = model.tokenizer.encode_plain(answer)?;
        Ok(Encoded { first_supervised: prompt.tokens.len(), tokens: [prompt.tokens, &answer].concat() })
    };
    let encoded = asked.iter().map(encode).collect::<Result<Vec<_>>>()?;
    let lora = asked.first().and_then(|(prompt, _)| prompt.lora);
    let mut found = Vec::with_capacity(encoded.len());
    for pass in passes(&encoded) {
        found.extend(read(model, pass, lora)?);
    }
    Ok(found)
}

fn read(model: &LanguageModel, pass: &[Encoded], lora: Option<(&Adapter, f64)>) -> Result<Vec<Gold>> {
    let batch = Batch::pack(pass);
    if batch.rows.is_empty() {
        return Ok(vec![Gold { log_prob: 0.0, rank: 1 }; pass.len()]);
    }
    let hidden =
        model.decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?.detach();
    let logits = model.decoder.logits(&hidden, &batch.rows)?;
    let log_probs: Tensor = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let mut rows = log_probs.to_vec2::<f32>()?.into_iter().zip(&batch.targets);
    let of_answer = |example: &Encoded| {
        let n = example.n_supervised();
        let (mut sum, mut rank) = (0.0, 1);
        for (row, &target) in rows.by_ref().take(n) {
            let own = row[target as usize];
            sum += f64::from(own);
            rank = rank.max(1 + row.iter().filter(|&&other| other > own).count());
        }
        Gold { log_prob: if n == 0 { 0.0 } else { sum / n as f64 }, rank }
    };
    Ok(pass.iter().map(of_answer).collect())
}
