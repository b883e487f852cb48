//! How is a weight read when there are only a few rows to multiply?
//!
//! Writing token by token reads every weight for a single row, so memory's pace decides. Here a weight is kept in as few
//! bits as it can be: value = offset + scale · whole number, with a scale and an offset for every 32 values of a row. Sums
//! are float32.

mod bytes;
mod nibbles;

use bytes::Bytes;
use nibbles::Nibbles;

/// Values that share a scale.
const BLOCK: usize = 32;
/// Weights that one thread takes at a time, about.
const SHARE: usize = 1 << 17;

/// A weight (out, in) in few bits.
#[derive(Debug)]
pub(super) enum Narrow {
    /// In 4: what came so quantised.
    Nibbles(Nibbles),
    /// In 8: everything else.
    Bytes(Bytes),
}

impl Narrow {
    /// Whether rows of that width can be kept so.
    pub(super) fn fits(width: usize) -> bool {
        width > 0 && width.is_multiple_of(BLOCK)
    }

    /// Of a weight (out, in), of which `row` writes the values of one output.
    pub(super) fn new(dims: (usize, usize), row: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        Nibbles::new(dims, &row).map_or_else(|| Self::Bytes(Bytes::new(dims, &row)), Self::Nibbles)
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        match self {
            Self::Nibbles(nibbles) => nibbles.multiply(x, n),
            Self::Bytes(bytes) => bytes.multiply(x, n),
        }
    }
}

/// Outputs that one thread takes at a time: as many shares for each, of the same size.
fn outputs((d_out, d_in): (usize, usize)) -> usize {
    let n_shares = (d_out * d_in).div_ceil(SHARE).next_multiple_of(rayon::current_num_threads().max(1));
    d_out.div_ceil(n_shares).max(1)
}
