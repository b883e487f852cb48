//! How are numbers rounded to bfloat16 and put in tiles, one by one, elsewhere than on x86?

use super::{DEPTH, Line, SIDE, View, piece, rounded};

/// Lines of 32 values of a row each, from (row, column) on.
pub(super) fn rows(from: View, (row, column): (usize, usize), scale: f32, tile: &mut [Line]) {
    for (i, line) in tile.iter_mut().enumerate() {
        let Some(values) = piece(from, (row + i, column), DEPTH) else { break };
        *line = Line(std::array::from_fn(|j| values.get(j).map_or(0, |v| rounded(scale * v))));
    }
}

/// Lines of 16 values of two rows each, in turn, from (row, column) on.
pub(super) fn pairs(from: View, (row, column): (usize, usize), scale: f32, tile: &mut [Line]) {
    for (i, line) in tile.iter_mut().enumerate() {
        let of = |r: usize| piece(from, (row + 2 * i + r, column), SIDE).unwrap_or_default();
        let pair = [of(0), of(1)];
        *line = Line(std::array::from_fn(|j| pair[j % 2].get(j / 2).map_or(0, |v| rounded(scale * v))));
    }
}

/// Lines of 32 values of a row each, as lines of 16 values of two rows each: first those of the columns on the left.
pub(super) fn pair_rows(from: &[Line], to: &mut [Line]) {
    for (i, line) in to.iter_mut().enumerate().take(2 * SIDE) {
        let (half, rows) = (i / SIDE, 2 * (i % SIDE));
        *line = Line(std::array::from_fn(|j| from[rows + j % 2].0[half * SIDE + j / 2]));
    }
}

/// Changes lines for columns; two values stay together.
pub(super) fn transpose(tile: &mut [Line]) {
    let old: Vec<Line> = tile.to_vec();
    for (i, line) in tile.iter_mut().enumerate() {
        *line = Line(std::array::from_fn(|j| old[j / 2].0[2 * i + j % 2]));
    }
}
