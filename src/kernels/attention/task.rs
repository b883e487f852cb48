//! What does one key head do for one sequence?

use std::ops::Range;

use super::{AttentionShape, Span};
use crate::kernels::buffer::Buffer;
use crate::kernels::elementwise::{dot, exp, exp_and_sum, max_of, vectorised};
use crate::kernels::matmul::{Product, Repeated, View};
use crate::kernels::rope::Turn;

/// Query rows whose scores exist at one time, about.
const STACKED: usize = 96;

/// The operands of one task; keys are rotated.
pub(super) struct Task<'a> {
    shape: &'a AttentionShape,
    span: Span,
    /// Keys of the common start and of the sequence (visible, dim).
    k: Buffer,
    /// Their values (visible, dim).
    v: Buffer,
    /// Queries, keys and values of all rows (n, width).
    qkv: &'a [f32],
}

impl<'a> Task<'a> {
    pub(super) fn new(shape: &'a AttentionShape, span: Span, qkv: &'a [f32]) -> Self {
        let (dim, width) = (shape.head_dim, shape.width());
        let seen = |column: usize| {
            let mut rows = Buffer::new((span.n_before + span.len) * dim);
            let (before, own) = rows.split_at_mut(span.n_before * dim);
            gather(&qkv[column..], width, (before, dim));
            gather(&qkv[span.start * width + column..], width, (own, dim));
            rows
        };
        let (mut k, v) = (seen(shape.key_column(span.kv_head)), seen(shape.value_column(span.kv_head)));
        turn_rows(shape, &mut k, (dim, 0), Turn::Forward);
        Self { shape, span, k, v, qkv }
    }

    /// Keys that the rows before `to` see.
    fn visible(&self, to: usize) -> usize {
        self.span.n_before + to
    }

    /// Where its rows and their heads are.
    fn place(&self) -> (Range<usize>, usize) {
        let Span { start, len, kv_head, .. } = self.span;
        (start..start + len, kv_head)
    }

    /// The rotated queries of the group (len · group, dim).
    fn queries(&self) -> Buffer {
        queries(self.shape, self.qkv, self.place(), self.span.n_before)
    }

    /// Positions whose scores exist at one time, in their order.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let (len, at_once) = (self.span.len, positions_at_once(self.shape));
        (0..len).step_by(at_once).map(move |from| from..(from + at_once).min(len))
    }

    fn keys(&self) -> View<'_> {
        View::new(&self.k, self.visible(self.span.len), self.shape.head_dim)
    }

    fn values(&self) -> View<'_> {
        View::new(&self.v, self.visible(self.span.len), self.shape.head_dim)
    }

    /// Output of the group (len, group · dim) and its log-sums (len, group).
    pub(super) fn forward(&self) -> (Buffer, Vec<f32>) {
        let (dim, group, n) = (self.shape.head_dim, self.shape.group(), self.span.len * self.shape.group());
        let (mut out, mut log_sums, q) = (Buffer::new(n * dim), Vec::with_capacity(n), self.queries());
        let keys = Repeated::new(self.keys().t(), self.shape.scale());
        let values = Repeated::new(self.values(), 1.0);
        for part in self.parts() {
            let rows = part.start * group..part.end * group;
            let (q, out) = (View::new(&q, n, dim).rows(rows.clone()), &mut out[rows.start * dim..]);
            log_sums.extend(attend(q, [&keys, &values], (group, self.visible(part.start)), out));
        }
        (out, log_sums)
    }

    /// Gradients of the group's queries (len, group · dim), of the keys and of the values (visible, dim), from that of the
    /// outputs of all heads (n, heads · dim).
    pub(super) fn backward(&self, d_out: &[f32], log_sums: &[f32]) -> [Buffer; 3] {
        let (dim, group, n) = (self.shape.head_dim, self.shape.group(), self.span.len * self.shape.group());
        let d_out = of_group(self.shape, (d_out, self.shape.q_width()), self.place());
        let q = self.queries();
        let (q, d_out) = (View::new(&q, n, dim), View::new(&d_out, n, dim));
        let all = self.visible(self.span.len);
        let (mut dq, mut dk, mut dv) =
            (Buffer::new(n * dim), Buffer::zeros(all * dim), Buffer::zeros(all * dim));
        let most = positions_at_once(self.shape).min(self.span.len) * group * all;
        let (mut p, mut ds) = (Buffer::new(most), Buffer::new(most));
        let scale = self.shape.scale();
        let (keys, values) = (Repeated::new(self.keys(), scale), Repeated::new(self.values().t(), 1.0));
        let turned_keys = Repeated::new(self.keys().t(), scale);
        for part in self.parts() {
            let (rows, visible) = (part.start * group..part.end * group, self.visible(part.end));
            let (p, ds) = (&mut p[..rows.len() * visible], &mut ds[..rows.len() * visible]);
            let (queries, d_rows) = (q.rows(rows.clone()), d_out.rows(rows.clone()));
            turned_keys.multiply(queries, visible, (p, visible));
            values.multiply(d_rows, visible, (ds, visible));
            let both = p.chunks_exact_mut(visible).zip(ds.chunks_exact_mut(visible));
            for (row, both) in rows.clone().zip(both) {
                softmax_backward(both, self.visible(row / group + 1), log_sums[row]);
            }
            let (p, ds) = (View::new(p, rows.len(), visible), View::new(ds, rows.len(), visible));
            keys.multiply(ds, dim, (&mut dq[rows.start * dim..], dim));
            Product::new(ds.t(), queries).scaled(scale).on_one_thread().add_to(&mut dk, dim);
            Product::new(p.t(), d_rows).on_one_thread().add_to(&mut dv, dim);
        }
        turn_rows(self.shape, &mut dq, (group * dim, self.span.n_before), Turn::Back);
        turn_rows(self.shape, &mut dk, (dim, 0), Turn::Back);
        [dq, dk, dv]
    }
}

