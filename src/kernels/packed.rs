//! How is a matrix kept that is multiplied again and again?
//!
//! Packed once, in panels as wide as the registers of a tile: a product then runs at the machine's speed for any
//! number of rows on the left, with nothing to rearrange. So the rows of a batch can be cut into blocks that one
//! thread takes through several operators while they are in its cache.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matmul::View;

/// Rows of a tile.
const TILE: usize = 6;

/// Rows of a panel that are multiplied at one go, at most: with the left-hand rows they fill the second cache.
const DEPTH: usize = 768;

/// Rows of a block, about.
const BLOCK_ROWS: usize = 132;

/// Rows from which a product is shared out by rows; below, by panels.
const FEW_ROWS: usize = 48;

/// A matrix (depth, width) to multiply by from the right.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Panels of `panel_width()` columns, each row by row; the last is filled up with zeros.
    panels: Vec<f32>,
    depth: usize,
    width: usize,
    /// Columns of a panel.
    own: usize,
}

/// What happens to the values at the destination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Onto {
    /// They are replaced.
    Nothing,
    /// They are added to.
    Sum,
}

/// A product that is added to another.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    /// The first column that it is added to: a panel begins there.
    pub(super) column: usize,
    pub(super) rows: Rows<'a>,
    pub(super) matrix: &'a Packed,
}

/// Rows (n, stride) in a slice, as many as it holds; `stride` may be wider than what is used of each.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
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
    Arch::new().dispatch(Width)
}

impl Packed {
    /// Packs a matrix (depth, width).
    pub(super) fn new(from: View) -> Self {
        Self::scaled(from, 1.0)
    }

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

    /// Its transpose (width, depth), packed too.
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
        let mut panels = vec![0.0; width.div_ceil(own) * own * depth];
        panels.par_chunks_mut((own * depth).max(1)).enumerate().for_each(|(p, panel)| {
            fill(panel, p * own..((p + 1) * own).min(width), own);
        });
        Self { panels, depth, width, own }
    }

    fn n_panels(&self) -> usize {
        self.width.div_ceil(self.own)
    }

    /// (depth, width).
    pub(super) fn dims(&self) -> (usize, usize) {
        (self.depth, self.width)
    }

    /// One value.
    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        self.panels[(col / self.own * self.depth + row) * self.own + col % self.own]
    }

    /// `rows · self` on this thread, to rows of `dst` that start `stride` values apart. The order of
    /// summation does not depend on the number of rows.
    pub(super) fn multiply(&self, rows: Rows, n: usize, dst: (&mut [f32], usize), onto: Onto) {
        self.multiply_adding(rows, n, dst, (onto, &[]));
    }

    /// The same, with products of other rows added to some of its columns before they are written.
    pub(super) fn multiply_adding(
        &self,
        rows: Rows,
        n: usize,
        (dst, stride): (&mut [f32], usize),
        (onto, added): (Onto, &[Added]),
    ) {
        let panels = 0..self.n_panels();
        Arch::new().dispatch(Multiply { lhs: rows, n, rhs: self, panels, dst, stride, onto, added });
    }

    /// Whether a product can be added from that column on: panels begin there.
    pub(super) fn begins_panel(&self, column: usize) -> bool {
        column.is_multiple_of(self.own)
    }

    /// `rows · self` (n, width) on all threads.
    pub(super) fn multiply_all(&self, rows: Rows, n: usize) -> Vec<f32> {
        let mut y = vec![0.0; n * self.width];
        if n >= FEW_ROWS {
            let block = rows_a_block(n);
            y.par_chunks_mut(block * self.width).enumerate().for_each(|(i, y)| {
                let rows = rows.from(i * block);
                self.multiply(rows, y.len() / self.width, (y, self.width), Onto::Nothing);
            });
            return y;
        }
        let (own, all) = (self.own, self.n_panels());
        let group = all.div_ceil(16).max(1);
        let groups: Vec<_> = (0..all).step_by(group).map(|p| p..(p + group).min(all)).collect();
        let parts: Vec<Vec<f32>> = groups
            .par_iter()
            .map(|panels| {
                let columns = (panels.end * own).min(self.width) - panels.start * own;
                let mut part = vec![0.0; n * columns];
                let dst = &mut part[..];
                let (onto, panels) = (Onto::Nothing, panels.clone());
                Arch::new().dispatch(Multiply {
                    lhs: rows,
                    n,
                    rhs: self,
                    panels,
                    dst,
                    stride: columns,
                    onto,
                    added: &[],
                });
                part
            })
            .collect();
        for (panels, part) in groups.iter().zip(&parts) {
            let (at, columns) = (panels.start * own, part.len() / n.max(1));
            for (y, part) in y.chunks_exact_mut(self.width).zip(part.chunks_exact(columns)) {
                y[at..at + columns].copy_from_slice(part);
            }
        }
        y
    }
}

