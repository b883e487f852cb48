//! How are the gradients of LoRA's weights formed?
//!
//! Each is a sum, over all rows, of products of a thin row with a row that its projection reads, or with a row of its
//! output's gradient. Where products round their rows, it is made of these as they were rounded for the others.

use rayon::prelude::*;

use super::stack::StackPlan;
use crate::kernels::buffer::Buffer;
use crate::kernels::matmul::{Product, View};
use crate::kernels::packed::{Rows, multiply_rows};

/// What the gradients of a stack's corrections are made of.
pub(super) struct Sides<'a> {
    pub(super) plan: &'a StackPlan,
    /// What the stack reads, and how wide that is.
    pub(super) x: (Rows<'a>, usize),
    /// The gradient of what it makes.
    pub(super) dy: Rows<'a>,
    /// `s x Aᵀ`, as the forward pass left it (n, width).
    pub(super) x_thin: View<'a>,
    /// `s dy B` (n, width).
    pub(super) dy_thin: View<'a>,
}

/// Writes the gradients of a layer's LoRA weights, in the order of the flat vector, on all threads.
pub(super) fn write_gradients(stacks: [Sides; 4], mut rest: &mut [f32]) {
    let mut tasks = Vec::new();
    for Sides { plan, x, dy, x_thin, dy_thin } in stacks {
        let (da, dbs, others) = plan.split(rest);
        rest = others;
        if plan.width() == 0 {
            continue;
        }
        tasks.push(Task { thin: dy_thin, rows: x, gradient: Gradient::Down(da) });
        for (j, (block, db)) in plan.blocks.iter().zip(dbs).enumerate() {
            let thin = x_thin.columns(j * plan.rank..(j + 1) * plan.rank);
            let rows = (dy.after(block.start), block.len());
            tasks.push(Task { thin, rows, gradient: Gradient::Up(db) });
        }
    }
    // The largest first: then all threads end at about the same time.
    tasks.sort_by_key(|t| std::cmp::Reverse(t.len()));
    tasks.into_par_iter().with_max_len(1).for_each(Task::run);
}

/// The gradient of one weight.
struct Task<'a> {
    /// Thin rows (n, rank).
    thin: View<'a>,
    /// As many other rows, and how wide they are.
    rows: (Rows<'a>, usize),
    /// Where it goes.
    gradient: Gradient<'a>,
}

enum Gradient<'a> {
    /// (rank, width): that of `A`.
    Down(&'a mut [f32]),
    /// (width, rank): that of `B`.
    Up(&'a mut [f32]),
}

impl Task<'_> {
    /// Values of the gradient.
    fn len(&self) -> usize {
        self.thin.dims().1 * self.rows.1
    }

    /// Forms it on this thread.
    fn run(self) {
        let (width, rank, len) = (self.rows.1, self.thin.dims().1, self.len());
        let sum = |to: &mut [f32]| {
            let (thin, (rows, width)) = (self.thin.t(), self.rows);
            match rows.as_rounded() {
                Some(rows) => multiply_rows(thin, rows, width, (to, width)),
                None => Product::new(thin, rows.view(thin.dims().1, width)).on_one_thread().write(to, width),
            }
        };
        match self.gradient {
            Gradient::Down(gradient) => sum(gradient),
            Gradient::Up(gradient) => {
                // Products are fast along rows that are long.
                let mut turned = Buffer::new(len);
                sum(&mut turned);
                for (i, row) in gradient.chunks_exact_mut(rank).enumerate() {
                    row.iter_mut()
                        .zip(turned[i..].iter().step_by(width))
                        .for_each(|(to, &value)| *to = value);
                }
            }
        }
    }
}
