//! Which passages answer a question?
//!
//! An index is a folder of derived data: the words of all chunks (`bm25/`), their embeddings
//! (`vectors.bin`) and a lock. It follows the corpus by content hash: only documents that were
//! added, changed or removed are touched, and an index that is up to date is not written to.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lexicon::{self, Found, Lexicon};
use super::lock::Lock;
use super::rerank::{Nearness, Rerank, cosine, order};
use super::trace::{IndexProgress, Retrieval, StopWatch, Timings, UpdateSummary};
use super::update::{self, Folder};
use super::vectors::{Key, VectorFile, key_of, part_key};
use super::{Embed, Passage, Sentence};
use crate::cancel::Cancel;
use crate::corpus::{Chunk, Chunking, Corpus};
use crate::error::{Error, Result};
use crate::files::Share;

/// Candidates that BM25 hands to the reranker.
const N_CANDIDATES: usize = 32;

/// What an index is made with.
pub struct Indexing<'a> {
    /// Embeds chunks and questions.
    pub embedder: Arc<dyn Embed>,
    /// How documents are cut.
    pub chunking: Chunking,
    /// Stops the work; what was embedded until then is kept.
    pub cancel: &'a Cancel,
}

impl Indexing<'_> {
    /// Embedder and chunk settings, in words.
    pub(super) fn settings(&self) -> String {
        format!("{}, chunks of {} tokens", self.embedder.name(), self.chunking.max_tokens)
    }
}

/// The chunks of a corpus, ready to be searched. A snapshot: later updates of the folder by
/// another process do not change it.
pub struct Index {
    lexicon: Lexicon,
    chunks: Vec<Chunk>,
    vectors: Vec<ChunkVectors>,
    embedder: Arc<dyn Embed>,
}

/// What each way of searching finds for one question, best first.
#[derive(Debug, Clone)]
pub struct Arms {
    /// By words alone.
    pub bm25: Vec<Passage>,
    /// By meaning alone, over all chunks.
    pub cosine: Vec<Passage>,
    /// Both fused: what questions are answered with.
    pub fused: Vec<Passage>,
}

/// The embeddings of one chunk.
struct ChunkVectors {
    whole: Vec<f32>,
    /// None where the chunk is one sentence.
    sentences: Vec<Vec<f32>>,
}

impl ChunkVectors {
    /// Those of a chunk, if all of them are there.
    fn of(chunk: &Chunk, file: &VectorFile) -> Option<Self> {
        let key = key_of(&chunk.searchable());
        let get = |key: &Key| file.get(key).map(<[f32]>::to_vec);
        let sentences = (0..chunk.sentences().len()).map(|i| get(&part_key(&key, i)));
        Some(Self { whole: get(&key)?, sentences: sentences.collect::<Option<_>>()? })
    }

    fn nearness(&self, asked: &[f32]) -> Nearness {
        let chunk = cosine(asked, &self.whole);
        let nearest = self.sentences.iter().map(|sentence| cosine(asked, sentence)).reduce(f32::max);
        Nearness { chunk, sentence: nearest.unwrap_or(chunk) }
    }

    /// The sentences of the chunk that they are of; it is one where it has no others.
    fn sentences(&self, chunk: &Chunk, asked: &[f32]) -> Vec<Sentence> {
        let ranges = chunk.sentences();
        if ranges.is_empty() {
            return vec![Sentence { range: 0..chunk.text.len(), cosine: cosine(asked, &self.whole) }];
        }
        let start = chunk.searchable().len() - chunk.text.len();
        let of = |(range, vector): (Range<usize>, &Vec<f32>)| Sentence {
            range: range.start - start..range.end - start,
            cosine: cosine(asked, vector),
        };
        ranges.into_iter().zip(&self.sentences).map(of).collect()
    }
}

impl Index {
    /// The folder of a corpus's index among all indexes: one for each corpus, embedder and chunk
    /// size.
    pub fn folder(indexes: &Path, corpus: &Corpus, indexing: &Indexing<'_>) -> PathBuf {
        let whose = format!("{}\n{}", corpus.root.display(), indexing.settings());
        indexes.join(format!("{:032x}", u128::from_be_bytes(key_of(&whose))))
    }

    /// Opens the index in `dir`, brought up to date with the corpus. A damaged or outdated one is
    /// made anew, with a remark; of two processes the second waits for the first.
    ///
    /// # Errors
    /// The folder cannot be written, the embedder fails, or the user cancels.
    pub fn open(
        dir: &Path,
        corpus: &Corpus,
        indexing: &Indexing<'_>,
        watch: &mut dyn FnMut(IndexProgress),
    ) -> Result<(Self, UpdateSummary)> {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let folder = Folder::new(dir);
        let mut on_wait = || watch(IndexProgress::Waiting);
        let lock = Lock::take(dir, Share::Readers, indexing.cancel, &mut on_wait)?;
        if let Some(index) = Self::current(&folder, corpus, indexing)? {
            return Ok(index.unchanged());
        }
        drop(lock);
        let lock = Lock::take(dir, Share::Nobody, indexing.cancel, &mut on_wait)?;
        // Another process may have done the work meanwhile.
        if let Some(index) = Self::current(&folder, corpus, indexing)? {
            return Ok(index.unchanged());
        }
        let summary = update::run(&folder, corpus, indexing, watch)?;
        let index = Self::current(&folder, corpus, indexing)?;
        drop(lock);
        let index = index.ok_or_else(|| {
            Error::file(dir, "the search index cannot be read back", "delete this folder; it is made anew")
        })?;
        Ok((index, summary))
    }

