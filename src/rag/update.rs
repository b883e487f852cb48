//! What must be done so that an index holds what the corpus holds?
//!
//! Embeddings are written first, the words last: until tantivy's commit the index stands as it
//! was, and whatever was embedded before an interruption is found again by its key.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Parted;
use super::index::Indexing;
use super::lexicon::{self, Change, Found, IsUsable, Manifest, Row, Stored, VERSION};
use super::trace::{IndexProgress, UpdateSummary};
use super::vectors::{Key, VectorFile, key_of, part_key};
use crate::corpus::{Chunk, Corpus, Document, chunk_document};
use crate::error::{Error, Result};

/// Chunks embedded at a time.
const BATCH: usize = 16;

/// Where the parts of an index lie.
pub(super) struct Folder {
    /// tantivy's files.
    pub(super) words: PathBuf,
    /// The embeddings.
    pub(super) vectors: PathBuf,
}

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self { words: dir.join("bm25"), vectors: dir.join("vectors.bin") }
    }
}

/// What an index of this corpus holds.
pub(super) fn manifest_of(corpus: &Corpus, settings: String) -> Manifest {
    let documents =
        corpus.documents.iter().map(|document| (document.id.clone(), document.digest.clone())).collect();
    Manifest { version: VERSION, settings, documents }
}

/// An indexed chunk with its text; `None` where the document has no such place.
pub(super) fn chunk_of(row: &Row, corpus: &Corpus) -> Option<Chunk> {
    let text = corpus.document(&row.document)?.text.get(row.range.clone())?.to_owned();
    Some(Chunk {
        document: row.document.clone(),
        heading: row.heading.clone(),
        text,
        range: row.range.clone(),
    })
}

/// Brings the index up to date. The caller holds the lock.
pub(super) fn run(
    folder: &Folder,
    corpus: &Corpus,
    indexing: &Indexing<'_>,
    watch: &mut dyn FnMut(IndexProgress),
) -> Result<UpdateSummary> {
    let mut summary = UpdateSummary::default();
    let manifest = manifest_of(corpus, indexing.settings());
    let stored = match lexicon::read(&folder.words, &manifest.settings) {
        Found::Usable(stored) => Some(stored),
        Found::Nothing => None,
        Found::Unusable(why) => {
            summary.remarks.push(format!("{why}; it was made anew"));
            None
        }
    };
    let is_usable = if stored.is_some() { IsUsable::Yes } else { IsUsable::No };
    let plan = Plan::new(stored.as_ref(), corpus, &manifest, &mut summary);
    drop(stored);

    let new_chunks = cut(&plan.to_cut, indexing, watch)?;
    let texts: BTreeMap<Key, Text> = plan.kept.iter().chain(&new_chunks).map(keyed).collect();
    summary.n_chunks = plan.kept.len() + new_chunks.len();
    let mut vectors = VectorFile::open(&folder.vectors, indexing.embedder.name())?;
    if vectors.n_damaged() > 0 {
        summary.remarks.push("some embeddings were damaged; they were made anew".into());
    }
    summary.n_embedded = embed(&texts, &mut vectors, indexing, watch)?;

    watch(IndexProgress::Writing);
    let change = Change { gone: plan.gone, chunks: &new_chunks, manifest: &manifest };
    lexicon::write(&folder.words, is_usable, &change)?;
    vectors.tidy(&texts.iter().flat_map(|(key, text)| keys(key, text)).collect::<HashSet<_>>())?;
    Ok(summary)
}

/// What is embedded of a chunk: its text, and the bytes of its sentences.
type Text = (String, Vec<Range<usize>>);

fn keyed(chunk: &Chunk) -> (Key, Text) {
    let text = chunk.searchable();
    (key_of(&text), (text, chunk.sentences()))
}

/// The keys of a text's vectors: of the whole, then of its sentences.
fn keys(whole: &Key, (_, sentences): &Text) -> Vec<Key> {
    std::iter::once(*whole).chain((0..sentences.len()).map(|i| part_key(whole, i))).collect()
}

