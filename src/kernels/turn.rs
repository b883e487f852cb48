//! How is a packed matrix turned, while it is multiplied by?
//!
//! A matrix of 16-bit values is kept in lines: two rows of 16 columns, the two values of a column beside each other. Its
//! transpose, kept so too, is what a product with it the other way round wants. It is made a piece at a time, square by
//! square: a square is 16 rows by 16 columns, eight lines before and after.

#[cfg(target_arch = "x86_64")]
use super::cpu::{Level, level};

/// Two rows of 16 columns, the values of a column beside each other; on the left of a product of bfloat16, 32 values of a row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; 32]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 32]);
}

/// Lines of a square.
pub(super) const SQUARE: usize = 8;

/// Turns the square whose lines start `apart` lines from each other, in `from` as in `to`. Where `from` ends before, the
/// rest is nought.
///
/// # Panics
/// When `to` is too short: a fault of the caller.
pub(super) fn turn(from: &[Line], to: &mut [Line], apart: usize) {
    assert!(to.len() > (SQUARE - 1) * apart);
    let from: [&Line; SQUARE] = std::array::from_fn(|i| from.get(i * apart).unwrap_or(&Line::ZERO));
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Vnni {
        // SAFETY: where these levels were found, so were these instructions.
        #[allow(unsafe_code)]
        return unsafe { vectors::wide(from, to, apart) };
    } else if level() == Level::Avx2 {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        return unsafe { vectors::narrow(from, to, apart) };
    }
    one_by_one(from, to, apart);
}

fn one_by_one(from: [&Line; SQUARE], to: &mut [Line], apart: usize) {
    for (row, to) in to.iter_mut().step_by(apart).take(SQUARE).enumerate() {
        *to = Line(std::array::from_fn(|i| from[i / 4].0[4 * row + 2 * (i % 2) + i / 2 % 2]));
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_load_si256, _mm256_permute2x128_si256, _mm256_setr_epi8,
        _mm256_shuffle_epi8, _mm256_store_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
        _mm512_broadcast_i64x4, _mm512_load_si512, _mm512_shuffle_epi8, _mm512_shuffle_i64x2,
        _mm512_store_si512, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
    };

    use super::{Line, SQUARE};

    /// Of two columns beside each other, puts the values of a row beside each other: bytes of 8, four times.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn regrouped() -> __m256i {
        _mm256_setr_epi8(
            0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, //
            0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,
        )
    }

    /// With AVX-512: two rows of two columns are a unit, of which a line has eight.
    #[target_feature(enable = "avx2,avx512f,avx512bw")]
    #[inline]
    pub(super) fn wide(from: [&Line; SQUARE], to: &mut [Line], apart: usize) {
        assert!(to.len() > (SQUARE - 1) * apart);
        let order = _mm512_broadcast_i64x4(regrouped());
        // SAFETY: a line is 64 bytes and aligned to as many.
        #[allow(unsafe_code)]
        let lines = from.map(|line| unsafe { _mm512_load_si512(std::ptr::from_ref(line).cast()) });
        let [a, b, c, d, e, f, g, h] = lines.map(|line| _mm512_shuffle_epi8(line, order));
        let even = [(a, b), (c, d), (e, f), (g, h)].map(|(a, b)| _mm512_unpacklo_epi64(a, b));
        let odd = [(a, b), (c, d), (e, f), (g, h)].map(|(a, b)| _mm512_unpackhi_epi64(a, b));
        for (half, [a, b, c, d]) in [even, odd].into_iter().enumerate() {
            let (low, high): ([__m512i; 2], [__m512i; 2]) = (
                [_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0x44>(c, d)],
                [_mm512_shuffle_i64x2::<0xEE>(a, b), _mm512_shuffle_i64x2::<0xEE>(c, d)],
            );
            let rows = [
                _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0xDD>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
                _mm512_shuffle_i64x2::<0xDD>(high[0], high[1]),
            ];
            for (row, line) in rows.into_iter().enumerate() {
                // SAFETY: as above; `to` is as long as asserted.
                #[allow(unsafe_code)]
                unsafe {
                    _mm512_store_si512(to.as_mut_ptr().add((2 * row + half) * apart).cast(), line);
                }
            }
        }
    }

    /// With AVX2: a line is two registers of four units.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn narrow(from: [&Line; SQUARE], to: &mut [Line], apart: usize) {
        assert!(to.len() > (SQUARE - 1) * apart);
        let order = regrouped();
        for (left, top) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let unit = |i: usize| {
                // SAFETY: half a line is 32 bytes and aligned to as many.
                #[allow(unsafe_code)]
                let half = unsafe {
                    _mm256_load_si256(std::ptr::from_ref(from[4 * top + i]).cast::<__m256i>().add(left))
                };
                _mm256_shuffle_epi8(half, order)
            };
            let [a, b, c, d] = [unit(0), unit(1), unit(2), unit(3)];
            let (even, odd) = (
                [_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d)],
                [_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d)],
            );
            let rows = [
                _mm256_permute2x128_si256::<0x20>(even[0], even[1]),
                _mm256_permute2x128_si256::<0x20>(odd[0], odd[1]),
                _mm256_permute2x128_si256::<0x31>(even[0], even[1]),
                _mm256_permute2x128_si256::<0x31>(odd[0], odd[1]),
            ];
            for (row, half) in rows.into_iter().enumerate() {
                // SAFETY: as above; `to` is as long as asserted.
                #[allow(unsafe_code)]
                unsafe {
                    let line = to.as_mut_ptr().add((4 * left + row) * apart);
                    _mm256_store_si256(line.cast::<__m256i>().add(top), half);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for apart in [1, 3] {
            for n in [0, 1, 5, SQUARE] {
                let line = |i: usize| Line(std::array::from_fn(|j| (i * 1000 + j) as u16));
                let from: Vec<Line> = (0..SQUARE * apart).map(line).take(n * apart).collect();
                let at = |row: usize, column: usize| {
                    from.get(row / 2 * apart).map_or(0, |line| line.0[2 * column + row % 2])
                };
                let mut to = vec![Line([7; 32]); SQUARE * apart];
                turn(&from, &mut to, apart);
                for (i, line) in to.iter().enumerate() {
                    for (j, &value) in line.0.iter().enumerate() {
                        let kept = !i.is_multiple_of(apart);
                        let expected = if kept { 7 } else { at(j / 2, 2 * (i / apart) + j % 2) };
                        assert_eq!(value, expected, "{n} lines {apart} apart: {i}, {j}");
                    }
                }
            }
        }
    }
}
