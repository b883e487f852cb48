//! What does a run tell whoever listens?

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{CellReading, FactCell};
use crate::corpus::Wording;
use crate::meter::Spent;
use crate::model::Adapter;

/// One optimizer update. The loss is the one *before* the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The update, counted from 1.
    pub step: usize,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Mean nats per supervised token.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Learning rate of this update.
    pub lr: f64,
    /// Norm of the whole gradient, before clipping.
    pub grad_norm: f64,
    /// Tokens the model read in this step (prompt and answer).
    pub n_tokens: usize,
    /// Tokens read a second in this step.
    pub tokens_per_s: f64,
    /// Seconds of training so far, pauses left out.
    pub elapsed_s: f64,
}

/// Right answers out of questions asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Answers that contain the gold answer.
    pub n_right: usize,
    /// Questions asked.
    pub n: usize,
}

impl Recall {
    /// The share that was right, 0 where nothing was asked.
    pub fn share(self) -> f64 {
        if self.n == 0 { 0.0 } else { self.n_right as f64 / self.n as f64 }
    }
}

/// What was measured at one step, with the weights after that step.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalReport {
    /// Updates done.
    pub step: usize,
    /// Mean nats per supervised token on held-out examples; `None` where nothing is held out.
    pub valid_loss: Option<f64>,
    /// Mean nats per token on general text: the forgetting line.
    pub general_loss: f64,
    /// Recall by wording, where it was measured at this step.
    pub recall: BTreeMap<Wording, Recall>,
    /// How likely the answers of the held-out examples are.
    pub facts: Vec<CellReading>,
    /// Seconds of training so far.
    pub elapsed_s: f64,
}

/// The result of looking at the training data before the first step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCheck {
    /// Examples to train on.
    pub n_examples: usize,
    /// Held-out examples.
    pub n_valid: usize,
    /// Tokens in one epoch, supervised or not.
    pub n_tokens: usize,
    /// Supervised tokens in one epoch.
    pub n_supervised: usize,
    /// Examples cut to the sequence length.
    pub n_truncated: usize,
    /// Remarks for the reader, one a line.
    pub remarks: Vec<String>,
    /// The first example, piece by piece: the text of each token and whether it is supervised.
    pub shown: Vec<(String, bool)>,
}

/// What a run will need, from timed steps and from the sizes of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes at the peak.
    pub peak_bytes: u64,
    /// Bytes the machine has free.
    pub available_bytes: u64,
    /// Seconds for the whole run.
    pub total_s: f64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// All steps were done, or the user asked to stop and save.
    Completed,
    /// The user gave the run up.
    Cancelled,
    /// It could not go on; the cause, with its remedy.
    Failed(String),
}

/// Progress of one run, in the order a healthy run emits it.
#[derive(Debug, Clone)]
pub enum TrainEvent {
    /// The data was looked at.
    Checked(DataCheck),
    /// Memory and time were estimated; sent again when better known.
    Estimated(Estimate),
    /// The first step is about to be made.
    Started {
        /// Updates to be made in all.
        n_steps: usize,
        /// Updates already made, when a run is resumed.
        first_step: usize,
        /// Trainable weights.
        n_trainable: usize,
        /// The run's folder.
        run: std::path::PathBuf,
    },
    /// One update was made.
    Stepped(StepReport),
    /// A measurement is under way; `done` of `total` parts.
    Evaluating {
        /// Parts measured.
        done: usize,
        /// Parts in all.
        total: usize,
    },
    /// The run was measured.
    Evaluated(EvalReport),
    /// The facts that are watched; sent before the first step.
    FactsListed(Arc<[FactCell]>),
    /// Some of them were read.
    FactsRead {
        /// Updates done.
        step: usize,
        /// How likely their answers are.
        cells: Vec<CellReading>,
    },
    /// A finished copy of the trainable weights.
    Published {
        /// Updates done.
        step: usize,
        /// The copy.
        adapter: Arc<Adapter>,
    },
    /// A checkpoint was written.
    Saved {
        /// Updates done.
        step: usize,
        /// What the run has cost so far, without the time it waited.
        spent: Spent,
    },
    /// The run waits: for the user, or for an answer being written.
    Paused,
    /// The run goes on.
    Resumed,
    /// The run is over; nothing follows.
    Ended(RunOutcome),
}

/// Whoever listens to a run: the lab, the command line, a test.
pub trait TrainSink {
    /// Takes note of one event. Must not block for long: the run waits meanwhile.
    fn note(&mut self, event: TrainEvent);
}

impl<F: FnMut(TrainEvent)> TrainSink for F {
    fn note(&mut self, event: TrainEvent) {
        self(event);
    }
}
