//! Which of the article's claims hold here?
//!
//! A widely read article says that fine-tuning is a fine way to learn about fine-tuning and a poor way to teach a model
//! facts. Each of its claims is put beside what the runs of this machine show. A verdict follows from stated rules, and a
//! claim that some runs bear out and others do not *depends*: on what, the runs say.

mod evidence;
mod finding;

use serde::Serialize;

pub use evidence::{Evidence, Share};

/// A claim of the article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Fine-tuning teaches few facts.
    Facts,
    /// Retrieval recalls far more.
    Retrieval,
    /// Fine-tuned models write gibberish.
    Gibberish,
    /// They forget what they knew.
    Forgetting,
    /// LoRA saves.
    Savings,
    /// Retrieval is up to date at once.
    Update,
    /// Tuning is good at style.
    Style,
    /// Tuning is good at narrow tasks.
    Sentiment,
    /// What it costs.
    Money,
}

impl Claim {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::Facts,
        Self::Retrieval,
        Self::Gibberish,
        Self::Forgetting,
        Self::Savings,
        Self::Update,
        Self::Style,
        Self::Sentiment,
        Self::Money,
    ];

    /// A name of a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Retrieval => "retrieval",
            Self::Gibberish => "gibberish",
            Self::Forgetting => "forgetting",
            Self::Savings => "LoRA's savings",
            Self::Update => "updates",
            Self::Style => "style",
            Self::Sentiment => "sentiment",
            Self::Money => "cost",
        }
    }

    /// What the article says, in our words.
    pub fn says(self) -> &'static str {
        match self {
            Self::Facts => {
                "Fine-tuning on documents teaches a model few of their facts: 35 % could be recalled."
            }
            Self::Retrieval => {
                "The untouched model with retrieval recalls far more of them: 82 to 90 % could be answered."
            }
            Self::Gibberish => "Of ten answers of the fine-tuned model seven were gibberish.",
            Self::Forgetting => "Fine-tuning makes a model forget what it knew, Shakespeare's sonnets say.",
            Self::Savings => "LoRA makes fine-tuning cheaper, though no better at facts.",
            Self::Update => "Retrieval knows a changed document at once; fine-tuning has to train again.",
            Self::Style => "Fine-tuning shines where a style is to be learnt.",
            Self::Sentiment => "Fine-tuning shines at narrow tasks, the sentiment of a film review say.",
            Self::Money => "Fine-tuning costs money; retrieval is set up for next to nothing.",
        }
    }

    /// How the verdict is found.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Facts => {
                "Recall of unseen wordings: held where its 95 % interval lies below one half, not where above."
            }
            Self::Retrieval => {
                "Unseen wordings, McNemar's exact test at p < 0.05: held where base + RAG is ahead, not where the \
                 fine-tuned model is."
            }
            Self::Gibberish => {
                "Empty answers, repetitions and non-words, all wordings: held where the 95 % interval of their share lies \
                 above one half, not where below."
            }
            Self::Forgetting => {
                "Held where perplexity of general text rose by a fifth or the quiz's 95 % intervals are apart; not where it \
                 rose by less than a twentieth and they overlap."
            }
            Self::Savings => {
                "Held where less than a tenth of the weights is trained. That it is no better takes a full fine-tune to \
                 show, which lorascope does not make."
            }
            Self::Update => {
                "Held where the run took at least ten times as long as the index needed for one changed document; not where \
                 it took less."
            }
            Self::Style | Self::Sentiment => {
                "Held-out examples: held where the fine-tuned model's 95 % interval lies above those of base and of base \
                 with examples retrieved; not where it is no better than base."
            }
            Self::Money => {
                "Questions until training is paid back by shorter prompts: held from 1,000 on, or never; not below 100."
            }
        }
    }

    /// The command whose run would show it.
    pub fn how(self) -> &'static str {
        match self {
            Self::Style => "lorascope train --recipe style && lorascope eval",
            Self::Sentiment => "lorascope train --recipe sentiment && lorascope eval",
            _ => "lorascope train && lorascope eval",
        }
    }
}

/// Whether a claim was borne out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Borne {
    /// It held.
    Held,
    /// It did not hold.
    NotHeld,
    /// Neither can be said, or some runs say this and others that.
    Depends,
}

impl Borne {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "did not hold",
            Self::Depends => "depends",
        }
    }
}

/// What one run shows about a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The run's name.
    pub run: String,
    /// What it was: recipe and what is particular about it.
    pub about: String,
    /// What was measured, in words.
    pub measured: String,
    /// What follows from it.
    pub verdict: Borne,
}

/// A claim, and what all runs show about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// What follows from the runs; `None` before any shows anything.
    pub verdict: Option<Borne>,
    /// Run by run, the newest first.
    pub findings: Vec<Finding>,
}

/// Judges every claim. `runs` are the newest last; of runs with the same settings the newest counts that shows anything
/// about the claim.
pub fn judged(runs: &[Evidence]) -> Vec<Judged> {
    let judge = |claim: Claim| {
        let (mut findings, mut told): (Vec<Finding>, Vec<_>) = Default::default();
        for run in runs.iter().rev() {
            let Some(found) = finding::of(claim, run) else { continue };
            // Two runs that show the same to the letter show it once.
            let is_new = findings.iter().all(|known| known.measured != found.measured);
            if is_new && !told.contains(&&run.ground) {
                findings.push(found);
            }
            told.push(&run.ground);
        }
        Judged { claim, verdict: together(&findings), findings }
    };
    Claim::ALL.into_iter().map(judge).collect()
}

fn together(findings: &[Finding]) -> Option<Borne> {
    let first = findings.first()?.verdict;
    Some(if findings.iter().all(|finding| finding.verdict == first) { first } else { Borne::Depends })
}

#[cfg(test)]
mod tests;
