//! How do new tokens look at those that were read before?

use std::borrow::Cow;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::AttentionShape;
use super::few::few_rows;
#[cfg(target_arch = "x86_64")]
use super::halves::Halves;
use super::task::{attend, gather, positions_at_once, queries, turn_rows};
use crate::kernels::buffer::Buffer;
#[cfg(target_arch = "x86_64")]
use crate::kernels::cpu::level;
use crate::kernels::cpu::with_values;
use crate::kernels::matmul::{Repeated, View};
use crate::kernels::rope::Turn;

/// New rows of a sequence up to which one after another beats a product.
const FEW_ROWS: usize = 4;
/// Keys and values that are made float32, and packed, at one time: 32 MiB, and as much again packed at most.
const WIDE: usize = 1 << 23;

/// Keys and values of one sequence in one layer, those of each key head by themselves: they are read one after another.
#[derive(Debug, Clone, Default)]
pub struct CachedKeys {
    pub(super) heads: Vec<CachedHead>,
}

/// Keys, rotated, and values of a key head.
#[derive(Debug, Clone)]
pub(super) enum CachedHead {
    /// (n, dim) each.
    Full { k: Vec<f32>, v: Vec<f32> },
    /// In half floats: where products are of rounded values too.
    #[cfg(target_arch = "x86_64")]
    Half(Halves),
}

impl CachedHead {
    fn new(dim: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if level().rounds() && Halves::fit(dim) {
            return Self::Half(Halves::default());
        }
        let _ = dim;
        Self::Full { k: Vec::new(), v: Vec::new() }
    }

    fn len(&self, dim: usize) -> usize {
        match self {
            Self::Full { k, .. } => k.len() / dim,
            #[cfg(target_arch = "x86_64")]
            Self::Half(halves) => halves.len(),
        }
    }

