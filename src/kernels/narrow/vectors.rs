//! How do AVX2's registers multiply a weight in few bits?
//!
//! 16-bit numbers by pairs, whose products it adds up in one instruction; the compiler does not find that by itself.

#[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
use std::arch::x86_64::*;

use pulp::bytemuck::cast;

use super::{Block, Left, SIDE};

/// Two values each of the first and of the last eight outputs of a group.
pub(super) type Weights = [__m256i; 2];

/// Rows times each group of outputs (outputs, n), compiled for certain vectors.
// SAFETY: a type runs nothing; who calls such a function asks first.
pub(super) type FewRows<F> = unsafe fn(&[&[Left]], &[Block<F>], &mut [f32]);

pub(in crate::kernels) fn are_there() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Each group of outputs (outputs, n); `quarter` reads a quarter of the values of a block, pair by pair.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn each_group<F>(
    all: (&[&[Left]], &[Block<F>], &mut [f32]),
    quarter: impl Fn(&F, usize) -> [Weights; 4],
) {
    super::each_group(all, |r, b| group(r, b, &quarter), |r, b| group(r, b, &quarter));
}

/// A group of outputs of `N` rows.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn group<F, const N: usize>(
    rows: [&[Left]; N],
    blocks: &[Block<F>],
    quarter: &impl Fn(&F, usize) -> [Weights; 4],
) -> [[f32; SIDE]; N] {
    let rows = rows.map(|row| &row[..blocks.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (k, block) in blocks.iter().enumerate() {
        let mut whole = [[_mm256_setzero_si256(); 2]; N];
        for q in 0..4 {
            for (p, weights) in quarter(&block.values, q).into_iter().enumerate() {
                for n in 0..N {
                    let pair = _mm256_set1_epi32(rows[n][k].pairs[4 * q + p]);
                    for (sum, weights) in whole[n].iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, pair));
                    }
                }
            }
        }
        let (scales, offsets) = (all_numbers(block.scales), all_numbers(block.offsets));
        for n in 0..N {
            let (scale, sum) = (_mm256_set1_ps(rows[n][k].scale), _mm256_set1_ps(rows[n][k].sum));
            for h in 0..2 {
                let products = _mm256_mul_ps(_mm256_cvtepi32_ps(whole[n][h]), scale);
                sums[n][h] = _mm256_fmadd_ps(products, scales[h], sums[n][h]);
                sums[n][h] = _mm256_fmadd_ps(offsets[h], sum, sums[n][h]);
            }
        }
    }
    sums.map(cast)
}

/// Half floats of a group, eight in a register.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn all_numbers(bits: [u16; SIDE]) -> [__m256; 2] {
    let [first, last]: [[u16; 8]; 2] = cast(bits);
    [numbers(first), numbers(last)]
}

/// Half floats, from their bits.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(in crate::kernels) fn numbers(bits: [u16; 8]) -> __m256 {
    _mm256_cvtph_ps(cast(bits))
}
