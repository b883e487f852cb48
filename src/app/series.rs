//! How is a curve of any length kept in bounded memory?
//!
//! Neighbouring values are merged when there are too many: the shape of the whole run stays, with
//! the lowest and highest value of each stretch; the newest values are kept one by one.

use std::collections::VecDeque;

/// Stretches kept of the whole run: more than the dots of a wide terminal.
const CAPACITY: usize = 2048;
/// Newest values kept one by one.
const RECENT: usize = 256;

/// A stretch of neighbouring values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// The last step of the stretch.
    pub x: f64,
    /// The mean of its values.
    pub mean: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    n: usize,
}

impl Stretch {
    fn of(x: f64, y: f64) -> Self {
        Self { x, mean: y, low: y, high: y, n: 1 }
    }

    fn merge(&mut self, later: Self) {
        let n = self.n + later.n;
        self.mean += (later.mean - self.mean) * later.n as f64 / n as f64;
        self.low = self.low.min(later.low);
        self.high = self.high.max(later.high);
        self.x = later.x;
        self.n = n;
    }
}

/// A value over steps.
#[derive(Debug, Clone)]
pub struct Series {
    stretches: Vec<Stretch>,
    recent: VecDeque<Stretch>,
    per_stretch: usize,
    highest: f64,
}

impl Default for Series {
    fn default() -> Self {
        Self { stretches: Vec::new(), recent: VecDeque::new(), per_stretch: 1, highest: f64::NEG_INFINITY }
    }
}

impl Series {
    /// Adds the value `y` at step `x`. Values that are not finite cannot be drawn and are left out.
    pub fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        let point = Stretch::of(x, y);
        self.highest = self.highest.max(y);
        self.recent.push_back(point);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        match self.stretches.last_mut() {
            Some(last) if last.n < self.per_stretch => last.merge(point),
            _ => self.stretches.push(point),
        }
        if self.stretches.len() == CAPACITY {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.per_stretch *= 2;
        self.stretches = self
            .stretches
            .chunks(2)
            .map(|pair| {
                let mut merged = pair[0];
                pair[1..].iter().for_each(|later| merged.merge(*later));
                merged
            })
            .collect();
    }

    /// The whole run, oldest first; at most 2,048 stretches.
    pub fn whole(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The newest values, oldest first; at most 256.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = Stretch> + ExactSizeIterator + '_ {
        self.recent.iter().copied()
    }

    /// The newest value.
    pub fn last(&self) -> Option<f64> {
        self.recent.back().map(|point| point.mean)
    }

    /// The first value, as long as it was not merged with its neighbours.
    pub fn first(&self) -> Option<f64> {
        self.stretches.first().map(|stretch| stretch.mean)
    }

    /// The highest value ever, if there is one.
    pub fn highest(&self) -> Option<f64> {
        self.highest.is_finite().then_some(self.highest)
    }

    /// Whether there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }
}

/// An exponential moving average that is right from the first value on (Adam's bias correction).
#[derive(Debug, Clone, Default)]
pub struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// How much of the average each new value leaves in place: about the last 10 values count.
    const KEEP: f64 = 0.9;

    /// Takes in one value and returns the average.
    pub fn push(&mut self, value: f64) -> f64 {
        if value.is_finite() {
            self.sum = Self::KEEP * self.sum + (1.0 - Self::KEEP) * value;
            self.weight = Self::KEEP * self.weight + (1.0 - Self::KEEP);
        }
        if self.weight > 0.0 { self.sum / self.weight } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_steps_stay_small_and_keep_their_shape() {
        let mut series = Series::default();
        for step in 1..=100_000 {
            series.push(f64::from(step), f64::from(step % 10));
        }
        assert!(series.whole().len() < CAPACITY);
        assert_eq!(series.recent().len(), RECENT);
        assert!(series.whole().last().unwrap().x > 99_999.5);
        assert!(series.whole().windows(2).all(|pair| pair[0].x < pair[1].x));
        let n: usize = series.whole().iter().map(|s| s.n).sum();
        assert_eq!(n, 100_000);
        let middle = series.whole()[series.whole().len() / 2];
        assert!((4.0..5.0).contains(&middle.mean) && middle.low < middle.mean && middle.mean < middle.high);
        assert_eq!(series.highest(), Some(9.0));
        assert_eq!(series.last(), Some(0.0));
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let mut series = Series::default();
        series.push(1.0, f64::NAN);
        series.push(2.0, f64::INFINITY);
        assert!(series.is_empty() && series.highest().is_none() && series.last().is_none());
    }

    #[test]
    fn the_average_of_a_constant_is_the_constant_from_the_first_value() {
        let mut smooth = Smooth::default();
        for _ in 0..5 {
            assert!((smooth.push(3.25) - 3.25).abs() < 1e-12);
        }
        assert!(smooth.push(f64::NAN).is_finite());
        let after = smooth.push(0.0);
        assert!(after < 3.25 && after > 2.0);
    }
}
