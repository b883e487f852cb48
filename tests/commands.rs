//! What do the commands about runs and this machine do, and how do they fail? The built program is run,
//! each time with a home of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lorascope::cancel::Cancel;
use lorascope::config::HubSettings;
use lorascope::corpus::Wording;
use lorascope::hub::{self, Store};
use lorascope::model::lora::TrainableAdapter;
use lorascope::model::{self, Adapter, ModelConfig};
use lorascope::paths::Paths;
use lorascope::run::{RunFolder, RunRecord};
use lorascope::train::{EvalReport, Recall, Recipe, RunOutcome, StepReport, TrainConfig, TrainEvent};
use serde_json::{Value, json};

/// A home, and the program in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn runs(&self) -> PathBuf {
        self.path().join("runs")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lorascope"));
        let own = std::env::vars().map(|(name, _)| name);
        for name in own.filter(|name| name.starts_with("LORASCOPE_") || name.starts_with("HF_")) {
            command.env_remove(name);
        }
        command.args(args).env("LORASCOPE_HOME", self.path()).env("LORASCOPE_OFFLINE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The JSON that a command prints, which must succeed.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// The one line on standard error of a command that must fail.
    fn fault(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}{}", stdout(&output), stderr(&output));
        let line = stderr(&output);
        assert!(line.starts_with("error: ") && line.lines().count() == 1, "{args:?}: {line}");
        line
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A run of `n_steps` updates of which `step` were made, and measured.
fn made(place: &Path, step: usize, n_steps: usize) -> RunFolder {
    let record = RunRecord {
        version: "0.0.1".to_owned(),
        model: "smollm2-135m-instruct".to_owned(),
        corpus: PathBuf::from("/corpora/islands"),
        corpus_digest: "abc123".to_owned(),
        kernels: "avx2".to_owned(),
        created_unix_s: 951_827_696 + n_steps as u64,
        train: TrainConfig::defaults(Recipe::Qa),
    };
    let folder = RunFolder::create(place, &record).unwrap();
    let measured = |step, general_loss: f64| EvalReport {
        step,
        valid_loss: Some(0.5),
        general_loss,
        recall: [(Wording::Unseen, Recall { n_right: 3 * step.min(1), n: 4 })].into(),
        facts: Vec::new(),
        elapsed_s: 61.0,
    };
    let run = place.to_path_buf();
    folder.record(&TrainEvent::Started { n_steps, first_step: 0, n_trainable: 8, run }).unwrap();
    folder.record(&TrainEvent::Evaluated(measured(0, 2.0))).unwrap();
    let report = StepReport {
        step,
        epoch: 1.0,
        loss: 0.25,
        perplexity: 0.25f64.exp(),
        lr: 1e-3,
        grad_norm: 1.0,
        n_tokens: 10,
        tokens_per_s: 5.0,
        elapsed_s: 60.0,
    };
    folder.record(&TrainEvent::Stepped(report)).unwrap();
    folder.record(&TrainEvent::Evaluated(measured(step, 3.0))).unwrap();
    folder
}

fn finished(place: &Path) -> RunFolder {
    let folder = made(place, 4, 4);
    folder.record(&TrainEvent::Ended(RunOutcome::Completed)).unwrap();
    let mut config = TrainConfig::defaults(Recipe::Qa).lora;
    config.rank = 2;
    let shape = ModelConfig::from_hugging_face(&small_model()).unwrap();
    let adapter = TrainableAdapter::fresh(&config, &shape, "smollm2-135m-instruct", 1).unwrap().adapter;
    adapter.save(&folder.adapter()).unwrap();
    folder
}

fn small_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references/peft/model")
}

#[test]
fn runs_are_listed_newest_last_and_a_broken_one_hides_none() {
    let home = Home::new();
    assert!(stdout(&home.run(&["runs", "list"])).contains("no runs in"));
    assert_eq!(home.json(&["runs", "list", "--json"])["runs"], Value::Array(Vec::new()));
    finished(&home.runs().join("b-first"));
    made(&home.runs().join("a-second"), 3, 8);
    let broken = made(&home.runs().join("c-broken"), 1, 2);
    fs::write(broken.path().join("run.toml"), "version = 7\n").unwrap();
    let listed = home.run(&["runs", "list"]);
    assert!(listed.status.success());
    let lines: Vec<Vec<String>> =
        stdout(&listed).lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(lines.len(), 3);
    let second =
        "a-second unfinished qa smollm2-135m-instruct 3/8 0.25 75 % 20.09 2000-02-29 12:35".split(' ');
    assert_eq!(lines[1][..2], ["b-first", "completed"]);
    assert_eq!(lines[2], second.collect::<Vec<_>>());
    let complaint = stderr(&listed);
    assert!(complaint.contains("c-broken") && complaint.lines().count() == 1, "{complaint}");
    let json = home.json(&["runs", "list", "--json"]);
    assert_eq!((&json["runs"][1]["name"], &json["runs"][1]["step"]), (&"a-second".into(), &3.into()));
    assert_eq!(json["runs"][0]["recall_unseen"], 0.75);
}

