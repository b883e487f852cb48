//! What happens in one optimizer update?

use candle_core::Tensor;

use super::batch::Batch;
use super::optimizer::{AdamW, UpdateRule, gradients_of};
use crate::error::Result;
use crate::kernels;
use crate::model::Adapter;
use crate::model::decoder::Decoder;
use crate::model::lora::TrainableAdapter;

/// Loss before the update and the gradient's norm before clipping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// Mean nats per supervised token of all micro-steps together.
    pub loss: f64,
    /// Norm of the whole gradient.
    pub grad_norm: f64,
}

/// One optimizer update from the accumulated gradients of its micro-steps.
pub fn train_step(
    decoder: &Decoder,
    trainable: &TrainableAdapter,
    optimizer: &mut AdamW,
    (batches, rule): (&[Batch], UpdateRule),
) -> Result<StepResult> {
    let n_supervised = batches.iter().map(|b| b.targets.len()).sum();
    let mut loss = 0.0;
    let mut total: Option<Vec<Tensor>> = None;
    for batch in batches {
        let part = supervised_loss(decoder, &trainable.adapter, batch, n_supervised)?;
        loss += f64::from(part.to_scalar::<f32>()?);
        let grads = gradients_of(&trainable.vars, &mut part.backward()?)?;
        total = Some(match total {
            None => grads,
            Some(sums) => sums.iter().zip(&grads).map(|(a, b)| a + b).collect::<candle_core::Result<_>>()?,
        });
    }
    let grad_norm = optimizer.update(&trainable.vars, &total.unwrap_or_default(), rule)?;
    Ok(StepResult { loss, grad_norm })
}

/// Sum of the negative log-likelihoods, in nats, of the tokens the model must answer for, over
/// `n_supervised`. The vocabulary is looked at for those tokens alone.
fn supervised_loss(
    decoder: &Decoder,
    adapter: &Adapter,
    batch: &Batch,
    n_supervised: usize,
) -> Result<Tensor> {
    let lora = Some((adapter, 1.0));
    let hidden = decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?;
    let rows = Tensor::from_slice(&batch.rows, batch.rows.len(), hidden.device())?;
    let hidden = hidden.index_select(&rows, 0)?;
    Ok(kernels::cross_entropy(&hidden, decoder.head(), &batch.targets, n_supervised)?)
}
