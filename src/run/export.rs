//! How does what a run learnt leave its folder, for other programs?

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::RunRecord;
use super::listing::folder_name;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::files::{write_folder_whole, write_whole};
use crate::model::export::{copy_adapter, write_merged};

/// The file that marks a folder as an export, and says of what.
const MARK: &str = "lorascope-export.json";

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The adapter alone: PEFT's two files.
    Peft,
    /// The whole model with the adapter merged into it, in Hugging Face layout.
    Merged,
}

impl ExportFormat {
    /// Its name on the command line and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peft => "peft",
            Self::Merged => "merged",
        }
    }
}

/// A run whose adapter is to be exported.
#[derive(Debug)]
pub struct Export<'a> {
    run: &'a Path,
    record: &'a RunRecord,
    out: PathBuf,
}

impl<'a> Export<'a> {
    /// An export of the run in the folder `run` into the folder `out`.
    ///
    /// # Errors
    /// When the run has no adapter, or `out` holds something else than an earlier export.
    pub fn new(run: &'a Path, record: &'a RunRecord, out: &Path) -> Result<Self> {
        if !run.join("adapter").join("adapter_model.safetensors").is_file() {
            let remedy = format!("finish it: lorascope train --resume --run {}", run.display());
            return Err(Error::file(run, "this run has no adapter yet", remedy));
        }
        // A link stands for the folder it leads to.
        let place = if out.exists() { out.canonicalize() } else { std::path::absolute(out) };
        let out = place.map_err(Error::io("resolve", out))?;
        refuse_foreign(&out)?;
        Ok(Self { run, record, out })
    }

    /// Where it goes.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Writes the adapter as PEFT's two files, with `base` as the model that it names.
    ///
    /// # Errors
    /// When the adapter cannot be read or the folder cannot be written.
    pub fn peft(&self, base: &str) -> Result<()> {
        self.write(ExportFormat::Peft, |folder| copy_adapter(&self.run.join("adapter"), base, folder))
    }

    /// Writes the model at `base`, a `.gguf` file or a folder, with the adapter merged into it.
    ///
    /// # Errors
    /// When model or adapter cannot be read, the folder cannot be written, or `cancel` was set meanwhile.
    pub fn merged(&self, base: &Path, cancel: &Cancel) -> Result<()> {
        let adapter = self.run.join("adapter");
        self.write(ExportFormat::Merged, |folder| write_merged(base, &adapter, folder, cancel))
    }

    /// The folder appears whole, or not at all.
    fn write(&self, format: ExportFormat, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        write_folder_whole(&self.out, |folder| {
            fill(folder)?;
            let mark = json!({
                "lorascope": env!("CARGO_PKG_VERSION"), "format": format.name(),
                "run": folder_name(self.run), "trained_on": self.record.model,
            });
            write_whole(&folder.join(MARK), format!("{mark:#}\n").as_bytes())
        })
    }
}

/// Refuses to take the place of anything but an earlier export.
fn refuse_foreign(out: &Path) -> Result<()> {
    if !out.exists() || out.join(MARK).is_file() {
        return Ok(());
    }
    let remedy = "name a new or an empty folder with --out";
    if !out.is_dir() {
        return Err(Error::file(out, "is not a folder", remedy));
    }
    let is_empty = fs::read_dir(out).map_err(Error::io("read", out))?.next().is_none();
    if is_empty { Ok(()) } else { Err(Error::file(out, "holds something else than an export", remedy)) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{Device, Tensor, safetensors};

    use super::*;
    use crate::run::RunFolder;
    use crate::run::listing::tests::made;

    /// A run with an adapter that is none, but has PEFT's two files.
    fn finished(home: &Path) -> (PathBuf, RunRecord) {
        let folder = made(home, "run");
        fs::create_dir(folder.adapter()).unwrap();
        fs::write(folder.adapter().join("adapter_config.json"), r#"{"r": 2, "future": [1.5]}"#).unwrap();
        let tensors = HashMap::from([("a", Tensor::new(1f32, &Device::Cpu).unwrap())]);
        safetensors::save(&tensors, folder.adapter().join("adapter_model.safetensors")).unwrap();
        (folder.path().to_path_buf(), RunFolder::read_record(folder.path()).unwrap())
    }

    #[test]
    fn peft_s_files_are_copied_with_another_base() {
        let home = tempfile::tempdir().unwrap();
        let (run, record) = finished(home.path());
        let out = run.join("export/peft");
        for base in ["Org/First", "Org/Second"] {
            Export::new(&run, &record, &out).unwrap().peft(base).unwrap();
            let text = fs::read_to_string(out.join("adapter_config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(config, json!({"r": 2, "future": [1.5], "base_model_name_or_path": base}));
            let weights = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
            assert_eq!(weights(&out), weights(&run.join("adapter")));
            assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
            assert_eq!(fs::read_dir(run.join("export")).unwrap().count(), 1, "nothing is left beside it");
        }
    }

    #[test]
    fn what_is_no_export_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let (run, record) = finished(home.path());
        let refused = |out: &Path| Export::new(&run, &record, out).unwrap_err().to_string();
        let (file, full, empty) = (home.path().join("f"), home.path().join("d"), home.path().join("e"));
        fs::write(&file, "x").unwrap();
        fs::create_dir(&full).unwrap();
        fs::write(full.join("thesis.tex"), "x").unwrap();
        fs::create_dir(&empty).unwrap();
        assert!(refused(&file).contains("not a folder"));
        assert!(refused(&full).contains("something else") && refused(&full).contains("--out"));
        assert!(refused(&run).contains("something else"));
        Export::new(&run, &record, &empty).unwrap().peft("Org/Name").unwrap();
        assert!(empty.join("adapter_config.json").is_file());
    }

    #[test]
    fn a_run_without_an_adapter_is_refused_and_a_damaged_one_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let bare = made(home.path(), "bare");
        let record = RunFolder::read_record(bare.path()).unwrap();
        let out = home.path().join("out");
        let error = Export::new(bare.path(), &record, &out).unwrap_err().to_string();
        assert!(
            error.contains("no adapter yet")
                && error.contains(&format!("--resume --run {}", bare.path().display())),
            "{error}"
        );
        let (run, record) = finished(home.path());
        fs::write(run.join("adapter/adapter_model.safetensors"), "x").unwrap();
        let error = Export::new(&run, &record, &out).unwrap().peft("Org/Name").unwrap_err().to_string();
        assert!(error.contains("adapter_model.safetensors"), "{error}");
        assert!(!out.exists());
    }
}
