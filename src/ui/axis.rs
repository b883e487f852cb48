//! Where do axes begin and end? At round numbers, in steps, so that they don't jump at every point.

/// A range with round labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// From zero to the next round number at or above `top`, with at most `n_ticks` labels.
    pub(super) fn from_zero(top: f64, n_ticks: usize) -> Self {
        const ROUND: [f64; 8] = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
        let top = if top.is_finite() && top > 0.0 { top } else { 1.0 };
        let power = 10f64.powf(top.log10().floor());
        let high = ROUND.iter().map(|round| round * power).find(|high| *high >= top * (1.0 - 1e-9));
        let high = high.unwrap_or(10.0 * power);
        Self { low: 0.0, high, ticks: ticks(high, tick_step(high, n_ticks, &[1.0, 1.5, 2.0, 3.0, 5.0])) }
    }

    /// The steps of a run: grows in four stages towards all `n_steps`.
    pub(super) fn steps(step: usize, n_steps: usize, n_ticks: usize) -> Self {
        let all = n_steps.max(step).max(1) as f64;
        let stages = [0.125, 0.25, 0.5].map(|share| round_up(all * share));
        let fits = |stage: &f64| *stage >= 8.0 && step as f64 <= *stage && *stage < all * 0.8;
        let high = stages.into_iter().find(fits).unwrap_or(all);
        Self { low: 0.0, high, ticks: ticks(high, tick_step(high, n_ticks, &[1.0, 2.0, 5.0])) }
    }

    /// The last steps up to `step`, as many as `n`.
    pub(super) fn last_steps(first: f64, last: f64, n_ticks: usize) -> Self {
        let high = if last > first { last } else { first + 1.0 };
        let step = tick_step(high - first, n_ticks, &[1.0, 2.0, 5.0]);
        let start = (first / step).ceil();
        let ticks = (0..=n_ticks).map(|i| (start + i as f64) * step).take_while(|tick| *tick <= high);
        Self { low: first, high, ticks: ticks.collect() }
    }

    /// Where `value` lies between 0 (low) and 1 (high); may be outside.
    pub(super) fn at(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// How a tick is written: with as many digits after the point as tell the ticks apart.
    pub(super) fn label(&self, tick: f64) -> String {
        let step = self.ticks.get(1).map_or(1.0, |second| second - self.ticks[0]);
        let whole = |step: f64| (step - step.round()).abs() < 1e-6;
        if whole(step) {
            crate::app::words::thousands(tick.round().max(0.0) as u64)
        } else if whole(step * 10.0) {
            format!("{tick:.1}")
        } else {
            format!("{tick:.2}")
        }
    }
}

/// The next of 1, 2, 2.5 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]
        .iter()
        .map(|round| (round * power).round())
        .find(|high| *high >= value)
        .unwrap_or(10.0 * power)
}

/// The smallest of the `round` numbers, times a power of ten, that makes at most `n_ticks` parts.
fn tick_step(range: f64, n_ticks: usize, round: &[f64]) -> f64 {
    let least = range / n_ticks.max(1) as f64;
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    let found = round.iter().map(|round| round * power).find(|step| *step >= least * (1.0 - 1e-9));
    found.unwrap_or(10.0 * power)
}

fn ticks(high: f64, step: f64) -> Vec<f64> {
    let n = (high / step + 1e-9) as usize;
    (0..=n).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // round numbers are exact
mod tests {
    use super::*;

    #[test]
    fn tops_are_round_and_labels_few() {
        let axis = Axis::from_zero(4.37, 3);
        assert_eq!((axis.high, axis.ticks.as_slice()), (6.0, &[0.0, 2.0, 4.0, 6.0][..]));
        assert_eq!(Axis::from_zero(10.0, 4).high, 10.0);
        assert_eq!(Axis::from_zero(0.0, 4).high, 1.0);
        assert_eq!(Axis::from_zero(f64::NAN, 4).high, 1.0);
        let axis = Axis::from_zero(0.9, 2);
        assert_eq!(axis.ticks.iter().map(|t| axis.label(*t)).collect::<Vec<_>>(), ["0.0", "0.5", "1.0"]);
    }

    #[test]
    fn the_step_axis_grows_in_few_stages_and_ends_at_the_last_step() {
        let mut highs: Vec<f64> = (0..=480).map(|step| Axis::steps(step, 480, 4).high).collect();
        assert!(highs.windows(2).all(|pair| pair[0] <= pair[1]));
        highs.dedup();
        assert_eq!(highs, [60.0, 120.0, 250.0, 480.0]);
        for n_steps in [0, 1, 3, 7, 20, 437, 100_000] {
            for step in [0, n_steps / 3, n_steps] {
                let axis = Axis::steps(step, n_steps, 4);
                assert!(axis.high >= step as f64 && axis.ticks.len() <= 5 && !axis.ticks.is_empty());
            }
            assert_eq!(Axis::steps(n_steps, n_steps, 4).high, n_steps.max(1) as f64);
        }
    }
}
