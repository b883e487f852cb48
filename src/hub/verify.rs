//! Are the files of the store still what they were?

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::manifest::{FileEntry, ModelEntry};
use super::store::{Store, sha256_of};
use super::{FetchEvent, Note};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// What `verify` found about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The model's name.
    pub model: String,
    /// The file.
    pub path: PathBuf,
    /// How it is.
    pub state: FileState,
}

/// How a file of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its checksum is right.
    Good,
    /// Size or checksum is wrong.
    Broken,
    /// It is not there.
    Missing,
}

impl Store {
    /// Takes all checksums again.
    pub fn verify(&self, cancel: &Cancel, note: &mut Note) -> Result<Vec<Verified>> {
        let mut found = Vec::new();
        let known: Vec<ModelEntry> =
            self.manifest().models.iter().cloned().chain(self.remembered()).collect();
        for entry in known {
            let folder = self.folder_of(&entry);
            if entry.files.iter().any(|file| folder.join(&file.name).exists()) {
                note(FetchEvent::Verifying { model: entry.name.clone() });
                found.extend(self.verify_entry(&entry, cancel)?);
            }
        }
        Ok(found)
    }

    /// Takes the checksums of one model again.
    pub fn verify_entry(&self, entry: &ModelEntry, cancel: &Cancel) -> Result<Vec<Verified>> {
        let folder = self.folder_of(entry);
        let state = |file: &FileEntry| -> Result<FileState> {
            let path = folder.join(&file.name);
            match fs::metadata(&path) {
                Err(_) => Ok(FileState::Missing),
                Ok(found) if found.len() != file.size => Ok(FileState::Broken),
                Ok(_) if file.sha256.as_ref() == Some(&sha256_of(&path, cancel)?) => Ok(FileState::Good),
                Ok(_) => Ok(FileState::Broken),
            }
        };
        entry
            .files
            .iter()
            .map(|file| {
                let path = folder.join(&file.name);
                Ok(Verified { model: entry.name.clone(), path, state: state(file)? })
            })
            .collect()
    }

    /// Removes the files of a model whose checksum is wrong; returns how many.
    pub fn discard_broken(&self, entry: &ModelEntry, cancel: &Cancel) -> Result<usize> {
        let mut n_removed = 0;
        for file in self.verify_entry(entry, cancel)? {
            if file.state == FileState::Broken {
                fs::remove_file(&file.path).map_err(Error::io("remove", &file.path))?;
                n_removed += 1;
            }
        }
        Ok(n_removed)
    }
}