#[test]
fn a_run_is_shown_with_all_its_settings_and_what_to_do_next() {
    let home = Home::new();
    finished(&home.runs().join("one"));
    let shown = stdout(&home.run(&["runs", "show", "one"]));
    for part in [
        "completed",
        "2000-02-29 12:35:00 UTC",
        "/corpora/islands",
        "abc123",
        "lora.rank",
        "warmup_steps",
        "20.09, 7.39 before",
        "75 %",
        "runs/one/adapter",
        "lorascope ask QUESTION --contender all --run one",
        "lorascope report one",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("--resume"));
    let going = made(&home.runs().join("two"), 3, 8);
    let json = home.json(&["runs", "show", "tw", "--json"]);
    assert_eq!(json["next"]["resume"], "lorascope train --resume --run two");
    assert!(json["adapter"].is_null() && json["next"]["ask"].is_null(), "{json}");
    assert_eq!(json["record"]["train"]["lora"]["rank"], 16);
    let lock = going.lock().unwrap();
    let json = home.json(&["runs", "show", "two", "--json"]);
    assert_eq!((&json["state"], &json["next"]["resume"]), (&"running".into(), &Value::Null));
    drop(lock);
    going.record(&TrainEvent::Ended(RunOutcome::Failed("the disk is full".to_owned()))).unwrap();
    let shown = stdout(&home.run(&["runs", "show", "two"]));
    assert!(shown.contains("failed because") && shown.contains("the disk is full"), "{shown}");
}

#[test]
fn a_run_is_removed_only_on_purpose_and_never_while_it_is_trained() {
    let home = Home::new();
    let folder = finished(&home.runs().join("one"));
    assert!(home.fault(&["runs", "rm", "one"]).contains("--yes"));
    let lock = folder.lock().unwrap();
    assert!(home.fault(&["runs", "rm", "one", "--yes"]).contains("another process is training"));
    drop(lock);
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    assert!(home.fault(&["runs", "rm", &foreign.display().to_string(), "--yes"]).contains("no run"));
    assert!(home.fault(&["runs", "rm", "", "--yes"]).contains("no run is named"));
    assert!(folder.adapter().is_dir() && foreign.join("thesis.tex").is_file());
    let json = home.json(&["runs", "rm", "one", "--yes", "--json"]);
    assert!(json["removed"].as_str().unwrap().ends_with("runs/one") && json["bytes"].as_u64().unwrap() > 500);
    assert!(!folder.path().exists() && home.runs().is_dir());
    assert!(home.fault(&["runs", "rm", "one", "--yes"]).contains("no run `one`"));
}

#[test]
fn peft_gets_the_float_model_s_name_and_the_same_weights() {
    let home = Home::new();
    let folder = finished(&home.runs().join("one"));
    let json = home.json(&["export", "one", "--format", "peft", "--json"]);
    let out = folder.path().join("export/peft").canonicalize().unwrap();
    assert_eq!(json["path"], out.display().to_string());
    assert_eq!(json["base"], "HuggingFaceTB/SmolLM2-135M-Instruct");
    let shape = ModelConfig::from_hugging_face(&small_model()).unwrap();
    let (ours, exported) = (Adapter::load(&folder.adapter(), &shape), Adapter::load(&out, &shape).unwrap());
    assert_eq!(exported.digest().unwrap(), ours.unwrap().digest().unwrap());
    assert_eq!(exported.base, "HuggingFaceTB/SmolLM2-135M-Instruct");
    assert!(home.run(&["export", "one", "--format", "peft"]).status.success(), "again, over its own");
}

