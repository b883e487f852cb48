//! Who does the long work while the screen stays alive?
//!
//! Named threads, each with a queue of orders. They report by sending [`WorkerEvent`]s; a panic in
//! one of them becomes [`WorkerEvent::Died`].

mod answerer;
mod crew;
mod librarian;
mod priority;
mod trainer;

use std::sync::Arc;

pub use crate::hub::FetchEvent;
pub use crate::lab::AnswerEvent;
use crate::lab::Contender;
use crate::lab::claims::Judged;
use crate::model::Adapter;
pub use crate::train::RunControl;
use crate::train::TrainEvent;
pub use crew::{Crew, Site};
pub use trainer::{Job, perform};

/// One question, put to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// A question to be answered. Newer asks wait for older ones.
#[derive(Debug, Clone)]
pub struct AskOrder {
    /// Comes back in every event about this question.
    pub id: AskId,
    /// The question, as typed.
    pub question: String,
    /// Who answers, in this order.
    pub contenders: Vec<Contender>,
    /// The newest published weights and their step; `None` before the first run.
    pub adapter: Option<(usize, Arc<Adapter>)>,
}

/// A run to be made, with the lab's model, corpus and recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOrder {
    /// What to train on: a recipe's name.
    pub recipe: String,
    /// Epochs.
    pub epochs: f64,
    /// LoRA rank.
    pub rank: usize,
    /// LoRA alpha.
    pub alpha: f64,
    /// Peak learning rate.
    pub lr: f64,
    /// Examples a step.
    pub batch: usize,
    /// Seed of the start weights and of the order of examples.
    pub seed: u64,
}

/// Progress of getting ready: models, then corpus, then index.
#[derive(Debug, Clone)]
pub enum IndexEvent {
    /// A model is being fetched.
    Fetch(FetchEvent),
    /// A model is being read into memory, by name.
    Loading(String),
    /// The model is ready to answer closed-book.
    ModelReady {
        /// Its name.
        name: String,
        /// Its number of weights.
        n_parameters: usize,
    },
    /// Documents are being chunked, indexed and embedded.
    Indexing {
        /// Chunks embedded.
        done: usize,
        /// Chunks to embed.
        total: usize,
    },
    /// Everything is there.
    Ready {
        /// The corpus's name.
        corpus: String,
        /// Documents in it.
        n_documents: usize,
        /// Chunks in the index.
        n_chunks: usize,
        /// Facts in it.
        n_facts: usize,
        /// A few questions worth asking first.
        suggestions: Vec<String>,
    },
    /// Documents were changed, and those of before stay in use: they cannot be read (the cause), or it was given up.
    Kept(Option<String>),
    /// The documents in use are those in the folder.
    Current,
    /// It cannot be made ready; the cause, with its remedy.
    Failed(String),
}

/// What workers report.
#[derive(Debug, Clone)]
pub enum WorkerEvent {
    /// From the trainer.
    Train(TrainEvent),
    /// From the answerer.
    Answer {
        /// Which question.
        id: AskId,
        /// Whose answer.
        contender: Contender,
        /// What happened.
        event: AnswerEvent,
    },
    /// From the librarian.
    Index(IndexEvent),
    /// The recall of base or of base + RAG on a sample of unseen questions, measured a few at a time in passing.
    BaseRecall {
        /// Who.
        contender: Contender,
        /// How many were right.
        recall: crate::train::Recall,
        /// How many will have been asked in the end.
        of: usize,
    },
    /// From the librarian: each of the article's claims with what the runs show, or why they cannot be read.
    ClaimsJudged(Result<Vec<Judged>, String>),
    /// A worker panicked.
    Died {
        /// Its name.
        worker: &'static str,
        /// What it said.
        cause: String,
    },
}

/// Whoever carries out the lab's orders. Every call returns at once: the work is done on other
/// threads, which report through [`WorkerEvent`]s.
pub trait Workers {
    /// Gets models, corpus and index ready; again after a failure.
    fn prepare(&self);
    /// Makes a run. The one before is over.
    fn train(&self, order: TrainOrder);
    /// Steers the run under way; without one, nothing happens.
    fn control(&self, control: RunControl);
    /// Answers a question, after those asked before.
    fn ask(&self, order: AskOrder);
    /// Gives up a question, whether it waits or is being answered.
    fn cancel_ask(&self, id: AskId);
    /// Gives up fetching models.
    fn cancel_fetch(&self);
    /// Looks at all runs, and says which of the article's claims they bear out.
    fn judge_claims(&self);
}
