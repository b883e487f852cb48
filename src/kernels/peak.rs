//! What can this machine do at most?
//!
//! The two bounds that everything else is held against: how fast the product itself multiplies, and
//! how fast memory is read.

use rayon::prelude::*;

use super::elementwise::vectorised;
use super::matmul::{Product, View};

/// A product of two matrices, to be made again and again.
#[derive(Debug, Clone)]
pub struct ProductTrial {
    lhs: Vec<f32>,
    rhs: Vec<f32>,
    result: Vec<f32>,
    dims: (usize, usize, usize),
}

impl ProductTrial {
    /// A matrix of `m` rows and `k` columns times one of `k` rows and `n` columns.
    pub fn new(m: usize, k: usize, n: usize) -> Self {
        let values = |n: usize| (0..n).map(|i| (i % 101) as f32 / 101.0 - 0.5).collect();
        Self { lhs: values(m * k), rhs: values(k * n), result: vec![0.0; m * n], dims: (m, k, n) }
    }

    /// Makes it once, on all threads.
    pub fn run(&mut self) {
        let (m, k, n) = self.dims;
        Product::new(View::new(&self.lhs, m, k), View::new(&self.rhs, k, n)).write(&mut self.result, n);
        std::hint::black_box(&mut self.result);
    }

    /// Multiplications and additions in it.
    pub fn flop(&self) -> f64 {
        let (m, k, n) = self.dims;
        2.0 * (m * k * n) as f64
    }
}

/// Memory, to be read from end to end again and again.
#[derive(Debug, Clone)]
pub struct MemoryTrial {
    words: Vec<u64>,
}

/// Words read by one thread at a time.
const BLOCK: usize = 1 << 17;

impl MemoryTrial {
    /// `n_bytes` of memory, written once so that they are really there.
    pub fn new(n_bytes: usize) -> Self {
        let mut words = vec![0; n_bytes / size_of::<u64>()];
        words.par_chunks_mut(BLOCK).for_each(|block| block.fill(3));
        Self { words }
    }

    /// Reads all of it once, on all threads.
    pub fn run(&self) {
        let sum = |block: &[u64]| sum_of_words(block);
        std::hint::black_box(self.words.par_chunks(BLOCK).map(sum).reduce(|| 0, u64::wrapping_add));
    }

    /// Bytes read each time.
    pub fn n_bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

vectorised! {
    fn sum_of_words<'a>(block: &'a [u64]) -> u64 {
        block.iter().fold(0, |sum, &word| sum.wrapping_add(word))
    }
}
