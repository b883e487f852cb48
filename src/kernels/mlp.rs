//! How are the gate and the up projection joined?

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::bytemuck;
use rayon::prelude::*;

use super::blocks::own;
use super::buffer::Buffer;
use super::cpu::{is_fast, level, values, with_values};
use super::elementwise::{exp, vectorised};
use super::half_floats;
use super::packed::{Room, Rows};

/// SwiGLU: `silu(gate) · up`, value by value (Shazeer 2020). The rows (n, 2 · intermediate) hold the gate,
/// then the way up; the result is (n, intermediate).
pub(super) fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    if is_fast(&[gate_up]) { gate_up.apply_op1(SwiGlu) } else { swiglu_portable(gate_up) }
}

pub(super) fn swiglu_portable(gate_up: &Tensor) -> Result<Tensor> {
    let inner = gate_up.dim(1)? / 2;
    gate_up.narrow(1, 0, inner)?.silu()? * gate_up.narrow(1, inner, inner)?
}

struct SwiGlu;

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, gate_up: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, width) = layout.shape().dims2()?;
        let inner = width / 2;
        let y = join_all(values(gate_up, layout)?, inner);
        Ok((CpuStorage::F32(y), Shape::from((n, inner))))
    }

    fn bwd(&self, gate_up: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let inner = gate_up.dim(1)? / 2;
        let mut gradient = vec![0.0_f32; gate_up.elem_count()];
        with_values(gate_up, |gate_up| {
            with_values(dy, |dy| {
                let inputs = gate_up.par_chunks(2 * inner).zip(dy.par_chunks(inner));
                gradient.par_chunks_mut(2 * inner).zip(inputs).for_each(|(gradient, (row, dy))| {
                    let ((gate, up), (d_gate, d_up)) = (row.split_at(inner), gradient.split_at_mut(inner));
                    backward_row((gate, up, dy), &mut Buffer::new(inner), (d_gate, d_up));
                });
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(gradient, gate_up.shape(), gate_up.device())?))
    }
}

/// SwiGLU of rows (n, 2 · `inner`) on all threads.
pub(super) fn join_all(gate_up: &[f32], inner: usize) -> Vec<f32> {
    let mut y = vec![0.0; gate_up.len() / 2];
    let rows = gate_up.par_chunks(2 * inner);
    y.par_chunks_mut(inner).zip(rows).for_each(|(y, row)| join_rows(row, inner, y));
    y
}

/// SwiGLU of rows (n, 2 · `inner`) on this thread.
pub(super) fn join_rows(gate_up: &[f32], inner: usize, y: &mut [f32]) {
    for (y, row) in y.chunks_exact_mut(inner).zip(gate_up.chunks_exact(2 * inner)) {
        let (gate, up) = row.split_at(inner);
        forward_row(gate, up, y);
    }
}

/// Room that gate and way up of a row (2 · `inner`) take until the backward pass, in values of float32. They are half of
/// what a layer keeps, and wait in half floats where products are of rounded values anyway.
pub fn kept_width(inner: usize) -> usize {
    if level().rounds() { inner } else { 2 * inner }
}

/// Calls `make` with room for gate and way up of some rows, joins them in `room` (n, `inner`), and keeps them for the
/// backward pass in `kept` (n, [`kept_width`]).
pub(super) fn join_and_keep<'a>(
    kept: &mut [f32],
    make: impl FnOnce(&mut [f32]),
    inner: usize,
    room: &'a mut Room,
) -> Rows<'a> {
    if !level().rounds() {
        make(kept);
        return room.fill(|rows, joined| join_rows(own(kept, &rows, 2 * inner), inner, joined));
    }
    let mut gate_up = Buffer::new(2 * kept.len());
    make(&mut gate_up);
    room.fill(|rows, joined| {
        let kept = kept[rows.start * inner..].chunks_exact_mut(inner);
        let rows = own(&gate_up, &rows, 2 * inner).chunks_exact(2 * inner);
        for ((row, joined), kept) in rows.zip(joined.chunks_exact_mut(inner)).zip(kept) {
            forward_row(&row[..inner], &row[inner..], joined);
            half_floats::narrow(row, bytemuck::cast_slice_mut(kept));
        }
    })
}

/// From rows that were kept and the gradient of what they were joined to: that again, in `joined` (n, `inner`), and
/// the gradient of gate and way up, in `d_gate_up` (n, 2 · `inner`).
pub(super) fn join_and_part(
    (kept, d_joined): (&[f32], &[f32]),
    inner: usize,
    (joined, d_gate_up): (&mut [f32], &mut [f32]),
) {
    let rounds = level().rounds();
    let mut room = Buffer::new(if rounds { 2 * inner } else { 0 });
    let inputs = kept.chunks_exact(kept_width(inner)).zip(d_joined.chunks_exact(inner));
    let outputs = joined.chunks_exact_mut(inner).zip(d_gate_up.chunks_exact_mut(2 * inner));
    for ((kept, dy), (y, gradient)) in inputs.zip(outputs) {
        let row = if rounds {
            half_floats::widen(bytemuck::cast_slice(kept), &mut room);
            &room[..]
        } else {
            kept
        };
        let ((gate, up), (d_gate, d_up)) = (row.split_at(inner), gradient.split_at_mut(inner));
        backward_row((gate, up, dy), y, (d_gate, d_up));
    }
}

/// Gate, up and the gradient of their product.
type Inputs<'a> = (&'a [f32], &'a [f32], &'a [f32]);

vectorised! {
fn forward_row<'a>(gate: &'a [f32], up: &'a [f32], y: &'a mut [f32]) -> () {
    for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
        *y = g / (1.0 + exp(-g)) * u;
    }
}

/// Makes the product again, since that is at hand, and gradients.
fn backward_row<'a>(inputs: Inputs<'a>, y: &'a mut [f32], gradient: (&'a mut [f32], &'a mut [f32])) -> () {
    let (gate, up, dy) = inputs;
    let outputs = y.iter_mut().zip(gradient.0.iter_mut()).zip(gradient.1.iter_mut());
    for (((y, dg), du), ((&g, &u), &dy)) in outputs.zip(gate.iter().zip(up).zip(dy)) {
        let sigmoid = 1.0 / (1.0 + exp(-g));
        let silu = g * sigmoid;
        *y = silu * u;
        *du = dy * silu;
        *dg = dy * u * (sigmoid + silu * (1.0 - sigmoid));
    }
}
}
