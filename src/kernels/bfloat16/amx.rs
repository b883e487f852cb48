//! How does the matrix unit of some x86-64 processors (AMX) multiply?
//!
//! Tiles of 16 lines of 64 bytes: bfloat16 on the way in, float32 sums. Stable Rust has no names for its instructions,
//! so they stand here as assembly. Intel's "Architecture Instruction Set Extensions
//! Programming Reference" describes them.

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
mod emulated;

pub(super) use unit::Session;
#[cfg(target_arch = "x86_64")]
pub(super) use unit::is_available;

/// Elsewhere there is no such unit.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod unit {
    use crate::kernels::bfloat16::{Line, Steps};

    #[cfg(target_arch = "x86_64")]
    pub(in crate::kernels) fn is_available() -> bool {
        false
    }

    pub(in crate::kernels) enum Session {}

    impl Session {
        pub(in crate::kernels) fn begin() -> Option<Self> {
            None
        }

        pub(in crate::kernels) fn multiply(
            &self,
            _: [Steps; 2],
            _: (&mut [f32], usize, bool),
            _: ((usize, usize), (*const Line, usize)),
        ) {
            match *self {}
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit {
    #![allow(unsafe_code)]

    use std::arch::asm;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    use crate::kernels::bfloat16::{Line, SIDE, Steps, can_round};

    /// Whether the processor has the unit and Linux lets this process use it; asked for once.
    pub(in crate::kernels) fn is_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| can_round() && (is_there() && is_permitted() || is_emulated()))
    }

    /// Whether the unit's instructions are done for it: in tests alone, where they ask for it.
    fn is_emulated() -> bool {
        #[cfg(test)]
        return crate::kernels::cpu::asked() == Some(crate::kernels::cpu::Level::Amx)
            && super::emulated::begin();
        #[cfg(not(test))]
        false
    }

    fn is_there() -> bool {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        // SAFETY: every x86-64 processor has `cpuid`.
        #[allow(unused_unsafe)]
        let flags = unsafe {
            if std::arch::x86_64::__cpuid(0).eax < 7 {
                return false;
            }
            std::arch::x86_64::__cpuid_count(7, 0).edx
        };
        flags & BF16 != 0 && flags & TILES != 0
    }

    /// Linux keeps room for the tiles of those processes only that ask for it.
    fn is_permitted() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const REQUEST_PERMISSION: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let result: i64;
        // SAFETY: the system call reads no memory of ours; it overwrites the registers named.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// The unit made ready on this thread, until it is dropped. Sessions don't nest.
    pub(in crate::kernels) struct Session {
        /// It belongs to its thread.
        here: PhantomData<*const ()>,
    }

    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    impl Session {
        /// `None` where there is no such unit.
        pub(in crate::kernels) fn begin() -> Option<Self> {
            if !is_available() {
                return None;
            }
            let mut configuration = Configuration([0; 64]);
            configuration.0[0] = 1;
            for tile in 0..8 {
                configuration.0[16 + 2 * tile] = 64;
                configuration.0[48 + tile] = SIDE as u8;
            }
            // SAFETY: the unit is there and permitted; the configuration is as the manual wants it: palette 1, eight
            // tiles of 16 rows of 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
            Some(Self { here: PhantomData })
        }

        /// As [`super::super::Unit::multiply`]. Of up to 16 rows the lower half is left as the start of the sum is.
        ///
        /// # Panics
        /// When `dst` is too short: a fault of the caller.
        #[inline]
        #[allow(clippy::unused_self, reason = "the session is what makes the unit ready")]
        pub(in crate::kernels) fn multiply(
            &self,
            [first, second]: [Steps; 2],
            (dst, stride, onto): (&mut [f32], usize, bool),
            ((n_rows, _), ahead): ((usize, usize), (*const Line, usize)),
        ) {
            assert!(stride >= 2 * SIDE && dst.len() >= (2 * SIDE - 1) * stride + 2 * SIDE);
            let dst = dst.as_mut_ptr();
            let below = dst.wrapping_add(SIDE * stride);
            let stride = stride * size_of::<f32>();
            // Whether to add, and whether there is anything in the lower tiles.
            let flags = u64::from(onto) | u64::from(n_rows > SIDE) << 1;
            // SAFETY: the session's configuration is loaded on this thread, which alone can hold it. `dst` and `below`
            // are followed by 15 rows of `stride` bytes and 32 values, asserted above. Each step reads two tiles of `lhs`
            // and of `rhs`, which hold as many.
            unsafe {
                asm!(
                    "test {f}, 1",
                    "jnz 3f",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "jmp 4f",
                    "3:",
                    "tileloadd tmm0, [{c} + {s}]", "tileloadd tmm1, [{c} + {s} + 64]",
                    "tileloadd tmm2, [{d} + {s}]", "tileloadd tmm3, [{d} + {s} + 64]",
                    "4:",
                    "test {n}, {n}",
                    "jz 6f",
                    "5:",
                    "tileloadd tmm4, [{a} + {l}]",
                    "tileloadd tmm6, [{b} + {l}]",
                    "tileloadd tmm7, [{b} + {l} + 1024]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "test {f}, 2",
                    "jz 8f",
                    "tileloadd tmm5, [{a} + {l} + 1024]",
                    "prefetcht1 [{p}]", "prefetcht1 [{p} + 64]", "prefetcht1 [{p} + 128]", "prefetcht1 [{p} + 192]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "prefetcht1 [{p} + 256]", "prefetcht1 [{p} + 320]", "prefetcht1 [{p} + 384]", "prefetcht1 [{p} + 448]",
                    "add {p}, {q}",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "8:",
                    "add {a}, 2048",
                    "add {b}, 2048",
                    "dec {n}",
                    "jnz 5b",
                    "6:",
                    "test {n2}, {n2}",
                    "jz 7f",
                    "mov {a}, {a2}",
                    "mov {b}, {b2}",
                    "mov {n}, {n2}",
                    "xor {n2}, {n2}",
                    "jmp 5b",
                    "7:",
                    "tilestored [{c} + {s}], tmm0", "tilestored [{c} + {s} + 64], tmm1",
                    "tilestored [{d} + {s}], tmm2", "tilestored [{d} + {s} + 64], tmm3",
                    f = in(reg) flags, c = in(reg) dst, d = in(reg) below, s = in(reg) stride,
                    l = in(reg) size_of::<Line>(), p = inout(reg) ahead.0 => _, q = in(reg) ahead.1,
                    a = inout(reg) first.lhs.as_ptr() => _, b = inout(reg) first.rhs.as_ptr() => _,
                    n = inout(reg) first.len() => _,
                    a2 = in(reg) second.lhs.as_ptr(), b2 = in(reg) second.rhs.as_ptr(),
                    n2 = inout(reg) second.len() => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }

    impl Drop for Session {
        fn drop(&mut self) {
            // SAFETY: the unit is there; it forgets its configuration and its tiles.
            unsafe {
                asm!(
                    "tilerelease",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, nomem),
                );
            }
        }
    }
}
