//! A tiny hub on 127.0.0.1 that can be told to misbehave.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

/// How one request for a file is answered.
pub(crate) enum Act {
    /// As it should be.
    Serve,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The first byte is wrong.
    Corrupt,
    /// With this status and no body.
    Status(u16),
    /// The whole file, whatever range was asked for.
    IgnoreRange,
    /// So many bytes, then silence until the client goes.
    Stall(usize),
    /// Properly, but only once the channel says so or closes.
    Wait(Receiver<()>),
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    acts: VecDeque<Act>,
    requests: Vec<String>,
}

/// The server; it listens until the test process ends.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start(files: &[(&str, &[u8])], acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(path, body)| ((*path).to_owned(), body.to_vec())).collect();
        let state = State { files, acts: acts.into(), requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { endpoint, state }
    }

    /// An address at which nobody listens.
    pub(crate) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    /// `METHOD PATH RANGE` of each request so far, RANGE being `-` where none was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut head = Vec::new();
    for line in BufReader::new(stream.try_clone().ok()?).lines() {
        match line.ok()? {
            line if line.is_empty() => break,
            line => head.push(line),
        }
    }
    let mut words = head.first()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |name: &str| {
        let found = head.iter().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
        found.map(|value| value.trim().to_owned())
    };
    let range = header("range:");
    let (body, act) = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{method} {path} {}", range.as_deref().unwrap_or("-")));
        let act = if method == "GET" { state.acts.pop_front() } else { None };
        (state.files.get(&path).cloned(), act.unwrap_or(Act::Serve))
    };
    let Some(mut body) = body else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok();
    };
    let mut offset = range.and_then(|r| r.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    let mut n_sent = usize::MAX;
    match &act {
        Act::Serve => {}
        Act::Cut(n) | Act::Stall(n) => n_sent = *n,
        Act::Corrupt => body[0] ^= 1,
        Act::IgnoreRange => offset = None,
        Act::Wait(gate) => drop(gate.recv()),
        Act::Status(status) => {
            let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return stream.write_all(head.as_bytes()).ok();
        }
    }
    let total = body.len();
    let status = match offset {
        Some(offset) => format!("206 Partial\r\nContent-Range: bytes {offset}-{}/{total}", total - 1),
        None => "200 OK\r\nX-Repo-Commit: c0ffee".to_owned(),
    };
    let body = &body[offset.unwrap_or(0)..];
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if method == "GET" {
        stream.write_all(&body[..n_sent.min(length)]).ok()?;
    }
    if matches!(act, Act::Stall(_)) {
        // Returns when the client closes the connection.
        std::io::Read::read(&mut stream, &mut [0]).ok()?;
    }
    Some(())
}
