//! How do float32 matrices become tiles of bfloat16?
//!
//! To the nearest, ties to even. A tile has 16 lines of 32 values. On the left of a product a line is a piece of a
//! row; on the right it holds two rows in turn, 16 columns of each. Either is read from rows or, transposed, from
//! columns.

#[cfg(not(target_arch = "x86_64"))]
mod plain;
#[cfg(target_arch = "x86_64")]
mod vectors;

use std::ops::Range;

use super::bfloat16::{SIDE, STEP};
use super::matmul::View;
use super::turn::Line;
#[cfg(not(target_arch = "x86_64"))]
use plain as unit;
#[cfg(target_arch = "x86_64")]
use vectors as unit;

/// Depth of a tile: values of a row on the left, rows on the right.
pub(super) const DEPTH: usize = 32;

/// A value in bfloat16: what the vector instructions do, one by one.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// A bfloat16 value in float32.
#[inline(always)]
pub(super) fn widened(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// Lines that a left-hand matrix of `n` rows takes.
pub(super) fn lhs_len(n: usize, depth: usize) -> usize {
    n.div_ceil(2 * SIDE) * depth.div_ceil(DEPTH) * STEP
}

/// Whether rounded rows can be used from a column on: a step begins there.
pub(super) fn can_begin(column: usize) -> bool {
    column.is_multiple_of(DEPTH)
}

/// Rows as tiles, and what is used of each: from a column on.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    lines: &'a [Line],
    /// Steps of a whole row.
    n_steps: usize,
    /// The first in use.
    first: usize,
}

impl<'a> Rounded<'a> {
    /// Rounds rows into `lines`, as many as [`lhs_len`] says.
    pub(super) fn new(from: View, lines: &'a mut [Line]) -> Self {
        round_columns(from, lines, (from.dims().1, 0));
        Self::of(lines, from.dims().1)
    }

    /// Rows of `depth` values, rounded before.
    pub(super) fn of(lines: &'a [Line], depth: usize) -> Self {
        Self { lines, n_steps: depth.div_ceil(DEPTH), first: 0 }
    }

    /// From a column on, if it [`can_begin`] there.
    pub(super) fn after(self, column: usize) -> Option<Self> {
        can_begin(column).then_some(Self { first: self.first + column / DEPTH, ..self })
    }

    /// All lines from the first in use on, and how many two pairs are apart.
    pub(super) fn lines(self) -> (&'a [Line], usize) {
        (&self.lines[self.first * STEP..], self.n_steps * STEP)
    }

    /// The rows of two tiles above each other (32, width) in float32, each column times a number.
    #[inline(always)]
    pub(super) fn widen(self, pair: usize, times: &[f32], to: &mut [f32]) {
        let width = times.len();
        for (i, line) in self.pair(pair, 0..width.div_ceil(DEPTH)).iter().enumerate() {
            let (row, column) = (i % STEP, i / STEP * DEPTH);
            let (to, times) = (&mut to[row * width + column..], &times[column..]);
            if let (Some(to), Some(times)) = (to.first_chunk_mut::<DEPTH>(), times.first_chunk::<DEPTH>()) {
                let mut values = [0.0; DEPTH];
                for j in 0..DEPTH {
                    values[j] = widened(line.0[j]) * times[j];
                }
                *to = values;
                continue;
            }
            for ((to, times), &value) in to.iter_mut().zip(times).zip(&line.0) {
                *to = widened(value) * times;
            }
        }
    }

    /// Those from a row on with which two tiles begin.
    pub(super) fn below(self, row: usize) -> Self {
        assert!(row.is_multiple_of(STEP), "rows from where two tiles begin");
        Self { lines: &self.lines[row * self.n_steps..], ..self }
    }

    /// Two tiles above each other, step by step.
    pub(super) fn pair(self, pair: usize, steps: Range<usize>) -> &'a [Line] {
        let start = pair * self.n_steps + self.first;
        &self.lines[(start + steps.start) * STEP..(start + steps.end) * STEP]
    }
}

/// Of 32 rows of 32 values, as on the left, makes what a product takes of them on its right.
pub(super) fn pair_rows(from: &[Line], to: &mut [Line]) {
    assert!(from.len() >= STEP && to.len() >= STEP);
    unit::pair_rows(from, to);
}

/// Columns of rows of `depth` values as tiles, from a step's beginning on: for each two tiles above each other, step by step.
/// Rows that fill up the last two are nought.
pub(super) fn round_columns(from: View, lines: &mut [Line], (depth, column): (usize, usize)) {
    assert!(can_begin(column), "columns begin with a step");
    let (n, width) = from.dims();
    let (all_steps, first, n_steps) = (depth.div_ceil(DEPTH), column / DEPTH, width.div_ceil(DEPTH));
    let place = |pair: usize, step: usize| (pair * all_steps + first + step) * STEP;
    // The values that stand beside each other are read one after another.
    let (outer, inner) =
        if from.has_rows() { (n.div_ceil(2 * SIDE), n_steps) } else { (n_steps, n.div_ceil(2 * SIDE)) };
    for i in 0..outer {
        for j in 0..inner {
            let (pair, step) = if from.has_rows() { (i, j) } else { (j, i) };
            for half in 0..2 {
                let (row, k) = ((2 * pair + half) * SIDE, step * DEPTH);
                let tile = &mut lines[place(pair, step) + half * SIDE..][..SIDE];
                if row + SIDE > n {
                    tile.fill(Line::ZERO);
                }
                if row < n {
                    if from.has_rows() {
                        unit::rows(from, (row, k), 1.0, tile);
                    } else {
                        unit::pairs(from.t(), (k, row), 1.0, tile);
                        unit::transpose(tile);
                    }
                }
            }
        }
    }
}

