//! How is a frozen weight applied, with and without a low-rank correction?

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::blocks::by_rows;
use super::bytes::Bytes;
use super::cpu::{Level, is_fast, level, values, with_values};
use super::elementwise::{dot, vectorised};
use super::matmul::{Product, View};
use super::packed::{Onto, Packed, Rows, Tiles};

/// Rows up to which reading the weight once, row by row, beats a packed product.
const THIN_ROWS: usize = 4;

/// A projection whose weight is never trained: no gradient of it is computed or stored.
#[derive(Debug, Clone)]
pub struct FrozenLinear {
    /// (out, in)
    dims: (usize, usize),
    weight: Weight,
    /// In bytes, once it was read for a few rows.
    bytes: Arc<OnceLock<Bytes>>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// As it came (out, in); packed besides where a matrix unit wants it so.
    Rows(Tensor, Option<Arc<PackedWeight>>),
    Packed(Arc<PackedWeight>),
}

/// A weight ready for products: for the way up, and, once there was one, for the way down.
#[derive(Debug)]
pub(super) struct PackedWeight {
    /// `Wᵀ` (in, out).
    forward: Packed,
    /// `W` (out, in).
    backward: OnceLock<Packed>,
}

impl PackedWeight {
    fn new(weight: &Tensor) -> Result<Self> {
        let (d_out, d_in) = weight.dims2()?;
        let forward = with_values(weight, |w| Ok(Packed::new(View::new(w, d_out, d_in).t())))?;
        Ok(Self { forward, backward: OnceLock::new() })
    }

    pub(super) fn forward(&self) -> &Packed {
        &self.forward
    }

    pub(super) fn backward(&self) -> &Packed {
        self.backward.get_or_init(|| self.forward.transposed())
    }
}

impl FrozenLinear {
    /// Takes a weight (out, in), detached from any graph, and packs it where the own operators run.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let weight = weight.detach().contiguous()?;
        if !is_fast(&[&weight]) {
            return Self::in_rows(&weight);
        }
        let (packed, dims) = (PackedWeight::new(&weight)?, weight.dims2()?);
        let weight = Weight::Packed(Arc::new(packed));
        Ok(Self { dims, weight, bytes: Arc::default() })
    }

    /// Leaves a weight (out, in) as it is: one whose rows are also looked up, as the embedding's.
    pub fn in_rows(weight: &Tensor) -> Result<Self> {
        let weight = weight.detach().contiguous()?;
        let in_tiles = level() == Level::Amx && is_fast(&[&weight]);
        let packed = in_tiles.then(|| PackedWeight::new(&weight)).transpose()?.map(Arc::new);
        Ok(Self { dims: weight.dims2()?, weight: Weight::Rows(weight, packed), bytes: Arc::default() })
    }

    /// (out, in) of the weight.
    pub fn dims(&self) -> (usize, usize) {
        self.dims
    }

    /// The weight, if it is packed.
    pub(super) fn packed(&self) -> Option<&PackedWeight> {
        match &self.weight {
            Weight::Packed(packed) => Some(packed),
            Weight::Rows(_, packed) => packed.as_deref(),
        }
    }

    /// The weight (out, in); a packed one is unpacked into a copy.
    pub fn weight(&self) -> Result<Tensor> {
        let (d_out, d_in) = self.dims;
        match &self.weight {
            Weight::Rows(weight, _) => Ok(weight.clone()),
            Weight::Packed(packed) => {
                let at = |i: usize| packed.forward.at(i % d_in, i / d_in);
                Tensor::from_vec((0..d_out * d_in).map(at).collect(), self.dims, &Device::Cpu)
            }
        }
    }

    /// Calls `f` with the weight of one that was left in rows.
    pub(super) fn with_outputs<R>(&self, f: impl FnOnce(Outputs) -> Result<R>) -> Result<R> {
        let (d_out, d_in) = self.dims;
        match &self.weight {
            Weight::Rows(weight, None) => {
                with_values(weight, |w| f(Outputs::Rows(View::new(w, d_out, d_in))))
            }
            Weight::Rows(_, Some(packed)) | Weight::Packed(packed) => match packed.forward() {
                Packed::Tiles(up) => f(Outputs::Tiles(up, packed)),
                Packed::Panels(_) => {
                    with_values(&self.weight()?, |w| f(Outputs::Rows(View::new(w, d_out, d_in))))
                }
            },
        }
    }

    /// `x Wᵀ` for `x` (n, in), for answering: no gradient, and a few rows are multiplied by the weight in bytes.
    pub fn answer(&self, x: &Tensor) -> Result<Tensor> {
        let (n, (d_out, d_in)) = (x.dim(0)?, self.dims);
        if !is_fast(&[x]) || !(1..=THIN_ROWS).contains(&n) || !Bytes::fits(d_in) {
            return self.forward(x);
        }
        let bytes = if let Some(made) = self.bytes.get() {
            made
        } else {
            let made = self.in_bytes()?;
            self.bytes.get_or_init(|| made)
        };
        let y = with_values(x, |x| Ok(bytes.multiply(x, n)))?;
        Tensor::from_vec(y, (n, d_out), x.device())
    }

    fn in_bytes(&self) -> Result<Bytes> {
        let d_in = self.dims.1;
        match &self.weight {
            Weight::Rows(weight, _) => with_values(weight, |w| {
                Ok(Bytes::new(self.dims, |row, to| to.copy_from_slice(&w[row * d_in..(row + 1) * d_in])))
            }),
            Weight::Packed(packed) => Ok(Bytes::new(self.dims, |row, to| {
                packed.forward.column(row, to);
            })),
        }
    }

    /// `x Wᵀ` for `x` (n, in): (n, out). Only `x` gets a gradient.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_fast(&[x]) {
            return x.apply_op1(self.clone());
        }
        x.matmul(&self.weight()?.t()?)
    }
}

