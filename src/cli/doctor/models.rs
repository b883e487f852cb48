//! Are the models here, and could they come?

use std::path::Path;

use serde_json::json;

use super::check::Check;
use super::files::nearest;
use crate::cancel::Cancel;
use crate::cli::progress::bytes;
use crate::config::Settings;
use crate::error::Result;
use crate::hub::{self, HubReach, ModelEntry, Pip, Store};

/// Room for a few runs with their checkpoints.
const ROOM_FOR_RUNS: u64 = 1_000_000_000;

/// How a model can be had that is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the hub, or as a wheel.
    Fetch,
    /// Only by hand.
    Import,
}

/// Room on the disk, the models, the hub and pip.
pub(super) fn checks(store: &Store, settings: &Settings, cancel: &Cancel) -> Result<Vec<Check>> {
    let (reach, pips) = (store.reach_hub(cancel)?, store.pips(cancel)?);
    let is_answered = matches!(reach, HubReach::Answered(..400));
    let has_pip = reach != HubReach::Offline && pips.iter().any(|pip| pip.version.is_ok());
    let way = if is_answered || has_pip { Way::Fetch } else { Way::Import };
    let manifest = store.manifest();
    let decoder = settings.model.as_deref().unwrap_or(&manifest.default_decoder);
    let needed = [decoder, manifest.default_embedder.as_str()];
    let to_come = needed.iter().filter_map(|name| manifest.entry(name));
    let to_come = to_come.filter(|entry| store.locate(&entry.name).is_none()).map(ModelEntry::size).sum();
    let mut checks = vec![disk(store.folder(), to_come)];
    if manifest.entry(decoder).is_none() {
        checks.push(unlisted(store, decoder, is_answered));
    }
    for entry in manifest.models.iter().cloned().chain(store.remembered()) {
        let is_needed = needed.contains(&entry.name.as_str());
        checks.push(listed(store, &entry, is_needed.then_some(way)));
    }
    checks.push(of_hub(store.hub_address(), &reach));
    checks.push(pip(&pips));
    Ok(checks)
}

fn disk(folder: &Path, to_come: u64) -> Check {
    match fs4::available_space(nearest(folder)) {
        Ok(free) => disk_of(folder, free, to_come),
        Err(e) => Check::note(
            "disk",
            format!("the room at {} cannot be told: {e}", folder.display()),
            "see that there is some",
        ),
    }
}

/// `to_come` is what the models need that are not here yet.
fn disk_of(folder: &Path, free: u64, to_come: u64) -> Check {
    const REMEDY: &str = "free some space, or set LORASCOPE_HOME to a folder on another disk";
    let what = format!("{} free at {}", bytes(free), folder.display());
    let check = if free < to_come {
        Check::missing("disk", format!("{what}, the models need {}", bytes(to_come)), Some(REMEDY))
    } else if free < to_come + ROOM_FOR_RUNS {
        Check::note("disk", what, REMEDY)
    } else {
        Check::ok("disk", what)
    };
    check.with(json!({ "path": folder, "free_bytes": free, "models_need_bytes": to_come }))
}

/// A model of the list. `needed` says how it could come, where the lab needs it.
fn listed(store: &Store, entry: &ModelEntry, needed: Option<Way>) -> Check {
    let (about, size) = ("model", bytes(entry.size()));
    let files = store.locate(&entry.name);
    let values = json!({
        "name": entry.name, "needed": needed.is_some(), "bytes": entry.size(),
        "path": files.as_ref().map(|files| &files.path),
    });
    let name = &entry.name;
    let check = match (files, needed) {
        (Some(files), _) => Check::ok(about, format!("{name}, {size}, {}", files.path.display())),
        (None, Some(Way::Fetch)) => Check::note(
            about,
            format!("{name}, {size}, is not here yet"),
            "it comes when it is first needed, or now with `lorascope models fetch`",
        ),
        (None, Some(Way::Import)) => Check::missing(
            about,
            format!("{name}, {size}, is not here, and neither hub nor pip can be used"),
            Some("bring its file by hand and run `lorascope models import PATH`"),
        ),
        (None, None) => {
            let remedy = format!("not needed; `lorascope models fetch {name}` brings it");
            Check::note(about, format!("{name}, {size}, is not here"), &remedy)
        }
    };
    check.with(values)
}

