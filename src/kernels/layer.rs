//! How do whole decoder layers run, forward and backward?
//!
//! All layers are one operator, so nothing stands between them. Everything but attention looks at one row at a time, so
//! a block of rows goes through norm, projections and MLP on one thread, in its cache; apart from attention threads meet
//! twice a layer each way, and once for LoRA's gradients. Kept for the backward pass are the results of a layer's projections
//! and its input, or what its norms make of that and of the rows in its middle, where that is rounded; the MLP's inner values,
//! and else norms, are computed again.

mod answer;
mod backward;
mod forward;
mod gradient;
mod stack;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::among_threads;
use super::attention::{AttentionShape, attention_portable};
use super::buffer::Buffer;
use super::cpu::{is_fast, level, values, with_values};
use super::linear::{Correction, FrozenLinear, PackedWeight, lora_linear};
use super::mlp::swiglu_portable;
use super::norm::{RmsNorm, rms_norm_portable};
use super::rounding::can_begin;
#[cfg(test)]
pub(super) use answer::answer_layer_portable;
pub use answer::{CorrectedRows, RowCorrections, answer_layer};
use forward::Kept;
use stack::{Backward, Forward, StackPlan};

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

/// What LoRA adds to the layers of a model.
#[derive(Debug, Clone, Default)]
pub struct Corrections<'a> {
    /// Those of each layer; empty where no layer has any.
    pub layers: Vec<LayerCorrections<'a>>,
    /// What all are multiplied by.
    pub scaling: f64,
    /// Their weights in one vector, of which they are views, where they stand so: layer by layer, stack by stack, first
    /// every `A`, then every `B`. It then gets their gradients as one.
    pub flat: Option<&'a Tensor>,
    /// Where that gradient goes, if not through candle; the vector must be a variable.
    pub gradient: Option<&'a FlatGradient>,
}

/// Where gradients of a flat vector add up. Candle would clear a vector as long for each backward pass, and add the gradient
/// to it.
#[derive(Debug, Clone, Default)]
pub struct FlatGradient(Arc<Mutex<Option<Vec<f32>>>>);

impl FlatGradient {
    /// The sum of what backward passes left here since it was taken last; `None` if there was none.
    pub fn take(&self) -> Option<Vec<f32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a gradient.
    ///
    /// # Panics
    /// When it is not as long as those before: a fault of the caller.
    pub fn add(&self, gradient: Vec<f32>) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *sum {
            None => *sum = Some(gradient),
            Some(sum) => {
                assert_eq!(sum.len(), gradient.len(), "gradients of different vectors");
                sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

impl Corrections<'_> {
    fn of_layer(&self, layer: usize) -> LayerCorrections<'_> {
        self.layers.get(layer).cloned().unwrap_or_default()
    }

    fn in_one_vector(&self) -> Result<Tensor> {
        let of_stack = |stack: &Vec<Correction>| {
            let (a, b) = (stack.iter().map(|c| c.a.flatten_all()), stack.iter().map(|c| c.b.flatten_all()));
            a.chain(b).collect::<Vec<_>>()
        };
        let parts = self.layers.iter().flatten().flat_map(of_stack).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }
}

/// Room that the rows before a layer's norms and those of its attention (`attended` wide) take until the backward pass, for one
/// of them, in values of float32. Where products round them they wait as that, and rows before a norm as what it made of them
/// (but those of a layer whose widths do not allow it, of which this knows nothing).
pub fn kept_rows_width(hidden: usize, attended: usize) -> usize {
    let width = 2 * hidden + attended;
    if level().is_bfloat16() { width.div_ceil(2) } else { width }
}

/// The rows (n, hidden) that come out of all layers. Each makes `x + attention(norm(x))` of its rows, then that
/// `+ mlp(norm(that))`, every projection corrected by LoRA. `x` and the corrections get gradients.
pub fn decoder_layers(
    x: &Tensor,
    layers: &[Arc<FrozenLayer>],
    lora: &Corrections,
    shape: &Arc<AttentionShape>,
) -> Result<Tensor> {
    shape.check(x.dim(0)?)?;
    let loose = lora.layers.iter().flatten().flatten().flat_map(|c| [c.a, c.b]);
    let operands: Vec<&Tensor> = lora.flat.into_iter().chain(loose).chain([x]).collect();
    if layers.is_empty() || layers.iter().any(|l| l.packed().is_none()) || !is_fast(&operands) {
        return decoder_layers_portable(x, layers, lora, shape);
    }
    let (mut plans, mut n) = (Vec::with_capacity(layers.len()), 0);
    for (i, layer) in layers.iter().enumerate() {
        let own = StackPlan::of_layer(layer, &lora.of_layer(i), n)?;
        n += own.iter().map(StackPlan::n_values).sum::<usize>();
        plans.push(own);
    }
    let flat = match lora.flat {
        Some(flat) if flat.elem_count() == n => flat.clone(),
        Some(flat) => bail!("{n} weights of LoRA in a vector of {}", flat.elem_count()),
        // An operator's operand cannot be empty.
        None if n == 0 => Tensor::zeros(1, DType::F32, x.device())?,
        None => lora.in_one_vector()?,
    };
    let keeps = x.track_op() || flat.track_op();
    let fused = |(layer, plans): (&Arc<FrozenLayer>, [StackPlan; 4])| {
        let (layer, shape, rounds) = (layer.clone(), shape.clone(), can_round(layer, &plans));
        FusedLayer { layer, shape, plans, scaling: lora.scaling as f32, rounds }
    };
    let layers = layers.iter().zip(plans).map(fused).collect();
    // Candle wants a gradient of all that is no variable.
    let gradient = lora.gradient.filter(|_| flat.is_variable()).cloned();
    x.apply_op2(&flat, Fused { layers, keeps, kept: Mutex::default(), gradient })
}

/// The same in plain differentiable operations.
pub(super) fn decoder_layers_portable(
    x: &Tensor,
    layers: &[Arc<FrozenLayer>],
    lora: &Corrections,
    shape: &AttentionShape,
) -> Result<Tensor> {
    let mut x = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        x = decoder_layer_portable(&x, layer, (&lora.of_layer(i), lora.scaling), shape)?;
    }
    Ok(x)
}

