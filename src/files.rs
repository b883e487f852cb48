//! How is a file, or a folder, written so that nobody ever sees half of it, and kept from others meanwhile?

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Who may hold a file's lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Other readers.
    Readers,
    /// Nobody.
    Nobody,
}

/// Takes a file's lock, if it can be had at once; whether it could. The operating system lets go of it when the file is
/// closed or the process dies. Some network file systems know no locks: one process at a time is then the rule, and the
/// lock counts as had.
///
/// # Errors
/// When the system refuses for another reason than that somebody holds it.
pub fn try_lock(file: &File, share: Share) -> io::Result<bool> {
    let tried = match share {
        Share::Readers => file.try_lock_shared(),
        Share::Nobody => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Writes a file whole: under a temporary name in the same folder, flushed to the disk, then renamed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|e| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
        Error::io("write", path)(e)
    })
}

/// Writes a folder whole: `fill` puts files into a folder of a temporary name beside `path`, which then
/// takes its name and the place of what was there. When it fails, what was there stays.
///
/// # Errors
/// When `fill` fails, or the folders cannot be made, flushed or renamed.
pub fn write_folder_whole(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (partial, old) = (beside(path, "part"), beside(path, "old"));
    clear(&partial)?;
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    let written = fill(&partial).and_then(|()| flush(&partial)).and_then(|()| {
        clear(&old)?;
        put_in_place(&partial, path, &old).map_err(Error::io("write", path))
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = clear(&partial);
        return written;
    }
    clear(&old)
}

/// A hidden name of its own for something that stands in for `path`.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(Error::io("clear", folder)) } else { Ok(()) }
}

/// Flushes the files of a folder to the disk.
fn flush(folder: &Path) -> Result<()> {
    for file in fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten() {
        let sync = || File::open(file.path())?.sync_all();
        sync().map_err(Error::io("write", file.path()))?;
    }
    Ok(())
}

fn put_in_place(partial: &Path, path: &Path, old: &Path) -> io::Result<()> {
    let was_there = path.exists();
    if was_there {
        fs::rename(path, old)?;
    }
    fs::rename(partial, path).inspect_err(|_| {
        if was_there {
            let _ = fs::rename(old, path);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_and_takes_the_place_of_the_old_one() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("new");
        for name in ["a", "b"] {
            write_folder_whole(&place, |folder| {
                assert!(!place.join(name).exists());
                write_whole(&folder.join(name), b"x")
            })
            .unwrap();
            assert_eq!(names(&place), [name]);
            assert_eq!(names(home.path()), ["new"], "nothing else is left behind");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_filled_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("kept");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("old"), "x").unwrap();
        let error = write_folder_whole(&place, |folder| {
            write_whole(&folder.join("new"), b"x")?;
            Err(Error::refused("no", "stop"))
        });
        assert_eq!(error.unwrap_err().to_string(), "no; stop");
        assert_eq!((names(&place), names(home.path())), (vec!["old".to_owned()], vec!["kept".to_owned()]));
    }
}
