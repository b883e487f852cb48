//! What does the user of the command line hear of a run?

use std::fmt::Write;
use std::io::{self, IsTerminal};

use crate::cancel::Cancel;
use crate::cli::progress::{Progress, bytes, seconds};
use crate::cli::say_json;
use crate::run::metrics_line;
use crate::train::{
    DataCheck, Estimate, EvalReport, RunControl, RunControls, RunOutcome, StepReport, TrainEvent, TrainSink,
};

/// What is written on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// The metrics, as JSON lines.
    Metrics,
    /// Nothing: progress goes to standard error.
    Nothing,
}

/// How the supervised part of an example is marked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    open: &'static str,
    close: &'static str,
}

impl Marks {
    /// Bold and underlined, for a terminal.
    pub(super) const TERMINAL: Self = Self { open: "\x1b[1;4m", close: "\x1b[0m" };
    /// For a log.
    pub(super) const BRACKETS: Self = Self { open: "[", close: "]" };
}

/// Writes what happens, and passes the user's Ctrl-C on to the run.
#[derive(Debug)]
pub(super) struct Listener {
    output: Output,
    progress: Progress,
    marks: Marks,
    cancel: Cancel,
    controls: RunControls,
    n_steps: usize,
    estimate: Option<Estimate>,
    told_time: bool,
    told_stop: bool,
    /// Why standard output could not be written.
    broken: Option<anyhow::Error>,
}

impl Listener {
    pub(super) fn new(json: bool, cancel: &Cancel, controls: &RunControls) -> Self {
        let marks = if io::stderr().is_terminal() { Marks::TERMINAL } else { Marks::BRACKETS };
        Self {
            output: if json { Output::Metrics } else { Output::Nothing },
            progress: Progress::new(),
            marks,
            cancel: cancel.clone(),
            controls: controls.clone(),
            n_steps: 0,
            estimate: None,
            told_time: false,
            told_stop: false,
            broken: None,
        }
    }

    /// Wipes the progress line; an error of standard output met on the way comes out here.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.progress.close();
        self.broken.map_or(Ok(()), Err)
    }

    fn write_metrics(&mut self, event: &TrainEvent) {
        if self.output == Output::Metrics
            && self.broken.is_none()
            && let Some(line) = metrics_line(event)
            && let Err(error) = say_json(&line)
        {
            // Nobody reads on: the run ends with its work saved.
            self.controls.order(RunControl::StopAndSave);
            self.broken = Some(error);
        }
    }

    fn pass_on_ctrl_c(&mut self) {
        if self.cancel.is_cancelled() && !self.told_stop {
            self.controls.order(RunControl::StopAndSave);
            self.progress.remark("stopping after this step and saving; press Ctrl-C again to end at once");
            self.told_stop = true;
        }
    }

    fn estimated(&mut self, estimate: Estimate) {
        if self.estimate.is_none() {
            self.progress.remark(&memory_line(&estimate));
        } else if !self.told_time && estimate.total_s.is_finite() {
            self.progress.remark(&format!("the run will take about {}", seconds(estimate.total_s)));
            self.told_time = true;
        }
        self.estimate = Some(estimate);
    }

    fn step_line(&self, report: &StepReport) -> String {
        let mut line = format!(
            "step {}/{}  epoch {:.2}  loss {:.4}  ppl {:.2}  lr {:.2e}  grad {:.2}  {:.0} tok/s",
            report.step,
            self.n_steps,
            report.epoch,
            report.loss,
            report.perplexity,
            report.lr,
            report.grad_norm,
            report.tokens_per_s
        );
        let total = self.estimate.map_or(f64::NAN, |estimate| estimate.total_s);
        if total.is_finite() {
            let _ = write!(line, "  {} left", seconds(total - report.elapsed_s));
        }
        line
    }
}

