//! Which runs are there, and how far did each come?

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{RunFolder, RunRecord};
use crate::error::{Error, Result};
use crate::files::{Share, try_lock};
use crate::model::chat::date;
use crate::train::checkpoint;

/// The file whose lock says that somebody trains in the folder.
pub(super) const LOCK: &str = ".lock";
/// More than it takes to look whether somebody trains, for which the lock is held.
const A_LOOK: Duration = Duration::from_millis(200);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Somebody trains it now.
    Running,
    /// All its steps are done.
    Completed,
    /// It was stopped, or its process ended: `train --resume` goes on with it.
    Unfinished,
    /// It was given up.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl RunState {
    /// Its name in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Unfinished => "unfinished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A run, as a list shows it.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Its folder.
    pub path: PathBuf,
    /// `run.toml`.
    pub record: RunRecord,
    /// How it stands.
    pub state: RunState,
    /// Updates made.
    pub step: usize,
    /// Updates of the whole run; 0 when it never started.
    pub n_steps: usize,
    /// The last measurement, as `metrics.jsonl` has it.
    pub last_eval: Option<Value>,
    /// The loss of the last step.
    pub last_loss: Option<f64>,
}

impl RunSummary {
    /// Reads one run.
    ///
    /// # Errors
    /// When `run.toml` or `metrics.jsonl` cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let record = RunFolder::read_record(path)?;
        let metrics =
            if path.join(super::METRICS).is_file() { RunFolder::metrics(path)? } else { Vec::new() };
        let last = |event: &str| metrics.iter().rev().find(|line| line["event"] == event);
        let number = |line: Option<&Value>, key: &str| line.and_then(|line| line[key].as_u64()).unwrap_or(0);
        let (step, n_steps) =
            (number(last("step"), "step") as usize, number(last("started"), "n_steps") as usize);
        let last_eval = last("eval").cloned();
        let last_loss = last("step").and_then(|line| line["loss"].as_f64());
        let outcome = metrics.last().filter(|line| line["event"] == "ended").map(|line| &line["outcome"]);
        let state = match outcome.and_then(Value::as_str) {
            _ if is_locked(path) => RunState::Running,
            Some("failed") => RunState::Failed,
            Some("cancelled") => RunState::Cancelled,
            Some(_) if n_steps > 0 && step >= n_steps => RunState::Completed,
            _ => RunState::Unfinished,
        };
        Ok(Self { path: path.to_path_buf(), record, state, step, n_steps, last_eval, last_loss })
    }

    /// The step of the weights that are kept, in `adapter/` or else in the newest checkpoint: an adapter goes when a newer
    /// checkpoint is kept.
    ///
    /// # Errors
    /// When the checkpoints cannot be listed.
    pub fn kept_step(&self) -> Result<usize> {
        Ok(checkpoint::steps(&self.path.join("checkpoints"))?.pop().unwrap_or(self.step))
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        folder_name(&self.path)
    }
}

pub(super) fn folder_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The folders of runs under `runs`, by name, oldest first.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn folders(runs: &Path) -> Result<Vec<PathBuf>> {
    if !runs.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(runs).map_err(Error::io("read", runs))?.flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| RunFolder::is_at(path)).collect();
    found.sort();
    Ok(found)
}

/// The run that `named` names: a folder, or a run's name under `runs`, or the start of exactly one.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(runs: &Path, named: &str) -> Result<PathBuf> {
    if named.is_empty() {
        return Err(Error::refused("no run is named", "see `lorascope runs list`"));
    }
    for path in [PathBuf::from(named), runs.join(named)] {
        if RunFolder::is_at(&path) {
            return Ok(path);
        }
    }
    let all = folders(runs)?;
    let fitting: Vec<&PathBuf> = all.iter().filter(|path| folder_name(path).starts_with(named)).collect();
    match fitting.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Error::refused(format!("there is no run `{named}`"), "see `lorascope runs list`")),
        several => {
            let names: Vec<String> = several.iter().map(|path| folder_name(path)).collect();
            Err(Error::refused(
                format!("`{named}` may be any of {}", names.join(", ")),
                "write more of the name",
            ))
        }
    }
}

/// The newest run under `runs` that `train --resume` can go on with; runs that cannot be read are
/// passed over.
///
/// # Errors
/// When there is none.
pub fn newest_unfinished(runs: &Path) -> Result<PathBuf> {
    let goes_on = |state| matches!(state, RunState::Unfinished | RunState::Failed);
    let is_open = |path: &PathBuf| RunSummary::read(path).is_ok_and(|summary| goes_on(summary.state));
    folders(runs)?.into_iter().rev().find(is_open).ok_or_else(|| {
        Error::refused(
            format!("no run under {} is unfinished", runs.display()),
            "name one with --run DIR, or start a new one without --resume",
        )
    })
}

