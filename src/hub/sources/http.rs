//! How does a file come over HTTPS, whatever happens to the connection?
//!
//! The request runs on a thread of its own and hands chunks over, so that a cancel is heeded at once
//! even while the network is silent.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Response;

use super::{Failure, Job, Meter, Network};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::hub::manifest::FileEntry;

/// How often a connection that brought nothing is tried again.
const RETRIES: usize = 3;
/// How often cancel is looked at while the network is silent.
const LOOK: Duration = Duration::from_millis(50);
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// What the request's thread reports.
enum Arrival {
    /// Bytes follow, from this offset on.
    Began { offset: u64 },
    /// More bytes.
    Chunk(Vec<u8>),
    /// It cannot be had here; trying again would not help.
    Refused(String),
    /// The connection failed; trying again may help.
    Broke(String),
}

impl Job<'_, '_> {
    /// Fetches the missing files from a repository of the hub.
    pub(super) fn fetch_from_hub(&mut self, repo: &str, revision: &str) -> Result<(), Failure> {
        let mut meter = Meter::new(&self.entry.name, self.entry.size());
        let missing: Vec<&FileEntry> = self.store.missing_files(self.entry).collect();
        let mut done = self.entry.size() - missing.iter().map(|file| file.size).sum::<u64>();
        for file in missing {
            let url = self.store.network().address(repo, revision, &file.name);
            self.fetch_file(&url, file, &mut |job, n| meter.show(done + n, job.note))?;
            done += file.size;
        }
        Ok(())
    }

    /// Fetches one file, going on with what an earlier attempt left.
    fn fetch_file(
        &mut self,
        url: &str,
        file: &FileEntry,
        progress: &mut dyn FnMut(&mut Self, u64),
    ) -> Result<(), Failure> {
        let part = self.store.folder_of(self.entry).join(format!("{}.part", file.name));
        let mut is_continued = length(&part) > 0;
        loop {
            self.download(url, file, &part, progress)?;
            self.verifying();
            match self.store.admit(self.entry, file, &part, self.cancel)? {
                None => return Ok(()),
                // What lay there may have been another version's: once more from the beginning.
                Some(_) if is_continued => is_continued = false,
                Some(fault) => return Err(Failure::NextSource(fault)),
            }
        }
    }

    /// Brings `part` to the file's full size; broken connections are taken up again.
    fn download(
        &mut self,
        url: &str,
        file: &FileEntry,
        part: &Path,
        progress: &mut dyn FnMut(&mut Self, u64),
    ) -> Result<(), Failure> {
        let mut n_broken = 0;
        loop {
            let before = length(part);
            if before == file.size {
                return Ok(());
            }
            if before > file.size {
                fs::remove_file(part).map_err(Error::io("remove", part))?;
                continue;
            }
            let arrivals = request(self.store.network(), url, before, file.size);
            let why = self.take_in(&arrivals, part, progress)?;
            let after = length(part);
            n_broken = if after > before { 1 } else { n_broken + 1 };
            if n_broken > RETRIES {
                return Err(Failure::NextSource(why));
            }
            if after < file.size {
                self.pause(n_broken)?;
            }
        }
    }

