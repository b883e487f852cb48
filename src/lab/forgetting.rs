//! What did the model lose of what it knew before?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::quiz::quiz;
use crate::cancel::Cancel;
use crate::corpus::contains_gold;
use crate::error::Result;
use crate::kernels;
use crate::model::generate::{Prompt, Sampling, generate};
use crate::model::{Adapter, LanguageModel};
use crate::train::batch::{Batch, Encoded};
use crate::train::data::{general_probe, general_text};
use crate::train::evaluate::{log_probs, mean_of};

/// Tokens of an answer to the quiz at most.
const ANSWER_TOKENS: usize = 24;
/// Questions of the quiz answered together.
const TOGETHER: usize = 25;
/// Answers whose next-token distributions are compared together: the logits of each of their tokens are there at once.
const COMPARED: usize = 4;

/// How much of what the base knows the fine-tuned model still knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forgetting {
    /// Passages of general text.
    pub n_texts: usize,
    /// Mean nats per token, base.
    pub base_general_loss: f64,
    /// Its exponential.
    pub base_general_perplexity: f64,
    /// Mean nats per token, fine-tuned; missing without an adapter.
    pub tuned_general_loss: Option<f64>,
    /// Its exponential.
    pub tuned_general_perplexity: Option<f64>,
    /// Perplexity of the verse among the texts, base.
    pub base_verse_perplexity: f64,
    /// The same, fine-tuned.
    pub tuned_verse_perplexity: Option<f64>,
    /// Questions of common knowledge.
    pub n_quiz: usize,
    /// How many of them the base answers right.
    pub base_quiz_right: usize,
    /// How many the fine-tuned model answers right.
    pub tuned_quiz_right: Option<usize>,
    /// Mean KL divergence, in nats per token, of the fine-tuned model's next-token distributions from the base's, where
    /// both read the base's own answers to the quiz.
    pub kl_from_base: Option<f64>,
}

/// Mean nats a token of general text.
#[derive(Debug, Clone, Copy)]
struct Losses {
    all: f64,
    /// Of the verse alone.
    verse: f64,
}

impl Losses {
    fn of(
        model: &LanguageModel,
        lora: Option<(&Adapter, f64)>,
        (texts, is_verse): (&[Encoded], &[bool]),
    ) -> Result<Self> {
        let all = log_probs(&model.decoder, lora, texts)?;
        let (mut at, mut verse) = (0, Vec::new());
        for (text, is_verse) in texts.iter().zip(is_verse) {
            let own = &all[at..at + text.n_supervised()];
            at += own.len();
            if *is_verse {
                verse.extend_from_slice(own);
            }
        }
        Ok(Self { all: mean_of(&all), verse: mean_of(&verse) })
    }
}

/// What the base knows: measured once, compared with many adapters.
#[derive(Debug, Clone)]
pub struct BaseKnowledge {
    texts: Vec<Encoded>,
    /// Which of them are verse.
    is_verse: Vec<bool>,
    losses: Losses,
    /// Prompts of the quiz with what is accepted.
    asked: Vec<(Vec<u32>, Vec<String>)>,
    n_right: usize,
    /// The base's own answers, after their prompts, some together.
    answers: Vec<OwnAnswers>,
}

/// Answers of the base, and what it made of them.
#[derive(Debug, Clone)]
struct OwnAnswers {
    batch: Batch,
    /// Hidden states (tokens of the answers, hidden) from which the base foretells each of their tokens.
    hidden: Tensor,
}

impl BaseKnowledge {
    /// Measures the whole built-in probe of general text, and asks the quiz.
    ///
    /// # Errors
    /// When the arithmetic fails, or when cancelled.
    pub fn of(model: &LanguageModel, cancel: &Cancel) -> Result<Self> {
        let texts = general_text(model, usize::MAX)?;
        let is_verse: Vec<bool> = general_probe()?.into_iter().map(|text| text.kind == "verse").collect();
        let losses = Losses::of(model, None, (&texts, &is_verse))?;
        let asked = quiz()?
            .into_iter()
            .map(|question| Ok((model.question_prompt(&question.question)?, question.answers)))
            .collect::<Result<Vec<_>>>()?;
        let written = answers(model, &asked, None, cancel)?;
        let n_right = n_right(model, &asked, &written)?;
        let own = |((prompt, _), answer): (&(Vec<u32>, Vec<String>), Vec<u32>)| Encoded {
            first_supervised: prompt.len(),
            tokens: [prompt.as_slice(), &answer].concat(),
        };
        let own: Vec<_> = asked.iter().zip(written).map(own).filter(|own| own.n_supervised() > 0).collect();
        let mut answers = Vec::with_capacity(own.len().div_ceil(COMPARED));
        for group in own.chunks(COMPARED) {
            cancel.check()?;
            let batch = Batch::pack(group);
            let hidden = foretold(model, &batch, None)?;
            answers.push(OwnAnswers { batch, hidden });
        }
        Ok(Self { texts, is_verse, losses, asked, n_right, answers })
    }
}

