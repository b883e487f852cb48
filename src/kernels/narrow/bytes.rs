//! How is a weight read in 8 bits?
//!
//! What came quantised in blocks of 32 values, `Q8_0` among them, is on that grid already and loses nothing but the last
//! digit; other weights are off by a 500th of their block's span, or by what half floats are off: a 4,000th of the smallest
//! value of the block, and 8e-6. Beyond 65,000 they are no numbers any more.

use super::{BLOCK, Form, Grid, SIDE, Whole, ends_of, nearest};
use crate::kernels::elementwise::folded;

/// Pair after pair: both values of each output, the first in the lower half.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bytes([[u16; SIDE]; BLOCK / 2]);

impl Form for Bytes {
    const LARGEST: f32 = 255.0;
    #[cfg(target_arch = "x86_64")]
    const WITH_VECTORS: super::vectors::FewRows<Self> = vectors::few_rows;
    #[cfg(target_arch = "x86_64")]
    const WITH_WIDE_VECTORS: super::vectors::FewRows<Self> = vectors::few_rows_wide;

    /// Under which the value that is off most is off by least: from the smallest to the largest in 255 steps, or with nought
    /// on the grid and 127 steps up to the largest size.
    #[inline(always)]
    fn grid(values: &[f32; BLOCK]) -> Option<Grid> {
        let (low, high) = ends_of(values);
        let full = Grid::new((high - low) / 255.0, low);
        let even = Grid::new(low.abs().max(high.abs()) / 127.0, 0.0).scale;
        let even = Grid::new(even.to_f32(), -128.0 * even.to_f32());
        Some(if off_by(values, even) < off_by(values, full) { even } else { full })
    }

    #[inline(always)]
    fn pack(whole: &Whole) -> Self {
        let mut values = [[0; SIDE]; BLOCK / 2];
        for (o, whole) in whole.iter().enumerate() {
            for (values, pair) in values.iter_mut().zip(whole.as_chunks::<2>().0) {
                values[o] = u16::from_le_bytes(*pair);
            }
        }
        Self(values)
    }

    fn unpack(&self) -> Whole {
        std::array::from_fn(|o| std::array::from_fn(|k| self.0[k / 2][o].to_le_bytes()[k % 2]))
    }
}

/// How far the value that is off most is off.
#[inline(always)]
fn off_by(values: &[f32; BLOCK], grid: Grid) -> f32 {
    let ((offset, steps), scale, mut off) = (grid.steps(), grid.scale.to_f32(), [0.0_f32; BLOCK]);
    for j in 0..BLOCK {
        let whole = nearest((values[j] - offset) * steps, Bytes::LARGEST);
        off[j] = (values[j] - whole.mul_add(scale, offset)).abs();
    }
    folded(off, |a, b| if b > a { b } else { a })
}

/// The same with AVX2, and with AVX-512.
#[cfg(target_arch = "x86_64")]
mod vectors {
    #[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;

    use super::super::vectors::each_group;
    use super::super::{Block, Left, wide};
    use super::Bytes;

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn few_rows(rows: &[&[Left]], blocks: &[Block<Bytes>], sums: &mut [f32]) {
        each_group((rows, blocks, sums), |values, quarter| {
            let pair = |p: usize| {
                let [a, b]: [__m128i; 2] = cast(values.0[4 * quarter + p]);
                [_mm256_cvtepu8_epi16(a), _mm256_cvtepu8_epi16(b)]
            };
            [pair(0), pair(1), pair(2), pair(3)]
        });
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,fma")]
    pub(super) fn few_rows_wide(rows: &[&[Left]], blocks: &[Block<Bytes>], sums: &mut [f32]) {
        wide::each_group((rows, blocks, sums), |values, quarter| {
            std::array::from_fn(|p| _mm512_cvtepu8_epi16(cast(values.0[4 * quarter + p])))
        });
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::Weight;
    use super::super::tests::{check_products, check_vectors, kept, noise, weight};
    use super::*;

    fn bytes(values: &[f32], dims: (usize, usize)) -> Weight<Bytes> {
        weight(values, dims).unwrap()
    }

    #[test]
    fn weights_that_came_quantised_stay_as_they_are() {
        // Q8_0: whole multiples, up to 127, of a half float.
        let levels: Vec<f32> = noise(640).collect();
        let weight = levels.chunks(32).enumerate().flat_map(|(i, block)| {
            let step = f16::from_f32(0.001 + 0.0007 * i as f32).to_f32();
            let at = |(j, v): (usize, &f32)| if j == 0 { -127.0 } else { (v * 200.0 - 100.0).round() } * step;
            block.iter().enumerate().map(at).collect::<Vec<_>>()
        });
        let weight: Vec<f32> = weight.collect();
        let same = kept(&bytes(&weight, (4, 160)), 160);
        let off = weight.iter().zip(&same).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "off by {off}");
    }

    #[test]
    fn other_weights_are_off_by_half_a_step_at_most_and_products_are_those_of_what_is_kept() {
        let (d_out, d_in) = (37, 96);
        let weight: Vec<f32> = noise(d_out * d_in).map(|v| v - 0.4).collect();
        let bytes = bytes(&weight, (d_out, d_in));
        let kept = kept(&bytes, d_in);
        // A half float is off by a 4,096th at most.
        assert!(weight.iter().zip(&kept).all(|(a, b)| (a - b).abs() <= 0.5 / 255.0 + 0.4 / 4096.0 + 1e-4));
        check_products(&bytes, &kept, d_in, |_| 1e-4);
    }

    #[test]
    fn blocks_of_one_value_are_kept() {
        let weight = vec![0.25; 64].into_iter().chain(vec![0.0; 64]).collect::<Vec<f32>>();
        assert_eq!(kept(&bytes(&weight, (2, 64)), 64), weight);
    }

    #[test]
    fn vectors_give_what_the_plain_loop_gives() {
        check_vectors(&bytes(&noise(21 * 224).collect::<Vec<_>>(), (21, 224)), 224);
    }
}
