//! How do new tokens look at those that were read before?

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::AttentionShape;
use super::few::few_rows;
use super::task::{ROWS, gather, softmax, turn_rows};
use crate::kernels::cpu::with_values;
use crate::kernels::matmul::{Product, View};
use crate::kernels::rope::Turn;

/// New rows of a sequence up to which one after another beats a product.
const FEW_ROWS: usize = 4;

/// Keys and values of one sequence in one layer, those of each key head by themselves: they are read one after another.
#[derive(Debug, Clone, Default)]
pub struct CachedKeys {
    pub(super) heads: Vec<CachedHead>,
}

/// Keys (n, dim), rotated, and values (n, dim) of a key head.
#[derive(Debug, Clone, Default)]
pub(super) struct CachedHead {
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl CachedKeys {
    pub(super) fn len(&self, shape: &AttentionShape) -> usize {
        self.heads.first().map_or(0, |head| head.k.len() / shape.head_dim)
    }

    /// Forgets all rows after the first; `n_values` is how many values of a head that leaves.
    pub fn truncate(&mut self, n_values: usize) {
        for head in &mut self.heads {
            head.k.truncate(n_values);
            head.v.truncate(n_values);
        }
    }

    /// Adds the keys and values of `n` rows.
    fn add(&mut self, qkv: &[f32], n: usize, shape: &AttentionShape) {
        let (first, rows) = (self.len(shape), (n, shape.head_dim, shape.width()));
        self.heads.resize_with(shape.n_kv_heads, CachedHead::default);
        for (i, head) in self.heads.iter_mut().enumerate() {
            let old = head.k.len();
            gather(&qkv[shape.key_column(i)..], rows, &mut head.k);
            gather(&qkv[shape.value_column(i)..], rows, &mut head.v);
            turn_rows(shape, &mut head.k[old..], (shape.head_dim, first), Turn::Forward);
        }
    }
}

/// Attention of new rows `qkv` (n, width) to everything in their sequence's cache, to which their keys and values are
/// added. `shape.lengths` holds the number of new rows of each sequence. No gradient; CPU only.
pub(in crate::kernels) fn attend_cached(
    qkv: &Tensor,
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Result<Tensor> {
    let out = with_values(qkv, |qkv| Ok(attend_rows(qkv, shape, caches)))?;
    Tensor::from_vec(out, (qkv.dim(0)?, shape.q_width()), qkv.device())
}

/// The same on slices.
pub(in crate::kernels) fn attend_rows(
    qkv: &[f32],
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Vec<f32> {
    let (dim, width) = (shape.head_dim, shape.width());
    let mut start = 0;
    for (cache, &n) in caches.iter_mut().zip(&shape.lengths) {
        cache.add(&qkv[start * width..], n, shape);
        start += n;
    }
    let caches: Vec<&CachedKeys> = caches.iter().map(|c| &**c).collect();
    if shape.lengths.iter().all(|&n| n <= FEW_ROWS) {
        return few_rows(qkv, shape, &caches);
    }
    let mut starts = Vec::new();
    let mut at = 0;
    for (i, &n) in shape.lengths.iter().enumerate() {
        starts.extend((0..shape.n_heads).map(|head| (i, at, n, head)));
        at += n;
    }
    let blocks: Vec<Vec<f32>> = starts
        .par_iter()
        .map(|&(i, start, n, head)| {
            attend_head(shape, caches[i], &qkv[start * width + head * dim..], (n, head))
        })
        .collect();
    let mut out = vec![0.0; qkv.len() / width * shape.q_width()];
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
    gather(q, (n, dim, shape.width()), &mut queries);
    turn_rows(shape, &mut queries, (dim, first), Turn::Forward);
    let CachedHead { k, v } = &cache.heads[head / shape.group()];
    let mut out = vec![0.0; n * dim];
    let mut scores = vec![0.0; ROWS.min(n) * total];
    for from in (0..n).step_by(ROWS) {
        let to = (from + ROWS).min(n);
        let visible = first + to;
        let scores = &mut scores[..(to - from) * visible];
        let rows = View::new(&queries[from * dim..to * dim], to - from, dim);
        let keys = View::new(k, visible, dim);
        Product::new(rows, keys.t()).scaled(shape.scale()).on_one_thread().write(scores, visible);
        for (i, row) in scores.chunks_exact_mut(visible).enumerate() {
            softmax(row, first + from + i + 1);
        }
        let values = View::new(v, visible, dim);
        let product = Product::new(View::new(scores, to - from, visible), values).on_one_thread();
        product.write(&mut out[from * dim..], dim);
    }
    out
}
