//! How is a stack of projections of one input computed, with the corrections of each?

use std::ops::Range;

use candle_core::{Result, bail};

use super::{FrozenLayer, LayerCorrections};
use crate::kernels::buffer::Buffer;
use crate::kernels::linear::PackedWeight;
use crate::kernels::matmul::View;
use crate::kernels::packed::{Added, Factor, Onto, Packed, Rows, room};
use crate::kernels::turn::Line;

/// Where the corrections of a stack stand in the flat vector of all LoRA weights: first all `A`, one below the other, then
/// each `B`.
#[derive(Debug, Clone)]
pub(super) struct StackPlan {
    /// Which outputs each correction corrects.
    pub(super) blocks: Vec<Range<usize>>,
    pub(super) rank: usize,
    d_in: usize,
    /// The first value.
    at: usize,
}

impl StackPlan {
    /// The four stacks of a layer, whose weights stand in the flat vector from `at` on.
    pub(super) fn of_layer(
        layer: &FrozenLayer,
        corrections: &LayerCorrections,
        mut at: usize,
    ) -> Result<[Self; 4]> {
        let mut plans = Vec::with_capacity(4);
        for (base, corrections) in layer.stacks().into_iter().zip(corrections) {
            let (d_out, d_in) = base.dims();
            let rank = corrections.first().map_or(Ok(0), |c| c.a.dim(0))?;
            for c in corrections {
                let fits = c.a.dims() == [rank, d_in] && c.b.dims2()?.1 == rank;
                if !fits || c.start + c.b.dim(0)? > d_out {
                    bail!("a correction {:?} {:?} at {} does not fit", c.a.dims(), c.b.dims(), c.start);
                }
            }
            let blocks = corrections.iter().map(|c| Ok(c.start..c.start + c.b.dim(0)?));
            let plan = Self { blocks: blocks.collect::<Result<_>>()?, rank, d_in, at };
            at += plan.n_values();
            plans.push(plan);
        }
        let Ok(plans) = <[Self; 4]>::try_from(plans) else { bail!("a layer has four stacks") };
        Ok(plans)
    }

    /// Values of the thin products of a row, all corrections together.
    pub(super) fn width(&self) -> usize {
        self.blocks.len() * self.rank
    }

    /// Values of all its corrections.
    pub(super) fn n_values(&self) -> usize {
        self.width() * self.d_in + self.blocks.iter().map(|b| b.len() * self.rank).sum::<usize>()
    }

    /// All `A`, one below the other (width, in).
    fn a<'a>(&self, flat: &'a [f32]) -> View<'a> {
        View::new(&flat[self.at..][..self.width() * self.d_in], self.width(), self.d_in)
    }

    /// Each `B` (out, rank).
    fn bs<'a>(&self, flat: &'a [f32]) -> Vec<View<'a>> {
        let mut at = self.at + self.width() * self.d_in;
        let view = |block: &Range<usize>| {
            let own = &flat[at..][..block.len() * self.rank];
            at += own.len();
            View::new(own, block.len(), self.rank)
        };
        self.blocks.iter().map(view).collect()
    }

    /// Cuts the gradient of the flat vector into those of all `A` together and of each `B`; what is left belongs to
    /// the next stack.
    pub(super) fn split<'a>(
        &self,
        flat: &'a mut [f32],
    ) -> (&'a mut [f32], Vec<&'a mut [f32]>, &'a mut [f32]) {
        let (a, mut rest) = flat.split_at_mut(self.width() * self.d_in);
        let mut bs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let (own, others) = rest.split_at_mut(block.len() * self.rank);
            bs.push(own);
            rest = others;
        }
        (a, bs, rest)
    }
}

/// Thin products of some rows, each rounded for what it is multiplied by.
pub(super) struct Thin<'a> {
    values: &'a [f32],
    /// Of each.
    width: usize,
    lines: Vec<Buffer<Line>>,
}

impl<'a> Thin<'a> {
    /// `count` of `n` rows, beside each other.
    fn new(values: &'a [f32], n: usize, (count, width): (usize, usize)) -> Self {
        let mut lines: Vec<_> = (0..count).map(|_| room(n, width)).collect();
        for (j, room) in lines.iter_mut().enumerate() {
            Rows::new(values, count * width).after(j * width).rounded_in(room, (n, width));
        }
        Self { values, width, lines }
    }

    fn rows(&self, j: usize) -> Rows<'_> {
        Rows::new(self.values, self.lines.len() * self.width)
            .after(j * self.width)
            .kept_in(&self.lines[j], self.width)
    }
}

