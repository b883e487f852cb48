//! Where does the working memory of a step come from?
//!
//! Every step needs the same buffers. Fresh memory would have to be cleared by the system page by page, which costs
//! more than filling it; so a buffer goes back to a shelf and is taken again.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::turn::Line;

/// What lies on a shelf of its own.
pub(super) trait Shelved: Copy + 'static {
    const ZERO: Self;
    fn shelf() -> &'static Mutex<Vec<Vec<Self>>>;
}

impl Shelved for f32 {
    const ZERO: Self = 0.0;
    fn shelf() -> &'static Mutex<Vec<Vec<Self>>> {
        static SHELF: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
        &SHELF
    }
}

impl Shelved for i32 {
    const ZERO: Self = 0;
    fn shelf() -> &'static Mutex<Vec<Vec<Self>>> {
        static SHELF: Mutex<Vec<Vec<i32>>> = Mutex::new(Vec::new());
        &SHELF
    }
}

impl Shelved for Line {
    const ZERO: Self = Line::ZERO;
    fn shelf() -> &'static Mutex<Vec<Vec<Self>>> {
        static SHELF: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());
        &SHELF
    }
}

/// Bytes kept on a shelf at most: 1 GiB.
const KEPT: usize = 1 << 30;

/// Working memory. It holds whatever was left in it.
#[derive(Debug, Default)]
pub(super) struct Buffer<T: Shelved = f32> {
    values: Vec<T>,
}

impl<T: Shelved> Buffer<T> {
    /// The smallest one on the shelf that is large enough, or a new one.
    pub(super) fn new(len: usize) -> Self {
        let mut shelf = T::shelf().lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |v: &Vec<T>| v.capacity() >= len && v.capacity() <= 2 * len + 4096;
        let best = (0..shelf.len()).filter(|&i| fits(&shelf[i])).min_by_key(|&i| shelf[i].capacity());
        let used = best.map(|i| shelf.swap_remove(i));
        drop(shelf);
        // New memory comes as nought, and numbers are not touched before they are written.
        let Some(mut values) = used else { return Self { values: vec![T::ZERO; len] } };
        values.resize(len, T::ZERO);
        Self { values }
    }
}

impl Buffer {
    /// One that holds these values.
    pub(super) fn copied(values: &[f32]) -> Self {
        let mut own = Self::new(values.len());
        own.copy_from_slice(values);
        own
    }
}

impl<T: Shelved> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.values.capacity() > 0 {
            let values = std::mem::take(&mut self.values);
            let mut shelf = T::shelf().lock().unwrap_or_else(PoisonError::into_inner);
            if shelf.iter().map(Vec::capacity).sum::<usize>() * size_of::<T>() < KEPT {
                shelf.push(values);
            }
        }
    }
}

impl<T: Shelved> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: Shelved> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

/// Gives the memory on the shelves back to the system: after a run, or before a step of another size.
pub fn release_buffers() {
    f32::shelf().lock().unwrap_or_else(PoisonError::into_inner).clear();
    i32::shelf().lock().unwrap_or_else(PoisonError::into_inner).clear();
    Line::shelf().lock().unwrap_or_else(PoisonError::into_inner).clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_length_asked_for_whatever_it_was_before() {
        for len in [1_000_003, 999_999, 1_000_003] {
            let mut buffer: Buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(1.0);
        }
    }
}
