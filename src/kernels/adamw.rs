//! How does AdamW change weights?

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::with_values;
use super::elementwise::{BLOCK, folded, vectorised};

/// What is the same for all weights in an update of `AdamW` (Loshchilov and Hutter 2019), as PyTorch computes it.
#[derive(Debug, Clone, Copy)]
pub struct AdamWRule {
    /// The gradient is multiplied by this first.
    pub scale: f32,
    /// How much of the first and of the second moment is kept, and what the gradient adds: 1 less that, rounded by itself.
    pub betas: [(f32, f32); 2],
    /// How far a weight goes: the learning rate over `1 - beta1^step`.
    pub size: f32,
    /// `sqrt(1 - beta2^step)`
    pub correction: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// What is left of a weight before it goes: 1 less the learning rate times the decay.
    pub decay: f32,
}

/// Updates weights in place, and the first and second moments of their gradient.
///
/// # Errors
/// When the weights are not contiguous float32 on the CPU, or not as many as the moments and the gradient.
pub fn adamw(
    weights: &Tensor,
    gradient: &Tensor,
    moments: (&mut [f32], &mut [f32]),
    rule: AdamWRule,
) -> Result<()> {
    with_values(gradient, |gradient| {
        weights.inplace_op1(&Update { gradient, moments: RefCell::new(moments), rule })
    })
}

/// The sum of a tensor's squares, in an order that no number of threads changes.
///
/// # Errors
/// When the tensor is not float32 on the CPU.
pub fn squared_norm(tensor: &Tensor) -> Result<f64> {
    with_values(tensor, |values| {
        let blocks: Vec<f64> = values.par_chunks(BLOCK).map(sum_of_squares).collect();
        Ok(blocks.iter().sum())
    })
}

struct Update<'a> {
    gradient: &'a [f32],
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
    rule: AdamWRule,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), CpuStorage::F32(values)) = (layout.contiguous_offsets(), storage) else {
            bail!("weights that are not contiguous float32")
        };
        let (weights, mut moments) = (&mut values[start..end], self.moments.borrow_mut());
        let (first, second) = &mut *moments;
        if [self.gradient.len(), first.len(), second.len()] != [weights.len(); 3] {
            let (n, of) = (self.gradient.len(), [first.len(), second.len()]);
            bail!("{} weights, a gradient of {n}, moments of {of:?}", weights.len())
        }
        let (rule, moments) = (self.rule, first.par_chunks_mut(BLOCK).zip(second.par_chunks_mut(BLOCK)));
        weights
            .par_chunks_mut(BLOCK)
            .zip(self.gradient.par_chunks(BLOCK))
            .zip(moments)
            .for_each(|((w, g), (first, second))| update(w, g, first, second, rule));
        Ok(())
    }
}

vectorised! {
    fn update<'a>(w: &'a mut [f32], g: &'a [f32], m1: &'a mut [f32], m2: &'a mut [f32], rule: AdamWRule) -> () {
        let [(_, new1), (kept2, new2)] = rule.betas;
        for (((w, &g), m1), m2) in w.iter_mut().zip(g).zip(m1.iter_mut()).zip(m2.iter_mut()) {
            let g = g * rule.scale;
            *m1 += (g - *m1) * new1;
            *m2 = *m2 * kept2 + g * g * new2;
            *w = *w * rule.decay - rule.size * *m1 / (m2.sqrt() / rule.correction + rule.eps);
        }
    }

    fn sum_of_squares<'a>(values: &'a [f32]) -> f64 {
        let mut lanes = [0.0_f64; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for j in 0..16 {
                lanes[j] += f64::from(chunk[j]) * f64::from(chunk[j]);
            }
        }
        rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() + folded(lanes, |a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// More values than a block, and none too many for the last one.
    #[test]
    fn every_weight_of_every_block_is_updated_by_its_own_gradient() {
        let n = 2 * BLOCK + 3_619;
        let of = |factor: usize| (0..n).map(move |i| (i * factor % 1_009) as f32 / 1_009.0 - 0.4);
        let [w, g, m1, m2] = [7, 31, 53, 97].map(|factor| of(factor).collect::<Vec<f32>>());
        let m2: Vec<f32> = m2.iter().map(|v| v.abs()).collect();
        let rule = AdamWRule {
            scale: 0.5,
            betas: [(0.9, 0.1), (0.999, 0.001)],
            size: 0.03,
            correction: 0.7,
            eps: 1e-8,
            decay: 0.99,
        };
        let tensor = |values: &[f32]| Tensor::from_slice(values, n, &Device::Cpu).unwrap();
        let (weights, mut first, mut second) = (tensor(&w), m1.clone(), m2.clone());
        adamw(&weights, &tensor(&g), (&mut first, &mut second), rule).unwrap();
        let weights = weights.to_vec1::<f32>().unwrap();
        for i in 0..n {
            let g = f64::from(g[i]) * 0.5;
            let (a, b) = (f64::from(m1[i]) * 0.9 + g * 0.1, f64::from(m2[i]) * 0.999 + g * g * 0.001);
            let wanted = f64::from(w[i]) * 0.99 - 0.03 * a / (b.sqrt() / 0.7 + 1e-8);
            assert!((f64::from(first[i]) - a).abs() < 1e-6 && (f64::from(second[i]) - b).abs() < 1e-6, "{i}");
            assert!((f64::from(weights[i]) - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{i}");
        }
        let squares: f64 = g.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((squared_norm(&tensor(&g)).unwrap() / squares - 1.0).abs() < 1e-12);
        assert!(adamw(&tensor(&w), &tensor(&g), (&mut first[1..], &mut second), rule).is_err());
    }
}
