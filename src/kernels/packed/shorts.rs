//! How is a matrix kept in whole numbers of 13 bits?
//!
//! Block floating point: of 192 values of a column, one below the other, the largest becomes 3,344 or its negative and the
//! others the nearest whole numbers, with a scale for each block. Rows on the left are rounded so when they are
//! multiplied. AVX2 then forms 16 products where it forms 8 in float32, AVX-512 32 where it forms 16. A value is off by a
//! 6,688th of its block's largest at most (in bfloat16, by a 512th of itself); sums are exact within a block and float32
//! beyond.

#[cfg(target_arch = "x86_64")]
mod vectors;

use std::ops::Range;

use rayon::prelude::*;

use super::{Added, Onto, Task};
use crate::kernels::buffer::Buffer;
#[cfg(target_arch = "x86_64")]
use crate::kernels::cpu::{Level, level};
use crate::kernels::elementwise::{ROUND, folded, vectorised};
use crate::kernels::matmul::View;
#[cfg(target_arch = "x86_64")]
use vectors::run;

/// Values that share a scale.
const BLOCK: usize = 192;
/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;
/// What the largest value of a block becomes: `BLOCK · LARGEST²` is less than 2³¹.
const LARGEST: f32 = 3_344.0;
/// Blocks whose largest value is below are nought.
const NOUGHT: f32 = 1e-30;
/// Columns of a line: a register of AVX-512, two of AVX2.
const COLUMNS: usize = 16;
/// Blocks multiplied at one go, at most: what is read of the panel and of the rows stays in the first cache; of panels that
/// are wider, in the second.
const BLOCKS: usize = 4;

/// Two rows of some columns: the two values of a column beside each other.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i16; 2 * COLUMNS]);

/// A matrix (depth, width) in whole numbers, to multiply by from the right.
#[derive(Debug)]
pub(in crate::kernels) struct Shorts {
    /// Panel by panel, pair of rows by pair of rows, line by line. The last panel and the last pair are filled up with zeros.
    lines: Vec<Line>,
    /// Panel by panel, block by block, line by line.
    scales: Vec<[f32; COLUMNS]>,
    depth: usize,
    width: usize,
    /// Lines beside each other in a panel.
    beside: usize,
}

/// Rows on the left, rounded: (n, depth).
struct Left {
    /// In pairs.
    values: Buffer<i32>,
    /// Of each block, all rows beside each other.
    scales: Buffer,
    n: usize,
    depth: usize,
}

impl Shorts {
    /// Packs a matrix.
    pub(super) fn new(from: View) -> Self {
        Self::with(from.dims(), |column, to| from.column(column, to))
    }

    /// The transpose (width, depth), packed too.
    pub(super) fn transposed(&self) -> Self {
        Self::with((self.width, self.depth), |row, to| {
            for (columns, to) in to.chunks_mut(COLUMNS).enumerate() {
                let (panel, line, _) = self.place(columns * COLUMNS);
                let scales = &self.scales(panel)[row / BLOCK * self.beside + line];
                let line = &self.lines(panel)[row / 2 * self.beside + line].0;
                for (i, to) in to.iter_mut().enumerate() {
                    *to = f32::from(line[2 * i + row % 2]) * scales[i];
                }
            }
        })
    }

