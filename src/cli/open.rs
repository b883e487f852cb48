//! What do most commands open first?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::progress::{Progress, bytes};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::corpus::{Chunking, Corpus};
use crate::error::Error;
use crate::hub::{self, ModelFiles, Store};
use crate::model::LanguageModel;
use crate::paths::Paths;
use crate::rag::{Embedder, Index, IndexProgress, Indexing, UpdateSummary};
use crate::run::{self, RunRecord, RunSummary};
use crate::sample;
use crate::train::checkpoint;

/// The model that the settings name, or else the default one: found, fetched if need be, and read.
/// Progress goes to standard error.
///
/// # Errors
/// When it cannot be had or read, or `cancel` was set meanwhile.
pub fn model(
    paths: &Paths,
    settings: &Settings,
    cancel: &Cancel,
) -> anyhow::Result<(LanguageModel, ModelFiles)> {
    let store = Store::open(paths, &settings.hub)?;
    let spec = settings.model.as_deref().unwrap_or(&store.manifest().default_decoder);
    named_model(&store, spec, cancel)
}

/// The same, by name.
///
/// # Errors
/// As [`model`].
pub fn named_model(
    store: &Store,
    spec: &str,
    cancel: &Cancel,
) -> anyhow::Result<(LanguageModel, ModelFiles)> {
    let mut progress = Progress::new();
    let files = hub::resolve(store, spec, cancel, &mut |event| progress.fetch(&event))?;
    cancel.check()?;
    progress.update(&format!("{}: reading the model", files.name));
    let model = LanguageModel::load(&files.path, &files.name)?;
    cancel.check()?;
    let n = model.decoder.n_parameters();
    progress.remark(&format!(
        "{}: {:.1} million weights, {} in memory",
        files.name,
        n as f64 / 1e6,
        bytes(model.decoder.n_bytes().0 as u64)
    ));
    Ok((model, files))
}

/// The folder of the corpus that the settings name, or else of the sample corpus.
///
/// # Errors
/// When the sample corpus cannot be unpacked.
pub fn corpus_folder(paths: &Paths, settings: &Settings) -> anyhow::Result<PathBuf> {
    match &settings.corpus {
        Some(folder) => Ok(folder.clone()),
        None => sample::folder(paths).context("cannot unpack the sample corpus"),
    }
}

/// The corpus that the settings name, or else the sample corpus. Its remarks go to standard error.
///
/// # Errors
/// When it cannot be read; the message names the file and the line.
pub fn corpus(paths: &Paths, settings: &Settings) -> anyhow::Result<Corpus> {
    let corpus = Corpus::open(&corpus_folder(paths, settings)?)?;
    for remark in &corpus.remarks {
        eprintln!("{}: {remark}", corpus.name);
    }
    Ok(corpus)
}

/// The index of a corpus, brought up to date. Progress goes to standard error.
///
/// # Errors
/// When the embedder cannot be had, the index cannot be written, or `cancel` was set meanwhile.
pub fn index(
    (paths, chunking): (&Paths, Chunking),
    store: &Store,
    corpus: &Corpus,
    cancel: &Cancel,
) -> anyhow::Result<Index> {
    let embedder = Arc::new(embedder(store, cancel)?);
    let mut progress = Progress::new();
    let indexing = Indexing { embedder, chunking, cancel };
    let folder = Index::folder(&paths.indexes(), corpus, &indexing);
    let (index, summary) =
        Index::open(&folder, corpus, &indexing, &mut |event| progress.update(&index_line(event)))?;
    for remark in &summary.remarks {
        progress.remark(&format!("index: {remark}"));
    }
    if !summary.is_unchanged() {
        let UpdateSummary { n_added, n_changed, n_removed, n_embedded, n_chunks, .. } = summary;
        progress.remark(&format!(
            "index: {n_added} documents new, {n_changed} changed, {n_removed} gone; {n_embedded} of {n_chunks} chunks embedded"
        ));
    }
    Ok(index)
}

