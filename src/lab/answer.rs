//! How does a contender answer a question?
//!
//! All contenders answer with the same model, decoding and token limit; they differ in their weights
//! and in what they read. Those that are asked together write together, one batch.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;

use super::Contender;
use crate::cancel::Cancel;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::model::generate::{Prompt, Sampling, generate};
use crate::model::{Adapter, GenerationPrompt, LanguageModel, Message};
use crate::rag::{Budget, Index, Passage, PromptForm, Rerank, Retrieval, build_prompt};

/// What answers are made with: the same for every contender.
#[derive(Clone)]
pub struct Desk<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// Where passages are looked up; without it, contenders with RAG cannot answer.
    pub index: Option<&'a Index>,
    /// How passages are put before the model.
    pub form: PromptForm,
    /// How candidates are put in order.
    pub rerank: Rerank,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Weights that fine-tuned contenders answer with.
#[derive(Debug, Clone, Copy)]
pub struct Tuned<'a> {
    /// The adapter.
    pub adapter: &'a Adapter,
    /// The training step it was made at, where that is known.
    pub step: Option<usize>,
    /// Multiplies the adapter's own scaling; 0 is the base model.
    pub scale: f64,
    /// Its digest ([`Adapter::digest`]), where records are kept.
    pub digest: Option<&'a str>,
}

/// One contender's answer, with everything needed to check it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Who answered.
    pub contender: Contender,
    /// What it said.
    pub text: String,
    /// The exact text the model read.
    pub prompt: String,
    /// The passages in the prompt, best first.
    pub passages: Vec<Passage>,
    /// Tokens in the prompt.
    pub n_prompt_tokens: usize,
    /// Tokens in the answer.
    pub n_tokens: usize,
    /// Whether it has as many tokens as it may have: it might have gone on.
    pub cut_off: bool,
    /// Milliseconds from the question to the first token, retrieval included.
    pub first_token_ms: f64,
    /// Milliseconds from the question to the last token.
    pub total_ms: f64,
    /// The training step of the adapter; `None` for the base model.
    pub step: Option<usize>,
    /// The adapter's digest, where records are kept; `None` for the base model.
    pub adapter: Option<String>,
}

/// Progress of one side's answer.
#[derive(Debug, Clone)]
pub enum AnswerEvent {
    /// Passages were retrieved and the prompt was built.
    Prompted {
        /// What the retriever found, best first; empty for closed-book contenders.
        passages: Vec<Passage>,
        /// How many of them, from the best, are in the prompt.
        n_used: usize,
        /// The exact text the model reads.
        prompt: String,
    },
    /// More text. Whole characters only.
    Streamed(String),
    /// The answer is complete.
    Answered(Answer),
    /// Whether the answer is right, where the question is one of the corpus's.
    Judged {
        /// The accepted answers.
        gold: Vec<String>,
        /// Whether the answer contains one of them.
        right: bool,
    },
    /// It could not be answered; the cause, with its remedy.
    Failed(String),
}

/// What one contender reads.
#[derive(Debug, Clone)]
pub struct Brief {
    /// Who reads it.
    pub contender: Contender,
    /// The exact text.
    pub prompt: String,
    /// The same as tokens.
    pub tokens: Vec<u32>,
    /// What of it was looked up: the user's turn of a contender that retrieves; empty for one that does not.
    pub read: String,
    /// What the retriever found, best first.
    pub passages: Vec<Passage>,
    /// How many of them are in the prompt.
    pub n_used: usize,
}

impl Desk<'_> {
    /// Passages looked up where only the best are shown to the model.
    pub const LOOKED_UP: usize = 5;

    /// Looks a question up.
    ///
    /// # Errors
    /// Without an index, for a blank question, or when the index cannot be read.
    pub fn look_up(&self, question: &str) -> Result<Retrieval> {
        let index = self.index.ok_or_else(|| {
            Error::refused("there is no index to look things up in", "ask a contender without RAG")
        })?;
        index.retrieve(question, self.form.max_passages.max(Self::LOOKED_UP), self.rerank)
    }

    /// Makes up what `contender` reads; `passages` is what was found, for contenders that retrieve.
    ///
    /// # Errors
    /// For a blank question, or one that is too long for the model.
    pub fn brief(&self, contender: Contender, question: &str, passages: &[Passage]) -> Result<Brief> {
        let question = question.trim();
        if question.is_empty() {
            return Err(Error::refused("the question is empty", "type a question"));
        }
        let model = self.model;
        let (user_message, n_used, found) = if contender.retrieves() {
            let count = |text: &str| model.tokenizer.encode_plain(text).map_or(usize::MAX, |ids| ids.len());
            let budget = Budget { n_tokens: self.room()?, count: &count };
            let built = build_prompt(question, passages, self.form, budget)?;
            (built.user_message, built.n_used, passages.to_vec())
        } else {
            (question.to_owned(), 0, Vec::new())
        };
        let read = if contender.retrieves() { user_message.clone() } else { String::new() };
        let messages = [Message::user(user_message)];
        let prompt = model.chat.render(&messages, GenerationPrompt::Add)?;
        let tokens = model.chat.encode(&model.tokenizer, &messages, GenerationPrompt::Add)?;
        let window = model.decoder.config().max_positions;
        if tokens.len() + 1 >= window {
            let what =
                format!("the question makes a prompt of {} tokens; the model reads {window}", tokens.len());
            return Err(Error::refused(what, "ask a shorter question"));
        }
        Ok(Brief { contender, prompt, tokens, read, passages: found, n_used })
    }

    /// Tokens the user's turn may have, so that the answer still fits into the model's window.
    fn room(&self) -> Result<usize> {
        let model = self.model;
        let empty = model.chat.encode(&model.tokenizer, &[Message::user("")], GenerationPrompt::Add)?;
        let taken = empty.len() + self.sampling.max_tokens;
        Ok(model.decoder.config().max_positions.saturating_sub(taken))
    }
}

