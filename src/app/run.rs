//! What is known about the run that is on the screen?

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::board::Board;
use super::series::{Series, Smooth};
use crate::corpus::Wording;
use crate::train::{DataCheck, Estimate, EvalReport, Recall, Recipe, RunOutcome, StepReport, TrainEvent};
use crate::worker::TrainOrder;

/// Measurements kept for the sentence under the charts.
const REMEMBERED: usize = 32;

/// Where a run is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// The data is looked at, memory and time are estimated.
    Preparing,
    /// Steps are being made.
    Training,
    /// The user wants a pause; the step under way is still being made.
    Pausing,
    /// The user's pause.
    Paused,
    /// The user wants it to end; the last step, measurement and checkpoint are being made.
    Stopping,
    /// Over.
    Ended(RunOutcome),
}

/// One run: what was ordered, and all that came of it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) order: TrainOrder,
    pub(crate) stage: Stage,
    pub(crate) check: Option<DataCheck>,
    pub(crate) estimate: Option<Estimate>,
    pub(crate) n_steps: usize,
    pub(crate) first_step: usize,
    pub(crate) n_trainable: usize,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) last: Option<StepReport>,
    /// Training loss, step by step.
    pub(crate) loss: Series,
    /// The same, smoothed.
    pub(crate) smooth: Series,
    /// Validation loss.
    pub(crate) valid: Series,
    /// Perplexity of held-out examples of the corpus.
    pub(crate) corpus: Series,
    /// Perplexity of general text.
    pub(crate) general: Series,
    /// Recall by wording, as a share.
    pub(crate) recall: BTreeMap<Wording, Series>,
    /// The last recall by wording.
    pub(crate) recalled: BTreeMap<Wording, Recall>,
    pub(crate) first_eval: Option<EvalReport>,
    /// The newest measurements, oldest first.
    pub(crate) evals: VecDeque<EvalReport>,
    /// How much of a measurement under way is done, and of how much.
    pub(crate) measuring: Option<(usize, usize)>,
    /// The trainer waits, and not because the user said so.
    pub(crate) waits: bool,
    /// The facts, and how far they are in.
    pub(crate) board: Board,
    /// The step of the last checkpoint.
    pub(crate) saved: Option<usize>,
    average: Smooth,
}

impl Run {
    /// Whether it learns a task with examples of its own, so that what is asked is no question about the corpus.
    pub(crate) fn is_task(&self) -> bool {
        self.order.recipe.parse::<Recipe>().is_ok_and(Recipe::is_task)
    }

    pub(crate) fn new(order: TrainOrder) -> Self {
        Self {
            order,
            stage: Stage::Preparing,
            check: None,
            estimate: None,
            n_steps: 0,
            first_step: 0,
            n_trainable: 0,
            folder: None,
            last: None,
            loss: Series::default(),
            smooth: Series::default(),
            valid: Series::default(),
            corpus: Series::default(),
            general: Series::default(),
            recall: BTreeMap::new(),
            recalled: BTreeMap::new(),
            first_eval: None,
            evals: VecDeque::new(),
            measuring: None,
            waits: false,
            board: Board::default(),
            saved: None,
            average: Smooth::default(),
        }
    }

