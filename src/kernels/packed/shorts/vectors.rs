//! How are whole numbers multiplied with AVX2?

use std::arch::asm;
use std::arch::x86_64::{__m256i, _mm256_setzero_si256};

use pulp::x86::V3;
use pulp::{bytemuck, f32x8, i16x16, i32x8};

use super::{BLOCKS, LINES, Line, Multiply, Onto, PANEL, n_blocks, n_lines};
use crate::kernels::cpu::call_for;
use crate::kernels::packed::panels::{FEW, add_others, write};

/// Registers of a panel's row.
const R: usize = 2;
/// Lines that the assembly takes at one go.
const STEP: usize = 4;

/// Forms a product with AVX2, without which no matrix is packed so.
pub(super) fn run(product: Multiply) {
    struct All<'a>(V3, Multiply<'a>);
    impl pulp::NullaryFnOnce for All<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Self(simd, mut product) = self;
            product.all(simd);
        }
    }
    if let Some(simd) = V3::try_new() {
        simd.vectorize(All(simd, product));
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn all(&mut self, simd: V3) {
        let n_blocks = n_blocks(self.left.depth);
        let part = n_blocks.div_ceil(n_blocks.div_ceil(BLOCKS).max(1)).max(1);
        for block in (0..n_blocks).step_by(part) {
            let blocks = (block, (block + part).min(n_blocks));
            for panel in self.panels.clone() {
                // Of a last panel that is half empty only what is in it.
                if self.rhs.columns(panel) > PANEL / 2 {
                    self.rows::<2>(simd, panel, blocks);
                } else {
                    self.rows::<1>(simd, panel, blocks);
                }
            }
        }
    }

    /// All rows times some blocks of a panel, of which the first `U` registers of a row are used.
    #[inline(always)]
    fn rows<const U: usize>(&mut self, simd: V3, panel: usize, blocks: (usize, usize)) {
        let mut row = 0;
        while row + FEW <= self.left.n {
            if row == 0 {
                self.tile::<FEW, U, true>(simd, (row, panel), blocks);
            } else {
                self.tile::<FEW, U, false>(simd, (row, panel), blocks);
            }
            row += FEW;
        }
        match self.left.n - row {
            1 => self.tile::<1, U, false>(simd, (row, panel), blocks),
            2 => self.tile::<2, U, false>(simd, (row, panel), blocks),
            3 => self.tile::<3, U, false>(simd, (row, panel), blocks),
            4 => self.tile::<4, U, false>(simd, (row, panel), blocks),
            5 => self.tile::<5, U, false>(simd, (row, panel), blocks),
            _ => {}
        }
    }

    /// `M` rows times some blocks of a panel; `AHEAD`: the same blocks of the next panel are called for meanwhile.
    #[inline(always)]
    fn tile<const M: usize, const U: usize, const AHEAD: bool>(
        &mut self,
        simd: V3,
        (row, panel): (usize, usize),
        (from, to): (usize, usize),
    ) {
        let Self { rhs, left, first, .. } = *self;
        let (lines, scales) = (rhs.lines(panel), rhs.scales(panel));
        let (n_pairs, n_blocks) = (n_lines(left.depth), n_blocks(left.depth));
        let mut sums = [[simd.splat_f32x8(0.0); U]; M];
        for block in from..to {
            let (start, end) = (block * LINES, n_pairs.min((block + 1) * LINES));
            let lines = &lines[first * LINES + start..first * LINES + end];
            let is_full = (M, U) == (FEW, R) && !AHEAD && lines.len().is_multiple_of(STEP);
            let whole: [[i32x8; U]; M] = if is_full {
                let sums = with_avx2(simd, &left.values[row * n_pairs + start..], n_pairs, lines);
                std::array::from_fn(|i| std::array::from_fn(|u| bytemuck::cast(sums[i % FEW][u % R])))
            } else {
                let rows = std::array::from_fn(|i| &left.values[(row + i) * n_pairs..][start..end]);
                block_sums::<M, U, AHEAD>(simd, rows, lines, n_lines(rhs.depth))
            };
            let scales: [f32x8; R] = bytemuck::cast(scales[first + block]);
            let own = &left.scales[block * left.n + row..][..M];
            for ((sums, whole), scale) in sums.iter_mut().zip(whole).zip(own) {
                let scale = simd.splat_f32x8(*scale);
                for u in 0..U {
                    let scaled = simd.mul_f32x8(simd.convert_i32x8_to_f32x8(whole[u]), scales[u]);
                    sums[u] = simd.mul_add_f32x8(scaled, scale, sums[u]);
                }
            }
        }
        if to == n_blocks {
            add_others::<V3, M, R, U>(simd, self.added, (row, panel), &mut sums);
        }
        let adds = self.onto == Onto::Sum || from > 0;
        let column = (panel - self.panels.start) * PANEL;
        let dst = &mut self.dst[row * self.stride + column..];
        write::<V3, M, U>(simd, sums, (dst, self.stride), (rhs.columns(panel), adds));
    }
}