/// A weight of which some outputs at a time are computed on one thread.
pub(super) enum Outputs<'a> {
    /// The weight (out, in).
    Rows(View<'a>),
    /// `Wᵀ` in tiles, and where `W` is to be had.
    Tiles(&'a Tiles, &'a PackedWeight),
}

impl Outputs<'_> {
    /// `x Wᵀ` for some outputs; `n` rows go to `y` without space between them.
    pub(super) fn forward(&self, x: View, outputs: Range<usize>, y: &mut [f32]) {
        let n = outputs.len();
        match self {
            Self::Rows(weight) => Product::new(x, weight.rows(outputs).t()).on_one_thread().write(y, n),
            Self::Tiles(up, _) => up.multiply_part(x, (0..up.dims().0, outputs), (y, n), Onto::Nothing),
        }
    }

    /// Adds the gradient of `x` that comes from some outputs, `dy` being theirs, to rows of `dx`.
    pub(super) fn add_backward(&self, dy: View, outputs: Range<usize>, dx: &mut [f32]) {
        match self {
            Self::Rows(weight) => {
                let width = weight.dims().1;
                Product::new(dy, weight.rows(outputs)).on_one_thread().add_to(dx, width);
            }
            Self::Tiles(_, weight) => {
                let Packed::Tiles(down) = weight.backward() else { return };
                let width = down.dims().1;
                down.multiply_part(dy, (outputs, 0..width), (dx, width), Onto::Sum);
            }
        }
    }

    /// Takes `weight` times the row of an output from `dx`.
    pub(super) fn subtract_row(&self, output: usize, weight: f32, dx: &mut [f32]) {
        match self {
            Self::Rows(rows) => {
                dx.iter_mut().zip(rows.line(output)).for_each(|(dx, w)| *dx -= weight * w);
            }
            Self::Tiles(up, _) => {
                dx.iter_mut().enumerate().for_each(|(i, dx)| *dx -= weight * up.at(i, output));
            }
        }
    }
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, _) = layout.shape().dims2()?;
        let (x, (d_out, d_in)) = (values(storage, layout)?, self.dims);
        let y = match &self.weight {
            Weight::Rows(weight, None) => with_values(weight, |w| Ok(project(x, w, (n, d_in, d_out))))?,
            Weight::Packed(packed) | Weight::Rows(_, Some(packed)) => {
                packed.forward.multiply_all(Rows::new(x, d_in), n)
            }
        };
        Ok((CpuStorage::F32(y), Shape::from((n, d_out))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (n, (d_out, d_in)) = (x.dim(0)?, self.dims);
        let dx = with_values(dy, |dy| match &self.weight {
            Weight::Rows(weight, None) => with_values(weight, |w| {
                let mut dx = vec![0.0; n * d_in];
                Product::new(View::new(dy, n, d_out), View::new(w, d_out, d_in)).write(&mut dx, d_in);
                Ok(dx)
            }),
            Weight::Packed(packed) | Weight::Rows(_, Some(packed)) => {
                Ok(packed.backward().multiply_all(Rows::new(dy, d_out), n))
            }
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// A low-rank correction of some of a projection's outputs.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a> {
    /// The first output that it corrects; it corrects as many as `b` has rows.
    pub start: usize,
    /// `lora_A` (rank, in).
    pub a: &'a Tensor,
    /// `lora_B` (out, rank).
    pub b: &'a Tensor,
}

/// Some rows of an input and the corrections of their projection.
#[derive(Debug, Clone)]
pub struct CorrectedRows<'a> {
    /// The rows; those in no range stay as the base has them.
    pub rows: Range<usize>,
    /// The corrections.
    pub corrections: Vec<Correction<'a>>,
    /// What they are multiplied by.
    pub scaling: f64,
}

/// `x Wᵀ + scaling · (x Aᵀ) Bᵀ` for `x` (n, in), frozen `W` (out, in), `A` (rank, in) and `B` (out, rank):
/// LoRA (Hu et al. 2021) as PEFT computes it. `W` may be several projections of the same input, one below
/// the other, each with a correction of its own or none. In plain operations: `x` and the corrections get gradients.
pub(super) fn lora_linear(
    x: &Tensor,
    base: &FrozenLinear,
    corrections: &[Correction],
    scaling: f64,
) -> Result<Tensor> {
    let y = base.forward(x)?;
    if corrections.is_empty() {
        return Ok(y);
    }
    y + (low_rank(x, corrections, base.dims.0)? * scaling)?
}

/// The corrections alone, unscaled (n, `width`), in plain operations.
fn low_rank(x: &Tensor, corrections: &[Correction], width: usize) -> Result<Tensor> {
    let zeros = |n: usize| Tensor::zeros((x.dim(0)?, n), x.dtype(), x.device());
    let mut parts = Vec::new();
    let mut done = 0;
    for c in corrections {
        if c.start > done {
            parts.push(zeros(c.start - done)?);
        }
        parts.push(x.matmul(&c.a.t()?)?.matmul(&c.b.t()?)?);
        done = c.start + c.b.dim(0)?;
    }
    if done < width {
        parts.push(zeros(width - done)?);
    }
    Tensor::cat(&parts, 1)
}

/// The projection of all rows of `x`, some of them corrected. No gradient: for answering, where rows of different
/// contenders stand beside each other.
pub fn corrected(x: &Tensor, base: &FrozenLinear, parts: &[CorrectedRows]) -> Result<Tensor> {
    let y = base.answer(x)?;
    let corrections = || parts.iter().flat_map(|p| &p.corrections);
    if corrections().next().is_none() {
        return Ok(y);
    }
    let lora: Vec<&Tensor> = corrections().flat_map(|c| [c.a, c.b]).collect();
    if !is_fast(&[x, &y]) || !is_fast(&lora) {
        return corrected_portable(x, &y, parts);
    }
    let (d_out, d_in) = base.dims;
    let mut sums = y.flatten_all()?.to_vec1::<f32>()?;
    with_values(x, |x| {
        for part in parts {
            let (own, n) = (&x[part.rows.start * d_in..part.rows.end * d_in], part.rows.len());
            for c in &part.corrections {
                let (rows, rank) = c.b.dims2()?;
                let down = with_values(c.a, |a| Ok(project(own, a, (n, d_in, rank))))?;
                with_values(c.b, |b| {
                    let up = Product::new(View::new(&down, n, rank), View::new(b, rows, rank).t());
                    let at = part.rows.start * d_out + c.start;
                    up.scaled(part.scaling as f32).add_to(&mut sums[at..], d_out);
                    Ok(())
                })?;
            }
        }
        Ok(())
    })?;
    Tensor::from_vec(sums, y.shape(), y.device())
}

pub(super) fn corrected_portable(x: &Tensor, y: &Tensor, parts: &[CorrectedRows]) -> Result<Tensor> {
    let (n, width) = y.dims2()?;
    let mut rows = Vec::new();
    let mut done = 0;
    for part in parts.iter().filter(|p| !p.corrections.is_empty()) {
        if part.rows.start > done {
            rows.push(y.narrow(0, done, part.rows.start - done)?);
        }
        let own = |t: &Tensor| t.narrow(0, part.rows.start, part.rows.len());
        let correction = (low_rank(&own(x)?.contiguous()?, &part.corrections, width)? * part.scaling)?;
        rows.push((own(y)? + correction)?);
        done = part.rows.end;
    }
    if done < n {
        rows.push(y.narrow(0, done, n - done)?);
    }
    Tensor::cat(&rows, 0)
}

/// `x Wᵀ` into a fresh vector; `dims` is (n, in, out).
pub(super) fn project(x: &[f32], weight: &[f32], (n, d_in, d_out): (usize, usize, usize)) -> Vec<f32> {
    if n > THIN_ROWS {
        let mut y = vec![0.0; n * d_out];
        Product::new(View::new(x, n, d_in), View::new(weight, d_out, d_in).t()).write(&mut y, d_out);
        return y;
    }
    // Column by column of the result, so that each row of the weight is read from memory once.
    let rows = (1 << 14) / d_in.max(1) + 1;
    let shares: Vec<Vec<f32>> = weight
        .par_chunks(rows * d_in)
        .map(|block| {
            let mut values = vec![0.0; block.len() / d_in * n];
            thin_block(x, block, &mut values, (n, d_in));
            values
        })
        .collect();
    by_rows(&shares, n)
}

vectorised! {
    /// Rows of the weight, each times all rows of `x`: (rows, n). `dims` is (n, in).
    fn thin_block<'a>(x: &'a [f32], rows: &'a [f32], values: &'a mut [f32], dims: (usize, usize)) -> () {
        for (w, values) in rows.chunks_exact(dims.1).zip(values.chunks_exact_mut(dims.0)) {
            for (x, value) in x.chunks_exact(dims.1).zip(values) {
                *value = dot(x, w);
            }
        }
    }
}
