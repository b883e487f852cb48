//! How is a frozen weight applied, with and without a low-rank correction?

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{is_fast, values, with_values};
use super::elementwise::{dot, vectorised};
use super::matmul::{Product, View};

/// Rows up to which reading the weight once, row by row, beats a packed product.
const THIN_ROWS: usize = 4;

/// A projection whose weight is never trained: no gradient of it is computed or stored.
#[derive(Debug, Clone)]
pub struct FrozenLinear {
    weight: Tensor,
}

impl FrozenLinear {
    /// `weight` is (out, in); it is detached from any graph.
    pub fn new(weight: &Tensor) -> Result<Self> {
        Ok(Self { weight: weight.detach().contiguous()? })
    }

    /// The weight (out, in).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `x Wᵀ` for `x` (n, in): (n, out). Only `x` gets a gradient.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_fast(&[x, &self.weight]) {
            return x.apply_op1(Frozen { weight: self.weight.clone() });
        }
        x.matmul(&self.weight.t()?)
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
/// the other, each with a correction of its own or none; all corrections have one rank. `x` and the
/// corrections get gradients.
pub fn lora_linear(
    x: &Tensor,
    base: &FrozenLinear,
    corrections: &[Correction],
    scaling: f64,
) -> Result<Tensor> {
    let Some(first) = corrections.first() else { return base.forward(x) };
    let lora = corrections.iter().flat_map(|c| [c.a, c.b]);
    if !is_fast(&lora.chain([x, &base.weight]).collect::<Vec<_>>()) {
        return lora_linear_portable(x, base, corrections, scaling);
    }
    let (weight, scaling, down) = (base.weight.clone(), scaling as f32, OnceLock::new());
    let rank = first.a.dim(0)?;
    let mut blocks = Vec::with_capacity(corrections.len());
    for c in corrections {
        let (n, own) = c.b.dims2()?;
        if own != rank || c.a.dim(0)? != rank || c.start + n > weight.dim(0)? {
            bail!("a correction {:?} {:?} at {} does not fit", c.a.dims(), c.b.dims(), c.start);
        }
        blocks.push(c.start..c.start + n);
    }
    let op = Lora { weight, scaling, rank, blocks, down };
    if corrections.len() == 1 {
        return x.apply_op3(first.a, first.b, op);
    }
    let a = Tensor::cat(&corrections.iter().map(|c| c.a).collect::<Vec<_>>(), 0)?;
    let b = Tensor::cat(&corrections.iter().map(|c| c.b).collect::<Vec<_>>(), 0)?;
    x.apply_op3(&a, &b, op)
}

pub(super) fn lora_linear_portable(
    x: &Tensor,
    base: &FrozenLinear,
    corrections: &[Correction],
    scaling: f64,
) -> Result<Tensor> {
    let y = x.matmul(&base.weight.t()?)?;
    y + (low_rank(x, corrections, base.weight.dim(0)?)? * scaling)?
}

