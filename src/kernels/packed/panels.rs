//! How is a matrix kept in float32?
//!
//! In panels as wide as two registers, or three where there are 32 of them, each row by row. A tile of sums, six rows or
//! nine by a panel's width, then leaves room for what they are formed of and is as wide as memory's pace asks for.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Added, Onto, Packed, Rows, Task};
use crate::kernels::cpu::{call_for, dispatch};
use crate::kernels::matmul::View;

/// Rows of a panel that are multiplied at one go, at most: with the left-hand rows they fill the second cache.
const DEPTH: usize = 768;

/// Whether there are 32 registers rather than 16.
fn has_many<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32
}

/// Registers of a panel's row.
fn registers<S: Simd>() -> usize {
    if has_many::<S>() { 3 } else { 2 }
}

/// A float32 matrix (depth, width) to multiply by from the right.
#[derive(Debug)]
pub(in crate::kernels) struct Panels {
    /// The last panel is filled up with zeros.
    values: Vec<f32>,
    depth: usize,
    width: usize,
    /// Columns of a panel.
    own: usize,
}

/// Rows of a tile and columns of a panel.
fn tile() -> (usize, usize) {
    struct Tile;
    impl WithSimd for Tile {
        type Output = (usize, usize);
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            (if has_many::<S>() { MANY } else { FEW }, registers::<S>() * S::F32_LANES)
        }
    }
    dispatch(Tile)
}

/// Rows of a tile of three registers.
pub(super) const MANY: usize = 9;
/// Rows of a tile of two registers.
pub(super) const FEW: usize = 6;

/// Rows of a tile.
pub(in crate::kernels) fn tile_rows() -> usize {
    tile().0
}

impl Panels {
    /// Packs `scale` times a matrix.
    pub(super) fn scaled(from: View, scale: f32) -> Self {
        let (depth, width) = from.dims();
        Self::with((depth, width), |panel, columns, own| {
            // Along the values that stand beside each other.
            if from.has_rows() {
                for (row, values) in panel.chunks_exact_mut(own).enumerate() {
                    let from = &from.line(row)[columns.clone()];
                    values.iter_mut().zip(from).for_each(|(v, &f)| *v = scale * f);
                }
            } else {
                for (i, column) in columns.enumerate() {
                    let values = panel[i..].iter_mut().step_by(own);
                    values.zip(from.line(column)).for_each(|(v, &f)| *v = scale * f);
                }
            }
        })
    }

    /// The transpose (width, depth), packed too.
    pub(super) fn transposed(&self) -> Self {
        Self::with((self.width, self.depth), |panel, columns, own| {
            for (row, values) in panel.chunks_exact_mut(own).enumerate() {
                values.iter_mut().zip(columns.clone()).for_each(|(v, column)| *v = self.at(column, row));
            }
        })
    }

    /// `fill` gets each panel, zeroed, its columns, and how many a full panel has.
    fn with((depth, width): (usize, usize), fill: impl Fn(&mut [f32], Range<usize>, usize) + Sync) -> Self {
        let own = tile().1;
        let mut values = vec![0.0; width.div_ceil(own) * own * depth];
        values.par_chunks_mut((own * depth).max(1)).enumerate().for_each(|(p, panel)| {
            fill(panel, p * own..((p + 1) * own).min(width), own);
        });
        Self { values, depth, width, own }
    }

    pub(super) fn panel_width(&self) -> usize {
        self.own
    }

    /// (depth, width).
    pub(super) fn dims(&self) -> (usize, usize) {
        (self.depth, self.width)
    }

    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(&self.values[..])
    }

    /// One value.
    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        self.values[(col / self.own * self.depth + row) * self.own + col % self.own]
    }

    /// The values of a column.
    pub(super) fn column(&self, col: usize, to: &mut [f32]) {
        let panel = &self.values[col / self.own * self.depth * self.own..];
        let values = panel[col % self.own..].iter().step_by(self.own);
        to.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
    }

    /// Forms a product. The order of summation does not depend on the number of rows.
    pub(super) fn multiply(&self, task: Task) {
        dispatch(Multiply { rhs: self, task, depth: 0..self.depth });
    }

    /// `lhs` times a part of the matrix, written to rows of `dst` that start `stride` values apart or added to them. The
    /// part begins with a panel.
    pub(super) fn multiply_part(
        &self,
        lhs: View,
        (depth, columns): (Range<usize>, Range<usize>),
        (dst, stride): (&mut [f32], usize),
        onto: Onto,
    ) {
        let panels = columns.start / self.own..columns.end.div_ceil(self.own);
        let (lhs, n, turned, added) = (Rows::of(lhs), lhs.dims().0, false, &[][..]);
        let task = Task { lhs, n, turned, panels, dst, stride, onto, added };
        dispatch(Multiply { rhs: self, task, depth });
    }
}

