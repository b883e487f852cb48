//! What do processors with AVX-512 VNNI spare when whole numbers are multiplied?
//!
//! An instruction: products of pairs of 16-bit numbers are added to 32-bit sums as they are formed.

use std::arch::asm;
use std::arch::x86_64::__m512i;

/// Whether the machine has it, and what pulp's widest vectors need.
pub(super) fn is_there() -> bool {
    pulp::x86::V4::try_new().is_some() && is_x86_feature_detected!("avx512vnni")
}

/// `sums + a₀ b₀ + a₁ b₁`, for the two 16-bit numbers of each lane. In assembly: the compiler takes two instructions, so
/// that a sum is ready sooner, which nobody waits for here.
///
/// # Safety
/// The machine must have AVX-512 VNNI. (It is not among the features that are named here, for the compiler puts a function
/// in place of its call only where all of them are named, and pulp's vectors know nothing of VNNI.)
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
// SAFETY: by the condition above; the instruction reads and writes registers alone.
pub(super) unsafe fn add_products(mut sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the condition of this function.
    unsafe {
        asm!(
            "vpdpwssd {sums}, {a}, {b}",
            sums = inout(zmm_reg) sums, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
