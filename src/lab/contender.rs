//! Who answers?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

impl FromStr for Contender {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::refused(format!("`{name}` is no contender"), format!("choose from {names}"))
        })
    }
}
