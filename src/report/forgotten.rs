//! What did the run push out?

use serde::Deserialize;

use super::page::{Block, Cell, Table};
use crate::app::words::short;

/// What `lorascope eval` measured of it; what is missing was not measured.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Forgotten {
    n_texts: usize,
    base_general_perplexity: Option<f64>,
    tuned_general_perplexity: Option<f64>,
    base_verse_perplexity: Option<f64>,
    tuned_verse_perplexity: Option<f64>,
    n_quiz: usize,
    base_quiz_right: Option<usize>,
    tuned_quiz_right: Option<usize>,
    kl_from_base: Option<f64>,
}

impl Forgotten {
    /// A table of it, the base beside the fine-tuned model; nothing where nothing was measured.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let number = |value: Option<f64>| value.map(short);
        let count = |value: Option<usize>| value.map(|n| n.to_string());
        let rows = [
            (
                format!("perplexity of general text ({} passages)", self.n_texts),
                number(self.base_general_perplexity),
                number(self.tuned_general_perplexity),
            ),
            (
                "perplexity of the verse among it".to_owned(),
                number(self.base_verse_perplexity),
                number(self.tuned_verse_perplexity),
            ),
            (
                format!("right of {} questions of common knowledge", self.n_quiz),
                count(self.base_quiz_right),
                count(self.tuned_quiz_right),
            ),
            ("KL from the base on its own answers, nats a token".to_owned(), None, number(self.kl_from_base)),
        ];
        let is_known = |row: &(String, Option<String>, Option<String>)| row.1.is_some() || row.2.is_some();
        let cell = |value: Option<String>| Cell::text(value.unwrap_or_else(|| "–".to_owned()));
        let rows: Vec<_> = rows
            .into_iter()
            .filter(is_known)
            .map(|(what, base, tuned)| vec![Cell::text(what), cell(base), cell(tuned)])
            .collect();
        let head = ["what it knew before", "base", "fine-tuned"].map(str::to_owned).into();
        if rows.is_empty() { Vec::new() } else { vec![Block::Table(Table { head, n_words: 1, rows })] }
    }
}