/// The default sentence encoder, fetched if need be.
///
/// # Errors
/// When it cannot be had, or `cancel` was set meanwhile.
pub fn embedder(store: &Store, cancel: &Cancel) -> anyhow::Result<Embedder> {
    let mut progress = Progress::new();
    let files =
        hub::resolve(store, &store.manifest().default_embedder, cancel, &mut |event| progress.fetch(&event))?;
    cancel.check()?;
    Ok(Embedder::load(&files.path, &files.name)?)
}

/// Progress of indexing, in a line.
pub(super) fn index_line(event: IndexProgress) -> String {
    match event {
        IndexProgress::Waiting => "index: another process is at it".to_owned(),
        IndexProgress::Chunking { done, total } => format!("index: document {done} of {total}"),
        IndexProgress::Embedding { done, total } => format!("index: chunk {done} of {total} embedded"),
        IndexProgress::Writing => "index: writing".to_owned(),
    }
}

/// A number that is one.
fn finite(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    if f64::is_finite(number) { Ok(number) } else { Err("not a finite number".to_owned()) }
}

/// Dollars an hour.
pub(super) fn price(text: &str) -> std::result::Result<f64, String> {
    let price = finite(text)?;
    if price >= 0.0 { Ok(price) } else { Err("below 0".to_owned()) }
}

/// What is asked or looked for.
pub(super) fn words(text: &str) -> std::result::Result<String, String> {
    if text.trim().is_empty() { Err("no words".to_owned()) } else { Ok(text.to_owned()) }
}

/// A number of things, of which there must be some.
pub(super) fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("not a whole number".to_owned()),
    }
}

/// Which fine-tuned weights a command uses.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AdapterFlags {
    /// A run, by its folder or name: its adapter, its model and its corpus. Without it, the newest
    /// run that has an adapter.
    #[arg(long, value_name = "RUN", conflicts_with = "adapter")]
    pub run: Option<String>,
    /// An adapter's folder in PEFT's layout.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Multiplies the adapter's scaling: 0 is the base model.
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true, value_parser = finite)]
    pub scale: f64,
}

/// Where fine-tuned weights lie.
#[derive(Debug, Clone)]
pub struct AdapterPlace {
    /// The folder with PEFT's two files.
    pub folder: PathBuf,
    /// The run it comes from, with its record.
    pub run: Option<(PathBuf, RunRecord)>,
    /// The step it was made at, where the run tells.
    pub step: Option<usize>,
}

impl AdapterFlags {
    /// The adapter that is named. Without a name, the newest run's, if there is one.
    ///
    /// # Errors
    /// When the run that is named is not there or has no adapter yet.
    pub fn place(&self, paths: &Paths) -> anyhow::Result<Option<AdapterPlace>> {
        if let Some(folder) = &self.adapter {
            return Ok(Some(AdapterPlace { folder: folder.clone(), run: None, step: None }));
        }
        let runs = paths.runs();
        if let Some(named) = &self.run {
            let run = run::find(&runs, named)?;
            return Ok(Some(of_run(&run)?));
        }
        Ok(run::folders(&runs)?.iter().rev().find_map(|run| of_run(run).ok()))
    }
}

/// The adapter of a run: the finished one, else that of its newest checkpoint.
fn of_run(run: &Path) -> anyhow::Result<AdapterPlace> {
    let summary = RunSummary::read(run)?;
    let finished = run.join("adapter");
    let (folder, step) = if finished.join("adapter_model.safetensors").is_file() {
        (finished, summary.kept_step()?)
    } else {
        let checkpoints = run.join("checkpoints");
        let newest = checkpoint::steps(&checkpoints)?.pop();
        let step = newest.ok_or_else(|| {
            Error::file(
                run,
                "this run has no adapter yet",
                "go on with it: lorascope train --resume --run RUN",
            )
        })?;
        (checkpoint::named(&checkpoints, step), step)
    };
    Ok(AdapterPlace { folder, run: Some((run.to_path_buf(), summary.record)), step: Some(step) })
}
