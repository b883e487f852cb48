//! How are whole numbers multiplied with AVX2, and with AVX-512?

mod tile;
mod wide;

use std::arch::x86_64::__m512i;

use pulp::x86::{V3, V4};
use pulp::{Simd, bytemuck};

use super::{BLOCKS, COLUMNS, Line, Multiply, Onto, PAIRS, n_blocks, n_pairs};
use crate::kernels::cpu::call_for;
use crate::kernels::packed::panels::{FEW, MANY, add_others, write};
use crate::kernels::vnni;
use tile::{R, STEP, full_tile};

/// Lines beside each other in a panel for AVX-512: a tile's sums fill its registers.
pub(super) const WIDE: usize = wide::R;

/// Forms a product with AVX2, without which no matrix is packed so; panels that are wider were packed for AVX-512 with VNNI.
pub(super) fn run(product: Multiply) {
    struct All<'a, S>(S, Multiply<'a>);
    impl<S: Unit> pulp::NullaryFnOnce for All<'_, S> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Self(simd, mut product) = self;
            product.all(simd);
        }
    }
    if product.rhs.beside == 1 {
        if let Some(simd) = V3::try_new() {
            simd.vectorize(All(simd, product));
        }
    } else if let Some(simd) = V4::try_new().filter(|_| vnni::is_there()) {
        simd.vectorize(All(simd, product));
    }
}

/// Vectors that multiply whole numbers.
trait Unit: Simd {
    /// A register of lines beside each other.
    #[inline(always)]
    fn register(lines: &[Line], at: usize) -> Self::i32s {
        let n = COLUMNS / Self::F32_LANES;
        Self::as_simd_i32s(bytemuck::cast_slice(&lines[at / n].0)).0[at % n]
    }

    /// Adds the products of pairs.
    fn add_products(self, sums: Self::i32s, pairs: Self::i32s, others: Self::i32s) -> Self::i32s;

    fn floats(self, whole: Self::i32s) -> Self::f32s;

    /// [`block_sums`] of the rows that start `stride` pairs apart, if there is a faster way; the lines that follow so many
    /// lines later are called for meanwhile.
    #[inline(always)]
    fn faster_sums<const M: usize, const U: usize>(
        self,
        _: (&[i32], usize),
        _: &[Line],
        _: Option<usize>,
    ) -> Option<[[Self::i32s; U]; M]> {
        None
    }
}

impl Unit for V3 {
    #[inline(always)]
    fn add_products(self, sums: Self::i32s, pairs: Self::i32s, others: Self::i32s) -> Self::i32s {
        let products =
            self.multiply_wrapping_add_adjacent_i16x16(bytemuck::cast(pairs), bytemuck::cast(others));
        self.wrapping_add_i32x8(sums, products)
    }

    #[inline(always)]
    fn floats(self, whole: Self::i32s) -> Self::f32s {
        self.convert_i32x8_to_f32x8(whole)
    }

    #[inline(always)]
    fn faster_sums<const M: usize, const U: usize>(
        self,
        (values, stride): (&[i32], usize),
        lines: &[Line],
        ahead: Option<usize>,
    ) -> Option<[[Self::i32s; U]; M]> {
        let is_full = (M, U) == (FEW, R) && lines.len().is_multiple_of(STEP) && ahead.is_none();
        // SAFETY: whoever has a `V3` has found AVX2.
        #[allow(unsafe_code)]
        let sums = is_full.then(|| unsafe { full_tile(values, stride, lines) })?;
        Some(std::array::from_fn(|i| std::array::from_fn(|u| bytemuck::cast(sums[i % FEW][u % R]))))
    }
}

impl Unit for V4 {
    #[inline(always)]
    fn add_products(self, sums: Self::i32s, pairs: Self::i32s, others: Self::i32s) -> Self::i32s {
        let register = |lanes: Self::i32s| bytemuck::cast::<_, __m512i>(lanes);
        // SAFETY: whoever has a `V4` has found AVX-512, and VNNI was asked for before it was taken here.
        #[allow(unsafe_code)]
        bytemuck::cast(unsafe { vnni::add_products(register(sums), register(pairs), register(others)) })
    }

    #[inline(always)]
    fn floats(self, whole: Self::i32s) -> Self::f32s {
        self.convert_i32x16_to_f32x16(whole)
    }

