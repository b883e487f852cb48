//! How is a weight read that came in 4 bits?
//!
//! As whole numbers from 0 to 15: a product costs half of what it does in float32, and a weight three quarters of a byte.

use super::{BLOCK, Left, Sums, each_output, ends_of, pairs_of};
use crate::kernels::cpu::level;
use crate::kernels::elementwise::{ROUND, folded, vectorised};

/// Steps from a block's smallest value to its largest, at most.
const STEPS: u16 = 15;

/// How far from a whole number of steps a value may be, in steps. They differ by rounding, which is coarser where weights
/// are not kept in float32.
fn tolerance() -> f32 {
    if level().rounds() { 0.1 } else { 0.01 }
}

/// A weight (out, in) in 4 bits.
#[derive(Debug)]
pub(in crate::kernels) struct Nibbles {
    pairs: Vec<Pair>,
}

/// Two blocks of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    /// Value `i` of both halves of the first block, then of both halves of the second, from the lowest bits on.
    values: [u16; 16],
    /// The scale of each, then the offset of each.
    grids: [f32; 4],
}

impl Nibbles {
    /// Of a weight (out, in), of which `row` writes the values of one output; `None` where a block has other values than
    /// sixteen at the same distance from each other.
    pub(super) fn new(dims: (usize, usize), row: &(impl Fn(usize, &mut [f32]) + Sync)) -> Option<Self> {
        if !dims.1.is_multiple_of(2 * BLOCK) {
            return None;
        }
        let pairs = pairs_of(dims, row, |row, pairs| put(row, pairs, tolerance()))?;
        Some(Self { pairs })
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        super::multiply((x, n), &self.pairs, few_rows)
    }
}

vectorised! {
    /// Finds the whole numbers of a row; whether there are such for every block.
    fn put<'a>(row: &'a [f32], pairs: &'a mut [Pair], tolerance: f32) -> bool {
        for (pair, blocks) in pairs.iter_mut().zip(row.as_chunks::<BLOCK>().0.as_chunks::<2>().0) {
            *pair = Pair::default();
            for (i, block) in blocks.iter().enumerate() {
                let Some((scale, offset, steps)) = grid_of(block, tolerance) else { return false };
                (pair.grids[i], pair.grids[2 + i]) = (scale, offset);
                for j in 0..16 {
                    let at = |value: f32| ((value - offset) * steps + 0.5) as u16;
                    pair.values[j] |= (at(block[j]) | at(block[j + 16]) << 4) << (8 * i);
                }
            }
        }
        true
    }
}

/// Scale, offset, and steps to one, under which all values of a block are whole.
#[inline(always)]
fn grid_of(values: &[f32; BLOCK], tolerance: f32) -> Option<(f32, f32, f32)> {
    let (low, high) = ends_of(values);
    let span = high - low;
    if span <= 0.0 {
        // One value only; what is no number is no value.
        return values.iter().all(|&value| value <= low).then_some((0.0, low, 0.0));
    }
    for n in (1..=STEPS).rev() {
        let (steps, mut is_off) = (f32::from(n) / span, [1.0_f32; BLOCK]);
        for j in 0..BLOCK {
            let at = (values[j] - low) * steps;
            if (at - (at + ROUND - ROUND)).abs() < tolerance {
                is_off[j] = 0.0;
            }
        }
        if folded(is_off, |a, b| a + b) < 0.5 {
            return Some((1.0 / steps, low, steps));
        }
    }
    None
}

/// Each output's weights times all rows: (outputs, n).
fn few_rows(rows: &[&[Left]], pairs: &[Pair], sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if super::vectors::are_there() {
        return vectors::few_rows(rows, pairs, sums);
    }
    each_output((rows, pairs, sums), one_output::<1>, one_output::<2>);
}

/// One output of `N` rows.
fn one_output<const N: usize>(rows: [&[Left]; N], pairs: &[Pair]) -> [f32; N] {
    let mut sums = [Sums::default(); N];
    for (k, pair) in pairs.iter().enumerate() {
        let half = |shift: usize| pair.values.map(|v| (v >> shift) & 15);
        for (row, sums) in rows.iter().zip(&mut sums) {
            sums.add(0, [half(0), half(4)], &row[k], pair.grids[0]);
            sums.add(1, [half(8), half(12)], &row[k], pair.grids[1]);
            sums.add_offsets(pair.grids, &row[k]);
        }
    }
    sums.map(Sums::total)
}

