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
    let mut bounded = [0.0; TOGETHER];
    for (values, bits) in values.chunks(TOGETHER).zip(bits.chunks_mut(TOGETHER)) {
        let bounded = &mut bounded[..values.len()];
        bound(values, bounded);
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(bounded);
    }
}

/// The numbers that bits of half floats stand for.
pub(super) fn widen(bits: &[u16], values: &mut [f32]) {
    bits.reinterpret_cast::<f16>().convert_to_f32_slice(values);
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