/// Columns `column..` of `scale` times a right-hand matrix as tiles, two beside each other, step by step: as many panels as
/// `lines` holds, each of `len` lines.
pub(super) fn round_panels(from: View, column: usize, scale: f32, (lines, len): (&mut [Line], usize)) {
    let (n_panels, n_steps) = (lines.len() / len, len / STEP);
    // The values that stand beside each other are read one after another.
    let (outer, inner) = if from.has_rows() { (n_steps, n_panels) } else { (n_panels, n_steps) };
    for (i, j) in (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))) {
        let (panel, step) = if from.has_rows() { (j, i) } else { (i, j) };
        let lines = &mut lines[panel * len + step * STEP..][..STEP];
        round_step(from, (step * DEPTH, column + 2 * panel * SIDE), scale, lines);
    }
}

/// Two tiles beside each other, from (row, column) on.
fn round_step(from: View, (row, column): (usize, usize), scale: f32, lines: &mut [Line]) {
    let (_, width) = from.dims();
    for (half, tile) in lines.chunks_exact_mut(SIDE).enumerate() {
        let column = column + half * SIDE;
        // Columns that fill up a panel may be added to those of another matrix.
        if column + SIDE > width {
            tile.fill(Line::ZERO);
        }
        if column >= width {
            continue;
        }
        if from.has_rows() {
            unit::pairs(from, (row, column), scale, tile);
        } else {
            unit::rows(from.t(), (column, row), scale, tile);
            unit::transpose(tile);
        }
    }
}

/// At most `n` values of a row from `start` on; `None` where the matrix ends before.
#[inline(always)]
fn piece(from: View<'_>, (row, start): (usize, usize), n: usize) -> Option<&[f32]> {
    let (rows, cols) = from.dims();
    (row < rows && start < cols).then(|| &from.line(row)[start..(start + n).min(cols)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest() {
        for (value, bits) in [
            (1.0, 0x3F80),
            (1.0 + 0.5f32.powi(8), 0x3F80),
            (1.0 + 3.0 * 0.5f32.powi(8), 0x3F82),
            (-0.0, 0x8000),
        ] {
            assert_eq!(rounded(value), bits, "{value}");
        }
        assert!(widened(rounded(f32::NAN)).is_nan());
        assert_eq!(rounded(f32::MAX), 0x7F80, "beyond the largest lies infinity");
    }

    /// A matrix read from rows and one read from columns make the same tiles.
    #[test]
    fn tiles_do_not_depend_on_how_a_matrix_lies() {
        if !crate::kernels::bfloat16::can_round() {
            return;
        }
        let (n, m) = (45, 39);
        let values: Vec<f32> = (0..n * m).map(|i| (i * 37 % 101) as f32 / 7.0 - 5.0).collect();
        let mut turned = vec![0.0; n * m];
        for i in 0..n * m {
            turned[i % m * n + i / m] = values[i];
        }
        let (rows, columns) = (View::new(&values, n, m), View::new(&turned, m, n).t());
        let lhs = [rows, columns].map(|view| {
            let mut lines = vec![Line([0x7FC0; 32]); lhs_len(n, m)];
            round_columns(view, &mut lines, (view.dims().1, 0));
            lines
        });
        for (i, k) in (0..n).flat_map(|i| (0..m).map(move |k| (i, k))) {
            let line = (i / 32 * m.div_ceil(DEPTH) + k / DEPTH) * STEP + i % 32;
            for lines in &lhs {
                assert_eq!(lines[line].0[k % DEPTH], rounded(values[i * m + k]), "left {i} {k}");
            }
        }
        for (i, k) in (n..n.next_multiple_of(STEP)).flat_map(|i| (0..m).map(move |k| (i, k))) {
            let line = (i / 32 * m.div_ceil(DEPTH) + k / DEPTH) * STEP + i % 32;
            assert!(lhs.iter().all(|lines| lines[line].0 == [0; 32]), "rows beyond the last are nought");
        }
        let rhs = [rows, columns].map(|view| {
            let mut lines = vec![Line([7; 32]); n.div_ceil(DEPTH) * STEP];
            let len = lines.len();
            round_panels(view, 32, 2.0, (&mut lines, len));
            lines
        });
        let len = n.div_ceil(DEPTH) * STEP;
        for (view, second) in [rows, columns].into_iter().zip(&rhs) {
            let mut both = vec![Line([7; 32]); 2 * len];
            round_panels(view, 0, 2.0, (&mut both, len));
            assert!(both[len..].iter().zip(second).all(|(a, b)| a.0 == b.0), "panels follow each other");
        }
        for (k, j) in (0..n).flat_map(|k| (0..m - 32).map(move |j| (k, j))) {
            let line = k / DEPTH * STEP + j / SIDE * SIDE + k % DEPTH / 2;
            for lines in &rhs {
                let found = lines[line].0[j % SIDE * 2 + k % 2];
                assert_eq!(found, rounded(2.0 * values[k * m + 32 + j]), "right {k} {j}");
            }
        }
        for lines in &rhs {
            assert_eq!(lines[STEP + (n % DEPTH).div_ceil(2)].0, [0; 32], "filled up with zeros");
            let beyond = lines.iter().enumerate().flat_map(|(i, line)| {
                (0..SIDE).filter(move |j| i % STEP / SIDE * SIDE + j >= m - 32).map(|j| line.0[2 * j])
            });
            assert!(beyond.into_iter().all(|value| value == 0), "no columns but the matrix' own");
        }
    }
}
