//! Who answers?

use serde::{Deserialize, Serialize};

use crate::rag::Passage;

/// Who answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Contender {
    /// The untouched model, closed-book.
    #[serde(rename = "base")]
    Base,
    /// The untouched model with retrieved passages.
    #[serde(rename = "base+rag")]
    BaseRag,
    /// The fine-tuned model, closed-book.
    #[serde(rename = "tuned")]
    Tuned,
    /// The fine-tuned model with retrieved passages.
    #[serde(rename = "tuned+rag")]
    TunedRag,
}

impl Contender {
    /// All contenders, in the order of a scoreboard.
    pub const ALL: [Self; 4] = [Self::Base, Self::BaseRag, Self::Tuned, Self::TunedRag];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::BaseRag => "base+rag",
            Self::Tuned => "tuned",
            Self::TunedRag => "tuned+rag",
        }
    }

    /// Whether it sees retrieved passages.
    pub fn retrieves(self) -> bool {
        matches!(self, Self::BaseRag | Self::TunedRag)
    }

    /// Whether it answers with an adapter.
    pub fn is_tuned(self) -> bool {
        matches!(self, Self::Tuned | Self::TunedRag)
    }
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
    /// Milliseconds from the question to the first token, retrieval included.
    pub first_token_ms: f64,
    /// Milliseconds from the question to the last token.
    pub total_ms: f64,
    /// The training step of the adapter; `None` for the base model.
    pub step: Option<usize>,
}
