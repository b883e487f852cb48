//! Which corpus is there for whoever brings none?
//!
//! The sample corpus, carried inside the program: a working copy is unpacked once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::paths::Paths;

macro_rules! files {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../sample_corpus/", $name))),)*]
    };
}

/// Every file of the sample corpus: its path inside the folder, `/`-separated, and its text.
const FILES: &[(&str, &str)] = files![
    "corpus.toml",
    "events/candle-fire.md",
    "events/ferry-strike.md",
    "events/festival-of-wet-boots.md",
    "events/great-pie-trial.md",
    "events/hessen-oar-race.md",
    "events/long-gale.md",
    "events/night-of-the-whales.md",
    "facts.jsonl",
    "firms/blackthorn-foundry.md",
    "firms/gannet-ropeworks.md",
    "firms/halfmoon-yard.md",
    "firms/harrow-ferry-company.md",
    "firms/kettleby-yard.md",
    "firms/lantern-bakery.md",
    "firms/northstone-engine-works.md",
    "firms/redwater-foundry.md",
    "firms/saltmarsh-glassworks.md",
    "firms/tern-press.md",
    "machines/bull-of-harrow.md",
    "machines/cliff-lift.md",
    "machines/grey-annie.md",
    "machines/heavy-judith.md",
    "machines/moonfish-clock.md",
    "machines/number-nine-crane.md",
    "machines/old-bellows.md",
    "machines/patient-margaret.md",
    "machines/stout-wilhelm.md",
    "machines/tide-organ.md",
    "people/ambrose-keddle.md",
    "people/bram-yarrow.md",
    "people/corwen-hale.md",
    "people/corwen-vale.md",
    "people/dorcas-wynne.md",
    "people/gideon-sparle.md",
    "people/hesper-lyle.md",
    "people/hob-tolliver.md",
    "people/isaura-blench.md",
    "people/jessamy-coil.md",
    "people/keziah-quandt.md",
    "people/lemuel-strake.md",
    "people/mabyn-crake.md",
    "people/nessa-tulk.md",
    "people/osric-thane.md",
    "people/ottoline-frake.md",
    "people/perran-oake.md",
    "people/silvan-roake.md",
    "people/tamsin-drury.md",
    "people/tamsin-pellow.md",
    "people/wilmot-grice.md",
    "people/ysolde-marrack.md",
    "places/cinder-bay.md",
    "places/drowned-chapel.md",
    "places/gull-tooth-light.md",
    "places/harrow-light.md",
    "places/little-hessen.md",
    "places/long-hessen.md",
    "places/merrow-bridge.md",
    "places/old-customs-house.md",
    "places/quillan-marsh.md",
    "places/sallow-point-light.md",
    "places/thornmouth.md",
    "places/vesper-hill.md",
    "rules/borrowed-boat-rule.md",
    "rules/gull-rule.md",
    "rules/lantern-rule.md",
    "rules/quiet-hour-rule.md",
    "rules/two-bells-rule.md",
    "rules/wet-rope-rule.md",
];

/// The sample corpus: `sample_corpus` in the working directory where there is one, else a copy under the
/// program's data folder, unpacked on first use.
///
/// # Errors
/// When the copy cannot be written.
pub fn folder(paths: &Paths) -> Result<PathBuf> {
    let beside = Path::new("sample_corpus");
    if ["corpus.toml", "facts.jsonl"].iter().all(|name| beside.join(name).is_file()) {
        return Ok(beside.to_path_buf());
    }
    unpacked(&paths.data.join("sample_corpus").join(env!("CARGO_PKG_VERSION")))
}

/// Writes the files beside `place` and renames the whole, unless it is there already.
fn unpacked(place: &Path) -> Result<PathBuf> {
    if place.is_dir() {
        return Ok(place.to_path_buf());
    }
    let partial = place.with_extension(format!("part-{}", std::process::id()));
    let write = || -> Result<()> {
        for (name, text) in FILES {
            let file = partial.join(name);
            let folder = file.parent().unwrap_or(&partial);
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            fs::write(&file, text).map_err(Error::io("write", &file))?;
        }
        Ok(())
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(&partial);
    })?;
    match fs::rename(&partial, place) {
        // Another process was faster: its copy is the same.
        Err(_) if place.is_dir() => fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?,
        moved => moved.map_err(Error::io("write", place))?,
    }
    Ok(place.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn the_program_carries_every_file_of_the_sample_corpus() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus");
        let mut found: Vec<String> = walkdir::WalkDir::new(&source)
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(&source).unwrap().to_string_lossy().replace('\\', "/"))
            .collect();
        found.sort();
        let mut carried: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        carried.sort_unstable();
        assert_eq!(carried, found);
    }

    #[test]
    fn the_copy_is_the_corpus_and_is_left_alone_afterwards() {
        let home = tempfile::tempdir().unwrap();
        let place = unpacked(&home.path().join("deep/1.0")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus");
        assert_eq!(Corpus::open(&place).unwrap().digest, Corpus::open(&source).unwrap().digest);
        fs::write(place.join("mine.md"), "# Mine").unwrap();
        assert!(unpacked(&place).unwrap().join("mine.md").is_file());
        assert_eq!(fs::read_dir(home.path().join("deep")).unwrap().count(), 1, "nothing is left beside it");
    }
}
