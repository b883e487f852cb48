//! How does a run learn?
//!
//! [`train`] is the loop. It knows a [`TrainSink`], not who listens: the lab and the headless commands
//! run the same one.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod control;
pub mod data;
pub mod estimate;
pub mod evaluate;
pub mod facts;
pub mod optimizer;
mod report;
pub mod schedule;
pub mod step;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

pub use config::{RECALL_SAMPLE, Recipe, Schedule, TrainConfig};
pub use control::{AnswerGuard, RunControl, RunControls, Wish};
pub use report::{DataCheck, Estimate, EvalReport, Recall, RunOutcome, StepReport, TrainEvent, TrainSink};

use crate::error::Result;
use crate::kernels;
use crate::meter::{Meter, Spent};
use crate::model::lora::TrainableAdapter;
use crate::model::{Adapter, LanguageModel};
use crate::run::RunFolder;
use batch::{Batch, epoch_order};
use checkpoint::Standing;
use data::TrainData;
use estimate::Pace;
use optimizer::{AdamW, UpdateRule};
use step::Lesson;

/// Updates between published copies of the weights; facts are read with every second of them.
const PUBLISH_EVERY: usize = facts::READ_EVERY / 2;

/// What a run works with.
#[derive(Debug, Clone, Copy)]
pub struct TrainPlan<'a> {
    /// The frozen model with its words.
    pub model: &'a LanguageModel,
    /// What it reads.
    pub data: &'a TrainData,
    /// How it learns.
    pub config: &'a TrainConfig,
    /// Where it is kept.
    pub folder: &'a RunFolder,
    /// How it is steered.
    pub controls: &'a RunControls,
}

struct Loop<'a> {
    plan: TrainPlan<'a>,
    sink: &'a mut dyn TrainSink,
    trainable: TrainableAdapter,
    optimizer: AdamW,
    n_steps: usize,
    /// What was spent before this start, less what was spent waiting since.
    spent_before: Spent,
    meter: Meter,
    estimate: Estimate,
    pace: Pace,
}

/// Runs until the last step, or until told to stop. A run whose folder holds a checkpoint goes on from
/// it, with the numbers of an unbroken run.
pub fn train(plan: TrainPlan, sink: &mut dyn TrainSink) -> Result<RunOutcome> {
    let config = plan.config;
    let decoder = &plan.model.decoder;
    let estimate = estimate::memory(plan.model, plan.data, config)?;
    sink.note(TrainEvent::Estimated(estimate));
    let restored = checkpoint::newest(&plan.folder.checkpoints(), decoder.config(), config.weight_decay)?;
    let (standing, trainable, optimizer) = if let Some(r) = restored {
        (r.standing, r.trainable, r.optimizer)
    } else {
        let t = TrainableAdapter::fresh(&config.lora, decoder.config(), &plan.model.name, config.seed)?;
        let optimizer = AdamW::new(&t.weights, config.weight_decay);
        (Standing::new(0, Spent::NOTHING), t, optimizer)
    };
    plan.folder.forget_after(standing.step)?;
    let mut looping = Loop {
        plan,
        sink,
        trainable,
        optimizer,
        n_steps: config.n_steps(plan.data.train.len()),
        spent_before: standing.spent(),
        meter: Meter::start(),
        estimate,
        pace: Pace::default(),
    };
    let outcome = looping.run(standing.step);
    kernels::release_buffers();
    let outcome = outcome?;
    looping.note(TrainEvent::Ended(outcome.clone()))?;
    Ok(outcome)
}

