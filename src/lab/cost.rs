//! What does it cost to teach a model the documents, and what to look them up?

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Brief, Contender};
use crate::corpus::{Corpus, Document};
use crate::error::{Error, Result};
use crate::meter::{Meter, Spent};
use crate::rag::{Index, IndexProgress, Indexing};

/// Price of an hour of the machine where none is stated: about what two cores of a cloud machine cost, in dollars.
pub const PRICE_PER_HOUR: f64 = 0.1;

/// What one contender's answers took. Answers are written in groups, so this is less than as many single ones would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Answering {
    /// Questions answered.
    pub n: usize,
    /// Seconds for all of them, looking up included.
    pub seconds: f64,
    /// Tokens read.
    pub n_prompt_tokens: usize,
    /// Tokens written.
    pub n_tokens: usize,
}

impl Answering {
    /// Adds a group of answers.
    pub fn note(&mut self, seconds: f64, read: &[Brief], written: &[Vec<u32>]) {
        self.n += read.len();
        self.seconds += seconds;
        self.n_prompt_tokens += read.iter().map(|brief| brief.tokens.len()).sum::<usize>();
        self.n_tokens += written.iter().map(Vec::len).sum::<usize>();
    }

    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            n: self.n + more.n,
            seconds: self.seconds + more.seconds,
            n_prompt_tokens: self.n_prompt_tokens + more.n_prompt_tokens,
            n_tokens: self.n_tokens + more.n_tokens,
        }
    }

    /// Seconds of one answer.
    pub fn seconds_each(self) -> f64 {
        self.seconds / self.n.max(1) as f64
    }
}

/// What it took to index the corpus, all of it and one document of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexingCost {
    /// Documents indexed from nothing.
    pub n_documents: usize,
    /// Chunks they were cut into.
    pub n_chunks: usize,
    /// What that took.
    pub all: Spent,
    /// The document that was changed: the one of middling length.
    pub changed: String,
    /// Chunks that had to be embedded again.
    pub n_embedded: usize,
    /// What it took until the index knew the change.
    pub one_changed: Spent,
}

/// What was spent on a run and on its rival.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The price of the machine, in dollars an hour.
    pub price_per_hour: f64,
    /// What training took; nothing without a run.
    pub training: Option<Spent>,
    /// What indexing took; nothing where nobody retrieves.
    pub indexing: Option<IndexingCost>,
    /// What answers took.
    pub answers: BTreeMap<Contender, Answering>,
}

/// Indexes the corpus from nothing in the folder `scratch`, changes a document and brings the index up to date. The folder
/// is emptied before and removed after.
///
/// # Errors
/// When the folder cannot be written, the embedder fails, or when cancelled.
pub fn indexing_cost(
    scratch: &Path,
    corpus: &Corpus,
    indexing: &Indexing,
    watch: &mut dyn FnMut(IndexProgress),
) -> Result<IndexingCost> {
    clear(scratch)?;
    let measured = measured(scratch, corpus, indexing, watch);
    clear(scratch)?;
    measured
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(Error::io("remove", folder)) } else { Ok(()) }
}

fn measured(
    scratch: &Path,
    corpus: &Corpus,
    indexing: &Indexing,
    watch: &mut dyn FnMut(IndexProgress),
) -> Result<IndexingCost> {
    let mut meter = Meter::start();
    let (index, summary) = Index::open(scratch, corpus, indexing, watch)?;
    let all = meter.spent();
    drop(index);
    let mut by_length: Vec<usize> = (0..corpus.documents.len()).collect();
    by_length.sort_by_key(|&i| corpus.documents[i].text.len());
    let place = by_length[by_length.len() / 2];
    let mut changed = corpus.clone();
    let Document { id, path, format, text, .. } = corpus.documents[place].clone();
    let text = format!("{}\n\nThis sentence was added.\n", text.trim_end());
    changed.documents[place] = Document::new(id.clone(), path, format, text);
    let mut meter = Meter::start();
    let (_, update) = Index::open(scratch, &changed, indexing, watch)?;
    Ok(IndexingCost {
        n_documents: corpus.documents.len(),
        n_chunks: summary.n_chunks,
        all,
        changed: id,
        n_embedded: update.n_embedded,
        one_changed: meter.spent(),
    })
}
