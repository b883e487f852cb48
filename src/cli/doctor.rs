//! `lorascope doctor`: what does this machine offer, and what is missing?

mod check;
mod files;
mod machine;
mod models;
mod terminal;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use serde_json::json;

use super::{Common, cancel_on_signals, say, say_json};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::error::Error;
use crate::hub::Store;
use crate::paths::Paths;
use check::{Check, State};

/// Runs it. Exits with 1 where something makes the lab impossible.
pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let checks = all(common, &cancel)?;
    let missing: Vec<&str> = checks
        .iter()
        .filter(|check| check.state == State::Missing)
        .map(|check| check.about.as_str())
        .collect();
    if common.json {
        let version = env!("CARGO_PKG_VERSION");
        say_json(&json!({ "possible": missing.is_empty(), "version": version, "checks": checks }))?;
    } else {
        let width = checks.iter().map(|check| check.about.len()).max().unwrap_or(0);
        for check in &checks {
            say(check.line(width))?;
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let what = format!("the lab cannot work here for want of: {}", missing.join(", "));
    Err(Error::refused(what, "do what their lines say").into())
}

/// Every check, from the machine up to the terminal. What is broken hides nothing that comes after it.
fn all(common: &Common, cancel: &Cancel) -> anyhow::Result<Vec<Check>> {
    let var = |name: &str| std::env::var(name).ok();
    let mut checks = vec![
        machine::system(),
        machine::cpu(&crate::kernels::features()),
        machine::kernels(&var),
        machine::memory(),
    ];
    match Paths::find() {
        Err(error) => checks.push(Check::missing("folders", error.to_string(), None)),
        Ok(paths) => checks.extend(of_paths(&paths, common, cancel)?),
    }
    let size = io::stdout().is_terminal().then(|| crossterm::terminal::size().unwrap_or_default());
    checks.extend(terminal::checks(&var, size));
    Ok(checks)
}

/// The checks of folders, settings, models and their sources.
fn of_paths(paths: &Paths, common: &Common, cancel: &Cancel) -> anyhow::Result<Vec<Check>> {
    let mut checks = files::folders(paths);
    let (check, settings) = files::settings(paths, Settings::read(paths));
    checks.push(check);
    let mut settings = settings.unwrap_or_default();
    settings.model = common.model.clone().or(settings.model);
    match Store::open(paths, &settings.hub) {
        Err(error) => checks.push(Check::missing("models", error.to_string(), None)),
        Ok(store) => checks.extend(models::checks(&store, &settings, cancel)?),
    }
    Ok(checks)
}