fn decoder_layer_portable(
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

/// A layer ready for both passes.
struct FusedLayer {
    layer: Arc<FrozenLayer>,
    shape: Arc<AttentionShape>,
    plans: [StackPlan; 4],
    scaling: f32,
    /// Whether rows are kept as they were rounded for products.
    rounds: bool,
}

/// Whether rows of a layer can be kept as they were rounded for products: they can be used from where each correction begins,
/// and by the norms' backward pass.
fn can_round(layer: &FrozenLayer, plans: &[StackPlan; 4]) -> bool {
    let mut starts = plans.iter().flat_map(|plan| &plan.blocks).map(|block| block.start);
    let norms = [&layer.attn_norm, &layer.ffn_norm].into_iter().all(RmsNorm::can_be_undone);
    level().is_bfloat16() && norms && can_begin(layer.down.dims().1) && starts.all(can_begin)
}

impl FusedLayer {
    /// Rows of `x` (n, hidden).
    fn n_rows(&self, x: &[f32]) -> usize {
        x.len() / self.layer.qkv.dims().1
    }

    /// Its stacks, ready for the forward pass.
    fn ready_forward(&self, flat: &[f32]) -> Result<[Forward<'_>; 4]> {
        Ok(self.stacks()?.map(|(base, plan)| Forward::new(base, plan, flat, self.scaling)))
    }

    /// Its stacks, ready for the backward pass.
    fn ready_backward(&self, flat: &[f32]) -> Result<[Backward<'_>; 4]> {
        Ok(self.stacks()?.map(|(base, plan)| Backward::new(base, plan, flat, self.scaling)))
    }

    /// The packed weights and the plan of each stack.
    fn stacks(&self) -> Result<[(&PackedWeight, &StackPlan); 4]> {
        let Some([a, b, c, d]) = self.layer.packed() else { bail!("the layer is not packed") };
        let [p, q, r, s] = &self.plans;
        Ok([(a, p), (b, q), (c, r), (d, s)])
    }

    /// Its weights of LoRA.
    fn n_weights(&self) -> usize {
        self.plans.iter().map(StackPlan::n_values).sum()
    }
}

struct Fused {
    layers: Vec<FusedLayer>,
    /// Whether there will be a backward pass.
    keeps: bool,
    /// Of each layer.
    kept: Mutex<Vec<Kept>>,
    gradient: Option<FlatGradient>,
}

impl Fused {
    fn forward(&self, x: &[f32], flat: &[f32]) -> Result<(Vec<f32>, Vec<Kept>)> {
        let (mut kept, mut rows) = (Vec::new(), Buffer::copied(x));
        let ready = |i: usize| self.layers.get(i).map(|layer| layer.ready_forward(flat));
        let mut stacks = ready(0);
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(of_layer) = stacks else { bail!("decoder-layers: a layer without stacks") };
            let mut y = Buffer::new(x.len());
            let (own, next) = layer.forward(of_layer?, rows, &mut y, || ready(i + 1));
            stacks = next;
            if self.keeps {
                kept.push(own);
            }
            rows = y;
        }
        Ok((rows.to_vec(), kept))
    }

    /// The gradients of `x`, if it is wanted, and of the flat vector of LoRA weights.
    fn backward(
        &self,
        (flat, dy): (&[f32], &[f32]),
        mut kept: Vec<Kept>,
        wanted: bool,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let (mut d_flat, mut dy) = (vec![0.0; flat.len()], Buffer::copied(dy));
        let mut rest = &mut d_flat[..self.layers.iter().map(FusedLayer::n_weights).sum()];
        let ready = |i: Option<usize>| self.layers.get(i?).map(|layer| layer.ready_backward(flat));
        let mut stacks = ready(self.layers.len().checked_sub(1));
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (Some(own), Some(of_layer)) = (kept.pop(), stacks) else {
                bail!("decoder-layers: backward before forward, or twice")
            };
            let (before, d_own) = rest.split_at_mut(rest.len() - layer.n_weights());
            rest = before;
            let mut dx = Buffer::new(if i > 0 || wanted { dy.len() } else { 0 });
            stacks = layer.backward((of_layer?, &dy), &own, (&mut dx, d_own), || ready(i.checked_sub(1)));
            dy = dx;
        }
        Ok((wanted.then(|| dy.to_vec()), d_flat))
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "decoder-layers"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        lora: &CpuStorage,
        lora_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, lora) = (values(x, x_layout)?, values(lora, lora_layout)?);
        let (y, kept) = among_threads(|| self.forward(x, lora))?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        lora: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted = x.track_op();
        let (dx, d_lora) = with_values(lora, |lora| {
            with_values(dy, |dy| among_threads(|| self.backward((lora, dy), kept, wanted)))
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        if let Some(sum) = &self.gradient {
            sum.add(d_lora);
            return Ok((dx, None));
        }
        Ok((dx, Some(Tensor::from_vec(d_lora, lora.shape(), lora.device())?)))
    }
}
