//! How do AVX-512's registers multiply a weight in few bits?
//!
//! As AVX2's ([`super::vectors`]), but with all outputs of a group in one register and with VNNI. Sums come out the same to
//! the last bit.

#[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
use std::arch::x86_64::*;

use pulp::bytemuck::cast;

use super::{Block, Left, SIDE};
use crate::kernels::vnni::add_products;

/// Each group of outputs (outputs, n); `quarter` reads a quarter of the values of a block, pair by pair.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,fma")]
#[inline]
pub(super) fn each_group<F>(
    all: (&[&[Left]], &[Block<F>], &mut [f32]),
    quarter: impl Fn(&F, usize) -> [__m512i; 4],
) {
    super::each_group(all, |r, b| group(r, b, &quarter), |r, b| group(r, b, &quarter));
}

/// A group of outputs of `N` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,fma")]
#[inline]
fn group<F, const N: usize>(
    rows: [&[Left]; N],
    blocks: &[Block<F>],
    quarter: &impl Fn(&F, usize) -> [__m512i; 4],
) -> [[f32; SIDE]; N] {
    let rows = rows.map(|row| &row[..blocks.len()]);
    let mut sums = [_mm512_setzero_ps(); N];
    for (k, block) in blocks.iter().enumerate() {
        // Even and odd pairs apart, so that fewer products wait for the one before.
        let mut whole = [[_mm512_setzero_si512(); 2]; N];
        for q in 0..4 {
            for (p, weights) in quarter(&block.values, q).into_iter().enumerate() {
                for n in 0..N {
                    let pair = _mm512_set1_epi32(rows[n][k].pairs[4 * q + p]);
                    let sum = &mut whole[n][p % 2];
                    // SAFETY: this function is compiled for what the instruction needs.
                    #[allow(unsafe_code)]
                    unsafe {
                        *sum = add_products(*sum, weights, pair);
                    }
                }
            }
        }
        let [scales, offsets] = [block.scales, block.offsets].map(|bits| _mm512_cvtph_ps(cast(bits)));
        for n in 0..N {
            let (scale, sum) = (_mm512_set1_ps(rows[n][k].scale), _mm512_set1_ps(rows[n][k].sum));
            let [even, odd] = whole[n];
            let products = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)), scale);
            sums[n] = _mm512_fmadd_ps(products, scales, sums[n]);
            sums[n] = _mm512_fmadd_ps(offsets, sum, sums[n]);
        }
    }
    sums.map(cast)
}
