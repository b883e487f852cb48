//! What was answered? Examples on which base + RAG and the fine-tuned model agree, and on which they do not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::page::{Block, Cell, Table};
use super::tables::spoken_wording;
use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::lab::Contender;
use crate::train::data::spread;

/// Examples of each kind at most.
const N_SHOWN: usize = 3;
/// Characters of an answer that are shown.
const SHORT: usize = 140;

/// One answer, as `answers.jsonl` has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Answer {
    pub(super) contender: Contender,
    pub(super) wording: Wording,
    pub(super) question: String,
    #[serde(default)]
    pub(super) gold: Vec<String>,
    pub(super) text: String,
    pub(super) contains: bool,
    #[serde(default)]
    pub(super) right_passage: Option<bool>,
}

/// The answers in `folder`; none where they were not kept.
///
/// # Errors
/// When the file is there and damaged.
pub(super) fn read(folder: &Path) -> Result<Vec<Answer>> {
    let path = folder.join("answers.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Line {
            path: path.clone(),
            line: i + 1,
            what: e.to_string(),
        })
    };
    text.lines().enumerate().map(parse).collect()
}

/// The two rivals' answers to one question.
type Pair<'a> = (&'a Answer, &'a Answer);

/// Examples of each kind; nothing where the two were not both asked.
pub(super) fn examples(answers: &[Answer]) -> Option<Vec<Block>> {
    let of = |contender: Contender| answers.iter().filter(move |answer| answer.contender == contender);
    let tuned: BTreeMap<(Wording, &str), &Answer> =
        of(Contender::Tuned).map(|answer| ((answer.wording, answer.question.as_str()), answer)).collect();
    let pair = |rag| {
        let rag: &Answer = rag;
        Some((rag, *tuned.get(&(rag.wording, rag.question.as_str()))?))
    };
    // Trained wordings say least.
    let pairs: Vec<Pair> =
        of(Contender::BaseRag).filter(|rag| rag.wording != Wording::Trained).filter_map(pair).collect();
    let kinds = [
        ("both are right", true, true),
        ("base + RAG alone is right", true, false),
        ("the fine-tuned model alone is right", false, true),
        ("both are wrong", false, false),
    ];
    let mut rows = Vec::new();
    for (name, rag, tuned) in kinds {
        let own: Vec<&Pair> =
            pairs.iter().filter(|(a, b)| (a.contains, b.contains) == (rag, tuned)).collect();
        rows.extend(spread(&own, N_SHOWN).enumerate().map(|(i, pair)| {
            let head =
                if i == 0 { format!("{name} ({} of {})", own.len(), pairs.len()) } else { String::new() };
            row(head, pair)
        }));
    }
    if rows.is_empty() {
        return None;
    }
    let told =
        "Evenly spread over the questions that were not trained on, as they were asked; not chosen by hand.";
    let head = ["", "question", "accepted", "base + RAG", "fine-tuned"].map(str::to_owned).into();
    Some(vec![Block::Text(told.to_owned()), Block::Table(Table { head, n_words: 5, rows })])
}

fn row(head: String, (rag, tuned): &Pair) -> Vec<Cell> {
    let asked = format!("{} ({})", rag.question, spoken_wording(rag.wording));
    let accepted =
        if rag.gold.is_empty() { "nothing: it is not said".to_owned() } else { rag.gold.join(" / ") };
    let missing = if rag.right_passage == Some(false) { " (without the right passage)" } else { "" };
    vec![
        Cell::text(head),
        Cell::text(asked),
        Cell::text(accepted),
        Cell::text(format!("{}{missing}", short(&rag.text))),
        Cell::text(short(&tuned.text)),
    ]
}

/// The beginning of a text, in one line.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "(nothing)".to_owned(),
        None => line,
    }
}
