//! How far can a measured share be trusted?

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The 97.5 % quantile of the standard normal distribution: 95 % lie within.
const Z_95: f64 = 1.959_963_984_540_054;

/// The 95 % score interval of a share (Wilson 1927), `n_right` of `n`, without correction for
/// continuity. Of nothing asked, nothing is known: (0, 1).
pub fn wilson(n_right: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n_right, size) = (n_right.min(n), n as f64);
    let share = n_right as f64 / size;
    let z2 = Z_95 * Z_95;
    let centre = (share + z2 / (2.0 * size)) / (1.0 + z2 / size);
    let half = Z_95 * (share * (1.0 - share) / size + z2 / (4.0 * size * size)).sqrt() / (1.0 + z2 / size);
    // At the ends the formula gives 0 and 1, less a rounding.
    let low = if n_right == 0 { 0.0 } else { centre - half };
    let high = if n_right == n { 1.0 } else { centre + half };
    (low.max(0.0), high.min(1.0))
}

/// The two-sided p of McNemar's exact test: how often a fair coin, thrown once for every question
/// that only one of two contenders had right, falls at least as unevenly.
///
/// It takes the questions for independent of each other. [`paired_bootstrap`] does not.
pub fn mcnemar_exact(only_first: usize, only_second: usize) -> f64 {
    let n = only_first + only_second;
    let least = only_first.min(only_second);
    if 2 * least == n {
        return 1.0;
    }
    // ln of C(n, least) / 2^n, then down to C(n, 0) / 2^n, each from the one before.
    let ln_choose: f64 = (1..=least).map(|i| ((n - least + i) as f64 / i as f64).ln()).sum();
    let most = ln_choose - n as f64 * std::f64::consts::LN_2;
    let mut ratio = 1.0;
    let mut tail = 0.0;
    for k in (0..=least).rev() {
        tail += ratio;
        ratio *= k as f64 / (n - k + 1) as f64;
    }
    (2.0 * most.exp() * tail).min(1.0)
}

/// The 95 % percentile interval (Efron 1979) of the difference of two shares, the first contender's
/// less the second's.
///
/// `pairs_by_entity` holds, for each thing asked about, whether the first and the second had each of
/// its questions right. Whole entities are drawn, since questions about the same thing succeed and fail
/// together. The same seed gives the same interval. Without a pair or a resample nothing is known:
/// (-1, 1).
pub fn paired_bootstrap(pairs_by_entity: &[Vec<(bool, bool)>], seed: u64, n_resamples: usize) -> (f64, f64) {
    let gain = |pair: &(bool, bool)| i64::from(pair.0) - i64::from(pair.1);
    let sums = |pairs: &Vec<(bool, bool)>| (pairs.iter().map(gain).sum::<i64>(), pairs.len());
    let entities: Vec<(i64, usize)> =
        pairs_by_entity.iter().filter(|pairs| !pairs.is_empty()).map(sums).collect();
    if entities.is_empty() || n_resamples == 0 {
        return (-1.0, 1.0);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = || {
        let (mut gained, mut n_pairs) = (0, 0);
        for _ in 0..entities.len() {
            let (gain, n) = entities[rng.random_range(0..entities.len())];
            gained += gain;
            n_pairs += n;
        }
        gained as f64 / n_pairs as f64
    };
    let mut differences: Vec<f64> = (0..n_resamples).map(|_| resample()).collect();
    differences.sort_by(f64::total_cmp);
    (quantile(&differences, 0.025), quantile(&differences, 0.975))
}

/// The quantile of sorted values, by linear interpolation; `sorted` is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// A share with its interval, `92 % (85 to 96)`.
pub fn with_interval(share: f64, ci95: [f64; 2]) -> String {
    let [low, high] = ci95.map(|bound| bound * 100.0);
    format!("{:.0} % ({low:.0} to {high:.0})", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn an_interval_holds_the_share_and_stays_between_nothing_and_all() {
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        for n in 1..60 {
            for n_right in 0..=n {
                let ((low, high), share) = (wilson(n_right, n), n_right as f64 / n as f64);
                assert!(0.0 <= low && low <= share && share <= high && high <= 1.0, "{n_right} of {n}");
                let (mirrored_low, mirrored_high) = wilson(n - n_right, n);
                assert!(close(low, 1.0 - mirrored_high) && close(high, 1.0 - mirrored_low));
            }
        }
        assert_eq!((wilson(0, 9).0, wilson(9, 9).1), (0.0, 1.0));
    }

    #[test]
    fn mcnemar_knows_no_order_and_counts_coins() {
        assert!(close(mcnemar_exact(0, 0), 1.0) && close(mcnemar_exact(7, 7), 1.0));
        // Six throws, all the same: 2 of 64 ways.
        assert!(close(mcnemar_exact(6, 0), 2.0 / 64.0));
        // Five throws, at most one the other way: 2 * (1 + 5) of 32 ways.
        assert!(close(mcnemar_exact(1, 4), 12.0 / 32.0));
        assert!(close(mcnemar_exact(4, 1), mcnemar_exact(1, 4)));
        let far = mcnemar_exact(0, 5_000);
        assert!((0.0..1e-300).contains(&far), "{far}");
    }

    #[test]
    fn whole_entities_are_drawn() {
        // One entity: every resample is the corpus itself.
        let alone = vec![vec![(true, false), (true, true), (false, false), (false, false)]];
        let (low, high) = paired_bootstrap(&alone, 1, 200);
        assert!(close(low, 0.25) && close(high, 0.25), "{low} {high}");
        // Two that disagree: the questions never part, so the ends are reached.
        let two = vec![vec![(true, false); 50], Vec::new(), vec![(false, true); 50]];
        let (low, high) = paired_bootstrap(&two, 1, 500);
        assert!(close(low, -1.0) && close(high, 1.0), "{low} {high}");
    }

    #[test]
    fn the_seed_decides_and_nothing_is_known_of_nothing() {
        let pairs: Vec<_> = (0..30).map(|i| vec![(i % 3 == 0, i % 4 == 0); i % 5]).collect();
        assert_eq!(paired_bootstrap(&pairs, 3, 300), paired_bootstrap(&pairs, 3, 300));
        assert_ne!(paired_bootstrap(&pairs, 3, 300), paired_bootstrap(&pairs, 4, 300));
        assert_eq!(paired_bootstrap(&[Vec::new()], 3, 300), (-1.0, 1.0));
        assert_eq!(paired_bootstrap(&pairs, 3, 0), (-1.0, 1.0));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert!(close(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0) && close(quantile(&[5.0], 0.975), 5.0));
    }
}
