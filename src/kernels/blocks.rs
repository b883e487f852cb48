//! How are rows shared out among threads?

use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::bfloat16::STEP;
use super::cpu::{Level, level};
use super::packed::tile_rows;
use super::turn::Line;

/// Rows of a block, about: with what is made of them they fill a thread's cache.
const ROWS: usize = 132;
/// The same where they are kept in bfloat16, which takes half the room.
const MORE_ROWS: usize = 264;
/// The same where products are slower: there weights can be read more often at little cost.
const FEWER_ROWS: usize = 66;
/// The least rows that are worth reading the weights for.
const LEAST_ROWS: usize = 12;

/// Whether products are slow: then weights can be read more often.
fn is_slow() -> bool {
    level() < Level::Avx512
}

fn most_rows() -> usize {
    if level().is_bfloat16() { MORE_ROWS } else { ROWS }
}

/// Consecutive blocks of `n` rows, all but the last whole tiles. Where products are fast, as many for each thread and of
/// nearly the same size: each reads the weights anew. Where they are slow, smaller and smaller ones towards the end, so
/// that no thread waits long for one that is slower (Polychronopoulos and Kuck 1987, "guided self-scheduling").
fn row_blocks(n: usize) -> Vec<Range<usize>> {
    let tile = if level().is_bfloat16() { STEP } else { tile_rows() };
    let n_threads = rayon::current_num_threads().max(1);
    let mut left = n.div_ceil(most_rows()).next_multiple_of(n_threads);
    let (mut all, mut start) = (Vec::new(), 0);
    while start < n {
        let rest = n - start;
        let rows = if is_slow() {
            (2 * rest).div_ceil(3 * n_threads).clamp(LEAST_ROWS, FEWER_ROWS)
        } else {
            rest.div_ceil(left)
        };
        let end = (start + rows.next_multiple_of(tile)).min(n);
        all.push(start..end);
        (start, left) = (end, left.saturating_sub(1).max(1));
    }
    all
}

/// Rows, and what buffers have of them.
type Block<'a, const N: usize, T = f32> = (Range<usize>, [&'a mut [T]; N]);

/// Cuts buffers, each with the width of its rows, into blocks of the same rows, and goes through them on all threads: from
/// the first on, each by who is free. The last row of a buffer may be short, and what is beyond it belongs to the last.
pub(super) fn each_block<const N: usize>(
    n: usize,
    buffers: [(&mut [f32], usize); N],
    f: impl Fn(Block<N>) + Send + Sync,
) {
    cut(n, buffers).into_iter().par_bridge().for_each(f);
}

/// [`each_block`], with room for rows to be rounded in.
pub(super) fn each_rounded_block<const N: usize, const M: usize>(
    n: usize,
    buffers: [(&mut [f32], usize); N],
    rooms: [&mut [Line]; M],
    f: impl Fn(Block<N>, [&mut [Line]; M]) + Send + Sync,
) {
    // Lines of a row: two tiles of rows above each other take as many as they are rows, for each step.
    let rooms = rooms.map(|room| {
        let width = room.len() / n.next_multiple_of(STEP).max(1);
        (room, width)
    });
    let blocks = cut(n, buffers).into_iter().zip(cut(n, rooms));
    blocks.par_bridge().for_each(|(block, (_, rooms))| f(block, rooms));
}

/// [`each_block`], as long as none fails.
pub(super) fn try_each_block<const N: usize>(
    n: usize,
    buffers: [(&mut [f32], usize); N],
    f: impl Fn(Block<N>) -> Result<()> + Send + Sync,
) -> Result<()> {
    cut(n, buffers).into_iter().par_bridge().try_for_each(f)
}

fn cut<T, const N: usize>(n: usize, mut buffers: [(&mut [T], usize); N]) -> Vec<Block<'_, N, T>> {
    let own = |rows: Range<usize>| {
        let parts = buffers.each_mut().map(|(rest, width)| {
            let len = if rows.end == n { rest.len() } else { (rows.len() * *width).min(rest.len()) };
            let (own, others) = std::mem::take(rest).split_at_mut(len);
            *rest = others;
            own
        });
        (rows, parts)
    };
    row_blocks(n).into_iter().map(own).collect()
}

/// The values of some rows of a width.
pub(super) fn own<'a>(values: &'a [f32], rows: &Range<usize>, width: usize) -> &'a [f32] {
    &values[rows.start * width..rows.end * width]
}

/// Outputs of `n` rows that were computed output by output (outputs, n), as rows (n, outputs).
pub(super) fn by_rows(values: Vec<f32>, n: usize) -> Vec<f32> {
    if n <= 1 {
        return values;
    }
    let n_outputs = values.len() / n;
    let mut rows = vec![0.0; values.len()];
    for (o, values) in values.chunks_exact(n).enumerate() {
        for (i, &value) in values.iter().enumerate() {
            rows[i * n_outputs + o] = value;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_and_none_is_large_at_the_end() {
        for n in (0..700).chain([4096, 100_003]) {
            let all = row_blocks(n);
            assert_eq!(all.iter().map(Range::len).sum::<usize>(), n);
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{n}: {all:?}");
            assert!(
                all.iter().all(|rows| !rows.is_empty() && rows.len() < most_rows() + STEP),
                "{n}: {all:?}"
            );
            let (tile, n_threads) = (STEP.max(tile_rows()), rayon::current_num_threads());
            let largest_after = |i: usize| all[i..].iter().map(Range::len).max().unwrap_or(0);
            for (i, rows) in all.iter().enumerate() {
                assert!(largest_after(i) <= rows.len() + tile, "{n}: {all:?}");
            }
            if !is_slow() {
                // As many for each thread, of nearly the same size.
                assert!(
                    all.len().is_multiple_of(n_threads) || n < 2 * most_rows() * n_threads,
                    "{n}: {all:?}"
                );
                assert!(all.len() < 2 || largest_after(0) <= all[all.len() - 2].len() + tile, "{n}: {all:?}");
                continue;
            }
            for (i, rows) in all.iter().enumerate() {
                // What is begun last takes no longer than all others have still to do.
                let rest: usize = all[i..].iter().map(Range::len).sum();
                assert!(rows.len() <= rest.div_ceil(n_threads).max(LEAST_ROWS) + tile, "{n}: {all:?}");
            }
        }
    }

    #[test]
    fn buffers_are_cut_at_the_same_rows() {
        let (mut wide, mut narrow, mut none) = (vec![0.0; 300 * 5 - 2], vec![0.0; 300], Vec::new());
        let cut = cut(300, [(&mut wide, 5), (&mut narrow, 1), (&mut none, 0)]);
        assert!(cut.len() > 1);
        let end = cut.len() - 1;
        for (i, (rows, [wide, narrow, none])) in cut.iter().enumerate() {
            let short = if i == end { 2 } else { 0 };
            assert_eq!((wide.len(), narrow.len(), none.len()), (5 * rows.len() - short, rows.len(), 0));
        }
    }
}
