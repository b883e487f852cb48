//! How are the few rows on the left kept?
//!
//! In 16 bits, with a scale for every 32 values: off by a 65,000th of the largest of these at most. Then a whole number of a
//! weight is multiplied as such, and sixteen at once.

use super::BLOCK;
use crate::kernels::elementwise::{ROUND, folded, vectorised};

/// The largest value of a block becomes this.
const LARGEST: f32 = 32_767.0;

/// Two blocks of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    /// Both halves of the first block, then of the second.
    pub(super) values: [[i16; 16]; 4],
    /// The scale of each, eight times.
    pub(super) scales: [[f32; 8]; 2],
    /// Nought twice, then the sum of each.
    pub(super) sums: [f32; 4],
}

impl Left {
    /// Of rows `x` (n, width), one after another, each [`pairs`] long. A row's last block may stand alone.
    pub(super) fn rows(x: &[f32], width: usize) -> Vec<Self> {
        let own = pairs(width);
        let mut left = vec![Self::default(); x.len() / width.max(1) * own];
        for (left, x) in left.chunks_exact_mut(own.max(1)).zip(x.chunks_exact(width.max(1))) {
            round(x, left);
        }
        left
    }
}

/// Pairs of blocks in a row of that width.
pub(super) fn pairs(width: usize) -> usize {
    width.div_ceil(2 * BLOCK)
}

vectorised! {
    /// Rounds a row, block by block.
    fn round<'a>(x: &'a [f32], left: &'a mut [Left]) -> () {
        for (left, blocks) in left.iter_mut().zip(x.as_chunks::<BLOCK>().0.chunks(2)) {
            for (i, block) in blocks.iter().enumerate() {
                let size = folded(block.map(f32::abs), |a, b| if b > a { b } else { a });
                // What is no number must not become one.
                let scale = size / LARGEST + 0.0 * folded(*block, |a, b| a + b);
                let steps = if size > 0.0 { LARGEST / size } else { 0.0 };
                let mut whole = [0_i32; BLOCK];
                for j in 0..BLOCK {
                    whole[j] = block[j].mul_add(steps, ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
                }
                for j in 0..16 {
                    left.values[2 * i][j] = whole[j] as i16;
                    left.values[2 * i + 1][j] = whole[j + 16] as i16;
                }
                left.scales[i] = [scale; 8];
                left.sums[2 + i] = whole.iter().sum::<i32>() as f32 * scale;
            }
        }
    }
}
