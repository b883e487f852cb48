//! How is a frozen weight applied, with and without a low-rank correction?

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::blocks::by_rows;
use super::cpu::{is_fast, level, values, with_values};
use super::elementwise::{dot, short_dot, vectorised};
use super::matmul::{Product, View};
use super::narrow::Narrow;
use super::packed::{Factor, Onto, Packed, Rows};

/// Rows up to which reading the weight once, row by row, beats a packed product.
const THIN_ROWS: usize = 4;

/// A projection whose weight is never trained: no gradient of it is computed or stored.
#[derive(Debug, Clone)]
pub struct FrozenLinear {
    /// (out, in)
    dims: (usize, usize),
    weight: Weight,
    /// In few bits, once it was read for a few rows.
    narrow: Arc<OnceLock<Narrow>>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// As it came (out, in).
    Rows(Tensor),
    Packed(Arc<PackedWeight>),
}

/// A weight ready for products, on the way up and on the way down.
#[derive(Debug)]
pub(super) struct PackedWeight {
    /// `Wᵀ` (in, out).
    forward: Packed,
    /// `W` (out, in), once it was needed for the way down; only float32 keeps it.
    turned: OnceLock<Packed>,
}

impl PackedWeight {
    fn new(weight: &Tensor) -> Result<Self> {
        let (d_out, d_in) = weight.dims2()?;
        let forward = with_values(weight, |w| Ok(Packed::frozen(View::new(w, d_out, d_in).t())))?;
        Ok(Self { forward, turned: OnceLock::new() })
    }

    pub(super) fn forward(&self) -> &Packed {
        &self.forward
    }

    /// `W` (out, in).
    pub(super) fn backward(&self) -> Factor<'_> {
        self.forward.turned(&self.turned)
    }
}

