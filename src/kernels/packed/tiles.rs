//! How is a matrix kept in bfloat16?
//!
//! In panels of two tiles beside each other, as a matrix unit wants them, and vectors take them too. Sums are float32; the left-hand rows are rounded
//! on the way.

use std::ops::Range;

use rayon::prelude::*;

use super::{Added, Onto, Packed, Task};
use crate::kernels::bfloat16::{SIDE, STEP, Steps, Unit};
use crate::kernels::buffer::Buffer;
use crate::kernels::matmul::View;
use crate::kernels::rounding::{DEPTH, Rounded, lhs_len, pair_rows, round_panels, widened};
use crate::kernels::turn::{Line, SQUARE, turn};

/// Columns of a panel.
pub(super) const PANEL: usize = 2 * SIDE;
/// Steps made at one go, at most: what is read of the panel and of the rows stays in the first cache.
const STEPS: usize = 24;
/// Panels packed at one go: that much of a row is read without a jump.
const PACKED_TOGETHER: usize = 8;
/// Lines from which packing is shared out: 1 MiB.
const MANY_LINES: usize = 1 << 14;

/// A bfloat16 matrix (depth, width) to multiply by from the right.
#[derive(Debug)]
pub(in crate::kernels) struct Tiles {
    /// Filled up with zeros below.
    lines: Buffer<Line>,
    depth: usize,
    width: usize,
}

impl Tiles {
    /// Packs `scale` times a matrix.
    pub(in crate::kernels) fn scaled(from: View, scale: f32) -> Self {
        let (depth, width) = from.dims();
        let len = panel_len(depth);
        let mut lines = Buffer::new(width.div_ceil(PANEL) * len);
        let chunk = (PACKED_TOGETHER * len).max(1);
        let fill = |(i, lines): (usize, &mut [Line])| {
            round_panels(from, i * PACKED_TOGETHER * PANEL, scale, (lines, len));
        };
        if lines.len() < MANY_LINES {
            lines.chunks_mut(chunk).enumerate().for_each(fill);
        } else {
            lines.par_chunks_mut(chunk).enumerate().for_each(fill);
        }
        Self { lines, depth, width }
    }

    /// (depth, width).
    pub(in crate::kernels) fn dims(&self) -> (usize, usize) {
        (self.depth, self.width)
    }

    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    /// One value.
    pub(in crate::kernels) fn at(&self, row: usize, col: usize) -> f32 {
        widened(self.bits(row, col).unwrap_or(0))
    }

    fn bits(&self, row: usize, col: usize) -> Option<u16> {
        if row >= self.depth || col >= self.width {
            return None;
        }
        let line = row / DEPTH * STEP + col % PANEL / SIDE * SIDE + row % DEPTH / 2;
        Some(self.panel(col / PANEL)[line].0[col % SIDE * 2 + row % 2])
    }

    fn panel(&self, panel: usize) -> &[Line] {
        let len = panel_len(self.depth);
        self.lines.get(panel * len..(panel + 1) * len).unwrap_or_default()
    }

    /// `lhs` times a part of the matrix or its transpose, on this thread, written to rows of `dst` that start `stride` values
    /// apart or added to them. The part begins with a step and a panel.
    pub(in crate::kernels) fn multiply_part(
        &self,
        (lhs, turned): (View, bool),
        (depth, columns): (Range<usize>, Range<usize>),
        (dst, stride): (&mut [f32], usize),
        onto: Onto,
    ) {
        let begins = depth.start.is_multiple_of(DEPTH) && columns.start.is_multiple_of(PANEL);
        assert!(begins, "a part begins with a step and a panel");
        let n = lhs.dims().0;
        let mut lines = Buffer::new(lhs_len(n, depth.len()));
        let lhs = Rounded::new(lhs, &mut lines);
        let rhs = Right::of(self, turned);
        multiply_rounded(lhs, rhs, (n, columns, depth), (dst, stride), (onto, &[]));
    }

    /// Writes steps `steps` of a panel of the transpose.
    fn turn(&self, panel: usize, steps: Range<usize>, to: &mut [Line]) {
        for (to, step) in to.chunks_exact_mut(STEP).zip(steps) {
            let from = self.panel(step).get(panel * STEP..(panel + 1) * STEP).unwrap_or_default();
            for (left, top) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let square = |left: usize, top: usize| left * SIDE + top * SQUARE;
                let from = from.get(square(left, top)..).unwrap_or_default();
                turn(from, &mut to[square(top, left)..], 1);
            }
        }
    }

    /// `lhs · self` on this thread, in the same way.
    pub(in crate::kernels) fn multiply_view(&self, lhs: View, dst: (&mut [f32], usize), onto: Onto) {
        self.multiply_part((lhs, false), (0..self.depth, 0..self.width), dst, onto);
    }

    /// Forms a product. The order of summation does not depend on the number of rows.
    pub(super) fn multiply(&self, task: &mut Task) {
        let n = task.n;
        let (depth, width) = if task.turned { (self.width, self.depth) } else { self.dims() };
        let mut lines = Buffer::new(if task.lhs.rounded.is_some() { 0 } else { lhs_len(n, depth) });
        let lhs = task.lhs.rounded.unwrap_or_else(|| Rounded::new(task.lhs.view(n, depth), &mut lines));
        let added: Vec<Extra> = task.added.iter().map(Extra::new).collect();
        let rhs = Right::of(self, task.turned);
        let columns = task.panels.start * PANEL..(task.panels.end * PANEL).min(width);
        let size = (n, columns, 0..depth);
        multiply_rounded(lhs, rhs, size, (task.dst, task.stride), (task.onto, &added));
    }
}