impl TrainSink for Listener {
    fn note(&mut self, event: TrainEvent) {
        self.write_metrics(&event);
        match event {
            TrainEvent::Checked(check) => self.progress.remark(&check_text(&check, self.marks)),
            TrainEvent::Estimated(estimate) => self.estimated(estimate),
            TrainEvent::Started { n_steps, first_step, n_trainable, run } => {
                self.n_steps = n_steps;
                let from = if first_step == 0 { String::new() } else { format!(" from step {first_step}") };
                self.progress.remark(&format!(
                    "{n_steps} steps{from}, {:.2} million trainable weights, in {}",
                    n_trainable as f64 / 1e6,
                    run.display()
                ));
            }
            TrainEvent::Stepped(report) => {
                let line = self.step_line(&report);
                self.progress.update(&line);
            }
            TrainEvent::Evaluating { done, total } => {
                self.progress.update(&format!("measuring, part {done} of {total}"));
            }
            TrainEvent::Evaluated(report) => self.progress.remark(&eval_line(&report)),
            TrainEvent::Ended(outcome) => self.progress.remark(end_line(&outcome)),
            TrainEvent::Published { .. }
            | TrainEvent::FactsListed(_)
            | TrainEvent::FactsRead { .. }
            | TrainEvent::Saved { .. }
            | TrainEvent::Paused
            | TrainEvent::Resumed => {}
        }
        self.pass_on_ctrl_c();
    }
}

/// What was found in the data, and one example with its loss mask.
pub(super) fn check_text(check: &DataCheck, marks: Marks) -> String {
    let DataCheck { n_examples, n_valid, n_tokens, n_supervised, n_truncated, .. } = check;
    let mut text = format!(
        "data: {n_examples} examples, {n_valid} held out; {n_tokens} tokens an epoch, {n_supervised} of them \
         supervised; {n_truncated} examples cut\n"
    );
    for remark in &check.remarks {
        let _ = writeln!(text, "data: {remark}");
    }
    let _ = write!(text, "one example, its supervised part {}marked{}:\n  ", marks.open, marks.close);
    let mut example = String::new();
    let mut marked = false;
    for (piece, supervised) in &check.shown {
        if *supervised != marked {
            example.push_str(if *supervised { marks.open } else { marks.close });
            marked = *supervised;
        }
        example.extend(piece.chars().filter(|c| *c == '\n' || !c.is_control()));
    }
    if marked {
        example.push_str(marks.close);
    }
    text.push_str(&example.trim_end_matches('\n').replace('\n', "\n  "));
    text
}

fn memory_line(estimate: &Estimate) -> String {
    let free = match estimate.available_bytes {
        u64::MAX => String::new(),
        free => format!("; {} are free", bytes(free)),
    };
    format!("memory: about {} at the peak{free}", bytes(estimate.peak_bytes))
}

/// A measurement in one line.
pub(super) fn eval_line(report: &EvalReport) -> String {
    let mut line = format!("step {:>4}", report.step);
    if let Some(loss) = report.valid_loss {
        let _ = write!(line, "  validation loss {loss:.4} (ppl {:.2})", loss.exp());
    }
    let _ = write!(line, "  general text ppl {:.2}", report.general_loss.exp());
    for (wording, recall) in &report.recall {
        let _ = write!(line, "  {} {}/{}", wording.name(), recall.n_right, recall.n);
    }
    line
}

fn end_line(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Completed => "the run is saved",
        RunOutcome::Cancelled => "the run was given up",
        RunOutcome::Failed(_) => "the run failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervised_part_of_an_example_is_marked() {
        let piece = |text: &str, supervised| (text.to_owned(), supervised);
        let shown =
            vec![piece("Who?\n", false), piece("A", true), piece("da\x1b[2J", true), piece("\n", false)];
        let check =
            DataCheck { n_examples: 7, remarks: vec!["mind".to_owned()], shown, ..DataCheck::default() };
        let text = check_text(&check, Marks::BRACKETS);
        assert!(text.contains("data: 7 examples") && text.contains("data: mind\n"), "{text}");
        assert!(text.ends_with("\n  Who?\n  [Ada[2J]"), "{text}");
        assert!(check_text(&check, Marks::TERMINAL).contains("\x1b[1;4mAda"));
    }
}
