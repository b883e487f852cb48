//! How do gradients become an update?

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};

use crate::error::{Error, Result};
use crate::kernels::{AdamWRule, adamw, squared_norm};
use crate::model::lora::TrainableAdapter;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// Names of the moments in a checkpoint.
const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

/// `AdamW` (Loshchilov and Hutter 2019) as PyTorch computes it: betas 0.9 and 0.999, eps 1e-8,
/// decoupled weight decay. It changes all weights as one vector.
#[derive(Debug)]
pub struct AdamW {
    weight_decay: f64,
    step: u32,
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
    pub fn new(weights: &Var, weight_decay: f64) -> Self {
        let n = weights.elem_count();
        Self { weight_decay, step: 0, first: vec![0.0; n], second: vec![0.0; n] }
    }

    /// Updates made.
    pub fn step(&self) -> usize {
        self.step as usize
    }

    /// Updates the weights in place from their gradient and returns the gradient's norm before clipping.
    pub fn update(&mut self, weights: &Var, gradient: &Tensor, rule: UpdateRule) -> Result<f64> {
        self.step += 1;
        let norm = squared_norm(gradient)?.sqrt();
        if !norm.is_finite() {
            let what = format!("the gradient's norm is {norm} at step {}", self.step);
            return Err(Error::refused(what, "train with a smaller --lr"));
        }
        // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6.
        let scale = if rule.clip > 0.0 { (rule.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        let rule = AdamWRule {
            scale: scale as f32,
            betas: [BETA1, BETA2].map(|beta| (beta as f32, (1.0 - beta) as f32)),
            size: (rule.lr / (1.0 - BETA1.powi(step))) as f32,
            correction: (1.0 - BETA2.powi(step)).sqrt() as f32,
            eps: EPS as f32,
            decay: (1.0 - rule.lr * self.weight_decay) as f32,
        };
        adamw(weights, gradient, (&mut self.first, &mut self.second), rule)?;
        Ok(norm)
    }

    /// The moments, for a checkpoint.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let tensor = |v: &[f32]| Tensor::from_slice(v, v.len(), &Device::Cpu);
        let named = |name: &str, v| Ok((name.to_owned(), tensor(v)?));
        [named(FIRST, &self.first), named(SECOND, &self.second)].into_iter().collect()
    }

    /// Goes on after `step` updates with the moments of a checkpoint; `None` if they don't fit.
    pub fn restored(
        weights: &Var,
        weight_decay: f64,
        step: usize,
        state: &HashMap<String, Tensor>,
    ) -> Option<Self> {
        let read = |name: &str| -> Option<Vec<f32>> {
            state.get(name).filter(|t| t.dims() == [weights.elem_count()])?.to_vec1().ok()
        };
        Some(Self {
            weight_decay,
            step: u32::try_from(step).ok()?,
            first: read(FIRST)?,
            second: read(SECOND)?,
        })
    }
}

/// The gradient of a loss by the weights. One that is missing would mean that nothing is learnt, silently.
///
/// # Errors
/// When it is missing.
pub fn gradient_of(trainable: &TrainableAdapter, loss: &Tensor) -> Result<Tensor> {
    let missing = "the LoRA weights got no gradient";
    trainable
        .gradient(loss)?
        .ok_or_else(|| Error::refused(missing, "this is a fault in lorascope: please report it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with PyTorch: `torch.optim.AdamW([w], lr=0.1, weight_decay=0.01)` with
    /// w = [1, -2, 3] and gradients [0.5, -1, 0.25], then [0.1, 0.2, -0.3].
    #[test]
    fn two_updates_equal_pytorch_s() {
        let var = Var::new(&[1.0_f32, -2.0, 3.0], &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(&var, 0.01);
        for grad in [[0.5_f32, -1.0, 0.25], [0.1, 0.2, -0.3]] {
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            optimizer.update(&var, &grad, UpdateRule { lr: 0.1, clip: 0.0 }).unwrap();
        }
        let w = var.to_vec1::<f32>().unwrap();
        let expected = [0.817_796_95_f32, -1.844_999_4, 2.908_397_4];
        for (a, b) in w.iter().zip(expected) {
            assert!((a - b).abs() < 2e-6, "{w:?}");
        }
    }

    #[test]
    fn clipping_scales_the_whole_gradient() {
        let run = |grad: [f32; 2], clip| {
            let var = Var::new(&[0.0_f32, 0.0], &Device::Cpu).unwrap();
            let mut optimizer = AdamW::new(&var, 0.0);
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            let norm = optimizer.update(&var, &grad, UpdateRule { lr: 0.1, clip }).unwrap();
            (norm, optimizer.first)
        };
        let (norm, moments) = run([3.0, 4.0], 1.0);
        assert!((norm - 5.0).abs() < 1e-9);
        assert!((moments[0] - 0.06).abs() < 1e-6 && (moments[1] - 0.08).abs() < 1e-6);
        assert!((run([0.3, 0.4], 1.0).1[0] - 0.03).abs() < 1e-6, "a small gradient is left alone");
    }
}