/// Puts one question to several contenders, who write together. `note` hears of each; a contender that
/// cannot answer says so there ([`AnswerEvent::Failed`]) and is left out of the result.
///
/// # Errors
/// When cancelled, or when the arithmetic fails.
pub fn answer(
    desk: &Desk,
    (question, contenders): (&str, &[Contender]),
    tuned: Option<Tuned>,
    cancel: &Cancel,
    note: &mut dyn FnMut(Contender, AnswerEvent),
) -> Result<Vec<Answer>> {
    let asked_at = Instant::now();
    let mut found: Option<Result<Vec<Passage>, String>> = None;
    let mut briefs = Vec::new();
    for &contender in contenders {
        cancel.check()?;
        match briefed(desk, contender, question, (tuned.is_some(), &mut found)) {
            Ok(brief) => {
                let (passages, prompt) = (brief.passages.clone(), brief.prompt.clone());
                note(contender, AnswerEvent::Prompted { passages, n_used: brief.n_used, prompt });
                briefs.push(brief);
            }
            Err(cause) => note(contender, AnswerEvent::Failed(cause)),
        }
    }
    let answers = write(desk, briefs, (tuned, asked_at), cancel, note)?;
    for answer in &answers {
        note(answer.contender, AnswerEvent::Answered(answer.clone()));
    }
    Ok(answers)
}

/// The brief of one contender. What was looked up for one is not looked up again for the next.
fn briefed(
    desk: &Desk,
    contender: Contender,
    question: &str,
    (has_tuned, found): (bool, &mut Option<Result<Vec<Passage>, String>>),
) -> Result<Brief, String> {
    if contender.is_tuned() && !has_tuned {
        return Err("nothing is tuned yet; train first".to_owned());
    }
    let passages = if contender.retrieves() {
        let look_up = || desk.look_up(question).map(|r| r.passages).map_err(|error| error.to_string());
        found.get_or_insert_with(look_up).clone()?
    } else {
        Vec::new()
    };
    desk.brief(contender, question, &passages).map_err(|error| error.to_string())
}

fn write(
    desk: &Desk,
    briefs: Vec<Brief>,
    (tuned, asked_at): (Option<Tuned>, Instant),
    cancel: &Cancel,
    note: &mut dyn FnMut(Contender, AnswerEvent),
) -> Result<Vec<Answer>> {
    let ms = || asked_at.elapsed().as_secs_f64() * 1e3;
    let model = desk.model;
    let mut writers: Vec<_> = briefs.iter().map(|_| model.tokenizer.detokenizer()).collect();
    let mut times = vec![(None, 0.0); briefs.len()];
    let mut watch = |index: usize, token: u32| {
        times[index] = (times[index].0.or(Some(ms())), ms());
        if let Some(text) = writers[index].push(token) {
            note(briefs[index].contender, AnswerEvent::Streamed(text));
        }
        ControlFlow::Continue(())
    };
    let prompts: Vec<Prompt> = briefs.iter().map(|brief| prompt_of(brief, tuned)).collect();
    let written = generate(&model.decoder, &prompts, (&desk.sampling, &model.stop), cancel, &mut watch)?;
    let end = ms();
    let mut answers = Vec::with_capacity(briefs.len());
    for ((brief, tokens), (first, last)) in briefs.into_iter().zip(written).zip(times) {
        answers.push(Answer {
            contender: brief.contender,
            text: model.tokenizer.decode(&tokens)?.trim().to_owned(),
            prompt: brief.prompt,
            passages: brief.passages.into_iter().take(brief.n_used).collect(),
            n_prompt_tokens: brief.tokens.len(),
            n_tokens: tokens.len(),
            cut_off: tokens.len() >= desk.sampling.max_tokens,
            first_token_ms: first.unwrap_or(end),
            total_ms: if first.is_some() { last } else { end },
            step: tuned.filter(|_| brief.contender.is_tuned()).and_then(|tuned| tuned.step),
            adapter: digest_of(brief.contender, tuned),
        });
    }
    Ok(answers)
}

/// The digest of the weights a contender answers with; none for the base model.
pub(super) fn digest_of(contender: Contender, tuned: Option<Tuned>) -> Option<String> {
    tuned.filter(|_| contender.is_tuned())?.digest.map(str::to_owned)
}

/// What the generator continues. Contenders that are not tuned read without an adapter.
pub(super) fn prompt_of<'a>(brief: &'a Brief, tuned: Option<Tuned<'a>>) -> Prompt<'a> {
    let lora = tuned.filter(|_| brief.contender.is_tuned()).map(|tuned| (tuned.adapter, tuned.scale));
    Prompt { tokens: &brief.tokens, lora }
}

/// The accepted answers to a question, where it is one of the corpus's, however it is capitalised
/// and punctuated.
pub fn gold_of(corpus: &Corpus, question: &str) -> Option<Vec<String>> {
    let key = crate::corpus::normalised(question);
    let mut all = corpus.facts.iter().flat_map(|fact| &fact.questions);
    let found = all.find(|known| !key.is_empty() && crate::corpus::normalised(&known.text) == key)?;
    (!found.answers.is_empty()).then(|| found.answers.clone())
}
