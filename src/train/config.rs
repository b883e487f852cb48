//! What kind of run is it?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::corpus::{Example, Examples, Judge, sentiment_examples, style_examples};
use crate::error::{Error, Result};
use crate::model::lora::LoraConfig;

/// What a run trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The raw text of the documents, every token supervised.
    Documents,
    /// The `trained` wordings of the facts; only the answers are supervised.
    Qa,
    /// An invented voice, from the program's own examples: what tuning should be good at.
    Style,
    /// Whether a film review is positive, likewise.
    Sentiment,
}

impl Recipe {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Qa, Self::Documents, Self::Style, Self::Sentiment];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Qa => "qa",
            Self::Style => "style",
            Self::Sentiment => "sentiment",
        }
    }

    /// Whether it trains on the program's own examples rather than on the corpus.
    pub fn is_task(self) -> bool {
        matches!(self, Self::Style | Self::Sentiment)
    }

    /// The program's own examples, for a recipe that is a task; `None` for one that trains on the corpus.
    pub fn task_examples(self) -> Result<Option<Examples>> {
        match self {
            Self::Documents | Self::Qa => Ok(None),
            Self::Style => style_examples().map(Some),
            Self::Sentiment => sentiment_examples().map(Some),
        }
    }

    /// When an answer to an example of a task is right.
    pub fn judge(self, example: &Example) -> Judge {
        match self {
            Self::Style => Judge::Voice,
            _ => Judge::Contains(vec![example.completion.clone()]),
        }
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|recipe| recipe.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|recipe| format!("`{}`", recipe.name())).join(", ");
            Error::refused(format!("`{name}` is no recipe"), format!("choose one of {names}"))
        })
    }
}

/// Questions of each wording asked at each measurement, unless told otherwise.
pub const RECALL_SAMPLE: usize = 48;

/// Examples of one update at most.
const MOST_EXAMPLES: usize = 1 << 20;
/// More general text than this would leave little to learn from.
const MOST_REPLAY: f64 = 0.9;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine down to zero.
    #[default]
    Cosine,
    /// A straight line down to zero.
    Linear,
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "constant" => Ok(Self::Constant),
            "cosine" => Ok(Self::Cosine),
            "linear" => Ok(Self::Linear),
            _ => Err(Error::refused(
                format!("`{name}` is no schedule"),
                "choose `constant`, `cosine` or `linear`",
            )),
        }
    }
}

/// Everything that decides a run's numbers, apart from the model and the corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What to train on.
    pub recipe: Recipe,
    /// How long, in epochs; `steps` wins where it is given.
    pub epochs: f64,
    /// How long, in optimizer updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Examples of one micro-step.
    pub batch: usize,
    /// Micro-steps of one update.
    pub accumulation: usize,
    /// Tokens of an example at most; longer ones are split (documents) or cut (qa).
    pub max_tokens: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Updates over which the learning rate rises from zero.
    pub warmup_steps: usize,
    /// How it goes after that.
    pub schedule: Schedule,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The gradient's norm is clipped to this; 0 leaves it.
    pub clip: f64,
    /// Of the start weights and the order of the examples.
    pub seed: u64,
    /// Updates between measurements; 0 is once an epoch.
    pub eval_every: usize,
    /// Updates between checkpoints.
    pub checkpoint_every: usize,
    /// Questions of each wording asked at each measurement.
    pub recall_sample: usize,
    /// Trained wordings of each fact that are used (`qa`); without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wordings: Option<usize>,
    /// Share of general text among the tokens that are read, 0 to below 1: rehearsal against forgetting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replay: f64,
    /// Weight of the KL divergence from the base on general text, in the loss; 0 leaves it out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kl: f64,
    /// The adapter. Last: a table in `run.toml`.
    pub lora: LoraConfig,
}

impl TrainConfig {
    /// What a recipe starts from.
    pub fn defaults(recipe: Recipe) -> Self {
        let (epochs, batch) = match recipe {
            Recipe::Qa => (8.0, 16),
            Recipe::Documents => (20.0, 8),
            Recipe::Style => (3.0, 8),
            Recipe::Sentiment => (3.0, 16),
        };
        Self {
            recipe,
            epochs,
            steps: None,
            batch,
            accumulation: 1,
            max_tokens: 256,
            lr: 1e-3,
            warmup_steps: 10,
            schedule: Schedule::Cosine,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 42,
            eval_every: 0,
            checkpoint_every: 20,
            recall_sample: RECALL_SAMPLE,
            wordings: None,
            replay: 0.0,
            kl: 0.0,
            lora: LoraConfig::default(),
        }
    }

    /// Refuses settings that cannot work, naming each.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::refused(what, "change the setting"));
        self.lora.check()?;
        if self.steps == Some(0) {
            return refuse("a run needs at least one update".to_owned());
        }
        if self.batch == 0 || self.accumulation == 0 {
            return refuse("a batch needs at least one example".to_owned());
        }
        if self.batch.checked_mul(self.accumulation).is_none_or(|n| n > MOST_EXAMPLES) {
            return refuse(format!(
                "{} times {} examples an update are too many (at most {MOST_EXAMPLES})",
                self.batch, self.accumulation
            ));
        }
        if !(self.lr.is_finite() && self.lr > 0.0 && self.lr < 1.0) {
            return refuse(format!("learning rate {} is out of range (0, 1)", self.lr));
        }
        if self.steps.is_none() && !(self.epochs.is_finite() && self.epochs > 0.0 && self.epochs <= 10_000.0)
        {
            return refuse(format!("{} epochs is out of range", self.epochs));
        }
        if self.max_tokens < 16 {
            return refuse(format!("examples of {} tokens are too short", self.max_tokens));
        }
        if [self.clip, self.weight_decay].iter().any(|value| !value.is_finite() || *value < 0.0) {
            return refuse("clipping and weight decay must be numbers from 0 on".to_owned());
        }
        if self.lr * self.weight_decay > 1.0 {
            return refuse(format!("a weight decay of {} turns weights over", self.weight_decay));
        }
        if !(0.0..=MOST_REPLAY).contains(&self.replay) {
            return refuse(format!("a replay share of {} is out of range (0 to {MOST_REPLAY})", self.replay));
        }
        if !(self.kl.is_finite() && self.kl >= 0.0) {
            return refuse(format!("a KL weight of {} cannot be used", self.kl));
        }
        if self.wordings == Some(0) {
            return refuse("a fact needs at least one wording to be trained on".to_owned());
        }
        Ok(())
    }

    /// Trained wordings of each fact that are learnt.
    pub fn n_wordings(&self) -> usize {
        self.wordings.unwrap_or(usize::MAX)
    }

    /// Updates that make one epoch of `n_examples`.
    pub fn steps_an_epoch(&self, n_examples: usize) -> usize {
        n_examples.div_ceil(self.batch * self.accumulation).max(1)
    }

    /// Updates of the whole run.
    pub fn n_steps(&self, n_examples: usize) -> usize {
        let by_epochs = (self.epochs * self.steps_an_epoch(n_examples) as f64).ceil() as usize;
        self.steps.unwrap_or(by_epochs.max(1))
    }
}
