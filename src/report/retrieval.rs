//! How well were the right documents found?

use super::page::{Block, Cell, Table};
use super::tables::{NONE, spoken_wording};
use crate::app::words::{count, percent, thousands};
use crate::lab::{ArmScore, Missed, Retrieved};

/// Missed questions listed at most.
const MAX_MISSED: usize = 20;

/// The ways of searching side by side, and what was missed.
pub(super) fn section(found: &Retrieved) -> Vec<Block> {
    let told = format!(
        "{} that have an answer, looked up by words alone (BM25), by meaning alone (cosine of embeddings, over all \
         chunks), and with both fused, which is what questions are answered with. Recall@k: the share with a right document \
         among the first k.",
        count(found.n, "question")
    );
    let mut blocks = vec![Block::Text(told), Block::Table(ways(found)), Block::Table(by_wording(found))];
    let n = found.missed.len();
    if n == 0 {
        blocks.push(Block::Text("No question was without a right document before the model.".to_owned()));
        return blocks;
    }
    let more = if n > MAX_MISSED { format!("; the first {MAX_MISSED}:") } else { ":".to_owned() };
    let are = if n == 1 { "question was" } else { "questions were" };
    blocks.push(Block::Text(format!(
        "{} {are} without a right document before the model{more}",
        thousands(n as u64)
    )));
    blocks.push(Block::List(found.missed.iter().take(MAX_MISSED).map(missed).collect()));
    blocks
}

fn ways(found: &Retrieved) -> Table {
    let places: Vec<usize> =
        found.all.values().next().map_or(Vec::new(), |score| score.recall_at.keys().copied().collect());
    let mut head = vec!["found by".to_owned()];
    head.extend(places.iter().map(|k| format!("recall@{k}")));
    head.extend(["MRR", "nDCG@10"].map(str::to_owned));
    let row = |(name, score): (&String, &ArmScore)| {
        let mut cells = vec![Cell::text(spoken(name))];
        cells.extend(score.recall_at.values().map(|share| Cell::text(tenths(*share))));
        cells.extend([score.mrr, score.ndcg_at_10].map(|value| Cell::text(format!("{value:.3}"))));
        cells
    };
    Table { head, n_words: 1, rows: found.all.iter().map(row).collect() }
}

/// The first place alone, wording by wording.
fn by_wording(found: &Retrieved) -> Table {
    let mut head = vec!["right document first".to_owned()];
    head.extend(found.all.keys().map(|name| spoken(name).to_owned()));
    let rows = found.by_wording.iter().map(|(wording, scores)| {
        let mut cells = vec![Cell::text(spoken_wording(*wording))];
        cells.extend(found.all.keys().map(|name| {
            let first = scores.get(name).and_then(|score| score.recall_at.get(&1));
            Cell::text(first.map_or(NONE.to_owned(), |share| tenths(*share)))
        }));
        cells
    });
    Table { head, n_words: 1, rows: rows.collect() }
}

/// Near the top whole percents would hide what differs.
fn tenths(share: f64) -> String {
    if share > 0.9 && share < 1.0 { format!("{:.1} %", share * 100.0) } else { percent(share) }
}

fn spoken(name: &str) -> &str {
    match name {
        "bm25" => "BM25",
        other => other,
    }
}

fn missed(missed: &Missed) -> String {
    let place = missed.place.map_or("not found".to_owned(), |place| format!("in place {place}"));
    format!(
        "{} ({}): {} was {place}; found first: {}",
        missed.question,
        spoken_wording(missed.wording),
        missed.documents.join(" and "),
        missed.found.join(", ")
    )
}
