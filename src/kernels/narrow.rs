//! How is a weight read when there are only a few rows to multiply?
//!
//! Writing token by token reads every weight for a single row, so memory's pace decides. Here a weight is kept in as few
//! bits as it can be: value = offset + scale · whole number, with a scale and an offset for every 32 values of a row. The
//! whole numbers are multiplied as such, by rows that are rounded to 16 bits; sums beyond 32 values are float32.

mod bytes;
mod left;
mod nibbles;

use bytes::Bytes;
use left::Left;
use nibbles::Nibbles;
use rayon::prelude::*;

use super::blocks::by_rows;
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

/// Pairs of blocks of a weight (out, in), row by row; where a row's blocks are odd in number, its last has an empty one
/// beside it. `kept` writes a row's pairs and tells whether it can be kept so; the first row is asked before all others.
fn pairs_of<P: Copy + Default + Send>(
    (d_out, d_in): (usize, usize),
    row: &(impl Fn(usize, &mut [f32]) + Sync),
    kept: impl Fn(&[f32], &mut [P]) -> bool + Sync,
) -> Option<Vec<P>> {
    let width = left::pairs(d_in);
    let mut pairs = vec![P::default(); d_out * width];
    let keep = |(i, pairs): (usize, &mut [P])| {
        let mut own = vec![0.0; d_in];
        row(i, &mut own);
        kept(&own, pairs)
    };
    let first = keep((0, pairs.get_mut(..width)?));
    let all = first && pairs.par_chunks_mut(width).enumerate().all(keep);
    all.then_some(pairs)
}

/// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads; `few_rows` gets the rows, the pairs of some outputs and room for
/// their products (outputs, n).
fn multiply<P: Sync>(
    (x, n): (&[f32], usize),
    pairs: &[P],
    few_rows: impl Fn(&[&[Left]], &[P], &mut [f32]) + Sync,
) -> Vec<f32> {
    let d_in = x.len() / n.max(1);
    let width = left::pairs(d_in).max(1);
    let left = Left::rows(x, d_in);
    let rows: Vec<&[Left]> = left.chunks_exact(width).collect();
    let of = |pairs: &[P]| {
        let mut sums = vec![0.0; pairs.len() / width * n];
        few_rows(&rows, pairs, &mut sums);
        sums
    };
    let share = outputs((pairs.len() / width, d_in)) * width;
    let parts: Vec<Vec<f32>> = pairs.par_chunks(share).map(of).collect();
    by_rows(&parts, n)
}

/// Each output's weights times all rows: (outputs, n). Two rows are taken together, others one after another.
#[inline(always)]
fn each_output<P>(
    (rows, pairs, sums): (&[&[Left]], &[P], &mut [f32]),
    of_one: impl Fn([&[Left]; 1], &[P]) -> [f32; 1],
    of_two: impl Fn([&[Left]; 2], &[P]) -> [f32; 2],
) {
    let width = rows.first().map_or(1, |row| row.len());
    for (pairs, sums) in pairs.chunks_exact(width).zip(sums.chunks_exact_mut(rows.len())) {
        if let [a, b] = rows {
            sums.copy_from_slice(&of_two([*a, *b], pairs));
        } else {
            for (sum, row) in sums.iter_mut().zip(rows) {
                [*sum] = of_one([*row], pairs);
            }
        }
    }
}

/// Sums of the products of both blocks of all pairs, lane by lane, and of what their offsets contribute.
#[derive(Clone, Copy, Default)]
struct Sums {
    products: [[f32; 8]; 2],
    offsets: [f32; 4],
}

impl Sums {
    /// Adds a block's products, each lane's with a scale of its own, in the order in which AVX2 forms them: lane `j` gets
    /// those of values 2j and 2j + 1 of both halves.
    fn add(&mut self, block: usize, weights: [[u16; 16]; 2], left: &Left, scale: f32) {
        for (j, product) in self.products[block].iter_mut().enumerate() {
            let of = |half: usize, at: usize| {
                i32::from(weights[half][at]) * i32::from(left.values[2 * block + half][at])
            };
            let whole = of(0, 2 * j) + of(0, 2 * j + 1) + of(1, 2 * j) + of(1, 2 * j + 1);
            *product = (whole as f32).mul_add(scale * left.scales[block][j], *product);
        }
    }

