//! Where does a measurement put what it writes?

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder that is gone again afterwards.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(place: &Path) -> Result<Self> {
        let path = place.join(format!("bench-{}", std::process::id()));
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("clear", &path)(e)),
            _ => Ok(Self(path)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing is lost where it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
