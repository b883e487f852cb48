//! How does a model stretch its rotary positions?

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::error::{Error, Result};

/// `theta^(-2i / head_dim)` for each `i` below `head_dim / 2`.
pub(super) fn frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect()
}

/// What a model says about its rotary scaling, before it becomes a divisor per frequency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rope<'a> {
    /// Every frequency divided by one factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by the factor, high ones left alone, those between blended.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths longer than `original / low` are divided.
        low: f64,
        /// Wavelengths shorter than `original / high` are left alone.
        high: f64,
        /// The context length before the stretch.
        original: f64,
    },
    /// A way that is not supported, by its name.
    Other(&'a str),
}

impl Rope<'_> {
    /// The divisor of each frequency.
    ///
    /// # Errors
    /// When the way is not supported or its numbers make no sense; `path` is the file that names it.
    pub(crate) fn factors(self, theta: f64, head_dim: usize, path: &Path) -> Result<Vec<f32>> {
        let factors: Vec<f32> = match self {
            Self::Linear { factor } => vec![factor as f32; head_dim / 2],
            Self::Llama3 { factor, low, high, original } => frequencies(theta, head_dim)
                .into_iter()
                .map(|frequency| {
                    let turns = original * frequency / (2.0 * std::f64::consts::PI);
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / (kept + (1.0 - kept) / factor)) as f32
                })
                .collect(),
            Self::Other(name) => {
                return Err(Error::file(
                    path,
                    format!("rotary scaling of the kind `{name}` is not supported"),
                    "use a model with none, `linear` or `llama3`",
                ));
            }
        };
        if factors.iter().any(|factor| !(*factor > 0.0 && factor.is_finite())) {
            return Err(Error::file(
                path,
                "the numbers of the rotary scaling make no sense",
                "get the file again",
            ));
        }
        Ok(factors)
    }
}

/// The context length, and the bounds of the blend, of every Llama 3 model that stretches its positions.
const LLAMA_3: (f64, f64, f64) = (8192.0, 1.0, 4.0);

/// `rope_scaling` of `config.json` for divisors that a GGUF file gives as mere numbers; `None` when
/// they come from no way that can be named.
pub(crate) fn named_in_json(factors: &[f32], theta: f64) -> Option<Json> {
    let (first, last) = (*factors.first()?, *factors.last()?);
    if factors.iter().all(|factor| (factor / first - 1.0).abs() < 1e-6) {
        return Some(json!({"rope_type": "linear", "factor": first}));
    }
    let (original, low, high) = LLAMA_3;
    let rope = Rope::Llama3 { factor: f64::from(last), low, high, original };
    let made = rope.factors(theta, 2 * factors.len(), Path::new("")).ok()?;
    let is_llama_3 = made.iter().zip(factors).all(|(made, given)| (made / given - 1.0).abs() < 1e-3);
    is_llama_3.then(|| {
        json!({
            "rope_type": "llama3", "factor": last, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original as u64,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_divides_the_slow_frequencies_and_keeps_the_fast() {
        let rope = Rope::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192.0 };
        let factors = rope.factors(500_000.0, 64, Path::new("config.json")).unwrap();
        // As transformers has them for Llama 3.2 1B.
        let blended = [1.0, 1.651_33, 3.292_26, 9.666_73, 32.0];
        assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 32.0));
        for (found, expected) in factors[14..19].iter().zip(blended) {
            assert!((found / expected - 1.0).abs() < 1e-4, "{found}, not {expected}");
        }
    }

    #[test]
    fn divisors_without_a_name_get_theirs_back() {
        let named = |rope: Rope| {
            let factors = rope.factors(500_000.0, 64, Path::new("config.json")).unwrap();
            named_in_json(&factors, 500_000.0)
        };
        let llama_3 = named(Rope::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 }).unwrap();
        assert_eq!((&llama_3["rope_type"], &llama_3["factor"]), (&json!("llama3"), &json!(8.0)));
        let linear = named(Rope::Linear { factor: 4.0 }).unwrap();
        assert_eq!(linear, json!({"rope_type": "linear", "factor": 4.0}));
        assert_eq!(named_in_json(&[1.0, 2.0, 3.0], 1e4), None);
        let other = Rope::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 4096.0 };
        assert_eq!(named(other), None, "better none than a wrong one");
    }

    #[test]
    fn an_unknown_way_is_named() {
        let error = Rope::Other("yarn").factors(1e4, 64, Path::new("config.json")).unwrap_err().to_string();
        assert!(error.contains("yarn") && error.contains("config.json"), "{error}");
    }
}
