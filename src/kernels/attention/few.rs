//! How do a few new tokens look at what was read before?
//!
//! Written token by token, memory's pace decides: each key head's cache is read once for all query heads of its group, in
//! spans that threads share out among themselves, and what comes of the spans is put together afterwards (as in
//! Flash-Decoding, Dao et al. 2023).

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::AttentionShape;
use super::cached::{CachedHead, CachedKeys};
use super::task::{gather, turn_rows};
use crate::kernels::cpu::{call_for, dispatch};
use crate::kernels::elementwise::{exp_and_sum, max_of};
use crate::kernels::rope::Turn;

/// Keys of a span, at most. The number of threads has no say, so that the sums do not depend on it.
pub(super) const SPAN: usize = 128;
/// Queries that read the keys together.
pub(super) const TOGETHER: usize = 3;
/// Registers of an output that are summed at one time.
const COLUMNS: usize = 2;
/// Keys whose values are summed before the next are read: they stay in the first cache meanwhile.
const KEYS: usize = 16;
/// Keys that are called for before they are read.
const AHEAD: usize = 8;

/// A row of a sequence and a key head, and a part of the keys that the row sees.
struct Task<'a> {
    row: usize,
    kv_head: usize,
    head: &'a CachedHead,
    keys: Range<usize>,
}

/// Attention of all rows `qkv` (n, width), whose keys are in the caches already: (n, heads · dim).
pub(super) fn few_rows(qkv: &[f32], shape: &AttentionShape, caches: &[&CachedKeys]) -> Vec<f32> {
    let (dim, width, q_width) = (shape.head_dim, shape.width(), shape.q_width());
    let mut tasks = Vec::new();
    let mut queries = vec![0.0; qkv.len() / width * q_width];
    let mut row = 0;
    for (cache, &n) in caches.iter().zip(&shape.lengths) {
        let first = cache.len(shape) - n;
        let own = &mut queries[row * q_width..(row + n) * q_width];
        gather(&qkv[row * width..], width, (own, q_width));
        turn_rows(shape, own, (q_width, first), Turn::Forward);
        for seen in first + 1..=first + n {
            for (kv_head, head) in cache.heads.iter().enumerate() {
                let spans = (0..seen).step_by(SPAN).map(|from| from..seen.min(from + SPAN));
                tasks.extend(spans.map(|keys| Task { row, kv_head, head, keys }));
            }
            row += 1;
        }
    }
    for q in &mut queries {
        *q *= shape.scale();
    }
    let (group, per_query) = (shape.group(), 2 + dim);
    // For each query of a task the largest score, the sum of exponentials, and the values so weighed (dim).
    let mut parts = vec![0.0; tasks.len() * group * per_query];
    parts.par_chunks_exact_mut(group * per_query).zip(&tasks).for_each(|(parts, task)| {
        let own = &queries[task.row * q_width + task.kv_head * group * dim..][..group * dim];
        for (q, parts) in own.chunks(TOGETHER * dim).zip(parts.chunks_mut(TOGETHER * per_query)) {
            span(q, dim, task, parts);
        }
    });
    let mut out = vec![0.0; queries.len()];
    let mut rest = &parts[..];
    for spans in tasks.chunk_by(|a, b| (a.row, a.kv_head) == (b.row, b.kv_head)) {
        let (own, others) = rest.split_at(spans.len() * group * per_query);
        let at = spans[0].row * q_width + spans[0].kv_head * group * dim;
        for (g, out) in out[at..at + group * dim].chunks_exact_mut(dim).enumerate() {
            join(own.chunks_exact(per_query).skip(g).step_by(group), out);
        }
        rest = others;
    }
    out
}

/// Writes the parts of some queries (up to [`TOGETHER`], dim).
fn span(q: &[f32], dim: usize, task: &Task, parts: &mut [f32]) {
    let keys = task.keys.clone();
    match task.head {
        CachedHead::Full { k, v } => {
            let (k, v) = (&k[keys.start * dim..keys.end * dim], &v[keys.start * dim..keys.end * dim]);
            if q.len() == TOGETHER * dim {
                return dispatch(Span::<TOGETHER> { q, dim, k, v, parts });
            }
            for (q, part) in q.chunks_exact(dim).zip(parts.chunks_exact_mut(2 + dim)) {
                dispatch(Span::<1> { q, dim, k, v, parts: part });
            }
        }
        #[cfg(target_arch = "x86_64")]
        CachedHead::Half(halves) => halves.span(q, dim, keys, parts),
    }
}

