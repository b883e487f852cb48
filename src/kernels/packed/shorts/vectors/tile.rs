//! How does AVX2 multiply a full tile of whole numbers?

use std::arch::asm;
use std::arch::x86_64::{__m256i, _mm256_setzero_si256};

use super::Line;
use crate::kernels::packed::panels::FEW;

/// Registers of a line.
pub(super) const R: usize = 2;
/// Lines that are taken at one go.
pub(super) const STEP: usize = 4;

/// Multiplies the pair at an address by a line's two registers and adds the products to two sums; with AVX-VNNI as they are
/// formed.
macro_rules! row {
    (avx2, $a:literal, $b:literal, $($address:literal),+) => { concat!(
        "vpbroadcastd ymm14, ", $($address),+, "\n",
        "vpmaddwd ymm15, ymm14, ymm12\n",
        "vpmaddwd ymm14, ymm14, ymm13\n",
        "vpaddd ymm", $a, ", ymm", $a, ", ymm15\n",
        "vpaddd ymm", $b, ", ymm", $b, ", ymm14\n",
    ) };
    (vnni, $a:literal, $b:literal, $($address:literal),+) => { concat!(
        "vpbroadcastd ymm14, ", $($address),+, "\n",
        "{{vex}} vpdpwssd ymm", $a, ", ymm14, ymm12\n",
        "{{vex}} vpdpwssd ymm", $b, ", ymm14, ymm13\n",
    ) };
}

/// Takes a line: where its two registers are, and its pairs in their rows.
macro_rules! line {
    ($unit:ident, $first:literal, $second:literal, $pair:literal) => {
        concat!(
            "vmovdqa ymm12, [{l} + ",
            $first,
            "]\n",
            "vmovdqa ymm13, [{l} + ",
            $second,
            "]\n",
            row!($unit, 0, 1, "[{b} + ", $pair, "]"),
            row!($unit, 2, 3, "[{b} + {s} + ", $pair, "]"),
            row!($unit, 4, 5, "[{b} + 2*{s} + ", $pair, "]"),
            row!($unit, 6, 7, "[{c} + ", $pair, "]"),
            row!($unit, 8, 9, "[{c} + {s} + ", $pair, "]"),
            row!($unit, 10, 11, "[{c} + 2*{s} + ", $pair, "]"),
        )
    };
}

/// Products of pairs, summed over a block, of a full tile, the first row at the start of `values` and the others `stride`
/// pairs apart. In assembly: the compiler spends three more instructions on every line for its loop, or spills sums where it
/// is unrolled; where two threads share a core that counts.
///
/// # Panics
/// When the rows are shorter than the lines are many, or these are no whole steps: a fault of the caller.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn full_tile(values: &[i32], stride: usize, lines: &[Line]) -> [[__m256i; R]; FEW] {
    assert!(lines.len().is_multiple_of(STEP) && values.len() >= (FEW - 1) * stride + lines.len());
    let mut sums = [[_mm256_setzero_si256(); R]; FEW];
    let [[a0, b0], [a1, b1], [a2, b2], [a3, b3], [a4, b4], [a5, b5]] = &mut sums;
    let (rows, stride) = (values.as_ptr(), stride * size_of::<i32>());
    macro_rules! multiply {
        ($unit:ident) => {
            asm!(
                "test {n}, {n}",
                "jz 3f",
                "2:",
                line!($unit, 0, 32, 0),
                line!($unit, 64, 96, 4),
                line!($unit, 128, 160, 8),
                line!($unit, 192, 224, 12),
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
            )
        };
    }
    let has_vnni = is_x86_feature_detected!("avxvnni");
    // SAFETY: it reads as many pairs of six rows as there are lines, all inside `values`, asserted above, and the lines,
    // which are aligned to 64 bytes. Without lines it reads nothing. What AVX2 lacks runs only where it was found.
    #[allow(unsafe_code)]
    unsafe {
        if has_vnni { multiply!(vnni) } else { multiply!(avx2) }
    }
    sums
}
