//! Where is a run kept?
//!
//! A folder: `run.toml` (everything needed to repeat it), `metrics.jsonl`, `facts.jsonl` (the fact board), `checkpoints/`,
//! `adapter/`, `report/`, `export/`.

mod export;
mod facts;
mod listing;
mod removal;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::kernels;
use crate::train::{RunOutcome, TrainConfig, TrainEvent};

pub use export::{Export, ExportFormat};
pub use facts::{StepReadings, facts};
pub use listing::{
    RunLock, RunState, RunSummary, date_and_time, find, folders, fresh_place, newest_unfinished, stamp,
};
pub use removal::{Removed, remove};

/// The file with everything needed to repeat a run.
const RECORD: &str = "run.toml";
/// The file with what was measured.
const METRICS: &str = "metrics.jsonl";

/// `run.toml`: everything needed to repeat a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The version of lorascope.
    pub version: String,
    /// The model as it was named: a name, a hub id, a folder or a file.
    pub model: String,
    /// The corpus folder.
    pub corpus: PathBuf,
    /// SHA-256 of the corpus.
    pub corpus_digest: String,
    /// The kernels that did the arithmetic, since they decide the last digits.
    pub kernels: String,
    /// When it was started, in seconds since 1970.
    pub created_unix_s: u64,
    /// How it learns.
    pub train: TrainConfig,
}

impl RunRecord {
    /// The record of a run that starts now. `model` is the name to find the model by later on.
    pub fn new(model: &str, corpus: &Corpus, config: &TrainConfig) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.to_owned(),
            corpus: corpus.root.clone(),
            corpus_digest: corpus.digest.clone(),
            kernels: kernels::level().name().to_owned(),
            created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            train: config.clone(),
        }
    }
}

/// An opened run folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    metrics: Arc<Mutex<File>>,
}

/// Refuses a place inside a corpus, where what is written would be read as its documents; what is hidden is not.
pub fn refuse_among_documents(path: &Path, corpus: &Path) -> Result<()> {
    let place = std::path::absolute(path).map_err(Error::io("find", path))?;
    // As much of it as exists, without links.
    let real = |folder: &Path| Some(folder.canonicalize().ok()?.join(place.strip_prefix(folder).ok()?));
    let (Some(place), Ok(corpus)) = (place.ancestors().find_map(real), corpus.canonicalize()) else {
        return Ok(());
    };
    let Ok(within) = place.strip_prefix(&corpus) else { return Ok(()) };
    if within.iter().any(|name| name.to_string_lossy().starts_with('.')) {
        return Ok(());
    }
    let what = format!("lies inside the corpus {}", corpus.display());
    Err(Error::file(path, what, "name a folder elsewhere: its texts would be read as documents"))
}

impl RunFolder {
    /// Makes the folder for a new run; refuses one that holds a run already.
    pub fn create(path: &Path, record: &RunRecord) -> Result<Self> {
        Self::refuse_taken(path)?;
        let file = path.join(RECORD);
        let text = toml::to_string_pretty(record).map_err(|e| {
            Error::file(&file, e.to_string(), "name model and corpus by paths of ordinary letters (UTF-8)")
        })?;
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        write_whole(&file, text.as_bytes())?;
        Self::open(path).map(|(folder, _)| folder)
    }

    /// Whether a folder holds a run.
    pub fn is_at(path: &Path) -> bool {
        path.join(RECORD).is_file()
    }

    /// Refuses a folder that holds a run already, or something that a run would write over.
    pub fn refuse_taken(path: &Path) -> Result<()> {
        if Self::is_at(path) {
            let remedy = "go on with --resume, or name another folder";
            return Err(Error::file(path.join(RECORD), "a run is kept here already", remedy));
        }
        match removal::PARTS.iter().map(|name| path.join(name)).find(|part| part.exists()) {
            Some(part) => {
                Err(Error::file(part, "a run would write over it", "name a new or an empty folder"))
            }
            None => Ok(()),
        }
    }

    /// Opens a run that exists.
    pub fn open(path: &Path) -> Result<(Self, RunRecord)> {
        let record = Self::read_record(path)?;
        let file = path.join(METRICS);
        let metrics =
            OpenOptions::new().create(true).append(true).open(&file).map_err(Error::io("open", &file))?;
        Ok((Self { path: path.to_path_buf(), metrics: Arc::new(Mutex::new(metrics)) }, record))
    }

