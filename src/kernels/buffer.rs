//! Where does the working memory of a step come from?
//!
//! Every step needs the same buffers. Fresh memory would have to be cleared by the system page by page, which costs
//! more than filling it; so a buffer goes back to a shelf and is taken again.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

static SHELF: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Values kept on the shelf at most: 1 GiB.
const KEPT: usize = 1 << 28;

/// Working memory. It holds whatever was left in it.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    values: Vec<f32>,
}

impl Buffer {
    /// The smallest one on the shelf that is large enough, or a new one.
    pub(super) fn new(len: usize) -> Self {
        let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |v: &Vec<f32>| v.capacity() >= len && v.capacity() <= 2 * len + 4096;
        let best = (0..shelf.len()).filter(|&i| fits(&shelf[i])).min_by_key(|&i| shelf[i].capacity());
        let mut values = best.map(|i| shelf.swap_remove(i)).unwrap_or_default();
        drop(shelf);
        values.resize(len, 0.0);
        Self { values }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.values.capacity() > 0 {
            let values = std::mem::take(&mut self.values);
            let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
            if shelf.iter().map(Vec::capacity).sum::<usize>() < KEPT {
                shelf.push(values);
            }
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// Gives the memory on the shelf back to the system: after a run, or before a step of another size.
pub fn release_buffers() {
    SHELF.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_length_asked_for_whatever_it_was_before() {
        for len in [1_000_003, 999_999, 1_000_003] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(1.0);
        }
    }
}