    /// `fill` gets a column's number and room for its values.
    fn with((depth, width): (usize, usize), fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let beside = lines_beside();
        let (n_pairs, n_blocks, n_panels) =
            (n_pairs(depth), n_blocks(depth), width.div_ceil(beside * COLUMNS));
        let mut lines = vec![Line([0; 2 * COLUMNS]); n_panels * n_pairs * beside];
        let mut scales = vec![[0.0; COLUMNS]; n_panels * n_blocks * beside];
        let panels = lines
            .par_chunks_mut((n_pairs * beside).max(1))
            .zip(scales.par_chunks_mut((n_blocks * beside).max(1)));
        panels.enumerate().for_each_init(
            || (vec![0.0; depth], vec![0; 2 * n_pairs], vec![0.0; n_blocks]),
            |(values, rounded, own), (panel, (lines, scales))| {
                let n_columns = beside * COLUMNS;
                for (i, column) in (panel * n_columns..width).take(n_columns).enumerate() {
                    fill(column, values);
                    round(values, rounded, own);
                    let (at, i) = (i / COLUMNS, i % COLUMNS);
                    let lines = lines[at..].iter_mut().step_by(beside);
                    for (line, pair) in lines.zip(rounded.as_chunks::<2>().0) {
                        line.0[2 * i..2 * i + 2].copy_from_slice(pair);
                    }
                    let scales = scales[at..].iter_mut().step_by(beside);
                    scales.zip(&*own).for_each(|(scales, scale)| scales[i] = *scale);
                }
            },
        );
        Self { lines, scales, depth, width, beside }
    }

    /// Columns of a panel.
    pub(super) fn panel_width(&self) -> usize {
        self.beside * COLUMNS
    }

    /// (depth, width).
    pub(super) fn dims(&self) -> (usize, usize) {
        (self.depth, self.width)
    }

    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(&self.lines[..]) + size_of_val(&self.scales[..])
    }

    /// One value.
    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        let (panel, line, col) = self.place(col);
        let value = self.lines(panel)[row / 2 * self.beside + line].0[2 * col + row % 2];
        f32::from(value) * self.scales(panel)[row / BLOCK * self.beside + line][col]
    }

    /// The values of a column.
    pub(super) fn column(&self, col: usize, to: &mut [f32]) {
        let (panel, line, col) = self.place(col);
        let mut lines = self.lines(panel)[line..].iter().step_by(self.beside);
        let scales = self.scales(panel)[line..].iter().step_by(self.beside);
        for (to, scales) in to.chunks_mut(BLOCK).zip(scales) {
            for (to, line) in to.chunks_mut(2).zip(&mut lines) {
                to.iter_mut().zip(&line.0[2 * col..]).for_each(|(to, &v)| *to = f32::from(v) * scales[col]);
            }
        }
    }

    /// Where a column is: its panel, the line of that, the column of the line.
    fn place(&self, col: usize) -> (usize, usize, usize) {
        (col / self.panel_width(), col / COLUMNS % self.beside, col % COLUMNS)
    }

    fn lines(&self, panel: usize) -> &[Line] {
        let n = n_pairs(self.depth) * self.beside;
        &self.lines[panel * n..(panel + 1) * n]
    }

    fn scales(&self, panel: usize) -> &[[f32; COLUMNS]] {
        let n = n_blocks(self.depth) * self.beside;
        &self.scales[panel * n..(panel + 1) * n]
    }

    /// Columns of a panel that are in use.
    fn columns(&self, panel: usize) -> usize {
        let own = self.panel_width();
        own.min(self.width - panel * own)
    }

    /// `lhs` times a part of the matrix, on this thread, written to rows of `dst` that start `stride` values apart or
    /// added to them. The part begins with a block and a panel.
    pub(super) fn multiply_part(
        &self,
        lhs: View,
        (depth, columns): (Range<usize>, Range<usize>),
        (dst, stride): (&mut [f32], usize),
        onto: Onto,
    ) {
        assert!(depth.start.is_multiple_of(BLOCK), "a part begins with a block");
        let own = self.panel_width();
        let panels = columns.start / own..columns.end.div_ceil(own);
        let (left, first) = (&Left::new(lhs), depth.start / BLOCK);
        run(Multiply { rhs: self, left, first, panels, dst, stride, onto, added: &[] });
    }

    /// Forms a product. The order of summation does not depend on the number of rows.
    pub(super) fn multiply(&self, task: Task) {
        let Task { lhs, n, panels, dst, stride, onto, added } = task;
        let left = &Left::new(lhs.view(n, self.depth));
        run(Multiply { rhs: self, left, first: 0, panels, dst, stride, onto, added });
    }
}

/// Lines that stand beside each other in a panel: as wide as the tile of sums that AVX-512 has registers for, or AVX2.
fn lines_beside() -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Vnni {
        return vectors::WIDE;
    }
    1
}