    /// Reads `run.toml` alone.
    pub fn read_record(path: &Path) -> Result<RunRecord> {
        let file = path.join(RECORD);
        if !file.exists() {
            return Err(Error::file(&file, "there is no run here", "see `lorascope runs list`"));
        }
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        toml::from_str(&text)
            .map_err(|e| Error::file(&file, e.message(), "mend the file, or start a new run"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints go.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where the finished adapter goes.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// Adds an event to `metrics.jsonl` and `facts.jsonl`, if it belongs there; one line is one write.
    pub fn record(&self, event: &TrainEvent) -> Result<()> {
        facts::record(&self.path, event)?;
        let Some(line) = metrics_line(event) else { return Ok(()) };
        let mut file = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io("write", self.path.join(METRICS)))
    }

    /// Drops the metrics after `step`: the run goes on from there. A last line that was cut off goes too.
    pub fn forget_after(&self, step: usize) -> Result<()> {
        facts::forget_after(&self.path, step)?;
        let path = self.path.join(METRICS);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let keep = |line: &&str| {
            serde_json::from_str::<Value>(line).is_ok_and(|v| {
                let at = v["step"].as_u64().unwrap_or(0) as usize;
                v["event"] != "ended" && at <= step && (step > 0 || v["event"] != "eval")
            })
        };
        let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
        if kept.len() == text.len() {
            return Ok(());
        }
        let mut file = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        write_whole(&path, kept.as_bytes())?;
        *file = OpenOptions::new().append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(())
    }

    /// Whether anything has happened in the run; what cannot be read counts as something.
    pub fn is_begun(&self) -> bool {
        let is_empty = Self::metrics(&self.path).is_ok_and(|metrics| metrics.is_empty());
        !is_empty || self.checkpoints().exists() || self.adapter().exists()
    }

    /// Whether a measurement of this step is in the metrics.
    pub fn is_measured(&self, step: usize) -> Result<bool> {
        Ok(Self::metrics(&self.path)?.iter().any(|line| line["event"] == "eval" && line["step"] == step))
    }

    /// Removes the adapter of an earlier end, once a newer checkpoint is kept.
    pub fn forget_adapter(&self) -> Result<()> {
        let adapter = self.adapter();
        if adapter.exists() {
            fs::remove_dir_all(&adapter).map_err(Error::io("remove", &adapter))
        } else {
            Ok(())
        }
    }

    /// The events of `metrics.jsonl`; a cut-off last line is left out.
    pub fn metrics(path: &Path) -> Result<Vec<Value>> {
        let path = path.join(METRICS);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let n = text.lines().count();
        let mut events = Vec::with_capacity(n);
        for (i, line) in text.lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(event) => events.push(event),
                Err(_) if i + 1 == n => {}
                Err(e) => return Err(Error::Line { path, line: i + 1, what: e.to_string() }),
            }
        }
        Ok(events)
    }
}

/// An event as `metrics.jsonl` and `train --json` have it; `None` for what is for the screen alone.
pub fn metrics_line(event: &TrainEvent) -> Option<Value> {
    let value = match event {
        TrainEvent::Started { n_steps, first_step, n_trainable, .. } => {
            json!({"event": "started", "step": first_step, "n_steps": n_steps, "n_trainable": n_trainable})
        }
        TrainEvent::Stepped(report) => tagged("step", serde_json::to_value(report).ok()?),
        TrainEvent::Evaluated(report) => {
            let recall: serde_json::Map<_, _> =
                report.recall.iter().map(|(w, r)| (w.name().to_owned(), json!(r.share()))).collect();
            let asked: serde_json::Map<_, _> =
                report.recall.iter().map(|(w, r)| (w.name().to_owned(), json!(r.n))).collect();
            json!({
                "event": "eval", "step": report.step,
                "valid_loss": report.valid_loss, "valid_perplexity": report.valid_loss.map(f64::exp),
                "general_loss": report.general_loss, "general_perplexity": report.general_loss.exp(),
                "recall": recall, "asked": asked, "elapsed_s": report.elapsed_s,
            })
        }
        TrainEvent::Saved { step, spent } => json!({
            "event": "checkpoint", "step": step,
            "elapsed_s": spent.seconds, "cpu_s": spent.cpu_seconds, "energy_j": spent.joules,
        }),
        TrainEvent::Ended(outcome) => match outcome {
            RunOutcome::Completed => json!({"event": "ended", "outcome": "completed"}),
            RunOutcome::Cancelled => json!({"event": "ended", "outcome": "cancelled"}),
            RunOutcome::Failed(cause) => json!({"event": "ended", "outcome": "failed", "cause": cause}),
        },
        _ => return None,
    };
    Some(value)
}

fn tagged(event: &str, mut value: Value) -> Value {
    let mut all = serde_json::Map::new();
    all.insert("event".to_owned(), json!(event));
    all.append(value.as_object_mut().unwrap_or(&mut serde_json::Map::new()));
    Value::Object(all)
}
