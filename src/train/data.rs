//! What becomes of a corpus before the first step?

use std::path::Path;

use serde::Deserialize;

use super::batch::Encoded;
use super::config::{Recipe, TrainConfig};
use super::facts::FactSheet;
use super::report::DataCheck;
use crate::corpus::{
    ANSWER_TOKENS, Corpus, Example, Examples, Judge, Role as TurnRole, Wording, document_examples,
    qa_examples,
};
use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::model::chat::{GenerationPrompt, Message, Role};

/// A question asked during the run.
#[derive(Debug, Clone)]
pub struct RecallQuestion {
    /// How it relates to the training data.
    pub wording: Wording,
    /// The prompt, closed-book.
    pub prompt: Vec<u32>,
    /// When its answer is right.
    pub judge: Judge,
    /// Tokens of the answer at most.
    pub max_tokens: usize,
}

/// Everything a run reads, as tokens.
#[derive(Debug, Clone, Default)]
pub struct TrainData {
    /// To train on.
    pub train: Vec<Encoded>,
    /// Held out.
    pub valid: Vec<Encoded>,
    /// General text: the forgetting line.
    pub general: Vec<Encoded>,
    /// Asked at each measurement.
    pub recall: Vec<RecallQuestion>,
    /// General text to rehearse, none of it in `general`.
    pub replay: Replay,
    /// The corpus's facts, watched while the run learns.
    pub facts: FactSheet,
}

/// General text that is mixed in, so that less of what the model knew is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// Short pieces of it, in the order they are read.
    pub pieces: Vec<Encoded>,
    /// How many of them are read in an epoch; begins anew where they end.
    pub n_an_epoch: usize,
}

impl Replay {
    /// So many pieces that they are `share` of all tokens read, `n_tokens` being those of the examples in an epoch.
    fn new(model: &LanguageModel, share: f64, n_tokens: usize) -> Result<Self> {
        let mut pieces = Vec::new();
        for passage in replay_text()? {
            let mut tokens = model.tokenizer.encode_plain(&passage.text)?;
            tokens.extend(model.text_end);
            let n = tokens.len().div_ceil(REPLAY_TOKENS).max(1);
            let of_passage = tokens.chunks(tokens.len().div_ceil(n).max(2)).filter(|p| p.len() > 1);
            pieces.extend(of_passage.map(|p| Encoded { tokens: p.to_vec(), first_supervised: 1 }));
        }
        let n_a_piece =
            pieces.iter().map(|p| p.tokens.len()).sum::<usize>() as f64 / pieces.len().max(1) as f64;
        let n_an_epoch = share / (1.0 - share) * n_tokens as f64 / n_a_piece;
        Ok(Self { pieces, n_an_epoch: n_an_epoch.round() as usize })
    }

    /// The pieces of a step (counted from 1) where an epoch has `n_steps`: a pure function of the step.
    pub fn of_step(&self, step: usize, n_steps: usize) -> impl Iterator<Item = &Encoded> + Clone {
        let until = |step: usize| step * self.n_an_epoch / n_steps.max(1);
        (until(step - 1)..until(step)).map(|i| &self.pieces[i % self.pieces.len()])
    }
}

/// Tokens of a piece of general text that is rehearsed.
const REPLAY_TOKENS: usize = 64;
/// Held-out examples measured during a run.
const N_VALID: usize = 64;
/// Passages of general text measured during a run.
const N_GENERAL: usize = 10;
/// Tokens of the example that is shown.
const N_SHOWN: usize = 120;

