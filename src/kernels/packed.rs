//! How is a matrix kept that is multiplied again and again?
//!
//! Packed once, in the form that the machine's best unit wants: a product then runs at the machine's speed for any
//! number of rows on the left, with nothing to rearrange. So the rows of a batch can be cut into blocks that one
//! thread takes through several operators while they are in its cache. Its transpose is packed too in float32; of 16-bit
//! values it is made a piece at a time, for each block of rows.

mod panels;
mod rows;
mod shorts;
mod tiles;

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::blocks::each_block;
use super::buffer::Buffer;
use super::cpu::{Level, level};
use super::matmul::View;
use panels::Panels;
pub(super) use panels::tile_rows;
pub(super) use rows::{Room, Rows, room};
use shorts::Shorts;
pub(super) use tiles::{Tiles, multiply_rows};

/// Rows from which a product is shared out by rows; below, by panels.
pub(super) const FEW_ROWS: usize = 48;

/// A matrix (depth, width) to multiply by from the right.
#[derive(Debug)]
pub(super) enum Packed {
    /// In float32.
    Panels(Panels),
    /// In whole numbers of 13 bits, for AVX2 and for AVX-512 with VNNI.
    Shorts(Shorts),
    /// In bfloat16, for a matrix unit or for vectors.
    Tiles(Tiles),
}

/// What happens to the values at the destination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Onto {
    /// They are replaced.
    Nothing,
    /// They are added to.
    Sum,
}

/// A product that is added to another; its matrix is packed as the other's, and its rows are rounded if that is.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    /// The first column that it is added to: a panel begins there.
    pub(super) column: usize,
    pub(super) rows: Rows<'a>,
    pub(super) matrix: &'a Packed,
}

/// What rows are multiplied by: a packed matrix, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    matrix: &'a Packed,
    turned: bool,
}

/// A product to be formed on one thread: `n` rows times some panels, to rows of `dst` that start `stride` values
/// apart.
struct Task<'a> {
    lhs: Rows<'a>,
    n: usize,
    /// Whether the transpose is meant.
    turned: bool,
    /// Which panels; the first column of `dst` is the first of these.
    panels: Range<usize>,
    dst: &'a mut [f32],
    stride: usize,
    onto: Onto,
    added: &'a [Added<'a>],
}

impl Packed {
    /// Packs a frozen weight (depth, width): where there is no unit for bfloat16, it may be rounded for a faster one.
    pub(super) fn frozen(from: View) -> Self {
        match level() {
            Level::Avx2 | Level::Vnni => Self::Shorts(Shorts::new(from)),
            _ => Self::new(from),
        }
    }

    /// Packs a matrix (depth, width).
    pub(super) fn new(from: View) -> Self {
        Self::scaled(from, 1.0)
    }

    /// Packs `scale` times a matrix.
    pub(super) fn scaled(from: View, scale: f32) -> Self {
        if level().is_bfloat16() {
            Self::Tiles(Tiles::scaled(from, scale))
        } else {
            Self::Panels(Panels::scaled(from, scale))
        }
    }

    /// As a factor.
    pub(super) fn as_it_is(&self) -> Factor<'_> {
        Factor { matrix: self, turned: false }
    }

    /// The transpose (width, depth). In float32 it takes as much memory again, in `kept`; else it is made a piece at a time,
    /// while it is multiplied by.
    pub(super) fn turned<'a>(&'a self, kept: &'a OnceLock<Self>) -> Factor<'a> {
        match self {
            Self::Panels(panels) => kept.get_or_init(|| Self::Panels(panels.transposed())).as_it_is(),
            Self::Shorts(_) | Self::Tiles(_) => Factor { matrix: self, turned: true },
        }
    }

    /// Bytes that are kept for its transpose, about.
    pub(super) fn n_turned_bytes(&self) -> usize {
        match self {
            Self::Panels(panels) => panels.n_bytes(),
            Self::Shorts(_) | Self::Tiles(_) => 0,
        }
    }

    /// Columns of a panel.
    fn panel_width(&self) -> usize {
        match self {
            Self::Panels(panels) => panels.panel_width(),
            Self::Shorts(shorts) => shorts.panel_width(),
            Self::Tiles(_) => tiles::PANEL,
        }
    }

    /// (depth, width).
    pub(super) fn dims(&self) -> (usize, usize) {
        match self {
            Self::Panels(panels) => panels.dims(),
            Self::Shorts(shorts) => shorts.dims(),
            Self::Tiles(tiles) => tiles.dims(),
        }
    }

    /// Bytes that it takes.
    pub(super) fn n_bytes(&self) -> usize {
        match self {
            Self::Panels(panels) => panels.n_bytes(),
            Self::Shorts(shorts) => shorts.n_bytes(),
            Self::Tiles(tiles) => tiles.n_bytes(),
        }
    }

    /// One value.
    pub(super) fn at(&self, row: usize, col: usize) -> f32 {
        match self {
            Self::Panels(panels) => panels.at(row, col),
            Self::Shorts(shorts) => shorts.at(row, col),
            Self::Tiles(tiles) => tiles.at(row, col),
        }
    }

    /// The values of a column.
    pub(super) fn column(&self, col: usize, to: &mut [f32]) {
        match self {
            Self::Panels(panels) => panels.column(col, to),
            Self::Shorts(shorts) => shorts.column(col, to),
            Self::Tiles(tiles) => to.iter_mut().enumerate().for_each(|(row, to)| *to = tiles.at(row, col)),
        }
    }

    /// `rows · self` on this thread, to rows of `dst` that start `stride` values apart. The order of
    /// summation does not depend on the number of rows.
    pub(super) fn multiply(&self, rows: Rows, n: usize, dst: (&mut [f32], usize), onto: Onto) {
        self.as_it_is().multiply_adding(rows, n, dst, (onto, &[]));
    }

    /// Whether a product can be added from that column on: panels begin there.
    pub(super) fn begins_panel(&self, column: usize) -> bool {
        column.is_multiple_of(self.panel_width())
    }
}

