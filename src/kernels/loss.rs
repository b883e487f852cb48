//! How wrong is the model about the next token?

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};

use super::FrozenLinear;
use super::blocks::each_block;
use super::buffer::Buffer;
use super::cpu::{is_fast, values, with_values};
use super::elementwise::{exp, exp_and_sum, max_of, vectorised};
use super::linear::Outputs;
use super::matmul::View;

/// Outputs whose logits exist at one time: with the rows of a block they fit the second cache. Whole panels and blocks of
/// every packed form, so that parts of it begin where these do.
const OUTPUTS: usize = 1152;

/// Cross-entropy, in nats, of `targets` given the normalised hidden states `hidden` (n, width) that
/// predict them: the sum over the rows divided by `n_total`.
///
/// The logits are formed for a block of rows and some tokens of the vocabulary at a time and never kept; the gradient
/// of `hidden` is made in the same pass, and put right whenever a larger logit turns up (as the outputs of
/// FlashAttention are). `n_total` is the number of supervised tokens in the whole step, so that
/// micro-steps of different length weigh right. The log-probability of each target falls off on the way.
pub fn cross_entropy(
    hidden: &Tensor,
    head: &FrozenLinear,
    targets: &[u32],
    n_total: usize,
) -> Result<(Tensor, Vec<f32>)> {
    if hidden.dim(0)? != targets.len() {
        bail!("{} rows for {} targets", hidden.dim(0)?, targets.len());
    }
    if is_fast(&[hidden]) && head.is_fast() {
        let told = Arc::new(OnceLock::new());
        let op = CrossEntropy {
            head: head.clone(),
            targets: targets.to_vec(),
            weight: 1.0 / n_total as f32,
            gradient: OnceLock::new(),
            told: told.clone(),
        };
        let loss = hidden.apply_op1(op)?;
        return Ok((loss, told.get().cloned().unwrap_or_default()));
    }
    let log_probs = log_probs_portable(hidden, head, targets)?;
    let told = log_probs.detach().flatten_all()?.to_vec1()?;
    Ok(((log_probs.sum_all()? * (-1.0 / n_total as f64))?, told))
}

#[cfg(test)]
pub(super) fn cross_entropy_portable(
    hidden: &Tensor,
    head: &FrozenLinear,
    targets: &[u32],
    n_total: usize,
) -> Result<Tensor> {
    log_probs_portable(hidden, head, targets)?.sum_all()? * (-1.0 / n_total as f64)
}

/// The log-probability of each target (n, 1).
fn log_probs_portable(hidden: &Tensor, head: &FrozenLinear, targets: &[u32]) -> Result<Tensor> {
    let log_probs = candle_nn::ops::log_softmax(&head.forward(hidden)?, D::Minus1)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    log_probs.gather(&targets, D::Minus1)
}

/// Mean KL divergence, in nats, of the next-token distributions that the hidden states `to` (n, width) give from those
/// that `from` gives. Only `to` gets a gradient. In plain operations: the logits of all rows are there at once.
pub fn kl_divergence(from: &Tensor, to: &Tensor, head: &FrozenLinear) -> Result<Tensor> {
    let of = |hidden: &Tensor| candle_nn::ops::log_softmax(&head.forward(hidden)?, D::Minus1);
    let (from, n) = (of(&from.detach())?.detach(), from.dim(0)?);
    (from.exp()? * (&from - of(to)?)?)?.sum_all()? / n.max(1) as f64
}

/// The log-probability, in nats, of each target. No gradient.
pub fn token_log_probs(hidden: &Tensor, head: &FrozenLinear, targets: &[u32]) -> Result<Vec<f32>> {
    check_targets(head, targets)?;
    with_values(hidden, |hidden| log_probs(head, hidden, targets, None))
}

/// A row's logits so far.
#[derive(Clone, Copy)]
struct Seen {
    largest: f32,
    /// Of the exponentials, shifted by the largest.
    sum: f32,
    /// The target's own.
    own: f32,
}

