//! What does a document state, and how is it asked?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a question relates to what was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wording {
    /// Seen in training by the `qa` recipe.
    Trained,
    /// A paraphrase never trained on.
    Unseen,
    /// From the answer to the subject.
    Reversed,
    /// Needs two documents.
    TwoHop,
    /// The corpus does not say.
    Unanswerable,
}

impl Wording {
    /// All wordings, in the order of a scoreboard.
    pub const ALL: [Self; 5] =
        [Self::Trained, Self::Unseen, Self::Reversed, Self::TwoHop, Self::Unanswerable];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trained => "trained",
            Self::Unseen => "unseen",
            Self::Reversed => "reversed",
            Self::TwoHop => "two_hop",
            Self::Unanswerable => "unanswerable",
        }
    }
}

impl FromStr for Wording {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|wording| wording.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::refused(format!("`{name}` is no wording"), format!("choose from {names}"))
        })
    }
}

/// Something a document states, with accepted answers and questions in several wordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Unique within the corpus.
    pub id: String,
    /// Ids of the documents that state it; two for a `two_hop` fact.
    pub documents: Vec<String>,
    /// The sentence as the document has it; may be empty.
    pub statement: String,
    /// Accepted answers, the first one preferred.
    pub answers: Vec<String>,
    /// The questions, each with the answers accepted for it.
    pub questions: Vec<Question>,
}

impl Fact {
    /// The questions of a wording; of the trained ones the first `n_trained`, as a run with `--wordings` learns them.
    pub fn asked(&self, wording: Wording, n_trained: usize) -> impl Iterator<Item = &Question> + Clone {
        let n = if wording == Wording::Trained { n_trained } else { usize::MAX };
        self.questions.iter().filter(move |question| question.wording == wording).take(n)
    }
}

/// One wording of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// How it relates to the training data.
    pub wording: Wording,
    /// The question itself.
    pub text: String,
    /// Accepted answers: its own, or else the fact's. Empty for `unanswerable`.
    pub answers: Vec<String>,
}
