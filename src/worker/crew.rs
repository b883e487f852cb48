//! Which threads are there, and how do orders reach them?

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::librarian::LibrarianOrder;
use super::{AskId, AskOrder, TrainOrder, WorkerEvent, Workers, answerer, librarian, priority, trainer};
use crate::cancel::Cancel;
use crate::corpus::{Chunking, Corpus};
use crate::error::{Error, Result};
use crate::hub::Store;
use crate::model::LanguageModel;
use crate::paths::Paths;
use crate::rag::{Index, PromptForm};
use crate::train::{RunControl, RunControls};

/// How long leaving waits for the step under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the work is done: settled before the lab opens.
#[derive(Debug, Clone)]
pub struct Site {
    /// The user's folders.
    pub paths: Paths,
    /// The models.
    pub store: Store,
    /// The decoder, as `--model` names it.
    pub model: String,
    /// The folder of documents.
    pub corpus: PathBuf,
    /// How they are cut.
    pub chunking: Chunking,
}

/// The documents, their index, and what their files were like when they were read.
#[derive(Clone)]
pub(super) struct Indexed {
    pub(super) corpus: Arc<Corpus>,
    pub(super) index: Arc<Index>,
    pub(super) stamp: u64,
}

/// What the lab works with, once it is there.
pub(super) struct Stock {
    pub(super) model: LanguageModel,
    /// The model as it is kept in `run.toml`.
    pub(super) model_name: String,
    pub(super) indexed: Mutex<Indexed>,
    pub(super) form: PromptForm,
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) site: Site,
    pub(super) stock: OnceLock<Stock>,
    /// Of the run under way.
    controls: Mutex<Option<RunControls>>,
    /// Of the questions that wait or are being answered.
    asks: Mutex<BTreeMap<AskId, Cancel>>,
    /// Of what is measured in an idle moment.
    measuring: Mutex<Cancel>,
    pub(super) fetching: Cancel,
    /// The lab is being left.
    pub(super) leaving: AtomicBool,
    events: Sender<WorkerEvent>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Reports. Waits while the channel is full; once the lab is gone nobody listens.
    pub(super) fn report(&self, event: WorkerEvent) {
        let _ = self.events.blocking_send(event);
    }

    /// The controls of the run under way.
    pub(super) fn controls(&self) -> Option<RunControls> {
        locked(&self.controls).clone()
    }

    pub(super) fn set_controls(&self, controls: Option<RunControls>) {
        *locked(&self.controls) = controls;
    }

    /// What stops the answer to a question.
    pub(super) fn cancel_of(&self, id: AskId) -> Cancel {
        locked(&self.asks).entry(id).or_default().clone()
    }

    /// What stops a measurement in an idle moment, once a question comes.
    pub(super) fn begin_measuring(&self) -> Cancel {
        let fresh = Cancel::new();
        locked(&self.measuring).clone_from(&fresh);
        fresh
    }

    pub(super) fn forget(&self, id: AskId) {
        locked(&self.asks).remove(&id);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// What the lab works with.
    ///
    /// # Errors
    /// Before everything is there.
    pub(super) fn stock(&self) -> Result<&Stock> {
        self.stock.get().ok_or_else(|| Error::refused("the lab is not ready yet", "wait for the models"))
    }
}

/// The workers: three threads with a queue of orders each.
pub struct Crew {
    shared: Arc<Shared>,
    trainer: mpsc::Sender<TrainOrder>,
    answerer: mpsc::Sender<AskOrder>,
    librarian: mpsc::Sender<LibrarianOrder>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads; they report through `events`, a bounded channel.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(site: Site, events: Sender<WorkerEvent>) -> Result<Self> {
        priority::arithmetic_steps_back();
        let shared = Arc::new(Shared {
            site,
            stock: OnceLock::new(),
            controls: Mutex::default(),
            asks: Mutex::default(),
            measuring: Mutex::default(),
            fetching: Cancel::new(),
            leaving: AtomicBool::new(false),
            events,
        });
        let (to_trainer, orders) = mpsc::channel();
        let trainer =
            spawn("trainer", &shared, move |shared| serve(shared, "trainer", &orders, trainer::carry_out))?;
        let (to_answerer, orders) = mpsc::channel();
        let answerer = spawn("answerer", &shared, move |shared| answerer::serve(shared, &orders))?;
        let (to_librarian, orders) = mpsc::channel();
        let librarian = spawn("librarian", &shared, move |shared| {
            serve(shared, "librarian", &orders, |shared, &order| librarian::carry_out(shared, order));
        })?;
        let threads = vec![trainer, answerer, librarian];
        Ok(Self { shared, trainer: to_trainer, answerer: to_answerer, librarian: to_librarian, threads })
    }
}

impl Workers for Crew {
    fn prepare(&self) {
        let _ = self.librarian.send(LibrarianOrder::Prepare);
    }

    fn train(&self, order: TrainOrder) {
        // The controls are there before the thread takes the order up: no key is lost.
        self.shared.set_controls(Some(RunControls::new()));
        let _ = self.trainer.send(order);
    }

    fn control(&self, control: RunControl) {
        if let Some(controls) = self.shared.controls() {
            controls.order(control);
        }
    }

    fn ask(&self, order: AskOrder) {
        self.shared.cancel_of(order.id);
        locked(&self.shared.measuring).cancel();
        let _ = self.answerer.send(order);
    }

    fn cancel_ask(&self, id: AskId) {
        if let Some(cancel) = locked(&self.shared.asks).get(&id) {
            cancel.cancel();
        }
    }

    fn cancel_fetch(&self) {
        self.shared.fetching.cancel();
    }

    fn judge_claims(&self) {
        let _ = self.librarian.send(LibrarianOrder::JudgeClaims);
    }
}

impl Drop for Crew {
    /// Tells all to stop and waits a little for the step under way: a file half written is whole then.
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
        self.shared.fetching.cancel();
        locked(&self.shared.asks).values().for_each(Cancel::cancel);
        locked(&self.shared.measuring).cancel();
        self.control(RunControl::Cancel);
        (self.trainer, self.answerer, self.librarian) =
            (mpsc::channel().0, mpsc::channel().0, mpsc::channel().0);
        let until = Instant::now() + PATIENCE;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> Result<thread::JoinHandle<()>> {
    let shared = shared.clone();
    let work = move || {
        priority::step_back();
        work(&shared);
    };
    let none =
        |e| Error::refused(format!("the system gives no thread for the {name}: {e}"), "close other programs");
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(none)
}

/// Carries out one order after another until nobody can give any.
fn serve<T>(shared: &Shared, name: &'static str, orders: &Receiver<T>, carry_out: fn(&Shared, &T)) {
    while let Ok(order) = orders.recv() {
        guarded(shared, name, || carry_out(shared, &order));
    }
}

/// The next order, if it comes within `pause`; `Err` when nobody can give any more.
pub(super) fn next_order<T>(orders: &Receiver<T>, pause: Duration) -> Result<Option<T>, ()> {
    match orders.recv_timeout(pause) {
        Ok(order) => Ok(Some(order)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(()),
    }
}

/// Does a piece of work; a panic in it is reported, and the thread lives on.
pub(super) fn guarded(shared: &Shared, worker: &'static str, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        shared.report(WorkerEvent::Died { worker, cause: words_of(&*panic) });
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given").to_owned()
}
