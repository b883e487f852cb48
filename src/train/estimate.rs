//! Will the run fit in memory?

use super::batch::Encoded;
use super::config::TrainConfig;
use super::data::TrainData;
use super::report::Estimate;
use crate::error::{Error, Result};
use crate::kernels;
use crate::model::LanguageModel;
use crate::model::config::ModelConfig;

/// Values, as wide as float32's, kept for one token of one layer from the forward to the backward pass.
fn values_kept(model: &ModelConfig) -> usize {
    let (q, kv) = (model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim);
    // Queries, keys and values; attention; the rows between attention and MLP and behind it; gate and up.
    let gate_up = kernels::kept_width(model.intermediate_size);
    let kept = q + 2 * kv + kernels::kept_rows_width(model.hidden_size, q) + gate_up;
    match kernels::level() {
        // Norms, projections and the MLP's product as well.
        kernels::Level::Portable => kept + 4 * model.hidden_size + model.intermediate_size,
        _ => kept,
    }
}

/// Bytes a run needs beyond the loaded model, and the peak of the process; refuses a run that the
/// machine has no room for.
pub fn memory(model: &LanguageModel, data: &TrainData, config: &TrainConfig) -> Result<Estimate> {
    const LOGITS: usize = 3 << 25;
    let shape = model.decoder.config();
    let mut lengths: Vec<usize> = data.train.iter().map(|e: &Encoded| e.tokens.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let n_tokens: usize = lengths.iter().take(config.batch).sum();
    let trainable = config.lora.n_trainable(shape);
    let lora_values = shape.n_layers * config.lora.targets.len() * config.lora.rank;
    // Weights, their gradients, two moments and a published copy.
    let values = n_tokens * (shape.n_layers * values_kept(shape) + lora_values) + trainable * 6;
    let (loaded, turned) = model.decoder.n_bytes();
    let needed = (values * 4 + turned + LOGITS) as u64;
    let available = available_bytes();
    if needed > available {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let what = format!(
            "the run needs {:.1} GiB beside the model and {:.1} GiB are free",
            gib(needed),
            gib(available)
        );
        let remedy = format!("take a smaller --batch than {} or shorter examples", config.batch);
        return Err(Error::refused(what, remedy));
    }
    let peak_bytes = needed + loaded as u64;
    Ok(Estimate { peak_bytes, available_bytes: available, total_s: f64::NAN })
}

/// Steps after which the time is first estimated.
const FIRST_GUESS: usize = 3;
/// Steps between later estimates.
const GUESS_EVERY: usize = 20;

/// How long steps and measurements have taken since the run was started or gone on with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    steps_s: f64,
    n_steps: usize,
    /// Of the last measurement: the base's, the first, takes longest, for its answers are long.
    eval_s: f64,
}

impl Pace {
    /// A step took `seconds`.
    pub(super) fn stepped(&mut self, seconds: f64) {
        self.steps_s += seconds;
        self.n_steps += 1;
    }

    /// A measurement took `seconds`.
    pub(super) fn evaluated(&mut self, seconds: f64) {
        self.eval_s = seconds;
    }

    /// Whether it is time to tell.
    pub(super) fn is_due(&self) -> bool {
        self.n_steps == FIRST_GUESS || (self.n_steps > 0 && self.n_steps.is_multiple_of(GUESS_EVERY))
    }

    /// Seconds for so many steps and measurements at this pace.
    pub(super) fn seconds_for(&self, n_steps: usize, n_evals: usize) -> f64 {
        self.steps_s / self.n_steps.max(1) as f64 * n_steps as f64 + self.eval_s * n_evals as f64
    }
}

/// Bytes of memory that are free, as Linux estimates them, or fewer where the system holds this process to a bound (a
/// container); without that knowledge, no bound.
pub fn available_bytes() -> u64 {
    [memory_line("MemAvailable:"), container_bytes()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// Bytes that the control group has left (cgroup v2); what it holds of files goes when memory is wanted.
fn container_bytes() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let bound: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(bound.saturating_sub(used.saturating_sub(files.unwrap_or(0))))
}

/// Bytes that a line of Linux's `/proc/meminfo` gives.
fn memory_line(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes of memory that the machine has, or fewer where the system holds this process to a bound (a
/// container); `None` where neither can be found out.
pub fn total_bytes() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let bound = number("/sys/fs/cgroup/memory.max");
    [machine_bytes(), bound].into_iter().flatten().min()
}

#[cfg(target_os = "macos")]
fn machine_bytes() -> Option<u64> {
    let output = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(not(target_os = "macos"))]
fn machine_bytes() -> Option<u64> {
    memory_line("MemTotal:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_run_is_told_after_three_steps_and_then_now_and_then() {
        let mut pace = Pace::default();
        pace.evaluated(30.0);
        pace.evaluated(10.0);
        let mut told = Vec::new();
        for step in 1..=45 {
            pace.stepped(2.0);
            if pace.is_due() {
                told.push(step);
            }
        }
        assert_eq!(told, [3, 20, 40]);
        assert!((pace.seconds_for(100, 3) - 230.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_measurement_steps_alone_count() {
        let mut pace = Pace::default();
        pace.stepped(2.0);
        assert!((pace.seconds_for(4, 9) - 8.0).abs() < 1e-9);
    }
}
