//! How is a weight read that came in 4 bits?
//!
//! As whole numbers from 0 to 15: with its scales and offsets a weight is 5 bits.

use super::{BLOCK, Form, Grid, SIDE, Whole, ends_of};
use crate::kernels::cpu::level;
use crate::kernels::elementwise::{ROUND, folded};

/// Steps from a block's smallest value to its largest, at most.
const STEPS: u8 = 15;
/// Two pairs of values apart in a row's eight bytes.
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;

/// How far from a whole number of steps a value may be, in steps. They differ by rounding, which is coarser where weights
/// are not kept in float32.
#[inline(always)]
fn tolerance() -> f32 {
    if level().rounds() { 0.1 } else { 0.02 }
}

/// For each quarter of a block the first eight outputs, then the others: both values of a pair of each; four pairs, from the
/// lowest bits on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nibbles([[u16; SIDE]; 8]);

impl Form for Nibbles {
    const LARGEST: f32 = STEPS as f32;
    #[cfg(target_arch = "x86_64")]
    const WITH_VECTORS: super::vectors::FewRows<Self> = vectors::few_rows;
    #[cfg(target_arch = "x86_64")]
    const WITH_WIDE_VECTORS: super::vectors::FewRows<Self> = vectors::few_rows_wide;

    /// Under which all values are whole.
    #[inline(always)]
    fn grid(values: &[f32; BLOCK]) -> Option<Grid> {
        let (low, high) = ends_of(values);
        let (span, tolerance) = (high - low, tolerance());
        if span <= 0.0 {
            // One value only; what is no number is no value.
            let grid = Grid::new(0.0, low);
            let off = (low - grid.offset.to_f32()).abs();
            return (off <= 1e-3 * low.abs() && values.iter().all(|&value| value <= low)).then_some(grid);
        }
        for n in (1..=STEPS).rev() {
            let grid = Grid::new(span / f32::from(n), low);
            let ((offset, steps), mut is_off) = (grid.steps(), [1.0_f32; BLOCK]);
            for j in 0..BLOCK {
                let at = (values[j] - offset) * steps;
                if (at - (at + ROUND - ROUND)).abs() < tolerance {
                    is_off[j] = 0.0;
                }
            }
            if steps > 0.0 && folded(is_off, |a, b| a + b) < 0.5 {
                return Some(grid);
            }
        }
        None
    }

    #[inline(always)]
    fn pack(whole: &Whole) -> Self {
        let mut values = [[0; SIDE]; 8];
        for (o, whole) in whole.iter().enumerate() {
            let (half, at) = (o / 8, o % 8 * 2);
            for (q, bytes) in whole.as_chunks::<8>().0.iter().enumerate() {
                let pairs = u64::from_le_bytes(*bytes);
                for (i, bytes) in [pairs & EVEN, (pairs >> 8) & EVEN].into_iter().enumerate() {
                    values[2 * q + half][at + i] =
                        (bytes | (bytes >> 12) | (bytes >> 24) | (bytes >> 36)) as u16;
                }
            }
        }
        Self(values)
    }

    fn unpack(&self) -> Whole {
        std::array::from_fn(|o| {
            std::array::from_fn(|k| {
                let bits = self.0[k / 8 * 2 + o / 8][o % 8 * 2 + k % 2];
                (bits >> (k % 8 / 2 * 4)) as u8 & 15
            })
        })
    }
}

/// The same with AVX2, and with AVX-512.
#[cfg(target_arch = "x86_64")]
mod vectors {
    #[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;

