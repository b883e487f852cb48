//! How does each token look at those before it?
//!
//! Causal grouped-query attention with rotary positions, over sequences of different length packed
//! one after another without padding; each sees only itself. Scores exist for one block of rows of
//! one head at a time; the backward pass makes them again from the kept log-sums (as in
//! FlashAttention, Dao et al. 2022).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::RopeTable;
use super::cpu::{is_fast, values, with_values};
use super::elementwise::{dot, exp, exp_and_sum, max_of, vectorised};
use super::matmul::{Product, View};
use super::rope::Turn;

/// Query rows whose scores exist at one time.
const ROWS: usize = 64;

/// The shape of an attention: heads, and the lengths of the packed sequences.
#[derive(Debug, Clone)]
pub struct AttentionShape {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rotary table.
    pub rope: Arc<RopeTable>,
    /// Rows at the start that all sequences have in common: each sees them as its own beginning.
    pub n_shared: usize,
    /// Rows of each packed sequence after the common start; its positions begin at `n_shared`.
    pub lengths: Vec<usize>,
}

/// What one key head does for one sequence.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The first row.
    start: usize,
    /// Rows.
    len: usize,
    /// Rows of the common start that they see.
    n_before: usize,
    /// The key head.
    kv_head: usize,
}

impl AttentionShape {
    fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// One task for each sequence and key head; the common start is a sequence of its own.
    fn tasks(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut add = |start, len, n_before| {
            spans.extend((0..self.n_kv_heads).map(|kv_head| Span { start, len, n_before, kv_head }));
        };
        if self.n_shared > 0 {
            add(0, self.n_shared, 0);
        }
        let mut start = self.n_shared;
        for &len in &self.lengths {
            add(start, len, self.n_shared);
            start += len;
        }
        spans
    }
}

/// Attention of `q` (n, heads · dim), `k` and `v` (n, kv heads · dim), before rotation: (n, heads · dim).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: &Arc<AttentionShape>) -> Result<Tensor> {
    if shape.n_shared + shape.lengths.iter().sum::<usize>() != q.dim(0)? {
        bail!("{} rows for {} and sequences of {:?}", q.dim(0)?, shape.n_shared, shape.lengths);
    }
    let longest = shape.n_shared + shape.lengths.iter().max().copied().unwrap_or(0);
    if longest > shape.rope.n_positions() {
        bail!("a sequence of {longest} tokens; the model takes {}", shape.rope.n_positions());
    }
    if is_fast(&[q, k, v]) {
        return q.apply_op3(k, v, Attention { shape: shape.clone(), log_sums: OnceLock::new() });
    }
    attention_portable(q, k, v, shape)
}

pub(super) fn attention_portable(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: &AttentionShape,
) -> Result<Tensor> {
    let mut outputs = Vec::new();
    for span in shape.tasks().iter().step_by(shape.n_kv_heads) {
        let Span { start, len, n_before, .. } = *span;
        let visible = n_before + len;
        let own = |t: &Tensor| t.narrow(0, start, len);
        let seen = |t: &Tensor| Tensor::cat(&[t.narrow(0, 0, n_before)?, own(t)?], 0);
        let heads =
            |t: &Tensor, n: usize| t.reshape((t.dim(0)?, n, shape.head_dim))?.transpose(0, 1)?.contiguous();
        let (cos, sin) = shape.rope.tensors(visible, q.device())?;
        let turned = |t: &Tensor, first: usize| -> Result<Tensor> {
            let (half, n) = (shape.head_dim / 2, visible - first);
            let (cos, sin) = (cos.narrow(0, first, n)?, sin.narrow(0, first, n)?);
            let (a, b) = (t.narrow(2, 0, half)?, t.narrow(2, half, half)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, second], 2)
        };
        let grouped = |t: Tensor| -> Result<Tensor> {
            let parts: Vec<_> =
                (0..shape.n_heads).map(|h| t.get(h / shape.group())).collect::<Result<_>>()?;
            Tensor::stack(&parts, 0)
        };
        let q = turned(&heads(&own(q)?, shape.n_heads)?, n_before)?;
        let k = grouped(turned(&heads(&seen(k)?, shape.n_kv_heads)?, 0)?)?;
        let v = grouped(heads(&seen(v)?, shape.n_kv_heads)?)?;
        let hides = |i: usize| i % visible > n_before + i / visible;
        let mask: Vec<f32> =
            (0..len * visible).map(|i| if hides(i) { f32::NEG_INFINITY } else { 0.0 }).collect();
        let scores = (q.matmul(&k.t()?)? * f64::from(shape.scale()))?;
        let scores = scores.broadcast_add(&Tensor::from_vec(mask, (len, visible), q.device())?)?;
        let output = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
        outputs.push(output.transpose(0, 1)?.reshape((len, shape.q_width()))?);
    }
    Tensor::cat(&outputs, 0)
}

