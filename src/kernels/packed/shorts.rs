//! How is a matrix kept in whole numbers of 13 bits?
//!
//! Of a column's values the largest becomes 3,344 or its negative and the others the nearest whole numbers, with a scale for
//! each column. Rows on the left are rounded so when they are multiplied, 192 values at a time (block floating point). AVX2
//! then forms 16 products where it forms 8 in float32, AVX-512 32 where it forms 16. A value is off by a 6,688th of the
//! largest at most (in bfloat16, by a 512th of itself); sums are exact within a block and float32 beyond.
//!
//! The transpose is multiplied by without being kept: a row's values take the scales of the columns before they are rounded,
//! and whole numbers alone are turned.

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
use crate::kernels::turn::{Line, SQUARE, turn};
#[cfg(target_arch = "x86_64")]
use vectors::run;

/// Values of a row on the left that share a scale.
const BLOCK: usize = 192;
/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;
/// What the largest value becomes: `BLOCK · LARGEST²` is less than 2³¹.
const LARGEST: f32 = 3_344.0;
/// Where the largest value is below, all are nought.
const NOUGHT: f32 = 1e-30;
/// Columns of a line: a register of AVX-512, two of AVX2.
const COLUMNS: usize = 16;
/// Blocks multiplied at one go, at most: what is read of the panel and of the rows stays in the first cache; of panels that
/// are wider, in the second.
const BLOCKS: usize = 4;

/// A matrix (depth, width) in whole numbers, to multiply by from the right.
#[derive(Debug)]
pub(in crate::kernels) struct Shorts {
    /// Panel by panel, pair of rows by pair of rows, line by line. The last panel and the last pair are filled up with zeros.
    lines: Vec<Line>,
    /// Of each column, those of a line together.
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

