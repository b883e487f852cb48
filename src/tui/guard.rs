//! How does the terminal become what it was, whatever happens?

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// Whether the terminal is ours at present.
static ENTERED: AtomicBool = AtomicBool::new(false);

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync + 'static>;

/// The terminal in raw mode on its other screen; as before when dropped, and before a panic of
/// this thread is reported. Panics of other threads go to the log: they must not print here.
pub(super) struct Guard {
    before: Arc<Hook>,
}

impl Guard {
    pub(super) fn enter(log: Option<PathBuf>) -> io::Result<Self> {
        let before: Arc<Hook> = Arc::new(std::panic::take_hook());
        let (hook, ours) = (before.clone(), thread::current().id());
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().id() != ours {
                tracing::error!("{info}");
                return;
            }
            restore();
            hook(info);
            if let Some(log) = &log {
                // Nothing is left to be done if standard error is gone too.
                let _ = writeln!(io::stderr(), "What happened before is in the log: {}", log.display());
            }
        }));
        let guard = Self { before };
        ENTERED.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
        // The hook cannot be changed while this thread panics; then it has done its work.
        if !thread::panicking() {
            let before = self.before.clone();
            std::panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

/// Gives the terminal back, once.
fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // A terminal that is gone need not be restored.
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
