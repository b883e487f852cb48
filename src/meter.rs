//! What does a piece of work cost: time, work of the processor, energy?

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Where Linux tells the energy of the processor packages (RAPL); on most systems for the superuser alone.
const ENERGY: &str = "/sys/class/powercap";

/// What was spent. What the system does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds on the clock.
    pub seconds: f64,
    /// Seconds of processor time, over all threads of the process.
    pub cpu_seconds: Option<f64>,
    /// Energy of the processor packages, whatever else they did meanwhile.
    pub joules: Option<f64>,
}

impl Spent {
    /// Nothing yet.
    pub const NOTHING: Self = Self { seconds: 0.0, cpu_seconds: Some(0.0), joules: Some(0.0) };

    /// Both together; a part that one of them does not know is not known of the sum.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        self.with(more, |a, b| a + b)
    }

    /// Without a part of it.
    #[must_use]
    pub fn less(self, part: Self) -> Self {
        self.with(part, |a, b| a - b)
    }

    fn with(self, other: Self, sum: fn(f64, f64) -> f64) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(sum(a?, b?));
        Self {
            seconds: sum(self.seconds, other.seconds),
            cpu_seconds: both(self.cpu_seconds, other.cpu_seconds),
            joules: both(self.joules, other.joules),
        }
    }

    /// What the time costs on a machine of this price an hour.
    pub fn money(self, price_per_hour: f64) -> f64 {
        self.seconds / 3600.0 * price_per_hour
    }
}

/// Measures from its start on.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    cpu_at_start: Option<f64>,
    energy: Option<Energy>,
}

impl Meter {
    /// Starts.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu_at_start: cpu_seconds(), energy: Energy::open() }
    }

    /// What was spent since the start. To be asked at least every few minutes: the counter of the energy begins anew.
    pub fn spent(&mut self) -> Spent {
        Spent {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds().zip(self.cpu_at_start).map(|(now, then)| now - then),
            joules: self.energy.as_mut().and_then(Energy::joules),
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    let time = Some(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime))
        .map(|time| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
    #[cfg(not(unix))]
    let time = None;
    time
}

/// The counters of the processor packages.
#[derive(Debug)]
struct Energy {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    folder: PathBuf,
    /// Where the counter begins anew.
    range_uj: u64,
    last_uj: u64,
    sum_uj: u64,
}

impl Energy {
    /// The counters, if there are any and they may be read.
    fn open() -> Option<Self> {
        let is_package = |name: &str| name.starts_with("intel-rapl:") && name.matches(':').count() == 1;
        let folders = fs::read_dir(ENERGY).ok()?.flatten().map(|entry| entry.path());
        let package = |folder: PathBuf| {
            folder.file_name()?.to_str().filter(|name| is_package(name))?;
            let last_uj = number(&folder, "energy_uj")?;
            Some(Package { range_uj: number(&folder, "max_energy_range_uj")?, folder, last_uj, sum_uj: 0 })
        };
        let packages: Vec<Package> = folders.filter_map(package).collect();
        (!packages.is_empty()).then_some(Self { packages })
    }

    fn joules(&mut self) -> Option<f64> {
        for package in &mut self.packages {
            let now = number(&package.folder, "energy_uj")?;
            package.sum_uj += since(package.last_uj, now, package.range_uj);
            package.last_uj = now;
        }
        Some(self.packages.iter().map(|package| package.sum_uj as f64 / 1e6).sum())
    }
}

/// What a counter has counted that begins anew at `range`.
fn since(then: u64, now: u64, range: u64) -> u64 {
    now.checked_sub(then).unwrap_or_else(|| (range.saturating_sub(then)).saturating_add(now))
}

fn number(folder: &std::path::Path, name: &str) -> Option<u64> {
    fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_part_does_not_know_the_sum_does_not_know() {
        let one = Spent { seconds: 90.0, cpu_seconds: Some(170.0), joules: None };
        let two = Spent { seconds: 10.0, cpu_seconds: Some(20.0), joules: Some(5.0) };
        assert_eq!(one.and(two), Spent { seconds: 100.0, cpu_seconds: Some(190.0), joules: None });
        assert_eq!(one.and(two).less(two), one);
        assert!((Spent { seconds: 1800.0, ..one }.money(0.1) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn a_counter_that_begins_anew_is_read_on() {
        assert_eq!(since(10, 25, 100), 15);
        assert_eq!(since(90, 5, 100), 15);
    }

    #[test]
    fn work_takes_time() {
        let mut meter = Meter::start();
        while meter.spent().seconds < 0.01 {
            std::hint::spin_loop();
        }
        assert!(meter.spent().cpu_seconds.is_none_or(|cpu| cpu > 0.0));
    }
}
