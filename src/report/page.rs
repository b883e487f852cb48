//! What stands on a report's page, before it is written in Markdown or in HTML?

use std::fmt::Write;

use super::{Facts, answers, board, claims, cost, retrieval, sentence, settings, tables, task};
use crate::app::words::{clock, count};
use crate::error::Result;
use crate::plot::{Chart, Ink};
use crate::run::date_and_time;

/// The page.
pub(super) struct Page {
    pub(super) title: String,
    /// The result, in one sentence.
    pub(super) result: String,
    /// What the run was, in a line.
    pub(super) about: String,
    pub(super) sections: Vec<Section>,
}

/// A part of the page under a heading.
pub(super) struct Section {
    pub(super) heading: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// A piece of a section.
pub(super) enum Block {
    Text(String),
    /// Short sentences, one under the other.
    List(Vec<String>),
    /// A chart, with the name of its files without extension.
    Picture(&'static str, Box<Chart>),
    Table(Table),
    /// Lines to be copied.
    Code(String),
    /// Small squares, one after the other.
    Board(Vec<Square>),
}

/// A fact on a board.
pub(super) struct Square {
    pub(super) sign: &'static str,
    pub(super) ink: Ink,
    /// What it stands for.
    pub(super) told: String,
}

/// Rows of cells under a head.
pub(super) struct Table {
    pub(super) head: Vec<String>,
    /// Columns of words, counted from the left; the others hold numbers, which stand at the right.
    pub(super) n_words: usize,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// One cell.
pub(super) struct Cell {
    pub(super) text: String,
    /// The colour that says whose it is.
    pub(super) ink: Option<Ink>,
    /// Whether it is to be copied to the letter.
    pub(super) is_code: bool,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ink: None, is_code: false }
    }

    pub(super) fn code(text: impl Into<String>) -> Self {
        Self { is_code: true, ..Self::text(text) }
    }

    pub(super) fn coloured(text: impl Into<String>, ink: Ink) -> Self {
        Self { ink: Some(ink), ..Self::text(text) }
    }
}

impl Table {
    /// Names and what they stand for.
    pub(super) fn pairs(head: [&str; 2], rows: Vec<(&str, Cell)>) -> Self {
        let row = |(name, value): (&str, Cell)| vec![Cell::text(name), value];
        Self { head: head.map(str::to_owned).into(), n_words: 2, rows: rows.into_iter().map(row).collect() }
    }
}

/// The page about a run.
///
/// # Errors
/// When the run's adapter is there and cannot be read.
pub(super) fn of(facts: &Facts, charts: Vec<(&'static str, Chart)>) -> Result<Page> {
    let drawn = charts.into_iter().filter(|(_, chart)| !chart.is_empty());
    let pictured: Vec<Block> = drawn.flat_map(|(name, chart)| pictured(name, chart)).collect();
    let mut sections = Vec::new();
    if !pictured.is_empty() {
        sections.push(Section { heading: "Curves", blocks: pictured });
    }
    if let Some(measured) = tables::measurements(&facts.history) {
        sections.push(Section { heading: "Measurements", blocks: measured });
    }
    let mut add = |heading, blocks: Vec<Block>| {
        if !blocks.is_empty() {
            sections.push(Section { heading, blocks });
        }
    };
    if let Some(task) = &facts.task {
        add("The task", task::section(task));
    }
    if let Some(board) = &facts.scoreboard {
        add("Scoreboard", tables::scoreboard(board));
        add("Agreement and disagreement", answers::examples(&facts.answers).unwrap_or_default());
        add("Retrieval", board.retrieval.as_ref().map(retrieval::section).unwrap_or_default());
    }
    add("Facts", facts.board.as_ref().map(board::section).unwrap_or_default());
    let cost = facts.scoreboard.as_ref().and_then(|board| board.cost.as_ref());
    add("Cost", cost.map(cost::section).unwrap_or_default());
    if facts.claims.iter().any(|judged| judged.verdict.is_some()) {
        add("The article's claims", claims::section(&facts.claims));
    }
    let checks = facts.scoreboard.as_ref().map(|board| &board.checks);
    let checks = checks.or(facts.task.as_ref().map(|task| &task.checks)).filter(|checks| !checks.is_empty());
    add("Checked", checks.map(|checks| vec![Block::List(checks.clone())]).unwrap_or_default());
    sections.push(Section { heading: "Settings", blocks: vec![Block::Table(settings::table(facts))] });
    sections.push(repeating(facts)?);
    Ok(Page { title: facts.summary.name(), result: sentence::of(facts), about: about(facts), sections })
}

fn about(facts: &Facts) -> String {
    let (record, history) = (&facts.summary.record, &facts.history);
    let begun = date_and_time(record.created_unix_s);
    let mut about = format!("A LoRA run of lorascope, started {begun} UTC, {}", facts.summary.state.name());
    if history.step > 0 {
        let _ =
            write!(about, "; {} in {} of training", count(history.step, "step"), clock(history.elapsed_s));
    }
    about + "."
}

/// A chart, and what it means.
fn pictured(name: &'static str, chart: Chart) -> [Block; 2] {
    let meaning = match name {
        "loss" => {
            "How badly the model predicts the answers it trains on, step by step, and those that were held out. \
             A validation curve that stops falling while the training loss goes on shows learning by heart."
        }
        "perplexity" => {
            "Held-out examples of the corpus should get easier: their curve should fall. General text has nothing \
             to do with the corpus: where its curve rises above the dashed line, the model forgets."
        }
        _ => {
            "Questions about the corpus, answered without looking anything up. Only wordings that were not \
             trained on show that a fact went in."
        }
    };
    [Block::Picture(name, Box::new(chart)), Block::Text(meaning.to_owned())]
}

fn repeating(facts: &Facts) -> Result<Section> {
    let remark =
        "The same numbers to the last digit need the same corpus, the same model file and the same kernels.";
    let blocks = vec![
        Block::Code(settings::command_line(&facts.summary.record).join(" \\\n  ")),
        Block::Text(remark.to_owned()),
        Block::Table(settings::provenance(facts)?),
    ];
    Ok(Section { heading: "To repeat it", blocks })
}