/// A model that the settings name and the list does not: a file, a folder or a hub id.
fn unlisted(store: &Store, spec: &str, is_hub_there: bool) -> Check {
    let place = store.locate(spec).map(|files| files.path);
    let place = place.or_else(|| Some(Path::new(spec).to_path_buf()).filter(|path| path.exists()));
    let is_hub_id = hub::is_hub_id(spec);
    let values = json!({ "name": spec, "needed": true, "path": place });
    let check = match place {
        Some(path) => Check::ok("model", format!("{spec}, {}", path.display())),
        None if is_hub_id && is_hub_there => Check::note(
            "model",
            format!("{spec} is not here yet"),
            &format!("it comes when it is first needed, or now with `lorascope models fetch {spec}`"),
        ),
        None if is_hub_id => Check::missing(
            "model",
            format!("{spec} is not here, and the hub cannot be used"),
            Some("download its folder elsewhere and give its path with --model"),
        ),
        None => Check::missing(
            "model",
            format!("there is no model `{spec}`"),
            Some("correct --model, LORASCOPE_MODEL or lorascope.toml; see `lorascope models list`"),
        ),
    };
    check.with(values)
}

fn of_hub(address: &str, reach: &HubReach) -> Check {
    let others = "the Python wheels serve too; behind a mirror, set HF_ENDPOINT";
    let check = match reach {
        HubReach::Offline => Check::note(
            "hub",
            format!("{address} was not asked: LORASCOPE_OFFLINE forbids it"),
            "unset it to fetch models",
        ),
        HubReach::Answered(..400) => Check::ok("hub", format!("{address} answers")),
        HubReach::Answered(status) => {
            Check::note("hub", format!("{address} refuses the default model with status {status}"), others)
        }
        HubReach::Silent(why) => Check::note("hub", format!("{address}: {why}"), others),
    };
    let reachable = match reach {
        HubReach::Offline => None,
        HubReach::Answered(status) => Some(*status < 400),
        HubReach::Silent(_) => Some(false),
    };
    check.with(json!({ "address": address, "reachable": reachable }))
}

fn pip(pips: &[Pip]) -> Check {
    let told = |pip: &Pip| {
        let said = pip.version.as_ref().unwrap_or_else(|why| why);
        format!("{}: {said}", pip.python.display())
    };
    let found = pips.iter().find(|pip| pip.version.is_ok());
    let check = match found {
        Some(pip) => Check::ok("pip", told(pip)),
        None => Check::note(
            "pip",
            pips.iter().map(told).collect::<Vec<_>>().join(", "),
            "where the hub is out of reach, models come through pip: install one, or set LORASCOPE_PYTHON",
        ),
    };
    check.with(json!({ "python": found.map(|pip| &pip.python) }))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use crate::config::HubSettings;
    use crate::paths::Paths;

    #[test]
    fn a_full_disk_ends_it_only_if_models_are_to_come() {
        let state = |free, to_come| disk_of(Path::new("/models"), free, to_come).state;
        assert_eq!(state(10, 20), State::Missing);
        assert_eq!(state(10, 0), State::Note);
        assert_eq!(state(2 * ROOM_FOR_RUNS, 20), State::Ok);
    }

    #[test]
    fn a_silent_hub_and_a_lacking_pip_are_noted() {
        assert_eq!(of_hub("h", &HubReach::Answered(302)).state, State::Ok);
        assert_eq!(of_hub("h", &HubReach::Answered(404)).state, State::Note);
        let silent = of_hub("h", &HubReach::Silent("no answer in time".to_owned()));
        assert_eq!((silent.state, &silent.values["reachable"]), (State::Note, &json!(false)));
        assert!(of_hub("h", &HubReach::Offline).values["reachable"].is_null());
        let without = Pip { python: "python3".into(), version: Err("not found".to_owned()) };
        let with = Pip { python: "python".into(), version: Ok("pip 24".to_owned()) };
        assert_eq!(pip(&[without.clone(), with]).what, "python: pip 24");
        let lacking = pip(&[without]);
        assert_eq!((lacking.state, lacking.what.as_str()), (State::Note, "python3: not found"));
    }

    #[test]
    fn a_model_that_cannot_come_ends_it_only_if_it_is_needed() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::under(home.path()), &HubSettings::default()).unwrap();
        let entry = store.manifest().models[0].clone();
        let state = |needed| listed(&store, &entry, needed).state;
        assert_eq!(state(None), State::Note);
        assert_eq!(state(Some(Way::Fetch)), State::Note);
        assert_eq!(state(Some(Way::Import)), State::Missing);
        let state = |spec: &str, is_hub_there| unlisted(&store, spec, is_hub_there).state;
        assert_eq!(state("Org/Name", true), State::Note);
        assert_eq!(state("Org/Name", false), State::Missing);
        assert_eq!(state("smollm3", true), State::Missing);
        assert_eq!(state(&home.path().display().to_string(), false), State::Ok);
    }
}
