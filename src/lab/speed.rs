//! How fast is the lab's work on this machine?
//!
//! Each kind of work is done once to warm up and then several times; what comes out is a [`Sample`].
//! Nothing here prints: whoever measures follows through [`Runs`].

mod board;
mod decoder;
mod growth;
mod machine;
mod retrieval;
mod scratch;

pub use board::{BoardCost, N_UPDATES, board};
pub use decoder::{FLOP_FORMULA, N_DECODED, N_PROMPT, TrainShape, decode, flop_per_token, prefill, train};
pub use growth::{Growth, answering, retrieving, training};
pub use machine::{MEMORY_BYTES, MachinePeak, PRODUCT, machine};
pub use retrieval::{N_TEXTS, RetrieveTimes, TEXT_TOKENS, embed, questions, retrieve, texts};

use crate::cancel::Cancel;
use crate::error::Result;

/// Measured values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// Of values in any order.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// How many values there are.
    pub fn n(&self) -> usize {
        self.sorted.len()
    }

    /// The middle value, or the mean of the two in the middle; NaN where nothing was measured.
    pub fn median(&self) -> f64 {
        let n = self.n();
        let at = |i: usize| self.sorted.get(i).copied().unwrap_or(f64::NAN);
        if n.is_multiple_of(2) { f64::midpoint(at(n / 2), at((n / 2).wrapping_sub(1))) } else { at(n / 2) }
    }

    /// The smallest value that `share` of all do not exceed; NaN where nothing was measured.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.n() as f64).ceil() as usize;
        self.sorted.get(rank.clamp(1, self.n().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    /// The smallest value.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

/// How often something is measured, and who follows.
pub struct Runs<'a> {
    /// Measured runs; one more before them warms up.
    pub n: usize,
    /// Stops between two runs, and inside those that can be stopped.
    pub cancel: &'a Cancel,
    /// Hears how many runs are done.
    pub watch: &'a mut dyn FnMut(usize),
}

impl Runs<'_> {
    /// Calls `run` once to warm up, with 0, and then with 1 to `n`; gives what these returned.
    ///
    /// # Errors
    /// The first error of a run, or [`crate::error::Error::Cancelled`].
    pub fn measure<T>(&mut self, mut run: impl FnMut(usize) -> Result<T>) -> Result<Vec<T>> {
        self.cancel.check()?;
        run(0)?;
        let mut measured = Vec::with_capacity(self.n);
        for i in 1..=self.n {
            self.cancel.check()?;
            measured.push(run(i)?);
            (self.watch)(i);
        }
        Ok(measured)
    }

    /// The same for runs that measure one value.
    ///
    /// # Errors
    /// As [`Runs::measure`].
    pub fn sample(&mut self, run: impl FnMut(usize) -> Result<f64>) -> Result<Sample> {
        Ok(Sample::of(self.measure(run)?))
    }
}

/// The most memory that this process has held so far, in bytes; `None` where the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    high_water(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmHWM` in the text of `/proc/self/status`, in bytes.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn medians_and_quantiles_are_those_of_the_sorted_values() {
        let odd = Sample::of(vec![5.0, 1.0, 3.0]);
        assert!(near(odd.median(), 3.0) && near(odd.min(), 1.0) && near(odd.max(), 5.0));
        assert!(near(Sample::of(vec![4.0, 1.0, 3.0, 2.0]).median(), 2.5));
        let hundred = Sample::of((1..=100).rev().map(f64::from).collect());
        assert!(near(hundred.quantile(0.99), 99.0) && near(hundred.quantile(0.5), 50.0));
    }

    #[test]
    fn without_values_there_is_no_number() {
        let none = Sample::of(Vec::new());
        assert!(none.median().is_nan() && none.min().is_nan() && none.quantile(0.99).is_nan());
    }

    #[test]
    fn the_first_run_only_warms_up() {
        let (mut called, mut heard) = (Vec::new(), Vec::new());
        let mut watch = |done| heard.push(done);
        let cancel = Cancel::new();
        let mut runs = Runs { n: 3, cancel: &cancel, watch: &mut watch };
        let sample = runs.sample(|i| {
            called.push(i);
            Ok(i as f64)
        });
        assert!(near(sample.unwrap().min(), 1.0));
        assert_eq!((called, heard), (vec![0, 1, 2, 3], vec![1, 2, 3]));
    }

    #[test]
    fn a_cancelled_measurement_stops_before_the_next_run() {
        let cancel = Cancel::new();
        let mut n_called = 0;
        let mut watch = |done| {
            if done == 2 {
                cancel.cancel();
            }
        };
        let result = Runs { n: 5, cancel: &cancel, watch: &mut watch }.measure(|_| {
            n_called += 1;
            Ok(())
        });
        assert!(matches!(result, Err(crate::error::Error::Cancelled)));
        assert_eq!(n_called, 3);
    }

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t  120 kB\nVmRSS:\t   80 kB\n";
        assert_eq!(high_water(status), Some(120 * 1024));
        assert_eq!(high_water("Name:\tx\n"), None);
    }
}
