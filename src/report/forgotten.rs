//! What did the run push out?

use super::page::{Block, Cell, Table};
use crate::app::words::short;
use crate::lab::Forgetting;

/// A table of it, the base beside the fine-tuned model; nothing where nothing was measured.
pub(super) fn blocks(forgot: &Forgetting) -> Vec<Block> {
    let cell = |value: Option<String>| Cell::text(value.unwrap_or_else(|| "–".to_owned()));
    let row = |what: String, base: Option<String>, tuned: Option<String>| {
        vec![Cell::text(what), cell(base), cell(tuned)]
    };
    let number = |value: Option<f64>| value.map(short);
    let mut rows = Vec::new();
    if forgot.n_texts > 0 {
        rows.push(row(
            format!("perplexity of general text ({} passages)", forgot.n_texts),
            number(Some(forgot.base_general_perplexity)),
            number(forgot.tuned_general_perplexity),
        ));
        rows.push(row(
            "perplexity of the verse among it".to_owned(),
            number(Some(forgot.base_verse_perplexity)),
            number(forgot.tuned_verse_perplexity),
        ));
    }
    if forgot.n_quiz > 0 {
        rows.push(row(
            format!("right of {} questions of common knowledge", forgot.n_quiz),
            Some(forgot.base_quiz_right.to_string()),
            forgot.tuned_quiz_right.map(|n| n.to_string()),
        ));
    }
    if forgot.kl_from_base.is_some() {
        let what = "KL from the base on its own answers, nats a token".to_owned();
        rows.push(row(what, None, number(forgot.kl_from_base)));
    }
    let head = ["what it knew before", "base", "fine-tuned"].map(str::to_owned).into();
    if rows.is_empty() { Vec::new() } else { vec![Block::Table(Table { head, n_words: 1, rows })] }
}
