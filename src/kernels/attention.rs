//! How does each token look at those before it?
//!
//! Causal grouped-query attention with rotary positions, over sequences of different length packed
//! one after another without padding; each sees only itself. Scores exist for one block of rows of
//! the heads that share keys at a time; the backward pass makes them again from the kept log-sums (as in
//! FlashAttention, Dao et al. 2022).

mod cached;
mod few;
#[cfg(target_arch = "x86_64")]
mod halves;
mod task;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

use super::RopeTable;
use super::buffer::Buffer;
pub use cached::CachedKeys;
pub(super) use cached::{attend_cached, attend_rows};
use task::Task;
pub(super) use task::softmax;

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

    /// Of a row with its queries, keys and values.
    fn width(&self) -> usize {
        self.q_width() + 2 * self.kv_width()
    }

    /// Where the keys of a key head stand in a row.
    fn key_column(&self, kv_head: usize) -> usize {
        self.q_width() + kv_head * self.head_dim
    }

    /// Where the values of a key head stand in a row.
    fn value_column(&self, kv_head: usize) -> usize {
        self.q_width() + self.kv_width() + kv_head * self.head_dim
    }

    /// Refuses a number of rows, or positions, that it is not made for.
    pub(super) fn check(&self, n: usize) -> Result<()> {
        if self.n_shared + self.lengths.iter().sum::<usize>() != n {
            bail!("{n} rows for {} and sequences of {:?}", self.n_shared, self.lengths);
        }
        let longest = self.n_shared + self.lengths.iter().max().copied().unwrap_or(0);
        if longest > self.rope.n_positions() {
            bail!("a sequence of {longest} tokens; the model takes {}", self.rope.n_positions());
        }
        Ok(())
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

/// Attention of rows `qkv` (n, width): the queries of all heads, then the keys, then the values of all
/// key heads, before rotation. The result is (n, heads · dim). In plain differentiable operations.
pub(super) fn attention_portable(qkv: &Tensor, shape: &AttentionShape) -> Result<Tensor> {
    let (q, kv) = (shape.q_width(), shape.kv_width());
    let (q, k, v) = (&qkv.narrow(1, 0, q)?, &qkv.narrow(1, q, kv)?, &qkv.narrow(1, q + kv, kv)?);
    let mut outputs = Vec::new();
    for span in shape.tasks().iter().step_by(shape.n_kv_heads) {
        let Span { start, len, n_before, .. } = *span;
        let visible = n_before + len;
        let own = |t: &Tensor| t.narrow(0, start, len);
        let seen = |t: &Tensor| Tensor::cat(&[t.narrow(0, 0, n_before)?, own(t)?], 0);
        let heads =
            |t: &Tensor, n: usize| t.reshape((t.dim(0)?, n, shape.head_dim))?.transpose(0, 1)?.contiguous();
        let (cos, sin) = shape.rope.tensors(visible, qkv.device())?;
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
        let scores = scores.broadcast_add(&Tensor::from_vec(mask, (len, visible), qkv.device())?)?;
        let output = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
        outputs.push(output.transpose(0, 1)?.reshape((len, shape.q_width()))?);
    }
    Tensor::cat(&outputs, 0)
}

/// What attention makes of packed rows, before it is put together: for each task a block of rows.
#[derive(Debug, Default)]
pub(super) struct Attended {
    spans: Vec<Span>,
    /// Outputs of the group (len, group · dim).
    outputs: Vec<Buffer>,
    /// The log of the sum of exponentials of each (row, head of the group).
    log_sums: Vec<Vec<f32>>,
}

impl Attended {
    /// On all threads.
    pub(super) fn of(qkv: &[f32], shape: &AttentionShape) -> Self {
        let spans = shape.tasks();
        let run = |span: &Span| Task::new(shape, *span, qkv).forward();
        let (outputs, log_sums) = spans.par_iter().map(run).unzip();
        Self { spans, outputs, log_sums }
    }

    /// Puts the outputs of some rows together (rows, heads · dim).
    pub(super) fn rows(&self, shape: &AttentionShape, rows: Range<usize>, to: &mut [f32]) {
        let width = shape.group() * shape.head_dim;
        join((&self.spans, &|task| &self.outputs[task], width), rows, (to, shape.q_width(), 0));
    }

    /// Gives the outputs' memory back; [`Self::backward`] does without.
    pub(super) fn forget_outputs(&mut self) {
        self.outputs.clear();
    }

    /// The gradient of `qkv` from that of the outputs, on all threads.
    pub(super) fn backward(&self, qkv: &[f32], d_out: &[f32], shape: &AttentionShape) -> Gradients<'_> {
        let run = |(span, sums): (&Span, &Vec<f32>)| Task::new(shape, *span, qkv).backward(d_out, sums);
        let parts = self.spans.par_iter().zip(&self.log_sums).map(run).collect();
        Gradients { spans: &self.spans, parts }
    }
}

/// The gradient of queries, keys and values, before it is put together.
pub(super) struct Gradients<'a> {
    spans: &'a [Span],
    /// Of the group's queries (len, group · dim), of the keys and of the values (visible, dim).
    parts: Vec<[Buffer; 3]>,
}

impl Gradients<'_> {
    /// Puts that of some rows together (rows, width).
    pub(super) fn rows(&self, shape: &AttentionShape, rows: Range<usize>, to: &mut [f32]) {
        let (dim, group) = (shape.head_dim, shape.group() * shape.head_dim);
        let columns = [(group, 0), (dim, shape.key_column(0)), (dim, shape.value_column(0))];
        for (i, (n, first)) in columns.into_iter().enumerate() {
            join((self.spans, &|task| &self.parts[task][i], n), rows.clone(), (to, shape.width(), first));
        }
    }
}

/// Puts blocks (rows, `n`), one for each task, into some rows of another width: those of the key heads beside each other,
/// from column `first` on. What a block holds for the common start, before its own rows, is added up there.
fn join<'a>(
    (spans, block_of, n): (&[Span], &dyn Fn(usize) -> &'a Buffer, usize),
    rows: Range<usize>,
    (to, width, first): (&mut [f32], usize, usize),
) {
    for (task, span) in spans.iter().enumerate() {
        let (block, column) = (block_of(task), first + span.kv_head * n);
        let before = block.len() / n - span.len;
        for r in rows.start.max(span.start)..rows.end.min(span.start + span.len) {
            let to = &mut to[(r - rows.start) * width + column..][..n];
            to.copy_from_slice(&block[(before + r - span.start) * n..][..n]);
        }
        // The common start comes first.
        for r in rows.start..rows.end.min(before) {
            let sums = &mut to[(r - rows.start) * width + column..][..n];
            sums.iter_mut().zip(&block[r * n..(r + 1) * n]).for_each(|(sum, v)| *sum += v);
        }
    }
}
