//! How is a weight read when there are only a few rows to multiply?
//!
//! Writing token by token reads every weight for a single row, so memory's pace decides. Here a weight is kept in as few
//! bits as it can be: value = offset + scale · whole number, with a scale and an offset for every 32 values of a row. Sums
//! are float32.

mod bytes;
mod nibbles;

use bytes::Bytes;
use nibbles::Nibbles;

use super::elementwise::folded;

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

/// The smallest and the largest value of a block.
#[inline(always)]
fn ends_of(values: &[f32; BLOCK]) -> (f32, f32) {
    let low = folded(*values, |a, b| if b < a { b } else { a });
    (low, folded(*values, |a, b| if b > a { b } else { a }))
}

#[cfg(test)]
mod tests {
    /// Numbers that look random, from nought to below 1.
    pub(super) fn noise(n: usize) -> impl Iterator<Item = f32> {
        (1..=n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
    }

    /// For one row to four, products must be those of the weight (out, in), but for what `allowed` makes of the sum of the
    /// sizes of a product's terms.
    pub(super) fn check_products(
        multiply: impl Fn(&[f32], usize) -> Vec<f32>,
        weight: &[f32],
        (d_out, d_in): (usize, usize),
        allowed: impl Fn(f64) -> f64,
    ) {
        for n in 1..=4 {
            let x: Vec<f32> = noise(n * d_in).map(|v| 2.0 * v - 1.0).collect();
            let y = multiply(&x, n);
            assert_eq!(y.len(), n * d_out);
            for (i, value) in y.iter().enumerate() {
                let (x, w) = (&x[i / d_out * d_in..], &weight[i % d_out * d_in..]);
                let terms = || x.iter().zip(w).take(d_in).map(|(x, w)| f64::from(x * w));
                let (exact, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                let off = (f64::from(*value) - exact).abs();
                assert!(off < allowed(size), "{n} rows, {i}: {value} for {exact}");
            }
        }
    }
}