/// Turns a corpus into tokens as the recipe says, and reports what was found.
pub fn prepare(
    model: &LanguageModel,
    corpus: &Corpus,
    config: &TrainConfig,
) -> Result<(TrainData, DataCheck)> {
    config.check()?;
    let examples = examples(corpus, config)?;
    if examples.train.is_empty() {
        let (what, remedy) = match config.recipe {
            Recipe::Qa => (
                "no fact with a `trained` wording",
                "add facts.jsonl, or choose the recipe documents, which needs none",
            ),
            _ => ("no text", "add .md or .txt files"),
        };
        return Err(Error::refused(format!("{} has {what} to train on", corpus.root.display()), remedy));
    }
    let mut check = DataCheck { remarks: examples.remarks.clone(), ..DataCheck::default() };
    let max_tokens = config.max_tokens.min(model.decoder.config().max_positions);
    let mut data = TrainData::default();
    let (mut train, mut valid, mut n_dropped) = (Vec::new(), Vec::new(), 0);
    for example in &examples.train {
        let (pieces, truncated) = encode(model, example, max_tokens)?;
        n_dropped += usize::from(pieces.is_empty());
        check.n_truncated += usize::from(truncated && !pieces.is_empty());
        train.extend(pieces.iter().map(|_| example));
        data.train.extend(pieces);
    }
    if data.train.is_empty() {
        let what = format!("in {max_tokens} tokens no example has room for its answer");
        return Err(Error::refused(what, "allow more with --max-tokens, or choose a model that reads more"));
    }
    for example in spread(&examples.held_out, N_VALID) {
        let (pieces, _) = encode(model, example, max_tokens)?;
        valid.extend(pieces.iter().map(|_| example));
        data.valid.extend(pieces);
    }
    data.general = general_text(model, N_GENERAL)?;
    data.recall = if config.recipe.is_task() {
        task_questions(model, &examples, config)?
    } else {
        recall_questions(model, corpus, config)?
    };
    if n_dropped > 0 {
        check.remarks.push(format!(
            "{n_dropped} examples are left out: {max_tokens} tokens have no room for their answers"
        ));
    }
    if check.n_truncated > 0 {
        let n = check.n_truncated;
        check.remarks.push(format!("{n} examples were cut to {max_tokens} tokens"));
    }
    let n_tokens: usize = data.train.iter().map(|e| e.tokens.len()).sum();
    if config.replay > 0.0 || config.kl > 0.0 {
        data.replay = Replay::new(model, config.replay, n_tokens)?;
    }
    if !config.recipe.is_task() {
        let n_a_step = n_tokens as f64 / config.steps_an_epoch(data.train.len()) as f64;
        let whole = |example: &Example| {
            let (mut pieces, truncated) = encode(model, example, max_tokens)?;
            Ok(pieces.pop().filter(|_| !truncated))
        };
        data.facts = FactSheet::new(corpus, (&train, &valid), n_a_step, &whole)?;
    }
    check.n_examples = data.train.len();
    check.n_valid = data.valid.len();
    check.n_tokens = n_tokens;
    check.n_supervised = data.train.iter().map(Encoded::n_supervised).sum();
    check.shown = shown(&data.train[0], |tokens| model.tokenizer.decode(tokens))?;
    Ok((data, check))
}

/// What a run reads, as text.
///
/// # Errors
/// When the built-in examples of a task cannot be read.
pub fn examples(corpus: &Corpus, config: &TrainConfig) -> Result<Examples> {
    Ok(config.recipe.task_examples()?.unwrap_or_else(|| match config.recipe {
        Recipe::Documents => document_examples(corpus, config.seed),
        _ => qa_examples(corpus, config.n_wordings()),
    }))
}

/// The first example with its loss mask, token by token; tokens that are parts of one character stand together.
fn shown(example: &Encoded, decode: impl Fn(&[u32]) -> Result<String>) -> Result<Vec<(String, bool)>> {
    let tokens = &example.tokens[..example.tokens.len().min(N_SHOWN)];
    let (mut pieces, mut start) = (Vec::new(), 0);
    for end in 1..=tokens.len() {
        let supervised = start >= example.first_supervised;
        let is_last = end == tokens.len() || (end >= example.first_supervised) != supervised;
        let text = decode(&tokens[start..end])?;
        // A character that is not complete yet is decoded as this sign.
        if is_last || !text.ends_with('\u{fffd}') {
            pieces.push((text, supervised));
            start = end;
        }
    }
    Ok(pieces)
}

/// `n` items spread evenly over a list, always the same ones.
pub fn spread<T>(items: &[T], n: usize) -> impl Iterator<Item = &T> {
    let n = n.min(items.len());
    (0..n).map(move |i| &items[i * items.len() / n])
}

/// An example as one sequence (a chat) or several (raw text cut at `max_tokens`), and whether any of it
/// was lost.
fn encode(model: &LanguageModel, example: &Example, max_tokens: usize) -> Result<(Vec<Encoded>, bool)> {
    if example.prompt.is_empty() {
        let mut tokens = model.tokenizer.encode_plain(&example.completion)?;
        tokens.extend(model.text_end);
        // Pieces of even length: a last piece of two tokens would teach little.
        let n_pieces = tokens.len().div_ceil(max_tokens).max(1);
        let pieces = tokens.chunks(tokens.len().div_ceil(n_pieces).max(2)).filter(|p| p.len() > 1);
        let encoded = pieces.map(|p| Encoded { tokens: p.to_vec(), first_supervised: 1 });
        return Ok((encoded.collect(), false));
    }
    let turn = |turn: &crate::corpus::Turn| {
        let role = match turn.role {
            TurnRole::System => Role::System,
            TurnRole::User => Role::User,
            TurnRole::Assistant => Role::Assistant,
        };
        Message::new(role, turn.text.clone())
    };
    let mut messages: Vec<Message> = example.prompt.iter().map(turn).collect();
    let prompt = model.chat.encode(&model.tokenizer, &messages, GenerationPrompt::Add)?;
    messages.push(Message::assistant(example.completion.clone()));
    let mut tokens = model.chat.encode(&model.tokenizer, &messages, GenerationPrompt::Omit)?;
    if !tokens.starts_with(&prompt) {
        // The template writes history differently: the answer and an end token follow the prompt.
        tokens.clone_from(&prompt);
        tokens.extend(model.tokenizer.encode_plain(&example.completion)?);
        tokens.extend(model.stop.first());
    }
    // An answer that the template does not end would never be learnt to end.
    let answer = &tokens[prompt.len()..];
    match answer.iter().rposition(|token| model.stop.contains(token)) {
        Some(end) => tokens.truncate(prompt.len() + end + 1),
        None => tokens.extend(model.stop.first()),
    }
    let truncated = tokens.len() > max_tokens;
    tokens.truncate(max_tokens);
    let first_supervised = prompt.len();
    let usable = first_supervised < tokens.len();
    Ok((usable.then_some(Encoded { tokens, first_supervised }).into_iter().collect(), truncated))
}

