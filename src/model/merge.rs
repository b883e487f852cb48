//! What is a model with what it learnt folded in?

use candle_core::Tensor;

use super::adapter::Adapter;
use super::lora::Projection;
use super::weights::{LayerWeights, Weights};
use crate::error::{Error, Result};

/// The weights with `W + scaling · B A` in place of each projection that the adapter corrects. The result
/// is a plain model that needs no adapter; it gives the logits of base and adapter together, but for the
/// last digits.
///
/// # Errors
/// When the adapter belongs to a model of another shape.
pub fn merge(mut weights: Weights, adapter: &Adapter) -> Result<Weights> {
    let (n_layers, scaling) = (weights.layers.len(), adapter.config.scaling());
    if adapter.n_layers() != n_layers {
        return Err(Error::refused(
            format!("the adapter has {} layers, the model {n_layers}", adapter.n_layers()),
            format!("take the model it was trained on: {}", adapter.base),
        ));
    }
    for (layer, projection, pair) in adapter.pairs() {
        let weight = projection_of(&mut weights.layers[layer], projection);
        let correction = (pair.b.matmul(&pair.a)? * scaling)?;
        *weight = (&*weight + correction)?;
    }
    Ok(weights)
}

fn projection_of(layer: &mut LayerWeights, projection: Projection) -> &mut Tensor {
    match projection {
        Projection::Query => &mut layer.q,
        Projection::Key => &mut layer.k,
        Projection::Value => &mut layer.v,
        Projection::Output => &mut layer.o,
        Projection::Gate => &mut layer.gate,
        Projection::Up => &mut layer.up,
        Projection::Down => &mut layer.down,
    }
}