impl<'a> Rows<'a> {
    /// Rows one after another.
    pub(super) fn new(values: &'a [f32], width: usize) -> Self {
        Self { values, stride: width }
    }

    /// Some values of `M` rows.
    #[inline(always)]
    fn tile<const M: usize>(self, row: usize, k: Range<usize>) -> [&'a [f32]; M] {
        let len = k.end - k.start;
        std::array::from_fn(|i| &self.values[(row + i) * self.stride + k.start..][..len])
    }

    /// Those from a row on.
    pub(super) fn from(self, row: usize) -> Self {
        Self { values: &self.values[row * self.stride..], ..self }
    }

    /// Those columns from a column on.
    pub(super) fn after(self, column: usize) -> Self {
        Self { values: &self.values[column.min(self.values.len())..], ..self }
    }
}

/// Rows that one thread takes at a time: as many blocks for each thread, so that none waits long for the others, and
/// not many more, for each reads the weights anew.
pub(super) fn rows_a_block(n: usize) -> usize {
    let blocks = n.div_ceil(BLOCK_ROWS).next_multiple_of(rayon::current_num_threads().max(1));
    n.div_ceil(blocks).next_multiple_of(TILE)
}

struct Multiply<'a> {
    lhs: Rows<'a>,
    n: usize,
    rhs: &'a Packed,
    /// Which panels; the first column of `dst` is the first of these.
    panels: Range<usize>,
    dst: &'a mut [f32],
    stride: usize,
    onto: Onto,
    added: &'a [Added<'a>],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let depth = self.rhs.depth;
        let part = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1);
        for k in (0..depth).step_by(part) {
            let k = k..(k + part).min(depth);
            for panel in self.panels.clone() {
                let mut row = 0;
                while row + TILE <= self.n {
                    if row == 0 {
                        self.tile::<S, TILE, true>(simd, row, panel, k.clone());
                    } else {
                        self.tile::<S, TILE, false>(simd, row, panel, k.clone());
                    }
                    row += TILE;
                }
                match self.n - row {
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
        let values = &self.rhs.panels[(panel * self.rhs.depth + k.start) * own..][..len * own];
        let (values, _) = S::as_simd_f32s(values);
        let rows = self.lhs.tile(row, k.start..k.start + len);
        let mut sums = [[simd.splat_f32s(0.0); 2]; M];
        let next = ((panel + 1) * self.rhs.depth + k.start) * own;
        let next = if AHEAD { &self.rhs.panels[next.min(self.rhs.panels.len())..] } else { &[] };
        accumulate::<S, M, AHEAD>(simd, (rows, values), &mut sums, next);
        if k.end == self.rhs.depth {
            for added in self.added {
                let Some(panel) = panel.checked_sub(added.column / own) else { continue };
                let depth = added.matrix.depth;
                let Some(values) = added.matrix.panels.get(panel * depth * own..(panel + 1) * depth * own)
                else {
                    continue;
                };
                let (values, _) = S::as_simd_f32s(values);
                accumulate::<S, M, false>(simd, (added.rows.tile(row, 0..depth), values), &mut sums, &[]);
            }
        }
        let column = (panel - self.panels.start) * own;
        let columns = own.min(self.rhs.width - panel * own);
        let adds = self.onto == Onto::Sum || k.start > 0;
        for (i, sums) in sums.into_iter().enumerate() {
            let dst = &mut self.dst[(row + i) * self.stride + column..][..columns];
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
