//! How are two matrices multiplied?
//!
//! A safe, bounds-checked face for the `gemm` crate, which packs and picks AVX-512, AVX2 or NEON at
//! run time.

use std::ops::Range;

use gemm::Parallelism;

use super::blocks::each_block;
use super::cpu::level;
use super::packed::{Onto, Tiles};

/// Rows below which rounding the other side costs more than bfloat16 saves.
const FEW_ROWS: usize = 8;
/// Multiplications of which the same is true.
const LITTLE: usize = 1 << 14;

/// A matrix laid over a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows one after another.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, (rows, cols), cols)
    }

    /// `dims` is (rows, cols); rows start `row_stride` values apart.
    pub(super) fn strided(data: &'a [f32], dims: (usize, usize), row_stride: usize) -> Self {
        Self { data, rows: dims.0, cols: dims.1, row_stride, col_stride: 1 }
    }

    /// The transpose; nothing is moved.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Some of its rows.
    pub(super) fn rows(self, rows: Range<usize>) -> Self {
        Self { data: &self.data[rows.start * self.row_stride..], rows: rows.len(), ..self }
    }

    /// Some of its columns.
    pub(super) fn columns(self, columns: Range<usize>) -> Self {
        self.t().rows(columns).t()
    }

    /// All values, from the first on, and how far apart rows start.
    pub(super) fn in_rows(self) -> (&'a [f32], usize) {
        (self.data, self.row_stride)
    }

    /// (rows, columns).
    pub(super) fn dims(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Whether the values of a row, rather than of a column, stand beside each other.
    pub(super) fn has_rows(self) -> bool {
        self.col_stride == 1
    }

    /// The values of a row, or of a column, that stand beside each other.
    pub(super) fn line(self, index: usize) -> &'a [f32] {
        let (start, len) = if self.has_rows() {
            (index * self.row_stride, self.cols)
        } else {
            (index * self.col_stride, self.rows)
        };
        &self.data[start..start + len]
    }

    /// The values of a column.
    pub(super) fn column(self, index: usize, to: &mut [f32]) {
        if !self.has_rows() {
            return to.copy_from_slice(self.line(index));
        }
        let values = self.data[index..].iter().step_by(self.row_stride.max(1));
        to.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
    }

    fn end(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride + 1
    }
}

/// Who works on a product.
#[derive(Clone, Copy, PartialEq)]
enum Threads {
    One,
    All,
}

/// `scale · lhs · rhs`, to be written or added to a destination.
pub(super) struct Product<'a> {
    lhs: View<'a>,
    rhs: View<'a>,
    scale: f32,
    threads: Threads,
}

impl<'a> Product<'a> {
    /// `lhs · rhs` on all threads.
    pub(super) fn new(lhs: View<'a>, rhs: View<'a>) -> Self {
        Self { lhs, rhs, scale: 1.0, threads: Threads::All }
    }

    pub(super) fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// On this thread alone: for products inside a parallel loop.
    pub(super) fn on_one_thread(self) -> Self {
        Self { threads: Threads::One, ..self }
    }

    /// Writes the product to `dst`, whose rows start `dst_stride` values apart.
    ///
    /// # Panics
    /// When the inner dimensions differ or a slice is too short: a fault of the caller.
    pub(super) fn write(self, dst: &mut [f32], dst_stride: usize) {
        self.run(dst, dst_stride, None);
    }

    /// Adds the product to `dst`, whose rows start `dst_stride` values apart. Panics as `write`.
    pub(super) fn add_to(self, dst: &mut [f32], dst_stride: usize) {
        self.run(dst, dst_stride, Some(1.0));
    }

    fn run(self, dst: &mut [f32], dst_stride: usize, keep: Option<f32>) {
        let (m, n, k) = (self.lhs.rows, self.rhs.cols, self.lhs.cols);
        assert_eq!(k, self.rhs.rows, "inner dimensions differ");
        if m == 0 || n == 0 {
            return;
        }
        assert!(self.lhs.end() <= self.lhs.data.len() && self.rhs.end() <= self.rhs.data.len());
        assert!((m - 1) * dst_stride + n <= dst.len() && dst_stride >= n);
        if level().is_bfloat16() && m >= FEW_ROWS && m * n * k > LITTLE {
            return self.run_in_tiles(dst, dst_stride, keep);
        }
        let parallelism = match self.threads {
            Threads::All if m * n * k > 1 << 16 => Parallelism::Rayon(0),
            _ => Parallelism::None,
        };
        // SAFETY: the assertions above keep every index of the three matrices inside its slice; `dst`
        // is borrowed exclusively and its rows don't overlap.
        #[allow(unsafe_code)]
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                dst.as_mut_ptr(),
                1,
                dst_stride as isize,
                keep.is_some(),
                self.lhs.data.as_ptr(),
                self.lhs.col_stride as isize,
                self.lhs.row_stride as isize,
                self.rhs.data.as_ptr(),
                self.rhs.col_stride as isize,
                self.rhs.row_stride as isize,
                keep.unwrap_or(0.0),
                self.scale,
                false,
                false,
                false,
                parallelism,
            );
        }
    }

    /// In bfloat16: both sides are rounded.
    fn run_in_tiles(self, dst: &mut [f32], dst_stride: usize, keep: Option<f32>) {
        let onto = if keep.is_some() { Onto::Sum } else { Onto::Nothing };
        let rhs = Tiles::scaled(self.rhs, self.scale);
        if self.threads == Threads::One {
            return rhs.multiply_view(self.lhs, (dst, dst_stride), onto);
        }
        each_block(self.lhs.rows, [(dst, dst_stride)], |(rows, [dst])| {
            rhs.multiply_view(self.lhs.rows(rows), (dst, dst_stride), onto);
        });
    }
}

/// `scale` times a matrix on the right of several products, each on one thread: rounded once, where that is to be done.
pub(super) struct Repeated<'a> {
    matrix: View<'a>,
    scale: f32,
    tiles: Option<Tiles>,
}

impl<'a> Repeated<'a> {
    pub(super) fn new(matrix: View<'a>, scale: f32) -> Self {
        let tiles = level().is_bfloat16().then(|| Tiles::scaled(matrix, scale));
        Self { matrix, scale, tiles }
    }

    /// Writes `lhs` times as many of its first rows, and the first `width` of its columns, to `dst`, whose rows start
    /// `stride` values apart.
    pub(super) fn multiply(&self, lhs: View, width: usize, (dst, stride): (&mut [f32], usize)) {
        if let Some(tiles) = &self.tiles {
            let part = (0..lhs.cols, 0..width);
            return tiles.multiply_part((lhs, false), part, (dst, stride), Onto::Nothing);
        }
        let matrix = self.matrix.rows(0..lhs.cols).columns(0..width);
        Product::new(lhs, matrix).scaled(self.scale).on_one_thread().write(dst, stride);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views_are_right() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // (2, 3)
        let b = [1.0, 0.0, 2.0, 1.0, 1.0, 1.0]; // (2, 3), used transposed
        let mut dst = [1.0; 6]; // rows 3 apart
        Product::new(View::new(&a, 2, 3), View::new(&b, 2, 3).t()).scaled(2.0).add_to(&mut dst, 3);
        let wanted = [15.0_f32, 13.0, 1.0, 33.0, 31.0, 1.0];
        assert!(dst.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < f32::EPSILON), "{dst:?}");
    }
}
