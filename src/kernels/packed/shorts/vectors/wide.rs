//! How does AVX-512 with VNNI multiply a full tile of whole numbers?

use std::arch::asm;
use std::arch::x86_64::{__m512i, _mm512_setzero_si512};

use super::Line;
use crate::kernels::packed::panels::MANY;

/// Lines beside each other.
pub(super) const R: usize = 3;
/// Lines that are taken at one go.
pub(super) const STEP: usize = 2 * R;

/// Multiplies the pair at an address by three lines and adds the products to three sums.
macro_rules! row {
    ($pair:literal, $a:literal, $b:literal, $c:literal, $($address:literal),+) => { concat!(
        "vpbroadcastd zmm", $pair, ", ", $($address),+, "\n",
        "vpdpwssd zmm", $a, ", zmm", $pair, ", zmm27\n",
        "vpdpwssd zmm", $b, ", zmm", $pair, ", zmm28\n",
        "vpdpwssd zmm", $c, ", zmm", $pair, ", zmm29\n",
    ) };
}

/// Takes three lines: where they are, and their pairs in the rows.
macro_rules! lines {
    ($first:literal, $second:literal, $third:literal, $pair:literal) => {
        concat!(
            "vmovdqa64 zmm27, [{l} + ",
            $first,
            "]\n",
            "vmovdqa64 zmm28, [{l} + ",
            $second,
            "]\n",
            "vmovdqa64 zmm29, [{l} + ",
            $third,
            "]\n",
            row!(30, 0, 1, 2, "[{b} + ", $pair, "]"),
            row!(31, 3, 4, 5, "[{b} + {s} + ", $pair, "]"),
            row!(30, 6, 7, 8, "[{b} + 2*{s} + ", $pair, "]"),
            row!(31, 9, 10, 11, "[{c} + ", $pair, "]"),
            row!(30, 12, 13, 14, "[{c} + {s} + ", $pair, "]"),
            row!(31, 15, 16, 17, "[{c} + 2*{s} + ", $pair, "]"),
            row!(30, 18, 19, 20, "[{d} + ", $pair, "]"),
            row!(31, 21, 22, 23, "[{d} + {s} + ", $pair, "]"),
            row!(30, 24, 25, 26, "[{d} + 2*{s} + ", $pair, "]"),
        )
    };
}

/// Products of pairs, summed over a block, of a full tile, the first row at the start of `values` and the others `stride`
/// pairs apart; other lines are called for meanwhile, six with each step, which begin `ahead.1` bytes after those of the step
/// before. In assembly: the compiler finds out anew, with every three lines, how many are left.
///
/// # Safety
/// The machine must have AVX-512 VNNI.
///
/// # Panics
/// When the rows are shorter than the lines are many, or these are no whole steps: a fault of the caller.
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
// SAFETY: by the condition above; memory is read in bounds that are asserted.
pub(super) unsafe fn full_tile(
    values: &[i32],
    stride: usize,
    lines: &[Line],
    ahead: (*const Line, usize),
) -> [[__m512i; R]; MANY] {
    assert!(lines.len().is_multiple_of(STEP) && values.len() >= (MANY - 1) * stride + lines.len() / R);
    let mut sums = [[_mm512_setzero_si512(); R]; MANY];
    let [[a0, b0, c0], [a1, b1, c1], [a2, b2, c2], [a3, b3, c3], [a4, b4, c4], others @ ..] = &mut sums;
    let [[a5, b5, c5], [a6, b6, c6], [a7, b7, c7], [a8, b8, c8]] = others;
    let (rows, stride) = (values.as_ptr(), stride * size_of::<i32>());
    // SAFETY: it reads as many pairs of nine rows as there are lines, all inside `values`, asserted above, and the lines,
    // which are aligned to 64 bytes. Without lines it reads nothing. A prefetch reads nothing; any address will do.
    unsafe {
        asm!(
            "test {n}, {n}",
            "jz 3f",
            "2:",
            "prefetcht1 [{p}]", "prefetcht1 [{p} + 64]", "prefetcht1 [{p} + 128]",
            lines!(0, 64, 128, 0),
            "prefetcht1 [{p} + 192]", "prefetcht1 [{p} + 256]", "prefetcht1 [{p} + 320]",
            lines!(192, 256, 320, 4),
            "add {b}, 8",
            "add {c}, 8",
            "add {d}, 8",
            "add {l}, 384",
            "add {p}, {a}",
            "dec {n}",
            "jnz 2b",
            "3:",
            b = inout(reg) rows => _, c = inout(reg) rows.wrapping_byte_add(3 * stride) => _,
            d = inout(reg) rows.wrapping_byte_add(6 * stride) => _, s = in(reg) stride,
            l = inout(reg) lines.as_ptr() => _, p = inout(reg) ahead.0 => _, a = in(reg) ahead.1,
            n = inout(reg) lines.len() / STEP => _,
            inout("zmm0") *a0, inout("zmm1") *b0, inout("zmm2") *c0, inout("zmm3") *a1, inout("zmm4") *b1,
            inout("zmm5") *c1, inout("zmm6") *a2, inout("zmm7") *b2, inout("zmm8") *c2, inout("zmm9") *a3,
            inout("zmm10") *b3, inout("zmm11") *c3, inout("zmm12") *a4, inout("zmm13") *b4, inout("zmm14") *c4,
            inout("zmm15") *a5, inout("zmm16") *b5, inout("zmm17") *c5, inout("zmm18") *a6, inout("zmm19") *b6,
            inout("zmm20") *c6, inout("zmm21") *a7, inout("zmm22") *b7, inout("zmm23") *c7, inout("zmm24") *a8,
            inout("zmm25") *b8, inout("zmm26") *c8,
            out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack, readonly),
        );
    }
    sums
}