#[test]
fn a_merged_model_is_one_that_model_names() {
    let home = Home::new();
    let folder = finished(&home.runs().join("one"));
    let base = home.path().join("base");
    fs::create_dir(&base).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(small_model().join(name), base.join(name)).unwrap();
    }
    let tokenizer = r#"{"version": "1.0", "added_tokens": [], "model":
        {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "b"}}"#;
    fs::write(base.join("tokenizer.json"), tokenizer).unwrap();
    let (base, out) = (base.display().to_string(), home.path().join("new/merged"));
    let target = out.display().to_string();
    let merge = ["export", "one", "--format", "merged", "--model", &base, "--out", &target];
    let told = stdout(&home.run(&merge));
    assert!(told.contains("--model") && told.contains("new/merged"), "{told}");
    let store = Store::open(&Paths::under(home.path()), &HubSettings::default()).unwrap();
    let found = hub::resolve(&store, &target, &Cancel::new(), &mut |_| {}).unwrap();
    let n_parameters = |path: &Path| model::open(path).unwrap().weights.n_parameters();
    assert_eq!(n_parameters(&found.path), n_parameters(Path::new(&base)));
    assert!(home.run(&merge).status.success(), "again, over its own");
    assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    // The run's own model is not here, and may not be fetched.
    assert!(home.fault(&["export", "one", "--format", "merged"]).contains("LORASCOPE_OFFLINE"));
    assert!(!folder.path().join("export/merged").exists());
}

#[test]
fn an_export_that_cannot_be_is_refused_with_the_way_out() {
    let home = Home::new();
    let bare = made(&home.runs().join("bare"), 3, 8);
    let fault = home.fault(&["export", "bare", "--format", "peft"]);
    assert!(fault.contains("no adapter yet") && fault.contains("lorascope train --resume --run "), "{fault}");
    assert!(!bare.path().join("export").exists());
    let run = finished(&home.runs().join("one"));
    let target = run.path().display().to_string();
    let fault = home.fault(&["export", "one", "--format", "peft", "--out", &target]);
    assert!(fault.contains("something else than an export") && fault.contains("--out"), "{fault}");
    fs::write(run.adapter().join("adapter_config.json"), "{").unwrap();
    assert!(home.fault(&["export", "one", "--format", "peft"]).contains("adapter_config.json"));
    assert!(home.fault(&["export", "nosuch", "--format", "peft"]).contains("no run `nosuch`"));
}

