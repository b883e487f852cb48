//! `lorascope export`: how does what a run learnt get to other programs?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::progress::Progress;
use super::train::quoted;
use super::{Common, cancel_on_signals, say, say_json};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::hub::{self, ModelEntry, ModelFiles, Store};
use crate::paths::Paths;
use crate::run::{self, Export, ExportFormat, RunFolder};

/// `lorascope export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run's folder, its name, or the start of its name.
    pub run: String,
    /// What to write.
    #[arg(long)]
    pub format: Format,
    /// Where to; without it, RUN/export/FORMAT. An earlier export there is replaced.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The adapter alone, for PEFT.
    Peft,
    /// The whole model with the adapter merged into it, in Hugging Face layout, float32.
    Merged,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Peft => Self::Peft,
            Format::Merged => Self::Merged,
        }
    }
}

/// Runs it.
pub fn run(args: &ExportArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let paths = Paths::find()?;
    let settings = Settings::read(&paths)?;
    let store = Store::open(&paths, &settings.hub)?;
    let place = run::find(&paths.runs(), &args.run)?;
    let record = RunFolder::read_record(&place)?;
    let format = ExportFormat::from(args.format);
    let out = args.out.clone().unwrap_or_else(|| place.join("export").join(format.name()));
    let export = Export::new(&place, &record, &out)?;
    // Only a flag may name another model than the run's: it has moved, or is wanted in float.
    let spec = common.model.as_deref().unwrap_or(&record.model);
    let entry = known(&store, spec);
    match format {
        ExportFormat::Peft => {
            let base = entry.as_ref().and_then(ModelEntry::origin).unwrap_or(spec);
            export.peft(base)?;
            tell_peft(export.out(), base, entry.as_ref(), common)?;
        }
        ExportFormat::Merged => {
            let model = base_model(&store, spec, &cancel)?;
            let mut progress = Progress::new();
            progress.update(&format!("{}: merging", model.name));
            export.merged(&model.path, &cancel)?;
            drop(progress);
            tell_merged(export.out(), entry.as_ref(), common)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of a model by its name or hub id.
fn known(store: &Store, spec: &str) -> Option<ModelEntry> {
    store.manifest().entry(spec).cloned().or_else(|| store.remembered().find(|entry| entry.name == spec))
}

/// The model to merge into: found, or fetched.
fn base_model(store: &Store, spec: &str, cancel: &Cancel) -> anyhow::Result<ModelFiles> {
    let mut progress = Progress::new();
    let files = hub::resolve(store, spec, cancel, &mut |event| progress.fetch(&event))?;
    cancel.check()?;
    Ok(files)
}

fn tell_peft(out: &Path, base: &str, entry: Option<&ModelEntry>, common: &Common) -> anyhow::Result<()> {
    if let Some(entry) = entry.filter(|entry| entry.name != base) {
        eprintln!(
            "the run learnt on {}, whose weights may be rounded ones; on {base} answers can differ a little",
            entry.name
        );
    }
    if entry.is_none() {
        eprintln!("{base} is a model of this machine; elsewhere, name the same model to PEFT yourself");
    }
    if common.json {
        return say_json(&json!({ "format": "peft", "path": out, "base": base }));
    }
    say(format!("adapter  {}", out.display()))?;
    say(format!("base     {base}"))?;
    say(format!("ask      lorascope ask QUESTION --contender tuned --adapter {}", quoted(out)))
}

fn tell_merged(out: &Path, entry: Option<&ModelEntry>, common: &Common) -> anyhow::Result<()> {
    let licence = entry.map(|entry| &entry.licence);
    if let (Some(entry), Some(licence)) = (entry, licence) {
        eprintln!(
            "the merged model stays under the terms of {}: {} {}",
            entry.name, licence.name, licence.url
        );
        if !licence.notice.is_empty() {
            eprintln!("{}", licence.notice.trim_end());
        }
    }
    if common.json {
        let licence = licence.map(|licence| json!({ "name": licence.name, "url": licence.url }));
        return say_json(&json!({ "format": "merged", "path": out, "licence": licence }));
    }
    say(format!("model    {}", out.display()))?;
    say(format!("ask      lorascope ask QUESTION --contender base --model {}", quoted(out)))
}
