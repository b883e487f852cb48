//! How do gradients become an update?

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Error, Result};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// `AdamW` (Loshchilov and Hutter 2019) as PyTorch computes it: betas 0.9 and 0.999, eps 1e-8,
/// decoupled weight decay. The moments are kept in the order of the variables.
#[derive(Debug)]
pub struct AdamW {
    weight_decay: f64,
    step: u32,
    moments: Vec<Moments>,
}

#[derive(Debug, Clone)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// What one update does besides following the gradient.
#[derive(Debug, Clone, Copy)]
pub struct UpdateRule {
    /// Learning rate.
    pub lr: f64,
    /// The gradient's norm is clipped to this; 0 leaves it.
    pub clip: f64,
}

impl AdamW {
    /// Moments at zero.
    pub fn new(vars: &[(String, Var)], weight_decay: f64) -> Self {
        let zeros = |v: &Var| vec![0.0; v.elem_count()];
        let moments = vars.iter().map(|(_, v)| Moments { first: zeros(v), second: zeros(v) }).collect();
        Self { weight_decay, step: 0, moments }
    }

    /// Updates made.
    pub fn step(&self) -> usize {
        self.step as usize
    }

    /// Updates the variables from their gradients and returns the gradient's norm before clipping.
    /// A variable without a gradient is an error: it would silently not learn.
    pub fn update(&mut self, vars: &[(String, Var)], grads: &[Tensor], rule: UpdateRule) -> Result<f64> {
        self.step += 1;
        let grads: Vec<Vec<f32>> =
            grads.iter().map(|g| g.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
        let squares = |g: &Vec<f32>| g.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
        // Summed in the order of the variables, so that the norm repeats to the bit.
        let norm = grads.par_iter().map(squares).collect::<Vec<_>>().iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            let what = format!("the gradient's norm is {norm} at step {}", self.step);
            return Err(Error::refused(what, "train with a smaller --lr"));
        }
        // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6.
        let scale = if rule.clip > 0.0 { (rule.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let (step, decay) = (i32::try_from(self.step).unwrap_or(i32::MAX), 1.0 - rule.lr * self.weight_decay);
        let size = rule.lr / (1.0 - BETA1.powi(step));
        let correction = (1.0 - BETA2.powi(step)).sqrt();
        let tensors: Vec<Tensor> = self
            .moments
            .par_iter_mut()
            .zip(&grads)
            .zip(vars)
            .map(|((m, g), (_, var))| {
                let mut w = var.flatten_all()?.to_vec1::<f32>()?;
                for (((w, &g), m1), m2) in w.iter_mut().zip(g).zip(&mut m.first).zip(&mut m.second) {
                    let g = g * scale as f32;
                    *m1 += (g - *m1) * (1.0 - BETA1) as f32;
                    *m2 = *m2 * BETA2 as f32 + g * g * (1.0 - BETA2) as f32;
                    let denominator = m2.sqrt() / correction as f32 + EPS as f32;
                    *w = *w * decay as f32 - size as f32 * *m1 / denominator;
                }
                Tensor::from_vec(w, var.shape(), &Device::Cpu)
            })
            .collect::<candle_core::Result<_>>()?;
        for ((_, var), tensor) in vars.iter().zip(&tensors) {
            var.set(tensor)?;
        }
        Ok(norm)
    }

    /// The moments by variable name, for a checkpoint.
    pub fn state(&self, vars: &[(String, Var)]) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        for ((name, var), m) in vars.iter().zip(&self.moments) {
            let tensor = |v: &[f32]| Tensor::from_slice(v, var.shape(), &Device::Cpu);
            state.insert(format!("{name}.exp_avg"), tensor(&m.first)?);
            state.insert(format!("{name}.exp_avg_sq"), tensor(&m.second)?);
        }
        Ok(state)
    }

    /// Goes on after `step` updates with the moments of a checkpoint; `None` if they don't fit.
    pub fn restored(
        vars: &[(String, Var)],
        weight_decay: f64,
        step: usize,
        state: &HashMap<String, Tensor>,
    ) -> Option<Self> {
        let read = |name: &str, var: &Var| -> Option<Vec<f32>> {
            let tensor = state.get(name).filter(|t| t.shape() == var.shape())?;
            tensor.flatten_all().ok()?.to_vec1().ok()
        };
        let moments = vars.iter().map(|(name, var)| {
            Some(Moments {
                first: read(&format!("{name}.exp_avg"), var)?,
                second: read(&format!("{name}.exp_avg_sq"), var)?,
            })
        });
        Some(Self { weight_decay, step: u32::try_from(step).ok()?, moments: moments.collect::<Option<_>>()? })
    }
}

/// The gradients of the variables, in their order.
pub fn gradients_of(vars: &[(String, Var)], store: &mut GradStore) -> Result<Vec<Tensor>> {
    let gradient = |(name, var): &(String, Var)| {
        store.remove(var).ok_or_else(|| {
            Error::refused(
                format!("`{name}` got no gradient"),
                "this is a fault in lorascope: please report it",
            )
        })
    };
    vars.iter().map(gradient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with PyTorch: `torch.optim.AdamW([w], lr=0.1, weight_decay=0.01)` with
    /// w = [1, -2, 3] and gradients [0.5, -1, 0.25], then [0.1, 0.2, -0.3].
    #[test]
    fn two_updates_equal_pytorch_s() {
        let var = Var::new(&[1.0_f32, -2.0, 3.0], &Device::Cpu).unwrap();
        let vars = vec![("w".to_owned(), var)];
        let mut optimizer = AdamW::new(&vars, 0.01);
        for grad in [[0.5_f32, -1.0, 0.25], [0.1, 0.2, -0.3]] {
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            optimizer.update(&vars, &[grad], UpdateRule { lr: 0.1, clip: 0.0 }).unwrap();
        }
        let w = vars[0].1.to_vec1::<f32>().unwrap();
        let expected = [0.817_796_95_f32, -1.844_999_4, 2.908_397_4];
        for (a, b) in w.iter().zip(expected) {
            assert!((a - b).abs() < 2e-6, "{w:?}");
        }
    }

    #[test]
    fn clipping_scales_the_whole_gradient() {
        let run = |grad: [f32; 2], clip| {
            let vars = vec![("w".to_owned(), Var::new(&[0.0_f32, 0.0], &Device::Cpu).unwrap())];
            let mut optimizer = AdamW::new(&vars, 0.0);
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            let norm = optimizer.update(&vars, &[grad], UpdateRule { lr: 0.1, clip }).unwrap();
            (norm, optimizer.moments[0].first.clone())
        };
        let (norm, moments) = run([3.0, 4.0], 1.0);
        assert!((norm - 5.0).abs() < 1e-9);
        assert!((moments[0] - 0.06).abs() < 1e-6 && (moments[1] - 0.08).abs() < 1e-6);
        assert!((run([0.3, 0.4], 1.0).1[0] - 0.03).abs() < 1e-6, "a small gradient is left alone");
    }
}
