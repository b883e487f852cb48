//! Where do the axes of a picture begin and end, and what is written on them?

use super::Scale;
use crate::app::words::thousands;

/// Labels on the vertical axis at most, of even steps.
const N_LEVELS: f64 = 6.0;

/// A range of values with its labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    /// Values with a label, the lowest first.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The vertical axis.
    pub(super) fn of(scale: Scale) -> Self {
        match scale {
            Scale::FromZero { top } => Self::from_zero(top),
            Scale::Log { low, high } => Self::log(low, high),
            Scale::Share => {
                let ticks = [0, 20, 40, 60, 80, 100].map(|p| (f64::from(p) / 100.0, format!("{p} %")));
                Self { low: 0.0, high: 1.0, is_log: false, ticks: ticks.into() }
            }
        }
    }

    /// The steps of a run up to `last`, with at most `n` labels beside 0.
    pub(super) fn steps(last: f64, n: usize) -> Self {
        let high = last.max(1.0);
        let step = round_step(high / n.max(1) as f64, &[1.0, 2.0, 5.0]).max(1.0);
        let ticks = multiples(step, high).map(|tick| (tick, thousands(tick.round() as u64)));
        Self { low: 0.0, high, is_log: false, ticks: ticks.collect() }
    }

    fn from_zero(top: f64) -> Self {
        let top = if top.is_finite() && top > 0.0 { top } else { 1.0 };
        let step = round_step(top / N_LEVELS, &[1.0, 2.0, 2.5, 5.0]);
        let high = (top / step - 1e-9).ceil() * step;
        let n_digits = [0, 1, 2].into_iter().find(|n| is_whole(step * 10f64.powi(*n))).unwrap_or(3);
        let written = |tick: f64| match n_digits {
            0 => thousands(tick.round() as u64),
            n => format!("{tick:.*}", n as usize),
        };
        let ticks = multiples(step, high).map(|tick| (tick, written(tick))).collect();
        Self { low: 0.0, high, is_log: false, ticks }
    }

    fn log(low: f64, high: f64) -> Self {
        let (low, high) = (low.max(1e-6), high.max(low).max(1e-6));
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        // Over many powers of ten the numbers between them would stand too close.
        let between: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all: Vec<f64> =
            (first..=last).flat_map(|power| between.iter().map(move |b| b * 10f64.powi(power))).collect();
        let start = all.iter().rposition(|tick| *tick <= low * 1.001).unwrap_or(0);
        let end = all.iter().position(|tick| *tick >= high * 0.999).unwrap_or(all.len() - 1);
        let ticks: Vec<f64> = all[start..=end.max(start)].to_vec();
        let (low, high) = (ticks[0], ticks[ticks.len() - 1].max(ticks[0] * 2.0));
        let written = |tick: f64| if tick < 1.0 { format!("{tick}") } else { thousands(tick.round() as u64) };
        Self { low, high, is_log: true, ticks: ticks.iter().map(|tick| (*tick, written(*tick))).collect() }
    }

    /// Where `value` lies between 0 (low) and 1 (high); may be outside.
    pub(super) fn at(&self, value: f64) -> f64 {
        if self.is_log {
            let (low, high) = (self.low.ln(), self.high.ln());
            (value.max(f64::MIN_POSITIVE).ln() - low) / (high - low)
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// The smallest of the `round` numbers, times a power of ten, that is not below `least`.
fn round_step(least: f64, round: &[f64]) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    let found = round.iter().map(|round| round * power).find(|step| *step >= least * (1.0 - 1e-9));
    found.unwrap_or(10.0 * power)
}

fn multiples(step: f64, high: f64) -> impl Iterator<Item = f64> {
    let n = (high / step + 1e-9) as usize;
    (0..=n).map(move |i| i as f64 * step)
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn an_axis_from_zero_ends_at_a_round_number_and_says_no_more_digits_than_it_needs() {
        assert_eq!(labels(&Axis::from_zero(4.37)), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(labels(&Axis::from_zero(0.9)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::from_zero(29.0)), ["0", "5", "10", "15", "20", "25", "30"]);
        assert_eq!(labels(&Axis::from_zero(f64::NAN)).last(), Some(&"1.0"));
        for top in [1e-4, 0.3, 1.0, 7.0, 12.9, 69.0, 12_345.0] {
            let axis = Axis::from_zero(top);
            assert!(axis.at(top) <= 1.0 + 1e-9 && axis.at(top) > 0.7, "{top}: {axis:?}");
            assert!((2..=8).contains(&axis.ticks.len()), "{axis:?}");
        }
    }

    #[test]
    fn a_logarithmic_axis_holds_all_values_between_round_numbers() {
        let axis = Axis::log(1.3, 69.0);
        assert_eq!(labels(&axis), ["1", "2", "5", "10", "20", "50", "100"]);
        assert!((axis.at(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(labels(&Axis::log(1.0, 2e6)).len(), 8);
        let single = Axis::log(5.0, 5.0);
        assert!((single.at(5.0)).abs() < 1e-9 && single.at(10.0).is_finite());
    }

    #[test]
    fn the_step_axis_ends_at_the_last_step() {
        let axis = Axis::steps(480.0, 8);
        assert_eq!(labels(&axis), ["0", "100", "200", "300", "400"]);
        assert!((axis.at(480.0) - 1.0).abs() < 1e-9);
        assert_eq!(labels(&Axis::steps(0.0, 8)), ["0", "1"]);
        assert_eq!(labels(&Axis::steps(3.0, 8)), ["0", "1", "2", "3"]);
    }
}