/// A place for a new run: `20261124-051200-qa`, with a number behind it where that is taken.
pub fn fresh_place(runs: &Path, recipe: &str, unix_s: u64) -> PathBuf {
    let name = format!("{}-{recipe}", stamp(unix_s));
    let numbered = (2..).map(|n| runs.join(format!("{name}-{n}")));
    let mut places = std::iter::once(runs.join(&name)).chain(numbered);
    places.find(|place| !place.exists()).unwrap_or_else(|| runs.join(name))
}

/// A time in seconds since 1970 as `20261124-051200` (UTC).
pub fn stamp(unix_s: u64) -> String {
    let ((year, month, day), s) = (date(unix_s / 86_400), unix_s % 86_400);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// A time in seconds since 1970 as `2026-11-24 05:12:00` (UTC).
pub fn date_and_time(unix_s: u64) -> String {
    let ((year, month, day), s) = (date(unix_s / 86_400), unix_s % 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// Proof that nobody else trains in the folder. Ends when dropped, or with the process.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "held, never read: closing it unlocks")] File);

impl RunFolder {
    /// Keeps others from training in this folder.
    ///
    /// # Errors
    /// When somebody does already, or the lock cannot be made.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join(LOCK);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        if taken(&file).map_err(Error::io("lock", &path))? {
            return Ok(RunLock(file));
        }
        Err(Error::file(
            &self.path,
            "another process is training in this folder",
            "wait for it or stop it, or name another folder with --run",
        ))
    }
}

/// Takes a run's lock; whether it could be had. Somebody who only looks lets go of it at once.
pub(super) fn taken(file: &File) -> io::Result<bool> {
    let until = Instant::now() + A_LOOK;
    while !try_lock(file, Share::Nobody)? {
        if Instant::now() > until {
            return Ok(false);
        }
        std::thread::sleep(A_LOOK / 20);
    }
    Ok(true)
}

/// Whether somebody trains there. Many may look at the same time.
fn is_locked(path: &Path) -> bool {
    File::open(path.join(LOCK)).is_ok_and(|file| try_lock(&file, Share::Readers).is_ok_and(|had| !had))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::train::{Recipe, RunOutcome, TrainConfig, TrainEvent};

    pub(in crate::run) fn made(runs: &Path, name: &str) -> RunFolder {
        let record = RunRecord {
            version: "0".to_owned(),
            model: "m".to_owned(),
            corpus: PathBuf::from("c"),
            corpus_digest: String::new(),
            kernels: String::new(),
            created_unix_s: 0,
            train: TrainConfig::defaults(Recipe::Qa),
        };
        RunFolder::create(&runs.join(name), &record).unwrap()
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(date_and_time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(stamp(1_795_497_120), "20261124-051200");
    }

    #[test]
    fn a_run_is_found_by_the_start_of_its_name_if_that_is_clear() {
        let runs = tempfile::tempdir().unwrap();
        for name in ["20260101-000000-qa", "20260102-000000-qa", "20260102-000000-qa-2"] {
            made(runs.path(), name);
        }
        assert!(find(runs.path(), "20260101").unwrap().ends_with("20260101-000000-qa"));
        assert!(find(runs.path(), "20260102-000000-qa").unwrap().ends_with("20260102-000000-qa"));
        assert!(find(runs.path(), "20260102").unwrap_err().to_string().contains("any of"));
        assert!(find(runs.path(), "nosuch").is_err());
        assert!(find(runs.path(), "").unwrap_err().to_string().contains("no run is named"));
        assert!(find(Path::new("/no/such"), "x").is_err());
    }

    #[test]
    fn the_newest_unfinished_run_is_one_that_is_neither_given_up_nor_in_work() {
        let runs = tempfile::tempdir().unwrap();
        made(runs.path(), "a");
        made(runs.path(), "b");
        made(runs.path(), "c").record(&TrainEvent::Ended(RunOutcome::Cancelled)).unwrap();
        let in_work = made(runs.path(), "d");
        let lock = in_work.lock().unwrap();
        assert_eq!(RunSummary::read(in_work.path()).unwrap().state, RunState::Running);
        assert!(in_work.lock().unwrap_err().to_string().contains("another process"));
        assert!(newest_unfinished(runs.path()).unwrap().ends_with("b"));
        drop(lock);
        assert!(newest_unfinished(runs.path()).unwrap().ends_with("d"));
    }

    #[test]
    fn two_runs_of_one_second_get_two_places() {
        let runs = tempfile::tempdir().unwrap();
        let first = fresh_place(runs.path(), "qa", 0);
        fs::create_dir_all(&first).unwrap();
        assert!(fresh_place(runs.path(), "qa", 0).ends_with("19700101-000000-qa-2"));
    }
}