impl Loop<'_> {
    fn run(&mut self, first_step: usize) -> Result<RunOutcome> {
        let config = self.plan.config;
        let epoch = config.steps_an_epoch(self.plan.data.train.len());
        let eval_every = if config.eval_every == 0 { epoch } else { config.eval_every };
        self.note(TrainEvent::Started {
            n_steps: self.n_steps,
            first_step,
            n_trainable: self.trainable.n_trainable(),
            run: self.plan.folder.path().to_path_buf(),
        })?;
        if !self.plan.data.facts.cells.is_empty() {
            self.note(TrainEvent::FactsListed(self.plan.data.facts.cells.clone().into()))?;
        }
        self.publish(first_step)?;
        if !self.caught_up(first_step, eval_every)? {
            return self.end(first_step);
        }
        for step in first_step + 1..=self.n_steps {
            if self.wait_while_told() != Wish::Run {
                return self.end(step - 1);
            }
            self.step(step)?;
            // What the start knows is what the base knows, so it need not be asked before the first update: the
            // curve begins at once.
            if step == 1 && !self.evaluate(0)? {
                return self.end(1);
            }
            if self.pace.is_due() {
                self.estimate(step, eval_every);
            }
            let last = step == self.n_steps;
            if step % PUBLISH_EVERY == 0 || last {
                let now = self.publish(step)?;
                if step % facts::READ_EVERY == 0 || last {
                    self.read_facts(step, &now)?;
                }
            }
            let is_due = last || step % eval_every == 0;
            let ended_meanwhile = is_due && !self.evaluate(step)?;
            if ended_meanwhile && !last {
                return self.end(step);
            }
            if step % config.checkpoint_every.max(1) == 0 || last {
                self.save(step)?;
            }
        }
        self.end(self.n_steps)
    }

    /// Makes the measurements that an earlier stop cut off; false when told to end meanwhile.
    fn caught_up(&mut self, first_step: usize, eval_every: usize) -> Result<bool> {
        let is_due = first_step == self.n_steps || first_step.is_multiple_of(eval_every);
        let due = [(0, first_step > 0), (first_step, first_step > 0 && is_due)];
        for (step, _) in due.into_iter().filter(|(_, is_due)| *is_due) {
            if !self.plan.folder.is_measured(step)? && !self.evaluate(step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells how long the whole run will have taken, at its pace so far.
    fn estimate(&mut self, step: usize, eval_every: usize) {
        let n_evals = self.n_steps.div_ceil(eval_every) - step / eval_every;
        let left = self.pace.seconds_for(self.n_steps - step, n_evals);
        let estimate = Estimate { total_s: self.elapsed_s() + left, ..self.estimate };
        self.sink.note(TrainEvent::Estimated(estimate));
    }

    /// Makes one update and reports it.
    fn step(&mut self, step: usize) -> Result<()> {
        let (config, started) = (self.plan.config, Instant::now());
        let chosen = self.chosen(step);
        let lesson = self.lesson(step, &chosen);
        let lr = schedule::learning_rate(config, step, self.n_steps);
        let rule = UpdateRule { lr, clip: config.clip };
        let result = step::train_step(
            &self.plan.model.decoder,
            &self.trainable,
            &mut self.optimizer,
            (&lesson, rule),
        )?;
        let n_tokens: usize = lesson.batches.iter().chain(&lesson.replay).map(Batch::n_tokens).sum();
        let epoch = config.steps_an_epoch(self.plan.data.train.len()) as f64;
        self.pace.stepped(started.elapsed().as_secs_f64());
        let report = StepReport {
            step,
            epoch: step as f64 / epoch,
            loss: result.loss,
            perplexity: result.loss.exp(),
            lr,
            grad_norm: result.grad_norm,
            n_tokens,
            tokens_per_s: n_tokens as f64 / started.elapsed().as_secs_f64(),
            elapsed_s: self.elapsed_s(),
        };
        self.note(TrainEvent::Stepped(report))?;
        let chosen: Vec<_> = chosen.into_iter().map(|i| (i, &self.plan.data.train[i])).collect();
        // What the step tells is how things stood before it.
        self.facts_read(step - 1, self.plan.data.facts.trained(&chosen, &result.log_probs))
    }

    fn facts_read(&mut self, step: usize, cells: Vec<facts::CellReading>) -> Result<()> {
        if cells.is_empty() { Ok(()) } else { self.note(TrainEvent::FactsRead { step, cells }) }
    }

    /// What an update reads: a pure function of the step.
    fn lesson(&self, step: usize, chosen: &[usize]) -> Lesson {
        let (config, data) = (self.plan.config, self.plan.data);
        let parts = chosen.chunks(config.batch);
        let batches = parts.map(|part| Batch::pack(part.iter().map(|&i| &data.train[i]))).collect();
        let rehearsed = data.replay.of_step(step, config.steps_an_epoch(data.train.len()));
        let replay = (rehearsed.clone().next().is_some()).then(|| Batch::pack(rehearsed));
        let kept = data.replay.pieces.iter().cycle().skip(step % data.replay.pieces.len().max(1)).take(1);
        let restraint = (config.kl > 0.0).then(|| (Batch::pack(kept), config.kl));
        Lesson { batches, replay, restraint }
    }

    /// The examples of an update.
    fn chosen(&self, step: usize) -> Vec<usize> {
        let (config, n_examples) = (self.plan.config, self.plan.data.train.len());
        let epoch = config.steps_an_epoch(n_examples);
        let (in_epoch, size) = ((step - 1) % epoch, config.batch * config.accumulation);
        let order = epoch_order(n_examples, config.seed, (step - 1) / epoch);
        order[in_epoch * size..((in_epoch + 1) * size).min(order.len())].to_vec()
    }

    /// Measures what was learnt up to a step, unless told to end meanwhile; whether it did. Step 0 is the base.
    fn evaluate(&mut self, step: usize) -> Result<bool> {
        let (plan, started) = (self.plan, Instant::now());
        let adapter = if step == 0 { None } else { Some(self.trainable.publish()?) };
        let (sink, meter) = (&mut *self.sink, &mut self.meter);
        let mut watch = |done, total| {
            sink.note(TrainEvent::Evaluating { done, total });
            if plan.controls.is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // On few cores an answer that is being written beside would take many times as long.
        let mut waited = Spent::NOTHING;
        let mut rest = || {
            let since = meter.spent();
            plan.controls.give_way();
            waited = waited.and(meter.spent().less(since));
            if plan.controls.is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let report = evaluate::evaluate(plan.model, adapter.as_ref(), plan.data, &mut watch, &mut rest)?;
        self.spent_before = self.spent_before.less(waited);
        let Some(mut report) = report else { return Ok(false) };
        self.pace.evaluated(started.elapsed().as_secs_f64() - waited.seconds);
        report.step = step;
        report.elapsed_s = self.elapsed_s();
        self.note(TrainEvent::Evaluated(report))?;
        Ok(true)
    }

    fn publish(&mut self, step: usize) -> Result<Arc<Adapter>> {
        let adapter = Arc::new(self.trainable.publish()?);
        self.note(TrainEvent::Published { step, adapter: adapter.clone() })?;
        Ok(adapter)
    }

    fn read_facts(&mut self, step: usize, now: &Adapter) -> Result<()> {
        let cells = self.plan.data.facts.read(self.plan.model, now, step)?;
        self.facts_read(step, cells)
    }

    fn save(&mut self, step: usize) -> Result<()> {
        let spent = self.spent();
        let standing = Standing::new(step, spent);
        let folder = self.plan.folder.checkpoints();
        checkpoint::save(&folder, standing, &self.trainable, &self.optimizer)?;
        // The adapter of an earlier end has been outlived; until now it was the newest there was.
        self.plan.folder.forget_adapter()?;
        self.note(TrainEvent::Saved { step, spent })
    }

    /// Saves what is to be saved and says how the run ended.
    fn end(&mut self, step: usize) -> Result<RunOutcome> {
        if self.plan.controls.wish() == Wish::Cancel {
            return Ok(RunOutcome::Cancelled);
        }
        if step < self.n_steps {
            self.save(step)?;
            self.publish(step)?;
        }
        self.trainable.adapter.save(&self.plan.folder.adapter())?;
        Ok(RunOutcome::Completed)
    }

    fn wait_while_told(&mut self) -> Wish {
        let controls = self.plan.controls;
        if controls.wish() != Wish::Wait {
            return controls.wish();
        }
        let since = self.meter.spent();
        self.sink.note(TrainEvent::Paused);
        let wish = controls.wait();
        self.spent_before = self.spent_before.less(self.meter.spent().less(since));
        self.sink.note(TrainEvent::Resumed);
        wish
    }

    fn spent(&mut self) -> Spent {
        self.spent_before.and(self.meter.spent())
    }

    fn elapsed_s(&mut self) -> f64 {
        self.spent().seconds
    }

    /// Writes what belongs into the run's metrics, then tells whoever listens.
    fn note(&mut self, event: TrainEvent) -> Result<()> {
        self.plan.folder.record(&event)?;
        self.sink.note(event);
        Ok(())
    }
}
