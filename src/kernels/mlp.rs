//! How are the gate and the up projection joined?

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cpu::{is_fast, values, with_values};
use super::elementwise::{BLOCK, exp, vectorised};

/// SwiGLU: `silu(gate) · up`, value by value (Shazeer 2020). Both are (n, intermediate).
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if is_fast(&[gate, up]) { gate.apply_op2(up, SwiGlu) } else { swiglu_portable(gate, up) }
}

pub(super) fn swiglu_portable(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(gate, gate_layout)?, values(up, up_layout)?);
        let mut y = vec![0.0_f32; gate.len()];
        let inputs = gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK));
        y.par_chunks_mut(BLOCK).zip(inputs).for_each(|(y, (g, u))| {
            forward_block(g, u, y);
        });
        Ok((CpuStorage::F32(y), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (d_gate, d_up) =
            with_values(gate, |g| with_values(up, |u| with_values(dy, |dy| Ok(backward(g, u, dy)))))?;
        let tensor = |v| Tensor::from_vec(v, gate.shape(), gate.device());
        Ok((Some(tensor(d_gate)?), Some(tensor(d_up)?)))
    }
}

/// Gate, up and the gradient of their product.
type Inputs<'a> = (&'a [f32], &'a [f32], &'a [f32]);

vectorised! {
fn forward_block<'a>(gate: &'a [f32], up: &'a [f32], y: &'a mut [f32]) -> () {
    for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
        *y = g / (1.0 + exp(-g)) * u;
    }
}

fn backward_block<'a>(inputs: Inputs<'a>, d_gate: &'a mut [f32], d_up: &'a mut [f32]) -> () {
    let (gate, up, dy) = inputs;
    let outputs = d_gate.iter_mut().zip(d_up.iter_mut());
    for ((dg, du), ((&g, &u), &dy)) in outputs.zip(gate.iter().zip(up).zip(dy)) {
        let sigmoid = 1.0 / (1.0 + exp(-g));
        let silu = g * sigmoid;
        *du = dy * silu;
        *dg = dy * u * (sigmoid + silu * (1.0 - sigmoid));
    }
}
}

fn backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut d_gate, mut d_up) = (vec![0.0_f32; gate.len()], vec![0.0_f32; gate.len()]);
    let outputs = d_gate.par_chunks_mut(BLOCK).zip(d_up.par_chunks_mut(BLOCK));
    let inputs = gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK)).zip(dy.par_chunks(BLOCK));
    outputs.zip(inputs).for_each(|((dg, du), ((g, u), dy))| {
        backward_block((g, u, dy), dg, du);
    });
    (d_gate, d_up)
}
