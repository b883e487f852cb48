//! What is the most that this machine could do?

use std::time::{Duration, Instant};

use super::{Runs, Sample};
use crate::error::Result;
use crate::kernels::{MemoryTrial, ProductTrial};
use crate::train::estimate::available_bytes;

/// The product that is timed: (512, 576) times (576, 1536), a feed-forward projection of `SmolLM2` for a
/// batch of 512 tokens.
pub const PRODUCT: (usize, usize, usize) = (512, 576, 1536);
/// Memory that is read: far more than any cache holds.
pub const MEMORY_BYTES: usize = 1 << 29;
/// One run lasts at least this long.
const RUN: Duration = Duration::from_millis(100);

/// The bounds of all that runs on all threads.
#[derive(Debug, Clone, PartialEq)]
pub struct MachinePeak {
    /// Float32 multiplications and additions of the product kernel, in 10^9 a second.
    pub gflop_per_s: Sample,
    /// Bytes read from memory, in 10^9 a second.
    pub gb_per_s: Sample,
}

/// Measures both bounds. Holds [`MEMORY_BYTES`] meanwhile, or a quarter of the free memory if that is less.
///
/// # Errors
/// When cancelled.
pub fn machine(runs: &mut Runs) -> Result<MachinePeak> {
    let (m, k, n) = PRODUCT;
    let mut product = ProductTrial::new(m, k, n);
    let flop = product.flop();
    let gflop_per_s = runs.sample(|_| Ok(per_second(|| product.run()) * flop / 1e9))?;
    let room = usize::try_from(available_bytes() / 4).unwrap_or(usize::MAX);
    let memory = MemoryTrial::new(MEMORY_BYTES.min(room));
    let bytes = memory.n_bytes() as f64;
    let gb_per_s = runs.sample(|_| Ok(per_second(|| memory.run()) * bytes / 1e9))?;
    Ok(MachinePeak { gflop_per_s, gb_per_s })
}

/// How often `work` is done in a second.
fn per_second(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut n = 0_u32;
    loop {
        work();
        n += 1;
        let time = begun.elapsed();
        if time >= RUN {
            return f64::from(n) / time.as_secs_f64();
        }
    }
}
