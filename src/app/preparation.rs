//! What is still missing before the lab can work?

use crate::worker::{FetchEvent, IndexEvent};

/// How far one model file is.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetch {
    /// A source is being tried.
    Trying(String),
    /// Bytes come in.
    Advanced {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// Bytes a second of late.
        bytes_per_s: f64,
    },
    /// The checksum is being taken.
    Verifying,
    /// It is in the store.
    Fetched,
}

/// What the lab works on, once it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) corpus: String,
    pub(crate) n_documents: usize,
    pub(crate) n_chunks: usize,
    pub(crate) n_facts: usize,
    pub(crate) suggestions: Vec<String>,
}

/// How far getting ready is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preparation {
    /// Models fetched, by name, in order of their coming.
    pub(crate) fetches: Vec<(String, Fetch)>,
    /// The model that is being read.
    pub(crate) loading: Option<String>,
    /// The model that answers, and its number of weights.
    pub(crate) model: Option<(String, usize)>,
    /// Chunks embedded, of how many.
    pub(crate) indexing: Option<(usize, usize)>,
    /// Everything is there.
    pub(crate) stock: Option<Stock>,
    /// Documents were changed and cannot be read, so that those of before are in use; why.
    pub(crate) outdated: Option<String>,
    /// Why they could not be read when that was last told.
    pub(crate) told: Option<String>,
    /// It cannot be made ready; why.
    pub(crate) failed: Option<String>,
}

impl Preparation {
    /// Whether everything is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.stock.is_some()
    }

    /// The file that is being fetched now.
    pub(crate) fn fetching(&self) -> Option<&(String, Fetch)> {
        self.fetches.iter().rev().find(|(_, fetch)| *fetch != Fetch::Fetched)
    }

    /// Takes note of what the librarian reports.
    pub(crate) fn note(&mut self, event: IndexEvent) {
        match event {
            IndexEvent::Fetch(event) => self.fetch(event),
            IndexEvent::Loading(name) => self.loading = Some(name),
            IndexEvent::ModelReady { name, n_parameters } => {
                self.loading = None;
                self.model = Some((name, n_parameters));
            }
            IndexEvent::Indexing { done, total } => {
                self.loading = None;
                self.indexing = Some((done, total));
            }
            IndexEvent::Ready { corpus, n_documents, n_chunks, n_facts, suggestions } => {
                self.loading = None;
                self.become_current();
                self.failed = None;
                self.stock = Some(Stock { corpus, n_documents, n_chunks, n_facts, suggestions });
            }
            IndexEvent::Current => self.become_current(),
            IndexEvent::Kept(cause) => {
                self.indexing = None;
                self.outdated = cause.or(self.outdated.take());
            }
            IndexEvent::Failed(cause) => self.failed = Some(cause),
        }
    }

    fn become_current(&mut self) {
        (self.indexing, self.outdated, self.told) = (None, None, None);
    }

    fn fetch(&mut self, event: FetchEvent) {
        let (model, fetch) = match event {
            FetchEvent::Trying { model, source } => (model, Fetch::Trying(source)),
            FetchEvent::Advanced { model, done, total, bytes_per_s } => {
                (model, Fetch::Advanced { done, total, bytes_per_s })
            }
            FetchEvent::Verifying { model } => (model, Fetch::Verifying),
            FetchEvent::Fetched { model } => (model, Fetch::Fetched),
        };
        match self.fetches.iter_mut().find(|(name, _)| *name == model) {
            Some((_, state)) => *state = fetch,
            None => self.fetches.push((model, fetch)),
        }
    }
}
