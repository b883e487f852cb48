//! How do rows come to a product?

use std::ops::Range;

use crate::kernels::bfloat16::STEP;
use crate::kernels::buffer::Buffer;
use crate::kernels::cpu::level;
use crate::kernels::matmul::View;
use crate::kernels::rounding::{Rounded, lhs_len, round_columns};
use crate::kernels::turn::Line;

/// Rows (n, stride) in a slice, as many as it holds; `stride` may be wider than what is used of each.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    /// The same in bfloat16, where several products take them.
    pub(super) rounded: Option<Rounded<'a>>,
}

/// Room for `n` rows of `depth` values to be rounded in, once for several products; none where that is of no use.
pub(in crate::kernels) fn room(n: usize, depth: usize) -> Buffer<Line> {
    Buffer::new(if level().is_bfloat16() { lhs_len(n, depth) } else { 0 })
}

/// Room for `n` rows of `depth` values, on one thread: to be rounded in, or as they are.
pub(in crate::kernels) struct Room<'a> {
    dims: (usize, usize),
    plain: Buffer,
    lines: &'a mut [Line],
}

impl<'a> Room<'a> {
    /// Within `lines`, which are a [`room`] of that size, or none.
    pub(in crate::kernels) fn within(lines: &'a mut [Line], n: usize, depth: usize) -> Self {
        let plain = Buffer::new(if lines.is_empty() { n * depth } else { 0 });
        Self { dims: (n, depth), plain, lines }
    }

    /// Fills it, as [`Rows::made`].
    pub(in crate::kernels) fn fill(&mut self, make: impl FnMut(Range<usize>, &mut [f32])) -> Rows<'_> {
        self.fill_columns(0..self.dims.1, make);
        self.rows()
    }

    /// Fills some columns, as [`make_columns`].
    pub(in crate::kernels) fn fill_columns(
        &mut self,
        columns: Range<usize>,
        make: impl FnMut(Range<usize>, &mut [f32]),
    ) {
        make_columns((&mut self.plain, self.lines), self.dims, columns, make);
    }

    /// The rows, when all columns are filled.
    pub(in crate::kernels) fn rows(&self) -> Rows<'_> {
        Rows::rounded_before(&self.plain, self.dims.1, self.lines)
    }
}

/// Calls `make` for rows and room for their values in some columns: for all rows at once, if there is no room for them to be
/// rounded in, and then for all columns; else for some rows after others, which are rounded while they are in the cache.
pub(in crate::kernels) fn make_columns(
    (plain, lines): (&mut [f32], &mut [Line]),
    (n, depth): (usize, usize),
    columns: Range<usize>,
    mut make: impl FnMut(Range<usize>, &mut [f32]),
) {
    if lines.is_empty() {
        assert_eq!(columns, 0..depth, "columns of rows as they are");
        return make(0..n, plain);
    }
    let mut part = Buffer::new(STEP * columns.len());
    for (from, lines) in (0..n).step_by(STEP).zip(lines.chunks_mut(lhs_len(STEP, depth))) {
        let rows = from..(from + STEP).min(n);
        let part = &mut part[..rows.len() * columns.len()];
        make(rows.clone(), part);
        round_columns(View::new(part, rows.len(), columns.len()), lines, (depth, columns.start));
    }
}

impl<'a> Rows<'a> {
    /// Rows one after another.
    pub(in crate::kernels) fn new(values: &'a [f32], width: usize) -> Self {
        Self { values, stride: width, rounded: None }
    }

    /// `n` rows of `depth` values, which are rounded if there is [`room`].
    pub(in crate::kernels) fn rounded(
        values: &'a [f32],
        (n, depth): (usize, usize),
        room: &'a mut [Line],
    ) -> Self {
        Self::new(values, depth).rounded_in(room, (n, depth))
    }

    /// With `n` rows of `depth` values rounded if there is [`room`].
    pub(in crate::kernels) fn rounded_in(self, room: &'a mut [Line], (n, depth): (usize, usize)) -> Self {
        let rounded = (!room.is_empty()).then(|| Rounded::new(self.view(n, depth), room));
        Self { rounded, ..self }
    }

    /// Rows as `make` makes them, rounded if there is room for that, as [`make_columns`].
    pub(in crate::kernels) fn made(
        (plain, lines): (&'a mut [f32], &'a mut [Line]),
        (n, depth): (usize, usize),
        make: impl FnMut(Range<usize>, &mut [f32]),
    ) -> Self {
        make_columns((plain, lines), (n, depth), 0..depth, make);
        Self::rounded_before(plain, depth, lines)
    }

    /// Rows that were rounded, block by block, if there was [`room`]; else as they are.
    pub(in crate::kernels) fn rounded_before(values: &'a [f32], depth: usize, room: &'a [Line]) -> Self {
        Self::new(values, depth).kept_in(room, depth)
    }

    /// With rows of `depth` values as they were rounded, if there was [`room`].
    pub(in crate::kernels) fn kept_in(self, room: &'a [Line], depth: usize) -> Self {
        Self { rounded: (!room.is_empty()).then(|| Rounded::of(room, depth)), ..self }
    }

    /// As they were rounded.
    pub(in crate::kernels) fn as_rounded(self) -> Option<Rounded<'a>> {
        self.rounded
    }

    /// Some values of `M` rows.
    #[inline(always)]
    pub(super) fn tile<const M: usize>(self, row: usize, k: Range<usize>) -> [&'a [f32]; M] {
        let len = k.end - k.start;
        std::array::from_fn(|i| &self.values[(row + i) * self.stride + k.start..][..len])
    }

    /// Those of a view, whose rows stand one after another.
    pub(super) fn of(view: View<'a>) -> Self {
        let (values, stride) = view.in_rows();
        Self::new(values, stride)
    }

    /// `n` rows of `width` values.
    pub(in crate::kernels) fn view(self, n: usize, width: usize) -> View<'a> {
        View::strided(self.values, (n, width), self.stride)
    }

    /// Those from a row on, as they are.
    pub(in crate::kernels) fn from(self, row: usize) -> Self {
        Self::new(&self.values[row * self.stride..], self.stride)
    }

    /// Those columns from a column on.
    pub(in crate::kernels) fn after(self, column: usize) -> Self {
        let rounded = self.rounded.and_then(|rows| rows.after(column));
        Self { values: &self.values[column.min(self.values.len())..], rounded, ..self }
    }
}