/// Compares the fine-tuned model, its adapter at a scale, with what the base knows.
///
/// # Errors
/// When the arithmetic fails, or when cancelled.
pub fn forgetting(
    model: &LanguageModel,
    known: &BaseKnowledge,
    lora: Option<(&Adapter, f64)>,
    cancel: &Cancel,
) -> Result<Forgetting> {
    let read = |lora| Losses::of(model, Some(lora), (&known.texts, &known.is_verse));
    let tuned = lora.map(read).transpose()?;
    let right = |lora| n_right(model, &known.asked, &answers(model, &known.asked, Some(lora), cancel)?);
    Ok(Forgetting {
        n_texts: known.texts.len(),
        base_general_loss: known.losses.all,
        base_general_perplexity: known.losses.all.exp(),
        tuned_general_loss: tuned.map(|losses| losses.all),
        tuned_general_perplexity: tuned.map(|losses| losses.all.exp()),
        base_verse_perplexity: known.losses.verse.exp(),
        tuned_verse_perplexity: tuned.map(|losses| losses.verse.exp()),
        n_quiz: known.asked.len(),
        base_quiz_right: known.n_right,
        tuned_quiz_right: lora.map(right).transpose()?,
        kl_from_base: lora.map(|lora| departure(model, lora, &known.answers, cancel)).transpose()?,
    })
}

fn answers(
    model: &LanguageModel,
    asked: &[(Vec<u32>, Vec<String>)],
    lora: Option<(&Adapter, f64)>,
    cancel: &Cancel,
) -> Result<Vec<Vec<u32>>> {
    let sampling = Sampling { max_tokens: ANSWER_TOKENS, ..Sampling::default() };
    let mut written = Vec::with_capacity(asked.len());
    for group in asked.chunks(TOGETHER) {
        let prompts: Vec<_> = group.iter().map(|(tokens, _)| Prompt { tokens, lora }).collect();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        written.extend(generate(&model.decoder, &prompts, (&sampling, &model.stop), cancel, go_on)?);
    }
    Ok(written)
}

fn n_right(model: &LanguageModel, asked: &[(Vec<u32>, Vec<String>)], written: &[Vec<u32>]) -> Result<usize> {
    let mut n = 0;
    for ((_, gold), tokens) in asked.iter().zip(written) {
        n += usize::from(contains_gold(&model.tokenizer.decode(tokens)?, gold));
    }
    Ok(n)
}

/// Hidden states (n, hidden) from which the supervised tokens of a batch are foretold.
fn foretold(model: &LanguageModel, batch: &Batch, lora: Option<(&Adapter, f64)>) -> Result<Tensor> {
    let hidden = model.decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?;
    let rows = Tensor::from_slice(&batch.rows, batch.rows.len(), hidden.device())?;
    Ok(hidden.detach().index_select(&rows, 0)?)
}

/// The mean divergence over all tokens of the base's answers, each counted once.
fn departure(
    model: &LanguageModel,
    lora: (&Adapter, f64),
    answers: &[OwnAnswers],
    cancel: &Cancel,
) -> Result<f64> {
    let (mut sum, mut n) = (0.0, 0);
    for OwnAnswers { batch, hidden } in answers {
        cancel.check()?;
        let tuned = foretold(model, batch, Some(lora))?;
        let mean = kernels::kl_divergence(hidden, &tuned, model.decoder.head())?.to_scalar::<f32>()?;
        sum += f64::from(mean) * batch.rows.len() as f64;
        n += batch.rows.len();
    }
    Ok(if n == 0 { 0.0 } else { sum / n as f64 })
}
