//! How is a frozen weight applied, with and without a low-rank correction?

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};
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

/// `x Wᵀ + scaling · (x Aᵀ) Bᵀ` for `x` (n, in), frozen `W` (out, in), `lora_a` (rank, in) and `lora_b`
/// (out, rank): LoRA (Hu et al. 2021) as PEFT computes it. `x`, `lora_a` and `lora_b` get gradients.
pub fn lora_linear(
    x: &Tensor,
    base: &FrozenLinear,
    (lora_a, lora_b): (&Tensor, &Tensor),
    scaling: f64,
) -> Result<Tensor> {
    if is_fast(&[x, &base.weight, lora_a, lora_b]) {
        let weight = base.weight.clone();
        let op = Lora { weight, scaling: scaling as f32, down: OnceLock::new() };
        return x.apply_op3(lora_a, lora_b, op);
    }
    lora_linear_portable(x, base, (lora_a, lora_b), scaling)
}

pub(super) fn lora_linear_portable(
    x: &Tensor,
    base: &FrozenLinear,
    (lora_a, lora_b): (&Tensor, &Tensor),
    scaling: f64,
) -> Result<Tensor> {
    let correction = x.matmul(&lora_a.t()?)?.matmul(&lora_b.t()?)?;
    x.matmul(&base.weight.t()?)? + (correction * scaling)?
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
    weight: Tensor,
    scaling: f32,
    /// `x Aᵀ` (n, rank), kept from the forward pass.
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
        let (rank, _) = a_layout.shape().dims2()?;
        let (x, a, b) = (values(x, x_layout)?, values(a, a_layout)?, values(b, b_layout)?);
        let mut y = with_values(&self.weight, |w| Ok(project(x, w, (n, d_in, d_out))))?;
        let down = project(x, a, (n, d_in, rank));
        let up = Product::new(View::new(&down, n, rank), View::new(b, d_out, rank).t());
        up.scaled(self.scaling).add_to(&mut y, d_out);
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
        let rank = lora_a.dim(0)?;
        let [dx, da, db] = with_values(&self.weight, |w| {
            with_values(x, |x| {
                with_values(lora_a, |a| {
                    with_values(lora_b, |b| {
                        with_values(dy, |dy| Ok(self.backward(w, (x, a, b), dy, (dims, rank))))
                    })
                })
            })
        })?;
        let tensor = |v, like: &Tensor| Tensor::from_vec(v, like.shape(), like.device());
        Ok((Some(tensor(dx, x)?), Some(tensor(da, lora_a)?), Some(tensor(db, lora_b)?)))
    }
}

impl Lora {
    /// With `u = dy B`: `dx = dy W + s u A`, `dA = s uᵀ x`, `dB = s dyᵀ (x Aᵀ)`.
    fn backward(
        &self,
        weight: &[f32],
        (x, a, b): (&[f32], &[f32], &[f32]),
        dy: &[f32],
        ((n, d_in, d_out), rank): ((usize, usize, usize), usize),
    ) -> [Vec<f32>; 3] {
        let down = self.down.get_or_init(|| project(x, a, (n, d_in, rank)));
        let (x, dy) = (View::new(x, n, d_in), View::new(dy, n, d_out));
        let mut u = vec![0.0; n * rank];
        Product::new(dy, View::new(b, d_out, rank)).write(&mut u, rank);
        let u = View::new(&u, n, rank);
        let mut dx = vec![0.0; n * d_in];
        Product::new(dy, View::new(weight, d_out, d_in)).write(&mut dx, d_in);
        Product::new(u, View::new(a, rank, d_in)).scaled(self.scaling).add_to(&mut dx, d_in);
        let mut da = vec![0.0; rank * d_in];
        Product::new(u.t(), x).scaled(self.scaling).write(&mut da, d_in);
        let mut db = vec![0.0; d_out * rank];
        Product::new(dy.t(), View::new(down, n, rank)).scaled(self.scaling).write(&mut db, rank);
        [dx, da, db]
    }
}
