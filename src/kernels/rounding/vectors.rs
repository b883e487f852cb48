//! How do vectors round numbers to bfloat16 and put them in tiles (`AVX512_BF16`)?

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_maskz_loadu_ps, _mm512_mul_ps,
    _mm512_permutex2var_epi16, _mm512_permutexvar_epi16, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use std::mem::transmute;

use super::{DEPTH, Line, SIDE, View, piece};
use crate::kernels::bfloat16::can_round;

/// Lines of 32 values of a row each, from (row, column) on.
pub(super) fn rows(from: View, at: (usize, usize), scale: f32, tile: &mut [Line]) {
    assert!(can_round());
    // SAFETY: the instructions are there.
    unsafe { rows_of(from, at, scale, tile) }
}

/// Lines of 16 values of two rows each, in turn, from (row, column) on.
pub(super) fn pairs(from: View, at: (usize, usize), scale: f32, tile: &mut [Line]) {
    assert!(can_round());
    // SAFETY: as above.
    unsafe { pairs_of(from, at, scale, tile) }
}

/// Lines of 32 values of a row each, as lines of 16 values of two rows each: first those of the columns on the left.
pub(super) fn pair_rows(from: &[Line], to: &mut [Line]) {
    assert!(can_round());
    // SAFETY: as above.
    unsafe { pair_rows_of(from, to) }
}

/// Changes lines for columns; two values stay together.
pub(super) fn transpose(tile: &mut [Line]) {
    assert!(can_round());
    // SAFETY: as above.
    unsafe { transpose_of(tile) }
}

/// Some rows from (row, column) on, if there are as many, and so many columns; each goes on to where the next begins.
#[inline(always)]
fn whole(
    from: View<'_>,
    (row, column): (usize, usize),
    (n, width): (usize, usize),
) -> Option<impl Iterator<Item = &[f32]>> {
    let ((rows, columns), (values, stride)) = (from.dims(), from.in_rows());
    let is_whole = row + n <= rows && column + width <= columns;
    is_whole.then(|| values[row * stride + column..].chunks(stride))
}

/// The first 16 values, scaled; zeros after the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn sixteen(values: &[f32], scale: __m512) -> __m512 {
    // To read nothing from where nothing is takes processors a hundred cycles and more.
    if values.is_empty() {
        return _mm512_setzero_ps();
    }
    let mask = (0xFFFF_u32 >> (SIDE - values.len().min(SIDE))) as u16;
    // SAFETY: what the mask leaves out is not read; it has no more values than there are.
    _mm512_mul_ps(unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }, scale)
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rows_of(from: View, (row, column): (usize, usize), scale: f32, tile: &mut [Line]) {
    let scale = _mm512_set1_ps(scale);
    if let Some(rows) = whole(from, (row, column), (tile.len(), DEPTH)) {
        for (line, values) in tile.iter_mut().zip(rows) {
            let Some(values) = values.first_chunk::<DEPTH>() else { break };
            // SAFETY: vectors and arrays of the same size; any bits are valid in all of them.
            unsafe {
                let halves = transmute::<[f32; DEPTH], [__m512; 2]>(*values);
                let [low, high] = halves.map(|half| _mm512_mul_ps(half, scale));
                line.0 = transmute::<__m512bh, [u16; 32]>(_mm512_cvtne2ps_pbh(high, low));
            }
        }
        return;
    }
    for (i, line) in tile.iter_mut().enumerate() {
        let Some(values) = piece(from, (row + i, column), DEPTH) else { break };
        let low = sixteen(values, scale);
        let high = sixteen(values.get(SIDE..).unwrap_or_default(), scale);
        // SAFETY: a vector and an array of the same size; any bits are valid in both.
        line.0 = unsafe { transmute::<__m512bh, [u16; 32]>(_mm512_cvtne2ps_pbh(high, low)) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pairs_of(from: View, (row, column): (usize, usize), scale: f32, tile: &mut [Line]) {
    const TURNS: [u16; 32] = {
        let mut turns = [0; 32];
        let mut i = 0;
        while i < SIDE {
            turns[2 * i] = i as u16;
            turns[2 * i + 1] = (SIDE + i) as u16;
            i += 1;
        }
        turns
    };
    // SAFETY: a vector and an array of the same size; any bits are valid in both.
    let turns = unsafe { transmute::<[u16; 32], __m512i>(TURNS) };
    let in_turn = |first: __m512, second: __m512| {
        // SAFETY: as above.
        unsafe {
            let both = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            transmute::<__m512i, [u16; 32]>(_mm512_permutexvar_epi16(turns, both))
        }
    };
    let scale = _mm512_set1_ps(scale);
    if let Some(mut rows) = whole(from, (row, column), (2 * tile.len(), SIDE)) {
        for line in tile {
            let (Some(first), Some(second)) = (rows.next(), rows.next()) else { break };
            line.0 = in_turn(sixteen(first, scale), sixteen(second, scale));
        }
        return;
    }
    for (line, row) in tile.iter_mut().zip((row..).step_by(2)) {
        let of = |row| sixteen(piece(from, (row, column), SIDE).unwrap_or_default(), scale);
        line.0 = in_turn(of(row), of(row + 1));
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn pair_rows_of(from: &[Line], to: &mut [Line]) {
    /// From two lines, values from one on, in turn.
    const fn turns(first: usize) -> [u16; 32] {
        let mut turns = [0; 32];
        let mut i = 0;
        while i < SIDE {
            turns[2 * i] = (first + i) as u16;
            turns[2 * i + 1] = (2 * SIDE + first + i) as u16;
            i += 1;
        }
        turns
    }
    let (left, right) = to.split_at_mut(SIDE);
    for ((rows, left), right) in from.as_chunks::<2>().0.iter().zip(left).zip(right) {
        // SAFETY: vectors and arrays of the same size; any bits are valid in all of them.
        unsafe {
            let [first, second] = rows.map(|line| transmute::<[u16; 32], __m512i>(line.0));
            for (to, turns) in [(left, const { turns(0) }), (right, const { turns(SIDE) })] {
                let turns = transmute::<[u16; 32], __m512i>(turns);
                let both = _mm512_permutex2var_epi16(first, turns, second);
                to.0 = transmute::<__m512i, [u16; 32]>(both);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn transpose_of(tile: &mut [Line]) {
    let Ok(tile) = <&mut [Line; SIDE]>::try_from(tile) else { return };
    // SAFETY: lines and vectors of the same size and alignment; any bits are valid in both.
    let r = unsafe { &mut *std::ptr::from_mut(tile).cast::<[__m512i; SIDE]>() };
    let mut t = *r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for i in (0..SIDE).step_by(4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // Now `r[4 i + c]` holds columns c, 4 + c, 8 + c and 12 + c of rows 4 i to 4 i + 3.
    let t = *r;
    for c in 0..4 {
        let low =
            [_mm512_shuffle_i32x4::<0x44>(t[c], t[4 + c]), _mm512_shuffle_i32x4::<0x44>(t[8 + c], t[12 + c])];
        let high =
            [_mm512_shuffle_i32x4::<0xEE>(t[c], t[4 + c]), _mm512_shuffle_i32x4::<0xEE>(t[8 + c], t[12 + c])];
        r[c] = _mm512_shuffle_i32x4::<0x88>(low[0], low[1]);
        r[4 + c] = _mm512_shuffle_i32x4::<0xDD>(low[0], low[1]);
        r[8 + c] = _mm512_shuffle_i32x4::<0x88>(high[0], high[1]);
        r[12 + c] = _mm512_shuffle_i32x4::<0xDD>(high[0], high[1]);
    }
}
