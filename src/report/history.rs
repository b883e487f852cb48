//! How did a run go, step by step?

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::app::{Series, Smooth};
use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::run::RunFolder;

/// What was measured at one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    pub(super) step: usize,
    /// The training loss at that step, smoothed.
    pub(super) train_loss: Option<f64>,
    /// On held-out examples, if there are any.
    pub(super) valid_loss: Option<f64>,
    /// On general text.
    pub(super) general_loss: Option<f64>,
    /// Shares of right answers.
    pub(super) recall: BTreeMap<Wording, f64>,
}

/// All that `metrics.jsonl` tells.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// The training loss, step by step.
    pub(super) loss: Series,
    /// The same, smoothed.
    pub(super) smooth: Series,
    /// By step.
    pub(super) measurements: Vec<Measurement>,
    /// Updates made.
    pub(super) step: usize,
    /// Updates to be made; 0 when it never started.
    pub(super) n_steps: usize,
    /// Trainable weights; 0 when it never started.
    pub(super) n_trainable: usize,
    /// Seconds of training.
    pub(super) elapsed_s: f64,
    /// Whether the loss of the last step is a number.
    pub(super) is_sound: bool,
    /// Why it failed, if it did.
    pub(super) cause: Option<String>,
    average: Smooth,
}

impl History {
    /// Reads a run's metrics; a run that has none yet has an empty history.
    ///
    /// # Errors
    /// When the metrics cannot be read.
    pub(super) fn read(run: &Path) -> Result<Self> {
        let mut history = Self { is_sound: true, ..Self::default() };
        let events = match RunFolder::metrics(run) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            events => events?,
        };
        for event in &events {
            history.note(event);
        }
        Ok(history)
    }

    fn note(&mut self, event: &Value) {
        let count = |key: &str| event[key].as_u64().unwrap_or(0) as usize;
        match event["event"].as_str() {
            Some("started") => {
                (self.n_steps, self.n_trainable) = (count("n_steps"), count("n_trainable"));
                self.cause = None;
            }
            Some("step") => self.stepped(count("step"), event),
            Some("eval") => self.measured(count("step"), event),
            Some("ended") => self.cause = event["cause"].as_str().map(str::to_owned),
            _ => {}
        }
    }

    fn stepped(&mut self, step: usize, event: &Value) {
        // What is no number has no place in JSON and was written as null.
        let loss = event["loss"].as_f64().unwrap_or(f64::NAN);
        self.is_sound = loss.is_finite();
        self.loss.push(step as f64, loss);
        self.smooth.push(step as f64, self.average.push(loss));
        self.step = step;
        self.elapsed_s = event["elapsed_s"].as_f64().unwrap_or(self.elapsed_s);
    }

    fn measured(&mut self, step: usize, event: &Value) {
        // A loss of nothing is null, and was 0 in earlier versions.
        let loss = |key: &str| event[key].as_f64().filter(|loss| *loss > 0.0);
        let recall = |wording: Wording| Some((wording, event["recall"][wording.name()].as_f64()?));
        self.measurements.push(Measurement {
            step,
            train_loss: self.smooth.last(),
            valid_loss: loss("valid_loss"),
            general_loss: loss("general_loss"),
            recall: Wording::ALL.into_iter().filter_map(recall).collect(),
        });
    }

    /// The step the charts end at.
    pub(super) fn last_step(&self) -> usize {
        self.measurements.last().map_or(0, |last| last.step).max(self.step)
    }

    /// The wordings that were asked, in the order of a scoreboard.
    pub(super) fn wordings(&self) -> Vec<Wording> {
        let was_asked =
            |wording: &Wording| self.measurements.iter().any(|at| at.recall.contains_key(wording));
        Wording::ALL.into_iter().filter(was_asked).collect()
    }

    /// The last recall of a wording.
    pub(super) fn recall(&self, wording: Wording) -> Option<f64> {
        self.measurements.iter().rev().find_map(|at| at.recall.get(&wording).copied())
    }

    /// The first and the last of a measured loss, where it was measured at two steps.
    pub(super) fn change(&self, of: impl Fn(&Measurement) -> Option<f64>) -> Option<(f64, f64)> {
        let mut all = self.measurements.iter().filter_map(of);
        Some((all.next()?, all.next_back()?))
    }

    /// Perplexity of general text before the first step.
    pub(super) fn general_before(&self) -> Option<f64> {
        let first = self.measurements.first().filter(|first| first.step == 0)?;
        first.general_loss.map(f64::exp)
    }
}
