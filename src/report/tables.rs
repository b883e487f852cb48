//! What was measured, in rows and columns?

use std::fmt::Write;

use super::forgotten;
use super::history::{History, Measurement};
use super::page::{Block, Cell, Table};
use super::scoreboard::{Score, Scoreboard};
use crate::app::words::{percent, short, thousands};
use crate::corpus::Wording;
use crate::lab::{Contender, with_interval};
use crate::plot::Ink;

/// Measurements shown at most; of more, evenly spaced ones.
const MAX_ROWS: usize = 40;
/// Where nothing was measured.
pub(super) const NONE: &str = "–";

/// The measurements of a run; `None` where there is none.
pub(super) fn measurements(history: &History) -> Option<Vec<Block>> {
    let all = &history.measurements;
    if all.is_empty() {
        return None;
    }
    let wordings = history.wordings();
    let mut head: Vec<String> =
        ["step", "training loss", "validation loss", "corpus perplexity", "general perplexity"]
            .map(str::to_owned)
            .into();
    head.extend(wordings.iter().map(|wording| format!("recall, {}", spoken_wording(*wording))));
    let rows = shown(all.len()).map(|i| row(&all[i], &wordings)).collect::<Vec<_>>();
    let mut remark = "The training loss is the smoothed one.".to_owned();
    if rows.len() < all.len() {
        let (n, all) = (rows.len(), all.len());
        let _ = write!(remark, " {n} of {all} measurements are shown; metrics.jsonl has all.");
    }
    Some(vec![Block::Table(Table { head, n_words: 0, rows }), Block::Text(remark)])
}

/// Which of `n` rows are shown: the first, the last and evenly spaced ones between.
fn shown(n: usize) -> impl Iterator<Item = usize> {
    let n_shown = n.min(MAX_ROWS);
    (0..n_shown).map(move |i| if n_shown < 2 { 0 } else { i * (n - 1) / (n_shown - 1) })
}

fn row(at: &Measurement, wordings: &[Wording]) -> Vec<Cell> {
    let loss = |loss: Option<f64>| loss.map_or(NONE.to_owned(), short);
    let perplexity = |of: Option<f64>| loss(of.map(f64::exp));
    let mut cells = vec![
        Cell::text(thousands(at.step as u64)),
        Cell::text(loss(at.train_loss)),
        Cell::text(loss(at.valid_loss)),
        Cell::text(perplexity(at.valid_loss)),
        Cell::text(perplexity(at.general_loss)),
    ];
    let recall = |wording: &Wording| at.recall.get(wording).map_or(NONE.to_owned(), |share| percent(*share));
    cells.extend(wordings.iter().map(|wording| Cell::text(recall(wording))));
    cells
}

/// Who answered how much.
pub(super) fn scoreboard(board: &Scoreboard) -> Vec<Block> {
    let mut blocks = vec![
        Block::Text(
            "Answers that contain a right one (of unanswerable questions: that say so), with the 95 % confidence \
             interval. Where intervals overlap, a difference may be chance."
                .to_owned(),
        ),
        Block::Table(overview(board)),
        Block::Table(details(board)),
        Block::Text(
            "Degenerate: empty, repeating itself, no words, or off type: a number asked for and none in the answer, or the \
             other way round. Grounded: of the answers that claim something, those whose every telling word stands in the \
             passages given. Nats a token: the mean log-probability of the right answer after the same prompt. Rank: how far down the \
             vocabulary its worst token stands, the median over the questions; at 1 the model writes it by itself."
                .to_owned(),
        ),
    ];
    if !board.comparisons.is_empty() {
        let told = "Two contenders on the same questions, by McNemar's exact test; a difference counts below p = 0.05.";
        blocks.push(Block::Text(told.to_owned()));
        blocks.push(Block::List(board.comparisons.clone()));
    }
    blocks.extend(forgotten::blocks(&board.forgotten));
    blocks
}

fn overview(board: &Scoreboard) -> Table {
    let wordings = board.wordings();
    let mut head = vec!["contender".to_owned()];
    head.extend(wordings.iter().map(|wording| spoken_wording(*wording).to_owned()));
    let row = |contender: Contender| {
        let mut cells = vec![named(contender)];
        cells.extend(
            wordings
                .iter()
                .map(|wording| Cell::text(board.score(contender, *wording).map_or(NONE.to_owned(), spoken))),
        );
        cells
    };
    Table { head, n_words: 1, rows: board.contenders().into_iter().map(row).collect() }
}

fn details(board: &Scoreboard) -> Table {
    let head = [
        "wording",
        "contender",
        "questions",
        "contains",
        "exact",
        "F1",
        "degenerate",
        "off type",
        "grounded",
        "nats a token",
        "rank",
    ];
    let share = |share: Option<f64>| Cell::text(share.map_or(NONE.to_owned(), percent));
    let row = |wording: Wording, contender: Contender| {
        let score = board.score(contender, wording)?;
        Some(vec![
            Cell::text(spoken_wording(wording)),
            named(contender),
            Cell::text(thousands(score.n as u64)),
            share(Some(score.contains)),
            share(score.exact),
            Cell::text(score.f1.map_or(NONE.to_owned(), |f1| format!("{f1:.2}"))),
            share(score.degenerate),
            share(score.off_type),
            share(score.grounded),
            Cell::text(score.gold_log_prob.map_or(NONE.to_owned(), |log_prob| format!("{log_prob:.2}"))),
            Cell::text(score.gold_rank.map_or(NONE.to_owned(), |rank| thousands(rank as u64))),
        ])
    };
    let contenders = board.contenders();
    let wordings = board.wordings();
    let pairs = wordings.iter().flat_map(|w| contenders.iter().map(move |c| (*w, *c)));
    Table {
        head: head.map(str::to_owned).into(),
        n_words: 2,
        rows: pairs.filter_map(|(wording, contender)| row(wording, contender)).collect(),
    }
}

fn spoken(score: &Score) -> String {
    score.ci95.map_or_else(|| percent(score.contains), |ci95| with_interval(score.contains, ci95))
}

pub(super) fn named(contender: Contender) -> Cell {
    let name = match contender {
        Contender::Base => "base",
        Contender::BaseRag => "base + RAG",
        Contender::Tuned => "fine-tuned",
        Contender::TunedRag => "fine-tuned + RAG",
    };
    Cell::coloured(name, Ink::Contender(contender))
}

pub(super) fn spoken_wording(wording: Wording) -> &'static str {
    match wording {
        Wording::TwoHop => "two-hop",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_measurements_evenly_spaced_ones_are_shown() {
        assert_eq!(shown(1).collect::<Vec<_>>(), [0]);
        assert_eq!(shown(3).collect::<Vec<_>>(), [0, 1, 2]);
        let many: Vec<usize> = shown(1000).collect();
        assert_eq!((many.len(), many[0], many[MAX_ROWS - 1]), (MAX_ROWS, 0, 999));
        assert!(many.windows(2).all(|pair| pair[1] > pair[0]));
    }
}
