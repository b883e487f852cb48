//! Taking in what was brought by hand.

use std::fs;
use std::path::PathBuf;

use lorascope::cancel::Cancel;
use lorascope::error::Result;
use lorascope::hub::Imported;

use crate::bench::{Bench, payload, sha256, write_wheels};
use crate::server::Server;

fn import(bench: &Bench, paths: &[PathBuf]) -> Result<Vec<Imported>> {
    let recognised = bench.store.recognise(paths, &Cancel::new())?;
    recognised.iter().map(|model| bench.store.import(model, &Cancel::new(), &mut |_| {})).collect()
}

#[test]
fn a_file_is_known_by_its_checksum_whatever_its_name() {
    let bench = Bench::new(&Server::nobody());
    let path = bench.home.path().join("from-a-stick.bin");
    fs::write(&path, payload()).unwrap();
    let imported = import(&bench, &[path]).unwrap();
    assert_eq!(imported.len(), 1);
    assert_eq!((imported[0].model.as_str(), imported[0].missing.len()), ("tiny", 0));
    bench.assert_whole();
}

#[test]
fn a_folder_of_wheels_gives_all_models() {
    let bench = Bench::new(&Server::nobody());
    let folder = tempfile::tempdir().unwrap();
    write_wheels(folder.path());
    let imported = import(&bench, &[folder.path().to_path_buf()]).unwrap();
    let names: Vec<&str> = imported.iter().map(|model| model.model.as_str()).collect();
    assert_eq!(names, ["tiny", "mini"]);
    bench.assert_whole();
    assert!(bench.store.locate("mini").is_some());
}

#[test]
fn part_of_a_model_is_taken_and_the_rest_named() {
    let bench = Bench::new(&Server::nobody());
    let path = bench.home.path().join("config.json");
    fs::write(&path, "{}").unwrap();
    let imported = import(&bench, &[path]).unwrap();
    assert_eq!(imported[0].files, ["config.json"]);
    assert_eq!(imported[0].missing, ["model.safetensors"]);
    assert!(bench.store.locate("mini").is_none());
}

#[test]
fn one_wheel_of_two_is_not_enough() {
    let bench = Bench::new(&Server::nobody());
    let folder = tempfile::tempdir().unwrap();
    write_wheels(folder.path());
    let one = folder.path().join("tiny_one-1.0-py3-none-any.whl");
    assert!(import(&bench, &[one]).is_err());
}

#[test]
fn an_unknown_file_is_told_with_its_checksum() {
    let bench = Bench::new(&Server::nobody());
    let path = bench.home.path().join("what.gguf");
    fs::write(&path, "what").unwrap();
    let complaint = import(&bench, &[path]).unwrap_err().to_string();
    assert!(complaint.contains(&sha256(b"what")), "{complaint}");
    assert!(complaint.contains("tiny.gguf (700000 bytes)"), "{complaint}");
    assert!(import(&bench, &["/no/such/place".into()]).unwrap_err().to_string().contains("/no/such/place"));
}
