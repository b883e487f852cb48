//! How does a run survive being killed?
//!
//! A checkpoint is a folder `checkpoints/step-000120` with the adapter in PEFT's layout, the optimizer's
//! moments and `state.json`. It is written beside its place and renamed: it is whole or absent.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use crate::error::{Error, Result};
use crate::meter::Spent;
use crate::model::Adapter;
use crate::model::config::ModelConfig;
use crate::model::lora::TrainableAdapter;

/// Checkpoints kept.
const KEPT: usize = 2;

/// Where a run stood. The order of examples, the learning rate and all else follow from the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Updates made.
    pub step: usize,
    /// Seconds of training so far.
    pub elapsed_s: f64,
    /// Processor time of it, where the system tells.
    #[serde(default)]
    pub cpu_s: Option<f64>,
    /// Energy of it in joules, where the system tells.
    #[serde(default)]
    pub energy_j: Option<f64>,
}

impl Standing {
    /// Where a run stands that has spent so much.
    pub fn new(step: usize, spent: Spent) -> Self {
        Self { step, elapsed_s: spent.seconds, cpu_s: spent.cpu_seconds, energy_j: spent.joules }
    }

    /// What was spent so far.
    pub fn spent(self) -> Spent {
        Spent { seconds: self.elapsed_s, cpu_seconds: self.cpu_s, joules: self.energy_j }
    }
}

/// What a run goes on from.
#[derive(Debug)]
pub struct Restored {
    /// Where it stood.
    pub standing: Standing,
    /// The weights.
    pub trainable: TrainableAdapter,
    /// The optimizer.
    pub optimizer: AdamW,
}

/// The folder of one checkpoint.
pub fn named(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("step-{step:06}"))
}

/// Writes a checkpoint and removes all but the newest two.
pub fn save(
    folder: &Path,
    standing: Standing,
    trainable: &TrainableAdapter,
    optimizer: &AdamW,
) -> Result<()> {
    let partial = folder.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::io("clear", &partial))?;
    }
    trainable.adapter.save(&partial)?;
    let path = partial.join("optimizer.safetensors");
    candle_core::safetensors::save(&optimizer.state()?, &path)
        .map_err(|e| Error::file(&path, e.to_string(), "check that the disk has room"))?;
    let state =
        serde_json::to_string(&standing).map_err(|e| Error::file(&path, e.to_string(), "report this"))?;
    crate::files::write_whole(&partial.join("state.json"), state.as_bytes())?;
    for file in fs::read_dir(&partial).map_err(Error::io("read", &partial))?.flatten() {
        let sync = || fs::File::open(file.path())?.sync_all();
        sync().map_err(Error::io("write", file.path()))?;
    }
    let place = named(folder, standing.step);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Error::io("replace", &place))?;
    }
    fs::rename(&partial, &place).map_err(Error::io("write", &place))?;
    for old in steps(folder)?.iter().rev().skip(KEPT) {
        let old = named(folder, *old);
        fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
    }
    Ok(())
}

/// Steps with a whole checkpoint, in order.
pub fn steps(folder: &Path) -> Result<Vec<usize>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten();
    let step = |name: &str| name.strip_prefix("step-")?.parse().ok();
    let mut steps: Vec<usize> = entries.filter_map(|e| step(e.file_name().to_str()?)).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The newest checkpoint that can be read; damaged ones are passed over for older ones. `None` when
/// there is none at all.
pub fn newest(folder: &Path, model: &ModelConfig, weight_decay: f64) -> Result<Option<Restored>> {
    let mut damage = None;
    for step in steps(folder)?.into_iter().rev() {
        match load(&named(folder, step), model, weight_decay) {
            Ok(restored) => return Ok(Some(restored)),
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    damage.map_or(Ok(None), Err)
}

fn load(folder: &Path, model: &ModelConfig, weight_decay: f64) -> Result<Restored> {
    let damaged =
        |path: &Path, what: String| Error::file(path, what, "remove this checkpoint and resume again");
    let path = folder.join("state.json");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let standing: Standing = serde_json::from_str(&text).map_err(|e| damaged(&path, e.to_string()))?;
    let trainable = TrainableAdapter::from_adapter(&Adapter::load(folder, model)?)?;
    let path = folder.join("optimizer.safetensors");
    let state =
        candle_core::safetensors::load(&path, &Device::Cpu).map_err(|e| damaged(&path, e.to_string()))?;
    let optimizer =
        AdamW::restored(&trainable.weights, weight_decay, standing.step, &state).ok_or_else(|| {
            damaged(
                &path,
                "the moments don't fit the adapter; another version may have written them".to_owned(),
            )
        })?;
    Ok(Restored { standing, trainable, optimizer })
}
