//! Which chunks share words with a question?
//!
//! BM25 over a tantivy index with English stemming. The commit that makes a change visible carries
//! the list of documents it holds, so index and list can never disagree.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value,
};
use tantivy::tokenizer::{
    AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};
use tantivy::{DocAddress, IndexWriter, Searcher, TantivyDocument, TantivyError, Term};

use super::stop_words::STOP_WORDS;
use crate::corpus::Chunk;
use crate::error::{Error, Result};

/// Rises when chunks are cut, read or embedded differently: older indexes are then made anew.
pub(super) const VERSION: u32 = 3;

const ANALYZER: &str = "english_folded";
const WRITER_BYTES: usize = 32 << 20;
/// Longer "words" are noise: encoded data, keys held down.
const LONGEST_WORD: usize = 64;
/// Different words of a question that are looked up at most.
const MAX_READ: usize = 2048;
/// Words that are searched for at most: the rarest of the question's.
const MAX_TERMS: usize = 48;

/// What an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    /// Embedder and chunk settings, in words.
    pub(super) settings: String,
    /// Document id to digest.
    pub(super) documents: BTreeMap<String, String>,
}

/// One indexed chunk; its text stands in the corpus.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) document: String,
    pub(super) heading: String,
    pub(super) range: Range<usize>,
    pub(super) address: DocAddress,
}

/// An index as it was found.
pub(super) enum Found {
    Nothing,
    /// It cannot be used; why.
    Unusable(String),
    Usable(Stored),
}

/// A usable index.
pub(super) struct Stored {
    pub(super) manifest: Manifest,
    pub(super) rows: Vec<Row>,
    /// Whether it is one segment without deletions, so that scores are those of a fresh index.
    pub(super) is_merged: bool,
    searcher: Searcher,
    fields: Fields,
}

/// What a change consists of.
pub(super) struct Change<'a> {
    /// Documents whose chunks go: those removed and those changed.
    pub(super) gone: Vec<String>,
    /// Chunks that come.
    pub(super) chunks: &'a [Chunk],
    /// What the index holds afterwards.
    pub(super) manifest: &'a Manifest,
}

#[derive(Clone, Copy)]
struct Fields {
    document: Field,
    heading: Field,
    start: Field,
    end: Field,
    body: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing =
        TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        document: schema.add_text_field("document", STRING | STORED),
        heading: schema.add_text_field("heading", STORED),
        start: schema.add_u64_field("start", STORED),
        end: schema.add_u64_field("end", STORED),
        body: schema.add_text_field("body", TextOptions::default().set_indexing_options(indexing)),
    };
    (schema.build(), fields)
}

/// The words of a chunk: lower case, accents off, stemmed.
fn chunk_analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::default())
        .build()
}

/// The words of a question: as of a chunk, without those that say nothing.
fn question_analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(StopWordFilter::remove(STOP_WORDS.iter().map(|word| (*word).to_owned())))
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::default())
        .build()
}

/// Reads the index in a folder without changing it.
pub(super) fn read(dir: &Path, settings: &str) -> Found {
    if !dir.join("meta.json").exists() {
        return Found::Nothing;
    }
    match read_stored(dir) {
        Ok(stored) if stored.manifest.version != VERSION => {
            Found::Unusable("the search index is of another version".into())
        }
        Ok(stored) if stored.manifest.settings != settings => {
            Found::Unusable("the search index was made with other settings".into())
        }
        Ok(stored) => Found::Usable(stored),
        Err(why) => Found::Unusable(format!("the search index was damaged ({why})")),
    }
}

/// A file that is too short for the footer that tantivy writes, and would panic without.
fn cut_off(dir: &Path) -> Option<String> {
    const FOOTER: u64 = 8;
    let is_short = |entry: &std::fs::DirEntry| {
        let is_part =
            Path::new(&entry.file_name()).extension().is_some_and(|end| end != "json" && end != "lock");
        is_part && entry.metadata().is_ok_and(|about| about.len() < FOOTER)
    };
    let short = std::fs::read_dir(dir).ok()?.flatten().find(is_short)?;
    Some(short.file_name().to_string_lossy().into_owned())
}

