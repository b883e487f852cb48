//! How are the few rows on the left kept?
//!
//! In 16 bits, with a scale for every 32 values: off by a 65,000th of the largest of these at most. Then a whole number of a
//! weight is multiplied as such, and sixteen at once.

use super::BLOCK;
use crate::kernels::elementwise::{ROUND, folded, vectorised};

/// The largest value of a block becomes this.
const LARGEST: f32 = 32_767.0;

/// A block of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    /// Two values each, the first in the lower half.
    pub(super) pairs: [i32; BLOCK / 2],
    pub(super) scale: f32,
    /// Of all values.
    pub(super) sum: f32,
}

impl Left {
    /// Of rows one after another, of whole blocks each.
    pub(super) fn rows(x: &[f32]) -> Vec<Self> {
        let mut left = vec![Self::default(); x.len() / BLOCK];
        round(x, &mut left);
        left
    }

    /// The values as whole numbers.
    pub(super) fn values(&self) -> [i16; BLOCK] {
        std::array::from_fn(|k| (self.pairs[k / 2] >> (k % 2 * 16)) as i16)
    }
}

vectorised! {
    /// Rounds values, block by block.
    fn round<'a>(x: &'a [f32], left: &'a mut [Left]) -> () {
        for (left, block) in left.iter_mut().zip(x.as_chunks::<BLOCK>().0) {
            let mut sizes = [0.0; BLOCK];
            for j in 0..BLOCK {
                sizes[j] = block[j].abs();
            }
            let size = folded(sizes, |a, b| if b > a { b } else { a });
            // What is no number must not become one.
            left.scale = size / LARGEST + 0.0 * folded(*block, |a, b| a + b);
            let steps = if size > 0.0 { LARGEST / size } else { 0.0 };
            let mut whole = [0_i32; BLOCK];
            for j in 0..BLOCK {
                whole[j] = block[j].mul_add(steps, ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            }
            for j in 0..BLOCK / 2 {
                left.pairs[j] = (whole[2 * j] & 0xffff) | (whole[2 * j + 1] << 16);
            }
            left.sum = whole.iter().sum::<i32>() as f32 * left.scale;
        }
    }
}
