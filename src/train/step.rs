//! What happens in one optimizer update?

use candle_core::Tensor;

use super::batch::Batch;
use super::optimizer::{AdamW, UpdateRule, gradient_of};
use crate::error::{Error, Result};
use crate::kernels;
use crate::model::Adapter;
use crate::model::decoder::Decoder;
use crate::model::lora::TrainableAdapter;

/// Loss before the update and the gradient's norm before clipping.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Mean nats per supervised token of all micro-steps together.
    pub loss: f64,
    /// Norm of the whole gradient.
    pub grad_norm: f64,
    /// The log-probability of each token of the batches that was answered for, one batch after the other.
    pub log_probs: Vec<f32>,
}

/// What one optimizer update reads.
#[derive(Debug, Clone, Default)]
pub struct Lesson {
    /// The micro-steps.
    pub batches: Vec<Batch>,
    /// General text, learnt beside them token for token.
    pub replay: Option<Batch>,
    /// General text on which the model must stay near the base, and how much that weighs.
    pub restraint: Option<(Batch, f64)>,
}

impl From<Vec<Batch>> for Lesson {
    fn from(batches: Vec<Batch>) -> Self {
        Self { batches, ..Self::default() }
    }
}

/// One optimizer update from the accumulated gradients of its micro-steps. The loss that is reported is that of the
/// batches alone.
pub fn train_step(
    decoder: &Decoder,
    trainable: &TrainableAdapter,
    optimizer: &mut AdamW,
    (lesson, rule): (&Lesson, UpdateRule),
) -> Result<StepResult> {
    let adapter = &trainable.adapter;
    let n_own: usize = lesson.batches.iter().map(|b| b.targets.len()).sum();
    let n_supervised = n_own + lesson.replay.as_ref().map_or(0, |b| b.targets.len());
    let mut loss = 0.0;
    let mut total: Option<Tensor> = None;
    let mut add = |part: &Tensor| -> Result<f64> {
        let gradient = gradient_of(trainable, part)?;
        total = Some(match total.take() {
            None => gradient,
            Some(sum) => (sum + gradient)?,
        });
        Ok(f64::from(part.to_scalar::<f32>()?))
    };
    let mut log_probs = Vec::with_capacity(n_own);
    for batch in &lesson.batches {
        let (part, told) = supervised_loss(decoder, adapter, batch, n_supervised)?;
        log_probs.extend(told);
        loss += add(&part)?;
    }
    if let Some(replay) = &lesson.replay {
        add(&supervised_loss(decoder, adapter, replay, n_supervised)?.0)?;
    }
    if let Some((text, weight)) = &lesson.restraint {
        add(&(departure(decoder, adapter, text)? * *weight)?)?;
    }
    let Some(gradient) = total else {
        return Err(Error::refused(
            "an update without a batch",
            "this is a fault in lorascope: please report it",
        ));
    };
    let grad_norm = optimizer.update(&trainable.weights, &gradient, rule)?;
    Ok(StepResult { loss: loss * (n_supervised as f64 / n_own.max(1) as f64), grad_norm, log_probs })
}

/// How far the model has departed from the base on a text: the mean KL divergence of its next-token distributions
/// from the base's, in nats (what "learning without forgetting" holds down; Li and Hoiem 2016).
fn departure(decoder: &Decoder, adapter: &Adapter, text: &Batch) -> Result<Tensor> {
    let read = |lora| decoder.forward_sharing(&text.tokens, (text.n_shared, &text.lengths), lora);
    let (base, tuned) = (read(None)?.detach(), read(Some((adapter, 1.0)))?);
    Ok(kernels::kl_divergence(&base, &tuned, decoder.head())?)
}

/// Sum of the negative log-likelihoods, in nats, of the tokens the model must answer for, over
/// `n_supervised`, and the log-probability of each. The vocabulary is looked at for those tokens alone.
fn supervised_loss(
    decoder: &Decoder,
    adapter: &Adapter,
    batch: &Batch,
    n_supervised: usize,
) -> Result<(Tensor, Vec<f32>)> {
    let lora = Some((adapter, 1.0));
    let hidden = decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?;
    let rows = Tensor::from_slice(&batch.rows, batch.rows.len(), hidden.device())?;
    let hidden = hidden.index_select(&rows, 0)?;
    Ok(kernels::cross_entropy(&hidden, decoder.head(), &batch.targets, n_supervised)?)
}