impl FrozenLinear {
    /// Takes a weight (out, in), detached from any graph, and packs it where the own operators run.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let weight = weight.detach().contiguous()?;
        let dims = weight.dims2()?;
        let packs = is_fast(&[&weight]);
        let weight =
            if packs { Weight::Packed(Arc::new(PackedWeight::new(&weight)?)) } else { Weight::Rows(weight) };
        Ok(Self { dims, weight, narrow: Arc::default() })
    }

    /// Takes a weight (out, in) whose rows are looked up too, as the embedding's: where products are formed in float32 it
    /// stays as it is.
    pub fn looked_up(weight: &Tensor) -> Result<Self> {
        if level().rounds() {
            return Self::new(weight);
        }
        let weight = weight.detach().contiguous()?;
        Ok(Self { dims: weight.dims2()?, weight: Weight::Rows(weight), narrow: Arc::default() })
    }

    /// (out, in) of the weight.
    pub fn dims(&self) -> (usize, usize) {
        self.dims
    }

    /// Bytes that its packed form takes, and those that the way down takes besides, whether there was one yet or not.
    pub fn n_packed_bytes(&self) -> (usize, usize) {
        self.packed().map_or((0, 0), |packed| (packed.forward().n_bytes(), packed.forward().n_turned_bytes()))
    }

    /// The weight, if it is packed.
    pub(super) fn packed(&self) -> Option<&PackedWeight> {
        match &self.weight {
            Weight::Packed(packed) => Some(packed),
            Weight::Rows(_) => None,
        }
    }

    /// The weight (out, in); a packed one is unpacked into a copy.
    pub fn weight(&self) -> Result<Tensor> {
        let (d_out, d_in) = self.dims;
        match &self.weight {
            Weight::Rows(weight) => Ok(weight.clone()),
            Weight::Packed(packed) => {
                let at = |i: usize| packed.forward.at(i % d_in, i / d_in);
                Tensor::from_vec((0..d_out * d_in).map(at).collect(), self.dims, &Device::Cpu)
            }
        }
    }

    /// The weights (n, in) of some outputs.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn look_up(&self, outputs: &[u32]) -> Result<Tensor> {
        let (d_out, d_in) = self.dims;
        if let Some(output) = outputs.iter().find(|&&o| o as usize >= d_out) {
            bail!("row {output} is outside the weight's {d_out}");
        }
        match &self.weight {
            Weight::Rows(weight) => {
                weight.index_select(&Tensor::from_slice(outputs, outputs.len(), weight.device())?, 0)
            }
            Weight::Packed(packed) => {
                let mut rows = vec![0.0; outputs.len() * d_in];
                let each = rows.par_chunks_mut(d_in.max(1)).zip(outputs);
                each.for_each(|(row, &output)| packed.forward.column(output as usize, row));
                Tensor::from_vec(rows, (outputs.len(), d_in), &Device::Cpu)
            }
        }
    }

    /// Whether the own operators can run on it.
    pub(super) fn is_fast(&self) -> bool {
        match &self.weight {
            Weight::Rows(weight) => is_fast(&[weight]),
            Weight::Packed(_) => true,
        }
    }

    /// Calls `f` with the weight.
    pub(super) fn with_outputs<R>(&self, f: impl FnOnce(Outputs) -> Result<R>) -> Result<R> {
        let (d_out, d_in) = self.dims;
        match &self.weight {
            Weight::Rows(weight) => with_values(weight, |w| f(Outputs::Rows(View::new(w, d_out, d_in)))),
            Weight::Packed(packed) => f(Outputs::Packed(packed)),
        }
    }

    /// `x Wᵀ` for `x` (n, in), for answering: no gradient, and a few rows are multiplied by the weight in few bits.
    pub fn answer(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.dim(0)?;
        if !is_fast(&[x]) {
            return self.forward(x);
        }
        let y = with_values(x, |x| self.answer_rows(x, n))?;
        Tensor::from_vec(y, (n, self.dims.0), x.device())
    }

    /// The same for `n` rows in a slice.
    pub(super) fn answer_rows(&self, x: &[f32], n: usize) -> Result<Vec<f32>> {
        if !(1..=THIN_ROWS).contains(&n) || !Narrow::fits(self.dims.1) {
            return self.rows(x, n);
        }
        let narrow = if let Some(made) = self.narrow.get() {
            made
        } else {
            let made = self.in_few_bits()?;
            self.narrow.get_or_init(|| made)
        };
        Ok(narrow.multiply(x, n))
    }

    /// `x Wᵀ` for `n` rows.
    fn rows(&self, x: &[f32], n: usize) -> Result<Vec<f32>> {
        let (d_out, d_in) = self.dims;
        match &self.weight {
            Weight::Rows(weight) => with_values(weight, |w| Ok(project(x, w, (n, d_in, d_out)))),
            Weight::Packed(packed) => Ok(packed.forward.as_it_is().multiply_all(Rows::new(x, d_in), n)),
        }
    }

    fn in_few_bits(&self) -> Result<Narrow> {
        let d_in = self.dims.1;
        match &self.weight {
            Weight::Rows(weight) => with_values(weight, |w| {
                Ok(Narrow::new(self.dims, |row, to| to.copy_from_slice(&w[row * d_in..(row + 1) * d_in])))
            }),
            Weight::Packed(packed) => Ok(Narrow::new(self.dims, |row, to| {
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
    Packed(&'a PackedWeight),
}

impl Outputs<'_> {
    /// `x Wᵀ` for some outputs; `n` rows go to `y` without space between them.
    pub(super) fn forward(&self, x: View, outputs: Range<usize>, y: &mut [f32]) {
        let n = outputs.len();
        match self {
            Self::Rows(weight) => Product::new(x, weight.rows(outputs).t()).on_one_thread().write(y, n),
            Self::Packed(weight) => {
                let depth = 0..x.dims().1;
                weight.forward().as_it_is().multiply_part(x, (depth, outputs), (y, n), Onto::Nothing);
            }
        }
    }

    /// Makes what is kept of the weight for the way down, if that was not done. (Where each of several threads might have
    /// to, one would wait for another that waits for it.)
    pub(super) fn prepare_backward(&self) {
        if let Self::Packed(weight) = self {
            weight.backward();
        }
    }

    /// Adds the gradient of `x` that comes from some outputs, `dy` being theirs, to rows of `dx`.
    pub(super) fn add_backward(&self, dy: View, outputs: Range<usize>, dx: &mut [f32]) {
        match self {
            Self::Rows(weight) => {
                let width = weight.dims().1;
                Product::new(dy, weight.rows(outputs)).on_one_thread().add_to(dx, width);
            }
            Self::Packed(weight) => {
                let width = weight.backward().dims().1;
                weight.backward().multiply_part(dy, (outputs, 0..width), (dx, width), Onto::Sum);
            }
        }
    }

    /// Takes `weight` times the row of an output from `dx`.
    pub(super) fn subtract_row(&self, output: usize, weight: f32, dx: &mut [f32]) {
        match self {
            Self::Rows(rows) => {
                dx.iter_mut().zip(rows.line(output)).for_each(|(dx, w)| *dx -= weight * w);
            }
            Self::Packed(packed) => {
                let weights = packed.forward();
                dx.iter_mut().enumerate().for_each(|(i, dx)| *dx -= weight * weights.at(i, output));
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
        let y = self.rows(values(storage, layout)?, n)?;
        Ok((CpuStorage::F32(y), Shape::from((n, self.dims.0))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (n, (d_out, d_in)) = (x.dim(0)?, self.dims);
        let dx = with_values(dy, |dy| match &self.weight {
            Weight::Rows(weight) => with_values(weight, |w| {
                let mut dx = vec![0.0; n * d_in];
                Product::new(View::new(dy, n, d_out), View::new(w, d_out, d_in)).write(&mut dx, d_in);
                Ok(dx)
            }),
            Weight::Packed(packed) => Ok(packed.backward().multiply_all(Rows::new(dy, d_out), n)),
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
pub(super) fn low_rank(x: &Tensor, corrections: &[Correction], width: usize) -> Result<Tensor> {
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

/// Adds the correction of `n` rows `x` (n, in) to their outputs, which stand `stride` apart. No gradient.
pub(super) fn add_low_rank(
    (x, n): (&[f32], usize),
    correction: &Correction,
    scaling: f32,
    (y, stride): (&mut [f32], usize),
) -> Result<()> {
    let (rank, d_in) = correction.a.dims2()?;
    let d_out = correction.b.dim(0)?;
    with_values(correction.a, |a| {
        with_values(correction.b, |b| {
            if n > THIN_ROWS {
                let down = project(x, a, (n, d_in, rank));
                let up = Product::new(View::new(&down, n, rank), View::new(b, d_out, rank).t());
                up.scaled(scaling).add_to(y, stride);
                return Ok(());
            }
            let mut down = vec![0.0; rank];
            for (x, y) in x.chunks_exact(d_in).zip(y.chunks_mut(stride)) {
                thin_block(x, a, &mut down, (1, d_in));
                add_up(&down, b, scaling, &mut y[..d_out]);
            }
            Ok(())
        })
    })
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
    let mut y = vec![0.0; d_out * n];
    y.par_chunks_mut(rows * n).zip(weight.par_chunks(rows * d_in)).for_each(|(values, block)| {
        thin_block(x, block, values, (n, d_in));
    });
    by_rows(y, n)
}

vectorised! {
    /// Rows of the weight, each times all rows of `x`: (rows, n). `dims` is (n, in).
    fn thin_block<'a>(x: &'a [f32], rows: &'a [f32], values: &'a mut [f32], dims: (usize, usize)) -> () |simd| {
        for (w, values) in rows.chunks_exact(dims.1).zip(values.chunks_exact_mut(dims.0)) {
            for (x, value) in x.chunks_exact(dims.1).zip(values) {
                *value = dot(simd, x, w);
            }
        }
    }

    /// `y += scaling · down Bᵀ` for a row `down` (rank).
    fn add_up<'a>(down: &'a [f32], b: &'a [f32], scaling: f32, y: &'a mut [f32]) -> () {
        for (y, b) in y.iter_mut().zip(b.chunks_exact(down.len())) {
            *y = scaling.mul_add(short_dot(down, b), *y);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::tests::noise;

    use super::*;

    #[test]
    fn rows_are_looked_up_as_they_are_kept() {
        // The last panel is not full.
        let weight = noise((131, 40), 7);
        for kept in [FrozenLinear::new(&weight).unwrap(), FrozenLinear::looked_up(&weight).unwrap()] {
            let all = kept.weight().unwrap().to_vec2::<f32>().unwrap();
            let rows = kept.look_up(&[130, 0, 17, 130]).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(rows, [130, 0, 17, 130].map(|i: usize| all[i].clone()));
            assert!(kept.look_up(&[3, 131]).is_err());
        }
    }
}
