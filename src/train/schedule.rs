//! How fast does it learn at each step?

use super::config::{Schedule, TrainConfig};

/// The learning rate of update `step` (counted from 1) of `n_steps`: a straight rise over the warm-up,
/// then the schedule, as in transformers' `get_*_schedule_with_warmup`.
pub fn learning_rate(config: &TrainConfig, step: usize, n_steps: usize) -> f64 {
    let warmup = config.warmup_steps.min(n_steps / 2);
    if step <= warmup {
        return config.lr * step as f64 / warmup as f64;
    }
    let progress = (step - 1 - warmup) as f64 / (n_steps - warmup).max(1) as f64;
    config.lr
        * match config.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
}

#[cfg(test)]
mod tests {
    use super::super::config::Recipe;
    use super::*;

    #[test]
    fn it_rises_then_falls() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            let config =
                TrainConfig { schedule, warmup_steps: 5, lr: 0.1, ..TrainConfig::defaults(Recipe::Qa) };
            let rates: Vec<f64> = (1..=100).map(|s| learning_rate(&config, s, 100)).collect();
            assert!(rates[..5].windows(2).all(|w| w[0] < w[1]));
            assert!((rates[4] - 0.1).abs() < 1e-12 && (rates[5] - 0.1).abs() < 1e-12);
            assert!(rates[5..].windows(2).all(|w| w[0] > w[1]) && rates[99] > 0.0 && rates[99] < 0.002);
        }
    }

    #[test]
    fn a_run_of_one_step_learns() {
        let config = TrainConfig::defaults(Recipe::Qa);
        assert!(learning_rate(&config, 1, 1) > 0.0);
    }
}
