//! What happened while documents were indexed, and while a question was looked up?

use std::time::Instant;

use serde::Serialize;

use super::Passage;

/// Progress of bringing an index up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexProgress {
    /// Another process is at it; this one waits.
    Waiting,
    /// Documents are being cut into chunks.
    Chunking {
        /// Documents done.
        done: usize,
        /// Documents to do.
        total: usize,
    },
    /// Chunks are being embedded.
    Embedding {
        /// Chunks done.
        done: usize,
        /// Chunks to do.
        total: usize,
    },
    /// The result is being written.
    Writing,
}

/// What had to be done to bring an index up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateSummary {
    /// Documents that were not in it.
    pub n_added: usize,
    /// Documents whose text had changed.
    pub n_changed: usize,
    /// Documents that are gone.
    pub n_removed: usize,
    /// Chunks that had to be embedded.
    pub n_embedded: usize,
    /// Chunks now in the index.
    pub n_chunks: usize,
    /// What the reader should know, one remark a line.
    pub remarks: Vec<String>,
}

impl UpdateSummary {
    /// Whether the index was as it should be.
    pub fn is_unchanged(&self) -> bool {
        self.n_added + self.n_changed + self.n_removed + self.n_embedded == 0
    }
}

/// Milliseconds that each stage of a retrieval took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Finding candidates by their words.
    pub bm25: f64,
    /// Embedding the question.
    pub embed: f64,
    /// Comparing and ordering the candidates.
    pub rerank: f64,
    /// All of it.
    pub total: f64,
}

/// What was found for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieval {
    /// The passages, best first.
    pub passages: Vec<Passage>,
    /// How long it took.
    pub timings: Timings,
}

/// Takes the time of one stage after another.
pub(super) struct StopWatch {
    started: Instant,
    lap: Instant,
}

impl StopWatch {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { started: now, lap: now }
    }

    /// Milliseconds since the last lap.
    pub(super) fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - self.lap;
        self.lap = now;
        lap.as_secs_f64() * 1e3
    }

    /// Milliseconds since the start.
    pub(super) fn total(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }
}
