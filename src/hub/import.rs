//! How do files that were brought by hand get into the store?
//!
//! They are known by their checksum, whatever they are called: the files themselves, wheels that hold
//! them, or folders with either.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manifest::{FileEntry, ModelEntry, Piece, Source};
use super::sources::{PieceError, append_piece, open_wheel};
use super::store::{Store, sha256_of};
use super::{FetchEvent, Note};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// How deep a folder is searched.
const DEPTH: usize = 6;

/// A model some of whose files were brought.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The model.
    pub entry: ModelEntry,
    found: Vec<(FileEntry, Found)>,
}

/// What an import did for one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The model's name.
    pub model: String,
    /// The files that were taken in.
    pub files: Vec<String>,
    /// The files that the model still lacks.
    pub missing: Vec<String>,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
enum Found {
    /// In this file.
    File(PathBuf),
    /// In these wheels, under these paths, to be joined in order.
    Pieces(Vec<(PathBuf, String)>),
}

/// What was brought.
#[derive(Default)]
struct Brought {
    files: Vec<PathBuf>,
    wheels: Vec<PathBuf>,
}

impl Store {
    /// Finds the files of known models at `paths`: files, wheels or folders.
    ///
    /// Fails if nothing is recognised; the error says what was looked at and what would be known.
    pub fn recognise(&self, paths: &[PathBuf], cancel: &Cancel) -> Result<Vec<Recognised>> {
        let brought = look_through(paths)?;
        let mut recognised = Vec::new();
        for entry in &self.manifest().models {
            let mut found = Vec::new();
            for file in &entry.files {
                found.extend(find(entry, file, &brought, cancel)?.map(|place| (file.clone(), place)));
            }
            if !found.is_empty() {
                recognised.push(Recognised { entry: entry.clone(), found });
            }
        }
        if recognised.is_empty() { Err(self.unrecognised(paths, &brought, cancel)?) } else { Ok(recognised) }
    }

    /// Takes in what was recognised of one model. Its licence must have been accepted.
    pub fn import(&self, recognised: &Recognised, cancel: &Cancel, note: &mut Note) -> Result<Imported> {
        let entry = &recognised.entry;
        self.check_licence(entry)?;
        let _lock = self.lock(entry, cancel, note)?;
        for (file, found) in &recognised.found {
            note(FetchEvent::Verifying { model: entry.name.clone() });
            let temporary = self.folder_of(entry).join(format!(".import-{}", file.name));
            let written = self.write(found, &temporary, (file.size, cancel));
            let admitted = written.and_then(|()| self.admit(entry, file, &temporary, cancel));
            if admitted.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            if let Some(fault) = admitted? {
                return Err(Error::refused(format!("cannot import: {fault}"), "download it again"));
            }
        }
        Ok(Imported {
            model: entry.name.clone(),
            files: recognised.found.iter().map(|(file, _)| file.name.clone()).collect(),
            missing: self.missing_files(entry).map(|file| file.name.clone()).collect(),
        })
    }

    /// Writes what was found to `temporary`.
    fn write(&self, found: &Found, temporary: &Path, (size, cancel): (u64, &Cancel)) -> Result<()> {
        let mut out = File::create(temporary).map_err(|e| self.write_error(temporary, e))?;
        match found {
            Found::File(path) => {
                let mut file = File::open(path).map_err(Error::io("read", path))?;
                let mut buffer = vec![0; 1 << 20];
                loop {
                    cancel.check()?;
                    match file.read(&mut buffer).map_err(Error::io("read", path))? {
                        0 => return Ok(()),
                        n => out.write_all(&buffer[..n]).map_err(|e| self.write_error(temporary, e))?,
                    }
                }
            }
            Found::Pieces(pieces) => {
                for (wheel, path) in pieces {
                    let mut archive = open_wheel(wheel)?;
                    append_piece(&mut archive, path, &mut out, (size, cancel)).map_err(|e| match e {
                        PieceError::Cancelled => Error::Cancelled,
                        PieceError::Write(e) => self.write_error(temporary, e),
                        PieceError::Wheel(why) => Error::file(wheel, why, "download it again"),
                    })?;
                }
                Ok(())
            }
        }
    }

    /// Says what was brought and what would have been taken.
    fn unrecognised(&self, paths: &[PathBuf], brought: &Brought, cancel: &Cancel) -> Result<Error> {
        let what = match (brought.files.as_slice(), brought.wheels.as_slice()) {
            ([file], []) => {
                let size = fs::metadata(file).map_err(Error::io("read", file))?.len();
                format!("it has {size} bytes and sha256 {}", sha256_of(file, cancel)?)
            }
            (files, wheels) => format!("{} files and {} wheels were looked at", files.len(), wheels.len()),
        };
        let known: Vec<String> = self
            .manifest()
            .models
            .iter()
            .flat_map(|entry| entry.files.iter())
            .map(|file| format!("{} ({} bytes)", file.name, file.size))
            .collect();
        let path = paths.first().cloned().unwrap_or_default();
        Ok(Error::file(
            path,
            format!("no file of a known model is here: {what}"),
            format!(
                "give one of {}, or a wheel or folder that holds it; any other .gguf file or folder can be \
                 used in place with --model PATH",
                known.join(", ")
            ),
        ))
    }
}

/// All files and wheels at the given places.
fn look_through(paths: &[PathBuf]) -> Result<Brought> {
    let mut brought = Brought::default();
    for path in paths {
        fs::metadata(path).map_err(Error::io("read", path))?;
        let items = walkdir::WalkDir::new(path).max_depth(DEPTH).follow_links(true).sort_by_file_name();
        for item in items.into_iter().flatten().filter(|item| item.file_type().is_file()) {
            let path = item.into_path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("whl" | "zip") => brought.wheels.push(path),
                _ => brought.files.push(path),
            }
        }
    }
    Ok(brought)
}

/// The wheel that holds a piece. A wheel that cannot be read holds nothing.
fn find_piece(piece: &Piece, brought: &Brought) -> Option<(PathBuf, String)> {
    let holds = |wheel: &&PathBuf| {
        open_wheel(wheel).is_ok_and(|archive| archive.index_for_name(&piece.path).is_some())
    };
    brought.wheels.iter().find(holds).map(|wheel| (wheel.clone(), piece.path.clone()))
}

/// Where a file's bytes are among what was brought.
fn find(entry: &ModelEntry, file: &FileEntry, brought: &Brought, cancel: &Cancel) -> Result<Option<Found>> {
    for path in &brought.files {
        let is_size = fs::metadata(path).is_ok_and(|found| found.len() == file.size);
        if is_size && file.sha256 == Some(sha256_of(path, cancel)?) {
            return Ok(Some(Found::File(path.clone())));
        }
    }
    for source in &entry.sources {
        let Source::Wheel { pieces } = source else { continue };
        let pieces = pieces.iter().filter(|piece| piece.file == file.name);
        let found: Option<Vec<_>> = pieces.map(|piece| find_piece(piece, brought)).collect();
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return Ok(Some(Found::Pieces(found)));
        }
    }
    Ok(None)
}
