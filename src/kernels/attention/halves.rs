//! How are keys and values kept where products are rounded anyway?
//!
//! In half floats (IEEE 754 binary16), which halves what is read for each token that is written. Keys stand side by side,
//! sixteen of them, so that each sums up its score in a lane of its own.

use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps};

use pulp::bytemuck::cast;

use super::few::{SPAN, TOGETHER};
use crate::kernels::cpu::call_for;
use crate::kernels::elementwise::{exp_and_sum, max_of, vectorised};
use crate::kernels::half_floats::{narrow, widen};
use crate::kernels::narrow::vectors::{are_there, numbers};

/// Keys that stand side by side.
const SIDE: usize = 16;
/// Values that are weighed at one time.
const COLUMNS: usize = 32;
/// Blocks of keys that are called for before they are read.
const AHEAD: usize = 2;

/// Keys and values of a key head, as bits of half floats.
#[derive(Debug, Clone, Default)]
pub(super) struct Halves {
    n: usize,
    /// For each [`SIDE`] keys a line of every dimension. After the last key lines hold anything.
    keys: Vec<[u16; SIDE]>,
    /// (n, dim)
    values: Vec<u16>,
}

impl Halves {
    /// Whether heads of that width are kept so, on this machine.
    pub(super) fn fit(dim: usize) -> bool {
        dim.is_multiple_of(COLUMNS) && are_there()
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Forgets all keys after the first `n`.
    pub(super) fn truncate(&mut self, n: usize, dim: usize) {
        self.n = self.n.min(n);
        self.keys.truncate(self.n.div_ceil(SIDE) * dim);
        self.values.truncate(self.n * dim);
    }

    /// Adds keys and values (n, dim).
    pub(super) fn add(&mut self, k: &[f32], v: &[f32], dim: usize) {
        for key in rounded(k).chunks_exact(dim) {
            let (block, lane) = (self.n / SIDE * dim, self.n % SIDE);
            if lane == 0 {
                self.keys.resize(block + dim, [0; SIDE]);
            }
            self.keys[block..].iter_mut().zip(key).for_each(|(line, &value)| line[lane] = value);
            self.n += 1;
        }
        self.values.extend(rounded(v));
    }

    /// Keys and values (n, dim).
    pub(super) fn wide(&self, dim: usize) -> (Vec<f32>, Vec<f32>) {
        let mut keys = vec![0.0; self.n * dim];
        let mut block = vec![0.0; SIDE * dim];
        for (lines, keys) in self.keys.chunks_exact(dim).zip(keys.chunks_mut(SIDE * dim)) {
            widen(lines.as_flattened(), &mut block);
            for (i, key) in keys.chunks_exact_mut(dim).enumerate() {
                key.iter_mut().zip(block[i..].iter().step_by(SIDE)).for_each(|(key, &value)| *key = value);
            }
        }
        let mut values = vec![0.0; self.values.len()];
        widen(&self.values, &mut values);
        (keys, values)
    }

    /// What some keys, from the first of a line on and [`SPAN`] at most, have for queries (dim, up to [`TOGETHER`]): for
    /// each the largest score, the sum of exponentials and the values so weighed (dim).
    pub(super) fn span(&self, q: &[f32], dim: usize, keys: std::ops::Range<usize>, parts: &mut [f32]) {
        assert!(are_there());
        let lines = &self.keys[keys.start / SIDE * dim..keys.end.div_ceil(SIDE) * dim];
        let seen = (lines, &self.values[keys.start * dim..keys.end * dim]);
        // SAFETY: the machine has what the functions are compiled for.
        #[allow(unsafe_code)]
        unsafe {
            match q.len() / dim {
                TOGETHER => span::<TOGETHER>(q, dim, seen, parts),
                2 => span::<2>(q, dim, seen, parts),
                _ => span::<1>(q, dim, seen, parts),
            }
        }
    }
}

/// As bits of half floats.
fn rounded(values: &[f32]) -> Vec<u16> {
    let mut bits = vec![0; values.len()];
    narrow(values, &mut bits);
    bits
}

#[target_feature(enable = "avx2,fma,f16c")]
fn span<const M: usize>(q: &[f32], dim: usize, (lines, values): (&[[u16; SIDE]], &[u16]), parts: &mut [f32]) {
    let mut scores = [[0.0_f32; SPAN]; M];
    let queries: [&[f32]; M] = std::array::from_fn(|m| &q[m * dim..(m + 1) * dim]);
    for (b, block) in lines.chunks_exact(dim).enumerate() {
        let mut sums = [[_mm256_setzero_ps(); 2]; M];
        for (d, line) in block.iter().enumerate() {
            if d % 2 == 0 {
                call_for(lines, (b + AHEAD) * dim + d);
                call_for(values, (b * dim + d) * SIDE);
            }
            let ([low, high], _) = line.as_chunks() else { continue };
            let keys = [numbers(*low), numbers(*high)];
            for m in 0..M {
                let q = _mm256_set1_ps(queries[m][d]);
                for h in 0..2 {
                    sums[m][h] = _mm256_fmadd_ps(q, keys[h], sums[m][h]);
                }
            }
        }
        for (scores, sums) in scores.iter_mut().zip(sums) {
            scores[b * SIDE..(b + 1) * SIDE].copy_from_slice(&cast::<_, [f32; SIDE]>(sums));
        }
    }
    let n = values.len() / dim;
    for (scores, part) in scores.iter_mut().zip(parts.chunks_exact_mut(2 + dim)) {
        exponentials(&mut scores[..n], part);
    }
    for at in (0..dim).step_by(COLUMNS) {
        let mut sums = [[_mm256_setzero_ps(); 4]; M];
        for (i, values) in values.chunks_exact(dim).enumerate() {
            let weights: [_; M] = std::array::from_fn(|m| _mm256_set1_ps(scores[m][i]));
            let (eights, _) = values[at..at + COLUMNS].as_chunks::<8>();
            for (c, eight) in eights.iter().enumerate() {
                let value = numbers(*eight);
                for (sums, &weight) in sums.iter_mut().zip(&weights) {
                    sums[c] = _mm256_fmadd_ps(weight, value, sums[c]);
                }
            }
        }
        for (sums, part) in sums.into_iter().zip(parts.chunks_exact_mut(2 + dim)) {
            part[2 + at..][..COLUMNS].copy_from_slice(&cast::<_, [f32; COLUMNS]>(sums));
        }
    }
}

vectorised! {
    /// Turns scores into exponentials, shifted by the largest; that and their sum go first in `part`.
    fn exponentials<'a>(scores: &'a mut [f32], part: &'a mut [f32]) -> () |simd| {
        part[0] = max_of(simd, scores);
        part[1] = exp_and_sum(simd, scores, part[0]);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        crate::kernels::tests::noise((1, n), seed).flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn what_is_kept_is_rounded_in_its_place_and_can_be_forgotten() {
        if !are_there() {
            return;
        }
        let (dim, n) = (32, 37);
        let (k, v) = (noise(n * dim, 1), noise(n * dim, 2));
        let mut kept = Halves::default();
        kept.add(&k[..5 * dim], &v[..5 * dim], dim);
        kept.add(&noise(30 * dim, 3), &noise(30 * dim, 4), dim);
        kept.truncate(5, dim);
        kept.add(&k[5 * dim..], &v[5 * dim..], dim);
        assert_eq!(kept.len(), n);
        let (keys, values) = kept.wide(dim);
        for (kept, given) in [(keys, k), (values, v)] {
            assert_eq!(kept, given.iter().map(|&g| f16::from_f32(g).to_f32()).collect::<Vec<_>>());
        }
        kept.add(&[1e6; 32], &[-1e6; 32], dim);
        let (keys, values) = kept.wide(dim);
        assert!(keys[n * dim..].iter().all(|&k| k.total_cmp(&f16::MAX.to_f32()).is_eq()));
        assert!(values[n * dim..].iter().all(|&v| v.total_cmp(&f16::MIN.to_f32()).is_eq()));
        kept.add(&[f32::NAN; 32], &[f32::INFINITY; 32], dim);
        let (keys, values) = kept.wide(dim);
        assert!(keys[(n + 1) * dim..].iter().all(|k| k.is_nan()));
        assert!(values[(n + 1) * dim..].iter().all(|v| v.is_infinite()));
    }

    #[test]
    fn spans_weigh_the_values_by_the_scores() {
        if !are_there() {
            return;
        }
        let (dim, n) = (64, 100);
        let mut kept = Halves::default();
        kept.add(&noise(n * dim, 1), &noise(n * dim, 2), dim);
        let (keys, values) = kept.wide(dim);
        for (m, range) in [(3, 0..n), (2, 16..50), (1, 96..97)] {
            let q = noise(m * dim, 3);
            let mut parts = vec![0.0; m * (2 + dim)];
            kept.span(&q, dim, range.clone(), &mut parts);
            for (q, part) in q.chunks_exact(dim).zip(parts.chunks_exact(2 + dim)) {
                let dot = |k: &[f32]| q.iter().zip(k).map(|(q, k)| f64::from(q * k)).sum::<f64>();
                let scores: Vec<f64> = range.clone().map(|i| dot(&keys[i * dim..(i + 1) * dim])).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let value = |d: usize| {
                    range.clone().zip(&weights).map(|(i, w)| w * f64::from(values[i * dim + d])).sum::<f64>()
                };
                let exact = [largest, weights.iter().sum()].into_iter().chain((0..dim).map(value));
                for (found, exact) in part.iter().zip(exact) {
                    assert!((f64::from(*found) - exact).abs() < 1e-4, "{m} queries: {found} for {exact}");
                }
            }
        }
    }
}
