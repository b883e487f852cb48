//! Which of two contenders is better, as far as can be told?

use std::fmt;

use serde::Serialize;

use super::contender::Contender;
use super::statistics::mcnemar_exact;
use crate::corpus::Wording;

/// A difference counts from below this p on.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first contender is better.
    FirstBetter,
    /// The second contender is better.
    SecondBetter,
    /// No difference can be told.
    Undecided,
}

/// Two contenders on the same questions. [`fmt::Display`] says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The first contender.
    pub first: Contender,
    /// The second.
    pub second: Contender,
    /// The questions asked; `None` is all.
    pub wording: Option<Wording>,
    /// How many there were.
    pub n: usize,
    /// How many the first had right.
    pub n_first: usize,
    /// How many the second had right.
    pub n_second: usize,
    /// The two-sided p of McNemar's exact test.
    pub p: f64,
    /// What follows from it: a difference counts if p < 0.05.
    pub verdict: Verdict,
}

/// Compares two contenders, `outcomes` being whether each had a question right, question by question.
/// `wording` says which questions these are, `None` all.
pub fn compare(
    first: Contender,
    second: Contender,
    wording: Option<Wording>,
    outcomes: &[(bool, bool)],
) -> Comparison {
    let count = |wanted: fn(&(bool, bool)) -> bool| outcomes.iter().filter(|pair| wanted(pair)).count();
    let only_first = count(|pair| pair.0 && !pair.1);
    let only_second = count(|pair| !pair.0 && pair.1);
    let n_both = count(|pair| pair.0 && pair.1);
    let p = mcnemar_exact(only_first, only_second);
    let verdict = match only_first.cmp(&only_second) {
        _ if p >= SIGNIFICANT => Verdict::Undecided,
        std::cmp::Ordering::Less => Verdict::SecondBetter,
        _ => Verdict::FirstBetter,
    };
    let (n_first, n_second) = (n_both + only_first, n_both + only_second);
    Comparison { first, second, wording, n: outcomes.len(), n_first, n_second, p, verdict }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = asked(self.wording);
        if self.n == 0 {
            return write!(f, "nothing can be told on {on}: none was asked");
        }
        let (first, second) = (self.first.name(), self.second.name());
        let (of_first, of_second) = percents(self);
        let p = p_in_words(self.p);
        match self.verdict {
            Verdict::FirstBetter => {
                write!(f, "{first} beats {second} on {on}, {of_first} to {of_second}, {p}")
            }
            Verdict::SecondBetter => {
                write!(f, "{second} beats {first} on {on}, {of_second} to {of_first}, {p}")
            }
            Verdict::Undecided => {
                write!(
                    f,
                    "between {first} and {second} no difference can be told on {on} ({of_first} to {of_second}, {p})"
                )
            }
        }
    }
}

fn asked(wording: Option<Wording>) -> &'static str {
    match wording {
        None => "all questions",
        Some(Wording::Trained) => "trained wordings",
        Some(Wording::Unseen) => "unseen wordings",
        Some(Wording::Reversed) => "reversed questions",
        Some(Wording::TwoHop) => "two-hop questions",
        Some(Wording::Unanswerable) => "unanswerable questions",
    }
}

/// Both shares in whole percents, or with one digit more where those would look the same and are not.
fn percents(comparison: &Comparison) -> (String, String) {
    let written = |digits: usize| {
        let percent =
            |n_right: usize| format!("{:.digits$} %", 100.0 * n_right as f64 / comparison.n.max(1) as f64);
        (percent(comparison.n_first), percent(comparison.n_second))
    };
    let whole = written(0);
    let looks_the_same = whole.0 == whole.1 && comparison.n_first != comparison.n_second;
    if looks_the_same { written(1) } else { whole }
}

