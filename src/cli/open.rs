//! What do most commands open first?

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::progress::{Progress, bytes};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::corpus::Corpus;
use crate::hub::{self, ModelFiles, Store};
use crate::model::LanguageModel;
use crate::paths::Paths;
use crate::sample;

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
        bytes(4 * n as u64)
    ));
    Ok((model, files))
}

/// A model's name as it is kept in a run: paths are made absolute, so that the run can be gone on with
/// from anywhere.
pub fn lasting_name(store: &Store, spec: &str) -> String {
    if store.manifest().entry(spec).is_none()
        && let Ok(path) = Path::new(spec).canonicalize()
    {
        return path.display().to_string();
    }
    spec.to_owned()
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