/// Of rows with all heads (n, width) some, and of these the heads that share a key head, one after another
/// (rows · group, dim).
fn of_group(
    shape: &AttentionShape,
    (from, width): (&[f32], usize),
    (rows, kv_head): (Range<usize>, usize),
) -> Buffer {
    let group_width = shape.group() * shape.head_dim;
    let mut own = Buffer::new(rows.len() * group_width);
    gather(&from[rows.start * width + kv_head * group_width..], width, (&mut own, group_width));
    own
}

/// The same of queries, rotated; `first` is the position of the first row.
pub(super) fn queries(
    shape: &AttentionShape,
    qkv: &[f32],
    place: (Range<usize>, usize),
    first: usize,
) -> Buffer {
    let mut rows = of_group(shape, (qkv, shape.width()), place);
    turn_rows(shape, &mut rows, (shape.group() * shape.head_dim, first), Turn::Forward);
    rows
}

/// Positions whose scores exist at one time: the heads of a group see the same keys, so their queries are rows of one
/// product.
pub(super) fn positions_at_once(shape: &AttentionShape) -> usize {
    (STACKED / shape.group()).max(1)
}

/// Writes what rotated queries (n, dim) find to `out` (n, dim), and gives the log of each row's sum of exponentials. The
/// `group` heads of a position follow each other; those of the first see one key more than `before`.
pub(super) fn attend(
    q: View,
    [keys, values]: [&Repeated; 2],
    (group, before): (usize, usize),
    out: &mut [f32],
) -> Vec<f32> {
    let (n, dim) = q.dims();
    let visible = before + n / group;
    let mut scores = Buffer::new(n * visible);
    keys.multiply(q, visible, (&mut scores, visible));
    let rows = scores.chunks_exact_mut(visible).enumerate();
    let log_sums = rows.map(|(row, scores)| softmax(scores, before + row / group + 1)).collect();
    values.multiply(View::new(&scores, n, visible), dim, (out, dim));
    log_sums
}

/// Copies rows that stand `stride` apart to rows of a width that follow each other, as many as these are.
pub(super) fn gather(from: &[f32], stride: usize, (to, width): (&mut [f32], usize)) {
    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(stride)) {
        to.copy_from_slice(&from[..width]);
    }
}

vectorised! {
    /// Turns every head of rows; `place` is their width and the position of the first.
    pub(super) fn turn_rows<'a>(shape: &'a AttentionShape, rows: &'a mut [f32], place: (usize, usize), turn: Turn) -> () {
        for (row, position) in rows.chunks_exact_mut(place.0).zip(place.1..) {
            for head in row.chunks_exact_mut(shape.head_dim) {
                shape.rope.turn(head, position, turn);
            }
        }
    }

    /// Softmax of the first `visible` scores in place, zero for the others; returns the log of the sum of exponentials.
    fn softmax_row<'a>(row: &'a mut [f32], visible: usize) -> f32 |simd| {
        row[visible..].fill(f32::NEG_INFINITY);
        let shift = max_of(simd, row);
        let sum = exp_and_sum(simd, row, shift);
        row[visible..].fill(0.0);
        let inverse = 1.0 / sum;
        for v in row.iter_mut() {
            *v *= inverse;
        }
        sum.ln() + shift
    }

    /// Turns the first `visible` scores into probabilities, by the log of the sum of their exponentials, and the gradient of
    /// these into that of the scores; the others become zero.
    fn softmax_backward_row<'a>(p: &'a mut [f32], ds: &'a mut [f32], visible: usize, log_sum: f32) -> () |simd| {
        for p in p.iter_mut() {
            *p = exp(*p - log_sum);
        }
        p[visible..].fill(0.0);
        ds[visible..].fill(0.0);
        let mean = dot(simd, p, ds);
        for (p, ds) in p.iter().zip(ds) {
            *ds = *p * (*ds - mean);
        }
    }
}

/// Scores that stand in a vector, at most: so many more are gone through than are visible, rather than some one by one.
const BESIDE: usize = 16;

/// Softmax of the first `visible` scores, zero after them; returns the log of the sum of exponentials.
pub(in crate::kernels) fn softmax(row: &mut [f32], visible: usize) -> f32 {
    let (seen, hidden) = row.split_at_mut(visible.next_multiple_of(BESIDE).min(row.len()));
    hidden.fill(0.0);
    softmax_row(seen, visible)
}

/// Turns scores into probabilities and `dP` into `dS = P (dP - sum of P dP)`, for the first `visible`; zero after them.
fn softmax_backward((p, ds): (&mut [f32], &mut [f32]), visible: usize, log_sum: f32) {
    let seen = visible.next_multiple_of(BESIDE).min(p.len());
    p[seen..].fill(0.0);
    ds[seen..].fill(0.0);
    softmax_backward_row(&mut p[..seen], &mut ds[..seen], visible, log_sum);
}
