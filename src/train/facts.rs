//! Which facts has the model taken in, while it learns?
//!
//! A board of cells, one for each fact and wording. Most of it is known without asking: an update tells how likely the
//! answers were that it trained on, a measurement how likely those that are held out. The other cells are read in turn, a
//! few every [`READ_EVERY`] updates: answers are shown, not written, so a cell costs one reading of a short text. How many
//! is a share of the tokens trained on, so the board costs the same share of a run whatever its length.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::batch::Encoded;
use super::evaluate::log_probs;
use crate::corpus::{Corpus, Example, Wording};
use crate::error::Result;
use crate::model::{Adapter, LanguageModel};

/// Updates between two readings: seldom, since a few texts alone are read at half the pace of many.
pub const READ_EVERY: usize = 8;
/// Tokens read for the board per token trained on. Reading costs about half of training on the same text.
const SHARE: f64 = 0.08;

/// A fact in one wording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactCell {
    /// The fact's id.
    pub fact: String,
    /// The documents that state it.
    pub documents: Vec<String>,
    /// The sentence as a document has it; may be empty.
    pub statement: String,
    /// How it is asked, as to what was trained on.
    pub wording: Wording,
    /// The first question of that wording.
    pub question: String,
    /// Its answer.
    pub answer: String,
}

/// How likely an answer is at some step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CellReading {
    /// Which cell of the board.
    pub cell: usize,
    /// The probability of the whole answer, its end included. Above one half it is what the model writes, whatever else it
    /// might: each of its tokens is then more likely than all others together.
    pub probability: f32,
}

/// The board, and which examples tell about which of its cells.
#[derive(Debug, Clone, Default)]
pub struct FactSheet {
    /// The cells, by wording, then in the order of the corpus.
    pub cells: Vec<FactCell>,
    /// The cell of each training example.
    train: Vec<Option<usize>>,
    /// The cell of each held-out example.
    valid: Vec<Option<usize>>,
    /// Cells that no training example tells about, with what is read for them.
    rest: Vec<(usize, Encoded)>,
    /// How many of them are read at a time.
    n_read: f64,
}

impl FactSheet {
    /// The board of a corpus. `train` and `valid` are the examples in the order in which they were encoded; `encode` makes
    /// tokens of an example.
    ///
    /// # Errors
    /// When a question cannot be encoded.
    pub fn new(
        corpus: &Corpus,
        (train, valid): (&[&Example], &[&Example]),
        n_tokens_a_step: f64,
        encode: &dyn Fn(&Example) -> Result<Option<Encoded>>,
    ) -> Result<Self> {
        let mut sheet = Self::default();
        // Facts of different documents may be asked about in the same words.
        let mut of_question: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for wording in Wording::ALL.into_iter().filter(|wording| *wording != Wording::Unanswerable) {
            for fact in &corpus.facts {
                let asked = fact.questions.iter().filter(|q| q.wording == wording && !q.answers.is_empty());
                let Some(first) = asked.clone().next() else { continue };
                let document = fact.documents.first().map_or("", String::as_str);
                asked.for_each(|question| {
                    of_question.entry((document, &question.text)).or_insert(sheet.cells.len());
                });
                sheet.cells.push(FactCell {
                    fact: fact.id.clone(),
                    documents: fact.documents.clone(),
                    statement: fact.statement.clone(),
                    wording,
                    question: first.text.clone(),
                    answer: first.answers.first().cloned().unwrap_or_default(),
                });
            }
        }
        let cell_of =
            |example: &&Example| of_question.get(&(example.entity.as_str(), example.asked())).copied();
        sheet.train = train.iter().map(cell_of).collect();
        sheet.valid = valid.iter().map(cell_of).collect();
        let told: BTreeSet<usize> = sheet.train.iter().flatten().copied().collect();
        for (i, cell) in sheet.cells.iter().enumerate().filter(|(i, _)| !told.contains(i)) {
            if let Some(encoded) = encode(&Example::question(&cell.question, &cell.answer))? {
                sheet.rest.push((i, encoded));
            }
        }
        sheet.rest = interleaved(&sheet.cells, std::mem::take(&mut sheet.rest));
        let n_tokens: usize = sheet.rest.iter().map(|(_, encoded)| encoded.tokens.len()).sum();
        let mean = n_tokens as f64 / sheet.rest.len().max(1) as f64;
        sheet.n_read = SHARE * n_tokens_a_step * READ_EVERY as f64 / mean.max(1.0);
        Ok(sheet)
    }

