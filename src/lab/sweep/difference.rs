//! What does one setting change, as far as can be told?

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Mark, SweptRun, Variant};
use crate::corpus::Wording;
use crate::lab::contender::Contender;
use crate::lab::statistics::paired_bootstrap;

/// Resamples behind an interval of a difference, and their seed.
const N_RESAMPLES: usize = 10_000;
const SEED: u64 = 0;

/// A difference between two ways, on questions that both answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What is compared with what.
    pub what: String,
    /// The questions.
    pub wording: Wording,
    /// The first's share of right answers less the second's.
    pub difference: f64,
    /// Its 95 % interval by the paired bootstrap, whole facts being drawn.
    pub ci95: [f64; 2],
}

impl Difference {
    /// Compares what `first` and `second` made of the same questions, seed by seed; `None` where they share none.
    fn of(what: String, wording: Wording, pairs: &[(Vec<&Mark>, Vec<&Mark>)]) -> Option<Self> {
        let mut by_fact: BTreeMap<&str, Vec<(bool, bool)>> = BTreeMap::new();
        for (first, second) in pairs {
            let answered: BTreeMap<_, bool> =
                second.iter().map(|mark| ((&mark.fact, &mark.question), mark.contains)).collect();
            for mark in first {
                if let Some(&other) = answered.get(&(&mark.fact, &mark.question)) {
                    by_fact.entry(&mark.fact).or_default().push((mark.contains, other));
                }
            }
        }
        let pairs: Vec<Vec<(bool, bool)>> = by_fact.into_values().collect();
        let n: usize = pairs.iter().map(Vec::len).sum();
        let gained: i64 = pairs.iter().flatten().map(|pair| i64::from(pair.0) - i64::from(pair.1)).sum();
        let (low, high) = paired_bootstrap(&pairs, SEED, N_RESAMPLES);
        (n > 0).then(|| Self { what, wording, difference: gained as f64 / n as f64, ci95: [low, high] })
    }

    /// In words.
    pub fn told(&self) -> String {
        let [low, high] = self.ci95.map(|bound| bound * 100.0);
        let points = format!("{:+.0} points ({low:+.0} to {high:+.0})", self.difference * 100.0);
        let verdict = if low > 0.0 || high < 0.0 { "" } else { ": no difference can be told" };
        format!("{}, {}: {points}{verdict}", self.what, self.wording.name())
    }
}

/// The differences worth telling: combinations that differ in one setting alone, on unseen questions; and each
/// combination against base + RAG, on unseen and two-hop ones. `untuned` is what the contenders answered that no run
/// changes.
pub fn differences(runs: &[(Variant, Vec<SweptRun>)], untuned: &[Mark]) -> Vec<Difference> {
    let mut all = Vec::new();
    for (i, (one, of_one)) in runs.iter().enumerate() {
        for (other, of_other) in &runs[i + 1..] {
            // The later setting first: settings are mostly given from small to large.
            let Some((what, mine, theirs)) = other.only_difference(one) else { continue };
            let label = format!("{}: {what} {mine} against {theirs}", one.told());
            let same_seed = |run: &SweptRun| of_one.iter().find(|one| one.seed == run.seed);
            let pairs: Vec<_> = of_other
                .iter()
                .filter_map(|run| Some((run.marks.as_slice(), same_seed(run)?.marks.as_slice())))
                .map(|pair| (unseen(pair.0), unseen(pair.1)))
                .collect();
            all.extend(Difference::of(label, Wording::Unseen, &pairs));
        }
    }
    for (variant, of_variant) in runs {
        for wording in [Wording::Unseen, Wording::TwoHop] {
            let label = format!("base+rag against {}", variant.told());
            let rag = answers(untuned, Contender::BaseRag, wording);
            let pairs: Vec<_> = of_variant
                .iter()
                .map(|run| (rag.clone(), answers(&run.marks, Contender::Tuned, wording)))
                .collect();
            all.extend(Difference::of(label, wording, &pairs));
        }
    }
    all
}

fn unseen(marks: &[Mark]) -> Vec<&Mark> {
    answers(marks, Contender::Tuned, Wording::Unseen)
}

fn answers(marks: &[Mark], contender: Contender, wording: Wording) -> Vec<&Mark> {
    marks.iter().filter(|mark| mark.contender == contender && mark.wording == wording).collect()
}
