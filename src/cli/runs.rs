//! `lorascope runs`: what was run, how did it go, and what can go?

mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::progress::bytes;
use super::table::{Side, lines};
use super::{Common, say, say_json, typed_yes};
use crate::error::Error;
use crate::paths::Paths;
use crate::run::{self, RunState, RunSummary, date_and_time};

/// `lorascope runs`
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: RunsAction,
}

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum RunsAction {
    /// List the runs, the newest last.
    List,
    /// Show everything about one run, and what can be done with it.
    Show {
        /// A run's folder, its name, or the start of its name.
        run: String,
    },
    /// Remove a run with its adapter and checkpoints.
    Rm {
        /// A run's folder, its name, or the start of its name.
        run: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it.
pub fn run(args: &RunsArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let runs = Paths::find()?.runs();
    match &args.action {
        RunsAction::List => list(&runs, common)?,
        RunsAction::Show { run } => show::show(&runs, &run::find(&runs, run)?, common)?,
        RunsAction::Rm { run, yes } => {
            let path = run::find(&runs, run)?;
            if !yes {
                confirm(&path)?;
            }
            remove(&runs, &path, common)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(runs: &Path, common: &Common) -> anyhow::Result<()> {
    let mut summaries = Vec::new();
    for path in run::folders(runs)? {
        match RunSummary::read(&path) {
            Ok(summary) => summaries.push(summary),
            // One broken run hides no other.
            Err(error) => eprintln!("{}: cannot be listed: {error}", path.display()),
        }
    }
    summaries.sort_by_key(|summary| (summary.record.created_unix_s, summary.path.clone()));
    if common.json {
        return say_json(&json!({ "runs": summaries.iter().map(fields).collect::<Vec<_>>() }));
    }
    if summaries.is_empty() {
        return say(format!("no runs in {}; start one with `lorascope train`", runs.display()));
    }
    let rows: Vec<Vec<String>> = summaries.iter().map(row).collect();
    say(lines(&COLUMNS, &rows).join("\n"))
}

const COLUMNS: [(&str, Side); 9] = [
    ("run", Side::Left),
    ("state", Side::Left),
    ("recipe", Side::Left),
    ("model", Side::Left),
    ("step", Side::Right),
    ("loss", Side::Right),
    ("unseen", Side::Right),
    ("general", Side::Right),
    ("started (UTC)", Side::Left),
];

fn row(summary: &RunSummary) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let steps = match summary.n_steps {
        0 => "-".to_owned(),
        n_steps => format!("{}/{n_steps}", summary.step),
    };
    let recall = recall_of_unseen(summary).map_or_else(|| "-".to_owned(), percent);
    let started = date_and_time(summary.record.created_unix_s);
    vec![
        summary.name(),
        summary.state.name().to_owned(),
        summary.record.train.recipe.name().to_owned(),
        short_model(&summary.record.model),
        steps,
        number(summary.last_loss),
        recall,
        number(general_perplexity(summary)),
        started.get(..16).unwrap_or(&started).to_owned(),
    ]
}

/// A run as JSON has it in lists.
fn fields(summary: &RunSummary) -> Value {
    json!({
        "name": summary.name(), "path": summary.path, "state": summary.state.name(),
        "recipe": summary.record.train.recipe, "model": summary.record.model,
        "step": summary.step, "n_steps": summary.n_steps, "loss": summary.last_loss,
        "recall_unseen": recall_of_unseen(summary), "general_perplexity": general_perplexity(summary),
        "created_unix_s": summary.record.created_unix_s,
    })
}

fn recall_of_unseen(summary: &RunSummary) -> Option<f64> {
    summary.last_eval.as_ref()?["recall"]["unseen"].as_f64()
}

fn general_perplexity(summary: &RunSummary) -> Option<f64> {
    summary.last_eval.as_ref()?["general_perplexity"].as_f64()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A model's name; of a path its last part.
fn short_model(model: &str) -> String {
    let path = Path::new(model);
    let last = if path.is_absolute() { path.file_name() } else { None };
    last.map_or_else(|| model.to_owned(), |last| last.to_string_lossy().into_owned())
}

/// A run as other commands take it: its name where it lies among the runs, else its folder.
fn named(runs: &Path, path: &Path) -> String {
    match path.strip_prefix(runs) {
        Ok(name) => super::train::quoted(name),
        Err(_) => super::train::quoted(path),
    }
}

/// Asks whether the run should really go.
fn confirm(path: &Path) -> anyhow::Result<()> {
    let summary = RunSummary::read(path)?;
    if summary.state == RunState::Running {
        return Ok(()); // refused by who removes, with the reason
    }
    let size = bytes(size_of(path));
    let question = format!("Type yes to remove {} ({}, {size}): ", path.display(), summary.state.name());
    match typed_yes(&question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::refused("nothing was removed", "type yes to remove a run").into()),
        None => Err(Error::refused(
            format!("{} was not removed: nobody can be asked here", path.display()),
            "add --yes if it should go",
        )
        .into()),
    }
}

fn remove(runs: &Path, path: &Path, common: &Common) -> anyhow::Result<()> {
    let before = size_of(path);
    let removed = run::remove(runs, path)?;
    let freed = before.saturating_sub(size_of(&removed.path));
    if common.json {
        return say_json(&json!({ "removed": removed.path, "bytes": freed, "left": removed.left }));
    }
    say(format!("removed {} ({})", removed.path.display(), bytes(freed)))?;
    if !removed.left.is_empty() {
        let left: Vec<String> =
            removed.left.iter().map(|path: &PathBuf| path.display().to_string()).collect();
        eprintln!("no part of the run, and left where it is: {}", left.join(", "));
    }
    Ok(())
}

/// Bytes of all files under a folder.
fn size_of(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().flatten().filter(|item| item.file_type().is_file());
    files.filter_map(|item| item.metadata().ok()).map(|found| found.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunRecord;
    use crate::train::{Recipe, TrainConfig};

    fn summary() -> RunSummary {
        let record = RunRecord {
            version: "0".to_owned(),
            model: "/models/Some Model.gguf".to_owned(),
            corpus: PathBuf::from("c"),
            corpus_digest: String::new(),
            kernels: String::new(),
            created_unix_s: 951_827_696,
            train: TrainConfig::defaults(Recipe::Qa),
        };
        let eval = json!({"event": "eval", "general_perplexity": 14.26, "recall": {"unseen": 0.846}});
        RunSummary {
            path: PathBuf::from("/runs/20000229-123456-qa"),
            record,
            state: RunState::Unfinished,
            step: 40,
            n_steps: 96,
            last_eval: Some(eval),
            last_loss: Some(0.114_9),
        }
    }

    #[test]
    fn a_row_tells_how_far_a_run_came_and_how_well() {
        let expected = [
            "20000229-123456-qa",
            "unfinished",
            "qa",
            "Some Model.gguf",
            "40/96",
            "0.11",
            "85 %",
            "14.26",
            "2000-02-29 12:34",
        ];
        assert_eq!(row(&summary()), expected);
        assert_eq!(COLUMNS.len(), expected.len());
    }

    #[test]
    fn what_was_not_measured_is_a_dash_and_null() {
        let bare = RunSummary { n_steps: 0, step: 0, last_eval: None, last_loss: None, ..summary() };
        assert_eq!(row(&bare)[4..8], ["-", "-", "-", "-"]);
        let fields = fields(&bare);
        assert!(fields["loss"].is_null() && fields["recall_unseen"].is_null(), "{fields}");
        assert_eq!(fields["model"], "/models/Some Model.gguf");
    }

    #[test]
    fn a_run_is_called_by_its_name_where_that_is_enough() {
        let runs = Path::new("/home/runs");
        assert_eq!(named(runs, Path::new("/home/runs/a")), "a");
        assert_eq!(named(runs, Path::new("/else where/a")), "\"/else where/a\"");
        assert_eq!(short_model("Org/Name"), "Org/Name");
    }
}