struct Multiply<'a> {
    rhs: &'a Panels,
    task: Task<'a>,
    /// Which of its rows.
    depth: Range<usize>,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let depth = self.depth.clone();
        let part = depth.len().div_ceil(depth.len().div_ceil(DEPTH).max(1)).max(1);
        for k in depth.clone().step_by(part) {
            let k = k..(k + part).min(depth.end);
            for panel in self.task.panels.clone() {
                // Of a last panel that is half empty only what is in it.
                let narrow = self.columns(panel) <= S::F32_LANES;
                match (has_many::<S>(), narrow) {
                    (true, false) => self.rows::<S, MANY, 3, 3>(simd, panel, k.clone()),
                    (true, true) => self.rows::<S, MANY, 3, 1>(simd, panel, k.clone()),
                    (false, false) => self.rows::<S, FEW, 2, 2>(simd, panel, k.clone()),
                    (false, true) => self.rows::<S, FEW, 2, 1>(simd, panel, k.clone()),
                }
            }
        }
    }
}

impl Multiply<'_> {
    /// Columns of a panel that are in use.
    fn columns(&self, panel: usize) -> usize {
        self.rhs.own.min(self.rhs.width - panel * self.rhs.own)
    }

    /// All rows times a part of a panel, `M` at a time. Of the `R` registers of a panel's row, the first `U` are used.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const R: usize, const U: usize>(
        &mut self,
        simd: S,
        panel: usize,
        k: Range<usize>,
    ) {
        let mut row = 0;
        while row + M <= self.task.n {
            if row == 0 {
                self.tile::<S, M, R, U, true>(simd, (row, panel), k.clone());
            } else {
                self.tile::<S, M, R, U, false>(simd, (row, panel), k.clone());
            }
            row += M;
        }
        match self.task.n - row {
            1 => self.tile::<S, 1, R, U, false>(simd, (row, panel), k),
            2 => self.tile::<S, 2, R, U, false>(simd, (row, panel), k),
            3 => self.tile::<S, 3, R, U, false>(simd, (row, panel), k),
            4 => self.tile::<S, 4, R, U, false>(simd, (row, panel), k),
            5 => self.tile::<S, 5, R, U, false>(simd, (row, panel), k),
            6 if M > 6 => self.tile::<S, 6, R, U, false>(simd, (row, panel), k),
            7 if M > 6 => self.tile::<S, 7, R, U, false>(simd, (row, panel), k),
            8 if M > 6 => self.tile::<S, 8, R, U, false>(simd, (row, panel), k),
            _ => {}
        }
    }

    /// `M` rows times a part of a panel; `AHEAD`: the same part of the next panel is called for meanwhile.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const R: usize, const U: usize, const AHEAD: bool>(
        &mut self,
        simd: S,
        (row, panel): (usize, usize),
        k: Range<usize>,
    ) {
        let (own, len) = (R * S::F32_LANES, k.end - k.start);
        let values = &self.rhs.values[(panel * self.rhs.depth + k.start) * own..][..len * own];
        let (values, _) = S::as_simd_f32s(values);
        let start = k.start - self.depth.start;
        let rows = self.task.lhs.tile(row, start..start + len);
        let mut sums = [[simd.splat_f32s(0.0); U]; M];
        let next = ((panel + 1) * self.rhs.depth + k.start) * own;
        let next = if AHEAD { &self.rhs.values[next.min(self.rhs.values.len())..] } else { &[] };
        accumulate::<S, M, R, U, AHEAD>(simd, (rows, values), &mut sums, next);
        if k.end == self.depth.end {
            add_others::<S, M, R, U>(simd, self.task.added, (row, panel), &mut sums);
        }
        let adds = self.task.onto == Onto::Sum || start > 0;
        let column = (panel - self.task.panels.start) * own;
        let (columns, stride) = (self.columns(panel), self.task.stride);
        let dst = &mut self.task.dst[row * stride + column..];
        write::<S, M, U>(simd, sums, (dst, stride), (columns, adds));
    }
}

