//! What goes when a run is removed, and what stays?
//!
//! Whoever trains with `--run DIR` may have things of their own in that folder, so that outside the
//! program's own folder of runs only the parts of a run go.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::facts::FACTS;
use super::listing::{LOCK, RunLock, taken};
use super::{METRICS, RECORD, RunFolder};
use crate::error::{Error, Result};

/// The parts of a run, the record and the lock aside: they go last.
pub(super) const PARTS: [&str; 6] = [METRICS, FACTS, "checkpoints", "adapter", "report", "export"];

/// What became of a run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The folder.
    pub path: PathBuf,
    /// What is no part of the run and was left in it; empty when the folder has gone.
    pub left: Vec<PathBuf>,
}

/// Removes the run in the folder `path`. Under `runs`, the program's own folder, it goes with all that is
/// in it; elsewhere what is no part of a run stays. The record goes last: until then it is still a run.
///
/// # Errors
/// When there is no run, somebody trains it now, or something cannot be removed.
pub fn remove(runs: &Path, path: &Path) -> Result<Removed> {
    RunFolder::read_record(path)?;
    let path = path.canonicalize().map_err(Error::io("resolve", path))?;
    let _lock = lock(&path)?;
    let is_ours = path.parent().is_some_and(|parent| runs.canonicalize().is_ok_and(|runs| runs == parent));
    let entries: Vec<PathBuf> =
        fs::read_dir(&path).map_err(Error::io("read", &path))?.flatten().map(|entry| entry.path()).collect();
    let is = |entry: &Path, name: &str| entry.file_name().is_some_and(|found| found == name);
    for entry in &entries {
        let is_part = PARTS.iter().any(|name| is(entry, name));
        if (is_ours || is_part) && !is(entry, RECORD) && !is(entry, LOCK) {
            remove_entry(entry)?;
        }
    }
    for name in [RECORD, LOCK] {
        remove_entry(&path.join(name))?;
    }
    let left = fs::read_dir(&path).map_err(Error::io("read", &path))?;
    let left: Vec<PathBuf> = left.flatten().map(|entry| entry.path()).collect();
    if left.is_empty() {
        fs::remove_dir(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(Removed { path, left })
}

impl RunFolder {
    /// Removes a run that never began, and its folder if nothing else is in it.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn discard(&self, lock: RunLock) -> Result<()> {
        for name in [METRICS, LOCK, RECORD] {
            let part = self.path().join(name);
            if part.exists() {
                remove_entry(&part)?;
            }
        }
        // What else is in it stays.
        let _ = fs::remove_dir(self.path());
        drop(lock);
        Ok(())
    }
}

/// Held while the run is removed, so that nobody begins to train it meanwhile.
fn lock(path: &Path) -> Result<File> {
    let place = path.join(LOCK);
    let file = File::create(&place).map_err(Error::io("create", &place))?;
    if taken(&file).map_err(Error::io("lock", &place))? {
        return Ok(file);
    }
    Err(Error::file(path, "another process is training in this folder", "wait for it or stop it"))
}

/// A link goes, not what it leads to.
fn remove_entry(entry: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(entry) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(entry),
        Ok(_) => fs::remove_file(entry),
        Err(e) => Err(e),
    };
    removed.map_err(Error::io("remove", entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::listing::tests::made;

    #[test]
    fn a_run_goes_with_all_that_is_in_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = made(home.path(), "a");
        fs::create_dir_all(folder.checkpoints().join("step-000003")).unwrap();
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        let removed = remove(home.path(), folder.path()).unwrap();
        assert!(removed.left.is_empty() && !folder.path().exists() && home.path().exists());
    }

    #[test]
    fn a_run_that_never_began_leaves_what_was_there_before() {
        let home = tempfile::tempdir().unwrap();
        let trained = made(home.path(), "trained");
        fs::create_dir_all(trained.checkpoints().join("step-000003")).unwrap();
        assert!(trained.is_begun(), "whatever became of its metrics");
        let damaged = made(home.path(), "damaged");
        fs::write(damaged.path().join(METRICS), "{\n{}\n").unwrap();
        assert!(damaged.is_begun(), "what cannot be read is something");
        for (name, notes) in [("a", false), ("b", true)] {
            let folder = made(home.path(), name);
            if notes {
                fs::write(folder.path().join("notes.txt"), "x").unwrap();
            }
            assert!(!folder.is_begun());
            folder.discard(folder.lock().unwrap()).unwrap();
            assert_eq!(folder.path().exists(), notes);
            assert!(!RunFolder::is_at(folder.path()));
        }
    }

    #[test]
    fn elsewhere_what_is_no_part_of_the_run_stays() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = made(elsewhere.path(), "thesis");
        fs::create_dir_all(folder.adapter()).unwrap();
        let mine = folder.path().join("thesis.tex");
        fs::write(&mine, "x").unwrap();
        let removed = remove(home.path(), folder.path()).unwrap();
        assert_eq!(removed.left, [mine.canonicalize().unwrap()]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_run_or_is_in_work_is_refused_and_untouched() {
        let home = tempfile::tempdir().unwrap();
        let folder = made(home.path(), "a");
        let lock = folder.lock().unwrap();
        let error = remove(home.path(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("another process is training"), "{error}");
        drop(lock);
        let foreign = home.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        assert!(remove(home.path(), &foreign).unwrap_err().to_string().contains("no run here"));
        fs::write(foreign.join(RECORD), "colour = 1\n").unwrap();
        assert!(remove(home.path(), &foreign).is_err());
        assert!(foreign.join(RECORD).exists() && !foreign.join(LOCK).exists());
        assert!(folder.path().join(RECORD).exists());
    }

    #[test]
    #[cfg(unix)]
    fn a_link_goes_and_what_it_leads_to_stays() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = made(home.path(), "a");
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("report")).unwrap();
        remove(home.path(), folder.path()).unwrap();
        assert!(elsewhere.path().join("kept").exists() && !folder.path().exists());
    }
}
