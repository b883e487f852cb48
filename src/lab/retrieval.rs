//! How well are the right passages found?
//!
//! Ranks count from 1, as in a passage's `final_rank`; `None` was not found at all. Every measure is a
//! mean over the questions, from 0 to 1, and 0 where there is none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scoreboard::Item;
use crate::cancel::Cancel;
use crate::corpus::Wording;
use crate::error::Result;
use crate::rag::{Arms, Index, Passage};

/// Places whose recall is told.
const PLACES: [usize; 4] = [1, 3, 5, 10];
/// Passages looked at; several may be of one document.
const N_PASSAGES: usize = 32;
/// Places of a missed question that are told.
const N_TOLD: usize = 3;

/// How one way of searching did. Shares are 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmScore {
    /// Share of questions with a right document among the first so many.
    pub recall_at: BTreeMap<usize, f64>,
    /// Mean reciprocal rank of the first right document.
    pub mrr: f64,
    /// Normalised discounted cumulative gain of the first ten documents.
    pub ndcg_at_10: f64,
}

/// A question whose right document was not put before the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// The question.
    pub question: String,
    /// How it is asked.
    pub wording: Wording,
    /// Documents that state the answer.
    pub documents: Vec<String>,
    /// The place of the first of them, by the fused order; `None` where it is not among those looked at.
    pub place: Option<usize>,
    /// The first documents that were found instead.
    pub found: Vec<String>,
}

/// Each way of searching, by wording and over all questions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    /// Questions looked up.
    pub n: usize,
    /// By the name of the way: bm25, cosine, fused.
    pub all: BTreeMap<String, ArmScore>,
    /// The same by wording.
    pub by_wording: BTreeMap<Wording, BTreeMap<String, ArmScore>>,
    /// What was missed by the fused order at as many places as the model reads passages.
    pub missed: Vec<Missed>,
}

/// The ranks of every right document of a question.
type Ranks = Vec<Option<usize>>;

/// Looks every question up in each way; `n_read` passages are put before the model. `watch` hears how many are done.
///
/// # Errors
/// When the index cannot be read, or when cancelled.
pub fn retrieved(
    index: &Index,
    (items, n_read): (&[Item], usize),
    cancel: &Cancel,
    watch: &mut dyn FnMut(usize),
) -> Result<Retrieved> {
    let mut ranks: BTreeMap<(Wording, &str), Vec<Ranks>> = BTreeMap::new();
    let mut missed = Vec::new();
    let asked = items.iter().filter(|item| !item.documents.is_empty() && !item.question.answers.is_empty());
    let mut n = 0;
    for item in asked {
        cancel.check()?;
        watch(n);
        n += 1;
        let Arms { bm25, cosine, fused } = index.arms(&item.question.text, N_PASSAGES)?;
        let wording = item.question.wording;
        let is_right = |passage: &Passage| item.documents.contains(&passage.document);
        let is_read = fused.iter().take(n_read).any(is_right);
        for (name, found) in [("bm25", &bm25), ("cosine", &cosine), ("fused", &fused)] {
            let found = documents(found);
            let rank = |right: &String| found.iter().position(|id| id == right).map(|at| at + 1);
            let of_item: Ranks = item.documents.iter().map(rank).collect();
            let place = of_item.iter().flatten().copied().min();
            if name == "fused" && !is_read {
                missed.push(Missed {
                    question: item.question.text.clone(),
                    wording,
                    documents: item.documents.to_vec(),
                    place,
                    found: found.iter().take(N_TOLD).map(|id| (*id).to_owned()).collect(),
                });
            }
            ranks.entry((wording, name)).or_default().push(of_item);
        }
    }
    watch(n);
    let mut result = Retrieved { n, missed, ..Retrieved::default() };
    let mut all: BTreeMap<&str, Vec<Ranks>> = BTreeMap::new();
    for ((wording, name), ranks) in ranks {
        let scores = result.by_wording.entry(wording).or_default();
        scores.insert(name.to_owned(), ArmScore::of(&ranks));
        all.entry(name).or_default().extend(ranks);
    }
    result.all = all.into_iter().map(|(name, ranks)| (name.to_owned(), ArmScore::of(&ranks))).collect();
    Ok(result)
}

