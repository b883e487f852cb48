//! How do gradients come down through a layer?

use std::ops::Range;

use super::FusedLayer;
use super::forward::Kept;
use super::gradient::{Sides, write_gradients};
use super::stack::{Backward, StackPlan};
use crate::kernels::blocks::{each_rounded_block, own};
use crate::kernels::buffer::Buffer;
use crate::kernels::matmul::View;
use crate::kernels::mlp;
use crate::kernels::norm::Came;
use crate::kernels::packed::{Rows, room};

impl FusedLayer {
    /// Writes the gradient of what came in to `dx`, unless that is empty, and that of the layer's own LoRA weights to
    /// `d_own`. Threads that attention leaves free do something else `meanwhile`.
    pub(super) fn backward<R: Send>(
        &self,
        (stacks, dy): ([Backward; 4], &[f32]),
        kept: &Kept,
        (dx, d_own): (&mut [f32], &mut [f32]),
        meanwhile: impl FnOnce() -> R + Send,
    ) -> R {
        let (layer, n) = (&*self.layer, kept.n);
        let [qkv_stack, output_stack, gate_up_stack, down_stack] = stacks;
        let outputs = layer.stacks().map(|s| s.dims().0);
        let (hidden, inner, attended) = (layer.qkv.dims().1, layer.down.dims().1, layer.output.dims().1);
        let widths = self.plans.each_ref().map(StackPlan::width);
        let buffer = |width: usize| Buffer::new(n * width);
        let mut u = widths.map(buffer);
        let [u_qkv, u_output, u_gate_up, u_down] = &mut u;
        let (mut d_middle, mut d_attended) = (buffer(hidden), buffer(attended));
        // What gradients of LoRA's weights are made of: what the stacks read, and gradients of what they made. Where rows are
        // rounded, most are kept as that alone.
        let inputs = layer.stacks().map(|s| s.dims().1);
        let n_rounded = if self.rounds { n } else { 0 };
        let mut d_rooms = outputs.map(|width| room(n_rounded, width));
        let mut x_down = room(n_rounded, inner);
        let [d_qkv_room, d_output, d_gate_up_room, d_down] = &mut d_rooms;
        let unless_rounded = |width: usize| buffer(if self.rounds { 0 } else { width });
        let (mut joined, mut d_gate_up) = (unless_rounded(inner), unless_rounded(outputs[2]));
        let (mut h_attn, mut h_ffn) = (unless_rounded(hidden), unless_rounded(hidden));
        let (mut of_attention, mut d_qkv) = (unless_rounded(attended), unless_rounded(outputs[0]));
        let buffers = [
            (&mut joined[..], inner),
            (&mut d_gate_up[..], outputs[2]),
            (&mut h_ffn[..], hidden),
            (&mut of_attention[..], attended),
            (&mut d_middle[..], hidden),
            (&mut d_attended[..], attended),
            (&mut u_output[..], widths[1]),
            (&mut u_gate_up[..], widths[2]),
            (&mut u_down[..], widths[3]),
        ];
        let rooms = [&mut x_down, d_output, d_gate_up_room, d_down].map(|room| &mut room[..]);
        each_rounded_block(n, buffers, rooms, |(rows, buffers), rooms| {
            let n = rows.len();
            let [joined, d_gate_up, h, of_attention, d_middle, d_attended, u_output, u_gate_up, u_down] =
                buffers;
            let [x_down, d_output, d_gate_up_room, d_down] = rooms;
            let gate_up = own(&kept.gate_up, &rows, mlp::kept_width(inner));
            let plain_dy = own(dy, &rows, hidden);
            let dy = Rows::rounded(plain_dy, (n, hidden), d_down);
            let u = down_stack.thin(dy, n, u_down);
            let make = |inputs: Range<usize>, to: &mut [f32]| down_stack.inputs((dy, &u), n, inputs, to);
            let into = [(joined, x_down), (&mut *d_gate_up, &mut *d_gate_up_room)];
            mlp::join_and_part(gate_up, make, (n, inner, self.rounds), into);
            let d_gate_up = Rows::rounded_before(d_gate_up, outputs[2], d_gate_up_room);
            let u = gate_up_stack.thin(d_gate_up, n, u_gate_up);
            let mut dh = Buffer::new(n * hidden);
            gate_up_stack.rows(d_gate_up, &u, n, &mut dh);
            let middle = kept.came_to(1, &rows, hidden);
            if let Came::Plain(middle) = middle {
                layer.ffn_norm.rows(middle, h);
                kept.attended.rows(&self.shape, rows, of_attention);
            }
            layer.ffn_norm.rows_backward(middle, (&dh, plain_dy), d_middle);
            let d_middle = Rows::rounded(d_middle, (n, hidden), d_output);
            let u = output_stack.thin(d_middle, n, u_output);
            output_stack.rows(d_middle, &u, n, d_attended);
        });
        let attention = || kept.attended.backward(&kept.qkv, &d_attended, &self.shape);
        let (gradients, other) = rayon::join(attention, meanwhile);
        let dx_width = if dx.is_empty() { 0 } else { hidden };
        let buffers = [
            (dx, dx_width),
            (&mut h_attn[..], hidden),
            (&mut d_qkv[..], outputs[0]),
            (&mut u_qkv[..], widths[0]),
        ];
        each_rounded_block(n, buffers, [d_qkv_room], |(rows, [dx, h, d_qkv, u]), [d_qkv_room]| {
            let (n, first) = (rows.len(), rows.start);
            let x = kept.came_to(0, &rows, hidden);
            if let Came::Plain(x) = x {
                layer.attn_norm.rows(x, h);
            }
            let d_qkv = Rows::made((d_qkv, d_qkv_room), (n, outputs[0]), |r, to| {
                gradients.rows(&self.shape, first + r.start..first + r.end, to);
            });
            let u = qkv_stack.thin(d_qkv, n, u);
            if !dx.is_empty() {
                let mut dh = Buffer::new(n * hidden);
                qkv_stack.rows(d_qkv, &u, n, &mut dh);
                layer.attn_norm.rows_backward(x, (&dh, own(&d_middle, &rows, hidden)), dx);
            }
        });
        let [x_qkv, x_output, x_gate_up] = &kept.read;
        let x_rooms = [x_qkv, x_output, x_gate_up, &x_down];
        let x_plain = [&h_attn[..], &of_attention, &h_ffn, &joined];
        let d_plain = [&d_qkv[..], &d_middle, &d_gate_up, dy];
        let of = |i: usize| Sides {
            plan: &self.plans[i],
            x: (Rows::rounded_before(x_plain[i], inputs[i], x_rooms[i]), inputs[i]),
            dy: Rows::rounded_before(d_plain[i], outputs[i], &d_rooms[i]),
            x_thin: View::new(&kept.thin[i], n, widths[i]),
            dy_thin: View::new(&u[i], n, widths[i]),
        };
        write_gradients([0, 1, 2, 3].map(of), d_own);
        other
    }
}
