//! How is a weight read in 8 bits?
//!
//! What came quantised in blocks of 32 values, `Q8_0` among them, is on that grid already and loses nothing but the last
//! digit; other weights are off by a 500th of their block's span at most.

use rayon::prelude::*;

use super::{BLOCK, ends_of, outputs};
use crate::kernels::blocks::by_rows;
use crate::kernels::elementwise::{folded, vectorised};

/// A weight (out, in) in bytes.
#[derive(Debug)]
pub(in crate::kernels) struct Bytes {
    values: Vec<u8>,
    /// Of each block: scale and offset.
    grids: Vec<[f32; 2]>,
    /// Of a row.
    width: usize,
}

impl Bytes {
    /// Of a weight (out, in), of which `row` writes the values of one output.
    pub(super) fn new(dims: (usize, usize), row: &(impl Fn(usize, &mut [f32]) + Sync)) -> Self {
        let (d_out, d_in) = dims;
        let (mut values, mut grids) = (vec![0; d_out * d_in], vec![[0.0; 2]; d_out * d_in / BLOCK]);
        let rows = values.par_chunks_mut(d_in).zip(grids.par_chunks_mut(d_in / BLOCK)).enumerate();
        rows.for_each_init(
            || vec![0.0; d_in],
            |own, (i, (values, grids))| {
                row(i, own);
                put(own, values, grids);
            },
        );
        Self { values, grids, width: d_in }
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        let d_in = self.width;
        let own = outputs((self.values.len() / d_in, d_in)) * d_in;
        let shares = self.values.par_chunks(own).zip(self.grids.par_chunks(own / BLOCK));
        let of = |(values, grids): (&[u8], &[[f32; 2]])| {
            let mut sums = vec![0.0; values.len() / d_in * n];
            few_rows(x, (values, grids), &mut sums, d_in);
            sums
        };
        let parts: Vec<Vec<f32>> = shares.map(of).collect();
        by_rows(&parts, n)
    }
}

vectorised! {
    /// Finds the grid of each block of a row and the byte of each value.
    fn put<'a>(row: &'a [f32], values: &'a mut [u8], grids: &'a mut [[f32; 2]]) -> () {
        let blocks = row.as_chunks::<BLOCK>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0);
        for ((from, to), grid) in blocks.zip(grids) {
            *grid = grid_of(from);
            let steps = steps_of(*grid);
            for j in 0..BLOCK {
                to[j] = nearest(from[j], *grid, steps);
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

/// The bytes of some outputs and their grids.
type Share<'a> = (&'a [u8], &'a [[f32; 2]]);

vectorised! {
    /// Each output's weights times all rows of `x`: (outputs, n).
    fn few_rows<'a>(x: &'a [f32], share: Share<'a>, sums: &'a mut [f32], width: usize) -> () {
        let (values, grids) = share;
        let n = x.len() / width;
        let outputs = values.chunks_exact(width).zip(grids.chunks_exact(width / BLOCK));
        for ((values, grids), sums) in outputs.zip(sums.chunks_exact_mut(n)) {
            match n {
                1 => sums.copy_from_slice(&one_output::<1>([x], (values, grids))),
                2 => sums.copy_from_slice(&one_output::<2>([&x[..width], &x[width..]], (values, grids))),
                _ => {
                    for (sum, x) in sums.iter_mut().zip(x.chunks_exact(width)) {
                        [*sum] = one_output::<1>([x], (values, grids));
                    }
                }
            }
        }
    }
}

/// One output of `N` rows.
#[inline(always)]
fn one_output<const N: usize>(x: [&[f32]; N], (values, grids): Share) -> [f32; N] {
    let mut lanes = [[0.0_f32; BLOCK]; N];
    let x = x.map(|x| x.as_chunks::<BLOCK>().0);
    for (i, (bytes, &grid)) in values.as_chunks::<BLOCK>().0.iter().zip(grids).enumerate() {
        let mut weights = [0.0_f32; BLOCK];
        for j in 0..BLOCK {
            weights[j] = value_of(bytes[j], grid);
        }
        for (lanes, x) in lanes.iter_mut().zip(x) {
            let x = &x[i];
            for j in 0..BLOCK {
                lanes[j] = weights[j].mul_add(x[j], lanes[j]);
            }
        }
    }
    lanes.map(sum)
}

/// Halved until one is left: shorter than one after another. Not part of the loop: it would keep the lanes in memory.
#[inline(never)]
fn sum(lanes: [f32; BLOCK]) -> f32 {
    folded(lanes, |a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_products, noise};
    use super::*;

    fn bytes(weight: &[f32], dims: (usize, usize)) -> Bytes {
        Bytes::new(dims, &|row: usize, to: &mut [f32]| {
            to.copy_from_slice(&weight[row * dims.1..(row + 1) * dims.1]);
        })
    }

    fn kept(bytes: &Bytes) -> Vec<f32> {
        let grids = bytes.grids.iter().flat_map(|grid| [*grid; BLOCK]);
        bytes.values.iter().zip(grids).map(|(&byte, grid)| value_of(byte, grid)).collect()
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
            let same = kept(&bytes(&weight, (4, size / 4)));
            let off = weight.iter().zip(&same).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-6, "off by {off}");
        }
    }

    #[test]
    fn other_weights_are_off_by_half_a_step_at_most_and_products_are_those_of_what_is_kept() {
        let (d_out, d_in) = (37, 96);
        let weight: Vec<f32> = noise(d_out * d_in).map(|v| v - 0.4).collect();
        let bytes = bytes(&weight, (d_out, d_in));
        let kept = kept(&bytes);
        assert!(weight.iter().zip(&kept).all(|(a, b)| (a - b).abs() <= 0.5 / 255.0 + 1e-6));
        check_products(|x, n| bytes.multiply(x, n), &kept, (d_out, d_in), |_| 1e-4);
    }

    #[test]
    fn blocks_of_one_value_are_kept() {
        let weight = vec![0.25; 64].into_iter().chain(vec![0.0; 64]).collect::<Vec<f32>>();
        assert_eq!(kept(&bytes(&weight, (2, 64))), weight);
    }
}
