//! How is a weight read that came in 4 bits?
//!
//! The whole numbers from 0 to 15 are multiplied as such, by rows that are rounded to 16 bits with a scale for every 32
//! values: off by a 65,000th of the largest of these at most. A product costs half of what it does in float32, and a weight
//! three quarters of a byte.

use rayon::prelude::*;

use super::{BLOCK, ends_of, outputs};
use crate::kernels::blocks::by_rows;
use crate::kernels::cpu::level;
use crate::kernels::elementwise::{ROUND, folded, vectorised};

/// Steps from a block's smallest value to its largest, at most.
const STEPS: u16 = 15;
/// The largest value of a block on the left becomes this.
const LARGEST: f32 = 32_767.0;

/// How far from a whole number of steps a value may be, in steps. They differ by rounding, which is coarser where weights
/// are not kept in float32.
fn tolerance() -> f32 {
    if level().rounds() { 0.1 } else { 0.01 }
}

/// A weight (out, in) in 4 bits.
#[derive(Debug)]
pub(in crate::kernels) struct Nibbles {
    pairs: Vec<Pair>,
    /// Of a row, in pairs of blocks.
    width: usize,
}

/// Two blocks of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    /// Value `i` of both halves of the first block, then of both halves of the second, from the lowest bits on.
    values: [u16; 16],
    /// The scale of each, then the offset of each.
    grids: [f32; 4],
}

/// The same piece of a row on the left.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    /// Both halves of the first block, then of the second.
    values: [[i16; 16]; 4],
    /// The scale of each, eight times.
    scales: [[f32; 8]; 2],
    /// Nought twice, then the sum of each.
    sums: [f32; 4],
}

impl Nibbles {
    /// Of a weight (out, in), of which `row` writes the values of one output; `None` where a block has other values than
    /// sixteen at the same distance from each other.
    pub(super) fn new(
        (d_out, d_in): (usize, usize),
        row: &(impl Fn(usize, &mut [f32]) + Sync),
    ) -> Option<Self> {
        if !d_in.is_multiple_of(2 * BLOCK) {
            return None;
        }
        let width = d_in / (2 * BLOCK);
        let mut pairs = vec![Pair::default(); d_out * width];
        let kept = |(i, pairs): (usize, &mut [Pair])| {
            let mut own = vec![0.0; d_in];
            row(i, &mut own);
            put(&own, pairs, tolerance())
        };
        // Most that cannot be kept so are found out by their first row.
        let first = kept((0, pairs.get_mut(..width)?));
        let all = first && pairs.par_chunks_mut(width).enumerate().all(kept);
        all.then_some(Self { pairs, width })
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        let mut left = vec![Left::default(); n * self.width];
        round(x, &mut left);
        let rows: Vec<&[Left]> = left.chunks_exact(self.width).collect();
        let of = |pairs: &[Pair]| {
            let mut sums = vec![0.0; pairs.len() / self.width * n];
            few_rows(&rows, pairs, &mut sums);
            sums
        };
        let dims = (self.pairs.len() / self.width, 2 * BLOCK * self.width);
        let share = outputs(dims) * self.width;
        let parts: Vec<Vec<f32>> = self.pairs.par_chunks(share).map(of).collect();
        by_rows(&parts, n)
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
    (1..=STEPS).rev().map(|n| f32::from(n) / span).find_map(|steps| {
        let is_off = values.map(|value| {
            let at = (value - low) * steps;
            if (at - (at + 0.5).floor()).abs() < tolerance { 0.0 } else { 1.0 }
        });
        (folded(is_off, |a, b| a + b) < 0.5).then_some((1.0 / steps, low, steps))
    })
}

vectorised! {
    /// Rounds rows, piece by piece.
    fn round<'a>(x: &'a [f32], left: &'a mut [Left]) -> () {
        for (left, blocks) in left.iter_mut().zip(x.as_chunks::<BLOCK>().0.as_chunks::<2>().0) {
            for (i, block) in blocks.iter().enumerate() {
                let size = folded(block.map(f32::abs), |a, b| if b > a { b } else { a });
                // What is no number must not become one.
                let scale = size / LARGEST + 0.0 * folded(*block, |a, b| a + b);
                let steps = if size > 0.0 { LARGEST / size } else { 0.0 };
                let mut whole = [0_i32; BLOCK];
                for j in 0..BLOCK {
                    whole[j] = block[j].mul_add(steps, ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
                }
                for j in 0..16 {
                    left.values[2 * i][j] = whole[j] as i16;
                    left.values[2 * i + 1][j] = whole[j + 16] as i16;
                }
                left.scales[i] = [scale; 8];
                left.sums[2 + i] = whole.iter().sum::<i32>() as f32 * scale;
            }
        }
    }
}

/// Each output's weights times all rows: (outputs, n).
fn few_rows(rows: &[&[Left]], pairs: &[Pair], sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if vectors::are_there() {
        return vectors::few_rows(rows, pairs, sums);
    }
    each_output(rows, pairs, sums, one_output::<1>, one_output::<2>);
}

/// Two rows are taken together, others one after another.
#[inline(always)]
fn each_output(
    rows: &[&[Left]],
    pairs: &[Pair],
    sums: &mut [f32],
    of_one: impl Fn([&[Left]; 1], &[Pair]) -> [f32; 1],
    of_two: impl Fn([&[Left]; 2], &[Pair]) -> [f32; 2],
) {
    let width = rows.first().map_or(1, |row| row.len());
    for (pairs, sums) in pairs.chunks_exact(width).zip(sums.chunks_exact_mut(rows.len())) {
        if let [a, b] = rows {
            sums.copy_from_slice(&of_two([*a, *b], pairs));
        } else {
            for (sum, row) in sums.iter_mut().zip(rows) {
                [*sum] = of_one([*row], pairs);
            }
        }
    }
}

/// One output of `N` rows, in the order of `vectors::one_output`.
fn one_output<const N: usize>(rows: [&[Left]; N], pairs: &[Pair]) -> [f32; N] {
    let (mut products, mut offsets) = ([[0.0_f32; 8]; N], [[0.0_f32; 4]; N]);
    for (k, pair) in pairs.iter().enumerate() {
        let values: [[u16; 16]; 4] = [0, 4, 8, 12].map(|shift| pair.values.map(|v| (v >> shift) & 15));
        for ((row, products), offsets) in rows.iter().zip(&mut products).zip(&mut offsets) {
            let left = &row[k];
            for i in 0..2 {
                let halves = [2 * i, 2 * i + 1];
                for (j, product) in products.iter_mut().enumerate() {
                    let of = |at: usize, half: usize| {
                        i32::from(values[half][at]) * i32::from(left.values[half][at])
                    };
                    let whole: i32 = halves.iter().map(|&half| of(2 * j, half) + of(2 * j + 1, half)).sum();
                    *product = (whole as f32).mul_add(pair.grids[i] * left.scales[i][j], *product);
                }
            }
            for ((offset, &grid), &sum) in offsets.iter_mut().zip(&pair.grids).zip(&left.sums) {
                *offset = grid.mul_add(sum, *offset);
            }
        }
    }
    let mut sums = [0.0; N];
    for ((sum, products), offsets) in sums.iter_mut().zip(products).zip(offsets) {
        *sum = folded(products, |a, b| a + b) + folded(offsets, |a, b| a + b);
    }
    sums
}

/// The same with AVX2, whose multiplication of 16-bit numbers the compiler does not find by itself.
#[cfg(target_arch = "x86_64")]
mod vectors {
    #[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;

