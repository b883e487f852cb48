//! How does an encoder read a whole text at once?
//!
//! The layers of a BERT (Devlin et al. 2019, as transformers' `BertLayer`): every token sees every other of its text, and
//! each half of a layer is normalised after its input was added. Texts of different length are packed one after another
//! without padding; each sees only itself. No gradient: an encoder is never trained here.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attention::softmax;
use super::blocks::each_block;
use super::buffer::Buffer;
use super::cpu::with_values;
use super::elementwise::{dot, exp, sum_of, vectorised};
use super::matmul::{Product, View};
use super::packed::{FEW_ROWS, Onto, Packed, Rows};

/// Query rows of a head whose scores exist at one time.
const ROWS: usize = 64;

/// `x Wᵀ + b` with a frozen weight and bias.
#[derive(Debug)]
pub struct Affine {
    /// `Wᵀ` (in, out).
    weight: Packed,
    bias: Box<[f32]>,
}

impl Affine {
    /// Packs a weight (out, in) with its bias (out).
    ///
    /// # Errors
    /// When the weight is not a matrix of float32 on the CPU.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (d_out, d_in) = weight.dims2()?;
        let weight = with_values(weight, |w| Ok(Packed::frozen(View::new(w, d_out, d_in).t())))?;
        Ok(Self { weight, bias: bias.to_vec1()?.into() })
    }

    /// `x Wᵀ` of `n` rows, without the bias: whoever reads the result adds it in passing.
    fn multiply(&self, x: &[f32], n: usize, threads: Threads) -> Buffer {
        let (d_in, d_out) = self.weight.dims();
        let mut y = Buffer::new(n * d_out);
        match threads {
            Threads::One => self.weight.multiply(Rows::new(x, d_in), n, (&mut y, d_out), Onto::Nothing),
            Threads::All => y.copy_from_slice(&self.weight.as_it_is().multiply_all(Rows::new(x, d_in), n)),
        }
        y
    }
}

/// Who works on a product.
#[derive(Debug, Clone, Copy)]
enum Threads {
    One,
    All,
}

/// Layer normalisation (Ba et al. 2016): `(x - mean) / sqrt(variance + eps) · weight + bias`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Box<[f32]>,
    bias: Box<[f32]>,
    eps: f32,
}

impl LayerNorm {
    /// Weight and bias have one value for each column.
    ///
    /// # Errors
    /// When one is not a vector of float32.
    pub fn new(weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Self> {
        Ok(Self { weight: weight.to_vec1()?.into(), bias: bias.to_vec1()?.into(), eps: eps as f32 })
    }

    /// Normalises rows in place.
    pub fn rows(&self, x: &mut [f32]) {
        normalise(self, x);
    }
}

/// One layer.
#[derive(Debug)]
pub struct EncoderLayer {
    /// Queries, keys and values, one below the other.
    pub qkv: Affine,
    /// After the attention.
    pub output: Affine,
    /// After that.
    pub attn_norm: LayerNorm,
    /// To the inner width.
    pub up: Affine,
    /// And back.
    pub down: Affine,
    /// After that.
    pub ffn_norm: LayerNorm,
}

/// Takes rows `x` (n, hidden) of texts of these lengths, packed one after another, through all layers; `n_heads` look
/// around beside each other. Products are in the precision of the machine's best unit ([`super::level`]), all else is
/// float32. What comes out for a text does not depend, but for rounding, on what stands beside it.
pub fn encode(x: &mut [f32], layers: &[EncoderLayer], (lengths, n_heads): (&[usize], usize)) {
    let n: usize = lengths.iter().sum();
    let hidden = x.len() / n.max(1);
    let mut attended: Buffer = Buffer::new(x.len());
    for layer in layers {
        let qkv = layer.qkv.weight.as_it_is().multiply_all(Rows::new(x, hidden), n);
        attend(&qkv, &layer.qkv.bias, (lengths, n_heads), &mut attended);
        if n < FEW_ROWS {
            finish(layer, &attended, x, (n, Threads::All));
            continue;
        }
        each_block(n, [(&mut *x, hidden)], |(rows, [x])| {
            let own = &attended[rows.start * hidden..rows.end * hidden];
            finish(layer, own, x, (rows.len(), Threads::One));
        });
    }
}

/// What follows the attention, for `n` rows.
fn finish(layer: &EncoderLayer, attended: &[f32], x: &mut [f32], (n, threads): (usize, Threads)) {
    let looked = layer.output.multiply(attended, n, threads);
    add(x, &looked, &layer.output.bias);
    layer.attn_norm.rows(x);
    let mut inner = layer.up.multiply(x, n, threads);
    gelu_rows(&mut inner, &layer.up.bias);
    let thought = layer.down.multiply(&inner, n, threads);
    add(x, &thought, &layer.down.bias);
    layer.ffn_norm.rows(x);
}

/// Attention of rows `qkv` (n, 3 · hidden), to which `bias` is still to be added, within each text; to `out` (n, hidden).
fn attend(qkv: &[f32], bias: &[f32], (lengths, n_heads): (&[usize], usize), out: &mut [f32]) {
    let hidden = bias.len() / 3;
    let (mut rest, mut start, mut texts) = (out, 0, Vec::with_capacity(lengths.len()));
    for &len in lengths {
        let (own, others) = rest.split_at_mut(len * hidden);
        texts.push((start..start + len, own));
        (rest, start) = (others, start + len);
    }
    let dim = hidden / n_heads;
    texts.into_par_iter().for_each(|(rows, out)| {
        for head in 0..n_heads {
            attend_head((qkv, bias, &rows), (head * dim, dim), out);
        }
    });
}

/// One head, `dim` wide from a column on, of one text.
fn attend_head(
    (qkv, bias, rows): (&[f32], &[f32], &Range<usize>),
    (column, dim): (usize, usize),
    out: &mut [f32],
) {
    let (hidden, n) = (bias.len() / 3, rows.len());
    let part = |i: usize| {
        let (column, mut part) = (i * hidden + column, Buffer::new(n * dim));
        gather(&qkv[rows.start * 3 * hidden + column..], &bias[column..column + dim], 3 * hidden, &mut part);
        part
    };
    let [q, k, v] = [0, 1, 2].map(part);
    let (keys, values) = (View::new(&k, n, dim), View::new(&v, n, dim));
    let mut scores: Buffer = Buffer::new(ROWS.min(n) * n);
    for from in (0..n).step_by(ROWS) {
        let to = (from + ROWS).min(n);
        let (queries, scores) = (View::new(&q[from * dim..], to - from, dim), &mut scores[..(to - from) * n]);
        let scale = 1.0 / (dim as f32).sqrt();
        Product::new(queries, keys.t()).scaled(scale).on_one_thread().write(scores, n);
        for row in scores.chunks_exact_mut(n) {
            softmax(row, n);
        }
        let product = Product::new(View::new(scores, to - from, n), values).on_one_thread();
        product.write(&mut out[from * hidden + column..], hidden);
    }
}

vectorised! {
    /// The beginnings of rows that stand `stride` apart, each with `bias` added.
    fn gather<'a>(from: &'a [f32], bias: &'a [f32], stride: usize, to: &'a mut [f32]) -> () {
        for (to, from) in to.chunks_exact_mut(bias.len()).zip(from.chunks(stride)) {
            for ((to, &from), &bias) in to.iter_mut().zip(from).zip(bias) {
                *to = from + bias;
            }
        }
    }