/// Multiplies the pair at an address by a line's two registers and adds the products to two sums.
macro_rules! row {
    ($a:literal, $b:literal, $($address:literal),+) => { concat!(
        "vpbroadcastd ymm14, ", $($address),+, "\n",
        "vpmaddwd ymm15, ymm14, ymm12\n",
        "vpmaddwd ymm14, ymm14, ymm13\n",
        "vpaddd ymm", $a, ", ymm", $a, ", ymm15\n",
        "vpaddd ymm", $b, ", ymm", $b, ", ymm14\n",
    ) };
}

/// Takes a line: where its two registers are, and its pairs in their rows.
macro_rules! line {
    ($first:literal, $second:literal, $pair:literal) => {
        concat!(
            "vmovdqa ymm12, [{l} + ",
            $first,
            "]\n",
            "vmovdqa ymm13, [{l} + ",
            $second,
            "]\n",
            row!(0, 1, "[{b} + ", $pair, "]"),
            row!(2, 3, "[{b} + {s} + ", $pair, "]"),
            row!(4, 5, "[{b} + 2*{s} + ", $pair, "]"),
            row!(6, 7, "[{c} + ", $pair, "]"),
            row!(8, 9, "[{c} + {s} + ", $pair, "]"),
            row!(10, 11, "[{c} + 2*{s} + ", $pair, "]"),
        )
    };
}

/// [`full_tile`], from where the compiler does not know that there is AVX2.
#[inline(always)]
fn with_avx2(_: V3, values: &[i32], stride: usize, lines: &[Line]) -> [[__m256i; R]; FEW] {
    // SAFETY: whoever has a `V3` has found AVX2.
    #[allow(unsafe_code)]
    unsafe {
        full_tile(values, stride, lines)
    }
}

/// [`block_sums`] of a full tile, the first row at the start of `values` and the others `stride` pairs apart. In assembly:
/// the compiler spends three more instructions on every line for its loop, or spills sums where it is unrolled; where two
/// threads share a core that counts.
///
/// # Panics
/// When the rows are shorter than the lines are many, or these are no whole steps: a fault of the caller.
#[target_feature(enable = "avx2")]
#[inline]
fn full_tile(values: &[i32], stride: usize, lines: &[Line]) -> [[__m256i; R]; FEW] {
    assert!(lines.len().is_multiple_of(STEP) && values.len() >= (FEW - 1) * stride + lines.len());
    let mut sums = [[_mm256_setzero_si256(); R]; FEW];
    let [[a0, b0], [a1, b1], [a2, b2], [a3, b3], [a4, b4], [a5, b5]] = &mut sums;
    let (rows, stride) = (values.as_ptr(), stride * size_of::<i32>());
    // SAFETY: it reads as many pairs of six rows as there are lines, all inside `values`, asserted above, and the lines,
    // which are aligned to 64 bytes. Without lines it reads nothing.
    #[allow(unsafe_code)]
    unsafe {
        asm!(
            "test {n}, {n}",
            "jz 3f",
            "2:",
            line!(0, 32, 0),
            line!(64, 96, 4),
            line!(128, 160, 8),
            line!(192, 224, 12),
            "add {b}, 16",
            "add {c}, 16",
            "add {l}, 256",
            "dec {n}",
            "jnz 2b",
            "3:",
            b = inout(reg) rows => _, c = inout(reg) rows.wrapping_byte_add(3 * stride) => _,
            s = in(reg) stride, l = inout(reg) lines.as_ptr() => _, n = inout(reg) lines.len() / STEP => _,
            inout("ymm0") *a0, inout("ymm1") *b0, inout("ymm2") *a1, inout("ymm3") *b1,
            inout("ymm4") *a2, inout("ymm5") *b2, inout("ymm6") *a3, inout("ymm7") *b3,
            inout("ymm8") *a4, inout("ymm9") *b4, inout("ymm10") *a5, inout("ymm11") *b5,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, readonly),
        );
    }
    sums
}

/// Products of pairs, summed over a block. `AHEAD`: the lines that follow `next` lines later are called for meanwhile.
#[inline(always)]
fn block_sums<const M: usize, const U: usize, const AHEAD: bool>(
    simd: V3,
    rows: [&[i32]; M],
    lines: &[Line],
    next: usize,
) -> [[i32x8; U]; M] {
    assert!(rows.iter().all(|row| row.len() >= lines.len()));
    let mut sums = [[simd.splat_i32x8(0); U]; M];
    for (k, line) in lines.iter().enumerate() {
        if AHEAD {
            call_for(std::slice::from_ref(line), next);
        }
        let weights: [i16x16; R] = bytemuck::cast(line.0);
        for (row, sums) in rows.iter().zip(&mut sums) {
            // SAFETY: a row has a pair for each line, asserted above.
            #[allow(unsafe_code)]
            let pair = simd.splat_i32x8(unsafe { *row.get_unchecked(k) });
            for u in 0..U {
                let products = simd.multiply_wrapping_add_adjacent_i16x16(bytemuck::cast(pair), weights[u]);
                sums[u] = simd.wrapping_add_i32x8(sums[u], products);
            }
        }
    }
    sums
}