struct Attention {
    shape: Arc<AttentionShape>,
    /// For each task, the log of the sum of exponentials of each (head of the group, row).
    log_sums: OnceLock<Vec<Vec<f32>>>,
}

/// The operands of one task, rotated, heads one after another.
struct Task<'a> {
    shape: &'a AttentionShape,
    span: Span,
    /// Keys of the common start and of the sequence (visible, dim).
    k: Vec<f32>,
    /// Their values (visible, dim).
    v: Vec<f32>,
    q: &'a [f32],
}

impl<'a> Task<'a> {
    fn new(shape: &'a AttentionShape, span: Span, (q, k, v): (&'a [f32], &[f32], &[f32])) -> Self {
        let (dim, width) = (shape.head_dim, shape.kv_width());
        let seen = |from: &[f32]| {
            let head = span.kv_head * dim;
            let mut rows = Vec::with_capacity((span.n_before + span.len) * dim);
            gather(&from[head..], (span.n_before, dim, width), &mut rows);
            gather(&from[span.start * width + head..], (span.len, dim, width), &mut rows);
            rows
        };
        let (mut k, v) = (seen(k), seen(v));
        turn_rows(shape, &mut k, (dim, 0), Turn::Forward);
        Self { shape, span, k, v, q }
    }

    /// Keys that the rows before `to` see.
    fn visible(&self, to: usize) -> usize {
        self.span.n_before + to
    }

    /// The rotated queries of one head of the group (len, dim).
    fn queries(&self, g: usize) -> Vec<f32> {
        let (dim, Span { len, n_before, .. }) = (self.shape.head_dim, self.span);
        let mut rows = Vec::with_capacity(len * dim);
        gather(&self.q[self.offset(g)..], (len, dim, self.shape.q_width()), &mut rows);
        turn_rows(self.shape, &mut rows, (dim, n_before), Turn::Forward);
        rows
    }

    /// Where the first value of a head of the group stands in `q`, the output and their gradients.
    fn offset(&self, g: usize) -> usize {
        let head = self.span.kv_head * self.shape.group() + g;
        self.span.start * self.shape.q_width() + head * self.shape.head_dim
    }

    /// Unscaled scores of rows `from..to` against the keys they see, written to `scores` row by row.
    fn scores(&self, q: &[f32], (from, to): (usize, usize), scores: &mut [f32]) {
        let (dim, visible) = (self.shape.head_dim, self.visible(to));
        let rows = View::new(&q[from * dim..to * dim], to - from, dim);
        let keys = View::new(&self.k[..visible * dim], visible, dim);
        Product::new(rows, keys.t()).scaled(self.shape.scale()).on_one_thread().write(scores, visible);
    }

    /// Output of the group (len, group · dim) and its log-sums.
    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let (dim, len, group) = (self.shape.head_dim, self.span.len, self.shape.group());
        let width = group * dim;
        let (mut out, mut log_sums) = (vec![0.0; len * width], vec![0.0; group * len]);
        let mut scores = vec![0.0; ROWS.min(len) * self.visible(len)];
        for g in 0..group {
            let q = self.queries(g);
            for from in (0..len).step_by(ROWS) {
                let to = (from + ROWS).min(len);
                let visible = self.visible(to);
                let scores = &mut scores[..(to - from) * visible];
                self.scores(&q, (from, to), scores);
                for (i, row) in scores.chunks_exact_mut(visible).enumerate() {
                    log_sums[g * len + from + i] = softmax(row, self.visible(from + i + 1));
                }
                let v = View::new(&self.v[..visible * dim], visible, dim);
                let product = Product::new(View::new(scores, to - from, visible), v).on_one_thread();
                product.write(&mut out[from * width + g * dim..], width);
            }
        }
        (out, log_sums)
    }

    /// Gradients of the group's queries (len, group · dim), of the keys and of the values (visible, dim).
    fn backward(&self, out: &[f32], d_out: &[f32], log_sums: &[f32]) -> [Vec<f32>; 3] {
        let (dim, len, group) = (self.shape.head_dim, self.span.len, self.shape.group());
        let (width, stride, all) = (group * dim, self.shape.q_width(), self.visible(len));
        let mut dq = vec![0.0; len * width];
        let (mut dk, mut dv) = (vec![0.0; all * dim], vec![0.0; all * dim]);
        let (mut p, mut ds) = (vec![0.0; ROWS.min(len) * all], vec![0.0; ROWS.min(len) * all]);
        for g in 0..group {
            let (q, offset) = (self.queries(g), self.offset(g));
            for from in (0..len).step_by(ROWS) {
                let to = (from + ROWS).min(len);
                let (n, visible) = (to - from, self.visible(to));
                let (p, ds) = (&mut p[..n * visible], &mut ds[..n * visible]);
                self.scores(&q, (from, to), p);
                let rows = offset + from * stride;
                let d_rows = View::strided(&d_out[rows..], (n, dim), stride);
                let v = View::new(&self.v[..visible * dim], visible, dim);
                Product::new(d_rows, v.t()).on_one_thread().write(ds, visible);
                for i in 0..n {
                    let (at, row) = (rows + i * stride, i * visible..(i + 1) * visible);
                    let delta = vector_dot(&out[at..at + dim], &d_out[at..at + dim]);
                    let sums = (log_sums[g * len + from + i], delta);
                    softmax_backward((&mut p[row.clone()], &mut ds[row]), self.visible(from + i + 1), sums);
                }
                let (p, ds) = (View::new(p, n, visible), View::new(ds, n, visible));
                let scale = self.shape.scale();
                let keys = View::new(&self.k[..visible * dim], visible, dim);
                let queries = View::new(&q[from * dim..to * dim], n, dim);
                let dq = &mut dq[from * width + g * dim..];
                Product::new(ds, keys).scaled(scale).on_one_thread().write(dq, width);
                Product::new(ds.t(), queries).scaled(scale).on_one_thread().add_to(&mut dk, dim);
                Product::new(p.t(), d_rows).on_one_thread().add_to(&mut dv, dim);
            }
        }
        turn_rows(self.shape, &mut dq, (width, self.span.n_before), Turn::Back);
        turn_rows(self.shape, &mut dk, (dim, 0), Turn::Back);
        [dq, dk, dv]
    }
}

