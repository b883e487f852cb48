//! `lorascope train`: how does one run look, line by line?

mod listener;
mod plan;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Common, cancel_on_signals, open, say, usage};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::corpus::Corpus;
use crate::error::Error;
use crate::model::LanguageModel;
use crate::run::{RunFolder, RunRecord, RunSummary, refuse_among_documents};
use crate::train::{RunControls, RunOutcome, TrainConfig};
use crate::worker::{Job, perform};
use listener::Listener;
pub use plan::TrainFlags;

/// `lorascope train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// How it learns.
    #[command(flatten)]
    pub flags: TrainFlags,
    /// The run's folder; without it, a fresh one among the runs.
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Go on with a run from its last checkpoint, with its own settings: --run's, or the newest that
    /// is unfinished.
    #[arg(long, conflicts_with_all = ["settings", "model"])]
    pub resume: bool,
}

/// Everything a run needs, opened.
struct Opened {
    folder: RunFolder,
    model: LanguageModel,
    corpus: Corpus,
    config: TrainConfig,
}

/// Runs it.
pub fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<ExitCode> {
    Ok(run_in(args, common)?.0)
}

/// Runs it; says in which folder, where an adapter was saved.
pub(super) fn run_in(args: &TrainArgs, common: &Common) -> anyhow::Result<(ExitCode, Option<PathBuf>)> {
    let cancel = cancel_on_signals()?;
    let opened = if args.resume { resumed(args, common, &cancel)? } else { fresh(args, common, &cancel)? };
    let outcome = trained(&opened, common, &cancel)?;
    if !common.json {
        tell_the_end(&opened, &outcome)?;
    }
    let saved = (outcome == RunOutcome::Completed).then(|| opened.folder.path().to_path_buf());
    Ok(if cancel.is_cancelled() { (ExitCode::from(130), None) } else { (ExitCode::SUCCESS, saved) })
}

/// A new run. Model, corpus and settings are looked at first, so that a mistake leaves no folder.
fn fresh(args: &TrainArgs, common: &Common, cancel: &Cancel) -> anyhow::Result<Opened> {
    let (paths, settings) = common.settings()?;
    // What the flags alone get wrong was typed; what is wrong with the user's settings was not.
    usage(args.flags.config(&Settings::default()))?;
    let config = args.flags.config(&settings)?;
    let corpus = open::corpus(&paths, &settings)?;
    let store = crate::hub::Store::open(&paths, &settings.hub)?;
    let spec = settings.model.as_deref().unwrap_or(&store.manifest().default_decoder);
    if let Some(folder) = &args.run {
        RunFolder::refuse_taken(folder)?;
        refuse_among_documents(folder, &corpus.root)?;
    }
    let (model, files) = open::named_model(&store, spec, cancel)?;
    let record = RunRecord::new(&files.lasting_name(), &corpus, &config);
    let place = args.run.clone().unwrap_or_else(|| {
        crate::run::fresh_place(&paths.runs(), config.recipe.name(), record.created_unix_s)
    });
    Ok(Opened { folder: RunFolder::create(&place, &record)?, model, corpus, config })
}

/// A run that exists, with exactly its settings.
fn resumed(args: &TrainArgs, common: &Common, cancel: &Cancel) -> anyhow::Result<Opened> {
    let (paths, settings) = common.settings()?;
    let runs = paths.runs();
    let place = match &args.run {
        Some(named) => crate::run::find(&runs, &named.to_string_lossy())?,
        None => crate::run::newest_unfinished(&runs)?,
    };
    let (folder, record) = RunFolder::open(&place)?;
    eprintln!("going on with {}", place.display());
    // A corpus that was moved may be named anew: its digest decides.
    let corpus = Corpus::open(common.corpus.as_deref().unwrap_or(&record.corpus))?;
    if corpus.digest != record.corpus_digest {
        return Err(Error::file(
            &corpus.root,
            "the corpus has changed since this run was started, so its numbers would no longer fit",
            "bring the old state back (or name a copy of it with --corpus), or start a new run",
        )
        .into());
    }
    let kernels = crate::kernels::level().name();
    if kernels != record.kernels {
        eprintln!(
            "this run was started with the {} kernels and goes on with {kernels}: the last digits may differ",
            record.kernels
        );
    }
    let store = crate::hub::Store::open(&paths, &settings.hub)?;
    let (model, _) = open::named_model(&store, &record.model, cancel)?;
    Ok(Opened { folder, model, corpus, config: record.train })
}

/// Trains, with every line told.
fn trained(opened: &Opened, common: &Common, cancel: &Cancel) -> anyhow::Result<RunOutcome> {
    let Opened { folder, model, corpus, config } = opened;
    let controls = RunControls::new();
    let mut listener = Listener::new(common.json, cancel, &controls);
    let outcome = perform(Job { model, corpus, config, folder, controls: &controls }, &mut listener)?;
    listener.finish()?;
    Ok(outcome)
}

/// Where the adapter is, and what to do with it.
fn tell_the_end(opened: &Opened, outcome: &RunOutcome) -> anyhow::Result<()> {
    let (place, adapter) = (opened.folder.path(), opened.folder.adapter());
    let run = quoted(place);
    if *outcome != RunOutcome::Completed {
        return say(format!("the run was given up; its last checkpoint is in {}", place.display()));
    }
    let RunSummary { step, n_steps, .. } = RunSummary::read(place)?;
    if step < n_steps {
        say(format!("stopped  after {step} of {n_steps} updates"))?;
        say(format!("go on    lorascope train --resume --run {run}"))?;
    }
    say(format!("adapter  {}", adapter.display()))?;
    let question = match opened.config.recipe.task_examples()? {
        Some(examples) => examples.held_out.first().map(|example| example.asked().to_owned()),
        None => opened.corpus.facts.iter().flat_map(|fact| &fact.questions).next().map(|q| q.text.clone()),
    };
    // What a shell would read otherwise is left to the reader.
    let as_it_is = |question: &String| !question.contains(['"', '$', '`', '\\', '!', '\n']);
    let question = question.filter(as_it_is).unwrap_or_else(|| "QUESTION".to_owned());
    say(format!("ask      lorascope ask \"{question}\" --run {run}"))?;
    say(format!("measure  lorascope eval --run {run}"))?;
    say(format!("report   lorascope report {run}"))
}

/// A path as it can be typed.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}
