//! How do rows go up through a layer?

use std::ops::Range;

use super::FusedLayer;
use super::stack::{Forward, StackPlan};
use crate::kernels::attention::Attended;
use crate::kernels::blocks::{each_rounded_block, own};
use crate::kernels::buffer::Buffer;
use crate::kernels::mlp;
use crate::kernels::norm::Came;
use crate::kernels::packed::{Onto, Room, room};
use crate::kernels::rounding::Rounded;
use crate::kernels::turn::Line;

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(super) struct Kept {
    /// Rows.
    pub(super) n: usize,
    /// What came in (n, hidden), unless it is known from what the first stack reads.
    pub(super) x: Buffer,
    /// Queries, keys and values before rotation (n, width).
    pub(super) qkv: Buffer,
    pub(super) attended: Attended,
    /// What the first three stacks read (n, in), where rows are rounded for products; else it is made again.
    pub(super) read: [Buffer<Line>; 3],
    /// The rows between attention and MLP (n, hidden), unless they are known from what the third stack reads.
    pub(super) middle: Buffer,
    /// One over the sizes of rows that are known so (n): those that came in, and those between.
    pub(super) inverse: [Buffer; 2],
    /// (n, 2 · intermediate), as [`mlp::join_and_keep`] keeps it: each block of rows on its own, so that the backward pass must
    /// take the same.
    pub(super) gate_up: Buffer,
    /// `s x Aᵀ` of each stack (n, its width).
    pub(super) thin: [Buffer; 4],
}

impl Kept {
    /// What came to a layer's first or second norm in some rows: a block's.
    pub(super) fn came_to(&self, norm: usize, rows: &Range<usize>, hidden: usize) -> Came<'_> {
        if self.inverse[norm].is_empty() {
            return Came::Plain(own([&self.x, &self.middle][norm], rows, hidden));
        }
        let normed = Rounded::of(&self.read[2 * norm], hidden).below(rows.start);
        Came::Normed(normed, &self.inverse[norm][rows.clone()])
    }
}

impl FusedLayer {
    /// Writes the new rows to `y`. Threads that attention leaves free do something else `meanwhile`.
    pub(super) fn forward<R: Send>(
        &self,
        stacks: [Forward; 4],
        x: Buffer,
        y: &mut [f32],
        meanwhile: impl FnOnce() -> R + Send,
    ) -> (Kept, R) {
        let (layer, n) = (&*self.layer, self.n_rows(&x));
        let [qkv_stack, output_stack, gate_up_stack, down_stack] = stacks;
        let outputs = layer.stacks().map(|s| s.dims().0);
        let (hidden, inner, width) = (layer.qkv.dims().1, layer.down.dims().1, layer.output.dims().1);
        let buffer = |width: usize| Buffer::new(n * width);
        let widths = self.plans.each_ref().map(StackPlan::width);
        let n_rounded = if self.rounds { n } else { 0 };
        let (one, own_width) = (usize::from(self.rounds), |width| if self.rounds { 0 } else { width });
        let mut kept = Kept {
            n,
            x,
            qkv: buffer(outputs[0]),
            attended: Attended::default(),
            read: [hidden, width, hidden].map(|width| room(n_rounded, width)),
            middle: buffer(own_width(hidden)),
            inverse: [Buffer::new(n_rounded), Buffer::new(n_rounded)],
            gate_up: buffer(mlp::kept_width(inner)),
            thin: widths.map(buffer),
        };
        let x = &kept.x[..];
        let [thin_qkv, thin_output, thin_gate_up, thin_down] = &mut kept.thin;
        let [read_qkv, read_output, read_gate_up] = kept.read.each_mut().map(|room| &mut room[..]);
        let [inverse_attn, inverse_ffn] = kept.inverse.each_mut().map(|inverse| (&mut inverse[..], one));
        let buffers = [(&mut kept.qkv[..], outputs[0]), (&mut thin_qkv[..], widths[0]), inverse_attn];
        each_rounded_block(n, buffers, [read_qkv], |(rows, [qkv, thin, inverse]), [lines]| {
            let n = rows.len();
            let (x, mut room) = (own(x, &rows, hidden), Room::within(lines, n, hidden));
            let h = room.fill(|rows, h| {
                let inverse = inverse.get_mut(rows.clone()).unwrap_or_default();
                layer.attn_norm.rows_measured(own(x, &rows, hidden), h, inverse);
            });
            qkv_stack.rows(h, n, (qkv, Onto::Nothing), thin);
        });
        let (attended, other) = rayon::join(|| Attended::of(&kept.qkv, &self.shape), meanwhile);
        kept.attended = attended;
        let buffers = [
            (y, hidden),
            (&mut kept.middle[..], own_width(hidden)),
            inverse_ffn,
            (&mut kept.gate_up[..], mlp::kept_width(inner)),
            (&mut thin_output[..], widths[1]),
            (&mut thin_gate_up[..], widths[2]),
            (&mut thin_down[..], widths[3]),
        ];
        let attended = &kept.attended;
        each_rounded_block(
            n,
            buffers,
            [read_output, read_gate_up],
            |(rows, buffers), [lines, lines_of_h]| {
                let [y, middle, inverse, gate_up, thin_output, thin_gate_up, thin_down] = buffers;
                let (n, first) = (rows.len(), rows.start);
                let mut room_of_middle = Buffer::new(if middle.is_empty() { n * hidden } else { 0 });
                let middle = if middle.is_empty() { &mut room_of_middle[..] } else { middle };
                middle.copy_from_slice(own(x, &rows, hidden));
                let mut of_attended = Room::within(lines, n, width);
                let attended =
                    of_attended.fill(|r, to| attended.rows(&self.shape, first + r.start..first + r.end, to));
                output_stack.rows(attended, n, (middle, Onto::Sum), thin_output);
                let mut of_h = Room::within(lines_of_h, n, hidden);
                let h = of_h.fill(|rows, h| {
                    let inverse = inverse.get_mut(rows.clone()).unwrap_or_default();
                    layer.ffn_norm.rows_measured(own(middle, &rows, hidden), h, inverse);
                });
                let thin = gate_up_stack.thin(h, n, thin_gate_up);
                let make = |outputs: Range<usize>, to: &mut [f32]| {
                    let stride = outputs.len();
                    gate_up_stack.outputs((h, &thin), n, outputs, (to, stride, Onto::Nothing));
                };
                let mut lines = room(n, inner);
                let mut of_joined = Room::within(&mut lines, n, inner);
                let joined = mlp::join_and_keep(gate_up, make, (n, inner, self.rounds), &mut of_joined);
                y.copy_from_slice(middle);
                down_stack.rows(joined, n, (y, Onto::Sum), thin_down);
            },
        );
        if self.rounds {
            kept.attended.forget_outputs();
            kept.x = Buffer::default();
        }
        (kept, other)
    }
}
