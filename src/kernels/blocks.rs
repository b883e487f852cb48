//! How are rows shared out among threads?

use std::ops::Range;

use rayon::prelude::*;

use super::amx::STEP;
use super::cpu::{Level, level};
use super::packed::tile_rows;

/// Rows of a block, about: with what is made of them they fill a thread's cache. Where products are slower, smaller blocks
/// read the weights more often at no cost, and no thread waits long for a slower one.
fn block_rows() -> usize {
    if level() < Level::Avx512 { 66 } else { 132 }
}

/// Consecutive blocks of `n` rows: as many for each thread and of nearly the same size, so that none waits long for the
/// others, and not many more than that, for each reads the weights anew. All but the last are whole tiles.
fn row_blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    let tile = if level() == Level::Amx { STEP } else { tile_rows() };
    let n_tiles = n.div_ceil(tile);
    let wanted = n.div_ceil(block_rows()).next_multiple_of(rayon::current_num_threads().max(1));
    let n_blocks = wanted.min(n_tiles);
    let start = move |block: usize| (block * n_tiles / n_blocks * tile).min(n);
    (0..n_blocks).map(move |block| start(block)..start(block + 1))
}

/// Cuts buffers, each with the width of its rows, into blocks of the same rows, to be gone through on all threads. The last
/// row of a buffer may be short.
pub(super) fn blocks<const N: usize>(
    n: usize,
    buffers: [(&mut [f32], usize); N],
) -> impl IndexedParallelIterator<Item = (Range<usize>, [&mut [f32]; N])> {
    // One at a time: the last are left for whoever is done first.
    cut(n, buffers).into_par_iter().with_max_len(1)
}

fn cut<const N: usize>(
    n: usize,
    mut buffers: [(&mut [f32], usize); N],
) -> Vec<(Range<usize>, [&mut [f32]; N])> {
    let own = |rows: Range<usize>| {
        let parts = buffers.each_mut().map(|(rest, width)| {
            let len = (rows.len() * *width).min(rest.len());
            let (own, others) = std::mem::take(rest).split_at_mut(len);
            *rest = others;
            own
        });
        (rows, parts)
    };
    row_blocks(n).map(own).collect()
}

/// Outputs of `n` rows that were computed in shares, each (outputs, n), as rows (n, all outputs).
pub(super) fn by_rows(shares: &[Vec<f32>], n: usize) -> Vec<f32> {
    if n == 1 {
        return shares.concat();
    }
    let all = shares.iter().flat_map(|share| share.chunks_exact(n.max(1)));
    let n_outputs = all.clone().count();
    let mut rows = vec![0.0; n * n_outputs];
    for (o, values) in all.enumerate() {
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
    fn blocks_follow_each_other_and_are_of_nearly_the_same_size() {
        for n in (0..700).chain([4096, 100_003]) {
            let all: Vec<Range<usize>> = row_blocks(n).collect();
            assert_eq!(all.iter().map(Range::len).sum::<usize>(), n);
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{n}: {all:?}");
            assert!(all.iter().all(|rows| !rows.is_empty()), "{n}: {all:?}");
            let largest = all.iter().map(Range::len).max().unwrap_or(0);
            let smallest = all.iter().map(Range::len).min().unwrap_or(0);
            // One tile more, and in the last block one that is not full.
            assert!(largest - smallest < 2 * STEP.max(tile_rows()), "{n}: {all:?}");
            assert!(largest <= block_rows() + STEP.max(tile_rows()), "{n}: {all:?}");
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