/// Appends `n` rows of `width` values, which stand `stride` apart, to `rows`.
fn gather(from: &[f32], (n, width, stride): (usize, usize, usize), rows: &mut Vec<f32>) {
    for i in 0..n {
        rows.extend_from_slice(&from[i * stride..i * stride + width]);
    }
}

vectorised! {
    /// Turns every head of rows; `place` is their width and the position of the first.
    fn turn_rows<'a>(shape: &'a AttentionShape, rows: &'a mut [f32], place: (usize, usize), turn: Turn) -> () {
        for (row, position) in rows.chunks_exact_mut(place.0).zip(place.1..) {
            for head in row.chunks_exact_mut(shape.head_dim) {
                shape.rope.turn(head, position, turn);
            }
        }
    }

    fn vector_dot<'a>(a: &'a [f32], b: &'a [f32]) -> f32 {
        dot(a, b)
    }

    /// Softmax in place; returns the log of the sum of exponentials.
    fn softmax_row<'a>(row: &'a mut [f32]) -> f32 {
        let shift = max_of(row);
        let sum = exp_and_sum(row, shift);
        let inverse = 1.0 / sum;
        for v in row.iter_mut() {
            *v *= inverse;
        }
        sum.ln() + shift
    }

    /// Turns scores into probabilities, and their gradient into that of the scores. `sums` is the log of
    /// the sum of exponentials, and the output's product with its gradient.
    fn softmax_backward_row<'a>(p: &'a mut [f32], ds: &'a mut [f32], sums: (f32, f32)) -> () {
        for (p, ds) in p.iter_mut().zip(ds) {
            *p = exp(*p - sums.0);
            *ds = *p * (*ds - sums.1);
        }
    }
}