/// A stack ready for the forward pass: `y = x Wᵀ + (s x Aᵀ) Bᵀ`.
pub(super) struct Forward<'a> {
    base: &'a Packed,
    /// `s Aᵀ` (in, width), when there is a correction.
    down: Option<Packed>,
    /// Each `Bᵀ` (rank, out) and the outputs it corrects.
    ups: Vec<(Range<usize>, Packed)>,
    rank: usize,
}

impl<'a> Forward<'a> {
    pub(super) fn new(base: &'a PackedWeight, plan: &StackPlan, flat: &[f32], scaling: f32) -> Self {
        let down = (plan.width() > 0).then(|| Packed::scaled(plan.a(flat).t(), scaling));
        let ups = plan.blocks.iter().cloned().zip(plan.bs(flat).into_iter().map(|b| Packed::new(b.t())));
        Self { base: base.forward(), down, ups: ups.collect(), rank: plan.rank }
    }

    /// `n` rows, onto `y`; their thin products `s x Aᵀ` go into `thin`.
    pub(super) fn rows(&self, x: Rows, n: usize, (y, onto): (&mut [f32], Onto), thin: &mut [f32]) {
        let (thin, d_out) = (self.thin(x, n, thin), self.base.dims().1);
        self.outputs((x, &thin), n, 0..d_out, (y, d_out, onto));
    }

    /// The thin products of `n` rows, which go into `thin`.
    pub(super) fn thin<'b>(&self, x: Rows, n: usize, thin: &'b mut [f32]) -> Thin<'b> {
        if let Some(a) = &self.down {
            a.multiply(x, n, (&mut *thin, self.ups.len() * self.rank), Onto::Nothing);
        }
        Thin::new(thin, n, (self.ups.len(), self.rank))
    }

    /// Some outputs of `n` rows, from these and their thin products: all, or those of some corrections, or such that they and
    /// all corrections begin with panels.
    pub(super) fn outputs(
        &self,
        (x, thin): (Rows, &Thin),
        n: usize,
        outputs: Range<usize>,
        (y, stride, onto): (&mut [f32], usize, Onto),
    ) {
        let (mut with, mut after) = (Vec::new(), Vec::new());
        for (j, (block, matrix)) in self.ups.iter().enumerate() {
            let rows = thin.rows(j);
            let to = if self.base.begins_panel(block.start) { &mut with } else { &mut after };
            to.push(Added { column: block.start, rows, matrix });
        }
        self.base.as_it_is().multiply_columns((x, n), outputs.clone(), (y, stride), (onto, &with));
        for a in after.into_iter().filter(|a| outputs.contains(&a.column)) {
            a.matrix.multiply(a.rows, n, (&mut y[a.column - outputs.start..], stride), Onto::Sum);
        }
    }
}

/// A stack ready for the backward pass: `u = s dy B`, `dx = dy W + u A`.
pub(super) struct Backward<'a> {
    base: Factor<'a>,
    /// All `A` (width, in).
    down: Option<Packed>,
    /// Each `s B` (out, rank).
    ups: Vec<(Range<usize>, Packed)>,
    rank: usize,
}

impl<'a> Backward<'a> {
    pub(super) fn new(base: &'a PackedWeight, plan: &StackPlan, flat: &[f32], scaling: f32) -> Self {
        let down = (plan.width() > 0).then(|| Packed::new(plan.a(flat)));
        let ups = plan.bs(flat).into_iter().map(|b| Packed::scaled(b, scaling));
        let ups = plan.blocks.iter().cloned().zip(ups).collect();
        Self { base: base.backward(), down, ups, rank: plan.rank }
    }

    /// The thin products `u` of `n` rows, which go into `u`.
    pub(super) fn thin<'b>(&self, dy: Rows, n: usize, u: &'b mut [f32]) -> Thin<'b> {
        let width = self.ups.len() * self.rank;
        for (j, (block, b)) in self.ups.iter().enumerate() {
            b.multiply(dy.after(block.start), n, (&mut u[j * self.rank..], width), Onto::Nothing);
        }
        Thin::new(u, n, (1, width))
    }

    /// The gradient of the input of `n` rows, from that of the output and `u`.
    pub(super) fn rows(&self, dy: Rows, u: &Thin, n: usize, dx: &mut [f32]) {
        self.inputs((dy, u), n, 0..self.base.dims().1, dx);
    }

    /// The same for some of the inputs (n, as many): whole panels.
    pub(super) fn inputs(&self, (dy, u): (Rows, &Thin), n: usize, inputs: Range<usize>, dx: &mut [f32]) {
        let width = inputs.len();
        let added = |a| Added { column: 0, rows: u.rows(0), matrix: a };
        let added: Vec<Added> = self.down.iter().map(added).collect();
        self.base.multiply_columns((dy, n), inputs, (dx, width), (Onto::Nothing, &added));
    }
}
