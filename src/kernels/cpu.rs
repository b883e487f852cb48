//! Which instructions does this machine have, and which storage does a tensor use?

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};

/// The kernels in use. At all but `Portable`, answers are written from weights in few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain candle operations.
    Portable,
    /// Own operators in float32, with the widest instructions the machine offers up to AVX2 or NEON.
    Simd,
    /// The same, but for products with frozen weights: AVX2 forms them in whole numbers of 13 bits with float32 sums.
    /// The embedding is kept so too; cached keys and values, and what the MLP keeps for the backward pass, are half floats.
    Avx2,
    /// All in float32 with AVX-512.
    Avx512,
    /// The same, but for what `Avx2` does in other numbers: AVX-512 with VNNI does it so, too.
    Vnni,
    /// Products of matrices in bfloat16 with float32 sums, in vectors; the embedding, and what is kept of rows for the backward
    /// pass, in bfloat16; half floats as with `Avx2`; all else with AVX-512.
    Bf16,
    /// The same on the matrix unit.
    Amx,
}

impl Level {
    /// What `doctor` prints and `LORASCOPE_KERNELS` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Simd => "simd",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
            Self::Bf16 => "bf16",
            Self::Amx => "amx",
        }
    }

    /// The level of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Portable, Self::Simd, Self::Avx2, Self::Avx512, Self::Vnni, Self::Bf16, Self::Amx]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// Whether products with frozen weights are formed of rounded values; the embedding, an answer's keys and values and what
    /// the MLP keeps are then rounded too.
    pub fn rounds(self) -> bool {
        self == Self::Avx2 || self >= Self::Vnni
    }

    /// Whether products are formed of bfloat16.
    pub fn is_bfloat16(self) -> bool {
        self >= Self::Bf16
    }

    /// The best one, up to this, at which all but the writing of tokens is float32.
    #[must_use]
    pub fn in_float32(self) -> Self {
        let best = if self < Self::Avx512 { Self::Simd } else { Self::Avx512 };
        best.min(self)
    }
}

static LEVEL: OnceLock<Level> = OnceLock::new();

/// What `LORASCOPE_KERNELS` asks for.
pub(super) fn asked() -> Option<Level> {
    Level::named(&std::env::var("LORASCOPE_KERNELS").ok()?)
}

/// The level, chosen once: the best that the machine has, or what `LORASCOPE_KERNELS` asks for where that is less.
pub fn level() -> Level {
    *LEVEL.get_or_init(|| detected().min(asked().unwrap_or(Level::Amx)))
}

/// Chooses float32 for this process, unless a level was chosen already or `LORASCOPE_KERNELS` asks for one: for what is
/// compared to the last digits.
pub fn choose_float32() {
    LEVEL.get_or_init(|| asked().map_or(detected().in_float32(), |asked| detected().min(asked)));
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    if super::vnni::is_there() {
        super::bfloat16::best_level().unwrap_or(Level::Vnni)
    } else if std::arch::is_x86_feature_detected!("avx512f") {
        Level::Avx512
    } else if pulp::x86::V3::try_new().is_some() {
        Level::Avx2
    } else {
        Level::Simd
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Simd
}

/// Runs a loop with the widest vectors that the level allows.
#[inline(always)]
pub(super) fn dispatch<O: pulp::WithSimd>(op: O) -> O::Output {
    #[cfg(target_arch = "x86_64")]
    if level() < Level::Avx512
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return pulp::Simd::vectorize(simd, op);
    }
    pulp::Arch::new().dispatch(op)
}

/// Vector and matrix units that matter to this kind of arithmetic, and whether the machine has them. Not
/// all that are there are in use: [`level`] says what is.
#[cfg(target_arch = "x86_64")]
pub fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;
    // Stable Rust does not ask the machine for these; Linux tells.
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = told.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let amx = |name: &str| flags.split_whitespace().any(|flag| flag == name);
    vec![
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avxvnni", has!("avxvnni")),
        ("avx512f", has!("avx512f")),
        ("avx512bw", has!("avx512bw")),
        ("avx512vnni", has!("avx512vnni")),
        ("avx512bf16", has!("avx512bf16")),
        ("amx-tile", amx("amx_tile")),
        ("amx-int8", amx("amx_int8")),
        ("amx-bf16", amx("amx_bf16")),
    ]
}

/// Vector and matrix units that matter to this kind of arithmetic, and whether the machine has them. Not
/// all that are there are in use: [`level`] says what is.
#[cfg(target_arch = "aarch64")]
pub fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![("neon", has!("neon")), ("dotprod", has!("dotprod")), ("i8mm", has!("i8mm")), ("bf16", has!("bf16"))]
}

/// Vector and matrix units that matter to this kind of arithmetic: none are known of this machine.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
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
pub fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(cpu) => f(values(cpu, layout)?),
        _ => bail!("operand is not on the CPU"),
    }
}

/// Asks for a value to be brought closer, if the machine can be asked.
#[inline(always)]
pub(super) fn call_for<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; any address will do.
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}
