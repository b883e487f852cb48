//! What does the arithmetic, forward and backward?
//!
//! Each operator is a candle `CustomOp` with a backward pass and has a portable twin made of plain
//! differentiable candle operations. The fast one runs for contiguous float32 on the CPU; the twin
//! runs on every other device, with `LORASCOPE_KERNELS=portable`, and serves as reference in tests.
//! Candle's own fused operators cut the gradient and are not used.

mod adamw;
mod attention;
mod bfloat16;
mod blocks;
mod buffer;
mod cpu;
mod elementwise;
mod encoder;
mod half_floats;
mod layer;
mod linear;
mod loss;
mod matmul;
mod mlp;
mod narrow;
mod norm;
mod packed;
mod peak;
mod rope;
mod rounding;
mod turn;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use adamw::{AdamWRule, adamw, squared_norm};
pub use attention::{AttentionShape, CachedKeys};
pub use buffer::release_buffers;
pub use cpu::{Level, choose_float32, features, level, with_values};
pub use elementwise::first_of_largest;
pub use encoder::{Affine, EncoderLayer, LayerNorm, encode};
pub use layer::{
    CorrectedRows, Corrections, FlatGradient, FrozenLayer, LayerCorrections, RowCorrections, answer_layer,
    decoder_layers, kept_rows_width,
};
pub use linear::{Correction, FrozenLinear};
pub use loss::{cross_entropy, kl_divergence, token_log_probs};
pub use mlp::kept_width;
pub use norm::{RmsNorm, rms_norm};
pub use peak::{MemoryTrial, ProductTrial};
pub use rope::RopeTable;

/// Runs `f` on one of the threads that share the arithmetic. Work that meets the others often does better there: a thread
/// from outside is put to sleep and woken at each meeting.
pub fn among_threads<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

#[cfg(test)]
mod tests;
