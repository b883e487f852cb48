//! What can be asked for on the command line?

// Standard output and standard error belong to the commands; the library never writes to them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod ask;
pub mod bench;
pub mod claims;
pub mod doctor;
pub mod eval;
pub mod export;
pub mod lab;
pub mod models;
pub mod open;
pub mod progress;
pub mod report;
pub mod runs;
pub mod search;
pub mod sweep;
mod table;
pub mod train;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cancel::Cancel;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::paths::Paths;

/// Watch a LoRA fine-tune run live; ask base + RAG and the fine-tuned model side by side.
#[derive(Debug, Parser)]
#[command(name = "lorascope", version, about)]
pub struct Cli {
    /// What to do; without it, the lab (where standard output is no terminal, or with --json: a default run, line by line,
    /// and a question).
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What all commands share.
    #[command(flatten)]
    pub common: Common,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// A model's name, a hub id, a folder in Hugging Face layout or a .gguf file.
    #[arg(long, global = true, value_name = "MODEL")]
    pub model: Option<String>,
    /// The folder of documents; the sample corpus if not given.
    #[arg(long, global = true, value_name = "DIR")]
    pub corpus: Option<PathBuf>,
    /// Print JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a LoRA adapter on a corpus.
    #[command(allow_negative_numbers = true)]
    Train(Box<train::TrainArgs>),
    /// Ask one question; base + RAG and the fine-tuned model answer.
    #[command(allow_negative_numbers = true)]
    Ask(ask::AskArgs),
    /// Score every contender on the corpus's questions, by wording.
    ///
    /// Of a run of a task (`style`, `sentiment`) its held-out examples are measured, unless wordings are named.
    Eval(eval::EvalArgs),
    /// Put the article's claims beside what the runs here show.
    Claims(claims::ClaimsArgs),
    /// Make many runs, with other settings and seeds, and put them into one table.
    ///
    /// Options with several values go through every combination. A recipe's runs all make the same number of updates, however
    /// many wordings they use: more wordings are not more training.
    Sweep(sweep::SweepArgs),
    /// Show what the retriever finds, and why.
    Search(search::SearchArgs),
    /// Measure how fast this machine trains, reads, writes, retrieves and draws.
    Bench(bench::BenchArgs),
    /// List, fetch, import or verify models.
    Models(models::ModelsArgs),
    /// List, show or remove runs.
    Runs(runs::RunsArgs),
    /// Write what a run learnt for other programs: the adapter for PEFT, or a whole model.
    Export(export::ExportArgs),
    /// Say what this machine offers and what is missing.
    Doctor,
    /// Write the charts of a run, and a page about it.
    Report(report::ReportArgs),
}

impl Common {
    /// The user's folders, and the settings with these flags over environment and file.
    pub fn settings(&self) -> Result<(Paths, Settings)> {
        let paths = Paths::find()?;
        let mut settings = Settings::read(&paths)?;
        settings.model = self.model.clone().or(settings.model);
        settings.corpus = self.corpus.clone().or(settings.corpus);
        Ok((paths, settings))
    }
}

/// Does what was asked for. The exit code says how it went where no error does.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => lab::run(&cli.common),
        Some(Command::Bench(args)) => bench::run(&args, &cli.common),
        Some(Command::Report(args)) => report::run(&args, &cli.common),
        Some(Command::Train(args)) => train::run(&args, &cli.common),
        Some(Command::Ask(args)) => ask::run(&args, &cli.common),
        Some(Command::Eval(args)) => eval::run(&args, &cli.common),
        Some(Command::Claims(args)) => claims::run(&args, &cli.common),
        Some(Command::Sweep(args)) => sweep::run(&args, &cli.common),
        Some(Command::Search(args)) => search::run(&args, &cli.common),
        Some(Command::Models(args)) => models::run(args, &cli.common),
        Some(Command::Runs(args)) => runs::run(&args, &cli.common),
        Some(Command::Export(args)) => export::run(&args, &cli.common),
        Some(Command::Doctor) => doctor::run(&cli.common),
    }
}

/// A cancel that Ctrl-C and SIGTERM set. The second signal ends the program at once.
pub fn cancel_on_signals() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, cancel.flag())?;
        flag::register(signal, cancel.flag())?;
    }
    Ok(cancel)
}

/// Prints one line, or a block of lines, on standard output.
pub fn say(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints text on standard output, and leaves the line open.
pub fn say_on(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints a value as one line of JSON on standard output.
pub fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string(value)?)
}

/// Asks at the terminal for a typed `yes`; `None` where there is no terminal to ask at.
fn typed_yes(question: &str) -> anyhow::Result<Option<bool>> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(None);
    }
    eprint!("{question}");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(Some(answer.trim().eq_ignore_ascii_case("yes")))
}

/// What was typed cannot be done as typed. Ends the program with 2, as what the parser itself refuses does.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct WrongUsage(Error);

/// Says that an error lies in what was typed.
fn usage<T>(typed: Result<T>) -> anyhow::Result<T> {
    Ok(typed.map_err(WrongUsage)?)
}

/// Tells an error on standard error, in one line, and returns the exit code: 130 when interrupted, 2 for wrong usage,
/// 0 when the reader of standard output has gone, else 1.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Cancelled))) {
        tell("interrupted");
        return ExitCode::from(130);
    }
    let is_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(is_pipe) {
        return ExitCode::SUCCESS;
    }
    tell(&format!("error: {}", in_one_line(error)));
    if error.is::<WrongUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// A line on standard error, if there is one still.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// An error with its causes, those left out that it tells itself.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let read = || std::fs::read("/no/such/file").map_err(Error::io("read", "/no/such/file"));
        let error = read().context("cannot train").unwrap_err();
        assert_eq!(in_one_line(&error).matches("No such file").count(), 1, "{}", in_one_line(&error));
        assert!(in_one_line(&error).starts_with("cannot train: cannot read /no/such/file"));
    }
}