/// Puts the parts of a query together.
fn join<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, out: &mut [f32]) {
    let largest = parts.clone().map(|part| part[0]).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for part in parts {
        let weight = (part[0] - largest).exp();
        sum += weight * part[1];
        out.iter_mut().zip(&part[2..]).for_each(|(out, value)| *out += weight * value);
    }
    for out in out.iter_mut() {
        *out /= sum;
    }
}

/// `M` queries (M, dim) and the keys and values (n, dim) of a span; their parts.
struct Span<'a, const M: usize> {
    q: &'a [f32],
    dim: usize,
    k: &'a [f32],
    v: &'a [f32],
    parts: &'a mut [f32],
}

impl<const M: usize> WithSimd for Span<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (dim, n) = (self.dim, self.k.len() / self.dim);
        let mut scores = [[0.0; SPAN]; M];
        let queries: [_; M] = std::array::from_fn(|m| S::as_simd_f32s(&self.q[m * dim..(m + 1) * dim]));
        for (i, (k, v)) in self.k.chunks_exact(dim).zip(self.v.chunks_exact(dim)).enumerate() {
            (0..dim).step_by(16).for_each(|at| {
                call_for(k, AHEAD * dim + at);
                call_for(v, at);
            });
            let (wide, rest) = S::as_simd_f32s(k);
            for ((wide_q, rest_q), scores) in queries.iter().zip(&mut scores) {
                let mut sum = simd.splat_f32s(0.0);
                for (&q, &k) in wide_q.iter().zip(wide) {
                    sum = simd.mul_add_f32s(q, k, sum);
                }
                let rest: f32 = rest_q.iter().zip(rest).map(|(q, k)| q * k).sum();
                scores[i] = simd.reduce_sum_f32s(sum) + rest;
            }
        }
        for (scores, part) in scores.iter_mut().zip(self.parts.chunks_exact_mut(2 + dim)) {
            let scores = &mut scores[..n];
            part[0] = max_of(simd, scores);
            part[1] = exp_and_sum(simd, scores, part[0]);
        }
        let n_wide = dim / S::F32_LANES;
        for from in (0..n).step_by(KEYS) {
            let keys = from..n.min(from + KEYS);
            for at in (0..n_wide).step_by(COLUMNS) {
                if at + COLUMNS <= n_wide {
                    mix::<S, M, COLUMNS>(
                        simd,
                        (&scores, &keys),
                        (self.v, at * S::F32_LANES),
                        (self.parts, dim),
                    );
                } else {
                    for at in at..n_wide {
                        mix::<S, M, 1>(
                            simd,
                            (&scores, &keys),
                            (self.v, at * S::F32_LANES),
                            (self.parts, dim),
                        );
                    }
                }
            }
        }
        for at in n_wide * S::F32_LANES..dim {
            for (scores, part) in scores.iter().zip(self.parts.chunks_exact_mut(2 + dim)) {
                part[2 + at] = scores.iter().zip(self.v.chunks_exact(dim)).map(|(p, v)| p * v[at]).sum();
            }
        }
    }
}

/// Adds some keys' values with each query's weights to `N` registers of its part, from a column on.
#[inline(always)]
fn mix<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (weights, keys): (&[[f32; SPAN]; M], &Range<usize>),
    (values, at): (&[f32], usize),
    (parts, dim): (&mut [f32], usize),
) {
    let columns = at..at + N * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for (sums, part) in sums.iter_mut().zip(parts.chunks_exact(2 + dim)) {
        sums.copy_from_slice(S::as_simd_f32s(&part[2..][columns.clone()]).0);
    }
    let weights: [&[f32]; M] = std::array::from_fn(|m| &weights[m][keys.clone()]);
    let values = values[keys.start * dim..keys.end * dim].chunks_exact(dim);
    for (i, value) in values.enumerate() {
        let (value, _) = S::as_simd_f32s(&value[columns.clone()]);
        for (weights, sums) in weights.iter().zip(&mut sums) {
            let weight = simd.splat_f32s(weights[i]);
            for (sum, &value) in sums.iter_mut().zip(value) {
                *sum = simd.mul_add_f32s(weight, value, *sum);
            }
        }
    }
    for (sums, part) in sums.iter().zip(parts.chunks_exact_mut(2 + dim)) {
        S::as_mut_simd_f32s(&mut part[2..][columns.clone()]).0.copy_from_slice(sums);
    }
}
