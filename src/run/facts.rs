//! How is the fact board of a run kept?
//!
//! `facts.jsonl`: its first line lists the cells, each further one what was read of some of them at a step.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::train::TrainEvent;
use crate::train::facts::{CellReading, FactCell};

/// The file.
pub(super) const FACTS: &str = "facts.jsonl";

/// A line of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Cells { cells: Vec<FactCell> },
    Read { step: usize, read: Vec<(usize, f32)> },
}

/// What was read of the cells at a step.
pub type StepReadings = (usize, Vec<CellReading>);

/// The cells of a run's board and all readings in order; `None` where it has no board. A last line that was cut off is left
/// out.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn facts(run: &Path) -> Result<Option<(Vec<FactCell>, Vec<StepReadings>)>> {
    let path = run.join(FACTS);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("read", &path))?,
    };
    let n = text.lines().count();
    let (mut listed, mut readings) = (None, Vec::new());
    for (i, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(Line::Cells { cells }) => listed = Some(cells),
            Ok(Line::Read { step, read }) => {
                let reading = |(cell, probability)| CellReading { cell, probability };
                readings.push((step, read.into_iter().map(reading).collect()));
            }
            Err(_) if i + 1 == n => {}
            Err(e) => return Err(Error::Line { path, line: i + 1, what: e.to_string() }),
        }
    }
    Ok(listed.map(|cells| (cells, readings)))
}

/// Adds what an event tells about facts, if it does.
pub(super) fn record(run: &Path, event: &TrainEvent) -> Result<()> {
    let rounded = |cells: &[CellReading]| {
        cells.iter().map(|read| (read.cell, (read.probability * 1e4).round() / 1e4)).collect()
    };
    let line = match event {
        TrainEvent::FactsListed(cells) => {
            if run.join(FACTS).is_file() {
                return Ok(());
            }
            Line::Cells { cells: cells.to_vec() }
        }
        TrainEvent::FactsRead { step, cells } => Line::Read { step: *step, read: rounded(cells) },
        TrainEvent::Evaluated(report) if !report.facts.is_empty() => {
            Line::Read { step: report.step, read: rounded(&report.facts) }
        }
        _ => return Ok(()),
    };
    let path = run.join(FACTS);
    let text = serde_json::to_string(&line).map_err(|e| Error::file(&path, e.to_string(), "report this"))?;
    let append = || {
        OpenOptions::new().create(true).append(true).open(&path)?.write_all(format!("{text}\n").as_bytes())
    };
    append().map_err(Error::io("write", &path))
}

/// Drops what was read from `step` on: the run goes on from there, and reads it again. Of step 0 all goes.
pub(super) fn forget_after(run: &Path, step: usize) -> Result<()> {
    let path = run.join(FACTS);
    if !path.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let keep = |line: &&str| match serde_json::from_str(line) {
        Ok(Line::Cells { .. }) => true,
        Ok(Line::Read { step: at, .. }) => step > 0 && at <= step,
        Err(_) => false,
    };
    let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
    if kept.len() == text.len() { Ok(()) } else { write_whole(&path, kept.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Wording;
    use crate::run::listing::tests::made;

    fn cell() -> FactCell {
        FactCell {
            fact: "f".to_owned(),
            documents: vec!["d".to_owned()],
            statement: String::new(),
            wording: Wording::Unseen,
            question: "Who?".to_owned(),
            answer: "Ada".to_owned(),
        }
    }

    fn read(step: usize, probability: f32) -> TrainEvent {
        TrainEvent::FactsRead { step, cells: vec![CellReading { cell: 0, probability }] }
    }

    #[test]
    fn a_board_comes_back_as_it_was_and_forgets_what_is_read_again() {
        let runs = tempfile::tempdir().unwrap();
        let folder = made(runs.path(), "a");
        assert_eq!(facts(folder.path()).unwrap(), None);
        let listed = TrainEvent::FactsListed(vec![cell()].into());
        for event in [listed.clone(), read(0, 0.123_456), read(4, 0.5), read(8, 0.75)] {
            folder.record(&event).unwrap();
        }
        let steps = || -> Vec<usize> {
            facts(folder.path()).unwrap().unwrap().1.iter().map(|(step, _)| *step).collect()
        };
        assert_eq!(steps(), [0, 4, 8]);
        // A resumed run lists its cells again.
        folder.forget_after(4).unwrap();
        folder.record(&listed).unwrap();
        assert_eq!(steps(), [0, 4]);
        let (cells, readings) = facts(folder.path()).unwrap().unwrap();
        assert_eq!(cells, [cell()]);
        assert!((readings[0].1[0].probability - 0.1235).abs() < 1e-6);
        folder.forget_after(0).unwrap();
        assert!(steps().is_empty());
    }

    #[test]
    fn a_cut_off_line_is_left_out_and_a_damaged_one_named() {
        let runs = tempfile::tempdir().unwrap();
        let folder = made(runs.path(), "a");
        let path = folder.path().join(FACTS);
        fs::write(&path, "{\"cells\":[]}\n{\"step\":1,\"re").unwrap();
        assert_eq!(facts(folder.path()).unwrap(), Some((Vec::new(), Vec::new())));
        fs::write(&path, "{\"cells\":[]}\nnonsense\n{\"step\":1,\"read\":[]}\n").unwrap();
        let error = facts(folder.path()).unwrap_err().to_string();
        assert!(error.contains("facts.jsonl:2"), "{error}");
    }
}
