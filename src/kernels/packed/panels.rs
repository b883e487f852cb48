//! How is a matrix kept in float32?
//!
//! In panels as wide as two registers, each row by row.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Onto, Packed, Task};
use crate::kernels::cpu::dispatch;
use crate::kernels::matmul::View;

/// Rows of a tile.
pub(super) const TILE: usize = 6;

/// Rows of a panel that are multiplied at one go, at most: with the left-hand rows they fill the second cache.
const DEPTH: usize = 768;

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

/// Columns of a panel: two registers.
fn panel_width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            2 * S::F32_LANES
        }
    }
    dispatch(Width)
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
        let own = panel_width();
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

    /// One value.
    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        self.values[(col / self.own * self.depth + row) * self.own + col % self.own]
    }

    /// Forms a product. The order of summation does not depend on the number of rows.
    pub(super) fn multiply(&self, task: Task) {
        dispatch(Multiply { rhs: self, task });
    }
}

struct Multiply<'a> {
    rhs: &'a Panels,
    task: Task<'a>,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let depth = self.rhs.depth;
        let part = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1);
        for k in (0..depth).step_by(part) {
            let k = k..(k + part).min(depth);
            for panel in self.task.panels.clone() {
                let mut row = 0;
                while row + TILE <= self.task.n {
                    if row == 0 {
                        self.tile::<S, TILE, true>(simd, row, panel, k.clone());
                    } else {
                        self.tile::<S, TILE, false>(simd, row, panel, k.clone());
                    }
                    row += TILE;
                }
                match self.task.n - row {
                    1 => self.tile::<S, 1, false>(simd, row, panel, k.clone()),
                    2 => self.tile::<S, 2, false>(simd, row, panel, k.clone()),
                    3 => self.tile::<S, 3, false>(simd, row, panel, k.clone()),
                    4 => self.tile::<S, 4, false>(simd, row, panel, k.clone()),
                    5 => self.tile::<S, 5, false>(simd, row, panel, k.clone()),
                    _ => {}
                }
            }
        }
    }
}

impl Multiply<'_> {
    /// `M` rows times a part of a panel; `AHEAD`: the same part of the next panel is called for meanwhile.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const AHEAD: bool>(
        &mut self,
        simd: S,
        row: usize,
        panel: usize,
        k: Range<usize>,
    ) {
        let (own, len) = (2 * S::F32_LANES, k.end - k.start);
        let values = &self.rhs.values[(panel * self.rhs.depth + k.start) * own..][..len * own];
        let (values, _) = S::as_simd_f32s(values);
        let rows = self.task.lhs.tile(row, k.start..k.start + len);
        let mut sums = [[simd.splat_f32s(0.0); 2]; M];
        let next = ((panel + 1) * self.rhs.depth + k.start) * own;
        let next = if AHEAD { &self.rhs.values[next.min(self.rhs.values.len())..] } else { &[] };
        accumulate::<S, M, AHEAD>(simd, (rows, values), &mut sums, next);
        if k.end == self.rhs.depth {
            for added in self.task.added {
                let Some(panel) = panel.checked_sub(added.column / own) else { continue };
                let Packed::Panels(matrix) = added.matrix else { continue };
                let depth = matrix.depth;
                let Some(values) = matrix.values.get(panel * depth * own..(panel + 1) * depth * own) else {
                    continue;
                };
                let (values, _) = S::as_simd_f32s(values);
                accumulate::<S, M, false>(simd, (added.rows.tile(row, 0..depth), values), &mut sums, &[]);
            }
        }
        let column = (panel - self.task.panels.start) * own;
        let columns = own.min(self.rhs.width - panel * own);
        let adds = self.task.onto == Onto::Sum || k.start > 0;
        for (i, sums) in sums.into_iter().enumerate() {
            let dst = &mut self.task.dst[(row + i) * self.task.stride + column..][..columns];
            if columns == own {
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
}

/// Adds rows times a part of a panel, a register pair a row, to sums; `AHEAD`: `next` is called for meanwhile.
#[inline(always)]
fn accumulate<S: Simd, const M: usize, const AHEAD: bool>(
    simd: S,
    (rows, values): ([&[f32]; M], &[S::f32s]),
    sums: &mut [[S::f32s; 2]; M],
    next: &[f32],
) {
    assert!(rows.iter().all(|row| 2 * row.len() >= values.len()));
    for (k, pair) in values.chunks_exact(2).enumerate() {
        if AHEAD {
            call_for(next, 2 * k * S::F32_LANES);
        }
        for (row, sums) in rows.iter().zip(sums.iter_mut()) {
            // SAFETY: `values` holds no more than two registers for each value of a row, asserted above.
            #[allow(unsafe_code)]
            let x = simd.splat_f32s(unsafe { *row.get_unchecked(k) });
            sums[0] = simd.mul_add_f32s(x, pair[0], sums[0]);
            sums[1] = simd.mul_add_f32s(x, pair[1], sums[1]);
        }
    }
}

/// Asks for a value to be brought closer, if the machine can be asked.
#[inline(always)]
fn call_for(values: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; any address will do.
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}
