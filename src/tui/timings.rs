//! How long do keys and frames take?

use std::fmt;
use std::time::Duration;

/// Each bucket is this much wider than the one before.
const WIDER: f64 = 1.05;
/// Buckets from one microsecond to over a minute.
const BUCKETS: usize = 384;

/// How a time spreads: median, 99th percentile (both to 5 %) and the worst.
#[derive(Debug, Clone)]
pub struct Spread {
    buckets: Vec<u32>,
    n: u32,
    worst: Duration,
}

impl Default for Spread {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], n: 0, worst: Duration::ZERO }
    }
}

impl Spread {
    /// Takes note of one time.
    pub fn note(&mut self, time: Duration) {
        let micros = time.as_secs_f64() * 1e6;
        let bucket = (micros.max(1.0).ln() / WIDER.ln()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.n += 1;
        self.worst = self.worst.max(time);
    }

    /// How many times were noted.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.worst
    }

    /// The time that `share` of all did not exceed, rounded up by at most 5 %.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (f64::from(self.n) * share).ceil() as u32;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= wanted.max(1) {
                return Duration::from_secs_f64(WIDER.powi(i as i32 + 1) / 1e6).min(self.worst);
            }
        }
        self.worst
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, p99) = (ms(self.quantile(0.5)), ms(self.quantile(0.99)));
        write!(f, "median {median:.2} ms, p99 {p99:.2} ms, worst {:.2} ms of {}", ms(self.worst), self.n)
    }
}

/// The times of one stay in the lab.
#[derive(Debug, Clone, Default)]
pub struct Timings {
    /// From a key's arrival to the frame that shows what it did.
    pub key_to_frame: Spread,
    /// Drawing one frame and handing it to the terminal.
    pub draw: Spread,
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key to frame: {}\ndraw a frame: {}", self.key_to_frame, self.draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_five_percent() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|ms| spread.note(Duration::from_millis(ms)));
        let near = |got: Duration, ms: f64| (got.as_secs_f64() * 1e3 / ms - 1.0).abs() <= 0.06;
        assert!(near(spread.quantile(0.5), 500.0) && near(spread.quantile(0.99), 990.0));
        assert_eq!((spread.worst(), spread.n()), (Duration::from_secs(1), 1000));
        spread.note(Duration::from_secs(4000));
        assert_eq!(spread.quantile(1.0), Duration::from_secs(4000).min(spread.quantile(1.0)));
    }
}
