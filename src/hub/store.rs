//! What of the models is on this machine, and is it whole?
//!
//! `models/NAME/FILE` for a model of the manifest, `models/hub--Org--Name/FILE` for a hub id. Beside
//! them may lie `FILE.part` (a download to be gone on with), `.wheels-*` (pip at work), `.lock`, and
//! `licence-accepted`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::manifest::{FileEntry, Manifest, ModelEntry};
use super::sources::{Meter, Network};
use super::{FetchEvent, ModelFiles, Note, has_gguf_ending};
use crate::cancel::Cancel;
use crate::config::HubSettings;
use crate::error::{Error, Result};
use crate::files::{Share, try_lock};
use crate::paths::Paths;

/// The file that says a hub id's folder is complete, and what belongs in it.
const REMEMBERED: &str = ".entry.json";
/// The file that says the licence was accepted.
const ACCEPTED: &str = "licence-accepted";

/// The models on this machine, and the way to the others.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    network: Network,
}

/// Proof that this process alone changes a model's folder. Ends when dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read: closing it unlocks")] File);

impl Store {
    /// The store under the program's data folder, with the built-in manifest and the user's.
    ///
    /// Fails where the user's `models.toml` is wrong.
    pub fn open(paths: &Paths, settings: &HubSettings) -> Result<Self> {
        let manifest = Manifest::read(&paths.manifest_file())?;
        Ok(Self { folder: paths.models(), manifest, network: Network::new(settings) })
    }

    /// The same with another manifest; for tests.
    #[must_use]
    pub fn with_manifest(mut self, manifest: Manifest) -> Self {
        self.manifest = manifest;
        self
    }

    /// The models known by name.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder that holds it all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// The model of that name or hub id, if all its files are here.
    ///
    /// Looks at sizes only: checksums were taken when the files came in; [`Store::verify`] takes
    /// them again.
    pub fn locate(&self, name: &str) -> Option<ModelFiles> {
        if let Some(entry) = self.manifest.entry(name) {
            return self.locate_entry(entry);
        }
        let entry = self.remembered().find(|entry| entry.name == name)?;
        self.locate_entry(&entry)
    }

    /// The model of that entry, if all its files are here.
    pub(super) fn locate_entry(&self, entry: &ModelEntry) -> Option<ModelFiles> {
        if self.missing_files(entry).next().is_some() {
            return None;
        }
        let folder = self.folder_of(entry);
        let path = match entry.files.as_slice() {
            [file] if has_gguf_ending(Path::new(&file.name)) => folder.join(&file.name),
            _ => folder,
        };
        Some(ModelFiles { name: entry.name.clone(), path, rag: entry.rag, is_stored: true })
    }

