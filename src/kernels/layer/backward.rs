//! How do gradients come down through a layer?

use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::FusedLayer;
use super::forward::{Kept, on_all_threads};
use super::stack::{Backward, StackPlan};
use crate::kernels::attention::attend_backward;
use crate::kernels::blocks::each_block;
use crate::kernels::buffer::Buffer;
use crate::kernels::matmul::{Product, View};
use crate::kernels::mlp;

/// One gradient of a LoRA weight: `leftᵀ · right`, summed over all rows.
struct Task<'a> {
    left: View<'a>,
    right: View<'a>,
    gradient: &'a mut [f32],
}

impl Task<'_> {
    fn run(self) {
        let (left, right, gradient) = (self.left, self.right, self.gradient);
        let (height, width) = (left.dims().1, right.dims().1);
        if width >= height {
            return Product::new(left.t(), right).on_one_thread().write(gradient, width);
        }
        // The other way round: products are fast along rows that are long.
        let mut turned = Buffer::new(gradient.len());
        Product::new(right.t(), left).on_one_thread().write(&mut turned, height);
        for (i, row) in gradient.chunks_exact_mut(width).enumerate() {
            row.iter_mut().zip(turned[i..].iter().step_by(height)).for_each(|(to, &value)| *to = value);
        }
    }
}

impl FusedLayer {
    /// Writes the gradient of what came in to `dx`, unless that is empty, and that of the layer's own LoRA weights to
    /// `d_own`.
    pub(super) fn backward(
        &self,
        (flat, dy): (&[f32], &[f32]),
        kept: &Kept,
        dx: &mut [f32],
        d_own: &mut [f32],
    ) -> Result<()> {
        let (layer, n, x) = (&*self.layer, self.n_rows(&kept.x), &kept.x[..]);
        let of = |(base, plan)| Backward::new(base, plan, flat, self.scaling);
        let [qkv_stack, output_stack, gate_up_stack, down_stack] = on_all_threads(self.stacks()?, of);
        let outputs = layer.stacks().map(|s| s.dims().0);
        let (hidden, inner, attended) = (layer.qkv.dims().1, layer.down.dims().1, layer.output.dims().1);
        let widths = self.plans.each_ref().map(StackPlan::width);
        let buffer = |width: usize| Buffer::new(n * width);
        let mut u = widths.map(buffer);
        let [u_qkv, u_output, u_gate_up, u_down] = &mut u;
        let (mut joined, mut d_gate_up, mut h_ffn) = (buffer(inner), buffer(outputs[2]), buffer(hidden));
        let (mut d_middle, mut d_attended) = (buffer(hidden), buffer(attended));
        let buffers = [
            (&mut joined[..], inner),
            (&mut d_gate_up[..], outputs[2]),
            (&mut h_ffn[..], hidden),
            (&mut d_middle[..], hidden),
            (&mut d_attended[..], attended),
            (&mut u_output[..], widths[1]),
            (&mut u_gate_up[..], widths[2]),
            (&mut u_down[..], widths[3]),
        ];
        each_block(
            n,
            buffers,
            |(rows, [joined, d_gate_up, h, d_middle, d_attended, u_output, u_gate_up, u_down])| {
                let n = rows.len();
                let dy = own(dy, &rows, hidden);
                let gate_up = own(&kept.gate_up, &rows, mlp::kept_width(inner));
                let middle = own(&kept.middle, &rows, hidden);
                down_stack.thin(dy, n, u_down);
                let mut d_joined = Buffer::new(n * inner);
                down_stack.rows(dy, u_down, n, &mut d_joined);
                mlp::with_kept(gate_up, |gate_up| {
                    mlp::join_rows(gate_up, inner, joined);
                    mlp::part_rows(gate_up, &d_joined, inner, d_gate_up);
                });
                drop(d_joined);
                gate_up_stack.thin(d_gate_up, n, u_gate_up);
                let mut dh = Buffer::new(n * hidden);
                gate_up_stack.rows(d_gate_up, u_gate_up, n, &mut dh);
                layer.ffn_norm.rows(middle, h);
                layer.ffn_norm.rows_backward(middle, &dh, d_middle);
                add(d_middle, dy);
                output_stack.thin(d_middle, n, u_output);
                output_stack.rows(d_middle, u_output, n, d_attended);
            },
        );
        let mut d_qkv = buffer(outputs[0]);
        attend_backward((&kept.qkv, &kept.attended, &d_attended), &self.shape, &kept.log_sums, &mut d_qkv);
        let mut h_attn = buffer(hidden);
        let dx_width = if dx.is_empty() { 0 } else { hidden };
        let buffers = [(dx, dx_width), (&mut h_attn[..], hidden), (&mut u_qkv[..], widths[0])];
        each_block(n, buffers, |(rows, [dx, h, u])| {
            let n = rows.len();
            let x = own(x, &rows, hidden);
            let d_qkv = own(&d_qkv, &rows, outputs[0]);
            layer.attn_norm.rows(x, h);
            qkv_stack.thin(d_qkv, n, u);
            if !dx.is_empty() {
                let mut dh = Buffer::new(n * hidden);
                qkv_stack.rows(d_qkv, u, n, &mut dh);
                layer.attn_norm.rows_backward(x, &dh, dx);
                add(dx, own(&d_middle, &rows, hidden));
            }
        });
        let inputs = [&h_attn[..], &kept.attended, &h_ffn, &joined];
        let d_outputs = [&d_qkv[..], &d_middle, &d_gate_up, dy];
        let mut tasks = Vec::new();
        let mut rest = d_own;
        for (i, plan) in self.plans.iter().enumerate() {
            let (da, dbs, others) = plan.split(rest);
            rest = others;
            let (width, d_in) = (widths[i], layer.stacks()[i].dims().1);
            if width == 0 {
                continue;
            }
            tasks.push(Task {
                left: View::new(&u[i], n, width),
                right: View::new(inputs[i], n, d_in),
                gradient: da,
            });
            for (j, (block, db)) in plan.blocks.iter().zip(dbs).enumerate() {
                let left = View::strided(&d_outputs[i][block.start..], (n, block.len()), outputs[i]);
                let right = View::strided(&kept.thin[i][j * plan.rank..], (n, plan.rank), width);
                tasks.push(Task { left, right, gradient: db });
            }
        }
        // The largest first: then all threads end at about the same time.
        tasks.sort_by_key(|t| std::cmp::Reverse(t.gradient.len()));
        tasks.into_par_iter().with_max_len(1).for_each(Task::run);
        Ok(())
    }
}

/// The values of some rows.
fn own<'a>(values: &'a [f32], rows: &Range<usize>, width: usize) -> &'a [f32] {
    &values[rows.start * width..rows.end * width]
}

fn add(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(s, &v)| *s += v);
}
