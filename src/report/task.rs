//! How was a task done that the documents say nothing about?

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::answers::short;
use super::forgotten;
use super::page::{Block, Cell, Table};
use super::tables::named;
use crate::app::words::{percent, thousands};
use crate::error::{Error, Result};
use crate::lab::{Contender, Forgetting, SHOTS};
use crate::train::data::spread;

/// Examples shown.
const N_SHOWN: usize = 5;

/// What `lorascope eval` found out about a run of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    name: String,
    scores: Vec<Score>,
    forgotten: Forgetting,
    pub(super) checks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Score {
    contender: Contender,
    n: usize,
    right: f64,
    ci95: [f64; 2],
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Answer {
    asked: String,
    expected: String,
    text: String,
    right: bool,
}

/// Reads it from `folder`, if it is there.
///
/// # Errors
/// When a file is damaged.
pub(super) fn read(folder: &Path) -> Result<Option<Task>> {
    let (path, answers) = (folder.join("task.json"), folder.join("task_answers.jsonl"));
    if !path.is_file() || !answers.is_file() {
        return Ok(None);
    }
    let text = |path: &Path| fs::read_to_string(path).map_err(Error::io("read", path));
    let damaged = |path: &Path| {
        let path = path.to_path_buf();
        move |e: serde_json::Error| {
            Error::file(&path, e.to_string(), "remove it, or run `lorascope eval` again")
        }
    };
    let value: Value = serde_json::from_str(&text(&path)?).map_err(damaged(&path))?;
    let scores = text(&answers)?.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
    Ok(Some(Task {
        name: value["task"].as_str().unwrap_or_default().to_owned(),
        scores: scores.map_err(damaged(&answers))?,
        forgotten: Option::deserialize(&value["forgetting"]).map_err(damaged(&path))?.unwrap_or_default(),
        checks: Option::deserialize(&value["checks"]).map_err(damaged(&path))?.unwrap_or_default(),
    }))
}

/// Who did the task how well, with examples.
pub(super) fn section(task: &Task) -> Vec<Block> {
    let rule = match task.name.as_str() {
        "style" => "right is what has at least 4 of the 5 features of the voice",
        _ => "right is what contains the right word",
    };
    let told = format!(
        "{} on held-out examples: {rule}. With retrieval: the {SHOTS} nearest training examples are shown before the \
         question.",
        task.name
    );
    let head = ["contender", "examples", "right", "95 % interval"].map(str::to_owned).into();
    let row = |score: &Score| {
        let [low, high] = score.ci95.map(|bound| bound * 100.0);
        vec![
            named(score.contender),
            Cell::text(thousands(score.n as u64)),
            Cell::text(percent(score.right)),
            Cell::text(format!("{low:.0} to {high:.0} %")),
        ]
    };
    let mut blocks = vec![
        Block::Text(told),
        Block::Table(Table { head, n_words: 1, rows: task.scores.iter().map(row).collect() }),
    ];
    blocks.extend(examples(&task.scores));
    blocks.extend(forgotten::blocks(&task.forgotten));
    blocks
}

/// A few examples, evenly spread, with what base and fine-tuned model made of them.
fn examples(scores: &[Score]) -> Option<Block> {
    let of = |contender| scores.iter().find(|score| score.contender == contender).map(|score| &score.answers);
    let (base, tuned) = (of(Contender::Base)?, of(Contender::Tuned)?);
    let pairs: Vec<(&Answer, &Answer)> = base.iter().zip(tuned).collect();
    let judged =
        |answer: &Answer| format!("{} {}", if answer.right { "✓" } else { "✗" }, short(&answer.text));
    let row = |(base, tuned): &(&Answer, &Answer)| {
        vec![
            Cell::text(short(&base.asked)),
            Cell::text(short(&base.expected)),
            Cell::text(judged(base)),
            Cell::text(judged(tuned)),
        ]
    };
    let head = ["asked", "for example", "base", "fine-tuned"].map(str::to_owned).into();
    let rows = spread(&pairs, N_SHOWN).map(row).collect();
    (!pairs.is_empty()).then_some(Block::Table(Table { head, n_words: 4, rows }))
}
