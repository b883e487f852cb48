//! Could a model be fetched now: does the hub answer, and is there a pip?

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::http::{agent, in_words, off_thread};
use super::{Failure, Store, web_address};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// How the hub was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubReach {
    /// It was not asked: the network is to be left alone.
    Offline,
    /// It answered with this status; from 400 on it does not give the file that was asked for.
    Answered(u16),
    /// It did not answer, and why.
    Silent(String),
}

/// A Python that may be asked for wheels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pip {
    /// The Python, as it is called.
    pub python: PathBuf,
    /// What its pip says of itself, or why there is none.
    pub version: Result<String, String>,
}

impl Store {
    /// The hub's address.
    pub fn hub_address(&self) -> &str {
        &self.network().endpoint
    }

    /// Asks the hub for the default decoder, without fetching it. Waits no longer than for a connection.
    ///
    /// # Errors
    /// When `cancel` was set meanwhile.
    pub fn reach_hub(&self, cancel: &Cancel) -> Result<HubReach> {
        let network = self.network();
        if network.is_offline {
            return Ok(HubReach::Offline);
        }
        let manifest = self.manifest();
        let file = manifest.entry(&manifest.default_decoder).and_then(|entry| {
            let file = entry.files.first()?;
            web_address(network, entry, file)
        });
        let url = file.unwrap_or_else(|| network.endpoint.clone());
        let (agent, wait) = (agent(network), network.connect_timeout);
        let call = move || {
            let config = agent.head(&url).config().timeout_global(Some(wait));
            config.max_redirects(0).max_redirects_will_error(false).build().call()
        };
        match off_thread(cancel, call) {
            Ok(Ok(response)) => Ok(HubReach::Answered(response.status().as_u16())),
            Ok(Err(error)) => Ok(HubReach::Silent(in_words(&error))),
            Err(Failure::NextSource(why)) => Ok(HubReach::Silent(why)),
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    /// The Pythons that would be asked for wheels, in order, each with its pip.
    ///
    /// # Errors
    /// When `cancel` was set meanwhile.
    pub fn pips(&self, cancel: &Cancel) -> Result<Vec<Pip>> {
        let ask = |python: &PathBuf| {
            let asked = python.clone();
            let version = match off_thread(cancel, move || pip_version(&asked)) {
                Ok(version) => version,
                Err(Failure::NextSource(why)) => Err(why),
                Err(Failure::Fatal(error)) => return Err(error),
            };
            Ok::<_, Error>(Pip { python: python.clone(), version })
        };
        self.network().pythons.iter().map(ask).collect()
    }
}

/// `pip 24.0 from ... (python 3.12)`, or why not.
fn pip_version(python: &Path) -> Result<String, String> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--version", "--disable-pip-version-check"]).stdin(Stdio::null());
    let output = command.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "not found".to_owned(),
        _ => format!("does not start: {e}"),
    })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(said(&output.stdout).lines().next().unwrap_or_default().to_owned());
    }
    let last = said(&output.stderr).lines().next_back().map(str::to_owned);
    Err(last.unwrap_or_else(|| format!("ended with {}", output.status)))
}
