//! How do vectors multiply tiles of bfloat16 (`AVX512_BF16`), where there is no matrix unit?
//!
//! Eight rows at a time: sixteen sums stay in registers, and every pair of values that is called for serves twice.

#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::{__cpuid, __m512, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};

use super::{Line, SIDE, STEP, Steps};

/// Rows whose sums are in registers at one time.
const ROWS: usize = 8;

/// Multiplies a pair of a row by 16 pairs, twice or once, and adds the products to sums.
macro_rules! row {
    ($pair:literal, $row:literal, $with:literal, $a:literal $(, $b:literal)?) => { concat!(
        "vpbroadcastd zmm", $with, ", [{a} + 64 * ", $row, " + 4 * ", $pair, "]\n",
        "vdpbf16ps zmm", $a, ", zmm", $with, ", zmm16\n",
        $("vdpbf16ps zmm", $b, ", zmm", $with, ", zmm17\n",)?
    ) };
}

/// Takes the same pair of eight rows, for two tiles beside each other.
macro_rules! wide {
    ($pair:literal) => {
        concat!(
            "vmovaps zmm16, [{b} + 64 * ",
            $pair,
            "]\n",
            "vmovaps zmm17, [{b} + 1024 + 64 * ",
            $pair,
            "]\n",
            row!($pair, 0, 18, 0, 1),
            row!($pair, 1, 19, 2, 3),
            row!($pair, 2, 20, 4, 5),
            row!($pair, 3, 21, 6, 7),
            row!($pair, 4, 18, 8, 9),
            row!($pair, 5, 19, 10, 11),
            row!($pair, 6, 20, 12, 13),
            row!($pair, 7, 21, 14, 15),
        )
    };
}

/// The same for one tile.
macro_rules! narrow {
    ($pair:literal) => {
        concat!(
            "vmovaps zmm16, [{b} + 64 * ",
            $pair,
            "]\n",
            row!($pair, 0, 18, 0),
            row!($pair, 1, 19, 2),
            row!($pair, 2, 20, 4),
            row!($pair, 3, 21, 6),
            row!($pair, 4, 18, 8),
            row!($pair, 5, 19, 10),
            row!($pair, 6, 20, 12),
            row!($pair, 7, 21, 14),
        )
    };
}

pub(super) fn are_there() -> bool {
    has!("avx512f") && has!("avx512bw") && has!("avx512bf16")
}

/// Whether they multiply as fast as those of 16-bit whole numbers do: in AMD's processors (measured with Zen 5; Zen 4:
/// iree-org/iree#15089). In Intel's they take twice as long as float32 (libxsmm/tpp-mlir#1025).
pub(super) fn are_fast() -> bool {
    // SAFETY: every x86-64 processor has `cpuid`.
    #[allow(unused_unsafe)]
    let maker = unsafe { __cpuid(0) };
    let name = [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes);
    are_there() && name.as_flattened() == b"AuthenticAMD"
}

/// That they are there.
pub(in crate::kernels) struct Ready(());

impl Ready {
    pub(super) fn begin() -> Option<Self> {
        are_there().then_some(Self(()))
    }

    /// As [`super::Unit::multiply`].
    #[inline]
    #[allow(clippy::unused_self, reason = "it says that the vectors are there")]
    pub(super) fn multiply(
        &self,
        steps: [Steps; 2],
        (dst, stride, onto): (&mut [f32], usize, bool),
        size: ((usize, usize), (*const Line, usize)),
    ) {
        assert!(stride >= 2 * SIDE && dst.len() >= (2 * SIDE - 1) * stride + 2 * SIDE);
        // SAFETY: `self` says that the vectors are there, and `dst` is long enough.
        unsafe { multiply(steps, (dst, stride, onto), size) }
    }
}