    fn truncate(&mut self, n: usize, dim: usize) {
        match self {
            Self::Full { k, v } => {
                k.truncate(n * dim);
                v.truncate(n * dim);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Half(halves) => halves.truncate(n, dim),
        }
    }

    /// Adds keys and values (n, dim).
    fn add(&mut self, keys: &[f32], values: &[f32], dim: usize) {
        match self {
            Self::Full { k, v } => {
                k.extend(keys);
                v.extend(values);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Half(halves) => halves.add(keys, values, dim),
        }
    }

    /// Keys and values (n, dim) for products.
    fn wide(&self, dim: usize) -> [Cow<'_, [f32]>; 2] {
        match self {
            Self::Full { k, v } => [k.into(), v.into()],
            #[cfg(target_arch = "x86_64")]
            Self::Half(halves) => {
                let (k, v) = halves.wide(dim);
                [k.into(), v.into()]
            }
        }
    }
}

impl CachedKeys {
    pub(super) fn len(&self, shape: &AttentionShape) -> usize {
        self.heads.first().map_or(0, |head| head.len(shape.head_dim))
    }

    /// Forgets all rows after the first `n`.
    pub fn truncate(&mut self, n: usize, head_dim: usize) {
        self.heads.iter_mut().for_each(|head| head.truncate(n, head_dim));
    }

    /// Adds the keys and values of `n` rows.
    fn add(&mut self, qkv: &[f32], n: usize, shape: &AttentionShape) {
        let (first, dim, width) = (self.len(shape), shape.head_dim, shape.width());
        self.heads.resize_with(shape.n_kv_heads, || CachedHead::new(dim));
        let add = |(i, head): (usize, &mut CachedHead)| {
            let (mut keys, mut values) = (Buffer::new(n * dim), Buffer::new(n * dim));
            gather(&qkv[shape.key_column(i)..], width, (&mut keys, dim));
            gather(&qkv[shape.value_column(i)..], width, (&mut values, dim));
            turn_rows(shape, &mut keys, (dim, first), Turn::Forward);
            head.add(&keys, &values, dim);
        };
        if n > FEW_ROWS {
            self.heads.par_iter_mut().enumerate().for_each(add);
        } else {
            self.heads.iter_mut().enumerate().for_each(add);
        }
    }
}

/// Attention of new rows `qkv` (n, width) to everything in their sequence's cache, to which their keys and values are
/// added. `shape.lengths` holds the number of new rows of each sequence. No gradient; CPU only.
pub(in crate::kernels) fn attend_cached(
    qkv: &Tensor,
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Result<Tensor> {
    let out = with_values(qkv, |qkv| Ok(attend_rows(qkv, shape, caches)))?;
    Tensor::from_vec(out, (qkv.dim(0)?, shape.q_width()), qkv.device())
}

/// The same on slices.
pub(in crate::kernels) fn attend_rows(
    qkv: &[f32],
    shape: &AttentionShape,
    caches: &mut [&mut CachedKeys],
) -> Vec<f32> {
    let width = shape.width();
    let mut start = 0;
    for (cache, &n) in caches.iter_mut().zip(&shape.lengths) {
        cache.add(&qkv[start * width..], n, shape);
        start += n;
    }
    let caches: Vec<&CachedKeys> = caches.iter().map(|c| &**c).collect();
    if shape.lengths.iter().all(|&n| n <= FEW_ROWS) {
        return few_rows(qkv, shape, &caches);
    }
    let (mut out, mut start) = (vec![0.0; qkv.len() / width * shape.q_width()], 0);
    let mut sequences: Vec<_> = caches.into_iter().zip(shape.lengths.iter().copied()).collect();
    while !sequences.is_empty() {
        let mut n_values = 0;
        let fits = |&&(cache, _): &&(&CachedKeys, usize)| {
            n_values += 2 * cache.len(shape) * shape.kv_width();
            n_values <= WIDE
        };
        let own = sequences.iter().take_while(fits).count().max(1);
        let own: Vec<_> = sequences.drain(..own).collect();
        attend_sequences((qkv, &mut out), shape, &own, start);
        start += own.iter().map(|(_, n)| n).sum::<usize>();
    }
    out
}

/// Some sequences with the number of their new rows, of which the first is `start`.
fn attend_sequences(
    (qkv, out): (&[f32], &mut [f32]),
    shape: &AttentionShape,
    sequences: &[(&CachedKeys, usize)],
    start: usize,
) {
    let (dim, group) = (shape.head_dim, shape.group());
    let wide: Vec<Vec<_>> = sequences
        .par_iter()
        .map(|(cache, _)| cache.heads.par_iter().map(|head| head.wide(dim)).collect())
        .collect();
    let packed: Vec<Vec<_>> = wide
        .par_iter()
        .map(|heads| {
            let views = heads
                .par_iter()
                .map(|head| head.each_ref().map(|rows| View::new(rows, rows.len() / dim, dim)));
            views.map(|[k, v]| [Repeated::new(k.t(), shape.scale()), Repeated::new(v, 1.0)]).collect()
        })
        .collect();
    // From the last rows on: they see most.
    let mut tasks = Vec::new();
    let mut end = start + sequences.iter().map(|(_, n)| n).sum::<usize>();
    let at_once = positions_at_once(shape);
    for (&(cache, n), heads) in sequences.iter().zip(&packed).rev() {
        let before = cache.len(shape) - n;
        for from in (0..n).step_by(at_once).rev() {
            let rows = Rows { start: end - n + from, n: at_once.min(n - from), before: before + from };
            tasks.extend(heads.iter().enumerate().map(|(kv_head, head)| (rows, kv_head, head)));
        }
        end -= n;
    }
    let group_width = group * dim;
    let of = |&(rows, kv_head, [keys, values]): &(Rows, usize, &[Repeated; 2])| {
        let Rows { start, n, before } = rows;
        let queries = queries(shape, qkv, (start..start + n, kv_head), before);
        let mut out = Buffer::new(n * group_width);
        attend(View::new(&queries, n * group, dim), [keys, values], (group, before), &mut out);
        out
    };
    let blocks: Vec<Buffer> = tasks.par_iter().with_max_len(1).map(of).collect();
    for ((rows, kv_head, _), block) in tasks.iter().zip(&blocks) {
        for (i, row) in block.chunks_exact(group_width).enumerate() {
            let to = (rows.start + i) * shape.q_width() + kv_head * group_width;
            out[to..to + group_width].copy_from_slice(row);
        }
    }
}

/// Rows that follow each other in a sequence.
#[derive(Clone, Copy)]
struct Rows {
    /// The first, among all new rows.
    start: usize,
    n: usize,
    /// Keys before those of the first.
    before: usize,
}
