//! How do numbers become half floats (IEEE 754 binary16), and numbers again?
//!
//! To the nearest. What is larger than a half float can be becomes the largest; what is infinite or no number stays so.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::elementwise::vectorised;

/// Numbers that are rounded at one go.
const TOGETHER: usize = 256;

/// Writes numbers as bits of half floats.
pub(super) fn narrow(values: &[f32], bits: &mut [u16]) {
    let done = wide::narrow(values, bits);
    let mut bounded = [0.0; TOGETHER];
    for (values, bits) in values[done..].chunks(TOGETHER).zip(bits[done..].chunks_mut(TOGETHER)) {
        let bounded = &mut bounded[..values.len()];
        bound(values, bounded);
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(bounded);
    }
}

/// The numbers that bits of half floats stand for.
pub(super) fn widen(bits: &[u16], values: &mut [f32]) {
    let done = wide::widen(bits, values);
    bits[done..].reinterpret_cast::<f16>().convert_to_f32_slice(&mut values[done..]);
}

/// The same with AVX-512, sixteen at a time: as many as are done, which may be none.
#[cfg(target_arch = "x86_64")]
mod wide {
    #![allow(unsafe_code)]

    use std::arch::x86_64::{
        __m256i, __m512, _CMP_NLT_UQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_abs_ps,
        _mm512_cmp_ps_mask, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_mask_mov_ps, _mm512_max_ps,
        _mm512_min_ps, _mm512_set1_ps,
    };
    use std::mem::transmute;

    use half::f16;

    use crate::kernels::cpu::{Level, level};

    pub(super) fn narrow(values: &[f32], bits: &mut [u16]) -> usize {
        if level() < Level::Avx512 {
            return 0;
        }
        // SAFETY: at these levels there is AVX-512.
        unsafe { narrow_all(values, bits) }
    }

    pub(super) fn widen(bits: &[u16], values: &mut [f32]) -> usize {
        if level() < Level::Avx512 {
            return 0;
        }
        // SAFETY: as above.
        unsafe { widen_all(bits, values) }
    }

    #[target_feature(enable = "avx512f")]
    fn narrow_all(values: &[f32], bits: &mut [u16]) -> usize {
        let largest = _mm512_set1_ps(f16::MAX.to_f32_const());
        let least = _mm512_set1_ps(f16::MIN.to_f32_const());
        let infinity = _mm512_set1_ps(f32::INFINITY);
        let (from, to) = (values.as_chunks::<16>().0, bits.as_chunks_mut::<16>().0);
        for (from, to) in from.iter().zip(to) {
            // SAFETY: vectors and arrays of the same size; any bits are valid in all of them.
            unsafe {
                let values = transmute::<[f32; 16], __m512>(*from);
                let between = _mm512_max_ps(_mm512_min_ps(values, largest), least);
                let neither = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(values), infinity);
                let bounded = _mm512_mask_mov_ps(between, neither, values);
                let bits = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(bounded);
                *to = transmute::<__m256i, [u16; 16]>(bits);
            }
        }
        values.len().min(bits.len()) / 16 * 16
    }

    #[target_feature(enable = "avx512f")]
    fn widen_all(bits: &[u16], values: &mut [f32]) -> usize {
        let (from, to) = (bits.as_chunks::<16>().0, values.as_chunks_mut::<16>().0);
        for (from, to) in from.iter().zip(to) {
            // SAFETY: vectors and arrays of the same size; any bits are valid in all of them.
            unsafe {
                let bits = transmute::<[u16; 16], __m256i>(*from);
                *to = transmute::<__m512, [f32; 16]>(_mm512_cvtph_ps(bits));
            }
        }
        values.len().min(bits.len()) / 16 * 16
    }
}

/// Elsewhere none are.
#[cfg(not(target_arch = "x86_64"))]
mod wide {
    pub(super) fn narrow(_: &[f32], _: &mut [u16]) -> usize {
        0
    }

    pub(super) fn widen(_: &[u16], _: &mut [f32]) -> usize {
        0
    }
}

vectorised! {
    fn bound<'a>(values: &'a [f32], bounded: &'a mut [f32]) -> () {
        let largest = f16::MAX.to_f32_const();
        for (to, &value) in bounded.iter_mut().zip(values) {
            let below = if value > largest { largest } else { value };
            let between = if below < -largest { -largest } else { below };
            *to = if value.abs() < f32::INFINITY { between } else { value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_a_time_are_rounded_as_one_by_one() {
        let values: Vec<f32> =
            (0..4096_u32).map(|i| f32::from_bits(i << 20 | i.wrapping_mul(40_503))).collect();
        let (mut bits, mut back) = (vec![0; values.len()], vec![0.0; values.len()]);
        narrow(&values, &mut bits);
        widen(&bits, &mut back);
        for ((&value, &bits), back) in values.iter().zip(&bits).zip(back) {
            let mut one = [0; 1];
            narrow(&[value], &mut one);
            assert!(bits == one[0] || value.is_nan() && f16::from_bits(bits).is_nan(), "{value}");
            assert_eq!(back.to_bits(), f16::from_bits(bits).to_f32().to_bits(), "{value}");
        }
    }

    #[test]
    fn numbers_are_rounded_and_what_is_too_large_becomes_the_largest() {
        for n in [0, 1, TOGETHER - 1, 2 * TOGETHER + 37] {
            let values: Vec<f32> = (0..n).map(|i| (i as f32 - 300.0) * 0.7391).collect();
            let (mut bits, mut back) = (vec![0; n], vec![0.0; n]);
            narrow(&values, &mut bits);
            widen(&bits, &mut back);
            assert!(back.iter().zip(&values).all(|(b, v)| (b - v).abs() <= v.abs() / 2048.0));
        }
        let odd = [1e6, -1e6, 65_519.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
        let (mut bits, mut back) = ([0; 8], [0.0; 8]);
        narrow(&odd, &mut bits);
        widen(&bits, &mut back);
        let largest = 65_504.0;
        let expected = [largest, -largest, largest, largest, f32::INFINITY, f32::NEG_INFINITY];
        assert!(back.iter().zip(expected).all(|(b, e)| b.total_cmp(&e).is_eq()), "{back:?}");
        assert!(back[6].is_nan() && back[7].to_bits() == (-0.0_f32).to_bits());
    }
}