/// The documents of passages, each in its best place.
fn documents(passages: &[Passage]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for passage in passages {
        if !found.contains(&passage.document.as_str()) {
            found.push(&passage.document);
        }
    }
    found
}

impl ArmScore {
    fn of(ranks: &[Ranks]) -> Self {
        let best: Ranks = ranks.iter().map(|ranks| ranks.iter().flatten().copied().min()).collect();
        Self {
            recall_at: PLACES.iter().map(|&k| (k, recall_at(&best, k))).collect(),
            mrr: mrr(&best),
            ndcg_at_10: ndcg_at(ranks, 10),
        }
    }
}

/// The share of questions whose right document is among the first `k`. One rank a question.
pub fn recall_at(ranks: &[Option<usize>], k: usize) -> f64 {
    mean(ranks.iter().map(|rank| f64::from(u8::from(is_within(*rank, k)))))
}

/// The mean reciprocal rank: 1 for a right document in the first place, 1/2 in the second, 0 for one
/// that was not found. One rank a question, that of its best-placed right document.
pub fn mrr(ranks: &[Option<usize>]) -> f64 {
    mean(ranks.iter().map(|rank| rank.map_or(0.0, |rank| 1.0 / rank.max(1) as f64)))
}

/// The normalised discounted cumulative gain of the first `k` (Järvelin and Kekäläinen 2002), for
/// documents that are right or not.
///
/// `ranks` holds, for each question, the ranks of all its right documents: two for a `two_hop` one. A
/// document in place r gains 1 / log2(r + 1); the sum is divided by what the best order would gain. A
/// question without a right document is left out.
pub fn ndcg_at(ranks: &[Vec<Option<usize>>], k: usize) -> f64 {
    let discount = |rank: usize| 1.0 / ((rank + 1) as f64).log2();
    let gain = |ranks: &Vec<Option<usize>>| {
        let found = ranks.iter().flatten().filter(|rank| is_within(Some(**rank), k));
        let best: f64 = (1..=ranks.len().min(k)).map(discount).sum();
        if k == 0 { 0.0 } else { found.map(|rank| discount(*rank)).sum::<f64>() / best }
    };
    mean(ranks.iter().filter(|ranks| !ranks.is_empty()).map(gain))
}

fn is_within(rank: Option<usize>, k: usize) -> bool {
    rank.is_some_and(|rank| (1..=k).contains(&rank))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0_usize), |(sum, n), value| (sum + value, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn places_count_from_one() {
        let ranks = [Some(1), Some(2), None, Some(4)];
        assert!(close(recall_at(&ranks, 1), 0.25) && close(recall_at(&ranks, 2), 0.5));
        assert!(close(recall_at(&ranks, 4), 0.75) && close(recall_at(&ranks, 0), 0.0));
        assert!(close(mrr(&ranks), (1.0 + 0.5 + 0.25) / 4.0));
    }

    #[test]
    fn two_right_documents_gain_most_in_the_first_two_places() {
        let of = |ranks: Vec<Option<usize>>, k| ndcg_at(&[ranks], k);
        assert!(close(of(vec![Some(2), Some(1)], 5), 1.0));
        assert!(close(of(vec![Some(1), None], 1), 1.0), "of one place, one document is all");
        assert!(of(vec![Some(1), None], 5) > of(vec![Some(2), None], 5));
        assert!(close(of(vec![Some(3)], 5), 0.5) && close(of(vec![Some(3)], 2), 0.0));
    }

    #[test]
    fn what_has_no_right_document_is_left_out() {
        assert!(close(ndcg_at(&[vec![Some(1)], Vec::new()], 3), 1.0));
        assert!(close(ndcg_at(&[Vec::new()], 3), 0.0) && close(ndcg_at(&[vec![Some(1)]], 0), 0.0));
        assert!(close(recall_at(&[], 3), 0.0) && close(mrr(&[]), 0.0));
    }
}