/// Two digits that count, and more where rounding would lift p over the threshold.
pub(super) fn p_in_words(p: f64) -> String {
    if p < 0.001 {
        return "p < 0.001".to_owned();
    }
    let leading = (-p.log10().floor()).max(0.0) as usize;
    let text = |extra: usize| format!("{p:.0$}", leading + extra);
    let same_side = |text: &String| text.parse::<f64>().is_ok_and(|x| (x < SIGNIFICANT) == (p < SIGNIFICANT));
    let text = (1..4).map(text).find(same_side).unwrap_or_else(|| p.to_string());
    format!("p = {}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Contender::{BaseRag, Tuned};

    /// So many that both, only the first, only the second and neither had right.
    fn outcomes(both: usize, first: usize, second: usize, neither: usize) -> Vec<(bool, bool)> {
        let of = |pair, n| std::iter::repeat_n(pair, n);
        of((true, true), both)
            .chain(of((true, false), first))
            .chain(of((false, true), second))
            .chain(of((false, false), neither))
            .collect()
    }

    #[test]
    fn a_difference_that_counts_is_named_with_its_winner() {
        let few = outcomes(80, 11, 2, 7);
        let found = compare(Tuned, BaseRag, Some(Wording::Trained), &few);
        assert_eq!((found.n, found.n_first, found.n_second), (100, 91, 82));
        assert_eq!(found.verdict, Verdict::FirstBetter);
        assert_eq!(found.to_string(), "tuned beats base+rag on trained wordings, 91 % to 82 %, p = 0.022");
        let swapped: Vec<_> = few.iter().map(|(a, b)| (*b, *a)).collect();
        let found = compare(Tuned, BaseRag, None, &swapped);
        assert_eq!(found.verdict, Verdict::SecondBetter);
        assert_eq!(found.to_string(), "base+rag beats tuned on all questions, 91 % to 82 %, p = 0.022");
    }

    #[test]
    fn a_difference_that_chance_could_make_is_none() {
        let found = compare(Tuned, BaseRag, Some(Wording::Unseen), &outcomes(60, 11, 9, 20));
        assert_eq!(found.verdict, Verdict::Undecided);
        assert_eq!(
            found.to_string(),
            "between tuned and base+rag no difference can be told on unseen wordings (71 % to 69 %, p = 0.82)"
        );
        let same = compare(Tuned, BaseRag, Some(Wording::TwoHop), &outcomes(1, 0, 0, 1));
        assert_eq!(
            same.to_string(),
            "between tuned and base+rag no difference can be told on two-hop questions (50 % to 50 %, p = 1)"
        );
    }

    #[test]
    fn five_to_nothing_is_not_enough_and_six_is() {
        let of = |n| compare(Tuned, BaseRag, None, &outcomes(0, n, 0, 0)).verdict;
        assert_eq!((of(5), of(6)), (Verdict::Undecided, Verdict::FirstBetter));
    }

    #[test]
    fn of_nothing_asked_nothing_is_said() {
        let found = compare(Tuned, BaseRag, Some(Wording::Reversed), &[]);
        assert_eq!(found.verdict, Verdict::Undecided);
        assert_eq!(found.to_string(), "nothing can be told on reversed questions: none was asked");
    }

    #[test]
    fn numbers_never_look_like_what_they_are_not() {
        let found = compare(Tuned, BaseRag, None, &outcomes(900, 6, 0, 94)).to_string();
        assert_eq!(found, "tuned beats base+rag on all questions, 91 % to 90 %, p = 0.031");
        let found = compare(Tuned, BaseRag, None, &outcomes(9_000, 20, 0, 980)).to_string();
        assert_eq!(found, "tuned beats base+rag on all questions, 90.2 % to 90.0 %, p < 0.001");
        let text = [0.0496, 0.0504, 0.000_99, 0.0012, 0.049_996, 0.5].map(p_in_words);
        assert_eq!(text, ["p = 0.0496", "p = 0.05", "p < 0.001", "p = 0.0012", "p = 0.049996", "p = 0.5"]);
    }
}
