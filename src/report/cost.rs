//! What did it cost?

use super::page::{Block, Cell, Table};
use super::tables::{NONE, named};
use crate::app::words::thousands;
use crate::lab::{Answering, Contender, Cost};
use crate::meter::Spent;

/// Training beside indexing, and what an answer takes.
pub(super) fn section(cost: &Cost) -> Vec<Block> {
    let mut rows = Vec::new();
    let mut add = |what: String, spent: Spent| rows.push(row(what, spent, cost.price_per_hour));
    if let Some(training) = cost.training {
        add("training".to_owned(), training);
        add("one changed document, trained again".to_owned(), training);
    }
    if let Some(index) = &cost.indexing {
        add(format!("indexing {} documents from nothing", thousands(index.n_documents as u64)), index.all);
        add(format!("one changed document ({}), indexed", index.changed), index.one_changed);
    }
    let mut blocks = Vec::new();
    if !rows.is_empty() {
        let head = ["what", "seconds", "processor seconds", "energy, Wh", "money"].map(str::to_owned).into();
        blocks.push(Block::Table(Table { head, n_words: 1, rows }));
        blocks.push(Block::Text(format!(
            "Money: the time on the clock at ${:.2} an hour of this machine. Energy: that of the processor, where the \
             system tells it. A changed document is learnt by training anew: training on it alone would forget others.",
            cost.price_per_hour
        )));
    }
    if !cost.answers.is_empty() {
        let head =
            ["answers of", "answers", "seconds each", "tokens read", "tokens written"].map(str::to_owned);
        let rows =
            cost.answers.iter().map(|(contender, answering)| answers(*contender, *answering)).collect();
        blocks.push(Block::Table(Table { head: head.into(), n_words: 1, rows }));
        blocks.push(Block::Text(
            "Written in groups, which takes less than one by one; looking up is included.".to_owned(),
        ));
    }
    blocks
}

fn row(what: String, spent: Spent, price_per_hour: f64) -> Vec<Cell> {
    let known = |value: Option<f64>, digits: usize| {
        value.map_or(NONE.to_owned(), |value| format!("{value:.digits$}"))
    };
    let money = spent.money(price_per_hour);
    vec![
        Cell::text(what),
        Cell::text(format!("{:.2}", spent.seconds)),
        Cell::text(known(spent.cpu_seconds, 1)),
        Cell::text(known(spent.joules.map(|joules| joules / 3600.0), 2)),
        Cell::text(if money < 0.001 { format!("${money:.6}") } else { format!("${money:.4}") }),
    ]
}

fn answers(contender: Contender, answering: Answering) -> Vec<Cell> {
    let each = |n: usize| format!("{:.0}", n as f64 / answering.n.max(1) as f64);
    vec![
        named(contender),
        Cell::text(thousands(answering.n as u64)),
        Cell::text(format!("{:.3}", answering.seconds_each())),
        Cell::text(each(answering.n_prompt_tokens)),
        Cell::text(each(answering.n_tokens)),
    ]
}
