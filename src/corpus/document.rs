//! Which files of a folder are documents, and what is in them?

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

/// How a document's text is marked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Markdown, with headings.
    Markdown,
    /// Plain text.
    Text,
}

/// One file of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The path within the corpus without its extension, `/`-separated.
    pub id: String,
    /// Where it was read from.
    pub path: PathBuf,
    /// How it is marked up.
    pub format: Format,
    /// The whole text, without a byte order mark.
    pub text: String,
    /// SHA-256 of the text, in hex.
    pub digest: String,
}

impl Document {
    /// A document from its parts; the digest is taken.
    pub fn new(
        id: impl Into<String>,
        path: impl Into<PathBuf>,
        format: Format,
        text: impl Into<String>,
    ) -> Self {
        let text = text.into();
        let digest = sha256_hex([text.as_bytes()]);
        Self { id: id.into(), path: path.into(), format, text, digest }
    }
}

/// Reads every document under `root`, sorted by id.
pub(super) fn read_all(root: &Path, remarks: &mut Vec<String>) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for entry in walk(root) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(wrong) => {
                pass_over(wrong, root, remarks)?;
                continue;
            }
        };
        let Some(format) = format_of(&entry) else { continue };
        let document = read(root, entry.path(), format)?;
        if document.text.trim().is_empty() {
            remarks.push(format!("{} is empty and was passed over", entry.path().display()));
        } else {
            documents.push(document);
        }
    }
    documents.sort_by(|a, b| a.id.cmp(&b.id));
    for pair in documents.windows(2) {
        if pair[0].id == pair[1].id {
            let what = format!("has the same document id, `{}`, as {}", pair[1].id, pair[0].path.display());
            return Err(Error::file(&pair[1].path, what, "rename one of the two"));
        }
    }
    Ok(documents)
}

/// What differs, most likely, once a document, or a file `beside` them, was changed, added or taken away: of names, sizes and
/// times. Nothing is read.
pub(super) fn stamp(root: &Path, beside: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let is_beside =
        |entry: &DirEntry| entry.depth() == 1 && beside.iter().any(|&name| entry.file_name() == name);
    for entry in walk(root).flatten().filter(|entry| format_of(entry).is_some() || is_beside(entry)) {
        entry.path().hash(&mut hasher);
        if let Ok(about) = entry.metadata() {
            (about.len(), about.modified().ok()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// All that is in a folder and not hidden, by name.
fn walk(root: &Path) -> impl Iterator<Item = walkdir::Result<DirEntry>> {
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

fn format_of(entry: &DirEntry) -> Option<Format> {
    if !entry.file_type().is_file() {
        return None;
    }
    let extension = entry.path().extension()?.to_str()?;
    if extension.eq_ignore_ascii_case("md") {
        Some(Format::Markdown)
    } else if extension.eq_ignore_ascii_case("txt") {
        Some(Format::Text)
    } else {
        None
    }
}

/// A link that leads in a circle or nowhere is remarked on; anything else that cannot be read is
/// an error: a corpus is never read in part without a word.
fn pass_over(wrong: walkdir::Error, root: &Path, remarks: &mut Vec<String>) -> Result<()> {
    let path = wrong.path().unwrap_or(root).to_path_buf();
    if wrong.loop_ancestor().is_some() {
        remarks.push(format!("{} links to a folder above it and was passed over", path.display()));
        return Ok(());
    }
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_symlink());
    if is_link {
        remarks.push(format!("{} is a link that leads nowhere and was passed over", path.display()));
        return Ok(());
    }
    let source =
        wrong.into_io_error().unwrap_or_else(|| std::io::Error::other("the folder could not be walked"));
    Err(Error::io("read", path)(source))
}

fn read(root: &Path, path: &Path, format: Format) -> Result<Document> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let text = utf8(path, bytes)?;
    Ok(Document::new(id_of(root, path)?, path, format, text))
}

fn id_of(root: &Path, path: &Path) -> Result<String> {
    let within = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let parts: Option<Vec<&str>> = within.iter().map(|part| part.to_str()).collect();
    let parts = parts.ok_or_else(|| Error::file(path, "the file's name is not UTF-8", "rename it"))?;
    Ok(parts.join("/"))
}

/// The text of a file, without a byte order mark.
pub(super) fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|wrong| {
        let at = wrong.utf8_error().valid_up_to();
        let line = wrong.as_bytes()[..at].split(|&byte| byte == b'\n').count();
        let what = format!("is not UTF-8 text (byte {at}); save it as UTF-8 or move it out of the corpus");
        Error::Line { path: path.to_path_buf(), line, what }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// SHA-256 over parts, each preceded by its length, in hex.
pub(super) fn sha256_hex<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("{:x}", hasher.finalize())
}