#[test]
fn the_doctor_says_as_one_object_what_there_is() {
    let home = Home::new();
    let output = home.run(&["doctor", "--json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let of = |about: &str| checks.iter().find(|check| check["about"] == about).unwrap();
    // Offline and without a model the lab cannot work.
    assert_eq!((output.status.code(), &json["possible"]), (Some(1), &false.into()));
    assert_eq!((&of("model")["state"], &of("model")["values"]["needed"]), (&"missing".into(), &true.into()));
    assert!(stderr(&output).contains("for want of: model") && stderr(&output).lines().count() == 1);
    assert_eq!(of("system")["values"]["os"], std::env::consts::OS);
    assert!(of("disk")["values"]["free_bytes"].as_u64().is_some());
    assert!(of("hub")["values"]["reachable"].is_null(), "it must not be asked");
    assert_eq!(of("data")["values"]["writable"], true);
    assert_eq!(of("settings")["values"]["found"], false);
    assert_eq!(of("terminal")["state"], "note");
    assert!(
        ["amx", "bf16", "vnni", "avx512", "avx2", "simd"]
            .contains(&of("kernels")["values"]["level"].as_str().unwrap())
    );
    assert!(checks.iter().all(|check| check["state"] == "ok" || check["remedy"].is_string()), "{json:#}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn the_doctor_looks_on_when_something_is_broken() {
    let home = Home::new();
    fs::write(home.path().join("lorascope.toml"), "[train]\nrnak = 8\n").unwrap();
    fs::write(home.path().join("models.toml"), "[[model]]\n").unwrap();
    let mut command = home.command(&["doctor"]);
    command.env("LORASCOPE_KERNELS", "portable").env("NO_COLOR", "1").env("LC_ALL", "C");
    let output = command.output().unwrap();
    let lines = stdout(&output);
    let line =
        |about: &str| lines.lines().find(|line| line.split_whitespace().nth(1) == Some(about)).unwrap();
    assert!(
        line("settings").starts_with("missing") && line("settings").contains("lorascope.toml:2:"),
        "{lines}"
    );
    assert!(line("models").contains("models.toml:1:"), "{lines}");
    assert!(line("kernels").starts_with("note") && line("kernels").contains("portable"), "{lines}");
    assert!(line("colours").contains("none") && line("characters").contains("not UTF-8"), "{lines}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_folder_of_the_user_s_is_enough_of_a_model() {
    let home = Home::new();
    let model = small_model().display().to_string();
    let output = home.run(&["doctor", "--json", "--model", &model]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let decoder = json["checks"].as_array().unwrap().iter().find(|check| check["about"] == "model").unwrap();
    assert_eq!((&decoder["state"], &decoder["values"]["path"]), (&"ok".into(), &model.as_str().into()));
    assert!(stderr(&output).contains("want of: model"), "the embedder is needed too");
}

#[test]
fn every_claim_is_told_whether_a_run_shows_it_or_not() {
    let home = Home::new();
    let none = home.json(&["claims", "--json"]);
    let claims = none["claims"].as_array().unwrap();
    assert_eq!(claims.len(), 9);
    assert!(claims.iter().all(|claim| claim["verdict"].is_null() && claim["rule"].is_string()), "{none}");
    assert!(stdout(&home.run(&["claims"])).contains("facts: not measured yet"));
    let run = finished(&home.runs().join("20260101-000000-qa"));
    // The measurement on the way is enough; `eval` says more.
    let measured = home.json(&["claims", "--json"]);
    let facts = &measured["claims"][0];
    assert_eq!(
        (&facts["claim"], facts["findings"].as_array().unwrap().len()),
        (&"facts".into(), 1),
        "{measured}"
    );
    fs::create_dir_all(run.path().join("report")).unwrap();
    // What was measured of other weights, before the run went on, does not count.
    for (step, counts) in [(1, false), (4, true)] {
        let tuned = json!({"unseen": {"n": 40, "contains": 0.5}});
        let eval = json!({"step": step, "contenders": {"tuned": tuned}});
        fs::write(run.path().join("report/eval.json"), eval.to_string()).unwrap();
        let told = home.json(&["claims", "--json"])["claims"][0]["findings"][0]["measured"].to_string();
        assert_eq!(told.contains("50 % (35 to 65)"), counts, "{step}: {told}");
    }
    fs::write(run.path().join("report/eval.json"), "{").unwrap();
    // A damaged file hides its own run alone.
    assert_eq!(home.json(&["claims", "--json"]), none);
}

#[test]
fn a_run_is_kept_neither_over_other_files_nor_among_documents() {
    let home = Home::new();
    let corpus = home.path().join("corpus");
    fs::create_dir_all(&corpus).unwrap();
    fs::write(corpus.join("a.md"), "# A\n\nOne.").unwrap();
    let refused = |run: &str| {
        let place = home.path().join(run);
        home.fault(&["train", "--corpus", corpus.to_str().unwrap(), "--run", place.to_str().unwrap()])
    };
    for place in ["corpus", "corpus/run", "corpus/./run/deeper"] {
        assert!(refused(place).contains("inside the corpus"), "{place}");
    }
    // What is hidden is no document; without a model the run ends there.
    assert!(!refused("corpus/.runs/a").contains("inside the corpus"));
    assert_eq!(fs::read_dir(&corpus).unwrap().count(), 1);
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("facts.jsonl"), "{}").unwrap();
    assert!(refused("elsewhere").contains("would write over it"));
    assert_eq!(fs::read_to_string(elsewhere.join("facts.jsonl")).unwrap(), "{}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::new();
    for wrong in [
        &["runs"][..],
        &["runs", "show"],
        &["runs", "rm"],
        &["runs", "list", "--all"],
        &["export"],
        &["export", "one"],
        &["export", "one", "--format", "onnx"],
        &["doctor", "everything"],
        &["ask", "What?", "--scale", "nan"],
        &["ask", "What?", "--max-tokens", "0"],
        &["eval", "--sample", "0"],
        &["ask", ""],
        &["search", " "],
        &["ask", "What?", "--top-p", "3"],
        &["ask", "What?", "--contender", "nobody"],
        &["eval", "--wording", "nowhere"],
        &["eval", "--contender", "all,nobody"],
        &["eval", "--price=-3"],
        &["train", "--batch", "4294967296", "--accumulate", "4294967296"],
        &["train", "--weight-decay", "1e308"],
        &["train", "--lr", "nan"],
        &["train", "--rank", "0"],
        &["sweep", "--replay", "3"],
        &["sweep", "--recipe", "qa", "--epochs", "1,2"],
        &["bench", "train", "--batch", "0"],
        &["bench", "ui", "--rank", "8"],
    ] {
        let output = home.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(stdout(&output).is_empty() && !stderr(&output).is_empty(), "{wrong:?}");
    }
    // What the settings get wrong was not typed.
    fs::write(home.path().join("lorascope.toml"), "[train]\nlr = 7.0\n").unwrap();
    assert!(home.fault(&["train"]).contains("learning rate 7"));
    fs::remove_file(home.path().join("lorascope.toml")).unwrap();
    for absent in [&["runs", "show", "nosuch"][..], &["runs", "show", ""]] {
        assert!(home.fault(absent).contains("runs list"));
    }
}