    /// What an update tells: `examples` are those it trained on, `log_probs` those of their supervised tokens in that
    /// order.
    pub fn trained(&self, examples: &[(usize, &Encoded)], log_probs: &[f32]) -> Vec<CellReading> {
        readings(
            examples.iter().map(|(i, encoded)| (self.train.get(*i).copied().flatten(), *encoded)),
            log_probs,
        )
    }

    /// What a measurement of the held-out examples tells.
    pub fn held_out(&self, examples: &[Encoded], log_probs: &[f32]) -> Vec<CellReading> {
        readings(self.valid.iter().copied().zip(examples), log_probs)
    }

    /// Reads the cells whose turn it is at this step, a pure function of the step.
    ///
    /// # Errors
    /// When the arithmetic fails.
    pub fn read(&self, model: &LanguageModel, adapter: &Adapter, step: usize) -> Result<Vec<CellReading>> {
        if self.rest.is_empty() {
            return Ok(Vec::new());
        }
        let until = |turn: usize| (turn as f64 * self.n_read) as usize;
        let turn = step / READ_EVERY;
        let now = (until(turn.saturating_sub(1))..until(turn)).take(self.rest.len());
        let chosen: Vec<&(usize, Encoded)> = now.map(|i| &self.rest[i % self.rest.len()]).collect();
        let texts: Vec<Encoded> = chosen.iter().map(|(_, encoded)| encoded.clone()).collect();
        let log_probs = log_probs(&model.decoder, Some((adapter, 1.0)), &texts)?;
        Ok(readings(chosen.iter().map(|(cell, _)| Some(*cell)).zip(&texts), &log_probs))
    }
}

/// Cells in an order in which every wording has its share of each stretch: else those of the last would wait for a first
/// reading until all others had theirs.
fn interleaved(cells: &[FactCell], rest: Vec<(usize, Encoded)>) -> Vec<(usize, Encoded)> {
    let mut n_of: BTreeMap<Wording, usize> = BTreeMap::new();
    for (cell, _) in &rest {
        *n_of.entry(cells[*cell].wording).or_default() += 1;
    }
    let mut so_far: BTreeMap<Wording, usize> = BTreeMap::new();
    let mut placed: Vec<(f64, (usize, Encoded))> = Vec::with_capacity(rest.len());
    for item in rest {
        let wording = cells[item.0].wording;
        let seen = so_far.entry(wording).or_default();
        placed.push(((*seen as f64 + 0.5) / n_of[&wording] as f64, item));
        *seen += 1;
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|(_, item)| item).collect()
}

/// One reading for each example that has a cell.
fn readings<'a>(
    examples: impl Iterator<Item = (Option<usize>, &'a Encoded)>,
    log_probs: &[f32],
) -> Vec<CellReading> {
    let mut at = 0;
    let mut found = Vec::new();
    for (cell, encoded) in examples {
        let end = at + encoded.n_supervised();
        let Some(own) = log_probs.get(at..end) else { break };
        at = end;
        found.extend(cell.map(|cell| CellReading { cell, probability: own.iter().sum::<f32>().exp() }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wording_has_its_share_of_each_stretch() {
        let cell = |wording| FactCell {
            fact: String::new(),
            documents: Vec::new(),
            statement: String::new(),
            wording,
            question: String::new(),
            answer: String::new(),
        };
        let wordings = [(Wording::Unseen, 6), (Wording::TwoHop, 2)];
        let cells: Vec<FactCell> =
            wordings.iter().flat_map(|(wording, n)| vec![cell(*wording); *n]).collect();
        let rest =
            (0..cells.len()).map(|i| (i, Encoded { tokens: vec![1, 2], first_supervised: 1 })).collect();
        let order: Vec<usize> = interleaved(&cells, rest).into_iter().map(|(i, _)| i).collect();
        assert_eq!(order, [0, 1, 6, 2, 3, 4, 7, 5]);
    }
}