    fn unchanged(self) -> (Self, UpdateSummary) {
        let n_chunks = self.n_chunks();
        (self, UpdateSummary { n_chunks, ..UpdateSummary::default() })
    }

    /// The index, if it is whole and holds just what the corpus holds.
    fn current(folder: &Folder, corpus: &Corpus, indexing: &Indexing<'_>) -> Result<Option<Self>> {
        let settings = indexing.settings();
        let Found::Usable(stored) = lexicon::read(&folder.words, &settings) else { return Ok(None) };
        if !stored.is_merged || stored.manifest != update::manifest_of(corpus, settings) {
            return Ok(None);
        }
        let Some(chunks) =
            stored.rows.iter().map(|row| update::chunk_of(row, corpus)).collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let file = VectorFile::open(&folder.vectors, indexing.embedder.name())?;
        let vectors = chunks.iter().map(|chunk| ChunkVectors::of(chunk, &file)).collect::<Option<Vec<_>>>();
        let Some(vectors) = vectors else { return Ok(None) };
        let embedder = Arc::clone(&indexing.embedder);
        Ok(Some(Self { lexicon: Lexicon::new(stored), chunks, vectors, embedder }))
    }

    /// The number of chunks.
    pub fn n_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// All chunks, sorted by document and place.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The `top` best passages for a question, which may be any text. BM25 proposes up to 32; where
    /// no word of the question is in the corpus, all chunks are compared by meaning, unless
    /// reranking is off.
    ///
    /// # Errors
    /// [`Error::Refused`] for a blank question.
    pub fn retrieve(&self, question: &str, top: usize, rerank: Rerank) -> Result<Retrieval> {
        let question = question.trim();
        if question.is_empty() {
            return Err(Error::refused("the question is empty", "type a question"));
        }
        let mut watch = StopWatch::start();
        let mut timings = Timings::default();
        let hits = self.lexicon.search(question, N_CANDIDATES)?;
        timings.bm25 = watch.lap();
        let asked = match rerank {
            Rerank::Off => None,
            Rerank::Fused | Rerank::Cosine => Some(self.embed_question(question)?),
        };
        timings.embed = watch.lap();
        let passages = match &asked {
            Some(asked) if hits.is_empty() => self.nearest(asked, top),
            _ => self.ranked(&hits, asked.as_deref(), rerank, top),
        };
        timings.rerank = watch.lap();
        timings.total = watch.total();
        Ok(Retrieval { passages, timings })
    }

    /// The `top` best passages for a question by each way of searching.
    ///
    /// # Errors
    /// As [`Index::retrieve`].
    pub fn arms(&self, question: &str, top: usize) -> Result<Arms> {
        let fused = self.retrieve(question, top, Rerank::Fused)?.passages;
        let bm25 = self.retrieve(question, top, Rerank::Off)?.passages;
        let cosine = self.nearest(&self.embed_question(question.trim())?, top);
        Ok(Arms { bm25, cosine, fused })
    }

    /// What turns texts into vectors.
    pub fn embedder(&self) -> &Arc<dyn Embed> {
        &self.embedder
    }

    fn embed_question(&self, question: &str) -> Result<Vec<f32>> {
        let vectors = self.embedder.embed(&[question], &Cancel::new())?;
        let none = || Error::refused("the embedder gave no vector for the question", "try --rerank off");
        vectors.into_iter().next().ok_or_else(none)
    }

    fn ranked(
        &self,
        hits: &[(usize, f32)],
        asked: Option<&[f32]>,
        rerank: Rerank,
        top: usize,
    ) -> Vec<Passage> {
        let nearness = |&(place, _): &(usize, f32)| {
            asked.map_or_else(Nearness::default, |asked| self.vectors[place].nearness(asked))
        };
        let near: Vec<Nearness> = hits.iter().map(nearness).collect();
        let best = order(rerank, &near).into_iter().take(top);
        let passage = |(final_rank, at): (usize, usize)| {
            let (place, bm25_score) = hits[at];
            Passage {
                bm25_rank: Some(at + 1),
                bm25_score,
                ..self.passage(place, (near[at], asked), final_rank)
            }
        };
        (1..).zip(best).map(passage).collect()
    }

    /// The chunks nearest in meaning, BM25 having found none.
    fn nearest(&self, asked: &[f32], top: usize) -> Vec<Passage> {
        let near: Vec<Nearness> = self.vectors.iter().map(|vectors| vectors.nearness(asked)).collect();
        let best = order(Rerank::Cosine, &near).into_iter().take(top);
        (1..)
            .zip(best)
            .map(|(final_rank, place)| self.passage(place, (near[place], Some(asked)), final_rank))
            .collect()
    }

    fn passage(&self, place: usize, (near, asked): (Nearness, Option<&[f32]>), final_rank: usize) -> Passage {
        let sentences = asked.map(|asked| self.vectors[place].sentences(&self.chunks[place], asked));
        let Chunk { document, heading, text, range } = self.chunks[place].clone();
        let (cosine, sentence_cosine) = (near.chunk, near.sentence);
        Passage {
            document,
            heading,
            text,
            bm25_rank: None,
            bm25_score: 0.0,
            cosine,
            sentence_cosine,
            final_rank,
            start: range.start,
            sentences: sentences.unwrap_or_default(),
        }
    }
}
