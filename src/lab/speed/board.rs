//! How much longer does training take for the fact board?

use std::path::Path;
use std::time::Instant;

use super::scratch::Scratch;
use super::{Runs, Sample};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::run::{RunFolder, RunRecord};
use crate::train::data::{self, TrainData};
use crate::train::facts::{FactSheet, READ_EVERY};
use crate::train::{Recipe, RunControl, RunControls, TrainConfig, TrainEvent, TrainPlan, train};

/// Updates of each run; the first is not timed, so that two readings fall on fifteen updates.
pub const N_UPDATES: usize = 2 * READ_EVERY;

/// What the fact board takes, by pairs of runs that differ in nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardCost {
    /// Percent by which it lengthens the updates, each pair's own.
    pub percent: Sample,
    /// Seconds of an update with it.
    pub with_s: Sample,
    /// Seconds of an update without it.
    pub without_s: Sample,
}

/// The default `qa` run's first updates with the board and without it, one after the other; every second pair begins with
/// the other one, so that a machine that slows down favours neither. Nothing is measured or saved between the updates.
/// The runs are kept under `place` while they go on.
///
/// # Errors
/// When the corpus has nothing to train on, the run fails, or when cancelled.
pub fn board(model: &LanguageModel, corpus: &Corpus, place: &Path, runs: &mut Runs) -> Result<BoardCost> {
    let never = usize::MAX;
    let steps = Some(N_UPDATES + 1);
    let defaults = TrainConfig::defaults(Recipe::Qa);
    let config = TrainConfig { steps, eval_every: never, checkpoint_every: never, ..defaults };
    let (data, _) = data::prepare(model, corpus, &config)?;
    let with = TrainData { valid: Vec::new(), general: Vec::new(), recall: Vec::new(), ..data };
    let without = TrainData { facts: FactSheet::default(), ..with.clone() };
    let (record, cancel) = (RunRecord::new(&model.name, corpus, &config), runs.cancel);
    let pairs = runs.measure(|pair| {
        let mut seconds = [0.0; 2];
        for half in [pair % 2, 1 - pair % 2] {
            cancel.check()?;
            let trial = Trial { model, data: [&with, &without][half], config: &config };
            seconds[half] = trial.seconds_an_update(&record, place)?;
        }
        Ok(seconds)
    })?;
    let of = |half: usize| Sample::of(pairs.iter().map(|seconds| seconds[half]).collect());
    let percent = pairs.iter().map(|[with, without]| 100.0 * (with / without - 1.0)).collect();
    Ok(BoardCost { percent: Sample::of(percent), with_s: of(0), without_s: of(1) })
}

/// One half of a pair.
struct Trial<'a> {
    model: &'a LanguageModel,
    data: &'a TrainData,
    config: &'a TrainConfig,
}

impl Trial<'_> {
    /// From the first update's end to that of what follows the last.
    fn seconds_an_update(&self, record: &RunRecord, place: &Path) -> Result<f64> {
        let scratch = Scratch::new(place)?;
        let folder = RunFolder::create(scratch.path(), record)?;
        let controls = RunControls::new();
        let (mut begun, mut seconds) = (None, None);
        let mut sink = |event: TrainEvent| {
            let TrainEvent::Stepped(report) = event else { return };
            match report.step {
                1 => begun = Some(Instant::now()),
                // The update after the last: what the last one brought with it is over.
                step if step > N_UPDATES => {
                    let this = report.n_tokens as f64 / report.tokens_per_s;
                    seconds = begun.map(|begun| begun.elapsed().as_secs_f64() - this);
                    controls.order(RunControl::Cancel);
                }
                _ => {}
            }
        };
        let plan = TrainPlan {
            model: self.model,
            data: self.data,
            config: self.config,
            folder: &folder,
            controls: &controls,
        };
        train(plan, &mut sink)?;
        let none = || Error::refused("the run ended before it could be timed", "report this as a fault");
        Ok(seconds.ok_or_else(none)? / (N_UPDATES - 1) as f64)
    }
}