    fn add_offsets(&mut self, grids: [f32; 4], left: &Left) {
        for ((offset, grid), &sum) in self.offsets.iter_mut().zip(grids).zip(&left.sums) {
            *offset = grid.mul_add(sum, *offset);
        }
    }

    fn total(self) -> f32 {
        let [a, b] = self.products;
        let products = std::array::from_fn::<f32, 8, _>(|j| a[j] + b[j]);
        folded(products, |a, b| a + b) + folded(self.offsets, |a, b| a + b)
    }
}

/// The same with AVX2, whose multiplication of 16-bit numbers the compiler does not find by itself.
#[cfg(target_arch = "x86_64")]
mod vectors {
    #[allow(clippy::wildcard_imports, reason = "the names say where they come from")]
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;

    use super::Left;

    pub(super) fn are_there() -> bool {
        pulp::x86::V3::try_new().is_some()
    }

    #[derive(Clone, Copy)]
    pub(super) struct Sums {
        products: [__m256; 2],
        offsets: __m128,
    }

    impl Sums {
        #[target_feature(enable = "avx2,fma")]
        #[inline]
        pub(super) fn new() -> Self {
            Self { products: [_mm256_setzero_ps(); 2], offsets: _mm_setzero_ps() }
        }

        #[target_feature(enable = "avx2,fma")]
        #[inline]
        pub(super) fn add(&mut self, block: usize, weights: [__m256i; 2], left: &Left, scale: f32) {
            let half = |at: usize| _mm256_madd_epi16(weights[at], cast(left.values[2 * block + at]));
            let whole = _mm256_cvtepi32_ps(_mm256_add_epi32(half(0), half(1)));
            let scale = _mm256_mul_ps(_mm256_set1_ps(scale), cast(left.scales[block]));
            self.products[block] = _mm256_fmadd_ps(whole, scale, self.products[block]);
        }

        #[target_feature(enable = "avx2,fma")]
        #[inline]
        pub(super) fn add_offsets(&mut self, grids: [f32; 4], left: &Left) {
            self.offsets = _mm_fmadd_ps(cast(grids), cast(left.sums), self.offsets);
        }

        #[target_feature(enable = "avx2,fma")]
        #[inline]
        pub(super) fn total(self) -> f32 {
            let products = _mm256_add_ps(self.products[0], self.products[1]);
            let halves = [_mm256_castps256_ps128(products), _mm256_extractf128_ps::<1>(products)];
            folded(_mm_add_ps(halves[0], halves[1])) + folded(self.offsets)
        }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn folded(lanes: __m128) -> f32 {
        let pairs = _mm_add_ps(lanes, _mm_movehl_ps(lanes, lanes));
        _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
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
    use super::{Left, left};

    /// Numbers that look random, from nought to below 1.
    pub(super) fn noise(n: usize) -> impl Iterator<Item = f32> {
        (1..=n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
    }

    /// For one row and for two of a weight of these dimensions, `run` must write the same twice.
    pub(super) fn check_vectors(
        (d_out, d_in): (usize, usize),
        run: impl Fn(&[&[Left]], &mut [f32], &mut [f32]),
    ) {
        let left = Left::rows(&noise(2 * d_in).collect::<Vec<_>>(), d_in);
        let rows: Vec<&[Left]> = left.chunks_exact(left::pairs(d_in)).collect();
        for rows in [&rows[..1], &rows[..]] {
            let (mut fast, mut plain) = (vec![0.0; d_out * rows.len()], vec![1.0; d_out * rows.len()]);
            run(rows, &mut fast, &mut plain);
            assert_eq!(fast, plain);
        }
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
