//! Are scores, intervals and measures those of the tools that the field uses? The references were
//! recorded by the scripts in `tests/references`.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use lorascope::corpus::normalised;
use lorascope::lab::{exact_match, f1, mcnemar_exact, mrr, ndcg_at, paired_bootstrap, recall_at, wilson};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn reference<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[derive(Debug, Deserialize)]
struct Scored {
    answer: String,
    accepted: Vec<String>,
    normalised: String,
    exact: bool,
    f1: f64,
}

#[test]
fn exact_match_and_f1_are_squad_s() {
    let cases: Vec<Scored> = reference("scores.json");
    assert_eq!(cases.len(), 300);
    let differs = |case: &&Scored| {
        normalised(&case.answer) != case.normalised
            || exact_match(&case.answer, &case.accepted) != case.exact
            || !close(f1(&case.answer, &case.accepted), case.f1)
    };
    let wrong: Vec<&Scored> = cases.iter().filter(differs).collect();
    assert!(wrong.is_empty(), "{} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(3)]);
}

#[derive(Deserialize)]
struct Intervals {
    wilson: Vec<(usize, usize, f64, f64)>,
    mcnemar: Vec<(usize, usize, f64)>,
    bootstrap: Vec<Resampled>,
}

#[derive(Deserialize)]
struct Resampled {
    entities: Vec<Vec<String>>,
    low: f64,
    high: f64,
    deviation: f64,
}

#[test]
fn intervals_of_shares_are_scipy_s() {
    let cases = reference::<Intervals>("intervals.json").wilson;
    assert!(cases.len() > 30);
    for (n_right, n, low, high) in cases {
        let found = wilson(n_right, n);
        assert!(
            close(found.0, low) && close(found.1, high),
            "{n_right} of {n}: {found:?}, not {low}, {high}"
        );
    }
}

#[test]
fn mcnemar_s_p_is_that_of_scipy_and_statsmodels() {
    let cases = reference::<Intervals>("intervals.json").mcnemar;
    assert!(cases.len() > 40);
    for (only_first, only_second, p) in cases {
        let found = mcnemar_exact(only_first, only_second);
        assert!((found - p).abs() <= 1e-10 * p, "{only_first}, {only_second}: {found}, not {p}");
    }
}

/// Both sides are drawn at random. A resampled quantile q has the standard error sqrt(q (1 - q) / n) / f(q);
/// with the normal density that is 0.019 deviations at 2.5 % of 20,000 resamples and 0.008 of 100,000.
/// Together 0.021; five times that is allowed. A wrong quantile (5 % for 2.5 %) is off by 0.3.
#[test]
fn the_bootstrap_is_scipy_s_within_the_error_of_drawing() {
    let cases = reference::<Intervals>("intervals.json").bootstrap;
    assert_eq!(cases.len(), 5);
    for Resampled { entities, low, high, deviation } in cases {
        let pair = |text: &String| (text.contains('1'), text.contains('2'));
        let pairs: Vec<Vec<(bool, bool)>> =
            entities.iter().map(|pairs| pairs.iter().map(pair).collect()).collect();
        for seed in 0..3 {
            let found = paired_bootstrap(&pairs, seed, 20_000);
            let furthest = (found.0 - low).abs().max((found.1 - high).abs());
            assert!(furthest < 0.105 * deviation, "{found:?}, not {low}, {high} ({deviation})");
        }
    }
}

#[derive(Deserialize)]
struct Found {
    ranks: Vec<Vec<Option<usize>>>,
    mrr: f64,
    single_mrr: f64,
    at: Vec<(usize, f64, f64, f64)>,
    single_at: Vec<(usize, f64)>,
}

#[test]
fn measures_of_retrieval_are_those_of_ranx() {
    let found: Found = reference("ranks.json");
    // The rank of a question's best-placed right document.
    let best: Vec<Option<usize>> =
        found.ranks.iter().map(|ranks| ranks.iter().flatten().min().copied()).collect();
    let single: Vec<Option<usize>> = found.ranks.iter().filter(|r| r.len() == 1).map(|r| r[0]).collect();
    assert!(close(mrr(&best), found.mrr) && close(mrr(&single), found.single_mrr));
    assert!(found.at.len() == 6 && found.single_at.len() == 6);
    for (k, hit_rate, recall, ndcg) in found.at {
        assert!(close(recall_at(&best, k), hit_rate), "hit rate at {k}");
        // Recall of several right documents is the mean over questions of the share found.
        let shares = found.ranks.iter().map(|ranks| recall_at(ranks, k));
        assert!(close(shares.sum::<f64>() / found.ranks.len() as f64, recall), "recall at {k}");
        assert!(close(ndcg_at(&found.ranks, k), ndcg), "nDCG at {k}");
    }
    for (k, recall) in found.single_at {
        assert!(close(recall_at(&single, k), recall), "recall at {k} of one document");
    }
}
