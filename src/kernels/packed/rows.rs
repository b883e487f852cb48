//! How do rows come to a product?

use std::ops::Range;

use crate::kernels::bfloat16::STEP;
use crate::kernels::buffer::Buffer;
use crate::kernels::cpu::level;
use crate::kernels::matmul::View;
use crate::kernels::rounding::{Rounded, lhs_len};
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

/// Room for `n` rows of `depth` values, on one thread.
pub(in crate::kernels) struct Room {
    dims: (usize, usize),
    plain: Buffer,
    lines: Buffer<Line>,
}

impl Room {
    pub(in crate::kernels) fn new(n: usize, depth: usize) -> Self {
        let lines = room(n, depth);
        Self { dims: (n, depth), plain: Buffer::new(if lines.is_empty() { n * depth } else { 0 }), lines }
    }

    /// Fills it, as [`Rows::made`].
    pub(in crate::kernels) fn fill(&mut self, make: impl FnMut(Range<usize>, &mut [f32])) -> Rows<'_> {
        Rows::made((&mut self.plain, &mut self.lines), self.dims, make)
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
        let rounded = (!room.is_empty()).then(|| Rounded::new(View::new(values, n, depth), room));
        Self { rounded, ..Self::new(values, depth) }
    }

    /// Calls `make` for rows and room for their values: for all at once, if there is no room for them to be rounded in; else
    /// for some after others, which are rounded while they are in the cache.
    pub(in crate::kernels) fn made(
        (plain, lines): (&'a mut [f32], &'a mut [Line]),
        (n, depth): (usize, usize),
        mut make: impl FnMut(Range<usize>, &mut [f32]),
    ) -> Self {
        if lines.is_empty() {
            make(0..n, plain);
            return Self::new(plain, depth);
        }
        let mut part = Buffer::new(STEP * depth);
        for (from, lines) in (0..n).step_by(STEP).zip(lines.chunks_mut(lhs_len(STEP, depth))) {
            let rows = from..(from + STEP).min(n);
            let part = &mut part[..rows.len() * depth];
            make(rows.clone(), part);
            Rounded::new(View::new(part, rows.len(), depth), lines);
        }
        Self::rounded_before(&[], depth, lines)
    }

    /// Rows that were rounded, block by block, if there was [`room`]; else as they are.
    pub(in crate::kernels) fn rounded_before(values: &'a [f32], depth: usize, room: &'a [Line]) -> Self {
        let rounded = (!room.is_empty()).then(|| Rounded::of(room, depth));
        Self { rounded, ..Self::new(values, depth) }
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
