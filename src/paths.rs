//! Where do the program's files live?

use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use crate::error::{Error, Result};

/// The folders of data, cache and settings: the platform's, or all under `LORASCOPE_HOME`.
///
/// Nothing is created here; whoever writes a file makes its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What cannot be made again: models and runs.
    pub data: PathBuf,
    /// What can be made again: indexes and logs.
    pub cache: PathBuf,
    /// What the user writes: settings.
    pub config: PathBuf,
}

impl Paths {
    /// The folders for this user. `LORASCOPE_HOME`, when set, holds them all.
    ///
    /// Fails where the platform names no home folder and `LORASCOPE_HOME` is not set.
    pub fn find() -> Result<Self> {
        if let Some(home) = std::env::var_os("LORASCOPE_HOME").filter(|home| !home.is_empty()) {
            let home = std::path::absolute(&home).map_err(Error::io("resolve", PathBuf::from(&home)))?;
            return Ok(Self::under(home));
        }
        let dirs = ProjectDirs::from("", "", "lorascope").ok_or_else(|| {
            Error::refused("this account has no home folder", "set LORASCOPE_HOME to a folder to work in")
        })?;
        Ok(Self {
            data: dirs.data_dir().to_path_buf(),
            cache: dirs.cache_dir().to_path_buf(),
            config: dirs.config_dir().to_path_buf(),
        })
    }

    /// All folders under one.
    pub fn under(home: impl AsRef<Path>) -> Self {
        let home = home.as_ref().to_path_buf();
        Self { data: home.clone(), cache: home.clone(), config: home }
    }

    /// The model store.
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// The runs, a folder each.
    pub fn runs(&self) -> PathBuf {
        self.data.join("runs")
    }

    /// Search indexes and chunk embeddings, a folder for each corpus.
    pub fn indexes(&self) -> PathBuf {
        self.cache.join("indexes")
    }

    /// Log files.
    pub fn logs(&self) -> PathBuf {
        self.cache.join("logs")
    }

    /// The settings.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join("lorascope.toml")
    }

    /// The user's own list of models, which extends the built-in one.
    pub fn manifest_file(&self) -> PathBuf {
        self.config.join("models.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_home_holds_everything() {
        let paths = Paths::under("/h");
        for path in [paths.models(), paths.runs(), paths.indexes(), paths.logs(), paths.settings_file()] {
            assert!(path.starts_with("/h"), "{}", path.display());
        }
    }

    #[test]
    fn no_two_purposes_share_a_folder() {
        let paths = Paths::under("/h");
        let mut all = vec![paths.models(), paths.runs(), paths.indexes(), paths.logs()];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
