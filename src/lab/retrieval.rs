//! How well are the right passages found?
//!
//! Ranks count from 1, as in a passage's `final_rank`; `None` was not found at all. Every measure is a
//! mean over the questions, from 0 to 1, and 0 where there is none.

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
