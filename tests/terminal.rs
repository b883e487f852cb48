//! Does the lab live in a real terminal: start, train a few steps, answer, quit, and leave the terminal
//! as it was?
//!
//! The program runs in a pseudo-terminal, with the real models and a corpus of three documents.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lorascope::paths::Paths;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Long enough for a slow machine under load; nothing here waits for it when all goes well.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program in a pseudo-terminal of 100 x 30 characters.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    master: Box<dyn MasterPty + Send>,
    home: tempfile::TempDir,
}

impl Terminal {
    /// Starts the lab with a home of its own that borrows the models; `None` where they are missing and
    /// must not be fetched.
    fn start() -> Option<Self> {
        common::default_model()?;
        common::embedder()?;
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(Paths::find().unwrap().models(), home.path().join("models")).unwrap();
        write_corpus(&home.path().join("corpus"));
        let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_lorascope"));
        command.args(["--corpus", &home.path().join("corpus").display().to_string()]);
        command.env("LORASCOPE_HOME", home.path());
        command.env("LORASCOPE_BATCH", "2");
        command.env("LORASCOPE_EPOCHS", "200");
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.rows, size.cols, 200)));
        let (mut output, heard) = (pair.master.try_clone_reader().unwrap(), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = output.read(&mut bytes) {
                if n == 0 {
                    break;
                }
                heard.lock().unwrap().process(&bytes[..n]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Some(Self { child, keys, screen, master: pair.master, home })
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn is_on_the_other_screen(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Waits until the screen fulfils a condition.
    fn wait(&self, what: &str, fulfilled: impl Fn(&str) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !fulfilled(&self.text()) {
            assert!(Instant::now() < until, "waited for {what}; the screen shows:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end and returns the exit code.
    fn end(&mut self) -> u32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it wrote last is still on its way through the terminal.
                self.wait("the end of the output", |_| !self.is_on_the_other_screen());
                return status.exit_code();
            }
            assert!(Instant::now() < until, "it does not end; the screen shows:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn write_corpus(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mut facts = String::new();
    for (name, town) in [("Odo Brack", "Sallowfield"), ("Una Wisk", "Pennyholm"), ("Abel Torn", "Marrowgate")]
    {
        let id = name.to_lowercase().replace(' ', "-");
        let text = format!("# {name}\n\n{name} was born in {town} and mends clocks there.\n");
        fs::write(folder.join(format!("{id}.md")), text).unwrap();
        let fact = serde_json::json!({
            "id": id, "document": id, "answers": [town],
            "questions": [
                {"wording": "trained", "question": format!("Where was {name} born?")},
                {"wording": "unseen", "question": format!("What is the birthplace of {name}?")},
            ],
        });
        facts.extend([fact.to_string().as_str(), "\n"]);
    }
    fs::write(folder.join("facts.jsonl"), facts).unwrap();
}

#[test]
fn a_run_is_started_asked_and_left_and_the_terminal_is_as_before() {
    let Some(mut terminal) = Terminal::start() else { return };
    terminal.wait("the lab", |text| text.contains("lorascope") && text.contains("Space"));
    terminal.type_keys(" ");
    terminal.wait("a few steps", |text| {
        let step = text.split("step").nth(1).and_then(|rest| rest.split('/').next());
        step.and_then(|step| step.trim().parse::<usize>().ok()).is_some_and(|step| step >= 3)
    });
    terminal.type_keys("iWhere was Una Wisk born?\r");
    terminal.wait("both answers", |text| text.matches(" tok ").count() + text.matches(" tok\n").count() >= 2);
    let size = PtySize { rows: 12, cols: 40, pixel_width: 0, pixel_height: 0 };
    terminal.master.resize(size).unwrap();
    terminal.screen.lock().unwrap().screen_mut().set_size(12, 40);
    terminal.wait("the remark on the size", |text| text.contains("60"));
    terminal.type_keys("q");
    terminal.type_keys("q");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    assert!(terminal.text().contains("lorascope report"), "{}", terminal.text());
    let runs: Vec<_> = fs::read_dir(terminal.home.path().join("runs")).unwrap().flatten().collect();
    assert_eq!(runs.len(), 1);
    assert!(fs::read_to_string(runs[0].path().join("metrics.jsonl")).unwrap().contains("\"event\":\"step\""));
}

#[test]
fn a_signal_to_end_gives_the_terminal_back() {
    let Some(mut terminal) = Terminal::start() else { return };
    terminal.wait("the lab", |text| text.contains("Space"));
    assert!(terminal.is_on_the_other_screen());
    let id = terminal.child.process_id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(terminal.end(), 130);
}
