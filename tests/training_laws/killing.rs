//! Does a run that is killed, at any moment, end as if it had not been?
//!
//! The real loop trains the double. At every event the run's folder is copied as it lies on the disk:
//! what a killed process would leave behind. Each copy is resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lorascope::corpus::{Judge, Wording};
use lorascope::model::{ChatTemplate, LanguageModel, Tokenizer};
use lorascope::run::{RunFolder, RunRecord};
use lorascope::train::data::{RecallQuestion, TrainData};
use lorascope::train::{
    Recipe, RunControl, RunControls, RunOutcome, TrainConfig, TrainEvent, TrainPlan, train,
};
use serde_json::{Value, json};

use crate::double::{VOCAB, decoder, examples, lora};
use lorascope::model::lora::Projection;

/// The double with one word a token.
pub(crate) fn model(folder: &Path) -> LanguageModel {
    let vocab: BTreeMap<String, usize> = (0..VOCAB).map(|i| (format!("w{i}"), i)).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w1"},
    });
    let path = folder.join("tokenizer.json");
    fs::write(&path, tokenizer.to_string()).unwrap();
    LanguageModel {
        name: "double".to_owned(),
        decoder: decoder(),
        tokenizer: Tokenizer::from_file(&path).unwrap(),
        chat: ChatTemplate::question_answer(),
        stop: vec![0],
        text_end: None,
    }
}

fn data() -> TrainData {
    let ask = |n: u32, wording| RecallQuestion {
        wording,
        prompt: vec![n, 7, 9],
        judge: Judge::Contains(vec![format!("w{n}")]),
        max_tokens: 16,
    };
    TrainData {
        train: examples(41, 10),
        valid: examples(42, 3),
        general: examples(43, 2),
        recall: vec![ask(3, Wording::Trained), ask(4, Wording::Unseen)],
        ..TrainData::default()
    }
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: Some(11),
        batch: 2,
        accumulation: 2,
        warmup_steps: 2,
        eval_every: 4,
        checkpoint_every: 3,
        lora: lora(&Projection::ALL),
        ..TrainConfig::defaults(Recipe::Qa)
    }
}

fn create(place: &Path, config: &TrainConfig) -> RunFolder {
    let record = RunRecord {
        version: "0".to_owned(),
        model: "double".to_owned(),
        corpus: PathBuf::from("corpus"),
        corpus_digest: String::new(),
        kernels: String::new(),
        created_unix_s: 0,
        train: config.clone(),
    };
    RunFolder::create(place, &record).unwrap()
}

/// Trains in `place`, where a run may lie already, and tells `watch` each event.
fn go(model: &LanguageModel, place: &Path, watch: &mut dyn FnMut(&TrainEvent, &RunControls)) -> RunOutcome {
    let config = config();
    let folder = if place.join("run.toml").exists() {
        let (folder, record) = RunFolder::open(place).unwrap();
        assert_eq!(record.train, config, "a run is repeated from its record");
        folder
    } else {
        create(place, &config)
    };
    let (controls, data) = (RunControls::new(), data());
    let plan = TrainPlan { model, data: &data, config: &config, folder: &folder, controls: &controls };
    train(plan, &mut |event: TrainEvent| watch(&event, &controls)).unwrap()
}

/// What a run says of itself, without times and without how often it was started.
fn numbers(place: &Path) -> Vec<Value> {
    let mut events = RunFolder::metrics(place).unwrap();
    events.retain(|event| event["event"] != "started");
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        for name in ["elapsed_s", "cpu_s", "energy_j"] {
            event.remove(name);
        }
        event.remove("tokens_per_s");
    }
    events
}

fn adapter(place: &Path) -> Vec<u8> {
    fs::read(place.join("adapter/adapter_model.safetensors")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(drop).unwrap() }
    }
}

#[test]
fn a_kill_at_any_event_changes_no_number() {
    let home = tempfile::tempdir().unwrap();
    let (model, whole) = (model(home.path()), home.path().join("whole"));
    let mut killed = Vec::new();
    let outcome = go(&model, &whole, &mut |event, _| {
        let place = home.path().join(format!("killed-{}", killed.len()));
        copy(&whole, &place);
        killed.push((place, format!("{event:?}").chars().take(24).collect::<String>()));
    });
    assert_eq!(outcome, RunOutcome::Completed);
    let (expected, weights) = (numbers(&whole), adapter(&whole));
    assert_eq!(expected.iter().filter(|e| e["event"] == "step").count(), 11);
    assert!(killed.len() > 30, "{} events", killed.len());
    for (place, event) in killed {
        assert_eq!(go(&model, &place, &mut |_, _| {}), RunOutcome::Completed);
        assert_eq!(numbers(&place), expected, "killed at {event}");
        assert_eq!(adapter(&place), weights, "killed at {event}");
    }
}