fn read_stored(dir: &Path) -> Result<Stored, String> {
    if let Some(file) = cut_off(dir) {
        return Err(format!("{file} is cut off"));
    }
    let index = open(dir).map_err(|wrong| wrong.to_string())?;
    let damaged = index.validate_checksum().map_err(|wrong| wrong.to_string())?;
    if let Some(file) = damaged.iter().next() {
        return Err(format!("{} does not match its checksum", file.display()));
    }
    let metas = index.load_metas().map_err(|wrong| wrong.to_string())?;
    let payload = metas.payload.ok_or("it does not say what it holds")?;
    let manifest = serde_json::from_str(&payload).map_err(|wrong| wrong.to_string())?;
    let (_, fields) = schema();
    let searcher = match index.reader() {
        // A reader takes a lock, which is a file: where nobody may write, a copy in memory is read.
        Err(TantivyError::LockFailure(..)) => copy_of(dir).and_then(|copy| copy.reader()),
        reader => reader,
    };
    let searcher = searcher.map_err(|wrong| wrong.to_string())?.searcher();
    let segments = searcher.segment_readers();
    let is_merged = segments.len() <= 1 && segments.iter().all(|segment| segment.num_deleted_docs() == 0);
    let rows = rows(&searcher, fields).map_err(|wrong| wrong.to_string())?;
    Ok(Stored { manifest, rows, is_merged, searcher, fields })
}

fn open(dir: &Path) -> tantivy::Result<tantivy::Index> {
    checked(tantivy::Index::open_in_dir(dir)?)
}

fn copy_of(dir: &Path) -> tantivy::Result<tantivy::Index> {
    let copy = RamDirectory::create();
    // In memory a file of that name is a lock that somebody holds.
    let is_lock = |path: &Path| path.extension().is_some_and(|end| end == "lock");
    for entry in std::fs::read_dir(dir)?.flatten().filter(|entry| !is_lock(&entry.path())) {
        copy.atomic_write(Path::new(&entry.file_name()), &std::fs::read(entry.path())?)?;
    }
    checked(tantivy::Index::open(copy)?)
}

fn checked(index: tantivy::Index) -> tantivy::Result<tantivy::Index> {
    if index.schema() != schema().0 {
        return Err(TantivyError::SchemaError("it has other fields".into()));
    }
    index.tokenizers().register(ANALYZER, chunk_analyzer());
    Ok(index)
}

fn rows(searcher: &Searcher, fields: Fields) -> tantivy::Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(searcher.num_docs() as usize);
    for (ord, segment) in (0..).zip(searcher.segment_readers()) {
        for doc_id in segment.doc_ids_alive() {
            let address = DocAddress::new(ord, doc_id);
            let stored: TantivyDocument = searcher.doc(address)?;
            let text = |field| {
                stored.get_first(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
            };
            let number =
                |field| stored.get_first(field).and_then(|value| value.as_u64()).unwrap_or(0) as usize;
            rows.push(Row {
                document: text(fields.document),
                heading: text(fields.heading),
                range: number(fields.start)..number(fields.end),
                address,
            });
        }
    }
    rows.sort_by(|a, b| (&a.document, a.range.start).cmp(&(&b.document, b.range.start)));
    Ok(rows)
}

/// Applies a change to the index in a folder, all of it or nothing. Without a usable index there,
/// whatever is in the folder goes first.
pub(super) fn write(dir: &Path, is_usable: IsUsable, change: &Change<'_>) -> Result<()> {
    if is_usable == IsUsable::No {
        match std::fs::remove_dir_all(dir) {
            Err(wrong) if wrong.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", dir)(wrong));
            }
            _ => std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?,
        }
    }
    let written = match is_usable {
        IsUsable::Yes => open(dir),
        IsUsable::No => tantivy::Index::create_in_dir(dir, schema().0).inspect(|index| {
            index.tokenizers().register(ANALYZER, chunk_analyzer());
        }),
    };
    written.and_then(|index| commit(&index, change)).map_err(|wrong| {
        let what = format!("the search index cannot be written ({wrong})");
        Error::file(dir, what, "see that the disk has room and the folder can be written; then try again")
    })
}

/// Whether a folder's index can be built upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsUsable {
    Yes,
    No,
}

