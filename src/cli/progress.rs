//! How does the user see how far long work has come?
//!
//! On a terminal one line of standard error is drawn again and again; elsewhere (a log, a pipe) a
//! line is written now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::hub::FetchEvent;

/// Between two lines where standard error is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes progress to standard error.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    /// Whether a line stands open on the terminal.
    is_open: bool,
    written: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), is_open: false, written: None }
    }
}

impl Progress {
    /// A fresh one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the present state: over the last one on a terminal, else only now and then.
    pub fn update(&mut self, line: &str) {
        if self.is_terminal {
            let width = crossterm::terminal::size().map_or(0, |(width, _)| usize::from(width));
            // Some terminals do not know their own width.
            let width = if width == 0 { 80 } else { width };
            let line: String = line.chars().take(width.saturating_sub(1)).collect();
            eprint!("\r\x1b[K{line}");
            let _ = io::stderr().flush();
            self.is_open = true;
        } else if self.written.is_none_or(|last| last.elapsed() >= PAUSE) {
            eprintln!("{line}");
            self.written = Some(Instant::now());
        }
    }

    /// Writes a line that stays.
    pub fn remark(&mut self, line: &str) {
        self.close();
        eprintln!("{line}");
        self.written = Some(Instant::now());
    }

    /// Wipes the open line, so that what follows starts at the left edge.
    pub fn close(&mut self) {
        if self.is_open {
            eprint!("\r\x1b[K");
            let _ = io::stderr().flush();
            self.is_open = false;
        }
    }

    /// Shows the progress of a fetch.
    pub fn fetch(&mut self, event: &FetchEvent) {
        let line = fetch_line(event);
        match event {
            FetchEvent::Trying { .. } | FetchEvent::Fetched { .. } => self.remark(&line),
            FetchEvent::Advanced { .. } => self.update(&line),
            FetchEvent::Verifying { .. } if self.is_terminal => self.update(&line),
            FetchEvent::Verifying { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

/// A fetch's progress in words: bytes, speed and time left.
pub fn fetch_line(event: &FetchEvent) -> String {
    match event {
        FetchEvent::Trying { model, source } => format!("{model}: trying {source}"),
        FetchEvent::Advanced { model, done, total, bytes_per_s } => {
            let left = total.saturating_sub(*done) as f64 / bytes_per_s;
            let left = if left.is_finite() { format!("{} left", seconds(left)) } else { String::new() };
            let speed = format!("{}/s", bytes(*bytes_per_s as u64));
            format!("{model}: {} of {}  {speed}  {left}", bytes(*done), bytes(*total)).trim_end().to_owned()
        }
        FetchEvent::Verifying { model } => format!("{model}: checking"),
        FetchEvent::Fetched { model } => format!("{model}: ready"),
    }
}

/// Bytes for people: `98.4 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Seconds for people: `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn seconds(s: f64) -> String {
    let s = s.max(0.0).ceil() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(bytes_per_s: f64) -> String {
        let (done, total) = (45_200_000, 92_900_000);
        fetch_line(&FetchEvent::Advanced { model: "m".to_owned(), done, total, bytes_per_s })
    }

    #[test]
    fn progress_says_bytes_speed_and_time_left() {
        assert_eq!(advanced(500_000.0), "m: 45.2 MB of 92.9 MB  500.0 kB/s  1 min 36 s left");
    }

    #[test]
    fn without_a_speed_no_time_is_promised() {
        assert_eq!(advanced(0.0), "m: 45.2 MB of 92.9 MB  0 B/s");
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(seconds(0.2), "1 s");
        assert_eq!(seconds(7_800.0), "2 h 10 min");
    }
}
