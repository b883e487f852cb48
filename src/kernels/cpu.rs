//! Which instructions does this machine have, and which storage does a tensor use?

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};

/// The kernels in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain candle operations.
    Portable,
    /// Own operators with the widest instructions the machine offers up to AVX2 or NEON.
    Simd,
    /// The same with AVX-512.
    Avx512,
}

impl Level {
    /// What `doctor` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Simd if cfg!(target_arch = "x86_64") => "avx2",
            Self::Simd => "simd",
            Self::Avx512 => "avx512",
        }
    }
}

/// The level chosen once from the machine and `LORASCOPE_KERNELS=portable`.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match std::env::var("LORASCOPE_KERNELS").as_deref() {
        Ok("portable") => Level::Portable,
        _ => detected(),
    })
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    if std::arch::is_x86_feature_detected!("avx512f") { Level::Avx512 } else { Level::Simd }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Simd
}

/// Whether the own operators can run on these tensors.
pub(super) fn is_fast(tensors: &[&Tensor]) -> bool {
    level() != Level::Portable
        && tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32 && t.is_contiguous())
}

/// The values of a contiguous float32 tensor on the CPU.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("operand is not contiguous") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `f` with the values of a float32 tensor on the CPU, without a copy when it is contiguous.
pub(super) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(cpu) => f(values(cpu, layout)?),
        _ => bail!("operand is not on the CPU"),
    }
}
