//! How does a whole decoder layer run, forward and backward?
//!
//! One operator a layer. Everything but attention looks at one row at a time, so a block of rows goes through norm,
//! projections and MLP on one thread, in its cache; threads meet twice a layer each way. Kept for the backward pass
//! are the results of the projections; norms and the MLP's inner values are computed again.

mod answer;
mod backward;
mod forward;
mod stack;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::attention::{AttentionShape, attention_portable};
use super::cpu::{is_fast, values, with_values};
use super::linear::{Correction, FrozenLinear, PackedWeight, lora_linear};
use super::mlp::swiglu_portable;
use super::norm::{RmsNorm, rms_norm_portable};
#[cfg(test)]
pub(super) use answer::answer_layer_portable;
pub use answer::{CorrectedRows, RowCorrections, answer_layer};
use forward::Kept;
use stack::StackPlan;

/// The frozen weights of a layer of the Llama family.
#[derive(Debug)]
pub struct FrozenLayer {
    /// The norm before attention.
    pub attn_norm: RmsNorm,
    /// Queries, keys and values, one below the other: they read the same input.
    pub qkv: FrozenLinear,
    /// Attention's output.
    pub output: FrozenLinear,
    /// The norm before the MLP.
    pub ffn_norm: RmsNorm,
    /// The MLP's gate and its way up, one below the other.
    pub gate_up: FrozenLinear,
    /// The MLP's way down.
    pub down: FrozenLinear,
}

impl FrozenLayer {
    /// Its projections, in the order of the forward pass.
    pub fn stacks(&self) -> [&FrozenLinear; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }

    /// Their packed weights; `None` where the own operators don't run.
    fn packed(&self) -> Option<[&PackedWeight; 4]> {
        let [qkv, output, gate_up, down] = self.stacks();
        Some([qkv.packed()?, output.packed()?, gate_up.packed()?, down.packed()?])
    }
}

/// The low-rank corrections of a layer's projections, in the order of [`FrozenLayer::stacks`].
pub type LayerCorrections<'a> = [Vec<Correction<'a>>; 4];

/// A layer's new rows from `x` (n, hidden): `x + attention(norm(x))`, then that `+ mlp(norm(that))`, each projection
/// corrected by LoRA. `x` and the corrections get gradients.
pub fn decoder_layer(
    x: &Tensor,
    layer: &Arc<FrozenLayer>,
    (corrections, scaling): (&LayerCorrections, f64),
    shape: &Arc<AttentionShape>,
) -> Result<Tensor> {
    shape.check(x.dim(0)?)?;
    let lora: Vec<&Tensor> = corrections.iter().flatten().flat_map(|c| [c.a, c.b]).collect();
    if layer.packed().is_none() || !is_fast(&[x]) || !is_fast(&lora) {
        return decoder_layer_portable(x, layer, (corrections, scaling), shape);
    }
    let (plans, flat) = StackPlan::of_layer(layer, corrections)?;
    let keeps = x.track_op() || flat.track_op();
    let (layer, shape) = (layer.clone(), shape.clone());
    let op = Fused { layer, shape, plans, scaling: scaling as f32, keeps, kept: Mutex::default() };
    x.apply_op2(&flat, op)
}

/// The same in plain differentiable operations.
pub(super) fn decoder_layer_portable(
    x: &Tensor,
    layer: &FrozenLayer,
    (corrections, scaling): (&LayerCorrections, f64),
    shape: &AttentionShape,
) -> Result<Tensor> {
    let norm = |x: &Tensor, norm: &RmsNorm| rms_norm_portable(x, &norm.tensor(x.device())?, norm.eps());
    let project = |x: &Tensor, i: usize| lora_linear(x, layer.stacks()[i], &corrections[i], scaling);
    let attended = attention_portable(&project(&norm(x, &layer.attn_norm)?, 0)?, shape)?;
    let x = (x + project(&attended, 1)?)?;
    let inner = swiglu_portable(&project(&norm(&x, &layer.ffn_norm)?, 2)?)?;
    &x + project(&inner, 3)?
}

struct Fused {
    layer: Arc<FrozenLayer>,
    shape: Arc<AttentionShape>,
    plans: [StackPlan; 4],
    scaling: f32,
    /// Whether there will be a backward pass.
    keeps: bool,
    kept: Mutex<Option<Kept>>,
}

impl Fused {
    /// Rows of `x` (n, hidden).
    fn n_rows(&self, x: &[f32]) -> usize {
        x.len() / self.layer.qkv.dims().1
    }

    /// The packed weights and the plan of each stack.
    fn stacks(&self) -> Result<[(&PackedWeight, &StackPlan); 4]> {
        let Some([a, b, c, d]) = self.layer.packed() else { bail!("the layer is not packed") };
        let [p, q, r, s] = &self.plans;
        Ok([(a, p), (b, q), (c, r), (d, s)])
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "decoder-layer"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        lora: &CpuStorage,
        lora_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, kept) = self.forward(values(x, x_layout)?, values(lora, lora_layout)?)?;
        if self.keeps {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        lora: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(kept) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("decoder-layer: backward before forward, or twice")
        };
        let wanted = x.track_op();
        let (dx, d_lora) = with_values(x, |x_values| {
            with_values(lora, |lora| with_values(dy, |dy| self.backward((x_values, lora, dy), &kept, wanted)))
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        Ok((dx, Some(Tensor::from_vec(d_lora, lora.shape(), lora.device())?)))
    }
}
