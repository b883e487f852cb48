//! How is a weight read when there are only a few rows to multiply?
//!
//! Writing token by token reads every weight for a single row, so memory's pace decides. Here a weight is kept in as few
//! bits as it can be: value = offset + scale · whole number, with a scale and an offset for every 32 values of an output
//! (half floats, IEEE 754 binary16). Whole numbers are multiplied as such, by rows that are rounded to 16 bits; sums
//! beyond 32 values are float32. Outputs stand side by side, sixteen of them, so that each sums up in a lane of its own.

mod bytes;
mod left;
mod nibbles;
#[cfg(target_arch = "x86_64")]
pub(super) mod vectors;
#[cfg(target_arch = "x86_64")]
mod wide;

use bytes::Bytes;
use half::f16;
use left::Left;
use nibbles::Nibbles;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::blocks::by_rows;
use super::cpu::dispatch;
use super::elementwise::folded;
#[cfg(target_arch = "x86_64")]
use super::{
    cpu::{Level, level},
    vnni,
};

/// Values that share a scale.
const BLOCK: usize = 32;
/// Outputs that stand side by side.
const SIDE: usize = 16;
/// Weights that one thread takes at a time, about.
const SHARE: usize = 1 << 19;

/// The whole numbers of a block, output by output.
type Whole = [[u8; BLOCK]; SIDE];

/// A weight (out, in) in few bits.
#[derive(Debug)]
pub(super) struct Narrow(Kept);

#[derive(Debug)]
enum Kept {
    /// In 4: what came so quantised.
    Nibbles(Weight<Nibbles>),
    /// In 8: everything else.
    Bytes(Weight<Bytes>),
}

impl Narrow {
    /// Whether rows of that width can be kept so.
    pub(super) fn fits(width: usize) -> bool {
        width > 0 && width.is_multiple_of(BLOCK)
    }

    /// Of a weight (out, in), of which `row` writes the values of one output.
    pub(super) fn new(dims: (usize, usize), row: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        if let Some(weight) = Weight::new(dims, &row) {
            return Self(Kept::Nibbles(weight));
        }
        // There are bytes for every block.
        Self(Kept::Bytes(Weight::new(dims, &row).unwrap_or_default()))
    }

    /// `x Wᵀ` (n, out) for rows `x` (n, in), on all threads.
    pub(super) fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        match &self.0 {
            Kept::Nibbles(weight) => weight.multiply(x, n),
            Kept::Bytes(weight) => weight.multiply(x, n),
        }
    }
}

/// How the whole numbers of a block are kept.
trait Form: Copy + Default + Send + Sync {
    /// The largest whole number.
    const LARGEST: f32;

    /// The scale and the offset of an output's values, if they can be kept so.
    fn grid(values: &[f32; BLOCK]) -> Option<Grid>;

    fn pack(whole: &Whole) -> Self;

    fn unpack(&self) -> Whole;

    /// [`few_rows`] with what [`vectors::are_there`] asks for.
    #[cfg(target_arch = "x86_64")]
    const WITH_VECTORS: vectors::FewRows<Self>;

    /// [`few_rows`] with what [`vnni::is_there`] asks for.
    #[cfg(target_arch = "x86_64")]
    const WITH_WIDE_VECTORS: vectors::FewRows<Self>;
}

/// [`BLOCK`] values of [`SIDE`] outputs; scales and offsets as bits of half floats.
#[derive(Debug, Clone, Copy, Default)]
struct Block<F> {
    values: F,
    scales: [u16; SIDE],
    offsets: [u16; SIDE],
}

/// A weight (out, in): for each [`SIDE`] outputs its blocks, from the first value on. Outputs that are none are nought.
#[derive(Debug, Default)]
struct Weight<F> {
    d_out: usize,
    blocks: Vec<Block<F>>,
}

impl<F: Form> Weight<F> {
    /// `None` where a block cannot be kept so; the first outputs are asked before all others.
    fn new((d_out, d_in): (usize, usize), row: &(impl Fn(usize, &mut [f32]) + Sync)) -> Option<Self> {
        let width = d_in / BLOCK;
        let mut blocks = vec![Block::default(); d_out.div_ceil(SIDE) * width];
        let keep = |(i, blocks): (usize, &mut [Block<F>])| {
            let mut rows = vec![0.0; SIDE * d_in];
            for (o, values) in (i * SIDE..d_out).zip(rows.chunks_exact_mut(d_in)) {
                row(o, values);
            }
            dispatch(Pack { rows: &rows, blocks })
        };
        let first = keep((0, blocks.get_mut(..width)?));
        let all = first && blocks.par_chunks_mut(width).enumerate().skip(1).all(keep);
        all.then_some(Self { d_out, blocks })
    }