/// The log-probability of each target and, if it is wanted, the gradient of `weight` times their negative sum.
fn log_probs(
    head: &FrozenLinear,
    hidden: &[f32],
    targets: &[u32],
    gradient: Option<(&mut [f32], f32)>,
) -> Result<Vec<f32>> {
    let width = head.dims().1;
    let (gradient, gradient_width, weight) = match gradient {
        Some((gradient, weight)) => (gradient, width, weight),
        None => (&mut [][..], 0, 0.0),
    };
    let mut log_probs = vec![0.0; targets.len()];
    head.with_outputs(|outputs| {
        if gradient_width > 0 {
            outputs.prepare_backward();
        }
        let buffers = [(&mut log_probs[..], 1), (gradient, gradient_width)];
        each_block(targets.len(), buffers, |(rows, [log_probs, gradient])| {
            let hidden = &hidden[rows.start * width..rows.end * width];
            let targets = &targets[rows];
            let seen = block_of(&outputs, head.dims(), (hidden, targets), gradient);
            if !gradient.is_empty() {
                for ((g, seen), &target) in gradient.chunks_exact_mut(width).zip(&seen).zip(targets) {
                    times(g, weight / seen.sum);
                    outputs.subtract_row(target as usize, weight, g);
                }
            }
            for (log_prob, s) in log_probs.iter_mut().zip(seen) {
                *log_prob = s.own - s.largest - s.sum.ln();
            }
        });
        Ok(())
    })?;
    Ok(log_probs)
}

/// Goes through the vocabulary for a block of rows on this thread. Their gradient, where there is room for it, is left
/// without the target's part and times the sum.
fn block_of(
    outputs: &Outputs,
    (vocab, width): (usize, usize),
    (hidden, targets): (&[f32], &[u32]),
    gradient: &mut [f32],
) -> Vec<Seen> {
    let n = targets.len();
    let mut seen = vec![Seen { largest: f32::NEG_INFINITY, sum: 0.0, own: 0.0 }; n];
    let mut logits = Buffer::new(n * OUTPUTS.min(vocab));
    for start in (0..vocab).step_by(OUTPUTS) {
        let range = start..(start + OUTPUTS).min(vocab);
        let logits = &mut logits[..n * range.len()];
        outputs.forward(View::new(hidden, n, width), range.clone(), logits);
        for (i, row) in logits.chunks_exact_mut(range.len()).enumerate() {
            if range.contains(&(targets[i] as usize)) {
                seen[i].own = row[targets[i] as usize - start];
            }
            let shrink = take_in(row, &mut seen[i]);
            if shrink < 1.0 && !gradient.is_empty() {
                times(&mut gradient[i * width..(i + 1) * width], shrink);
            }
        }
        if !gradient.is_empty() {
            outputs.add_backward(View::new(logits, n, range.len()), range, gradient);
        }
    }
    seen
}

vectorised! {
    /// Turns more logits of a row into exponentials; returns what earlier ones must be multiplied by.
    fn take_in<'a>(row: &'a mut [f32], seen: &'a mut Seen) -> f32 |simd| {
        let largest = max_of(simd, row);
        let largest = if largest > seen.largest { largest } else { seen.largest };
        let shrink = exp(seen.largest - largest);
        seen.sum = seen.sum * shrink + exp_and_sum(simd, row, largest);
        seen.largest = largest;
        shrink
    }
}

fn times(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

fn check_targets(head: &FrozenLinear, targets: &[u32]) -> Result<()> {
    let vocab = head.dims().0;
    match targets.iter().find(|&&t| t as usize >= vocab) {
        Some(target) => bail!("target {target} is outside the vocabulary of {vocab}"),
        None => Ok(()),
    }
}

struct CrossEntropy {
    head: FrozenLinear,
    targets: Vec<u32>,
    weight: f32,
    /// Gradient of the hidden states (n, width), made in the forward pass.
    gradient: OnceLock<Vec<f32>>,
    /// The log-probability of each target, for whoever made the operator.
    told: Arc<OnceLock<Vec<f32>>>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        check_targets(&self.head, &self.targets)?;
        let hidden = values(storage, layout)?;
        let mut gradient = vec![0.0; hidden.len()];
        let log_probs = log_probs(&self.head, hidden, &self.targets, Some((&mut gradient, self.weight)))?;
        let total: f64 = log_probs.iter().map(|&l| f64::from(-l)).sum();
        let _ = self.gradient.set(gradient);
        let _ = self.told.set(log_probs);
        Ok((CpuStorage::F32(vec![total as f32 * self.weight]), Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _loss: &Tensor, d_loss: &Tensor) -> Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.get() else { bail!("cross-entropy: backward before forward") };
        let gradient = Tensor::from_slice(gradient, hidden.shape(), hidden.device())?;
        Ok(Some(gradient.broadcast_mul(d_loss)?))
    }
}