    /// The files of a model that are not here, or not of the right size.
    pub fn missing_files<'a>(&self, entry: &'a ModelEntry) -> impl Iterator<Item = &'a FileEntry> + use<'a> {
        let folder = self.folder_of(entry);
        entry.files.iter().filter(move |file| {
            !fs::metadata(folder.join(&file.name))
                .is_ok_and(|found| found.is_file() && found.len() == file.size)
        })
    }

    /// The folder of one model.
    pub fn folder_of(&self, entry: &ModelEntry) -> PathBuf {
        match entry.name.split_once('/') {
            Some((org, name)) => self.folder.join(format!("hub--{org}--{name}")),
            None => self.folder.join(&entry.name),
        }
    }

    /// The hub ids whose files are here.
    pub fn remembered(&self) -> impl Iterator<Item = ModelEntry> + use<> {
        let folders = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        folders
            .filter_map(|folder| fs::read(folder.path().join(REMEMBERED)).ok())
            .filter_map(|text| serde_json::from_slice(&text).ok())
    }

    /// Notes down what belongs to a hub id, with the checksums of what arrived.
    pub(super) fn remember(&self, mut entry: ModelEntry, cancel: &Cancel) -> Result<()> {
        let folder = self.folder_of(&entry);
        for file in &mut entry.files {
            if file.sha256.is_none() {
                file.sha256 = Some(sha256_of(&folder.join(&file.name), cancel)?);
            }
        }
        let path = folder.join(REMEMBERED);
        let text =
            serde_json::to_vec_pretty(&entry).map_err(|e| Error::io("write", &path)(io::Error::other(e)))?;
        let temporary = folder.join(format!("{REMEMBERED}.part"));
        fs::write(&temporary, text).map_err(|e| self.write_error(&temporary, e))?;
        move_into_place(&temporary, &path)
    }

    /// Refuses a model whose licence must be accepted and was not.
    pub(super) fn check_licence(&self, entry: &ModelEntry) -> Result<()> {
        if !entry.licence.needs_acceptance || self.is_accepted(entry) {
            return Ok(());
        }
        Err(Error::refused(
            format!("{} is under the {}, which must be accepted first", entry.name, entry.licence.name),
            format!(
                "read {} and, if you agree, run `lorascope models fetch {} --accept-licence`",
                entry.licence.url, entry.name
            ),
        ))
    }

    /// Whether the licence was accepted, where that is needed.
    pub fn is_accepted(&self, entry: &ModelEntry) -> bool {
        !entry.licence.needs_acceptance || self.folder_of(entry).join(ACCEPTED).is_file()
    }

    /// Notes down that the user accepts the licence.
    pub fn accept_licence(&self, entry: &ModelEntry) -> Result<()> {
        let path = self.make_folder(entry)?.join(ACCEPTED);
        let text = format!("{}\n{}\n", entry.licence.name, entry.licence.url);
        fs::write(&path, text).map_err(|e| self.write_error(&path, e))
    }

    /// Makes a model's folder.
    pub(super) fn make_folder(&self, entry: &ModelEntry) -> Result<PathBuf> {
        let folder = self.folder_of(entry);
        fs::create_dir_all(&folder).map_err(|e| self.write_error(&folder, e))?;
        Ok(folder)
    }

    /// Waits until no other process changes the model's folder, showing how far that one is.
    pub(super) fn lock(&self, entry: &ModelEntry, cancel: &Cancel, note: &mut Note) -> Result<Lock> {
        let folder = self.make_folder(entry)?;
        let path = folder.join(".lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| self.write_error(&path, e))?;
        let mut meter: Option<Meter> = None;
        loop {
            if try_lock(&file, Share::Nobody).map_err(Error::io("lock", &path))? {
                break;
            }
            cancel.check()?;
            if meter.is_none() {
                let source = "again once another lorascope has fetched it".to_owned();
                note(FetchEvent::Trying { model: entry.name.clone(), source });
            }
            let meter = meter.get_or_insert_with(|| Meter::new(&entry.name, entry.size()));
            meter.show(size_under(&folder), note);
            std::thread::sleep(Duration::from_millis(100));
        }
        remove_leftovers(&folder);
        Ok(Lock(file))
    }

    /// Checks a file that has arrived at `temporary` and gives it its name.
    ///
    /// `Ok(Some(what is wrong))` if it is not the file it should be; it is removed then.
    pub(super) fn admit(
        &self,
        entry: &ModelEntry,
        file: &FileEntry,
        temporary: &Path,
        cancel: &Cancel,
    ) -> Result<Option<String>> {
        let size = fs::metadata(temporary).map_err(Error::io("read", temporary))?.len();
        let sum = if size == file.size { Some(sha256_of(temporary, cancel)?) } else { None };
        let fault = match (&sum, &file.sha256) {
            (None, _) => Some(format!("{} has {size} bytes, not {}", file.name, file.size)),
            (Some(found), Some(wanted)) if found != wanted => {
                Some(format!("{} has the wrong checksum ({found})", file.name))
            }
            _ => None,
        };
        if fault.is_some() {
            fs::remove_file(temporary).map_err(Error::io("remove", temporary))?;
            return Ok(fault);
        }
        move_into_place(temporary, &self.folder_of(entry).join(&file.name))?;
        Ok(None)
    }

    /// Refuses a model that the disk has no room for.
    pub(super) fn check_space(&self, entry: &ModelEntry) -> Result<()> {
        let folder = self.folder_of(entry);
        let missing = self.missing_files(entry).map(|file| {
            let part = fs::metadata(folder.join(format!("{}.part", file.name))).map_or(0, |part| part.len());
            file.size.saturating_sub(part)
        });
        let needed: u64 = missing.sum();
        match fs4::available_space(&folder) {
            Ok(free) if free < needed => Err(Error::refused(
                format!("{} needs {needed} bytes more, and the disk has {free} free", entry.name),
                "free some space, or set LORASCOPE_HOME to a folder on another disk",
            )),
            _ => Ok(()),
        }
    }

    /// A failed write; a full disk is told in its own words.
    pub(super) fn write_error(&self, path: &Path, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.disk_full(path),
            _ => Error::io("write", path)(error),
        }
    }

    pub(super) fn disk_full(&self, path: &Path) -> Error {
        let free = fs4::available_space(&self.folder).map_or(String::new(), |n| format!(" ({n} bytes free)"));
        Error::refused(
            format!("the disk is full{free}: cannot write {}", path.display()),
            "free some space, or set LORASCOPE_HOME to a folder on another disk",
        )
    }
}

/// Flushes a file to the disk and gives it its final name, at once and whole.
fn move_into_place(temporary: &Path, path: &Path) -> Result<()> {
    let flush = || File::options().append(true).open(temporary)?.sync_all();
    flush().map_err(Error::io("write", temporary))?;
    fs::rename(temporary, path).map_err(Error::io("write", path))?;
    // The name reaches the disk with its folder. Not every system opens folders; the file is whole
    // either way.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes what a killed process left behind and nobody can go on with.
fn remove_leftovers(folder: &Path) {
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = item.file_name();
        if name.to_string_lossy().starts_with(".wheels-") {
            let _ = fs::remove_dir_all(item.path());
        } else if name.to_string_lossy().starts_with(".import-") {
            let _ = fs::remove_file(item.path());
        }
    }
}

/// Bytes of all files under a folder.
pub(super) fn size_under(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files.filter_map(|item| item.metadata().ok()).filter(fs::Metadata::is_file).map(|found| found.len()).sum()
}

/// A file's checksum, as 64 lowercase hexadecimal digits.
pub(super) fn sha256_of(path: &Path, cancel: &Cancel) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        cancel.check()?;
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            sha256_of(&path, &Cancel::new()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(matches!(sha256_of(&path, &cancel), Err(Error::Cancelled)));
    }
}