/// Adds what other products contribute to a tile of `M` rows and the first `U` registers of a panel.
#[inline(always)]
pub(super) fn add_others<S: Simd, const M: usize, const R: usize, const U: usize>(
    simd: S,
    others: &[Added],
    (row, panel): (usize, usize),
    sums: &mut [[S::f32s; U]; M],
) {
    let own = R * S::F32_LANES;
    for added in others {
        let Some(panel) = panel.checked_sub(added.column / own) else { continue };
        let Packed::Panels(matrix) = added.matrix else { continue };
        let depth = matrix.depth;
        let Some(values) = matrix.values.get(panel * depth * own..(panel + 1) * depth * own) else {
            continue;
        };
        let (values, _) = S::as_simd_f32s(values);
        let rows = added.rows.tile(row, 0..depth);
        accumulate::<S, M, R, U, false>(simd, (rows, values), sums, &[]);
    }
}

/// Writes the first `columns` of a tile's sums to rows that start `stride` values apart, or adds them.
#[inline(always)]
pub(super) fn write<S: Simd, const M: usize, const U: usize>(
    simd: S,
    sums: [[S::f32s; U]; M],
    (dst, stride): (&mut [f32], usize),
    (columns, adds): (usize, bool),
) {
    for (i, sums) in sums.into_iter().enumerate() {
        let dst = &mut dst[i * stride..][..columns];
        if columns == U * S::F32_LANES {
            let (dst, _) = S::as_mut_simd_f32s(dst);
            for (dst, sum) in dst.iter_mut().zip(sums) {
                *dst = if adds { simd.add_f32s(*dst, sum) } else { sum };
            }
        } else {
            let sums: &[f32] = pulp::bytemuck::cast_slice(&sums);
            for (dst, &value) in dst.iter_mut().zip(sums) {
                *dst = if adds { *dst + value } else { value };
            }
        }
    }
}

/// Adds rows times a part of a panel to sums: the first `U` of its `R` registers a row. `AHEAD`: `next` is called for
/// meanwhile.
#[inline(always)]
fn accumulate<S: Simd, const M: usize, const R: usize, const U: usize, const AHEAD: bool>(
    simd: S,
    (rows, values): ([&[f32]; M], &[S::f32s]),
    sums: &mut [[S::f32s; U]; M],
    next: &[f32],
) {
    assert!(U <= R && rows.iter().all(|row| R * row.len() >= values.len()));
    for (k, panel) in values.chunks_exact(R).enumerate() {
        if AHEAD {
            // 16 values a line of the caches.
            (0..R * S::F32_LANES).step_by(16).for_each(|at| call_for(next, R * k * S::F32_LANES + at));
        }
        for (row, sums) in rows.iter().zip(sums.iter_mut()) {
            // SAFETY: `values` holds no more than `R` registers for each value of a row, asserted above.
            #[allow(unsafe_code)]
            let x = simd.splat_f32s(unsafe { *row.get_unchecked(k) });
            for (sum, &value) in sums.iter_mut().zip(panel) {
                *sum = simd.mul_add_f32s(x, value, *sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
    }

    #[test]
    fn a_product_is_right_for_any_number_of_rows_and_columns() {
        let (_, own) = tile();
        // A part of a panel, a panel that is nearly empty or nearly full, several; one depth that is taken in two.
        for (depth, width) in [(5, 1), (7, own / 3), (11, own - 1), (3, 2 * own + 1), (DEPTH + 9, own + 5)] {
            let matrix = values(depth * width, 5);
            let panels = Panels::scaled(View::new(&matrix, depth, width), 2.0);
            for n in 0..2 * tile_rows() + 2 {
                let lhs = values(n * depth, 3);
                let mut dst = vec![7.0; n * width];
                let (lhs, all) = (Rows::new(&lhs, depth), 0..width.div_ceil(own));
                let (turned, stride, onto, added) = (false, width, Onto::Nothing, &[][..]);
                panels.multiply(Task { lhs, n, turned, panels: all, dst: &mut dst, stride, onto, added });
                for (i, &value) in dst.iter().enumerate() {
                    let (row, column) = (i / width, i % width);
                    let term = |k| 2.0 * lhs.values[row * depth + k] * matrix[k * width + column];
                    let exact: f32 = (0..depth).map(term).sum();
                    assert!((value - exact).abs() < 1e-3, "{n} x {depth} x {width}: {value} for {exact}");
                }
            }
        }
    }
}