/// Pairs of a column's values.
fn n_pairs(depth: usize) -> usize {
    depth.div_ceil(2)
}

/// Blocks of a column's values.
fn n_blocks(depth: usize) -> usize {
    depth.div_ceil(BLOCK)
}

impl Left {
    fn new(lhs: View) -> Self {
        let (n, depth) = lhs.dims();
        let (mut values, mut scales) = (Buffer::new(n * n_pairs(depth)), Buffer::new(n * n_blocks(depth)));
        let mut own = vec![0.0; n_blocks(depth)];
        for (row, values) in values.chunks_exact_mut(n_pairs(depth).max(1)).enumerate() {
            round(lhs.line(row), pulp::bytemuck::cast_slice_mut(values), &mut own);
            scales.chunks_exact_mut(n).zip(&own).for_each(|(scales, own)| scales[row] = *own);
        }
        Self { values, scales, n, depth }
    }
}

vectorised! {
    /// Rounds values to whole numbers, with a scale for each block of them. What is not a number makes its block's scale
    /// no number either, so that products are none.
    fn round<'a>(from: &'a [f32], to: &'a mut [i16], scales: &'a mut [f32]) -> () {
        for ((from, to), scale) in from.chunks(BLOCK).zip(to.chunks_mut(BLOCK)).zip(scales) {
            // The largest, and nought or what is none: in floats, for whole numbers the compiler would gather lane by lane.
            let (mut lanes, mut nought) = ([0.0_f32; 16], [0.0_f32; 16]);
            let (chunks, rest) = from.as_chunks::<16>();
            for chunk in chunks {
                for j in 0..16 {
                    lanes[j] = larger(lanes[j], chunk[j].abs());
                    nought[j] = chunk[j].mul_add(0.0, nought[j]);
                }
            }
            for j in 0..rest.len() {
                lanes[j] = larger(lanes[j], rest[j].abs());
                nought[j] = rest[j].mul_add(0.0, nought[j]);
            }
            let largest = folded(lanes, larger) + folded(nought, |a, b| a + b);
            let steps = if largest < NOUGHT { 0.0 } else { LARGEST / largest };
            *scale = if largest < NOUGHT { 0.0 } else { largest / LARGEST };
            for (to, &value) in to.iter_mut().zip(from) {
                *to = value.mul_add(steps, ROUND).to_bits() as i16;
            }
            if to.len() > from.len() {
                to[from.len()..].fill(0);
            }
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// A product to be formed: rows times some panels, of which the blocks from `first` on are used.
struct Multiply<'a> {
    rhs: &'a Shorts,
    left: &'a Left,
    first: usize,
    panels: Range<usize>,
    dst: &'a mut [f32],
    stride: usize,
    onto: Onto,
    added: &'a [Added<'a>],
}