    /// `fill` gets a column's number and room for its values.
    fn with((depth, width): (usize, usize), fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let beside = lines_beside();
        let (n_pairs, n_panels) = (n_pairs(depth), width.div_ceil(beside * COLUMNS));
        let mut lines = vec![Line::ZERO; n_panels * n_pairs * beside];
        let mut scales = vec![[0.0; COLUMNS]; n_panels * beside];
        let panels = lines.par_chunks_mut((n_pairs * beside).max(1)).zip(scales.par_chunks_mut(beside));
        panels.enumerate().for_each_init(
            || (vec![0.0; depth], vec![0_u16; 2 * n_pairs]),
            |(values, rounded), (panel, (lines, scales))| {
                let n_columns = beside * COLUMNS;
                for (i, column) in (panel * n_columns..width).take(n_columns).enumerate() {
                    fill(column, values);
                    let (at, i) = (i / COLUMNS, i % COLUMNS);
                    scales[at][i] = round(values, pulp::bytemuck::cast_slice_mut(rounded));
                    let lines = lines[at..].iter_mut().step_by(beside);
                    for (line, pair) in lines.zip(rounded.as_chunks::<2>().0) {
                        line.0[2 * i..2 * i + 2].copy_from_slice(pair);
                    }
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
        let (panel, line, i) = self.place(col);
        let value = self.lines(panel)[row / 2 * self.beside + line].0[2 * i + row % 2];
        f32::from(value.cast_signed()) * self.scale(col)
    }

    /// The values of a column.
    pub(super) fn column(&self, col: usize, to: &mut [f32]) {
        let (panel, line, i) = self.place(col);
        let (lines, scale) = (self.lines(panel)[line..].iter().step_by(self.beside), self.scale(col));
        for (to, line) in to.chunks_mut(2).zip(lines) {
            to.iter_mut().zip(&line.0[2 * i..]).for_each(|(to, &v)| *to = f32::from(v.cast_signed()) * scale);
        }
    }

    fn scale(&self, col: usize) -> f32 {
        self.scales.as_flattened()[col]
    }

    /// Where a column is: its panel, the line of that, the column of the line.
    fn place(&self, col: usize) -> (usize, usize, usize) {
        (col / self.panel_width(), col / COLUMNS % self.beside, col % COLUMNS)
    }

    fn lines(&self, panel: usize) -> &[Line] {
        let n = n_pairs(self.depth) * self.beside;
        &self.lines[panel * n..(panel + 1) * n]
    }

    /// Writes rows of a panel of the transpose: of all panels of the matrix that `rows`, which begin with one, reach into.
    fn turn(&self, panel: usize, rows: Range<usize>, to: &mut [Line]) {
        let own = self.panel_width();
        let (from, own_lines) = (panel * own / 2 * self.beside, own / 2 * self.beside);
        for (to, p) in to.chunks_exact_mut(own_lines).zip(rows.start / own..rows.end.div_ceil(own)) {
            let lines = self.lines(p);
            let square = |left: usize, top: usize| top * SQUARE * self.beside + left;
            for (left, top) in (0..self.beside).flat_map(|left| (0..self.beside).map(move |top| (left, top)))
            {
                let lines = lines.get(from + square(left, top)..).unwrap_or_default();
                turn(lines, &mut to[square(top, left)..], self.beside);
            }
        }
    }

    /// `lhs` times a part of the matrix or its transpose, on this thread, written to rows of `dst` that start `stride` values
    /// apart or added to them. The part begins with a block and a panel.
    pub(super) fn multiply_part(
        &self,
        (lhs, turned): (View, bool),
        (depth, columns): (Range<usize>, Range<usize>),
        (dst, stride): (&mut [f32], usize),
        onto: Onto,
    ) {
        let own = self.panel_width();
        let begins = depth.start.is_multiple_of(BLOCK) && columns.start.is_multiple_of(own);
        assert!(begins, "a part begins with a block and a panel");
        let panels = columns.start / own..columns.end.div_ceil(own);
        let (left, first) = (&self.left(turned, lhs, depth.start), depth.start / BLOCK);
        run(Multiply { rhs: self, turned, left, first, panels, dst, stride, onto, added: &[] });
    }

    /// Forms a product. The order of summation does not depend on the number of rows.
    pub(super) fn multiply(&self, task: Task) {
        let Task { lhs, n, turned, panels, dst, stride, onto, added } = task;
        let left = &self.left(turned, lhs.view(n, if turned { self.width } else { self.depth }), 0);
        run(Multiply { rhs: self, turned, left, first: 0, panels, dst, stride, onto, added });
    }

    /// Rows on the left, of which the first value belongs to row `start` of the matrix or its transpose.
    fn left(&self, turned: bool, lhs: View, start: usize) -> Left {
        Left::new(lhs, turned.then(|| &self.scales.as_flattened()[start..]))
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
    /// `factors`: what the values of a row are multiplied by first.
    fn new(lhs: View, factors: Option<&[f32]>) -> Self {
        let (n, depth) = lhs.dims();
        let (mut values, mut scales) = (Buffer::new(n * n_pairs(depth)), Buffer::new(n * n_blocks(depth)));
        let mut scaled = vec![0.0; if factors.is_some() { depth } else { 0 }];
        for (row, values) in values.chunks_exact_mut(n_pairs(depth).max(1)).enumerate() {
            let mut line = lhs.line(row);
            if let Some(factors) = factors {
                times(line, factors, &mut scaled);
                line = &scaled;
            }
            let blocks = line.chunks(BLOCK).zip(pulp::bytemuck::cast_slice_mut(values).chunks_mut(BLOCK));
            for (block, (from, to)) in blocks.enumerate() {
                scales[block * n + row] = round(from, to);
            }
        }
        Self { values, scales, n, depth }
    }
}

vectorised! {
    fn times<'a>(from: &'a [f32], factors: &'a [f32], to: &'a mut [f32]) -> () {
        for ((to, value), factor) in to.iter_mut().zip(from).zip(factors) {
            *to = value * factor;
        }
    }

    /// Rounds values to whole numbers and returns their scale. What is not a number makes the scale no number either, so
    /// that products are none.
    fn round<'a>(from: &'a [f32], to: &'a mut [i16]) -> f32 {
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
        for (to, &value) in to.iter_mut().zip(from) {
            *to = value.mul_add(steps, ROUND).to_bits() as i16;
        }
        if to.len() > from.len() {
            to[from.len()..].fill(0);
        }
        if largest < NOUGHT { 0.0 } else { largest / LARGEST }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// A product to be formed: rows times some panels of a matrix or its transpose, of which the blocks from `first` on are used.
struct Multiply<'a> {
    rhs: &'a Shorts,
    turned: bool,
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

    fn rounded(values: &[f32]) -> (Vec<i16>, f32) {
        let mut whole = vec![7; values.len().next_multiple_of(2)];
        let scale = round(values, &mut whole);
        (whole, scale)
    }

    /// What rounded values stand for, block by block.
    fn kept(values: &[f32]) -> Vec<f32> {
        let kept = |block: &[f32]| {
            let (whole, scale) = rounded(block);
            whole.into_iter().take(block.len()).map(move |v| f32::from(v) * scale).collect::<Vec<_>>()
        };
        values.chunks(BLOCK).flat_map(kept).collect()
    }

    #[test]
    fn values_are_off_by_half_a_step_at_most() {
        for n in [1, 2, 15, 127, 191, 192, 193, 576] {
            let values = values(n, 3);
            let (whole, scale) = rounded(&values);
            for (i, value) in values.iter().enumerate() {
                let off = (value - f32::from(whole[i]) * scale).abs();
                assert!(off <= 0.5001 * scale, "{n}, {i}: off by {off}");
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
                (View::new(&lhs, 1, 2 * BLOCK), false),
                (0..2 * BLOCK, 0..3),
                (&mut dst, 3),
                Onto::Nothing,
            );
            assert!(dst.iter().all(|v| !v.is_finite()), "{bad}: {dst:?}");
        }
        let (whole, scale) = rounded(&[0.0, -0.0, 1e-38, 0.0]);
        assert!(whole.iter().all(|&v| v == 0) && scale.to_bits() == 0);
    }

    #[test]
    fn a_block_of_the_largest_values_does_not_overflow() {
        let (lhs, matrix) = (vec![-3.0; BLOCK], vec![5.0; BLOCK]);
        let matrix = Shorts::new(View::new(&matrix, BLOCK, 1));
        let mut dst = [0.0];
        let (lhs, dst) = (View::new(&lhs, 1, BLOCK), &mut dst[..]);
        matrix.multiply_part((lhs, false), (0..BLOCK, 0..1), (&mut *dst, 1), Onto::Nothing);
        assert!((dst[0] / (-15.0 * BLOCK as f32) - 1.0).abs() < 1e-6, "{dst:?}");
    }

    #[test]
    fn a_product_is_that_of_what_is_kept_for_any_number_of_rows_and_columns() {
        let dims = [(5, 1), (7, 8), (130, 15), (193, 33), (192, 16), (192, 48), (3, 64), (7 * BLOCK + 9, 69)];
        for (depth, width) in dims {
            let matrix = Shorts::new(View::new(&values(depth * width, 5), depth, width));
            for (n, turned) in (0..20).flat_map(|n| [(n, false), (n, true)]) {
                let (depth, width) = if turned { (width, depth) } else { (depth, width) };
                let at =
                    |row: usize, col: usize| if turned { matrix.at(col, row) } else { matrix.at(row, col) };
                let lhs = values(n * depth, 3);
                // Of the transpose whole numbers alone are kept.
                let scale = |row: usize| if turned { matrix.scale(row) } else { 1.0 };
                let scaled = |row: &[f32]| (0..depth).map(|k| row[k] * scale(k)).collect::<Vec<_>>();
                let rows: Vec<f32> = lhs.chunks(depth).flat_map(|row| kept(&scaled(row))).collect();
                let mut dst = vec![7.0; n * width];
                let (lhs, panels) = (Rows::new(&lhs, depth), 0..width.div_ceil(matrix.panel_width()));
                let (stride, onto, added) = (width, Onto::Nothing, &[][..]);
                matrix.multiply(Task { lhs, n, turned, panels, dst: &mut dst, stride, onto, added });
                for (i, &value) in dst.iter().enumerate() {
                    let (row, column) = (i / width, i % width);
                    let term = |k: usize| rows[row * depth + k] / scale(k) * at(k, column);
                    let exact: f32 = (0..depth).map(term).sum();
                    assert!((value - exact).abs() < 1e-4, "{n} x {depth} x {width}: {value} for {exact}");
                }
            }
            let mut column = vec![0.0; depth];
            for i in 0..width {
                matrix.column(i, &mut column);
                for (k, value) in column.iter().enumerate() {
                    assert!((value - matrix.at(k, i)).abs() < f32::EPSILON);
                }
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let own = lines_beside() * COLUMNS;
        for (turned, depth, width) in [(false, 3 * BLOCK, 3 * own), (true, 5 * BLOCK + 7, 4 * BLOCK)] {
            let (lhs, matrix) = (values(4 * depth, 3), values(depth * width, 5));
            let (rows, columns) = if turned { (width, depth) } else { (depth, width) };
            let matrix = Shorts::new(View::new(&matrix, rows, columns));
            let mut whole = vec![0.0; 4 * width];
            let (all, onto) = ((0..depth, 0..width), Onto::Nothing);
            matrix.multiply_part((View::new(&lhs, 4, depth), turned), all, (&mut whole, width), onto);
            let mut parts = vec![0.0; 4 * width];
            for rows in [0..BLOCK, BLOCK..depth] {
                for columns in [0..own, own..width] {
                    let lhs = View::strided(&lhs[rows.start..], (4, rows.len()), depth);
                    let dst = &mut parts[columns.start..];
                    matrix.multiply_part((lhs, turned), (rows.clone(), columns), (dst, width), Onto::Sum);
                }
            }
            for (a, b) in whole.iter().zip(&parts) {
                assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
        }
    }
}
