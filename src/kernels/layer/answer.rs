//! How do new rows pass a layer whose earlier rows are cached?
//!
//! For answering: no gradient, and rows of different contenders stand beside each other. The many rows of a prompt go
//! through all that lies between attentions block by block, as in training. Token by token there are only a few; then
//! what lies between the products must cost nothing, so all of it happens on slices.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::FrozenLayer;
use crate::kernels::attention::{AttentionShape, CachedKeys, attend_cached, attend_rows};
use crate::kernels::blocks::try_each_block;
use crate::kernels::buffer::Buffer;
use crate::kernels::cpu::{is_fast, with_values};
use crate::kernels::linear::{Correction, FrozenLinear, add_low_rank, low_rank};
use crate::kernels::mlp::{join_all, join_rows, swiglu};
use crate::kernels::norm::rms_norm;
use crate::kernels::packed::{FEW_ROWS, Onto, Rows};

/// Some rows of an input and the corrections of their projection.
#[derive(Debug, Clone)]
pub struct CorrectedRows<'a> {
    /// The rows; those in no range stay as the base has them.
    pub rows: Range<usize>,
    /// The corrections.
    pub corrections: Vec<Correction<'a>>,
    /// What they are multiplied by.
    pub scaling: f64,
}

/// Who corrects which rows in each projection, in the order of [`FrozenLayer::stacks`].
pub type RowCorrections<'a> = [Vec<CorrectedRows<'a>>; 4];

/// A layer's new rows from `x` (n, hidden), `shape.lengths[i]` of them for `keys[i]`, to which theirs are added. No
/// gradient; CPU only.
pub fn answer_layer(
    x: &Tensor,
    layer: &FrozenLayer,
    parts: &RowCorrections,
    (shape, keys): (&AttentionShape, &mut [&mut CachedKeys]),
) -> Result<Tensor> {
    let lora = parts.iter().flatten().flat_map(|part| &part.corrections).flat_map(|c| [c.a, c.b]);
    if layer.packed().is_none() || !is_fast(&[x]) || !is_fast(&lora.collect::<Vec<_>>()) {
        return answer_layer_portable(x, layer, parts, (shape, keys));
    }
    let (n, mut x_rows) = (x.dim(0)?, with_values(x, |x| Ok(x.to_vec()))?);
    if n >= FEW_ROWS {
        answer_blocks((&mut x_rows, n), layer, parts, (shape, keys))?;
        return Tensor::from_vec(x_rows, x.shape(), x.device());
    }
    let project = |h: &[f32], i: usize| corrected((h, n), layer.stacks()[i], &parts[i]);
    let attended = attend_rows(&project(&layer.attn_norm.forward(&x_rows), 0)?, shape, keys);
    add(&mut x_rows, &project(&attended, 1)?);
    let gate_up = project(&layer.ffn_norm.forward(&x_rows), 2)?;
    add(&mut x_rows, &project(&join_all(&gate_up, layer.down.dims().1), 3)?);
    Tensor::from_vec(x_rows, x.shape(), x.device())
}

/// Takes many rows through the layer.
fn answer_blocks(
    (x, n): (&mut [f32], usize),
    layer: &FrozenLayer,
    parts: &RowCorrections,
    (shape, keys): (&AttentionShape, &mut [&mut CachedKeys]),
) -> Result<()> {
    let [qkv_width, hidden, gate_up_width, _] = layer.stacks().map(|stack| stack.dims().0);
    let (attended_width, inner) = (layer.output.dims().1, layer.down.dims().1);
    let mut qkv: Buffer = Buffer::new(n * qkv_width);
    try_each_block(n, [(&mut qkv[..], qkv_width)], |(rows, [qkv])| {
        let mut h = Buffer::new(rows.len() * hidden);
        layer.attn_norm.rows(&x[rows.start * hidden..rows.end * hidden], &mut h);
        project_block((&h, &rows), (&layer.qkv, &parts[0]), (qkv, Onto::Nothing))
    })?;
    let attended = attend_rows(&qkv, shape, keys);
    try_each_block(n, [(x, hidden)], |(rows, [x])| {
        let own = &attended[rows.start * attended_width..rows.end * attended_width];
        project_block((own, &rows), (&layer.output, &parts[1]), (x, Onto::Sum))?;
        let mut h = Buffer::new(rows.len() * hidden);
        layer.ffn_norm.rows(x, &mut h);
        let mut gate_up: Buffer = Buffer::new(rows.len() * gate_up_width);
        project_block((&h, &rows), (&layer.gate_up, &parts[2]), (&mut gate_up, Onto::Nothing))?;
        let mut joined = Buffer::new(rows.len() * inner);
        join_rows(&gate_up, inner, &mut joined);
        project_block((&joined, &rows), (&layer.down, &parts[3]), (x, Onto::Sum))
    })
}

