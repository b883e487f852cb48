//! Does the loop work? The real one on a screen in memory: keys in, orders and pictures out.

use std::cell::RefCell;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::backend::TestBackend;
use tokio::sync::mpsc;

use super::*;
use crate::app::{Look, Setup};
use crate::ui::{Depth, Glyphs};
use crate::worker::{AskId, AskOrder, IndexEvent, RunControl, TrainOrder};

/// Writes down what it is told to do.
#[derive(Default)]
struct Notebook(RefCell<Vec<String>>);

impl Notebook {
    fn note(&self, order: impl Into<String>) {
        self.0.borrow_mut().push(order.into());
    }
}

impl Workers for Notebook {
    fn prepare(&self) {
        self.note("prepare");
    }
    fn train(&self, order: TrainOrder) {
        self.note(format!("train {}", order.recipe));
    }
    fn control(&self, control: RunControl) {
        self.note(format!("{control:?}"));
    }
    fn ask(&self, order: AskOrder) {
        self.note(format!("ask {}", order.question));
    }
    fn cancel_ask(&self, id: AskId) {
        self.note(format!("cancel {}", id.0));
    }
    fn cancel_fetch(&self) {
        self.note("cancel fetch");
    }
    fn judge_claims(&self) {
        self.note("judge claims");
    }
}

fn app() -> App {
    let recipe = "qa".to_owned();
    let order = TrainOrder { recipe, epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 16, seed: 1 };
    App::new(Setup {
        model: "m".into(),
        corpus: "c".into(),
        recipes: vec![order],
        log: None,
        colourless: None,
        look: Look::Mono,
    })
}

#[allow(clippy::unnecessary_wraps)] // as the terminal gives it
fn press(c: char) -> io::Result<Input> {
    let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
    Ok(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

#[test]
fn the_loop_drains_all_that_happened_draws_it_and_leaves() {
    let ready = IndexEvent::Ready {
        corpus: "c".into(),
        n_documents: 1,
        n_chunks: 1,
        n_facts: 1,
        suggestions: vec![],
    };
    let (sender, events) = mpsc::channel(8);
    sender.try_send(WorkerEvent::Index(ready)).unwrap();
    let notebook = Notebook::default();
    let ability = Ability { depth: Depth::None, glyphs: Glyphs::Braille };
    let lab = Lab::new(app(), &notebook, ability);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    // The reports are there before the keys: they are taken in while the first key is.
    let keys = futures_util::stream::iter(" iWho?\nq".chars().map(press).collect::<Vec<_>>());
    let late = futures_util::stream::once(async {
        tokio::task::yield_now().await;
        press('z')
    });
    let input = Box::pin(late.chain(keys));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let farewell = runtime.block_on(lab.live(&mut terminal, input, (events, Signals::none()))).unwrap();
    // The stream of keys ends with the dialog open: a terminal that is gone is a reason to leave.
    assert_eq!(farewell.goodbye, Goodbye::Terminated);
    assert_eq!(*notebook.0.borrow(), ["prepare", "train qa", "ask Who?", "cancel 1", "Cancel"]);
    assert!(farewell.timings.draw.n() >= 1);
}