/// `lhs · rhs` (rows of `lhs`, `width`) on this thread, of rows that were rounded: a product of `lhs` (any, n) and `rhs`
/// (n, `width`), summed over `n` rows of both.
pub(in crate::kernels) fn multiply_rows(
    lhs: View,
    rhs: Rounded,
    width: usize,
    (dst, stride): (&mut [f32], usize),
) {
    let (rows, n) = lhs.dims();
    let mut lines = Buffer::new(lhs_len(rows, n));
    let lhs = Rounded::new(lhs, &mut lines);
    let size = (rows, 0..width, 0..n);
    multiply_rounded(lhs, Right::Rows(rhs), size, (dst, stride), (Onto::Nothing, &[]));
}

/// What stands on the right of a product.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// A matrix.
    Kept(&'a Tiles),
    /// The transpose of a matrix.
    Turned(&'a Tiles),
    /// Rows, rounded as if they stood on the left.
    Rows(Rounded<'a>),
}

impl<'a> Right<'a> {
    fn of(matrix: &'a Tiles, turned: bool) -> Self {
        if turned { Self::Turned(matrix) } else { Self::Kept(matrix) }
    }

    /// Steps of a panel; made in `room` if they are not there.
    fn steps<'b>(self, panel: usize, steps: Range<usize>, room: &'b mut [Line]) -> &'b [Line]
    where
        'a: 'b,
    {
        let len = steps.len() * STEP;
        match self {
            Self::Kept(matrix) => return &matrix.panel(panel)[steps.start * STEP..steps.end * STEP],
            Self::Turned(matrix) => matrix.turn(panel, steps, room),
            Self::Rows(rows) => {
                for (to, pair) in room.chunks_exact_mut(STEP).zip(steps) {
                    pair_rows(rows.pair(pair, panel..panel + 1), to);
                }
            }
        }
        &room[..len]
    }

    /// Where the lines are that the same steps of the next panel are made of, and how many bytes one step is from the next;
    /// nothing need be there.
    fn ahead(self, panel: usize, steps: &Range<usize>) -> (*const Line, usize) {
        let (lines, len) = match self {
            Self::Kept(matrix) => {
                let next = matrix.lines.as_ptr().wrapping_add((panel + 1) * panel_len(matrix.depth));
                return (next.wrapping_add(steps.start * STEP), STEP * size_of::<Line>());
            }
            Self::Turned(matrix) => (&matrix.lines[..], panel_len(matrix.depth)),
            Self::Rows(rows) => rows.lines(),
        };
        let next = lines.as_ptr().wrapping_add(steps.start * len + (panel + 1) * STEP);
        (next, len * size_of::<Line>())
    }
}

/// Forms a product of `n` rows and of some columns and as many rows as these are deep, on this thread.
fn multiply_rounded(
    lhs: Rounded,
    rhs: Right,
    (n, columns, depth): (usize, Range<usize>, Range<usize>),
    (dst, stride): (&mut [f32], usize),
    (onto, added): (Onto, &[Extra]),
) {
    let Some(unit) = Unit::begin() else { unreachable!("tiles were packed where nothing multiplies them") };
    let (first, n_steps) = (depth.start / DEPTH, depth.len().div_ceil(DEPTH));
    let part = n_steps.div_ceil(n_steps.div_ceil(STEPS).max(1)).max(1);
    let mut edge = [0.0; 2 * SIDE * PANEL];
    let mut room = Buffer::new(if matches!(rhs, Right::Kept(_)) { 0 } else { part * STEP });
    for from in (0..n_steps).step_by(part) {
        let to = (from + part).min(n_steps);
        let adds = onto == Onto::Sum || from > 0;
        for panel in columns.start / PANEL..columns.end.div_ceil(PANEL) {
            let steps = first + from..first + to;
            let (next, apart) = rhs.ahead(panel, &steps);
            let right = rhs.steps(panel, steps, &mut room);
            let extra = added.iter().filter(|_| to == n_steps).find_map(|a| a.at(panel));
            let column = panel * PANEL - columns.start;
            let columns = PANEL.min(columns.end - panel * PANEL);
            for (pair, row) in (0..n).step_by(2 * SIDE).enumerate() {
                let rows = (2 * SIDE).min(n - row);
                let steps = [
                    Steps { lhs: lhs.pair(pair, from..to), rhs: right, half: depth.len() <= SIDE },
                    extra.map_or(Steps::NONE, |(extra, rhs)| extra.steps(pair, rhs)),
                ];
                // What the same part of the next panel is made of, a quarter of each step with each pair.
                let quarter = if pair < 4 { pair * STEP / 4 } else { 0 };
                let ahead = (next.wrapping_add(quarter), apart);
                let dst = &mut dst[row * stride + column..];
                if columns == PANEL && rows == 2 * SIDE {
                    unit.multiply(steps, (dst, stride, adds), ((rows, columns), ahead));
                    continue;
                }
                // Sums begin with what is there, as in a full tile: the digits of a row do not depend on the others.
                if adds {
                    for (dst, sums) in dst.chunks(stride).zip(edge.chunks_exact_mut(PANEL)).take(rows) {
                        sums[..columns].copy_from_slice(&dst[..columns]);
                    }
                }
                unit.multiply(steps, (&mut edge, PANEL, adds), ((rows, columns), ahead));
                for (dst, sums) in dst.chunks_mut(stride).zip(edge.chunks_exact(PANEL)).take(rows) {
                    dst[..columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
    }
}

/// Lines of a panel.
fn panel_len(depth: usize) -> usize {
    depth.div_ceil(DEPTH) * STEP
}

/// A product to be added.
struct Extra<'a> {
    lhs: Rounded<'a>,
    matrix: &'a Tiles,
    /// The panel that its first is added to.
    first: usize,
}

impl<'a> Extra<'a> {
    fn new(added: &Added<'a>) -> Self {
        let (Packed::Tiles(matrix), Some(lhs)) = (added.matrix, added.rows.rounded) else {
            unreachable!("what is added to tiles is packed and rounded as these")
        };
        Self { lhs, matrix, first: added.column / PANEL }
    }

    /// What is added to a panel.
    fn at(&self, panel: usize) -> Option<(&Self, &'a [Line])> {
        let own = self.matrix.panel(panel.checked_sub(self.first)?);
        (!own.is_empty()).then_some((self, own))
    }

    fn steps<'b>(&'b self, pair: usize, rhs: &'b [Line]) -> Steps<'b> {
        let half = self.matrix.depth <= SIDE;
        Steps { lhs: self.lhs.pair(pair, 0..rhs.len() / STEP), rhs, half }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;
    use crate::kernels::bfloat16::can_round;
    use crate::kernels::rounding::rounded;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
    }

    /// Of rows (n, depth) times the matrix or its transpose, whether each value is right but for the order of summation.
    fn assert_product(lhs: &[f32], (matrix, turned): (&Tiles, bool), n: usize, dst: &[f32]) {
        let (depth, width) = if turned { (matrix.width, matrix.depth) } else { matrix.dims() };
        let at = |row, col| if turned { matrix.at(col, row) } else { matrix.at(row, col) };
        let lhs: Vec<f32> = lhs.iter().map(|&v| widened(rounded(v))).collect();
        for (i, &value) in dst.iter().enumerate() {
            let (row, col) = (i / width, i % width);
            let exact: f32 = (0..depth).map(|k| lhs[row * depth + k] * at(k, col)).sum();
            assert!((value - exact).abs() < 1e-3, "{n} x {depth} x {width}, {turned}: {value} for {exact}");
        }
    }

    #[test]
    fn a_product_is_that_of_what_is_kept_for_any_number_of_rows_and_columns() {
        if !can_round() {
            return;
        }
        for (rows, columns) in [(5, 1), (33, 31), (64, 96), (70, 1160), (1160, 70)] {
            let matrix = Tiles::scaled(View::new(&values(rows * columns, 5), rows, columns), 1.0);
            for (n, turned) in [1, 16, 17, 33, 65].into_iter().flat_map(|n| [(n, false), (n, true)]) {
                let (depth, width) = if turned { (columns, rows) } else { (rows, columns) };
                let (lhs, mut dst) = (values(n * depth, 3), vec![7.0; n * width]);
                let (panels, stride, onto, added) = (0..width.div_ceil(PANEL), width, Onto::Nothing, &[][..]);
                let rows = Rows::new(&lhs, depth);
                matrix.multiply(&mut Task {
                    lhs: rows,
                    n,
                    turned,
                    panels,
                    dst: &mut dst,
                    stride,
                    onto,
                    added,
                });
                assert_product(&lhs, (&matrix, turned), n, &dst);
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        if !can_round() {
            return;
        }
        for turned in [false, true] {
            let (rows, columns) = if turned { (160, 200) } else { (200, 160) };
            let matrix = Tiles::scaled(View::new(&values(rows * columns, 5), rows, columns), 1.0);
            let (n, depth, width) = (4, 200, 160);
            let (lhs, mut dst) = (values(n * depth, 3), vec![0.0; n * width]);
            for rows in [0..64, 64..depth] {
                for columns in [0..PANEL, PANEL..width] {
                    let lhs = View::strided(&lhs[rows.start..], (n, rows.len()), depth);
                    let dst = &mut dst[columns.start..];
                    matrix.multiply_part((lhs, turned), (rows.clone(), columns), (dst, width), Onto::Sum);
                }
            }
            assert_product(&lhs, (&matrix, turned), n, &dst);
        }
    }
}