/// # Safety
/// The machine must have AVX-512 with its instructions for bfloat16; `dst` must hold 32 rows of 32 values that start
/// `stride` values apart.
#[target_feature(enable = "avx512f,avx512bf16")]
// SAFETY: by the conditions above; of the steps as much is read as they hold.
unsafe fn multiply(
    [first, second]: [Steps; 2],
    (dst, stride, onto): (&mut [f32], usize, bool),
    ((n_rows, n_columns), ahead): ((usize, usize), (*const Line, usize)),
) {
    for (i, row) in (0..n_rows.min(2 * SIDE)).step_by(ROWS).enumerate() {
        let at = |i: usize| (row + i / 2) * stride + i % 2 * SIDE;
        let start = |i: usize| {
            if onto {
                // SAFETY: a value of `dst` that fifteen more of it follow.
                unsafe { _mm512_loadu_ps(dst.as_ptr().add(at(i))) }
            } else {
                _mm512_setzero_ps()
            }
        };
        let mut sums: [__m512; 2 * ROWS] = std::array::from_fn(start);
        // Two of the lines that are called for with each step.
        let ahead = (ahead.0.wrapping_add(2 * i), ahead.1);
        // SAFETY: the condition of this function.
        unsafe {
            if n_columns > SIDE {
                add(first, row, &mut sums, ahead);
                add(second, row, &mut sums, (ahead.0, 0));
            } else {
                add_narrow(first, row, &mut sums, ahead);
                add_narrow(second, row, &mut sums, (ahead.0, 0));
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(dst.as_mut_ptr().add(at(i)), sum) };
        }
    }
}

/// Adds the products of eight rows from `row` on.
macro_rules! adds {
    ($name:ident, $pair:ident) => {
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
// SAFETY: as above.
unsafe fn $name(steps: Steps, row: usize, sums: &mut [__m512; 2 * ROWS], ahead: (*const Line, usize)) {
    let [a0, b0, a1, b1, a2, b2, a3, b3, a4, b4, a5, b5, a6, b6, a7, b7] = sums;
    // SAFETY: with each step it reads eight lines of `lhs` from `row` on, which is 24 at most, and 32 lines of `rhs`, of which
    // both hold 32 for each step; they are aligned to 64 bytes. A prefetch reads nothing; any address will do.
    unsafe {
        asm!(
            "test {n}, {n}",
            "jz 3f",
            "2:",
            "prefetcht1 [{p}]", "prefetcht1 [{p} + 64]",
            $pair!(0), $pair!(1), $pair!(2), $pair!(3), $pair!(4), $pair!(5), $pair!(6), $pair!(7),
            "test {h}, {h}",
            "jnz 4f",
            $pair!(8), $pair!(9), $pair!(10), $pair!(11), $pair!(12), $pair!(13), $pair!(14), $pair!(15),
            "4:",
            "add {a}, {step}",
            "add {b}, {step}",
            "add {p}, {q}",
            "dec {n}",
            "jnz 2b",
            "3:",
            step = const STEP * size_of::<Line>(),
            a = inout(reg) steps.lhs.as_ptr().wrapping_add(row) => _, b = inout(reg) steps.rhs.as_ptr() => _,
            p = inout(reg) ahead.0 => _, q = in(reg) ahead.1, h = in(reg) usize::from(steps.half), n = inout(reg) steps.len() => _,
            inout("zmm0") *a0, inout("zmm1") *b0, inout("zmm2") *a1, inout("zmm3") *b1, inout("zmm4") *a2,
            inout("zmm5") *b2, inout("zmm6") *a3, inout("zmm7") *b3, inout("zmm8") *a4, inout("zmm9") *b4,
            inout("zmm10") *a5, inout("zmm11") *b5, inout("zmm12") *a6, inout("zmm13") *b6, inout("zmm14") *a7,
            inout("zmm15") *b7, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("zmm21") _,
            options(nostack, readonly),
        );
    }
}
    };
}

adds!(add, wide);
adds!(add_narrow, narrow);