    #[inline(always)]
    fn faster_sums<const M: usize, const U: usize>(
        self,
        (values, stride): (&[i32], usize),
        lines: &[Line],
        ahead: Option<usize>,
    ) -> Option<[[Self::i32s; U]; M]> {
        let is_full = (M, U) == (MANY, wide::R) && lines.len().is_multiple_of(wide::STEP);
        // SAFETY: whoever has a `V4` has found AVX-512, and VNNI was asked for before it was taken here.
        #[allow(unsafe_code)]
        let sums = is_full.then(|| unsafe { wide::full_tile(values, stride, lines, ahead.unwrap_or(0)) })?;
        Some(std::array::from_fn(|i| std::array::from_fn(|u| bytemuck::cast(sums[i % MANY][u % wide::R]))))
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn all<S: Unit>(&mut self, simd: S) {
        let n_blocks = n_blocks(self.left.depth);
        let part = n_blocks.div_ceil(n_blocks.div_ceil(BLOCKS).max(1)).max(1);
        for block in (0..n_blocks).step_by(part) {
            let blocks = (block, (block + part).min(n_blocks));
            for panel in self.panels.clone() {
                // Of a last panel that is half empty only what is in it.
                let narrow = self.rhs.columns(panel) <= S::F32_LANES;
                match (S::F32_LANES == COLUMNS, narrow) {
                    (true, false) => self.rows::<S, MANY, WIDE, WIDE>(simd, panel, blocks),
                    (true, true) => self.rows::<S, MANY, WIDE, 1>(simd, panel, blocks),
                    (false, false) => self.rows::<S, FEW, R, R>(simd, panel, blocks),
                    (false, true) => self.rows::<S, FEW, R, 1>(simd, panel, blocks),
                }
            }
        }
    }

    /// All rows times some blocks of a panel, `M` at a time. Of the `R` registers of a panel's row, the first `U` are used.
    #[inline(always)]
    fn rows<S: Unit, const M: usize, const R: usize, const U: usize>(
        &mut self,
        simd: S,
        panel: usize,
        blocks: (usize, usize),
    ) {
        let mut row = 0;
        while row + M <= self.left.n {
            if row == 0 {
                self.tile::<S, M, R, U, true>(simd, (row, panel), blocks);
            } else {
                self.tile::<S, M, R, U, false>(simd, (row, panel), blocks);
            }
            row += M;
        }
        match self.left.n - row {
            1 => self.tile::<S, 1, R, U, false>(simd, (row, panel), blocks),
            2 => self.tile::<S, 2, R, U, false>(simd, (row, panel), blocks),
            3 => self.tile::<S, 3, R, U, false>(simd, (row, panel), blocks),
            4 => self.tile::<S, 4, R, U, false>(simd, (row, panel), blocks),
            5 => self.tile::<S, 5, R, U, false>(simd, (row, panel), blocks),
            6 if M > 6 => self.tile::<S, 6, R, U, false>(simd, (row, panel), blocks),
            7 if M > 6 => self.tile::<S, 7, R, U, false>(simd, (row, panel), blocks),
            8 if M > 6 => self.tile::<S, 8, R, U, false>(simd, (row, panel), blocks),
            _ => {}
        }
    }

    /// `M` rows times some blocks of a panel; `AHEAD`: the same blocks of the next panel are called for meanwhile.
    #[inline(always)]
    fn tile<S: Unit, const M: usize, const R: usize, const U: usize, const AHEAD: bool>(
        &mut self,
        simd: S,
        (row, panel): (usize, usize),
        (from, to): (usize, usize),
    ) {
        let Self { rhs, left, first, .. } = *self;
        let beside = R * S::F32_LANES / COLUMNS;
        let (lines, scales) = (rhs.lines(panel), rhs.scales(panel));
        let (n_all, n_blocks) = (n_pairs(left.depth), n_blocks(left.depth));
        let mut sums = [[simd.splat_f32s(0.0); U]; M];
        for block in from..to {
            let (start, end) = (block * PAIRS, n_all.min((block + 1) * PAIRS));
            let lines = &lines[(first * PAIRS + start) * beside..(first * PAIRS + end) * beside];
            let (values, next) = (&left.values[row * n_all + start..], n_pairs(rhs.depth) * beside);
            let faster = simd.faster_sums::<M, U>((values, n_all), lines, AHEAD.then_some(next));
            let whole = faster.unwrap_or_else(|| {
                let rows = std::array::from_fn(|i| &left.values[(row + i) * n_all..][start..end]);
                block_sums::<S, M, R, U, AHEAD>(simd, rows, lines, next)
            });
            let (scales, _) = S::as_simd_f32s(scales[(first + block) * beside..][..beside].as_flattened());
            let own = &left.scales[block * left.n + row..][..M];
            for ((sums, whole), scale) in sums.iter_mut().zip(whole).zip(own) {
                let scale = simd.splat_f32s(*scale);
                for u in 0..U {
                    let scaled = simd.mul_f32s(simd.floats(whole[u]), scales[u]);
                    sums[u] = simd.mul_add_f32s(scaled, scale, sums[u]);
                }
            }
        }
        if to == n_blocks {
            add_others::<S, M, R, U>(simd, self.added, (row, panel), &mut sums);
        }
        let adds = self.onto == Onto::Sum || from > 0;
        let column = (panel - self.panels.start) * rhs.panel_width();
        let dst = &mut self.dst[row * self.stride + column..];
        write::<S, M, U>(simd, sums, (dst, self.stride), (rhs.columns(panel), adds));
    }
}

/// Products of pairs, summed over a block; of the `R` registers of a panel's row the first `U` are used. `AHEAD`: the lines
/// that follow `next` lines later are called for meanwhile.
#[inline(always)]
fn block_sums<S: Unit, const M: usize, const R: usize, const U: usize, const AHEAD: bool>(
    simd: S,
    rows: [&[i32]; M],
    lines: &[Line],
    next: usize,
) -> [[S::i32s; U]; M] {
    let beside = R * S::F32_LANES / COLUMNS;
    assert!(rows.iter().all(|row| row.len() * beside >= lines.len()));
    let mut sums = [[simd.splat_i32s(0); U]; M];
    for (k, lines) in lines.chunks_exact(beside).enumerate() {
        if AHEAD {
            (next..next + beside).for_each(|at| call_for(lines, at));
        }
        for (row, sums) in rows.iter().zip(&mut sums) {
            // SAFETY: a row has a pair for each line, asserted above.
            #[allow(unsafe_code)]
            let pair = simd.splat_i32s(unsafe { *row.get_unchecked(k) });
            for (u, sums) in sums.iter_mut().enumerate() {
                *sums = simd.add_products(*sums, pair, S::register(lines, u));
            }
        }
    }
    sums
}