/// Softmax of the first `visible` scores, zero after them; returns the log of the sum of exponentials.
fn softmax(row: &mut [f32], visible: usize) -> f32 {
    let (seen, hidden) = row.split_at_mut(visible);
    hidden.fill(0.0);
    softmax_row(seen)
}

/// Turns scores into probabilities and `dP` into `dS = P (dP - delta)`.
fn softmax_backward((p, ds): (&mut [f32], &mut [f32]), visible: usize, (log_sum, delta): (f32, f32)) {
    p[visible..].fill(0.0);
    ds[visible..].fill(0.0);
    softmax_backward_row(&mut p[..visible], &mut ds[..visible], (log_sum, delta));
}

/// Puts blocks (len, block width) of the tasks side by side into rows of `width`. What a block holds
/// for the common start, before its own rows, is added up there.
fn scattered(shape: &AttentionShape, blocks: &[&[f32]], (n, width): (usize, usize)) -> Vec<f32> {
    let mut rows = vec![0.0; n * width];
    let block_width = width / shape.n_kv_heads;
    for (span, block) in shape.tasks().iter().zip(blocks) {
        let column = span.kv_head * block_width;
        let own = block.len() - span.len * block_width;
        for (i, values) in block[..own].chunks_exact(block_width).enumerate() {
            let at = i * width + column;
            rows[at..at + block_width].iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
        }
        for (i, values) in block[own..].chunks_exact(block_width).enumerate() {
            let at = (span.start + i) * width + column;
            rows[at..at + block_width].copy_from_slice(values);
        }
    }
    rows
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = &self.shape;
        let operands = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let run = |task: &_| Task::new(shape, *task, operands).forward();
        let (blocks, log_sums): (Vec<_>, Vec<_>) = shape.tasks().par_iter().map(run).unzip();
        let blocks: Vec<&[f32]> = blocks.iter().map(Vec::as_slice).collect();
        let _ = self.log_sums.set(log_sums);
        let out = scattered(shape, &blocks, (q_layout.shape().dims2()?.0, shape.q_width()));
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        d_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = &self.shape;
        let Some(log_sums) = self.log_sums.get() else { bail!("attention: backward before forward") };
        let gradients: Vec<[Vec<f32>; 3]> = with_values(q, |q| {
            with_values(k, |k| {
                with_values(v, |v| {
                    with_values(out, |out| {
                        with_values(d_out, |d_out| {
                            let run = |(task, sums): (&_, &Vec<f32>)| {
                                Task::new(shape, *task, (q, k, v)).backward(out, d_out, sums)
                            };
                            Ok(shape.tasks().par_iter().zip(log_sums).map(run).collect())
                        })
                    })
                })
            })
        })?;
        let gathered = |i: usize, like: &Tensor| {
            let blocks: Vec<&[f32]> = gradients.iter().map(|g| g[i].as_slice()).collect();
            Tensor::from_vec(scattered(shape, &blocks, like.dims2()?), like.shape(), like.device())
        };
        Ok((Some(gathered(0, q)?), Some(gathered(1, k)?), Some(gathered(2, v)?)))
    }
}

/// Keys (rotated) and values of one sequence in one layer, rows (n, kv heads · dim).
#[derive(Debug, Clone, Default)]
pub struct CachedKeys {
    k: Vec<f32>,
    v: Vec<f32>,
}

