//! What does a recipe make of a corpus?
//!
//! Plain text only: the trainer turns it into tokens with the model's own tokenizer and template.

use super::{Corpus, Wording, held_out_documents};

/// Who says a turn of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// Whoever asks.
    User,
    /// Whoever answers.
    Assistant,
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// One thing to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Whom it is about: a document's id. Paraphrases share it, and are never packed together.
    pub entity: String,
    /// The turns before the answer; empty for raw text.
    pub prompt: Vec<Turn>,
    /// What the model must learn to say: the answer, or the raw text.
    pub completion: String,
}

impl Example {
    /// A question with its answer.
    pub fn question(question: &str, answer: &str) -> Self {
        let prompt = vec![Turn { role: Role::User, text: question.to_owned() }];
        Self { entity: String::new(), prompt, completion: answer.to_owned() }
    }

    /// What is asked last; nothing of raw text.
    pub fn asked(&self) -> &str {
        self.prompt.last().map_or("", |turn| &turn.text)
    }
}

/// What a recipe trains on, and what it measures itself with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// To train on.
    pub train: Vec<Example>,
    /// Never trained on.
    pub held_out: Vec<Example>,
    /// What the reader should know, one remark a line.
    pub remarks: Vec<String>,
}

/// The `qa` recipe: every `trained` wording with its first accepted answer; held out are the
/// `unseen` wordings of the same facts. Facts without a `trained` wording are left out, with a
/// remark. Of each fact the first `n_wordings` trained wordings are used.
pub fn qa_examples(corpus: &Corpus, n_wordings: usize) -> Examples {
    let mut examples = Examples::default();
    let mut n_left_out = 0;
    for fact in &corpus.facts {
        if fact.asked(Wording::Trained, n_wordings).next().is_none() {
            n_left_out += 1;
            continue;
        }
        let entity = fact.documents.first().cloned().unwrap_or_default();
        let example = |question: &super::Question| {
            let prompt = vec![Turn { role: Role::User, text: question.text.clone() }];
            let completion = question.answers.first()?.clone();
            Some(Example { entity: entity.clone(), prompt, completion })
        };
        examples.train.extend(fact.asked(Wording::Trained, n_wordings).filter_map(example));
        examples.held_out.extend(fact.asked(Wording::Unseen, n_wordings).filter_map(example));
    }
    if n_left_out > 0 {
        let of = corpus.facts.len();
        examples
            .remarks
            .push(format!("{n_left_out} of {of} facts have no trained wording and are not trained on"));
    }
    examples
}

/// The `documents` recipe: the raw text of every document; held out are whole documents.
pub fn document_examples(corpus: &Corpus, seed: u64) -> Examples {
    let held_out = held_out_documents(&corpus.documents, seed);
    let mut examples = Examples::default();
    for document in &corpus.documents {
        let example = Example {
            entity: document.id.clone(),
            prompt: Vec::new(),
            completion: document.text.trim().to_owned(),
        };
        if held_out.contains(&document.id) {
            examples.held_out.push(example);
        } else {
            examples.train.push(example);
        }
    }
    if held_out.is_empty() {
        let n = corpus.documents.len();
        examples.remarks.push(format!("with {n} documents none is held out, so there is no validation loss"));
    }
    examples
}