/// The same with AVX2.
#[cfg(target_arch = "x86_64")]
mod vectors {
    #[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;

    use super::super::vectors::{Sums, are_there};
    use super::{Left, Pair};

    pub(super) fn few_rows(rows: &[&[Left]], pairs: &[Pair], sums: &mut [f32]) {
        assert!(are_there());
        // SAFETY: the machine has what the function is compiled for, asserted above.
        #[allow(unsafe_code)]
        unsafe {
            each_output(rows, pairs, sums);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn each_output(rows: &[&[Left]], pairs: &[Pair], sums: &mut [f32]) {
        super::each_output((rows, pairs, sums), |r, p| one_output(r, p), |r, p| one_output(r, p));
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn one_output<const N: usize>(rows: [&[Left]; N], pairs: &[Pair]) -> [f32; N] {
        let low = _mm256_set1_epi16(15);
        let mut sums = [Sums::new(); N];
        let rows = rows.map(|row| &row[..pairs.len()]);
        for (k, pair) in pairs.iter().enumerate() {
            let all: __m256i = cast(pair.values);
            let first = [_mm256_and_si256(all, low), _mm256_and_si256(_mm256_srli_epi16::<4>(all), low)];
            let second = [_mm256_and_si256(_mm256_srli_epi16::<8>(all), low), _mm256_srli_epi16::<12>(all)];
            for n in 0..N {
                sums[n].add(0, first, &rows[n][k], pair.grids[0]);
                sums[n].add(1, second, &rows[n][k], pair.grids[1]);
                sums[n].add_offsets(pair.grids, &rows[n][k]);
            }
        }
        let mut totals = [0.0; N];
        for n in 0..N {
            totals[n] = sums[n].total();
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_products, check_vectors, noise};
    use super::*;

    /// A weight as `Q4_1` has it: `levels` steps of another length in each block, not all of them used.
    fn quantised(n: usize, levels: f32) -> Vec<f32> {
        let at = |(i, v): (usize, f32)| {
            let block = (i / BLOCK) as f32;
            (v * (levels + 0.99)).floor() * (0.01 + 0.003 * block) - 0.1 * block
        };
        noise(n).enumerate().map(at).collect()
    }

    fn nibbles(weight: &[f32], dims: (usize, usize)) -> Option<Nibbles> {
        let row = |row: usize, to: &mut [f32]| to.copy_from_slice(&weight[row * dims.1..(row + 1) * dims.1]);
        Nibbles::new(dims, &row)
    }

    #[test]
    fn products_are_those_of_the_weight() {
        let (d_out, d_in) = (37, 192);
        for levels in [15.0, 11.0, 1.0, 0.0] {
            let weight = quantised(d_out * d_in, levels);
            let kept = nibbles(&weight, (d_out, d_in)).unwrap();
            check_products(|x, n| kept.multiply(x, n), &weight, (d_out, d_in), |size| 2e-5 * size + 1e-6);
        }
    }

    #[test]
    fn what_is_no_number_does_not_become_one() {
        let kept = nibbles(&quantised(3 * 128, 15.0), (3, 128)).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            let mut x = vec![0.5; 128];
            x[70] = value;
            assert!(kept.multiply(&x, 1).iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn vectors_give_what_the_plain_loop_gives() {
        let (d_out, d_in) = (5, 256);
        let kept = nibbles(&quantised(d_out * d_in, 15.0), (d_out, d_in)).unwrap();
        check_vectors((d_out, d_in), |rows, fast, plain| {
            few_rows(rows, &kept.pairs, fast);
            each_output((rows, &kept.pairs, plain), one_output::<1>, one_output::<2>);
        });
    }

    #[test]
    fn other_weights_are_not_kept_so() {
        let (mut weight, dims) = (quantised(10 * 128, 15.0), (10, 128));
        assert!(nibbles(&weight, dims).is_some());
        assert!(nibbles(&weight[..10 * 96], (10, 96)).is_none(), "a row of three blocks");
        weight[9 * 128 + 50] += 0.04;
        assert!(nibbles(&weight, dims).is_none(), "one value between two steps");
        weight[9 * 128 + 50] = f32::NAN;
        assert!(nibbles(&weight, dims).is_none(), "one value that is no number");
        assert!(nibbles(&noise(1280).collect::<Vec<_>>(), dims).is_none());
    }
}
