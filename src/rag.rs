//! How is a question answered from documents?
//!
//! An [`Index`] finds passages: BM25 proposes, embeddings rerank. [`build_prompt`] puts the best of
//! them before the model.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::cancel::Cancel;
use crate::error::Result;

mod advice;
mod embedder;
mod index;
mod lexicon;
mod lock;
mod prompt;
mod rerank;
mod stop_words;
mod trace;
mod update;
mod vectors;

pub use crate::model::Parted;
pub use embedder::Embedder;
pub use index::{Arms, Index, Indexing};
pub use lexicon::terms;
pub use prompt::{Budget, Form, Order, PromptForm, RagPrompt, build_prompt};
pub use rerank::{Rerank, cosine};
pub use trace::{IndexProgress, Retrieval, Timings, UpdateSummary};

/// A chunk that was retrieved for a question, with its scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passage {
    /// The document's id.
    pub document: String,
    /// Headings above the chunk, outermost first, joined by " > ".
    pub heading: String,
    /// The chunk's text.
    pub text: String,
    /// Rank by BM25, counted from 1; `None` where BM25 found nothing and embeddings alone decided.
    pub bm25_rank: Option<usize>,
    /// BM25 score; 0 without a rank.
    pub bm25_score: f32,
    /// Cosine of the question's and the chunk's embedding; 0 where reranking is off.
    pub cosine: f32,
    /// Cosine of the question's embedding and that of the chunk's nearest sentence; 0 where reranking is off.
    pub sentence_cosine: f32,
    /// Rank after reranking, counted from 1.
    pub final_rank: usize,
    /// Where the text begins in its document, in bytes.
    #[serde(skip)]
    pub start: usize,
    /// The text's sentences; none where reranking is off.
    #[serde(skip)]
    pub sentences: Vec<Sentence>,
}

/// A sentence of a passage.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    /// Its bytes in the passage's text.
    pub range: Range<usize>,
    /// Cosine of the question's embedding and its own.
    pub cosine: f32,
}

/// What turns texts into vectors whose cosine says how near they are in meaning.
pub trait Embed: Send + Sync {
    /// One vector a text, all of one length.
    fn embed(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>>;

    /// For each text its vector, then one for each part. Here each part is read alone; an embedder may read
    /// the text as a whole.
    fn embed_parts(&self, texts: &[Parted<'_>], cancel: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        let of = |&(text, parts): &Parted<'_>| {
            let all: Vec<&str> =
                std::iter::once(text).chain(parts.iter().map(|part| &text[part.clone()])).collect();
            self.embed(&all, cancel)
        };
        texts.iter().map(of).collect()
    }

    /// The number of tokens it reads in a text: what chunks are bounded by.
    fn count_tokens(&self, text: &str) -> usize;

    /// A name that no other embedder, and no other version of this one, bears.
    fn name(&self) -> &str;
}

impl<E: Embed + ?Sized> Embed for Arc<E> {
    fn embed(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>> {
        (**self).embed(texts, cancel)
    }

    fn embed_parts(&self, texts: &[Parted<'_>], cancel: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        (**self).embed_parts(texts, cancel)
    }

    fn count_tokens(&self, text: &str) -> usize {
        (**self).count_tokens(text)
    }

    fn name(&self) -> &str {
        (**self).name()
    }
}
