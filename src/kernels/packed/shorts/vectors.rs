//! How are whole numbers multiplied with AVX2, and with AVX-512?

mod tile;
mod wide;

use std::arch::x86_64::__m512i;

use pulp::x86::{V3, V4};
use pulp::{Simd, bytemuck};

use super::{BLOCK, BLOCKS, COLUMNS, Line, Multiply, Onto, PAIRS, n_blocks, n_pairs};
use crate::kernels::buffer::Buffer;
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

    /// [`block_sums`] of the rows that start `stride` pairs apart, if there is a faster way; others are called for
    /// meanwhile: which, and bytes from those called for at one step to those at the next.
    #[inline(always)]
    fn faster_sums<const M: usize, const U: usize>(
        self,
        _: (&[i32], usize),
        _: &[Line],
        _: Option<(*const Line, usize)>,
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
        ahead: Option<(*const Line, usize)>,
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
        ahead: Option<(*const Line, usize)>,
    ) -> Option<[[Self::i32s; U]; M]> {
        let is_full = (M, U) == (MANY, wide::R) && lines.len().is_multiple_of(wide::STEP);
        // SAFETY: whoever has a `V4` has found AVX-512, and VNNI was asked for before it was taken here.
        #[allow(unsafe_code)]
        let sums = is_full.then(|| unsafe {
            wide::full_tile(values, stride, lines, ahead.unwrap_or((lines.as_ptr(), 0)))
        })?;
        Some(std::array::from_fn(|i| std::array::from_fn(|u| bytemuck::cast(sums[i % MANY][u % wide::R]))))
    }
}

/// Some blocks of a panel.
#[derive(Clone, Copy)]
struct Piece<'a> {
    /// Pair by pair of rows.
    lines: &'a [Line],
    /// Lines from here to the same piece of the next panel.
    next: usize,
    /// Of each column.
    scales: &'a [[f32; COLUMNS]],
    /// Of the rows on the left.
    blocks: (usize, usize),
    panel: usize,
    /// Columns in use.
    columns: usize,
}