/// Elsewhere no matrix is packed so.
#[cfg(not(target_arch = "x86_64"))]
fn run(product: Multiply) {
    unreachable!("{} rows in whole numbers without AVX2", product.left.n);
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::super::Rows;
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
    }

    fn rounded(values: &[f32]) -> (Vec<i16>, Vec<f32>) {
        let (mut whole, mut scales) =
            (vec![7; values.len().next_multiple_of(2)], vec![7.0; n_blocks(values.len())]);
        round(values, &mut whole, &mut scales);
        (whole, scales)
    }

    #[test]
    fn values_are_off_by_half_a_step_at_most() {
        for n in [1, 2, 15, 127, 191, 192, 193, 576] {
            let values = values(n, 3);
            let (whole, scales) = rounded(&values);
            for (i, value) in values.iter().enumerate() {
                let off = (value - f32::from(whole[i]) * scales[i / BLOCK]).abs();
                assert!(off <= 0.5001 * scales[i / BLOCK], "{n}, {i}: off by {off}");
            }
            assert!(whole.iter().all(|v| v.abs() <= LARGEST as i16));
            assert!(whole[n..].iter().all(|&v| v == 0));
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none_and_nought_stays_nought() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut lhs = values(2 * BLOCK, 3);
            lhs[BLOCK + 3] = bad;
            let matrix = Shorts::new(View::new(&values(2 * BLOCK * 3, 5), 2 * BLOCK, 3));
            let mut dst = [0.0; 3];
            matrix.multiply_part(
                View::new(&lhs, 1, 2 * BLOCK),
                (0..2 * BLOCK, 0..3),
                (&mut dst, 3),
                Onto::Nothing,
            );
            assert!(dst.iter().all(|v| !v.is_finite()), "{bad}: {dst:?}");
        }
        let (whole, scales) = rounded(&[0.0, -0.0, 1e-38, 0.0]);
        assert!(whole.iter().all(|&v| v == 0) && scales == [0.0]);
    }

    #[test]
    fn a_block_of_the_largest_values_does_not_overflow() {
        let (lhs, matrix) = (vec![-3.0; BLOCK], vec![5.0; BLOCK]);
        let matrix = Shorts::new(View::new(&matrix, BLOCK, 1));
        let mut dst = [0.0];
        matrix.multiply_part(View::new(&lhs, 1, BLOCK), (0..BLOCK, 0..1), (&mut dst, 1), Onto::Nothing);
        assert!((dst[0] / (-15.0 * BLOCK as f32) - 1.0).abs() < 1e-6, "{dst:?}");
    }

    #[test]
    fn a_product_is_that_of_what_is_kept_for_any_number_of_rows_and_columns() {
        let dims = [(5, 1), (7, 8), (130, 15), (193, 33), (192, 16), (192, 48), (3, 64), (7 * BLOCK + 9, 69)];
        for (depth, width) in dims {
            let matrix = Shorts::new(View::new(&values(depth * width, 5), depth, width));
            let back = matrix.transposed();
            for n in 0..20 {
                let lhs = values(n * depth, 3);
                let kept: Vec<f32> = lhs
                    .chunks(depth)
                    .flat_map(|row| {
                        let (whole, scales) = rounded(row);
                        (0..depth).map(move |i| f32::from(whole[i]) * scales[i / BLOCK]).collect::<Vec<_>>()
                    })
                    .collect();
                let mut dst = vec![7.0; n * width];
                let (lhs, panels) = (Rows::new(&lhs, depth), 0..width.div_ceil(matrix.panel_width()));
                let (stride, onto, added) = (width, Onto::Nothing, &[][..]);
                matrix.multiply(Task { lhs, n, panels, dst: &mut dst, stride, onto, added });
                for (i, &value) in dst.iter().enumerate() {
                    let (row, column) = (i / width, i % width);
                    let exact: f32 = (0..depth).map(|k| kept[row * depth + k] * matrix.at(k, column)).sum();
                    assert!((value - exact).abs() < 1e-4, "{n} x {depth} x {width}: {value} for {exact}");
                }
            }
            let mut column = vec![0.0; depth];
            for i in 0..width {
                matrix.column(i, &mut column);
                for (k, value) in column.iter().enumerate() {
                    assert!((value - matrix.at(k, i)).abs() < f32::EPSILON);
                    assert!((value - back.at(i, k)).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let own = lines_beside() * COLUMNS;
        let (depth, width) = (3 * BLOCK, 3 * own);
        let (lhs, matrix) = (values(4 * depth, 3), values(depth * width, 5));
        let matrix = Shorts::new(View::new(&matrix, depth, width));
        let mut whole = vec![0.0; 4 * width];
        matrix.multiply_part(
            View::new(&lhs, 4, depth),
            (0..depth, 0..width),
            (&mut whole, width),
            Onto::Nothing,
        );
        let mut parts = vec![0.0; 4 * width];
        for rows in [0..BLOCK, BLOCK..depth] {
            for columns in [0..own, own..width] {
                let lhs = View::strided(&lhs[rows.start..], (4, rows.len()), depth);
                let dst = &mut parts[columns.start..];
                matrix.multiply_part(lhs, (rows.clone(), columns), (dst, width), Onto::Sum);
            }
        }
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
    }
}