impl Factor<'_> {
    /// (depth, width).
    pub(super) fn dims(&self) -> (usize, usize) {
        let (depth, width) = self.matrix.dims();
        if self.turned { (width, depth) } else { (depth, width) }
    }

    fn n_panels(&self) -> usize {
        self.dims().1.div_ceil(self.matrix.panel_width())
    }

    fn run(&self, mut task: Task) {
        match self.matrix {
            Packed::Panels(panels) => panels.multiply(task),
            Packed::Shorts(shorts) => shorts.multiply(task),
            Packed::Tiles(tiles) => tiles.multiply(&mut task),
        }
    }

    /// [`Packed::multiply`], with products of other rows added to some of its columns before they are written.
    pub(super) fn multiply_adding(
        &self,
        rows: Rows,
        n: usize,
        (dst, stride): (&mut [f32], usize),
        (onto, added): (Onto, &[Added]),
    ) {
        self.multiply_columns((rows, n), 0..self.dims().1, (dst, stride), (onto, added));
    }

    /// The same for some columns, to the first of `dst` on. Where they are not whole panels, nothing must be there yet.
    pub(super) fn multiply_columns(
        &self,
        (rows, n): (Rows, usize),
        columns: Range<usize>,
        (dst, stride): (&mut [f32], usize),
        (onto, added): (Onto, &[Added]),
    ) {
        let (own, turned) = (self.matrix.panel_width(), self.turned);
        let panels = columns.start / own..columns.end.div_ceil(own);
        let whole = panels.start * own..(panels.end * own).min(self.dims().1);
        if columns == whole {
            return self.run(Task { lhs: rows, n, turned, panels, dst, stride, onto, added });
        }
        assert_eq!(onto, Onto::Nothing, "columns of whole panels");
        let mut values = Buffer::new(n * whole.len());
        self.multiply_columns((rows, n), whole.clone(), (&mut values, whole.len()), (onto, added));
        for (to, from) in dst.chunks_mut(stride).zip(values.chunks_exact(whole.len())) {
            let from = &from[columns.start - whole.start..][..columns.len()];
            to[..columns.len()].copy_from_slice(from);
        }
    }

    /// `lhs` times a part of the matrix, on this thread, written to rows of `dst` that start `stride` values apart or
    /// added to them. The part begins with a multiple of 192 rows and with a panel.
    pub(super) fn multiply_part(
        &self,
        lhs: View,
        part: (Range<usize>, Range<usize>),
        dst: (&mut [f32], usize),
        onto: Onto,
    ) {
        match self.matrix {
            Packed::Panels(panels) => panels.multiply_part(lhs, part, dst, onto),
            Packed::Shorts(shorts) => shorts.multiply_part((lhs, self.turned), part, dst, onto),
            Packed::Tiles(tiles) => tiles.multiply_part((lhs, self.turned), part, dst, onto),
        }
    }

    /// `rows · self` (n, width) on all threads.
    pub(super) fn multiply_all(&self, rows: Rows, n: usize) -> Vec<f32> {
        let width = self.dims().1;
        let mut y = vec![0.0; n * width];
        if n == 0 {
            return y;
        }
        if n >= FEW_ROWS {
            each_block(n, [(&mut y[..], width)], |(own, [y])| {
                let dst = (&mut *y, width);
                self.multiply_adding(rows.from(own.start), own.len(), dst, (Onto::Nothing, &[]));
            });
            return y;
        }
        let (own, all) = (self.matrix.panel_width(), self.n_panels());
        // Two for each thread: each may have to round the rows anew.
        let group = all.div_ceil(2 * rayon::current_num_threads()).max(1);
        let groups: Vec<_> = (0..all).step_by(group).map(|p| p..(p + group).min(all)).collect();
        let part = |panels: &Range<usize>| {
            let columns = (panels.end * own).min(width) - panels.start * own;
            let mut part = vec![0.0; n * columns];
            let (dst, stride, panels) = (&mut part[..], columns, panels.clone());
            let (turned, onto, added) = (self.turned, Onto::Nothing, &[][..]);
            self.run(Task { lhs: rows, n, turned, panels, dst, stride, onto, added });
            part
        };
        let parts: Vec<Vec<f32>> = groups.par_iter().map(part).collect();
        for (panels, part) in groups.iter().zip(&parts) {
            let (at, columns) = (panels.start * own, part.len() / n.max(1));
            for (y, part) in y.chunks_exact_mut(width).zip(part.chunks_exact(columns)) {
                y[at..at + columns].copy_from_slice(part);
            }
        }
        y
    }
}