impl CachedKeys {
    fn len(&self, shape: &AttentionShape) -> usize {
        self.k.len() / shape.kv_width()
    }

    /// Forgets all rows after the first `n_values` values.
    pub fn truncate(&mut self, n_values: usize) {
        self.k.truncate(n_values);
        self.v.truncate(n_values);
    }
}

/// Attention of new rows to everything in their sequence's cache, to which their keys and values are
/// added. `shape.lengths` holds the number of new rows of each sequence. No gradient; CPU only.
pub fn attend_cached(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Result<Tensor> {
    let rows = q.dim(0)?;
    let out = with_values(q, |q| {
        with_values(k, |k| with_values(v, |v| Ok(attend_rows((q, k, v), shape, caches))))
    })?;
    Tensor::from_vec(out, (rows, shape.q_width()), q.device())
}

fn attend_rows(
    (q, k, v): (&[f32], &[f32], &[f32]),
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Vec<f32> {
    let (dim, kv_width) = (shape.head_dim, shape.kv_width());
    let mut start = 0;
    for (cache, &n) in caches.iter_mut().zip(&shape.lengths) {
        let (first, rows) = (cache.len(shape), start * kv_width..(start + n) * kv_width);
        let old = cache.k.len();
        cache.k.extend_from_slice(&k[rows.clone()]);
        cache.v.extend_from_slice(&v[rows]);
        for (i, row) in cache.k[old..].chunks_exact_mut(kv_width).enumerate() {
            row.chunks_exact_mut(dim).for_each(|head| shape.rope.turn(head, first + i, Turn::Forward));
        }
        start += n;
    }
    let caches: Vec<&CachedKeys> = caches.iter().map(|c| &**c).collect();
    let mut starts = Vec::new();
    let mut at = 0;
    for (i, &n) in shape.lengths.iter().enumerate() {
        starts.extend((0..shape.n_heads).map(|head| (i, at, n, head)));
        at += n;
    }
    let blocks: Vec<Vec<f32>> = starts
        .par_iter()
        .map(|&(i, start, n, head)| {
            let offset = start * shape.q_width() + head * dim;
            attend_head(shape, caches[i], &q[offset..], (n, head))
        })
        .collect();
    let mut out = vec![0.0; q.len()];
    for (&(_, start, _, head), block) in starts.iter().zip(&blocks) {
        for (i, row) in block.chunks_exact(dim).enumerate() {
            let to = (start + i) * shape.q_width() + head * dim;
            out[to..to + dim].copy_from_slice(row);
        }
    }
    out
}

/// One query head of one sequence: the `n` newest rows against the whole cache.
fn attend_head(shape: &AttentionShape, cache: &CachedKeys, q: &[f32], (n, head): (usize, usize)) -> Vec<f32> {
    let (dim, total) = (shape.head_dim, cache.len(shape));
    let first = total - n;
    let mut queries = Vec::with_capacity(n * dim);
    for i in 0..n {
        queries.extend_from_slice(&q[i * shape.q_width()..i * shape.q_width() + dim]);
        shape.rope.turn(&mut queries[i * dim..], first + i, Turn::Forward);
    }
    let offset = head / shape.group() * dim;
    let mut out = vec![0.0; n * dim];
    let mut scores = vec![0.0; ROWS.min(n) * total];
    for from in (0..n).step_by(ROWS) {
        let to = (from + ROWS).min(n);
        let visible = first + to;
        let scores = &mut scores[..(to - from) * visible];
        let rows = View::new(&queries[from * dim..to * dim], to - from, dim);
        let keys = View::strided(&cache.k[offset..], (visible, dim), shape.kv_width());
        Product::new(rows, keys.t()).scaled(shape.scale()).on_one_thread().write(scores, visible);
        for (i, row) in scores.chunks_exact_mut(visible).enumerate() {
            softmax(row, first + from + i + 1);
        }
        let values = View::strided(&cache.v[offset..], (visible, dim), shape.kv_width());
        let product = Product::new(View::new(scores, to - from, visible), values).on_one_thread();
        product.write(&mut out[from * dim..], dim);
    }
    out
}