/// One passage of the general-text probe.
#[derive(Debug, Clone, Deserialize)]
pub struct GeneralText {
    /// Its name.
    pub id: String,
    /// `prose` or `verse`.
    pub kind: String,
    /// Who wrote it.
    pub source: String,
    /// The passage.
    pub text: String,
}

/// A built-in file of general text: its name in errors, and its lines.
type TextFile = (&'static str, &'static str);
const PROBE: TextFile = ("assets/probes/general.jsonl", include_str!("../../assets/probes/general.jsonl"));
const REPLAY: TextFile = ("assets/probes/replay.jsonl", include_str!("../../assets/probes/replay.jsonl"));

/// The built-in general-text probe.
pub fn general_probe() -> Result<Vec<GeneralText>> {
    texts(PROBE)
}

/// The built-in text for rehearsal; it has no passage in common with the probe.
pub fn replay_text() -> Result<Vec<GeneralText>> {
    texts(REPLAY)
}

fn texts((name, text): TextFile) -> Result<Vec<GeneralText>> {
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Line {
            path: Path::new(name).to_path_buf(),
            line: i + 1,
            what: e.to_string(),
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// `n` passages of the probe, evenly spread, every token supervised.
pub fn general_text(model: &LanguageModel, n: usize) -> Result<Vec<Encoded>> {
    let probe = general_probe()?;
    let encode = |passage: &GeneralText| {
        let mut tokens = model.tokenizer.encode_plain(&passage.text)?;
        tokens.truncate(model.decoder.config().max_positions);
        Ok(Encoded { tokens, first_supervised: 1 })
    };
    spread(&probe, n).map(encode).collect()
}

/// Questions of the wordings that are trained on, and of those that never are.
fn recall_questions(
    model: &LanguageModel,
    corpus: &Corpus,
    config: &TrainConfig,
) -> Result<Vec<RecallQuestion>> {
    let mut asked = Vec::new();
    for wording in [Wording::Trained, Wording::Unseen] {
        let questions: Vec<_> =
            corpus.facts.iter().flat_map(|fact| fact.asked(wording, config.n_wordings())).collect();
        for question in spread(&questions, config.recall_sample) {
            let prompt = model.question_prompt(&question.text)?;
            let judge = Judge::Contains(question.answers.clone());
            asked.push(RecallQuestion { wording, prompt, judge, max_tokens: ANSWER_TOKENS });
        }
    }
    Ok(asked)
}

/// Examples of a task, asked again, and held-out ones.
fn task_questions(
    model: &LanguageModel,
    examples: &Examples,
    config: &TrainConfig,
) -> Result<Vec<RecallQuestion>> {
    let mut asked = Vec::new();
    for (wording, part) in [(Wording::Trained, &examples.train), (Wording::Unseen, &examples.held_out)] {
        for example in spread(part, config.recall_sample) {
            let prompt = model.question_prompt(example.asked())?;
            let judge = config.recipe.judge(example);
            let max_tokens = judge.answer_tokens();
            asked.push(RecallQuestion { wording, prompt, judge, max_tokens });
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_character_are_shown_as_one() {
        let decode = |bytes: &[u32]| {
            let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).collect();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let shown = |text: &str, first_supervised, n| {
            let tokens = text.bytes().take(n).map(u32::from).collect();
            let pieces = shown(&Encoded { tokens, first_supervised }, decode).unwrap();
            pieces
                .into_iter()
                .map(|(piece, lit)| if lit { format!("[{piece}]") } else { piece })
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("aé漢b", 6, 9), ["a", "é", "漢", "[b]"]);
        assert_eq!(shown("a漢b", 2, 9), ["a", "\u{fffd}", "[\u{fffd}\u{fffd}b]"], "the mask goes through it");
        assert_eq!(shown("a漢b", 9, 3), ["a", "\u{fffd}"], "it ends within it");
    }
}
