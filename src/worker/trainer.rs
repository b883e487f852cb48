//! How does an order become a run?

use super::crew::{Indexed, Shared};
use super::librarian::current;
use super::{TrainOrder, WorkerEvent};
use crate::cancel::Cancel;
use crate::corpus::Corpus;
use crate::error::Result;
use crate::model::LanguageModel;
use crate::model::lora::LoraConfig;
use crate::run::{RunFolder, RunRecord, fresh_place};
use crate::train::{RunControls, RunOutcome, TrainConfig, TrainEvent, TrainPlan, TrainSink, data, train};

/// A run ready to be made.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The frozen model.
    pub model: &'a LanguageModel,
    /// What it learns from.
    pub corpus: &'a Corpus,
    /// How it learns.
    pub config: &'a TrainConfig,
    /// Where it is kept.
    pub folder: &'a RunFolder,
    /// How it is steered.
    pub controls: &'a RunControls,
}

/// Looks at the data and trains, alone in the run's folder. A run that fails says so in its metrics and
/// to whoever listens; one that fails before it began leaves no folder.
///
/// # Errors
/// What made it fail.
pub fn perform(job: Job, sink: &mut dyn TrainSink) -> Result<RunOutcome> {
    let Job { model, corpus, config, folder, controls } = job;
    let lock = folder.lock()?;
    let mut go = || -> Result<RunOutcome> {
        let (data, check) = data::prepare(model, corpus, config)?;
        sink.note(TrainEvent::Checked(check));
        train(TrainPlan { model, data: &data, config, folder, controls }, sink)
    };
    let outcome = go();
    outcome.inspect_err(|error| {
        let ended = TrainEvent::Ended(RunOutcome::Failed(error.to_string()));
        // The first error is the one to tell. What never began leaves nothing.
        let _ = if folder.is_begun() { folder.record(&ended) } else { folder.discard(lock) };
        sink.note(ended);
    })
}

/// Makes the run that the lab orders.
pub(super) fn carry_out(shared: &Shared, order: &TrainOrder) {
    let controls = shared.controls().unwrap_or_default();
    let mut over = false;
    let mut sink = |event: TrainEvent| {
        if matches!(event, TrainEvent::Ended(_)) {
            // Before it is known: whoever starts the next run at once sets that one's.
            shared.set_controls(None);
            over = true;
        }
        shared.report(WorkerEvent::Train(event));
    };
    let outcome = ordered(shared, order, (&controls, &mut sink));
    if let (Err(error), false) = (outcome, over) {
        shared.set_controls(None);
        let ended = TrainEvent::Ended(RunOutcome::Failed(error.to_string()));
        shared.report(WorkerEvent::Train(ended));
    }
}

fn ordered(
    shared: &Shared,
    order: &TrainOrder,
    (controls, sink): (&RunControls, &mut dyn TrainSink),
) -> Result<RunOutcome> {
    let stock = shared.stock()?;
    let config = config_of(order)?;
    let Indexed { corpus, .. } = current(shared, &Cancel::new())?;
    let record = RunRecord::new(&stock.model_name, &corpus, &config);
    let place = fresh_place(&shared.site.paths.runs(), config.recipe.name(), record.created_unix_s);
    let folder = RunFolder::create(&place, &record)?;
    let job = Job { model: &stock.model, corpus: &corpus, config: &config, folder: &folder, controls };
    perform(job, sink)
}

/// The settings of a run: those of the order over those of its recipe.
fn config_of(order: &TrainOrder) -> Result<TrainConfig> {
    let defaults = TrainConfig::defaults(order.recipe.parse()?);
    let lora = LoraConfig { rank: order.rank, alpha: order.alpha, ..LoraConfig::default() };
    let TrainOrder { epochs, batch, lr, seed, .. } = *order;
    Ok(TrainConfig { epochs, batch, lr, seed, lora, ..defaults })
}
