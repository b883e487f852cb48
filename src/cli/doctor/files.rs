//! Can files be kept where they belong?

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::check::Check;
use crate::config::Settings;
use crate::error::Result;
use crate::paths::Paths;

const ELSEWHERE: &str = "make it writable, or set LORASCOPE_HOME to a folder that is";

/// Data, cache and settings: where they are, and whether they can be written.
pub(super) fn folders(paths: &Paths) -> Vec<Check> {
    [("data", &paths.data), ("cache", &paths.cache), ("config", &paths.config)]
        .into_iter()
        .map(|(about, folder)| {
            let trial = try_to_write(&nearest(folder));
            let values = json!({ "path": folder, "exists": folder.is_dir(), "writable": trial.is_ok() });
            let place = folder.display();
            let check = match trial {
                Ok(()) if folder.is_dir() => Check::ok(about, place.to_string()),
                Ok(()) => Check::ok(about, format!("{place} (made when it is needed)")),
                // Settings are read, never written.
                Err(e) if about == "config" => {
                    Check::note(about, format!("{place} cannot be written: {e}"), "settings can only be read")
                }
                Err(e) => Check::missing(about, format!("{place} cannot be written: {e}"), Some(ELSEWHERE)),
            };
            check.with(values)
        })
        .collect()
}

/// The settings, and what is said of them; `read` is how reading them went.
pub(super) fn settings(paths: &Paths, read: Result<Settings>) -> (Check, Option<Settings>) {
    let file = paths.settings_file();
    let values = json!({ "path": file, "found": file.is_file() });
    let (check, settings) = match read {
        Ok(settings) if file.is_file() => (Check::ok("settings", file.display().to_string()), Some(settings)),
        Ok(settings) => {
            let what = format!("no {}: all is as it comes", file.display());
            (Check::ok("settings", what), Some(settings))
        }
        Err(error) => (Check::missing("settings", error.to_string(), Some("correct it")), None),
    };
    (check.with(values), settings)
}

/// The folder itself, or the nearest above it that exists.
pub(super) fn nearest(folder: &Path) -> PathBuf {
    folder.ancestors().find(|above| above.exists()).unwrap_or(folder).to_path_buf()
}

/// Makes a file in the folder and removes it: permissions alone don't tell.
fn try_to_write(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!(".lorascope-doctor-{}", std::process::id()));
    File::options().write(true).create_new(true).open(&file)?;
    fs::remove_file(&file)
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_tried_above_and_left_unmade() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::under(home.path().join("a/b"));
        assert!(folders(&paths).iter().all(|check| check.state == State::Ok));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_ends_it_for_data_but_not_for_settings() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        let states: Vec<State> = folders(&Paths::under(&file)).iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Missing, State::Missing, State::Note]);
    }

    #[test]
    fn wrong_settings_are_told_with_their_line() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::under(home.path());
        let look = || settings(&paths, Settings::load(&paths.settings_file()));
        assert!(look().0.what.starts_with("no "));
        fs::write(paths.settings_file(), "modle = \"m\"\n").unwrap();
        let (check, read) = look();
        assert!(check.state == State::Missing && check.what.contains("lorascope.toml:1:") && read.is_none());
        fs::write(paths.settings_file(), "model = \"m\"\n").unwrap();
        assert_eq!((look().0.state, look().1.unwrap().model.as_deref()), (State::Ok, Some("m")));
    }
}