    /// Whether it still runs, or will.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.stage, Stage::Ended(_))
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.stage {
            Stage::Ended(RunOutcome::Failed(cause)) => Some(cause),
            _ => None,
        }
    }

    /// Updates made.
    pub(crate) fn step(&self) -> usize {
        self.last.as_ref().map_or(self.first_step, |report| report.step)
    }

    /// Seconds of training so far.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.last.as_ref().map_or(0.0, |report| report.elapsed_s)
    }

    /// Seconds to go, by the trainer's last estimate: it knows what a step takes and what a measurement.
    pub(crate) fn left_s(&self) -> Option<f64> {
        if self.n_steps > 0 && self.step() >= self.n_steps {
            return Some(0.0);
        }
        let total_s = self.estimate?.total_s;
        Some((total_s - self.elapsed_s()).max(0.0)).filter(|_| total_s.is_finite())
    }

    /// Takes note of what the trainer reports.
    pub(crate) fn note(&mut self, event: TrainEvent) {
        match event {
            TrainEvent::Checked(check) => self.check = Some(check),
            TrainEvent::Estimated(estimate) => self.estimate = Some(estimate),
            TrainEvent::Started { n_steps, first_step, n_trainable, run } => {
                (self.n_steps, self.first_step, self.n_trainable) = (n_steps, first_step, n_trainable);
                self.folder = Some(run);
                if self.stage == Stage::Preparing {
                    self.stage = Stage::Training;
                }
            }
            TrainEvent::Stepped(report) => self.stepped(report),
            TrainEvent::Evaluating { done, total } => self.measuring = Some((done, total)),
            TrainEvent::Evaluated(report) => self.evaluated(report),
            TrainEvent::Published { .. } => {}
            TrainEvent::FactsListed(cells) => self.board.list(cells),
            TrainEvent::FactsRead { step, cells } => self.board.note(step, &cells),
            TrainEvent::Saved { step, .. } => self.saved = Some(step),
            TrainEvent::Paused => match self.stage {
                Stage::Pausing => self.stage = Stage::Paused,
                Stage::Training => self.waits = true,
                _ => {}
            },
            TrainEvent::Resumed => {
                self.waits = false;
                if self.stage == Stage::Paused {
                    self.stage = Stage::Training;
                }
            }
            TrainEvent::Ended(outcome) => {
                (self.measuring, self.waits) = (None, false);
                self.stage = Stage::Ended(outcome);
            }
        }
    }

    fn stepped(&mut self, report: StepReport) {
        let step = report.step as f64;
        self.loss.push(step, report.loss);
        let average = self.average.push(report.loss);
        self.smooth.push(step, average);
        (self.measuring, self.waits) = (None, false);
        self.n_steps = self.n_steps.max(report.step);
        self.last = Some(report);
    }

    fn evaluated(&mut self, report: EvalReport) {
        self.board.note(report.step, &report.facts);
        let step = report.step as f64;
        if let Some(loss) = report.valid_loss {
            self.valid.push(step, loss);
            self.corpus.push(step, loss.exp());
        }
        self.general.push(step, report.general_loss.exp());
        for (wording, recall) in &report.recall {
            self.recall.entry(*wording).or_default().push(step, recall.share());
            self.recalled.insert(*wording, *recall);
        }
        self.measuring = None;
        self.first_eval.get_or_insert_with(|| report.clone());
        self.evals.push_back(report);
        if self.evals.len() > REMEMBERED {
            self.evals.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> TrainOrder {
        TrainOrder { recipe: "qa".into(), epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 16, seed: 1 }
    }

    fn step(step: usize, elapsed_s: f64) -> TrainEvent {
        TrainEvent::Stepped(StepReport {
            step,
            epoch: 0.1,
            loss: 2.0,
            perplexity: 2f64.exp(),
            lr: 1e-3,
            grad_norm: 0.5,
            n_tokens: 100,
            tokens_per_s: 900.0,
            elapsed_s,
        })
    }

    #[test]
    fn time_left_follows_the_trainer_s_estimate() {
        let mut run = Run::new(order());
        assert_eq!(run.left_s(), None);
        run.note(TrainEvent::Estimated(Estimate { peak_bytes: 1, available_bytes: 2, total_s: 130.0 }));
        assert_eq!(run.left_s(), Some(130.0));
        run.note(TrainEvent::Started { n_steps: 100, first_step: 0, n_trainable: 9, run: "r".into() });
        for n in 1..=50 {
            run.note(step(n, n as f64 * 0.5));
        }
        assert_eq!(run.left_s(), Some(105.0));
        run.note(TrainEvent::Estimated(Estimate { peak_bytes: 1, available_bytes: 2, total_s: 50.0 }));
        assert_eq!(run.left_s(), Some(25.0));
        run.note(TrainEvent::Estimated(Estimate { peak_bytes: 1, available_bytes: 2, total_s: f64::NAN }));
        assert_eq!(run.left_s(), None);
        run.note(step(100, 50.0));
        assert_eq!(run.left_s(), Some(0.0));
    }

    #[test]
    fn a_pause_nobody_asked_for_is_a_wait() {
        let mut run = Run::new(order());
        run.note(TrainEvent::Started { n_steps: 100, first_step: 0, n_trainable: 9, run: "r".into() });
        run.note(TrainEvent::Paused);
        assert!(run.waits && run.stage == Stage::Training);
        run.note(TrainEvent::Resumed);
        assert!(!run.waits);
        run.stage = Stage::Pausing;
        run.note(TrainEvent::Paused);
        assert!(!run.waits && run.stage == Stage::Paused);
        run.note(TrainEvent::Ended(RunOutcome::Cancelled));
        assert!(!run.is_on());
    }
}
