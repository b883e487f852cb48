//! How is a weight read in 8 bits?
//!
//! What came quantised in blocks of 32 values, `Q8_0` among them, is on that grid already and loses nothing but the last
//! digit; other weights are off by a 500th of their block's span at most.

use super::{BLOCK, Left, Sums, each_output, ends_of, pairs_of};
use crate::kernels::elementwise::{folded, vectorised};

/// A weight (out, in) in bytes.
#[derive(Debug)]
pub(in crate::kernels) struct Bytes {
    pairs: Vec<Pair>,
}

/// Two blocks of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    values: [[u8; BLOCK]; 2],
    /// The scale of each, then the offset of each.
    grids: [f32; 4],
}

impl Bytes {
    /// Of a weight (out, in), of which `row` writes the values of one output.
    pub(super) fn new(dims: (usize, usize), row: &(impl Fn(usize, &mut [f32]) + Sync)) -> Self {
        let put = |row: &[f32], pairs: &mut [Pair]| {
            put(row, pairs);
            true
        };
        Self { pairs: pairs_of(dims, row, put).unwrap_or_default() }
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        super::multiply((x, n), &self.pairs, few_rows)
    }
}

vectorised! {
    /// Finds the grid of each block of a row and the byte of each value.
    fn put<'a>(row: &'a [f32], pairs: &'a mut [Pair]) -> () {
        for (pair, blocks) in pairs.iter_mut().zip(row.as_chunks::<BLOCK>().0.chunks(2)) {
            for (i, block) in blocks.iter().enumerate() {
                let grid = grid_of(block);
                let steps = steps_of(grid);
                [pair.grids[i], pair.grids[2 + i]] = grid;
                for (to, &value) in pair.values[i].iter_mut().zip(block) {
                    *to = nearest(value, grid, steps);
                }
            }
        }
    }
}

/// Scale and offset under which the values of a block are off by least: from the smallest to the largest in 255 steps, or
/// with nought on the grid and 127 steps up to the largest size.
#[inline(always)]
fn grid_of(values: &[f32; BLOCK]) -> [f32; 2] {
    let (low, high) = ends_of(values);
    let even = low.abs().max(high.abs()) / 127.0;
    let (full, even) = ([(high - low) / 255.0, low], [even, -128.0 * even]);
    if off_by(values, even) < off_by(values, full) { even } else { full }
}

/// How far the value that is off most is off.
#[inline(always)]
fn off_by(values: &[f32; BLOCK], grid: [f32; 2]) -> f32 {
    let (steps, mut off) = (steps_of(grid), [0.0_f32; BLOCK]);
    for j in 0..BLOCK {
        off[j] = (values[j] - value_of(nearest(values[j], grid, steps), grid)).abs();
    }
    folded(off, |a, b| if b > a { b } else { a })
}

/// Steps of a grid to one.
#[inline(always)]
fn steps_of([scale, _]: [f32; 2]) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

#[inline(always)]
fn nearest(value: f32, [_, offset]: [f32; 2], steps: f32) -> u8 {
    // No value of a block lies outside its grid.
    (value - offset).mul_add(steps, 0.5) as i32 as u8
}

#[inline(always)]
fn value_of(byte: u8, [scale, offset]: [f32; 2]) -> f32 {
    f32::from(byte).mul_add(scale, offset)
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
        for (row, sums) in rows.iter().zip(&mut sums) {
            for (i, values) in pair.values.iter().enumerate() {
                let half = |from: usize| std::array::from_fn(|j| u16::from(values[from + j]));
                sums.add(i, [half(0), half(BLOCK / 2)], &row[k], pair.grids[i]);
            }
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
        let mut sums = [Sums::new(); N];
        let rows = rows.map(|row| &row[..pairs.len()]);
        for (k, pair) in pairs.iter().enumerate() {
            let halves: [__m128i; 4] = cast(pair.values);
            let wide = |at: usize| _mm256_cvtepu8_epi16(halves[at]);
            let (first, second) = ([wide(0), wide(1)], [wide(2), wide(3)]);
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
    use super::super::left::pairs;
    use super::super::tests::{check_products, check_vectors, noise};
    use super::*;

    fn bytes(weight: &[f32], dims: (usize, usize)) -> Bytes {
        Bytes::new(dims, &|row: usize, to: &mut [f32]| {
            to.copy_from_slice(&weight[row * dims.1..(row + 1) * dims.1]);
        })
    }

    /// The values of rows of that width.
    fn kept(bytes: &Bytes, width: usize) -> Vec<f32> {
        let of_pair = |pair: &Pair| {
            let of = |i: usize| pair.values[i].map(|byte| value_of(byte, [pair.grids[i], pair.grids[2 + i]]));
            [of(0), of(1)].concat()
        };
        let rows = bytes.pairs.chunks(pairs(width));
        rows.flat_map(|row| row.iter().flat_map(of_pair).take(width).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn weights_that_came_quantised_stay_as_they_are() {
        // Q4_1: sixteen steps from the smallest to the largest. Q8_0: whole multiples up to 127.
        let (levels, size): (Vec<f32>, usize) = (noise(640).collect(), 640);
        let q4_1 = levels.chunks(32).enumerate().flat_map(|(i, block)| {
            let (step, low) = (0.01 + 0.003 * i as f32, -0.1 * i as f32);
            let at =
                |(j, v): (usize, &f32)| if j < 2 { 15.0 * j as f32 } else { (v * 15.9).floor() } * step + low;
            block.iter().enumerate().map(at).collect::<Vec<_>>()
        });
        let q8_0 = levels.chunks(32).enumerate().flat_map(|(i, block)| {
            let step = 0.001 + 0.0007 * i as f32;
            let at = |(j, v): (usize, &f32)| if j == 0 { -127.0 } else { (v * 200.0 - 100.0).round() } * step;
            block.iter().enumerate().map(at).collect::<Vec<_>>()
        });
        for weight in [q4_1.collect::<Vec<f32>>(), q8_0.collect()] {
            let same = kept(&bytes(&weight, (4, size / 4)), size / 4);
            let off = weight.iter().zip(&same).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-6, "off by {off}");
        }
    }

    #[test]
    fn other_weights_are_off_by_half_a_step_at_most_and_products_are_those_of_what_is_kept() {
        let (d_out, d_in) = (37, 96);
        let weight: Vec<f32> = noise(d_out * d_in).map(|v| v - 0.4).collect();
        let bytes = bytes(&weight, (d_out, d_in));
        let kept = kept(&bytes, d_in);
        assert!(weight.iter().zip(&kept).all(|(a, b)| (a - b).abs() <= 0.5 / 255.0 + 1e-6));
        check_products(|x, n| bytes.multiply(x, n), &kept, (d_out, d_in), |_| 1e-4);
    }

    #[test]
    fn blocks_of_one_value_are_kept() {
        let weight = vec![0.25; 64].into_iter().chain(vec![0.0; 64]).collect::<Vec<f32>>();
        assert_eq!(kept(&bytes(&weight, (2, 64)), 64), weight);
    }

    #[test]
    fn vectors_give_what_the_plain_loop_gives() {
        let (d_out, d_in) = (5, 224);
        let bytes = bytes(&noise(d_out * d_in).collect::<Vec<_>>(), (d_out, d_in));
        check_vectors((d_out, d_in), |rows, fast, plain| {
            few_rows(rows, &bytes.pairs, fast);
            each_output((rows, &bytes.pairs, plain), one_output::<1>, one_output::<2>);
        });
    }
}
