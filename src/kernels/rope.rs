//! How does a token know where it stands?

use candle_core::{Device, Result, Tensor};

/// Cosines and sines of the rotary embedding (Su et al. 2021), for positions up to a bound, in the
/// half-rotation order of Hugging Face.
#[derive(Debug)]
pub struct RopeTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Which way to turn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Turn {
    Forward,
    /// The inverse, which is also the gradient.
    Back,
}

impl RopeTable {
    /// `inverse_frequencies` has one entry for each pair of dimensions of a head.
    pub fn new(inverse_frequencies: &[f32], n_positions: usize) -> Self {
        let angle = |p: usize| inverse_frequencies.iter().map(move |f| p as f32 * f);
        Self {
            half: inverse_frequencies.len(),
            cos: (0..n_positions).flat_map(|p| angle(p).map(f32::cos)).collect(),
            sin: (0..n_positions).flat_map(|p| angle(p).map(f32::sin)).collect(),
        }
    }

    /// Positions in the table.
    pub fn n_positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Turns one head of one token, in place.
    #[inline(always)]
    pub(super) fn turn(&self, head: &mut [f32], position: usize, turn: Turn) {
        let row = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[row.clone()], &self.sin[row]);
        let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
        let (first, second) = head.split_at_mut(self.half);
        for (((a, b), &c), &s) in first.iter_mut().zip(second.iter_mut()).zip(cos).zip(sin) {
            let s = s * sign;
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }

    /// Cosines and sines of the first `n` positions as tensors (n, half).
    pub(super) fn tensors(&self, n: usize, device: &Device) -> Result<(Tensor, Tensor)> {
        let slice = |v: &[f32]| Tensor::from_slice(&v[..n * self.half], (n, self.half), device);
        Ok((slice(&self.cos)?, slice(&self.sin)?))
    }
}
