//! How are the gate and the up projection joined?

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pulp::bytemuck;
use rayon::prelude::*;

use super::bfloat16::STEP;
use super::blocks::own;
use super::buffer::Buffer;
use super::cpu::{is_fast, level, values, with_values};
use super::elementwise::{exp, vectorised};
use super::half_floats;
use super::matmul::View;
use super::packed::{Room, Rows};
use super::rounding::{DEPTH, lhs_len, round_columns};
use super::turn::Line;

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

/// Columns of gate and way up that are made at one time: where rows are rounded to bfloat16, as many as stay in the second
/// cache with the rows of a block; else all.
fn columns_of(inner: usize, is_rounded: bool) -> impl Iterator<Item = Range<usize>> {
    const TOGETHER: usize = 6 * DEPTH;
    let n = if is_rounded { TOGETHER } else { inner.max(1) };
    (0..inner).step_by(n).map(move |start| start..(start + n).min(inner))
}

/// Calls `make` for columns of gate and way up of `n` rows and room for them, joins them in `room` (n, `inner`), and keeps
/// them for the backward pass in `kept` (n, [`kept_width`]): some columns after others, of which those of the gate first. Where
/// rows are rounded, `inner` is a multiple of 32.
pub(super) fn join_and_keep<'a>(
    mut kept: &mut [f32],
    make: impl Fn(Range<usize>, &mut [f32]),
    (n, inner, is_rounded): (usize, usize, bool),
    room: &'a mut Room,
) -> Rows<'a> {
    let rounds = level().rounds();
    for columns in columns_of(inner, is_rounded) {
        let width = columns.len();
        let (these, others) = kept.split_at_mut(n * kept_width(width));
        kept = others;
        let mut wide = Buffer::new(if rounds { 2 * n * width } else { 0 });
        let (gate_up, bits) = if rounds { (&mut wide[..], these) } else { (these, &mut [][..]) };
        let (gate, up) = gate_up.split_at_mut(n * width);
        make(columns.clone(), gate);
        make(inner + columns.start..inner + columns.end, up);
        room.fill_columns(columns, |rows, joined| {
            forward_row(own(gate, &rows, width), own(up, &rows, width), joined);
        });
        if rounds {
            half_floats::narrow(gate_up, bytemuck::cast_slice_mut(bits));
        }
    }
    room.rows()
}

/// From `n` rows that were kept and the gradient of what they were joined to, which `make` makes for some columns: that
/// again (n, `inner`), then the gradient of gate and way up (n, 2 · `inner`). Each is written to where rows stand as they
/// are, or rounded where there is room.
pub(super) fn join_and_part(
    mut kept: &[f32],
    make: impl Fn(Range<usize>, &mut [f32]),
    (n, inner, is_rounded): (usize, usize, bool),
    [(joined, joined_room), (d_gate_up, d_room)]: [(&mut [f32], &mut [Line]); 2],
) {
    let together = if is_rounded { STEP } else { 1 };
    for columns in columns_of(inner, is_rounded) {
        let width = columns.len();
        let (these, others) = kept.split_at(n * kept_width(width));
        kept = others;
        let mut d_joined = Buffer::new(n * width);
        make(columns.clone(), &mut d_joined);
        let mut room = Buffer::new(5 * together * width);
        for from in (0..n).step_by(together) {
            let rows = from..(from + together).min(n);
            let (wide, made) = room.split_at_mut(2 * together * width);
            let (gate, up) = gate_and_up(these, (n, width), &rows, wide);
            let inputs = (gate, up, own(&d_joined, &rows, width));
            if !is_rounded {
                let (d_gate, d_up) = d_gate_up[2 * from * inner..][..2 * inner].split_at_mut(inner);
                backward_row(inputs, &mut joined[from * inner..][..inner], (d_gate, d_up));
                continue;
            }
            let (joined, gradient) = made.split_at_mut(together * width);
            let (d_gate, d_up) = gradient.split_at_mut(together * width);
            backward_row(inputs, joined, (d_gate, d_up));
            let round = |values: &[f32], room: &mut [Line], (depth, column): (usize, usize)| {
                let lines = &mut room[lhs_len(from, depth)..];
                round_columns(View::new(values, rows.len(), width), lines, (depth, column));
            };
            round(joined, joined_room, (inner, columns.start));
            round(d_gate, d_room, (2 * inner, columns.start));
            round(d_up, d_room, (2 * inner, inner + columns.start));
        }
    }
}

/// Gate and way up of some of `n` rows, of which some columns were kept; made numbers again in `room` where they wait in half
/// floats.
fn gate_and_up<'a>(
    kept: &'a [f32],
    (n, width): (usize, usize),
    rows: &Range<usize>,
    room: &'a mut [f32],
) -> (&'a [f32], &'a [f32]) {
    let of_up = n + rows.start..n + rows.end;
    if !level().rounds() {
        return (own(kept, rows, width), own(kept, &of_up, width));
    }
    let bits: &[u16] = bytemuck::cast_slice(kept);
    let (gate, up) = room[..2 * rows.len() * width].split_at_mut(rows.len() * width);
    half_floats::widen(&bits[rows.start * width..rows.end * width], gate);
    half_floats::widen(&bits[of_up.start * width..of_up.end * width], up);
    (gate, up)
}

/// Gate, up and the gradient of their product.
type Inputs<'a> = (&'a [f32], &'a [f32], &'a [f32]);

vectorised! {
/// SwiGLU of values, however many rows they are.
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