/// What stays, what goes and what comes.
struct Plan<'a> {
    /// Chunks of unchanged documents.
    kept: Vec<Chunk>,
    /// Documents whose chunks go.
    gone: Vec<String>,
    /// Documents whose chunks come.
    to_cut: Vec<&'a Document>,
}

impl<'a> Plan<'a> {
    fn new(
        stored: Option<&Stored>,
        corpus: &'a Corpus,
        manifest: &Manifest,
        summary: &mut UpdateSummary,
    ) -> Self {
        let nothing = BTreeMap::new();
        let before = stored.map_or(&nothing, |stored| &stored.manifest.documents);
        let rows = stored.map_or(&[][..], |stored| &stored.rows);
        let mut kept = Vec::new();
        let mut broken = HashSet::new();
        for row in
            rows.iter().filter(|row| before.get(&row.document) == manifest.documents.get(&row.document))
        {
            match chunk_of(row, corpus) {
                Some(chunk) => kept.push(chunk),
                None => drop(broken.insert(row.document.clone())),
            }
        }
        kept.retain(|chunk| !broken.contains(&chunk.document));
        let mut gone: Vec<String> =
            before.keys().filter(|id| corpus.document(id).is_none()).cloned().collect();
        summary.n_removed = gone.len();
        let mut to_cut = Vec::new();
        for document in &corpus.documents {
            match before.get(&document.id) {
                Some(digest) if *digest == document.digest && !broken.contains(&document.id) => continue,
                Some(_) => {
                    summary.n_changed += 1;
                    gone.push(document.id.clone());
                }
                None => summary.n_added += 1,
            }
            to_cut.push(document);
        }
        Self { kept, gone, to_cut }
    }
}

fn cut(
    documents: &[&Document],
    indexing: &Indexing<'_>,
    watch: &mut dyn FnMut(IndexProgress),
) -> Result<Vec<Chunk>> {
    // Cutting a long text counts many times; to whoever has called it off everything fits.
    let count = |text: &str| {
        if indexing.cancel.is_cancelled() { 0 } else { indexing.embedder.count_tokens(text) }
    };
    let mut chunks = Vec::new();
    for (done, document) in documents.iter().enumerate() {
        indexing.cancel.check()?;
        watch(IndexProgress::Chunking { done, total: documents.len() });
        chunks.extend(chunk_document(document, indexing.chunking, &count));
    }
    indexing.cancel.check()?;
    Ok(chunks)
}

/// Embeds the texts that have no vector yet; texts of about one length together, as a batch is as
/// slow as its longest text.
fn embed(
    texts: &BTreeMap<Key, Text>,
    vectors: &mut VectorFile,
    indexing: &Indexing<'_>,
    watch: &mut dyn FnMut(IndexProgress),
) -> Result<usize> {
    let is_missing =
        |(key, text): &(&Key, &Text)| keys(key, text).iter().any(|key| vectors.get(key).is_none());
    let mut missing: Vec<(&Key, &Text)> = texts.iter().filter(is_missing).collect();
    missing.sort_by_key(|(_, (text, _))| text.len());
    let total = missing.len();
    for (done, batch) in missing.chunks(BATCH).enumerate() {
        indexing.cancel.check()?;
        watch(IndexProgress::Embedding { done: done * BATCH, total });
        let parted: Vec<Parted<'_>> =
            batch.iter().map(|(_, (text, sentences))| (text.as_str(), sentences.as_slice())).collect();
        let embedded = indexing.embedder.embed_parts(&parted, indexing.cancel)?;
        let keys: Vec<Key> = batch.iter().flat_map(|(key, text)| keys(key, text)).collect();
        let embedded: Vec<Vec<f32>> = embedded.into_iter().flatten().collect();
        if embedded.len() != keys.len() {
            let what = format!("the embedder gave {} vectors for {} texts", embedded.len(), keys.len());
            return Err(Error::refused(what, "choose another embedder"));
        }
        vectors.append(keys.into_iter().zip(embedded).collect())?;
    }
    if total > 0 {
        watch(IndexProgress::Embedding { done: total, total });
    }
    Ok(total)
}