    /// `x += y + bias`, row by row.
    fn add<'a>(x: &'a mut [f32], y: &'a [f32], bias: &'a [f32]) -> () {
        for (x, y) in x.chunks_exact_mut(bias.len()).zip(y.chunks_exact(bias.len())) {
            for ((x, &y), &bias) in x.iter_mut().zip(y).zip(bias) {
                *x += y + bias;
            }
        }
    }

    fn normalise<'a>(norm: &'a LayerNorm, x: &'a mut [f32]) -> () |simd| {
        let width = norm.weight.len();
        for row in x.chunks_exact_mut(width) {
            let mean = sum_of(simd, row) / width as f32;
            for x in row.iter_mut() {
                *x -= mean;
            }
            let variance = dot(simd, row, row) / width as f32;
            let inverse = 1.0 / (variance + norm.eps).sqrt();
            for ((x, &weight), &bias) in row.iter_mut().zip(&norm.weight).zip(&norm.bias) {
                *x = (*x * inverse).mul_add(weight, bias);
            }
        }
    }

    /// GELU of rows with a bias: `x Φ(x)` (Hendrycks and Gimpel 2016), with the error function to 1.5e-7 (Abramowitz and
    /// Stegun 1964, 7.1.26).
    fn gelu_rows<'a>(rows: &'a mut [f32], bias: &'a [f32]) -> () {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, &bias) in row.iter_mut().zip(bias) {
                let x = *value + bias;
                let size = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
                let t = 1.0 / size.mul_add(0.327_591_1, 1.0);
                let p = 1.061_405_4_f32.mul_add(t, -1.453_152_1);
                let p = p.mul_add(t, 1.421_413_8);
                let p = p.mul_add(t, -0.284_496_72);
                let p = p.mul_add(t, 0.254_829_6);
                // The part of the bell beyond |x|.
                let beyond = 0.5 * p * t * exp(-size * size);
                let below = if x > 0.0 { 1.0 - beyond } else { beyond };
                *value = x * below;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_that_of_the_error_function() {
        // math.erf of Python: 0.5 * x * (1 + erf(x / sqrt(2))).
        let known = [
            (-6.0, -5.919_526e-9),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_216),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (3.0, 2.995_950_3),
        ];
        for (x, exact) in known {
            let mut row = [x - 0.25];
            gelu_rows(&mut row, &[0.25]);
            assert!((row[0] - exact).abs() < 5e-7, "gelu({x}) = {} for {exact}", row[0]);
        }
    }

    #[test]
    fn a_normalised_row_has_mean_nought_and_variance_one_before_weight_and_bias() {
        let norm = LayerNorm { weight: [2.0; 40].into(), bias: [3.0; 40].into(), eps: 1e-12 };
        let mut x: Vec<f32> = (0..80).map(|i| ((i * 7) % 13) as f32).collect();
        norm.rows(&mut x);
        for row in x.chunks_exact(40) {
            let mean = row.iter().sum::<f32>() / 40.0;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 40.0;
            assert!((mean - 3.0).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4, "{mean} {variance}");
        }
    }
}