#[test]
fn a_line_cut_off_by_the_kill_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let (model, whole, broken) = (model(home.path()), home.path().join("whole"), home.path().join("broken"));
    go(&model, &whole, &mut |event, _| {
        if matches!(event, TrainEvent::Stepped(report) if report.step == 8) {
            copy(&whole, &broken);
        }
    });
    let path = broken.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    go(&model, &broken, &mut |_, _| {});
    assert_eq!(numbers(&broken), numbers(&whole));
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_stood() {
    let home = tempfile::tempdir().unwrap();
    let (model, whole, stopped) =
        (model(home.path()), home.path().join("whole"), home.path().join("stopped"));
    go(&model, &whole, &mut |_, _| {});
    let outcome = go(&model, &stopped, &mut |event, controls| {
        if matches!(event, TrainEvent::Stepped(report) if report.step == 5) {
            controls.order(RunControl::StopAndSave);
        }
    });
    assert_eq!(outcome, RunOutcome::Completed);
    assert_ne!(adapter(&stopped), adapter(&whole), "it stopped half-way, and saved what it had");
    let mut first = None;
    go(&model, &stopped, &mut |event, _| {
        if let TrainEvent::Started { first_step, .. } = event {
            first = Some(*first_step);
        }
        // The adapter it stopped with stays until there is a newer checkpoint.
        if let TrainEvent::Saved { step, .. } = event {
            assert!(!stopped.join("adapter").exists(), "saved at {step}");
        } else if matches!(event, TrainEvent::Stepped(report) if report.step == 6) {
            assert!(stopped.join("adapter").exists());
        }
    });
    assert_eq!(first, Some(5));
    assert_eq!(adapter(&stopped), adapter(&whole));
}

#[test]
fn measurements_that_a_stop_cut_off_are_made_when_the_run_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (model, whole) = (model(home.path()), home.path().join("whole"));
    go(&model, &whole, &mut |_, _| {});
    let evals = |place: &Path| -> Vec<Value> {
        let mut evals = numbers(place);
        evals.retain(|event| event["event"] == "eval");
        evals.sort_by_key(|eval| eval["step"].as_u64());
        evals
    };
    for at in [1, 4, 11] {
        let place = home.path().join(format!("stopped-at-{at}"));
        let mut step = 0;
        go(&model, &place, &mut |event, controls| match event {
            TrainEvent::Stepped(report) => step = report.step,
            TrainEvent::Evaluating { .. } if step == at => controls.order(RunControl::StopAndSave),
            _ => {}
        });
        assert!(evals(&place).len() < evals(&whole).len(), "stopped at {at}");
        go(&model, &place, &mut |_, _| {});
        assert_eq!(evals(&place), evals(&whole), "stopped at {at}");
    }
}

#[test]
fn a_cancelled_run_keeps_its_last_checkpoint_and_no_adapter() {
    let home = tempfile::tempdir().unwrap();
    let (model, place) = (model(home.path()), home.path().join("run"));
    let outcome = go(&model, &place, &mut |event, controls| {
        if matches!(event, TrainEvent::Stepped(report) if report.step == 5) {
            controls.order(RunControl::Cancel);
        }
    });
    assert_eq!(outcome, RunOutcome::Cancelled);
    assert!(!place.join("adapter").exists());
    let (folder, _) = RunFolder::open(&place).unwrap();
    assert_eq!(lorascope::train::checkpoint::steps(&folder.checkpoints()).unwrap(), [3]);
}

#[test]
fn the_same_settings_give_the_same_metrics_and_another_seed_others() {
    let home = tempfile::tempdir().unwrap();
    let (model, one, two) = (model(home.path()), home.path().join("one"), home.path().join("two"));
    go(&model, &one, &mut |_, _| {});
    go(&model, &two, &mut |_, _| {});
    assert_eq!(numbers(&one), numbers(&two));
    assert_eq!(adapter(&one), adapter(&two));
    let three = home.path().join("three");
    let config = TrainConfig { seed: 43, ..config() };
    let (folder, controls, data) = (create(&three, &config), RunControls::new(), data());
    let plan =
        TrainPlan { model: &model, data: &data, config: &config, folder: &folder, controls: &controls };
    train(plan, &mut |_: TrainEvent| {}).unwrap();
    assert_ne!(numbers(&three), numbers(&one));
}
