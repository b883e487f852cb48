//! How wrong is the model about the next token?

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::FrozenLinear;
use super::buffer::Buffer;
use super::cpu::{is_fast, values, with_values};
use super::elementwise::{exp_and_sum, max_of, vectorised};
use super::linear::project;
use super::matmul::{Product, View};

/// Logits held at one time, in values: 64 MiB.
const LOGITS: usize = 1 << 24;

/// Cross-entropy, in nats, of `targets` given the normalised hidden states `hidden` (n, width) that
/// predict them: the sum over the rows divided by `n_total`.
///
/// The logits are formed a block of rows at a time and never kept; the gradient of `hidden` is made
/// in the same pass. `n_total` is the number of supervised tokens in the whole step, so that
/// micro-steps of different length weigh right.
pub fn cross_entropy(
    hidden: &Tensor,
    head: &FrozenLinear,
    targets: &[u32],
    n_total: usize,
) -> Result<Tensor> {
    if hidden.dim(0)? != targets.len() {
        bail!("{} rows for {} targets", hidden.dim(0)?, targets.len());
    }
    if is_fast(&[hidden, &head.weight()?]) {
        let op = CrossEntropy {
            head: head.clone(),
            targets: targets.to_vec(),
            weight: 1.0 / n_total as f32,
            gradient: OnceLock::new(),
        };
        return hidden.apply_op1(op);
    }
    cross_entropy_portable(hidden, head, targets, n_total)
}

pub(super) fn cross_entropy_portable(
    hidden: &Tensor,
    head: &FrozenLinear,
    targets: &[u32],
    n_total: usize,
) -> Result<Tensor> {
    let log_probs = candle_nn::ops::log_softmax(&head.forward(hidden)?, D::Minus1)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    log_probs.gather(&targets, D::Minus1)?.sum_all()? * (-1.0 / n_total as f64)
}

/// The log-probability, in nats, of each target. No gradient.
pub fn token_log_probs(hidden: &Tensor, head: &FrozenLinear, targets: &[u32]) -> Result<Vec<f32>> {
    let (n, width) = hidden.dims2()?;
    let vocab = head.dims().0;
    let weight = head.weight()?;
    let mut log_probs = Vec::with_capacity(n);
    let rows = rows_a_block(n, vocab);
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let block = hidden.narrow(0, start, len)?;
        let mut logits =
            with_values(&block, |h| with_values(&weight, |w| Ok(project(h, w, (len, width, vocab)))))?;
        let wanted = &targets[start..start + len];
        log_probs.par_extend(logits.par_chunks_mut(vocab).zip(wanted).map(|(row, &t)| {
            let own = row[t as usize];
            let (shift, sum) = exponentials(row);
            own - shift - sum.ln()
        }));
    }
    Ok(log_probs)
}

/// Rows whose logits exist at one time: blocks of equal size.
fn rows_a_block(n: usize, vocab: usize) -> usize {
    let most = (LOGITS / vocab).max(1);
    n.div_ceil(n.div_ceil(most).max(1)).max(1)
}

struct CrossEntropy {
    head: FrozenLinear,
    targets: Vec<u32>,
    weight: f32,
    /// Gradient of the hidden states (n, width), made in the forward pass.
    gradient: OnceLock<Vec<f32>>,
}

impl CrossEntropy {
    /// Loss of a block of rows; writes the gradient of their hidden states.
    fn block(&self, hidden: &[f32], targets: &[u32], gradient: &mut [f32]) -> Result<f64> {
        let (vocab, width) = self.head.dims();
        let n = targets.len();
        with_values(&self.head.weight()?, |head| {
            let mut logits = Buffer::new(n * vocab);
            let product = Product::new(View::new(hidden, n, width), View::new(head, vocab, width).t());
            product.write(&mut logits, vocab);
            let losses: Vec<f32> = logits
                .par_chunks_mut(vocab)
                .zip(targets)
                .map(|(row, &target)| loss_row(row, target as usize, self.weight))
                .collect();
            Product::new(View::new(&logits, n, vocab), View::new(head, vocab, width)).write(gradient, width);
            Ok(losses.iter().map(|&l| f64::from(l)).sum())
        })
    }
}

vectorised! {
    /// Turns the logits of one row into their gradient times `weight`; returns the row's loss.
    fn loss_row<'a>(row: &'a mut [f32], target: usize, weight: f32) -> f32 {
        let own = row[target];
        let (shift, sum) = shifted_sum(row);
        let scale = weight / sum;
        for v in row.iter_mut() {
            *v *= scale;
        }
        row[target] -= weight;
        sum.ln() + shift - own
    }

    /// Turns logits into exponentials, shifted by the largest; returns it and their sum.
    fn exponentials<'a>(row: &'a mut [f32]) -> (f32, f32) {
        shifted_sum(row)
    }
}

#[inline(always)]
fn shifted_sum(row: &mut [f32]) -> (f32, f32) {
    let shift = max_of(row);
    (shift, exp_and_sum(row, shift))
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (vocab, width) = self.head.dims();
        if let Some(target) = self.targets.iter().find(|&&t| t as usize >= vocab) {
            bail!("target {target} is outside the vocabulary of {vocab}");
        }
        let hidden = values(storage, layout)?;
        let mut gradient = vec![0.0; hidden.len()];
        let rows = rows_a_block(self.targets.len(), vocab);
        let inputs = hidden.chunks(rows * width).zip(self.targets.chunks(rows));
        let mut total = 0.0;
        for ((h, t), g) in inputs.zip(gradient.chunks_mut(rows * width)) {
            total += self.block(h, t, g)?;
        }
        let _ = self.gradient.set(gradient);
        Ok((CpuStorage::F32(vec![total as f32 * self.weight]), Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _loss: &Tensor, d_loss: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.get() else { bail!("cross-entropy: backward before forward") };
        let gradient = Tensor::from_slice(gradient, hidden.shape(), hidden.device())?;
        Ok(Some(gradient.broadcast_mul(d_loss)?))
    }
}
