//! What survives an update, a file and a kill?

use std::fs;
use std::path::Path;

use lorascope::model::Adapter;
use lorascope::train::batch::Batch;
use lorascope::train::checkpoint::{Standing, newest, save, steps};

use crate::double::{Run, config, examples, fresh, trained};

fn batch(step: usize) -> Batch {
    Batch::pack(&examples(step as u64, 4))
}

fn train(run: &mut Run, steps: std::ops::RangeInclusive<usize>) -> Vec<u64> {
    steps.map(|step| run.step(&[batch(step)]).loss.to_bits()).collect()
}

fn keep(folder: &Path, run: &Run, step: usize) {
    save(
        folder,
        Standing { step, elapsed_s: 0.5, cpu_s: None, energy_j: None },
        &run.trainable,
        &run.optimizer,
    )
    .unwrap();
}

fn go_on(folder: &Path) -> (usize, Run) {
    let restored = newest(folder, &config(), 0.0).unwrap().expect("a checkpoint");
    let mut run = Run::new(restored.trainable);
    run.optimizer = restored.optimizer;
    (restored.standing.step, run)
}

fn digest(run: &Run) -> String {
    run.trainable.publish().unwrap().digest().unwrap()
}

#[test]
fn a_published_copy_is_not_reached_by_later_updates() {
    let mut run = Run::new(fresh(31));
    train(&mut run, 1..=2);
    let copy = run.trainable.publish().unwrap();
    let before = copy.digest().unwrap();
    train(&mut run, 3..=4);
    assert_eq!(copy.digest().unwrap(), before);
    assert_ne!(digest(&run), before);
}

#[test]
fn an_adapter_comes_back_from_disk_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = trained(32);
    adapter.save(folder.path()).unwrap();
    let back = Adapter::load(folder.path(), &config()).unwrap();
    assert_eq!(back.digest().unwrap(), adapter.digest().unwrap());
    assert_eq!((back.config, back.base), (adapter.config, adapter.base));
}

#[test]
fn an_adapter_of_another_model_is_refused_with_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    trained(33).save(folder.path()).unwrap();
    let mut other = config();
    other.hidden_size = 32;
    other.n_layers = 3;
    let refused = Adapter::load(folder.path(), &other).unwrap_err().to_string();
    assert!(refused.contains("42 tensors") || refused.contains("tensors don't fit"), "{refused}");
    assert!(refused.contains("layers.0.mlp.down_proj.lora_B") && refused.contains("double"), "{refused}");
}

#[test]
fn an_adapter_whose_layers_scale_differently_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    trained(33).save(folder.path()).unwrap();
    let path = folder.path().join("adapter_config.json");
    let mut peft: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut load = |pattern: serde_json::Value| {
        peft["alpha_pattern"] = pattern;
        fs::write(&path, peft.to_string()).unwrap();
        Adapter::load(folder.path(), &config())
    };
    assert!(load(serde_json::json!({})).is_ok());
    let refused = load(serde_json::json!({"q_proj": 8})).unwrap_err().to_string();
    assert!(refused.contains("alpha_pattern"), "{refused}");
}

#[test]
fn a_resumed_run_gives_the_numbers_of_an_unbroken_one() {
    let mut unbroken = Run::new(fresh(34));
    let losses = train(&mut unbroken, 1..=12);
    for broken_at in [1, 5, 11] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(fresh(34));
        train(&mut run, 1..=broken_at);
        keep(folder.path(), &run, broken_at);
        // What came after the checkpoint is lost with the process.
        train(&mut run, broken_at + 1..=broken_at + 1);
        let (step, mut resumed) = go_on(folder.path());
        assert_eq!(step, broken_at);
        assert_eq!(train(&mut resumed, step + 1..=12), losses[step..]);
        assert_eq!(digest(&resumed), digest(&unbroken));
    }
}

#[test]
fn a_kill_while_a_checkpoint_is_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::new(fresh(35));
    for step in 1..=3 {
        train(&mut run, step..=step);
        keep(folder.path(), &run, step);
    }
    assert_eq!(steps(folder.path()).unwrap(), [2, 3], "two are kept");
    // Killed half-way: the folder that was being written is there, and no checkpoint.
    let partial = folder.path().join("partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("adapter_model.safetensors"), b"half").unwrap();
    assert_eq!(go_on(folder.path()).0, 3);
    keep(folder.path(), &run, 4);
    assert!(!partial.exists());
    // A disk that lost the end of a file: the older one serves.
    let newest = folder.path().join("step-000004/optimizer.safetensors");
    fs::write(&newest, &fs::read(&newest).unwrap()[..100]).unwrap();
    assert_eq!(go_on(folder.path()).0, 3);
}
