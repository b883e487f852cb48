//! `lorascope bench`: how fast is this machine at the lab's work?

mod figures;
mod measure;
mod screen;
mod script;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Common, cancel_on_signals, open, say, say_json, usage};
use crate::error::Error;
use crate::lab::speed::TrainShape;

/// `lorascope bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum, default_value_t = Work::All)]
    pub work: Work,
    /// Measured runs, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub runs: u16,
    /// Sequences of a training step [default: 4].
    #[arg(long, value_name = "N", value_parser = open::at_least_one)]
    pub batch: Option<usize>,
    /// Tokens of each sequence [default: 128].
    #[arg(long, value_name = "N", value_parser = open::at_least_one)]
    pub length: Option<usize>,
    /// LoRA rank [default: 16].
    #[arg(long, value_name = "N", value_parser = open::at_least_one)]
    pub rank: Option<usize>,
    /// The folder for pictures of `growth`.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Optimizer updates on all seven projections, every token supervised.
    Train,
    /// Reading a prompt of 512 tokens.
    Prefill,
    /// Writing 128 tokens after it.
    Decode,
    /// Embedding texts of about 56 tokens, 32 at once.
    Embed,
    /// Looking questions up in the corpus's index.
    Retrieve,
    /// Drawing the lab, 200 x 60, and taking in what happens there.
    Ui,
    /// What the fact board costs training: runs with it and without it, in pairs. Takes minutes.
    Board,
    /// How training, reading, writing and retrieval grow: with tokens, rank and documents. Takes minutes.
    Growth,
    /// All of these but `board` and `growth`.
    All,
}

impl Work {
    /// Whether `part` is to be measured.
    fn includes(self, part: Self) -> bool {
        self == part || (self == Self::All && !matches!(part, Self::Board | Self::Growth))
    }
}

impl BenchArgs {
    /// The training step to be timed.
    fn shape(&self) -> TrainShape {
        TrainShape {
            batch: self.batch.unwrap_or(4),
            length: self.length.unwrap_or(128),
            rank: self.rank.unwrap_or(16),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let shaped = self.batch.or(self.length).or(self.rank).is_some();
        if shaped && !self.work.includes(Work::Train) {
            return Err(Error::refused(
                "--batch, --length and --rank are for the training step, which is not measured",
                "leave them out, or measure `train`",
            ));
        }
        if self.out.is_some() && self.work != Work::Growth {
            return Err(Error::refused(
                "only `growth` makes pictures",
                "leave --out out, or measure `growth`",
            ));
        }
        Ok(())
    }
}

/// Runs it.
pub fn run(args: &BenchArgs, common: &Common) -> anyhow::Result<ExitCode> {
    usage(args.check())?;
    let cancel = cancel_on_signals()?;
    let (paths, settings) = common.settings()?;
    let report = measure::all(args, (&paths, &settings), &cancel)?;
    if let Some(out) = &args.out {
        let machine = format!("{} kernels, {} threads", report.kernels, report.threads);
        let files = crate::report::write_growth(out, &report.growth, &machine)?;
        eprintln!("{} pictures in {}", files.len(), out.display());
    }
    if common.json {
        say_json(&figures::json(&report))?;
    } else {
        say(figures::table(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(work: Work, rank: Option<usize>) -> BenchArgs {
        BenchArgs { work, runs: 5, batch: None, length: None, rank, out: None }
    }

    #[test]
    fn what_takes_minutes_is_measured_where_it_is_named() {
        assert!(Work::All.includes(Work::Train) && !Work::All.includes(Work::Board));
        assert!(Work::Board.includes(Work::Board) && !Work::Board.includes(Work::Train));
        assert!(Work::Growth.includes(Work::Growth) && !Work::All.includes(Work::Growth));
    }

    #[test]
    fn the_shape_of_a_step_is_refused_where_no_step_is_made() {
        assert!(args(Work::Decode, Some(8)).check().is_err());
        assert!(args(Work::Decode, None).check().is_ok());
        assert!(args(Work::All, Some(8)).check().is_ok());
        assert!(args(Work::Board, Some(8)).check().is_err(), "its runs are the recipe's");
        let pictures = |work| BenchArgs { out: Some("out".into()), ..args(work, None) };
        assert!(pictures(Work::Growth).check().is_ok() && pictures(Work::All).check().is_err());
        assert_eq!(
            args(Work::Train, Some(8)).shape(),
            TrainShape { batch: 4, length: 128, rank: 8 },
            "4 x 128 unless told otherwise"
        );
    }
}