impl Multiply<'_> {
    #[inline(always)]
    fn all<S: Unit>(&mut self, simd: S) {
        let (rhs, first, beside) = (self.rhs, self.first, self.rhs.beside);
        let (depth, n_blocks) = (self.left.depth, n_blocks(self.left.depth));
        let part = n_blocks.div_ceil(n_blocks.div_ceil(BLOCKS).max(1)).max(1);
        let (width, own) = (if self.turned { rhs.depth } else { rhs.width }, rhs.panel_width());
        // A block is whole panels of the matrix.
        const { assert!(BLOCK.is_multiple_of(WIDE * COLUMNS)) };
        let mut turned = Buffer::new(if self.turned { part * PAIRS * beside } else { 0 });
        for block in (0..n_blocks).step_by(part) {
            let blocks = (block, (block + part).min(n_blocks));
            let n_lines = (n_pairs(depth).min(blocks.1 * PAIRS) - block * PAIRS) * beside;
            for panel in self.panels.clone() {
                let (lines, next, scales) = if self.turned {
                    let start = (first + block) * BLOCK;
                    rhs.turn(panel, start..start + 2 * n_lines / beside, &mut turned);
                    (&turned[..], 0, &[[1.0; COLUMNS]; WIDE][..])
                } else {
                    let lines = &rhs.lines(panel)[(first + block) * PAIRS * beside..];
                    (lines, n_pairs(rhs.depth) * beside, &rhs.scales[panel * beside..])
                };
                let lines = &lines[..n_lines];
                let columns = own.min(width - panel * own);
                let piece = Piece { lines, next, scales, blocks, panel, columns };
                // Of a last panel that is half empty only what is in it.
                match (S::F32_LANES == COLUMNS, columns <= S::F32_LANES) {
                    (true, false) => self.rows::<S, MANY, WIDE, WIDE>(simd, piece),
                    (true, true) => self.rows::<S, MANY, WIDE, 1>(simd, piece),
                    (false, false) => self.rows::<S, FEW, R, R>(simd, piece),
                    (false, true) => self.rows::<S, FEW, R, 1>(simd, piece),
                }
            }
        }
    }

    /// All rows times a piece, `M` at a time. Of the `R` registers of a panel's row, the first `U` are used.
    #[inline(always)]
    fn rows<S: Unit, const M: usize, const R: usize, const U: usize>(&mut self, simd: S, piece: Piece) {
        let mut row = 0;
        while row + M <= self.left.n {
            if row == 0 && !self.turned {
                self.tile::<S, M, R, U, true>(simd, row, piece);
            } else {
                self.tile::<S, M, R, U, false>(simd, row, piece);
            }
            row += M;
        }
        match self.left.n - row {
            1 => self.tile::<S, 1, R, U, false>(simd, row, piece),
            2 => self.tile::<S, 2, R, U, false>(simd, row, piece),
            3 => self.tile::<S, 3, R, U, false>(simd, row, piece),
            4 => self.tile::<S, 4, R, U, false>(simd, row, piece),
            5 => self.tile::<S, 5, R, U, false>(simd, row, piece),
            6 if M > 6 => self.tile::<S, 6, R, U, false>(simd, row, piece),
            7 if M > 6 => self.tile::<S, 7, R, U, false>(simd, row, piece),
            8 if M > 6 => self.tile::<S, 8, R, U, false>(simd, row, piece),
            _ => {}
        }
    }

    /// What a turned matrix' next panel is made of: of each block, one of its panels with each of the first tiles of rows.
    #[inline(always)]
    fn turned_ahead<S: Unit, const M: usize>(
        &self,
        (row, block): (usize, usize),
        piece: Piece,
    ) -> Option<(*const Line, usize)> {
        let (beside, own, tile) = (self.rhs.beside, self.rhs.panel_width(), row / M);
        if !self.turned || S::F32_LANES != COLUMNS || tile >= BLOCK / own {
            return None;
        }
        let (lines, n) = (self.rhs.lines.as_ptr(), own / 2 * beside);
        let panel = (self.first + block) * BLOCK / own + tile;
        let at = panel * n_pairs(self.rhs.depth) * beside + (piece.panel + 1) * n;
        // Its lines in as many steps as a block has, each called for four times: that costs less than to stop.
        Some((lines.wrapping_add(at), n * size_of::<Line>() * wide::STEP / (PAIRS * beside)))
    }

    /// `M` rows times a piece; `AHEAD`: the next panel's is called for meanwhile.
    #[inline(always)]
    fn tile<S: Unit, const M: usize, const R: usize, const U: usize, const AHEAD: bool>(
        &mut self,
        simd: S,
        row: usize,
        piece: Piece,
    ) {
        let beside = R * S::F32_LANES / COLUMNS;
        let (left, (from, to), next) = (self.left, piece.blocks, piece.next);
        let (n_all, n_blocks) = (n_pairs(left.depth), n_blocks(left.depth));
        let mut sums = [[simd.splat_f32s(0.0); U]; M];
        for (block, lines) in (from..to).zip(piece.lines.chunks(PAIRS * beside)) {
            let start = block * PAIRS;
            let values = &left.values[row * n_all + start..];
            let ahead = if AHEAD {
                Some((lines.as_ptr().wrapping_add(next), wide::STEP * size_of::<Line>()))
            } else {
                self.turned_ahead::<S, M>((row, block), piece)
            };
            let faster = simd.faster_sums::<M, U>((values, n_all), lines, ahead);
            let whole = faster.unwrap_or_else(|| {
                let n_pairs = lines.len() / beside;
                let rows = std::array::from_fn(|i| &left.values[(row + i) * n_all + start..][..n_pairs]);
                block_sums::<S, M, R, U, AHEAD>(simd, rows, lines, next)
            });
            let own = &left.scales[block * left.n + row..][..M];
            for ((sums, whole), scale) in sums.iter_mut().zip(whole).zip(own) {
                let scale = simd.splat_f32s(*scale);
                for (sum, whole) in sums.iter_mut().zip(whole) {
                    *sum = simd.mul_add_f32s(simd.floats(whole), scale, *sum);
                }
            }
        }
        let (scales, _) = S::as_simd_f32s(piece.scales[..beside].as_flattened());
        for sums in &mut sums {
            for (sum, scale) in sums.iter_mut().zip(scales) {
                *sum = simd.mul_f32s(*sum, *scale);
            }
        }
        if to == n_blocks {
            add_others::<S, M, R, U>(simd, self.added, (row, piece.panel), &mut sums);
        }
        let adds = self.onto == Onto::Sum || from > 0;
        let column = (piece.panel - self.panels.start) * self.rhs.panel_width();
        let dst = &mut self.dst[row * self.stride + column..];
        write::<S, M, U>(simd, sums, (dst, self.stride), (piece.columns, adds));
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
