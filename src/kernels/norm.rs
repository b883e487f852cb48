//! How is a row brought to unit size?

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor};
use pulp::Simd;
use rayon::prelude::*;

use super::bfloat16::STEP;
use super::buffer::Buffer;
use super::cpu::{is_fast, values, with_values};
use super::elementwise::{BLOCK, dot, vectorised};
use super::rounding::Rounded;

/// RMSNorm of each row of `x` (n, width) with a frozen weight (width):
/// `x / sqrt(mean(x²) + eps) · weight` (Zhang and Sennrich 2019; transformers' `LlamaRMSNorm`).
///
/// The weight gets no gradient.
pub fn rms_norm(x: &Tensor, norm: &RmsNorm) -> Result<Tensor> {
    if is_fast(&[x]) {
        return x.apply_op1(norm.clone());
    }
    rms_norm_portable(x, &norm.tensor(x.device())?, norm.eps())
}

pub(super) fn rms_norm_portable(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / weight.dims1()? as f64)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// The frozen weight of a norm, and what keeps it from dividing by zero.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Arc<[f32]>,
    /// One over each.
    inverse_weight: Arc<[f32]>,
    eps: f32,
}

/// Rows that came to a norm, as its backward pass finds them.
#[derive(Clone, Copy)]
pub(super) enum Came<'a> {
    /// As they came.
    Plain(&'a [f32]),
    /// As they went, rounded, and one over the size of each. No weight is nought.
    Normed(Rounded<'a>, &'a [f32]),
}

impl RmsNorm {
    /// `weight` has one value for each column.
    pub fn new(weight: &Tensor, eps: f64) -> Result<Self> {
        let weight: Vec<f32> = weight.to_vec1()?;
        let inverse_weight = weight.iter().map(|w| 1.0 / w).collect();
        Ok(Self { weight: weight.into(), inverse_weight, eps: eps as f32 })
    }

    /// Whether rows that went can stand for those that came: no weight is nought, or so small that they would be.
    pub(super) fn can_be_undone(&self) -> bool {
        self.weight.iter().all(|w| w.abs() > 1e-30)
    }

    /// Number of weights.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    pub(super) fn eps(&self) -> f64 {
        f64::from(self.eps)
    }

    pub(super) fn tensor(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&self.weight, self.weight.len(), device)
    }

    /// Rows on this thread.
    pub(super) fn rows(&self, x: &[f32], y: &mut [f32]) {
        forward_block(self, x, y, &mut []);
    }

    /// The same, and one over the size of each row.
    pub(super) fn rows_measured(&self, x: &[f32], y: &mut [f32], inverse: &mut [f32]) {
        forward_block(self, x, y, inverse);
    }

    /// The gradient of rows and what else there is of it, `others`, to `dx`, on this thread.
    pub(super) fn rows_backward(&self, came: Came, (dy, others): (&[f32], &[f32]), dx: &mut [f32]) {
        backward_block(self, came, (dy, others), dx);
    }

    #[inline(always)]
    fn inverse_size<S: Simd>(&self, simd: S, row: &[f32]) -> f32 {
        1.0 / (dot(simd, row, row) / row.len() as f32 + self.eps).sqrt()
    }

    fn block(&self) -> usize {
        (BLOCK / self.weight.len()).max(1) * self.weight.len()
    }

    /// Rows on all threads.
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(self.block()).zip(x.par_chunks(self.block())).for_each(|(y, x)| {
            forward_block(self, x, y, &mut []);
        });
        y
    }

    /// With `u = x / size` and `g = dy · w`: `dx = (g - u · mean(g · u)) / size`.
    fn backward(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let block = self.block();
        let (mut dx, nought) = (vec![0.0; x.len()], vec![0.0; block]);
        let inputs = x.par_chunks(block).zip(dy.par_chunks(block));
        dx.par_chunks_mut(block).zip(inputs).for_each(|(dx, (x, dy))| {
            backward_block(self, Came::Plain(x), (dy, &nought), dx);
        });
        dx
    }
}

vectorised! {
fn forward_block<'a>(norm: &'a RmsNorm, x: &'a [f32], y: &'a mut [f32], kept: &'a mut [f32]) -> () |simd| {
    let width = norm.weight.len();
    let mut kept = kept.iter_mut();
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let inverse = norm.inverse_size(simd, x);
        if let Some(kept) = kept.next() {
            *kept = inverse;
        }
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(&*norm.weight) {
            *y = x * inverse * w;
        }
    }
}

fn backward_block<'a>(
    norm: &'a RmsNorm,
    came: Came<'a>,
    gradients: (&'a [f32], &'a [f32]),
    dx: &'a mut [f32],
) -> () |simd| {
    let width = norm.weight.len();
    let gradients = gradients.0.chunks_exact(width).zip(gradients.1.chunks_exact(width));
    let together = if matches!(came, Came::Plain(_)) { 1 } else { STEP };
    let (mut units, mut weighed) = (Buffer::new(together * width), Buffer::new(width));
    for ((i, dx), (dy, others)) in dx.chunks_exact_mut(width).enumerate().zip(gradients) {
        let inverse = match came {
            Came::Plain(x) => {
                let x = &x[i * width..(i + 1) * width];
                let inverse = norm.inverse_size(simd, x);
                units.iter_mut().zip(x).for_each(|(u, &x)| *u = x * inverse);
                inverse
            }
            Came::Normed(rows, inverse) => {
                if i.is_multiple_of(STEP) {
                    rows.widen(i / STEP, &norm.inverse_weight, &mut units);
                }
                inverse[i]
            }
        };
        let unit = &units[i % together * width..][..width];
        for ((g, &dy), &w) in weighed.iter_mut().zip(dy).zip(&*norm.weight) {
            *g = dy * w;
        }
        let mean = dot(simd, &weighed, unit) / width as f32;
        for ((dx, &other), (&g, &u)) in dx.iter_mut().zip(others).zip(weighed.iter().zip(unit)) {
            *dx = other + (g - u * mean) * inverse;
        }
    }
}
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(storage, layout)?);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_values(x, |x| with_values(dy, |dy| Ok(self.backward(x, dy))))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_nought_hides_what_came() {
        let norm =
            |weights: &[f32]| RmsNorm::new(&Tensor::new(weights, &Device::Cpu).unwrap(), 1e-5).unwrap();
        assert!(norm(&[1.0, -0.5]).can_be_undone() && !norm(&[1.0, 0.0]).can_be_undone());
        assert!(!norm(&[1.0, 1e-38]).can_be_undone());
    }
}
