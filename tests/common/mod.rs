//! The real models, for the tests that need them: out of the store, or fetched into it.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code)]

use std::io::Write;
use std::path::PathBuf;

use lorascope::cancel::Cancel;
use lorascope::config::Settings;
use lorascope::hub::{self, Store};
use lorascope::paths::Paths;

/// The default model's GGUF file; `None`, said aloud, when it is not in the store and the network is
/// forbidden (`LORASCOPE_OFFLINE=1`).
pub fn default_model() -> Option<PathBuf> {
    model("smollm2-135m-instruct")
}

/// The embedder's folder; `None` as above.
pub fn embedder() -> Option<PathBuf> {
    model("all-minilm-l6-v2")
}

/// The model of that name. What is compared with references is computed in float32.
pub fn model(name: &str) -> Option<PathBuf> {
    lorascope::kernels::choose_float32();
    found(name)
}

/// The model of that name, whatever it will be computed in.
pub fn found(name: &str) -> Option<PathBuf> {
    let paths = Paths::find().unwrap();
    let settings = Settings::read(&paths).unwrap();
    let store = Store::open(&paths, &settings.hub).unwrap();
    if settings.hub.offline == Some(true) && store.locate(name).is_none() {
        // Written past the test harness, which would swallow it.
        let why = "is not in the store, and LORASCOPE_OFFLINE forbids fetching it";
        let line = format!("SKIPPED: {name} {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    match hub::resolve(&store, name, &Cancel::new(), &mut |_| {}) {
        Ok(files) => Some(files.path),
        Err(error) => panic!("{error}; or set LORASCOPE_OFFLINE=1 to skip the tests that need it"),
    }
}
