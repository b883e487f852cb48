//! Which files make up the model of a hub id?

use std::collections::BTreeSet;

use serde::Deserialize;
use ureq::http::Response;

use super::http::{agent, in_words, number_in, off_thread};
use super::{Failure, Network};
use crate::cancel::Cancel;
use crate::hub::manifest::{FileEntry, Licence, ModelEntry, ModelKind, Source, is_plain_name};

/// Files without which the model cannot be used.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that say more about it, where it has them.
const WANTED: [&str; 4] =
    ["tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.jinja"];
/// Unsharded weights, and the list of shards.
const WEIGHTS: &str = "model.safetensors";
const SHARDS: &str = "model.safetensors.index.json";

/// The part of `model.safetensors.index.json` that names the shards.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// What the hub says about a file before it is fetched.
struct Told {
    file: FileEntry,
    commit: Option<String>,
}

/// Asks the hub what a repository holds; the entry is pinned to the commit it has now.
///
/// Sizes are known for all files, checksums for the large ones.
pub(in crate::hub) fn read_repository(
    network: &Network,
    id: &str,
    cancel: &Cancel,
) -> Result<ModelEntry, Failure> {
    if network.is_offline {
        return Err(Failure::NextSource("LORASCOPE_OFFLINE forbids the network".to_owned()));
    }
    let reader = RepositoryReader { network, id, cancel };
    let mut files = Vec::new();
    let mut commit = None;
    for name in NEEDED {
        let told = reader.ask(name)?.ok_or_else(|| lacks(name))?;
        commit = commit.or(told.commit);
        files.push(told.file);
    }
    for name in WANTED {
        files.extend(reader.ask(name)?.map(|told| told.file));
    }
    if let Some(told) = reader.ask(WEIGHTS)? {
        files.push(told.file);
    } else {
        let index = reader.ask(SHARDS)?.ok_or_else(|| lacks(WEIGHTS))?;
        files.push(index.file);
        for name in reader.shards()? {
            files.push(reader.ask(&name)?.ok_or_else(|| lacks(&name))?.file);
        }
    }
    let revision = commit.unwrap_or_else(|| "main".to_owned());
    Ok(ModelEntry {
        name: id.to_owned(),
        kind: ModelKind::Decoder,
        description: format!("{id} at {revision}"),
        licence: Licence {
            name: "see its page".to_owned(),
            url: format!("{}/{id}", network.endpoint),
            needs_acceptance: false,
            notice: String::new(),
        },
        rag: None,
        files,
        sources: vec![Source::Hub { repo: id.to_owned(), revision }],
    })
}

fn lacks(name: &str) -> Failure {
    Failure::NextSource(format!(
        "it has no {name}; of hub ids only repositories in Hugging Face layout are read, \
         a .gguf file must be downloaded and given as a path"
    ))
}

/// One repository being asked.
struct RepositoryReader<'a> {
    network: &'a Network,
    id: &'a str,
    cancel: &'a Cancel,
}

impl RepositoryReader<'_> {
    /// Size, checksum and commit of one file; `None` if the repository has none of that name.
    fn ask(&self, name: &str) -> Result<Option<Told>, Failure> {
        // The hub's own answer names size and checksum of large files; the storage that it sends
        // the client on to does not.
        let first = self.head(name, 0)?;
        let status = first.status().as_u16();
        if status == 404 {
            return Ok(None);
        }
        if status == 401 || status == 403 {
            let why = "it is closed to strangers: accept its licence on its page and set HF_TOKEN";
            return Err(Failure::NextSource(why.to_owned()));
        }
        let text =
            |header: &str| Some(first.headers().get(header)?.to_str().ok()?.trim_matches('"').to_owned());
        let is_checksum = |sum: &String| sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
        let sha256 = text("x-linked-etag").filter(is_checksum);
        let commit = text("x-repo-commit").filter(|commit| is_plain_name(commit));
        let size = match number_in(&first, "x-linked-size") {
            Some(size) => size,
            None if status == 200 => self.length(name, &first)?,
            None => self.length(name, &self.head(name, 5)?)?,
        };
        Ok(Some(Told { file: FileEntry { name: name.to_owned(), size, sha256 }, commit }))
    }

    fn length(&self, name: &str, response: &Response<ureq::Body>) -> Result<u64, Failure> {
        let status = response.status().as_u16();
        number_in(response, "content-length").filter(|_| status == 200).ok_or_else(|| {
            Failure::NextSource(format!("it does not tell the size of {}/{name} (status {status})", self.id))
        })
    }

    fn head(&self, name: &str, n_redirects: u32) -> Result<Response<ureq::Body>, Failure> {
        let url = self.network.address(self.id, "main", name);
        let (agent, token) = (agent(self.network), self.network.token.clone());
        let call = move || {
            let mut request = agent.head(&url).header("Accept-Encoding", "identity");
            if let Some(token) = token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let config = request.config().max_redirects(n_redirects).max_redirects_will_error(false);
            config.build().call()
        };
        off_thread(self.cancel, call)?.map_err(|error| Failure::NextSource(in_words(&error)))
    }

    /// The names of the shards that hold the weights.
    fn shards(&self) -> Result<BTreeSet<String>, Failure> {
        let url = self.network.address(self.id, "main", SHARDS);
        let (agent, token) = (agent(self.network), self.network.token.clone());
        let call = move || {
            let mut request = agent.get(&url);
            if let Some(token) = token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            request.call()?.body_mut().read_to_string()
        };
        let text = off_thread(self.cancel, call)?.map_err(|error| Failure::NextSource(in_words(&error)))?;
        let index: ShardIndex = serde_json::from_str(&text)
            .map_err(|e| Failure::NextSource(format!("its {SHARDS} cannot be read: {e}")))?;
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        match names.iter().find(|name| !is_plain_name(name)) {
            Some(name) => Err(Failure::NextSource(format!("its {SHARDS} names the file `{name}`"))),
            None => Ok(names),
        }
    }
}