/// The projection of a block of rows on this thread, some of them corrected.
fn project_block(
    (x, rows): (&[f32], &Range<usize>),
    (base, parts): (&FrozenLinear, &[CorrectedRows]),
    (y, onto): (&mut [f32], Onto),
) -> Result<()> {
    let (d_out, d_in) = base.dims();
    let Some(packed) = base.packed() else { bail!("a projection of the layer is not packed") };
    packed.forward().multiply(Rows::new(x, d_in), rows.len(), (&mut *y, d_out), onto);
    for part in parts {
        let own = part.rows.start.max(rows.start)..part.rows.end.min(rows.end);
        if own.is_empty() {
            continue;
        }
        let (at, n) = (own.start - rows.start, own.len());
        for correction in &part.corrections {
            let y = &mut y[at * d_out + correction.start..];
            let x = &x[at * d_in..(at + n) * d_in];
            add_low_rank((x, n), correction, part.scaling as f32, (y, d_out))?;
        }
    }
    Ok(())
}

/// The same in plain operations, but for attention.
pub(in crate::kernels) fn answer_layer_portable(
    x: &Tensor,
    layer: &FrozenLayer,
    parts: &RowCorrections,
    (shape, keys): (&AttentionShape, &mut [&mut CachedKeys]),
) -> Result<Tensor> {
    let project = |x: &Tensor, i: usize| corrected_portable(x, layer.stacks()[i], &parts[i]);
    let attended = attend_cached(&project(&rms_norm(x, &layer.attn_norm)?, 0)?, shape, keys)?;
    let x = (x + project(&attended, 1)?)?;
    let inner = swiglu(&project(&rms_norm(&x, &layer.ffn_norm)?, 2)?)?;
    &x + project(&inner, 3)?
}

/// The projection of `n` rows, some of them corrected.
fn corrected((x, n): (&[f32], usize), base: &FrozenLinear, parts: &[CorrectedRows]) -> Result<Vec<f32>> {
    let (d_out, d_in) = base.dims();
    let mut y = base.answer_rows(x, n)?;
    for part in parts {
        let own = (&x[part.rows.start * d_in..part.rows.end * d_in], part.rows.len());
        for correction in &part.corrections {
            let y = &mut y[part.rows.start * d_out + correction.start..];
            add_low_rank(own, correction, part.scaling as f32, (y, d_out))?;
        }
    }
    Ok(y)
}

fn corrected_portable(x: &Tensor, base: &FrozenLinear, parts: &[CorrectedRows]) -> Result<Tensor> {
    let y = base.answer(x)?;
    let (n, width) = y.dims2()?;
    let mut rows = Vec::new();
    let mut done = 0;
    for part in parts.iter().filter(|part| !part.corrections.is_empty()) {
        if part.rows.start > done {
            rows.push(y.narrow(0, done, part.rows.start - done)?);
        }
        let own = |t: &Tensor| t.narrow(0, part.rows.start, part.rows.len());
        let correction = (low_rank(&own(x)?.contiguous()?, &part.corrections, width)? * part.scaling)?;
        rows.push((own(&y)? + correction)?);
        done = part.rows.end;
    }
    if done < n {
        rows.push(y.narrow(0, done, n - done)?);
    }
    Tensor::cat(&rows, 0)
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