    fn multiply(&self, x: &[f32], n: usize) -> Vec<f32> {
        if n == 0 || self.d_out == 0 {
            return Vec::new();
        }
        let width = (x.len() / n / BLOCK).max(1);
        let left = Left::rows(x);
        let rows: Vec<&[Left]> = left.chunks_exact(width).collect();
        let share = groups((self.d_out, width * BLOCK));
        let mut sums = vec![0.0; self.blocks.len() / width * SIDE * n];
        let shares = self.blocks.par_chunks(share * width);
        sums.par_chunks_mut(share * SIDE * n)
            .zip(shares)
            .for_each(|(sums, blocks)| few_rows(&rows, blocks, sums));
        sums.truncate(self.d_out * n);
        by_rows(sums, n)
    }
}

/// Groups of outputs that one thread takes at a time: as many shares for each, of the same size.
fn groups((d_out, d_in): (usize, usize)) -> usize {
    let n_shares = (d_out * d_in).div_ceil(SHARE).next_multiple_of(rayon::current_num_threads().max(1));
    d_out.div_ceil(SIDE).div_ceil(n_shares).max(1)
}

/// Finds the grids and whole numbers of [`SIDE`] rows; whether there are such for every block.
struct Pack<'a, F> {
    rows: &'a [f32],
    blocks: &'a mut [Block<F>],
}

impl<F: Form> WithSimd for Pack<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let width = self.blocks.len();
        let (values, _) = self.rows.as_chunks::<BLOCK>();
        for (k, block) in self.blocks.iter_mut().enumerate() {
            let mut whole = [[0; BLOCK]; SIDE];
            for (o, whole) in whole.iter_mut().enumerate() {
                let values = &values[o * width + k];
                let Some(grid) = F::grid(values) else { return false };
                (block.scales[o], block.offsets[o]) = (grid.scale.to_bits(), grid.offset.to_bits());
                *whole = grid.whole(values, F::LARGEST);
            }
            block.values = F::pack(&whole);
        }
        true
    }
}

/// Of an output's values in a block: value = offset + scale · whole number.
#[derive(Clone, Copy)]
struct Grid {
    scale: f16,
    offset: f16,
}

impl Grid {
    #[inline(always)]
    fn new(scale: f32, offset: f32) -> Self {
        Self { scale: f16::from_f32(scale), offset: f16::from_f32(offset) }
    }

    /// Offset, and steps to one.
    #[inline(always)]
    fn steps(self) -> (f32, f32) {
        let scale = self.scale.to_f32();
        (self.offset.to_f32(), if scale > 0.0 { 1.0 / scale } else { 0.0 })
    }

    /// The nearest whole number to each value.
    #[inline(always)]
    fn whole(self, values: &[f32; BLOCK], largest: f32) -> [u8; BLOCK] {
        let ((offset, steps), mut whole) = (self.steps(), [0; BLOCK]);
        for j in 0..BLOCK {
            whole[j] = nearest((values[j] - offset) * steps, largest) as i32 as u8;
        }
        whole
    }
}

/// The whole number, from nought to the largest, next to one that is none; what is no number becomes nought.
#[inline(always)]
fn nearest(at: f32, largest: f32) -> f32 {
    let at = if at > 0.0 { at + 0.5 } else { 0.0 };
    if at < largest { (at as i32) as f32 } else { largest }
}

/// The smallest and the largest value of a block.
#[inline(always)]
fn ends_of(values: &[f32; BLOCK]) -> (f32, f32) {
    let low = folded(*values, |a, b| if b < a { b } else { a });
    (low, folded(*values, |a, b| if b > a { b } else { a }))
}

/// Each output's weights times all rows: (outputs, n).
fn few_rows<F: Form>(rows: &[&[Left]], blocks: &[Block<F>], sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(few_rows) = compiled::<F>() {
        // SAFETY: the machine has what the function is compiled for.
        #[allow(unsafe_code)]
        unsafe {
            return few_rows(rows, blocks, sums);
        }
    }
    each_group((rows, blocks, sums), plain::<F, 1>, plain::<F, 2>);
}

/// [`few_rows`] for the widest vectors that the level allows and the machine has.
#[cfg(target_arch = "x86_64")]
fn compiled<F: Form>() -> Option<vectors::FewRows<F>> {
    if level() >= Level::Avx512 && vnni::is_there() {
        Some(F::WITH_WIDE_VECTORS)
    } else {
        vectors::are_there().then_some(F::WITH_VECTORS)
    }
}