fn commit(index: &tantivy::Index, change: &Change<'_>) -> tantivy::Result<()> {
    let (_, fields) = schema();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    for document in &change.gone {
        writer.delete_term(Term::from_field_text(fields.document, document));
    }
    for chunk in change.chunks {
        let mut stored = TantivyDocument::default();
        stored.add_text(fields.document, &chunk.document);
        stored.add_text(fields.heading, &chunk.heading);
        stored.add_u64(fields.start, chunk.range.start as u64);
        stored.add_u64(fields.end, chunk.range.end as u64);
        stored.add_text(fields.body, chunk.searchable());
        writer.add_document(stored)?;
    }
    let manifest = serde_json::to_string(change.manifest)
        .map_err(|wrong| TantivyError::InternalError(wrong.to_string()))?;
    let mut prepared = writer.prepare_commit()?;
    prepared.set_payload(&manifest);
    prepared.commit()?;
    let metas = index.searchable_segment_metas()?;
    if metas.len() > 1 || metas.iter().any(|meta| meta.num_deleted_docs() > 0) {
        let ids: Vec<_> = metas.iter().map(tantivy::SegmentMeta::id).collect();
        writer.merge(&ids).wait()?;
        writer.garbage_collect_files().wait()?;
    }
    writer.wait_merging_threads()
}

/// Finds chunks by their words.
pub(super) struct Lexicon {
    searcher: Searcher,
    body: Field,
    /// The place of each indexed chunk in the list of chunks.
    places: HashMap<DocAddress, usize>,
}

impl Lexicon {
    /// A lexicon whose results are places in `stored.rows`.
    pub(super) fn new(stored: Stored) -> Self {
        let places = stored.rows.iter().enumerate().map(|(place, row)| (row.address, place)).collect();
        Self { searcher: stored.searcher, body: stored.fields.body, places }
    }

    /// The best chunks with their scores, best first. Any text is a question.
    pub(super) fn search(&self, question: &str, limit: usize) -> Result<Vec<(usize, f32)>> {
        let found = self.try_search(question, limit);
        found.map_err(|wrong| {
            Error::refused(
                format!("the search index cannot be read ({wrong})"),
                "start again; it is then made anew",
            )
        })
    }

    fn try_search(&self, question: &str, limit: usize) -> tantivy::Result<Vec<(usize, f32)>> {
        let terms = self.terms(question)?;
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let clause = |term| Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)) as Box<dyn Query>;
        let query = BooleanQuery::union(terms.into_iter().map(clause).collect());
        // More than asked for, so that equal scores at the end are told apart by place.
        let hits = self.searcher.search(&query, &TopDocs::with_limit(limit * 2).order_by_score())?;
        let place = |(score, address)| self.places.get(&address).map(|&place| (place, score));
        let mut hits: Vec<(usize, f32)> = hits.into_iter().filter_map(place).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        hits.truncate(limit);
        Ok(hits)
    }

    /// The question's words that the index knows; of many, the rarest.
    fn terms(&self, question: &str) -> tantivy::Result<Vec<Term>> {
        let mut words = words(question_analyzer(), question);
        if words.is_empty() {
            words = self::words(chunk_analyzer(), question);
        }
        let mut terms = Vec::new();
        for word in words {
            let term = Term::from_field_text(self.body, &word);
            let n_chunks = self.searcher.doc_freq(&term)?;
            if n_chunks > 0 {
                terms.push((n_chunks, term));
            }
        }
        terms.sort_by_key(|(n_chunks, _)| *n_chunks);
        terms.truncate(MAX_TERMS);
        Ok(terms.into_iter().map(|(_, term)| term).collect())
    }
}

/// The different words of a text that say something, in order: lower case, accents off, stemmed.
pub fn terms(text: &str) -> Vec<String> {
    words(question_analyzer(), text)
}

/// The different words of a text, in order.
fn words(mut analyzer: TextAnalyzer, text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut words = Vec::new();
    let mut stream = analyzer.token_stream(text);
    while words.len() < MAX_READ && stream.advance() {
        let word = &stream.token().text;
        if !word.is_empty() && seen.insert(word.clone()) {
            words.push(word.clone());
        }
    }
    words
}