    use super::{Left, Pair};

    pub(super) fn are_there() -> bool {
        pulp::x86::V3::try_new().is_some()
    }

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
        super::each_output(rows, pairs, sums, |r, p| one_output(r, p), |r, p| one_output(r, p));
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn one_output<const N: usize>(rows: [&[Left]; N], pairs: &[Pair]) -> [f32; N] {
        let low = _mm256_set1_epi16(15);
        let (mut products, mut offsets) = ([_mm256_setzero_ps(); N], [_mm_setzero_ps(); N]);
        let rows = rows.map(|row| &row[..pairs.len()]);
        for (k, pair) in pairs.iter().enumerate() {
            let all: __m256i = cast(pair.values);
            let values = [
                _mm256_and_si256(all, low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(all), low),
                _mm256_and_si256(_mm256_srli_epi16::<8>(all), low),
                _mm256_srli_epi16::<12>(all),
            ];
            for n in 0..N {
                let left = &rows[n][k];
                for i in 0..2 {
                    let half = |at: usize| _mm256_madd_epi16(values[at], cast(left.values[at]));
                    let whole = _mm256_cvtepi32_ps(_mm256_add_epi32(half(2 * i), half(2 * i + 1)));
                    let scale = _mm256_mul_ps(_mm256_set1_ps(pair.grids[i]), cast(left.scales[i]));
                    products[n] = _mm256_fmadd_ps(whole, scale, products[n]);
                }
                offsets[n] = _mm_fmadd_ps(cast(pair.grids), cast(left.sums), offsets[n]);
            }
        }
        let mut sums = [0.0; N];
        for n in 0..N {
            let halves = [_mm256_castps256_ps128(products[n]), _mm256_extractf128_ps::<1>(products[n])];
            sums[n] = folded(_mm_add_ps(halves[0], halves[1])) + folded(offsets[n]);
        }
        sums
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn folded(lanes: __m128) -> f32 {
        let pairs = _mm_add_ps(lanes, _mm_movehl_ps(lanes, lanes));
        _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_products, noise};
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
        let mut left = vec![Left::default(); 2 * kept.width];
        round(&noise(2 * d_in).collect::<Vec<_>>(), &mut left);
        let rows: Vec<&[Left]> = left.chunks_exact(kept.width).collect();
        for rows in [&rows[..1], &rows[..]] {
            let (mut fast, mut plain) = (vec![0.0; d_out * rows.len()], vec![1.0; d_out * rows.len()]);
            few_rows(rows, &kept.pairs, &mut fast);
            each_output(rows, &kept.pairs, &mut plain, one_output::<1>, one_output::<2>);
            assert_eq!(fast, plain);
        }
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