/// The corrections alone, unscaled (n, `width`), in plain candle operations.
pub fn low_rank(x: &Tensor, corrections: &[Correction], width: usize) -> Result<Tensor> {
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

/// `x Wᵀ` into a fresh vector; `dims` is (n, in, out).
pub(super) fn project(x: &[f32], weight: &[f32], (n, d_in, d_out): (usize, usize, usize)) -> Vec<f32> {
    let mut y = vec![0.0; n * d_out];
    if n > THIN_ROWS {
        Product::new(View::new(x, n, d_in), View::new(weight, d_out, d_in).t()).write(&mut y, d_out);
        return y;
    }
    // Column by column of the result, so that each row of the weight is read from memory once.
    let rows = (1 << 14) / d_in.max(1) + 1;
    let blocks: Vec<Vec<f32>> = weight
        .par_chunks(rows * d_in)
        .map(|block| {
            let mut values = vec![0.0; block.len() / d_in * n];
            thin_block(x, block, &mut values, (n, d_in));
            values
        })
        .collect();
    for (o, values) in blocks.iter().flat_map(|b| b.chunks_exact(n)).enumerate() {
        for (i, &value) in values.iter().enumerate() {
            y[i * d_out + o] = value;
        }
    }
    y
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

fn row_dims(layout: &Layout, weight: &Tensor) -> Result<(usize, usize, usize)> {
    let (n, _) = layout.shape().dims2()?;
    let (d_out, d_in) = weight.dims2()?;
    Ok((n, d_in, d_out))
}

struct Frozen {
    weight: Tensor,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dims = row_dims(layout, &self.weight)?;
        let x = values(storage, layout)?;
        let y = with_values(&self.weight, |w| Ok(project(x, w, dims)))?;
        Ok((CpuStorage::F32(y), Shape::from((dims.0, dims.2))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dims = row_dims(x.layout(), &self.weight)?;
        let dx = with_values(dy, |dy| with_values(&self.weight, |w| Ok(input_gradient(dy, w, dims))))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// `dy W`: the gradient of the input.
fn input_gradient(dy: &[f32], weight: &[f32], (n, d_in, d_out): (usize, usize, usize)) -> Vec<f32> {
    let mut dx = vec![0.0; n * d_in];
    Product::new(View::new(dy, n, d_out), View::new(weight, d_out, d_in)).write(&mut dx, d_in);
    dx
}

struct Lora {
    /// (out, in)
    weight: Tensor,
    scaling: f32,
    rank: usize,
    /// Which outputs each correction corrects.
    blocks: Vec<Range<usize>>,
    /// `x Aᵀ` (n, corrections · rank), kept from the forward pass.
    down: OnceLock<Vec<f32>>,
}

impl CustomOp3 for Lora {
    fn name(&self) -> &'static str {
        "lora-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, d_in, d_out) = row_dims(x_layout, &self.weight)?;
        let (x, a, b) = (values(x, x_layout)?, values(a, a_layout)?, values(b, b_layout)?);
        let mut y = with_values(&self.weight, |w| Ok(project(x, w, (n, d_in, d_out))))?;
        let width = self.blocks.len() * self.rank;
        let down = project(x, a, (n, d_in, width));
        for (j, (block, b)) in self.parts(b).enumerate() {
            let own = View::strided(&down[j * self.rank..], (n, self.rank), width);
            let up = Product::new(own, View::new(b, block.len(), self.rank).t());
            up.scaled(self.scaling).add_to(&mut y[block.start..], d_out);
        }
        let _ = self.down.set(down);
        Ok((CpuStorage::F32(y), Shape::from((n, d_out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        lora_a: &Tensor,
        lora_b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dims = row_dims(x.layout(), &self.weight)?;
        let [dx, da, db] = with_values(&self.weight, |w| {
            with_values(x, |x| {
                with_values(lora_a, |a| {
                    with_values(lora_b, |b| with_values(dy, |dy| Ok(self.backward(w, (x, a, b), dy, dims))))
                })
            })
        })?;
        let tensor = |v, like: &Tensor| Tensor::from_vec(v, like.shape(), like.device());
        Ok((Some(tensor(dx, x)?), Some(tensor(da, lora_a)?), Some(tensor(db, lora_b)?)))
    }
}

impl Lora {
    /// Each correction's outputs with its part of `b`, whose parts stand one below the other.
    fn parts<'a>(&'a self, b: &'a [f32]) -> impl Iterator<Item = (&'a Range<usize>, &'a [f32])> {
        self.blocks.iter().scan(b, |rest, block| {
            let (own, others) = rest.split_at(block.len() * self.rank);
            *rest = others;
            Some((block, own))
        })
    }

    /// With `u = dy B` of each correction: `dx = dy W + s u A`, `dA = s uᵀ x`, `dB = s dyᵀ (x Aᵀ)`.
    fn backward(
        &self,
        weight: &[f32],
        (x, a, b): (&[f32], &[f32], &[f32]),
        dy: &[f32],
        (n, d_in, d_out): (usize, usize, usize),
    ) -> [Vec<f32>; 3] {
        let (rank, width) = (self.rank, self.blocks.len() * self.rank);
        let down = self.down.get_or_init(|| project(x, a, (n, d_in, width)));
        let dy_of = |block: &Range<usize>| View::strided(&dy[block.start..], (n, block.len()), d_out);
        let (mut u, mut db) = (vec![0.0; n * width], vec![0.0; b.len()]);
        let mut rest = &mut db[..];
        for (j, (block, b)) in self.parts(b).enumerate() {
            let own = View::new(b, block.len(), rank);
            Product::new(dy_of(block), own).write(&mut u[j * rank..], width);
            let (part, others) = rest.split_at_mut(b.len());
            rest = others;
            let down = View::strided(&down[j * rank..], (n, rank), width);
            Product::new(dy_of(block).t(), down).scaled(self.scaling).write(part, rank);
        }
        let (x, u) = (View::new(x, n, d_in), View::new(&u, n, width));
        let mut dx = vec![0.0; n * d_in];
        Product::new(View::new(dy, n, d_out), View::new(weight, d_out, d_in)).write(&mut dx, d_in);
        Product::new(u, View::new(a, width, d_in)).scaled(self.scaling).add_to(&mut dx, d_in);
        let mut da = vec![0.0; width * d_in];
        Product::new(u.t(), x).scaled(self.scaling).write(&mut da, d_in);
        [dx, da, db]
    }
}
