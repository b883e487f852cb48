//! How is a run measured while it goes?

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::Tensor;

use super::batch::{Batch, Encoded};
use super::data::{RecallQuestion, TrainData};
use super::report::{EvalReport, Recall};
use crate::cancel::Cancel;
use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::kernels;
use crate::model::decoder::Decoder;
use crate::model::generate::{Prompt, Sampling, generate};
use crate::model::{Adapter, LanguageModel};

/// Tokens measured in one pass.
const PASS_TOKENS: usize = 1024;
/// Questions answered together.
const TOGETHER: usize = 48;

/// Measures losses and recall with these weights. `watch` hears `(done, total)` and may break off; `rest` is called
/// between two tokens of the answers, may take its time, and may break off too.
pub fn evaluate(
    model: &LanguageModel,
    adapter: Option<&Adapter>,
    data: &TrainData,
    watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    rest: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<EvalReport>> {
    let lora = adapter.map(|adapter| (adapter, 1.0));
    let total = 2 + data.recall.len().div_ceil(TOGETHER);
    let valid = log_probs(&model.decoder, lora, &data.valid)?;
    let mut report = EvalReport {
        step: 0,
        valid_loss: (!valid.is_empty()).then(|| mean_of(&valid)),
        general_loss: 0.0,
        recall: BTreeMap::new(),
        facts: data.facts.held_out(&data.valid, &valid),
        elapsed_s: 0.0,
    };
    if watch(1, total).is_break() {
        return Ok(None);
    }
    report.general_loss = mean_loss(&model.decoder, lora, &data.general)?;
    if [report.valid_loss.unwrap_or_default(), report.general_loss].iter().any(|loss| !loss.is_finite()) {
        let what = "the model reads text with a loss that is no number";
        return Err(Error::refused(what, "train with smaller values: --lr, --alpha, --weight-decay or --kl"));
    }
    for (i, questions) in data.recall.chunks(TOGETHER).enumerate() {
        if watch(2 + i, total).is_break() {
            return Ok(None);
        }
        let answered = answered_right(model, lora, questions, rest)?;
        if rest().is_break() {
            return Ok(None);
        }
        for (wording, right) in answered {
            let recall = report.recall.entry(wording).or_insert(Recall { n_right: 0, n: 0 });
            recall.n += 1;
            recall.n_right += usize::from(right);
        }
    }
    Ok(Some(report))
}

/// Mean nats per supervised token, weighted by tokens; 0 where there is nothing to measure.
pub fn mean_loss(decoder: &Decoder, lora: Option<(&Adapter, f64)>, examples: &[Encoded]) -> Result<f64> {
    Ok(mean_of(&log_probs(decoder, lora, examples)?))
}

/// Mean nats a token of log-probabilities; 0 where there are none.
pub fn mean_of(log_probs: &[f32]) -> f64 {
    let sum: f64 = log_probs.iter().map(|&l| f64::from(l)).sum();
    if log_probs.is_empty() { 0.0 } else { -sum / log_probs.len() as f64 }
}

/// The log-probability of every supervised token, example after example.
pub fn log_probs(decoder: &Decoder, lora: Option<(&Adapter, f64)>, examples: &[Encoded]) -> Result<Vec<f32>> {
    let mut found = Vec::new();
    for pass in passes(examples) {
        let batch = Batch::pack(pass);
        let hidden = decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?.detach();
        let rows = Tensor::from_slice(&batch.rows, batch.rows.len(), hidden.device())?;
        let hidden = hidden.index_select(&rows, 0)?;
        found.extend(kernels::token_log_probs(&hidden, decoder.head(), &batch.targets)?);
    }
    Ok(found)
}

/// The examples in the portions in which they are read, each bounded in tokens.
fn passes(examples: &[Encoded]) -> impl Iterator<Item = &[Encoded]> {
    let mut rest = examples;
    std::iter::from_fn(move || {
        let mut n_tokens = 0;
        let fits = |e: &&Encoded| {
            n_tokens += e.tokens.len();
            n_tokens <= PASS_TOKENS
        };
        let (pass, left) = rest.split_at(rest.iter().take_while(fits).count().max(1).min(rest.len()));
        rest = left;
        (!pass.is_empty()).then_some(pass)
    })
}

fn answered_right(
    model: &LanguageModel,
    lora: Option<(&Adapter, f64)>,
    questions: &[RecallQuestion],
    rest: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<(Wording, bool)>> {
    let prompts: Vec<_> = questions.iter().map(|q| Prompt { tokens: &q.prompt, lora }).collect();
    let max_tokens = questions.iter().map(|q| q.max_tokens).max().unwrap_or(0);
    let sampling = Sampling { max_tokens, ..Sampling::default() };
    let go_on = &mut |_, _| rest();
    let answers = generate(&model.decoder, &prompts, (&sampling, &model.stop), &Cancel::new(), go_on)?;
    let right = |(q, tokens): (&RecallQuestion, &Vec<u32>)| {
        Ok((q.wording, q.judge.accepts(&model.tokenizer.decode(tokens)?)))
    };
    questions.iter().zip(&answers).map(right).collect()
}
