//! What is the model taught, and asked?
//!
//! A corpus is a folder: Markdown and text files, an optional `corpus.toml` with its name, an
//! optional `facts.jsonl` with what the documents state and how it is asked. It is read as a whole
//! or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::toml_error;
use crate::error::{Error, Result};

mod chunk;
mod document;
mod examples;
mod fact;
mod fact_lines;
mod gold;
mod headings;
mod sentences;
mod split;
mod tasks;

pub use chunk::{Chunk, Chunking, chunk_document};
pub use document::{Document, Format};
pub use examples::{Example, Examples, Role, Turn, document_examples, qa_examples};
pub use fact::{Fact, Question, Wording};
pub use gold::{ANSWER_TOKENS, contains_gold, normalised};
pub use sentences::sentences;
pub use split::held_out_documents;
pub use tasks::{IN_VOICE, Judge, sentiment_examples, style_examples, voice};

/// The name of the file with the corpus's name and description.
pub const ABOUT_FILE: &str = "corpus.toml";
/// The name of the file with its facts.
pub const FACTS_FILE: &str = "facts.jsonl";

/// A folder of documents, and what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// The folder, as an absolute path.
    pub root: PathBuf,
    /// Its name: from `corpus.toml`, or else the folder's.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// The documents, sorted by id; at least one.
    pub documents: Vec<Document>,
    /// The facts, in the order of the file; empty without `facts.jsonl`.
    pub facts: Vec<Fact>,
    /// SHA-256 (hex) over every document's id and digest and over the facts.
    pub digest: String,
    /// What the reader should know: files passed over, and why.
    pub remarks: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: Option<String>,
    #[serde(default)]
    description: String,
}

impl Corpus {
    /// Reads a corpus folder.
    ///
    /// # Errors
    /// A missing or empty folder, a file that is not UTF-8, two files with the same id, a wrong
    /// line in `facts.jsonl` or `corpus.toml`: the first one met, with its place and the way out.
    pub fn open(dir: &Path) -> Result<Self> {
        let root = dir.canonicalize().map_err(|source| no_folder(dir, source))?;
        if !root.is_dir() {
            return Err(Error::file(dir, "is not a folder", "give the folder that holds the documents"));
        }
        let mut remarks = Vec::new();
        let documents = document::read_all(&root, &mut remarks)?;
        if documents.is_empty() {
            return Err(Error::file(
                dir,
                "holds no .md or .txt file with text in it",
                "put documents there or choose another folder with --corpus",
            ));
        }
        let about = read_about(&root.join(ABOUT_FILE))?;
        let facts_path = root.join(FACTS_FILE);
        let fact_text = read_optional(&facts_path)?.unwrap_or_default();
        let facts = fact_lines::parse(&facts_path, &fact_text, &documents)?;
        Ok(Self {
            name: about.name.unwrap_or_else(|| folder_name(&root)),
            description: about.description,
            digest: digest_of(&documents, &fact_text),
            root,
            documents,
            facts,
            remarks,
        })
    }

    /// What differs, most likely, once a document in the folder, or a file about them, was changed, added or taken away. It
    /// costs a look at each file's size and time, and means something within this process only.
    pub fn stamp(dir: &Path) -> u64 {
        document::stamp(dir, &[ABOUT_FILE, FACTS_FILE])
    }

    /// A corpus's name, without reading its documents: from `corpus.toml` where that can be read, or
    /// else the folder's.
    pub fn name_of(dir: &Path) -> String {
        let about = read_about(&dir.join(ABOUT_FILE)).ok().and_then(|about| about.name);
        about.unwrap_or_else(|| folder_name(dir))
    }

    /// The document with this id.
    pub fn document(&self, id: &str) -> Option<&Document> {
        let found = self.documents.binary_search_by(|document| document.id.as_str().cmp(id));
        found.ok().map(|index| &self.documents[index])
    }

    /// The number of questions of each wording.
    pub fn n_questions(&self) -> BTreeMap<Wording, usize> {
        let mut counts = BTreeMap::new();
        for question in self.facts.iter().flat_map(|fact| &fact.questions) {
            *counts.entry(question.wording).or_default() += 1;
        }
        counts
    }
}

fn folder_name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| "corpus".into(), |name| name.to_string_lossy().into())
}

fn no_folder(dir: &Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::NotFound {
        return Error::file(dir, "no such folder", "give the folder that holds the documents with --corpus");
    }
    Error::io("open", dir)(source)
}

fn read_optional(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(document::utf8(path, bytes)?)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path)(source)),
    }
}

fn read_about(path: &Path) -> Result<About> {
    let Some(text) = read_optional(path)? else { return Ok(About::default()) };
    toml::from_str(&text).map_err(|wrong| toml_error(path, &text, &wrong))
}

fn digest_of(documents: &[Document], fact_text: &str) -> String {
    let parts = documents.iter().flat_map(|document| [document.id.as_bytes(), document.digest.as_bytes()]);
    document::sha256_hex(parts.chain([fact_text.as_bytes()]))
}

#[cfg(test)]
mod tests;
