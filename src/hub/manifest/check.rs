//! Is a list of models sound?

use std::path::Path;

use super::{FileEntry, Manifest, ModelEntry, ModelKind, RagAdvice, Source};
use crate::error::{Error, Result};

impl Manifest {
    /// Names every fault that would otherwise show only while fetching.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        for (i, entry) in self.models.iter().enumerate() {
            if self.models[..i].iter().any(|other| other.name == entry.name) {
                return Err(fault(path, &entry.name, "stands there twice"));
            }
            entry.check().map_err(|what| fault(path, &entry.name, &what))?;
        }
        let of_kind = |name: &str, kind| self.entry(name).is_some_and(|entry| entry.kind == kind);
        if !of_kind(&self.default_decoder, ModelKind::Decoder) {
            return Err(fault(
                path,
                &self.default_decoder,
                "is the default decoder but no decoder of the list",
            ));
        }
        if !of_kind(&self.default_embedder, ModelKind::Embedder) {
            return Err(fault(
                path,
                &self.default_embedder,
                "is the default embedder but no embedder of the list",
            ));
        }
        Ok(())
    }
}

pub(super) fn fault(path: &Path, name: &str, what: &str) -> Error {
    Error::file(path, format!("model `{name}` {what}"), "correct the entry or remove it")
}

impl ModelEntry {
    fn check(&self) -> std::result::Result<(), String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if self.name.is_empty() || !self.name.chars().all(good) || self.name.starts_with(['.', '-']) {
            return Err("has a name with more than lowercase letters, digits, `.`, `_`, `-`".to_owned());
        }
        if self.files.is_empty() {
            return Err("has no files".to_owned());
        }
        for file in &self.files {
            file.check()?;
        }
        for source in &self.sources {
            self.check_source(source)?;
        }
        match self.rag {
            Some(RagAdvice { max_passages: 0, .. }) => Err("has rag.max_passages = 0".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_source(&self, source: &Source) -> std::result::Result<(), String> {
        match source {
            Source::Hub { repo, .. } if !is_hub_id(repo) => {
                Err(format!("has the hub repository `{repo}`, which is not of the form Org/Name"))
            }
            Source::Hub { .. } => Ok(()),
            Source::Wheel { pieces } => {
                for piece in pieces {
                    let (name, version) = piece.wheel.split_once("==").unwrap_or_default();
                    if name.is_empty() || version.is_empty() || piece.wheel.starts_with('-') {
                        return Err(format!(
                            "has the wheel `{}`, not of the form name==version",
                            piece.wheel
                        ));
                    }
                    if self.file(&piece.file).is_none() {
                        return Err(format!("has a piece of `{}`, which is none of its files", piece.file));
                    }
                }
                match self.files.iter().find(|file| !pieces.iter().any(|p| p.file == file.name)) {
                    Some(file) => Err(format!("has wheels without a piece of `{}`", file.name)),
                    None => Ok(()),
                }
            }
        }
    }
}

impl FileEntry {
    fn check(&self) -> std::result::Result<(), String> {
        if !is_plain_name(&self.name) {
            return Err(format!("has a file called `{}`: only a plain name will do", self.name));
        }
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match &self.sha256 {
            Some(sum) if sum.len() == 64 && sum.chars().all(hex) => {}
            _ => return Err(format!("lacks the sha256 (64 lowercase hex digits) of `{}`", self.name)),
        }
        if self.size == 0 { Err(format!("lacks the size of `{}`", self.name)) } else { Ok(()) }
    }
}

/// Whether a file of this name stays in its folder and cannot be taken for one of the store's own.
pub(in crate::hub) fn is_plain_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(good)
}

/// Whether this is `Org/Name`, as the hub calls its repositories.
pub(in crate::hub) fn is_hub_id(text: &str) -> bool {
    let mut parts = text.split('/');
    let part = |part: Option<&str>| part.is_some_and(is_plain_name);
    part(parts.next()) && part(parts.next()) && parts.next().is_none()
}