    use super::super::vectors::each_group;
    use super::super::{Block, Left, wide};
    use super::Nibbles;

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn few_rows(rows: &[&[Left]], blocks: &[Block<Nibbles>], sums: &mut [f32]) {
        let low = _mm256_set1_epi16(15);
        each_group((rows, blocks, sums), |values, quarter| {
            let [a, b]: [__m256i; 2] = [cast(values.0[2 * quarter]), cast(values.0[2 * quarter + 1])];
            let and = |v: __m256i| _mm256_and_si256(v, low);
            [
                [and(a), and(b)],
                [and(_mm256_srli_epi16::<4>(a)), and(_mm256_srli_epi16::<4>(b))],
                [and(_mm256_srli_epi16::<8>(a)), and(_mm256_srli_epi16::<8>(b))],
                [_mm256_srli_epi16::<12>(a), _mm256_srli_epi16::<12>(b)],
            ]
        });
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,fma")]
    pub(super) fn few_rows_wide(rows: &[&[Left]], blocks: &[Block<Nibbles>], sums: &mut [f32]) {
        let low = _mm512_set1_epi16(15);
        wide::each_group((rows, blocks, sums), |values, quarter| {
            let bits: __m512i = cast([values.0[2 * quarter], values.0[2 * quarter + 1]]);
            [
                _mm512_and_si512(bits, low),
                _mm512_and_si512(_mm512_srli_epi16::<4>(bits), low),
                _mm512_and_si512(_mm512_srli_epi16::<8>(bits), low),
                _mm512_srli_epi16::<12>(bits),
            ]
        });
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::Weight;
    use super::super::tests::{check_products, check_vectors, noise, weight};
    use super::*;

    /// A weight as `Q4_1` has it: `levels` steps of another length in each block, not all of them used.
    fn quantised(n: usize, levels: f32) -> Vec<f32> {
        let at = |(i, v): (usize, f32)| {
            let [step, low] = [0.01 + 0.003 * (i / BLOCK) as f32, -0.1 * (i / BLOCK) as f32];
            (v * (levels + 0.99)).floor() * f16::from_f32(step).to_f32() + f16::from_f32(low).to_f32()
        };
        noise(n).enumerate().map(at).collect()
    }

    fn nibbles(values: &[f32], dims: (usize, usize)) -> Option<Weight<Nibbles>> {
        weight(values, dims)
    }

    #[test]
    fn products_are_those_of_the_weight() {
        let (d_out, d_in) = (37, 160);
        for levels in [15.0, 11.0, 1.0, 0.0] {
            let weight = quantised(d_out * d_in, levels);
            let kept = nibbles(&weight, (d_out, d_in)).unwrap();
            // Where not all steps are used the smallest value is no half float.
            check_products(&kept, &weight, d_in, |size| 1e-4 * size + 1e-6);
        }
    }

    #[test]
    fn what_is_no_number_does_not_become_one() {
        let kept = nibbles(&quantised(3 * 128, 15.0), (3, 128)).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            let mut x = vec![0.5; 128];
            x[70] = value;
            assert!(kept.multiply(&x, 1).iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn vectors_give_what_the_plain_loop_gives() {
        check_vectors(&nibbles(&quantised(21 * 256, 15.0), (21, 256)).unwrap(), 256);
    }

    /// With a matrix unit weights are bfloat16 by the time they are asked for.
    #[test]
    fn rounded_weights_are_kept_so_where_weights_are_rounded() {
        let to_bfloat16 = |v: f32| half::bf16::from_f32(0.013 * ((16.0 * v).floor() - 8.0)).to_f32();
        let rounded: Vec<f32> = noise(4 * 128).map(to_bfloat16).collect();
        assert_eq!(nibbles(&rounded, (4, 128)).is_some(), level().rounds());
    }

    #[test]
    fn other_weights_are_not_kept_so() {
        let (mut weight, dims) = (quantised(10 * 128, 15.0), (10, 128));
        assert!(nibbles(&weight, dims).is_some());
        weight[9 * 128 + 50] += 0.04;
        assert!(nibbles(&weight, dims).is_none(), "one value between two steps");
        weight[9 * 128 + 50] = f32::NAN;
        assert!(nibbles(&weight, dims).is_none(), "one value that is no number");
        assert!(nibbles(&noise(1280).collect::<Vec<_>>(), dims).is_none());
        assert!(nibbles(&[1e6; 32], (1, 32)).is_none(), "beyond half floats");
    }
}
