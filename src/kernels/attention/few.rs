//! How do a few new tokens look at what was read before?
//!
//! Written token by token, memory's pace decides: each key head's cache is read once for all query heads of its group, in
//! spans that threads share out among themselves, and what comes of the spans is put together afterwards (as in
//! Flash-Decoding, Dao et al. 2023).

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::AttentionShape;
use super::cached::CachedKeys;
use super::task::{gather, turn_rows};
use crate::kernels::cpu::{call_for, dispatch};
use crate::kernels::elementwise::{exp_and_sum, max_of};
use crate::kernels::rope::Turn;

/// Keys of a span, at most. The number of threads has no say, so that the sums do not depend on it.
const SPAN: usize = 192;
/// Queries that read the keys together.
const TOGETHER: usize = 3;
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
    k: &'a [f32],
    v: &'a [f32],
}

/// What a span has for a query: the largest score, the sum of exponentials, and the values so weighed (dim).
struct Part {
    largest: f32,
    sum: f32,
    values: Vec<f32>,
}

/// Attention of all rows `qkv` (n, width), whose keys are in the caches already: (n, heads · dim).
pub(super) fn few_rows(qkv: &[f32], shape: &AttentionShape, caches: &[&CachedKeys]) -> Vec<f32> {
    let (dim, width, q_width) = (shape.head_dim, shape.width(), shape.q_width());
    let mut tasks = Vec::new();
    let mut queries = Vec::with_capacity(qkv.len() / width * q_width);
    let mut row = 0;
    for (cache, &n) in caches.iter().zip(&shape.lengths) {
        let first = cache.len(shape) - n;
        gather(&qkv[row * width..], (n, q_width, width), &mut queries);
        turn_rows(shape, &mut queries[row * q_width..], (q_width, first), Turn::Forward);
        for seen in first + 1..=first + n {
            let span = seen.div_ceil(seen.div_ceil(SPAN)) * dim;
            for (kv_head, head) in cache.heads.iter().enumerate() {
                let spans = head.k[..seen * dim].chunks(span).zip(head.v[..seen * dim].chunks(span));
                tasks.extend(spans.map(|(k, v)| Task { row, kv_head, k, v }));
            }
            row += 1;
        }
    }
    let group = shape.group() * dim;
    let of = |task: &Task| {
        let own = &queries[task.row * q_width + task.kv_head * group..][..group];
        own.chunks(TOGETHER * dim).flat_map(|q| parts(q, shape, task)).collect::<Vec<Part>>()
    };
    let found: Vec<Vec<Part>> = tasks.par_iter().map(of).collect();
    let mut out = vec![0.0; queries.len()];
    let of_group = tasks.iter().zip(&found).collect::<Vec<_>>();
    for spans in of_group.chunk_by(|(a, _), (b, _)| (a.row, a.kv_head) == (b.row, b.kv_head)) {
        let Some((task, _)) = spans.first() else { continue };
        let out = &mut out[task.row * q_width + task.kv_head * group..][..group];
        for (g, out) in out.chunks_exact_mut(dim).enumerate() {
            join(spans.iter().map(|(_, parts)| &parts[g]), out);
        }
    }
    out
}

/// The parts of some queries (up to [`TOGETHER`], dim).
fn parts(q: &[f32], shape: &AttentionShape, task: &Task) -> Vec<Part> {
    let (dim, scale) = (shape.head_dim, shape.scale());
    if q.len() == TOGETHER * dim {
        return dispatch(Span::<TOGETHER> { q, dim, scale, k: task.k, v: task.v }).into();
    }
    q.chunks(dim).flat_map(|q| dispatch(Span::<1> { q, dim, scale, k: task.k, v: task.v })).collect()
}

/// Puts the parts of a query together.
fn join<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut [f32]) {
    let largest = parts.clone().map(|part| part.largest).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for part in parts {
        let weight = (part.largest - largest).exp();
        sum += weight * part.sum;
        out.iter_mut().zip(&part.values).for_each(|(out, value)| *out += weight * value);
    }
    for out in out.iter_mut() {
        *out /= sum;
    }
}

/// `M` queries (M, dim) and the keys and values (n, dim) of a span.
struct Span<'a, const M: usize> {
    q: &'a [f32],
    dim: usize,
    scale: f32,
    k: &'a [f32],
    v: &'a [f32],
}

impl<const M: usize> WithSimd for Span<'_, M> {
    type Output = [Part; M];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [Part; M] {
        let (dim, n) = (self.dim, self.k.len() / self.dim);
        let mut scores: [Vec<f32>; M] = std::array::from_fn(|_| vec![0.0; n]);
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
                scores[i] = self.scale * (simd.reduce_sum_f32s(sum) + rest);
            }
        }
        let mut sizes = [(0.0, 0.0); M];
        for (scores, size) in scores.iter_mut().zip(&mut sizes) {
            let largest = max_of(scores);
            *size = (largest, exp_and_sum(scores, largest));
        }
        let mut values: [Vec<f32>; M] = std::array::from_fn(|_| vec![0.0; dim]);
        let n_wide = dim / S::F32_LANES;
        for from in (0..n).step_by(KEYS) {
            let keys = from..n.min(from + KEYS);
            for at in (0..n_wide).step_by(COLUMNS) {
                if at + COLUMNS <= n_wide {
                    self.mix::<S, COLUMNS>(simd, (&scores, &keys), at * S::F32_LANES, &mut values);
                } else {
                    for at in at..n_wide {
                        self.mix::<S, 1>(simd, (&scores, &keys), at * S::F32_LANES, &mut values);
                    }
                }
            }
        }
        for at in n_wide * S::F32_LANES..dim {
            for (scores, values) in scores.iter().zip(&mut values) {
                values[at] = scores.iter().zip(self.v.chunks_exact(dim)).map(|(p, v)| p * v[at]).sum();
            }
        }
        std::array::from_fn(|m| {
            let (largest, sum) = sizes[m];
            Part { largest, sum, values: std::mem::take(&mut values[m]) }
        })
    }
}

impl<const M: usize> Span<'_, M> {
    /// Adds some keys' values with each query's weights to `N` registers of its output, from a column on.
    #[inline(always)]
    fn mix<S: Simd, const N: usize>(
        &self,
        simd: S,
        (weights, keys): (&[Vec<f32>; M], &Range<usize>),
        at: usize,
        outputs: &mut [Vec<f32>; M],
    ) {
        let columns = at..at + N * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        for (sums, output) in sums.iter_mut().zip(&*outputs) {
            sums.copy_from_slice(S::as_simd_f32s(&output[columns.clone()]).0);
        }
        let weights: [&[f32]; M] = std::array::from_fn(|m| &weights[m][keys.clone()]);
        let values = self.v[keys.start * self.dim..keys.end * self.dim].chunks_exact(self.dim);
        for (i, value) in values.enumerate() {
            let (value, _) = S::as_simd_f32s(&value[columns.clone()]);
            for (weights, sums) in weights.iter().zip(&mut sums) {
                let weight = simd.splat_f32s(weights[i]);
                for (sum, &value) in sums.iter_mut().zip(value) {
                    *sum = simd.mul_add_f32s(weight, value, *sum);
                }
            }
        }
        for (sums, output) in sums.iter().zip(outputs) {
            S::as_mut_simd_f32s(&mut output[columns.clone()]).0.copy_from_slice(sums);
        }
    }
}
