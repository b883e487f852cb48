//! What multiplies bfloat16?
//!
//! The matrix unit of some x86-64 processors (AMX), or the vectors of others (`AVX512_BF16`): both take the same tiles of
//! 16 lines of 64 bytes, and sum up in float32.

mod amx;
#[cfg(target_arch = "x86_64")]
mod vectors;

#[cfg(target_arch = "x86_64")]
use super::cpu::asked;
use super::cpu::{Level, level};
use super::turn::Line;

/// Rows of a tile, and float32 sums in one of its rows.
pub(super) const SIDE: usize = 16;
/// Lines of a step: two tiles.
pub(super) const STEP: usize = 2 * SIDE;

/// Products of two tiles above each other by two beside each other, summed over steps.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct Steps<'a> {
    /// For each step a tile, then the one below it.
    pub(super) lhs: &'a [Line],
    /// For each step a tile, its values in pairs of rows, then the one to its right.
    pub(super) rhs: &'a [Line],
    /// Whether the second half of each step's values is nought, so that nobody need look at it.
    pub(super) half: bool,
}

impl Steps<'_> {
    pub(super) const NONE: Self = Self { lhs: &[], rhs: &[], half: false };

    #[cfg(target_arch = "x86_64")]
    fn len(&self) -> usize {
        self.lhs.len().min(self.rhs.len()) / STEP
    }
}

/// Whether there are vectors that round numbers to bfloat16.
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) fn can_round() -> bool {
    #[cfg(target_arch = "x86_64")]
    return vectors::are_there();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The level that products of bfloat16 are formed at here, where they are the fastest there are or asked for.
#[cfg(target_arch = "x86_64")]
pub(super) fn best_level() -> Option<Level> {
    if amx::is_available() {
        return Some(Level::Amx);
    }
    let wanted = vectors::are_fast() || vectors::are_there() && asked() == Some(Level::Bf16);
    wanted.then_some(Level::Bf16)
}

/// What forms products, made ready on this thread until it is dropped. It does not nest.
pub(super) enum Unit {
    Matrix(amx::Session),
    #[cfg(target_arch = "x86_64")]
    Vectors(vectors::Ready),
}

impl Unit {
    /// The matrix unit at its level, else vectors; `None` where there are none.
    pub(super) fn begin() -> Option<Self> {
        if level() == Level::Amx {
            return amx::Session::begin().map(Self::Matrix);
        }
        #[cfg(target_arch = "x86_64")]
        return vectors::Ready::begin().map(Self::Vectors);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Sums the products of `first`, then of `second`, and writes them to `dst`, 32 rows of 32 values that start
    /// `stride` values apart; rows and columns beyond those asked for hold anything. `onto`: what is there is added to. Meanwhile a quarter as
    /// many lines as `rhs` has are called for, eight with each step: the first at `ahead`, and how many bytes one step is
    /// from the next; nothing need be there.
    ///
    /// # Panics
    /// When `dst` is too short: a fault of the caller.
    #[inline]
    pub(super) fn multiply(
        &self,
        steps: [Steps; 2],
        to: (&mut [f32], usize, bool),
        size: ((usize, usize), (*const Line, usize)),
    ) {
        match self {
            Self::Matrix(session) => session.multiply(steps, to, size),
            #[cfg(target_arch = "x86_64")]
            Self::Vectors(ready) => ready.multiply(steps, to, size),
        }
    }
}
