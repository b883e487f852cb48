//! What `--model` takes.

use std::fs;
use std::path::Path;

use lorascope::cancel::Cancel;
use lorascope::error::Result;
use lorascope::hub::{self, ModelFiles};

use crate::bench::Bench;
use crate::server::{Act, Server};

fn resolve(bench: &Bench, spec: &str) -> Result<ModelFiles> {
    hub::resolve(&bench.store, spec, &Cancel::new(), &mut |_| {})
}

const INDEX: &str = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;

fn sharded(acts: Vec<Act>) -> Server {
    let files: [(&str, &[u8]); 6] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"t\": 1}"),
        ("tokenizer_config.json", b"{\"chat_template\": \"\"}"),
        ("model.safetensors.index.json", INDEX.as_bytes()),
        ("model-1.safetensors", b"first"),
        ("model-2.safetensors", b"second"),
    ];
    let of = |revision| files.map(|(name, body)| (format!("/Org/Name/resolve/{revision}/{name}"), body));
    let files: Vec<(String, &[u8])> = of("main").into_iter().chain(of("c0ffee")).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, body)| (path.as_str(), *body)).collect();
    Server::start(&files, acts)
}

#[test]
fn a_hub_id_brings_its_shards_and_is_there_ever_after() {
    let server = sharded(vec![]);
    let bench = Bench::new(&server.endpoint);
    let files = resolve(&bench, "Org/Name").unwrap();
    assert_eq!(files.name, "Org/Name");
    assert_eq!(fs::read(files.path.join("model-2.safetensors")).unwrap(), b"second");
    assert!(files.path.join("tokenizer_config.json").is_file());
    let n_requests = server.requests().len();
    assert_eq!(resolve(&bench, "Org/Name").unwrap(), files);
    assert_eq!(server.requests().len(), n_requests);
    let verified = bench.store.verify(&Cancel::new(), &mut |_| {}).unwrap();
    assert_eq!(verified.len(), 6);
    assert!(verified.iter().all(|file| file.state == hub::FileState::Good));
}

#[test]
fn a_hub_id_that_was_cut_off_is_not_taken_for_whole() {
    // The shard index is read once, then the files come; the last of them never does.
    let mut acts: Vec<Act> = (0..6).map(|_| Act::Serve).collect();
    acts.extend((0..4).map(|_| Act::Cut(0)));
    let server = sharded(acts);
    let bench = Bench::new(&server.endpoint);
    assert!(resolve(&bench, "Org/Name").is_err());
    assert!(bench.store.locate("Org/Name").is_none());
    assert!(resolve(&bench, "Org/Name").is_ok());
}

#[test]
fn a_hub_id_without_a_model_is_told() {
    let server = sharded(vec![]);
    let bench = Bench::new(&server.endpoint);
    let complaint = resolve(&bench, "Org/Other").unwrap_err().to_string();
    assert!(complaint.contains("no config.json"), "{complaint}");
    let complaint = resolve(&Bench::new(&Server::nobody()), "Org/Name").unwrap_err().to_string();
    assert!(complaint.contains("cannot get Org/Name"), "{complaint}");
}

#[test]
fn a_path_is_used_in_place() {
    let bench = Bench::new(&Server::nobody());
    let file = bench.home.path().join("mine.gguf");
    fs::write(&file, "GGUF").unwrap();
    let files = resolve(&bench, file.to_str().unwrap()).unwrap();
    assert_eq!((files.name.as_str(), files.path.as_path(), files.is_gguf()), ("mine", file.as_path(), true));

    let folder = bench.home.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let spec = folder.to_str().unwrap();
    assert!(resolve(&bench, spec).unwrap_err().to_string().contains("config.json"));
    for name in ["config.json", "tokenizer.json"] {
        fs::write(folder.join(name), "{}").unwrap();
    }
    assert_eq!(resolve(&bench, spec).unwrap().path, folder);
}

#[test]
fn what_is_no_model_is_answered_with_the_names_there_are() {
    let bench = Bench::new(&Server::nobody());
    for spec in ["tinny", "/no/such/file.gguf", "no/such.gguf", "", "../x", "a b"] {
        assert!(!Path::new(spec).exists());
        let complaint = resolve(&bench, spec).unwrap_err().to_string();
        assert!(complaint.contains("tiny, mini"), "{spec}: {complaint}");
    }
}