    /// Leaves a server that broke off a moment's peace.
    fn pause(&self, n_broken: usize) -> Result<(), Failure> {
        for _ in 0..2 * n_broken {
            self.cancel.check()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Writes what arrives until the connection ends; returns why it ended.
    fn take_in(
        &mut self,
        arrivals: &Receiver<Arrival>,
        part: &Path,
        progress: &mut dyn FnMut(&mut Self, u64),
    ) -> Result<String, Failure> {
        let mut out: Option<(File, u64)> = None;
        loop {
            self.cancel.check()?;
            match arrivals.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok("the connection ended".to_owned()),
                Ok(Arrival::Refused(why)) => return Err(Failure::NextSource(why)),
                Ok(Arrival::Broke(why)) => return Ok(why),
                Ok(Arrival::Began { offset }) => {
                    let file = File::options().create(true).append(true).open(part);
                    let file = file.map_err(|e| self.store.write_error(part, e))?;
                    if offset == 0 && length(part) > 0 {
                        file.set_len(0).map_err(|e| self.store.write_error(part, e))?;
                    }
                    out = Some((file, offset));
                }
                Ok(Arrival::Chunk(bytes)) => {
                    let Some((file, done)) = &mut out else { continue };
                    file.write_all(&bytes).map_err(|e| self.store.write_error(part, e))?;
                    *done += bytes.len() as u64;
                    let done = *done;
                    progress(self, done);
                }
            }
        }
    }
}

/// Bytes of a file; 0 if there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Asks for a file from `offset` on. Dropping the receiver ends the request.
fn request(network: &Network, url: &str, offset: u64, size: u64) -> Receiver<Arrival> {
    let (sender, receiver) = sync_channel(8);
    let agent = agent(network);
    let (url, token) = (url.to_owned(), network.token.clone());
    let work = move || {
        let mut request = agent.get(&url).header("Accept-Encoding", "identity");
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let end = match request.call() {
            Ok(response) => hand_over(response, offset, size, &sender),
            Err(error) => Some(why_no_answer(&error)),
        };
        if let Some(end) = end {
            let _ = sender.send(end);
        }
    };
    // Without a thread the receiver sees the channel closed: a connection that ended at once.
    let _ = std::thread::Builder::new().name("download".to_owned()).spawn(work);
    receiver
}

/// Sends a body on, chunk by chunk; returns what went wrong.
fn hand_over(
    response: Response<ureq::Body>,
    offset: u64,
    size: u64,
    sender: &SyncSender<Arrival>,
) -> Option<Arrival> {
    let offset = match response.status().as_u16() {
        206 if starts_at(&response) == Some(offset) => offset,
        200 => 0,
        status => return Some(Arrival::Refused(format!("it answered with status {status}"))),
    };
    if let Some(length) = number_in(&response, "content-length").filter(|n| n + offset != size) {
        return Some(Arrival::Refused(format!("its file has {} bytes, not {size}", length + offset)));
    }
    sender.send(Arrival::Began { offset }).ok()?;
    let mut body = response.into_body().into_reader();
    let mut left = size - offset;
    while left > 0 {
        let mut chunk = vec![0; left.min(1 << 18) as usize];
        match body.read(&mut chunk) {
            Ok(0) => return Some(Arrival::Broke(format!("the connection ended {left} bytes early"))),
            Ok(n) => {
                chunk.truncate(n);
                left -= n as u64;
                sender.send(Arrival::Chunk(chunk)).ok()?;
            }
            Err(error) => return Some(Arrival::Broke(format!("the connection broke: {error}"))),
        }
    }
    None
}

/// The offset that a partial answer begins at: `Content-Range: bytes 5-9/10`.
fn starts_at(response: &Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

pub(super) fn number_in(response: &Response<ureq::Body>, header: &str) -> Option<u64> {
    response.headers().get(header)?.to_str().ok()?.trim().parse().ok()
}

/// A client that waits for a connection as long as the settings say.
pub(super) fn agent(network: &Network) -> Agent {
    let config = Agent::config_builder()
        .timeout_resolve(Some(network.connect_timeout))
        .timeout_connect(Some(network.connect_timeout))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .http_status_as_error(false)
        .user_agent(concat!("lorascope/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::new_with_config(config)
}

/// Why there was no answer at all. A hub that cannot be reached is not tried again.
fn why_no_answer(error: &ureq::Error) -> Arrival {
    match error {
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Arrival::Broke("the connection ended early".to_owned())
        }
        error => Arrival::Refused(in_words(error)),
    }
}

/// A network error in words that help.
pub(super) fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "no such host (no network, or it is blocked)".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(e) => e.to_string(),
        error => error.to_string(),
    }
}

/// Runs a request on a thread and waits for its outcome, heeding cancel.
pub(super) fn off_thread<T: Send + 'static>(
    cancel: &Cancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = sync_channel(1);
    let work = move || drop(sender.send(work()));
    let thread = std::thread::Builder::new().name("request".to_owned()).spawn(work);
    thread.map_err(|e| Failure::NextSource(format!("no thread for the request: {e}")))?;
    loop {
        cancel.check()?;
        match receiver.recv_timeout(LOOK) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::NextSource("the request came to nothing".to_owned()));
            }
        }
    }
}
