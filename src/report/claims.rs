//! Which of the article's claims hold here?

use super::page::{Block, Cell, Table};
use super::tables::NONE;
use crate::lab::claims::{Borne, Judged};

/// Each claim beside what was measured, and how its verdict is found.
pub(super) fn section(judged: &[Judged]) -> Vec<Block> {
    let told = "What a widely read article says of fine-tuning, beside what the runs on this machine show (of runs with the \
                same settings the newest). Where some runs bear a claim out and others do not, it depends.";
    let head = ["claim", "here", "measured", "by the run"].map(str::to_owned).into();
    let rows = judged.iter().flat_map(rows).collect();
    let rules =
        judged.iter().map(|judged| format!("{}: {}", judged.claim.name(), judged.claim.rule())).collect();
    vec![
        Block::Text(told.to_owned()),
        Block::Table(Table { head, n_words: 4, rows }),
        Block::Text("How the verdicts are found:".to_owned()),
        Block::List(rules),
    ]
}

fn rows(judged: &Judged) -> Vec<Vec<Cell>> {
    let verdict = judged.verdict.map_or("not measured", Borne::words);
    let mut rows: Vec<Vec<Cell>> = judged
        .findings
        .iter()
        .map(|finding| {
            let here = if judged.findings.len() > 1 { finding.verdict.words() } else { "" };
            let measured = if here.is_empty() {
                finding.measured.clone()
            } else {
                format!("{} ({here})", finding.measured)
            };
            vec![
                Cell::text(""),
                Cell::text(""),
                Cell::text(measured),
                Cell::text(format!("{}: {}", finding.run, finding.about)),
            ]
        })
        .collect();
    if rows.is_empty() {
        rows.push(vec![Cell::text(""), Cell::text(""), Cell::text(NONE), Cell::code(judged.claim.how())]);
    }
    rows[0][0] = Cell::text(judged.claim.says());
    rows[0][1] = Cell::text(verdict);
    rows
}
