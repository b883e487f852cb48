//! `lorascope models` as a command.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use crate::bench::{COPY, URL, fake_python, manifest_text, payload, write_wheels};
use crate::server::{Act, Server};

/// A home whose only models are the small ones, and the command that works in it.
fn lorascope(endpoint: &str) -> (tempfile::TempDir, impl Fn(&[&str]) -> Command + use<>) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("models.toml"), manifest_text()).unwrap();
    write_wheels(home.path());
    fake_python(home.path(), COPY);
    let (folder, endpoint) = (home.path().to_path_buf(), endpoint.to_owned());
    let command = move |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lorascope"));
        command.args(args).env("LORASCOPE_HOME", &folder).env("HF_ENDPOINT", &endpoint);
        command.env("LORASCOPE_PYTHON", folder.join("python3"));
        for name in ["LORASCOPE_OFFLINE", "LORASCOPE_MODEL", "HF_TOKEN"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    (home, command)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn fetch_without_a_name_brings_what_the_lab_needs() {
    let (_home, command) = lorascope(&Server::nobody());
    let fetched = command(&["models", "fetch", "--json"]).output().unwrap();
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    let json: serde_json::Value = serde_json::from_str(&stdout(&fetched)).unwrap();
    assert_eq!(json["models"][0]["name"], "tiny");
    assert_eq!(json["models"][1]["name"], "mini");
    assert!(!stderr(&fetched).contains('\x1b'), "no drawing where standard error is no terminal");
    assert!(stderr(&fetched).contains("tiny: trying the Python wheels"), "{}", stderr(&fetched));

    let listed = command(&["models", "list", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&stdout(&listed)).unwrap();
    let models = json["models"].as_array().unwrap();
    let tiny = models.iter().find(|model| model["name"] == "tiny").unwrap();
    assert!(tiny["path"].as_str().unwrap().ends_with("tiny.gguf"));

    let path = tiny["path"].as_str().unwrap();
    assert!(command(&["models", "verify"]).status().unwrap().success());
    let mut body = payload();
    body[0] ^= 1;
    fs::write(path, body).unwrap();
    let verified = command(&["models", "verify"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(stdout(&verified).contains("broken: run `lorascope models fetch tiny`"), "{}", stdout(&verified));
    assert!(command(&["models", "fetch", "tiny"]).status().unwrap().success());
    assert!(fs::read(path).unwrap() == payload());
}

#[test]
fn ctrl_c_ends_a_fetch_with_130_and_no_broken_file() {
    let (release, gate) = channel::<()>();
    let server = Server::start(&[(URL, &payload())], vec![Act::Stall(1000), Act::Wait(gate)]);
    let (home, command) = lorascope(&server.endpoint);
    let mut child = command(&["models", "fetch", "tiny"]).spawn().unwrap();
    while server.requests().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it asked the hub");
        std::thread::yield_now();
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).ends_with("interrupted\n"), "{}", stderr(&output));
    assert!(!home.path().join("models/tiny/tiny.gguf").exists());
    drop(release);
    assert!(command(&["models", "fetch", "tiny"]).status().unwrap().success());
}

#[test]
fn faults_are_one_line_and_the_right_code() {
    let (home, command) = lorascope(&Server::nobody());
    let run = |args: &[&str]| command(args).output().unwrap();
    let unknown = run(&["models", "fetch", "nosuch"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).starts_with("error: no model `nosuch`"), "{}", stderr(&unknown));
    assert_eq!(stderr(&unknown).lines().count(), 1);
    for wrong in [&["models"][..], &["models", "import"], &["models", "fetch", "--nonsense"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    fs::write(home.path().join("lorascope.toml"), "[hub]\nconect_timeout_s = 1\n").unwrap();
    let settings = run(&["models", "list"]);
    assert!(stderr(&settings).contains("lorascope.toml:2:"), "{}", stderr(&settings));
    fs::write(home.path().join("lorascope.toml"), "").unwrap();
    fs::write(home.path().join("models.toml"), "[[model]]\nname = \"x\"\n").unwrap();
    let manifest = run(&["models", "list"]);
    assert_eq!(manifest.status.code(), Some(1));
    assert!(stderr(&manifest).contains("models.toml:1:"), "{}", stderr(&manifest));
}

#[test]
fn a_licence_is_shown_and_accepted_by_flag_only_where_nobody_can_be_asked() {
    let (home, command) = lorascope(&Server::nobody());
    let asking = manifest_text().replacen(
        "url = \"https://example.org/terms\" }",
        "url = \"https://example.org/terms\", needs_acceptance = true, notice = \"be good\" }",
        1,
    );
    fs::write(home.path().join("models.toml"), asking).unwrap();
    let refused = command(&["models", "fetch", "tiny"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("be good") && stderr(&refused).contains("--accept-licence"));
    let accepted = command(&["models", "fetch", "tiny", "--accept-licence"]).output().unwrap();
    assert!(accepted.status.success(), "{}", stderr(&accepted));
    assert!(stderr(&accepted).contains("be good"));
    assert!(command(&["models", "fetch", "tiny"]).status().unwrap().success());
}
