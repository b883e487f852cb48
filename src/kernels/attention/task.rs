//! What does one key head do for one sequence?

use super::{AttentionShape, Span};
use crate::kernels::buffer::Buffer;
use crate::kernels::elementwise::{dot, exp, exp_and_sum, max_of, vectorised};
use crate::kernels::matmul::{Product, Repeated, View};
use crate::kernels::rope::Turn;

/// Query rows whose scores exist at one time.
pub(in crate::kernels) const ROWS: usize = 64;

/// The operands of one task, rotated, heads one after another.
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

    /// The rotated queries of one head of the group (len, dim).
    fn queries(&self, g: usize) -> Buffer {
        let (dim, width) = (self.shape.head_dim, self.shape.width());
        let Span { start, len, n_before, .. } = self.span;
        let mut rows = Buffer::new(len * dim);
        gather(&self.qkv[start * width + self.head(g) * dim..], width, (&mut rows, dim));
        turn_rows(self.shape, &mut rows, (dim, n_before), Turn::Forward);
        rows
    }

    /// The query head `g` of the group, among all.
    fn head(&self, g: usize) -> usize {
        self.span.kv_head * self.shape.group() + g
    }

    /// Where the first value of a head of the group stands in the output and its gradient.
    fn offset(&self, g: usize) -> usize {
        self.span.start * self.shape.q_width() + self.head(g) * self.shape.head_dim
    }

    fn keys(&self) -> View<'_> {
        View::new(&self.k, self.visible(self.span.len), self.shape.head_dim)
    }

    fn values(&self) -> View<'_> {
        View::new(&self.v, self.visible(self.span.len), self.shape.head_dim)
    }

    /// Output of the group (len, group · dim) and its log-sums.
    pub(super) fn forward(&self) -> (Buffer, Vec<f32>) {
        let (dim, len, group) = (self.shape.head_dim, self.span.len, self.shape.group());
        let width = group * dim;
        let (mut out, mut log_sums) = (Buffer::new(len * width), vec![0.0; group * len]);
        let mut scores = Buffer::new(ROWS.min(len) * self.visible(len));
        let (keys, values) =
            (Repeated::new(self.keys().t(), self.shape.scale()), Repeated::new(self.values(), 1.0));
        for g in 0..group {
            let q = self.queries(g);
            let q = View::new(&q, len, dim);
            for from in (0..len).step_by(ROWS) {
                let to = (from + ROWS).min(len);
                let visible = self.visible(to);
                let scores = &mut scores[..(to - from) * visible];
                keys.multiply(q.rows(from..to), visible, (scores, visible));
                for (i, row) in scores.chunks_exact_mut(visible).enumerate() {
                    log_sums[g * len + from + i] = softmax(row, self.visible(from + i + 1));
                }
                let out = &mut out[from * width + g * dim..];
                values.multiply(View::new(scores, to - from, visible), dim, (out, width));
            }
        }
        (out, log_sums)
    }

    /// Gradients of the group's queries (len, group · dim), of the keys and of the values (visible, dim), from that of the
    /// outputs of all heads (n, heads · dim).
    pub(super) fn backward(&self, d_out: &[f32], log_sums: &[f32]) -> [Buffer; 3] {
        let (dim, len, group) = (self.shape.head_dim, self.span.len, self.shape.group());
        let (width, stride, all) = (group * dim, self.shape.q_width(), self.visible(len));
        let mut dq = Buffer::new(len * width);
        let (mut dk, mut dv) = (Buffer::zeros(all * dim), Buffer::zeros(all * dim));
        let (mut p, mut ds) = (Buffer::new(ROWS.min(len) * all), Buffer::new(ROWS.min(len) * all));
        let scale = self.shape.scale();
        let (keys, values) = (Repeated::new(self.keys(), scale), Repeated::new(self.values().t(), 1.0));
        let turned_keys = Repeated::new(self.keys().t(), scale);
        for g in 0..group {
            let (q, offset) = (self.queries(g), self.offset(g));
            let q = View::new(&q, len, dim);
            for from in (0..len).step_by(ROWS) {
                let to = (from + ROWS).min(len);
                let (n, visible) = (to - from, self.visible(to));
                let (p, ds) = (&mut p[..n * visible], &mut ds[..n * visible]);
                let queries = q.rows(from..to);
                turned_keys.multiply(queries, visible, (p, visible));
                let rows = offset + from * stride;
                let d_rows = View::strided(&d_out[rows..], (n, dim), stride);
                values.multiply(d_rows, visible, (ds, visible));
                let rows = p.chunks_exact_mut(visible).zip(ds.chunks_exact_mut(visible));
                for ((p, ds), row) in rows.zip(from..) {
                    softmax_backward((p, ds), self.visible(row + 1), log_sums[g * len + row]);
                }
                let (p, ds) = (View::new(p, n, visible), View::new(ds, n, visible));
                keys.multiply(ds, dim, (&mut dq[from * width + g * dim..], width));
                Product::new(ds.t(), queries).scaled(scale).on_one_thread().add_to(&mut dk, dim);
                Product::new(p.t(), d_rows).on_one_thread().add_to(&mut dv, dim);
            }
        }
        turn_rows(self.shape, &mut dq, (width, self.span.n_before), Turn::Back);
        turn_rows(self.shape, &mut dk, (dim, 0), Turn::Back);
        [dq, dk, dv]
    }
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
