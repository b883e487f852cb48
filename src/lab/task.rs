//! How well is a task done that the documents say nothing about?
//!
//! Held-out examples of the recipes `style` and `sentiment`. The rival of tuning is the base model that is shown the
//! nearest training examples before the question (few-shot with retrieval).

use std::ops::ControlFlow;

use serde::Serialize;

use super::{Contender, wilson};
use crate::cancel::Cancel;
use crate::corpus::{Example, Examples};
use crate::error::Result;
use crate::model::chat::{GenerationPrompt, Message};
use crate::model::generate::{Prompt, Sampling, generate};
use crate::model::{Adapter, LanguageModel};
use crate::rag::{Embed, cosine};
use crate::train::Recipe;

/// Training examples shown to a contender that retrieves.
pub const SHOTS: usize = 4;

/// Examples answered in one batch.
const TOGETHER: usize = 16;

/// How one contender did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskScore {
    /// Who.
    pub contender: Contender,
    /// Held-out examples asked.
    pub n: usize,
    /// The share that was right, 0 to 1.
    pub right: f64,
    /// Wilson's 95 % interval of that share.
    pub ci95: [f64; 2],
    /// The answers, in the order of the examples.
    pub answers: Vec<TaskAnswer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskAnswer {
    /// What was asked.
    pub asked: String,
    /// What an answer should be like.
    pub expected: String,
    /// What the model said.
    pub text: String,
    /// Whether that is right.
    pub right: bool,
}

/// What a task is done with.
#[derive(Clone, Copy)]
pub struct TaskDesk<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// Its fine-tuned weights and their scale.
    pub lora: Option<(&'a Adapter, f64)>,
    /// Finds the nearest training examples.
    pub embedder: &'a dyn Embed,
    /// The task.
    pub recipe: Recipe,
    /// Its examples.
    pub examples: &'a Examples,
}

/// Puts the held-out examples `asked` to a contender. `watch` hears how many are answered.
///
/// # Errors
/// When an example cannot be asked, or when cancelled.
pub fn do_task(
    desk: &TaskDesk,
    (contender, asked): (Contender, &[&Example]),
    cancel: &Cancel,
    watch: &mut dyn FnMut(usize),
) -> Result<TaskScore> {
    let prompts = prompts(desk, contender, asked, cancel)?;
    let lora = desk.lora.filter(|_| contender.is_tuned());
    let max_tokens = asked.iter().map(|e| desk.recipe.judge(e).answer_tokens()).max().unwrap_or(0);
    let sampling = Sampling { max_tokens, ..Sampling::default() };
    let mut answers = Vec::with_capacity(asked.len());
    for (examples, prompts) in asked.chunks(TOGETHER).zip(prompts.chunks(TOGETHER)) {
        watch(answers.len());
        let model = desk.model;
        let prompts: Vec<_> = prompts.iter().map(|tokens| Prompt { tokens, lora }).collect();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        let written = generate(&model.decoder, &prompts, (&sampling, &model.stop), cancel, go_on)?;
        for (example, tokens) in examples.iter().zip(written) {
            let text = model.tokenizer.decode(&tokens)?.trim().to_owned();
            let right = desk.recipe.judge(example).accepts(&text);
            let asked = example.asked().to_owned();
            answers.push(TaskAnswer { asked, expected: example.completion.clone(), text, right });
        }
    }
    watch(answers.len());
    let (n, n_right) = (answers.len(), answers.iter().filter(|a| a.right).count());
    let (low, high) = wilson(n_right, n);
    Ok(TaskScore { contender, n, right: n_right as f64 / n.max(1) as f64, ci95: [low, high], answers })
}

/// The question alone, or after the nearest training examples, the nearest last.
fn prompts(
    desk: &TaskDesk,
    contender: Contender,
    asked: &[&Example],
    cancel: &Cancel,
) -> Result<Vec<Vec<u32>>> {
    let model = desk.model;
    if !contender.retrieves() {
        return asked.iter().map(|example| model.question_prompt(example.asked())).collect();
    }
    let embed = |examples: &[&Example]| {
        desk.embedder.embed(&examples.iter().map(|e| e.asked()).collect::<Vec<_>>(), cancel)
    };
    let known: Vec<&Example> = desk.examples.train.iter().collect();
    let (vectors, questions) = (embed(&known)?, embed(asked)?);
    let prompt = |(example, question): (&&Example, &Vec<f32>)| {
        let mut order: Vec<(f32, usize)> = vectors.iter().map(|v| cosine(v, question)).zip(0..).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut messages = Vec::new();
        for &(_, i) in order.iter().take(SHOTS).rev() {
            messages.push(Message::user(known[i].asked()));
            messages.push(Message::assistant(known[i].completion.clone()));
        }
        messages.push(Message::user(example.asked()));
        model.chat.encode(&model.tokenizer, &messages, GenerationPrompt::Add)
    };
    asked.iter().zip(&questions).map(prompt).collect()
}