/// Each group of outputs, two rows together, or one that is left: (outputs, n).
#[inline(always)]
fn each_group<F>(
    (rows, blocks, sums): (&[&[Left]], &[Block<F>], &mut [f32]),
    of_one: impl Fn([&[Left]; 1], &[Block<F>]) -> [[f32; SIDE]; 1],
    of_two: impl Fn([&[Left]; 2], &[Block<F>]) -> [[f32; SIDE]; 2],
) {
    let (n, width) = (rows.len(), rows.first().map_or(1, |row| row.len()));
    for (blocks, sums) in blocks.chunks_exact(width).zip(sums.chunks_exact_mut(SIDE * n)) {
        let (pairs, rest) = rows.as_chunks::<2>();
        let mut put = |i: usize, own: &[f32; SIDE]| {
            for (o, sum) in own.iter().enumerate() {
                sums[o * n + i] = *sum;
            }
        };
        for (i, pair) in pairs.iter().enumerate() {
            let [a, b] = of_two(*pair, blocks);
            put(2 * i, &a);
            put(2 * i + 1, &b);
        }
        if let [row] = rest {
            let [own] = of_one([row], blocks);
            put(n - 1, &own);
        }
    }
}

/// A group of outputs of `N` rows, in the order in which AVX2 sums up.
fn plain<F: Form, const N: usize>(rows: [&[Left]; N], blocks: &[Block<F>]) -> [[f32; SIDE]; N] {
    let mut sums = [[0.0_f32; SIDE]; N];
    for (k, block) in blocks.iter().enumerate() {
        let (weights, number) = (block.values.unpack(), |bits: u16| f16::from_bits(bits).to_f32());
        for (row, sums) in rows.iter().zip(&mut sums) {
            let (left, values) = (&row[k], row[k].values());
            for (o, sum) in sums.iter_mut().enumerate() {
                let products = weights[o].iter().zip(values).map(|(&w, x)| i32::from(w) * i32::from(x));
                let whole = products.sum::<i32>() as f32 * left.scale;
                *sum = whole.mul_add(number(block.scales[o]), *sum);
                *sum = number(block.offsets[o]).mul_add(left.sum, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, from nought to below 1.
    pub(super) fn noise(n: usize) -> impl Iterator<Item = f32> {
        (1..=n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
    }

    pub(super) fn weight<F: Form>(values: &[f32], dims: (usize, usize)) -> Option<Weight<F>> {
        Weight::new(dims, &|row: usize, to: &mut [f32]| {
            to.copy_from_slice(&values[row * dims.1..(row + 1) * dims.1]);
        })
    }

    /// The values that are kept of rows of that width.
    pub(super) fn kept<F: Form>(weight: &Weight<F>, width: usize) -> Vec<f32> {
        let mut rows = vec![0.0; weight.blocks.len() * BLOCK * SIDE];
        let n_blocks = width / BLOCK;
        for (i, block) in weight.blocks.iter().enumerate() {
            let (group, k) = (i / n_blocks, i % n_blocks);
            for (o, whole) in block.values.unpack().iter().enumerate() {
                let [scale, offset] =
                    [block.scales[o], block.offsets[o]].map(|bits| f16::from_bits(bits).to_f32());
                let to = &mut rows[(group * SIDE + o) * width + k * BLOCK..][..BLOCK];
                to.iter_mut().zip(whole).for_each(|(to, &w)| *to = f32::from(w).mul_add(scale, offset));
            }
        }
        rows.truncate(weight.d_out * width);
        rows
    }

    /// For one row to three, vectors must write what the plain loop does.
    pub(super) fn check_vectors<F: Form>(weight: &Weight<F>, d_in: usize) {
        let left = Left::rows(&noise(3 * d_in).collect::<Vec<_>>());
        let rows: Vec<&[Left]> = left.chunks_exact(d_in / BLOCK).collect();
        for n in 1..=3 {
            let n_sums = weight.blocks.len() / (d_in / BLOCK) * SIDE * n;
            let (mut fast, mut slow) = (vec![0.0; n_sums], vec![1.0; n_sums]);
            few_rows(&rows[..n], &weight.blocks, &mut fast);
            each_group((&rows[..n], &weight.blocks, &mut slow), plain::<F, 1>, plain::<F, 2>);
            assert_eq!(fast, slow);
        }
    }

    /// For one row to four, products must be those of the weight (out, in), but for what `allowed` makes of the sum of the
    /// sizes of a product's terms.
    pub(super) fn check_products<F: Form>(
        kept: &Weight<F>,
        weight: &[f32],
        d_in: usize,
        allowed: impl Fn(f64) -> f64,
    ) {
        let d_out = weight.len() / d_in;
        for n in 1..=4 {
            let x: Vec<f32> = noise(n * d_in).map(|v| 2.0 * v - 1.0).collect();
            let y = kept.multiply(&x, n);
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
