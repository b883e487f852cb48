//! Where does the working memory of a step come from?
//!
//! Every step needs the same buffers. Fresh memory would have to be cleared by the system page by page, which costs
//! more than filling it; so a buffer goes back to a shelf and is taken again. Small ones, which are many, go to a shelf
//! of the thread that is done with them, where nobody waits for another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

use super::turn::Line;

/// What lies on a shelf of its own.
pub(super) trait Shelved: Copy + 'static {
    const ZERO: Self;
    /// Where large ones are.
    fn shelf() -> &'static Mutex<Shelf<Self>>;
    /// Where this thread has its small ones.
    fn own_shelf() -> &'static LocalKey<RefCell<Shelf<Self>>>;
}

/// Memory that waits to be used again, by how many values it holds.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    by_len: BTreeMap<usize, Vec<Vec<T>>>,
    n_bytes: usize,
}

impl<T> Shelf<T> {
    const EMPTY: Self = Self { by_len: BTreeMap::new(), n_bytes: 0 };

    /// The smallest that is large enough, unless that is much larger.
    fn take(&mut self, len: usize) -> Option<Vec<T>> {
        let (&len, vectors) = self.by_len.range_mut(len..=2 * len + 4096).next()?;
        let found = vectors.pop();
        if vectors.is_empty() {
            self.by_len.remove(&len);
        }
        self.n_bytes -= len * size_of::<T>();
        found
    }

    /// Hands back what there is no room for among so many bytes.
    fn put(&mut self, values: Vec<T>, kept: usize) -> Option<Vec<T>> {
        let n_bytes = size_of_val(&values[..]);
        if self.n_bytes + n_bytes > kept {
            return Some(values);
        }
        self.n_bytes += n_bytes;
        self.by_len.entry(values.len()).or_default().push(values);
        None
    }
}

/// Declares the shelves of a type.
macro_rules! shelved {
    ($type:ty, $zero:expr) => {
        impl Shelved for $type {
            const ZERO: Self = $zero;

            fn shelf() -> &'static Mutex<Shelf<Self>> {
                static SHELF: Mutex<Shelf<$type>> = Mutex::new(Shelf::EMPTY);
                &SHELF
            }

            fn own_shelf() -> &'static LocalKey<RefCell<Shelf<Self>>> {
                thread_local!(static SHELF: RefCell<Shelf<$type>> = const { RefCell::new(Shelf::EMPTY) });
                &SHELF
            }
        }
    };
}

shelved!(f32, 0.0);
shelved!(i32, 0);
shelved!(Line, Line::ZERO);

/// Bytes of a buffer that counts as small, at most.
const SMALL: usize = 1 << 16;
/// Bytes of small ones that a thread keeps of a type, at most: 1 MiB.
const KEPT_SMALL: usize = 1 << 20;
/// Bytes kept on a shelf at most: 1 GiB.
const KEPT: usize = 1 << 30;

/// Working memory. It holds whatever was left in it.
#[derive(Debug, Default)]
pub(super) struct Buffer<T: Shelved = f32> {
    /// As many as there is room for, so that none need be cleared when it is used again.
    values: Vec<T>,
    /// Those in use.
    len: usize,
}

impl<T: Shelved> Buffer<T> {
    /// The smallest one on the shelf that is large enough, or a new one.
    pub(super) fn new(len: usize) -> Self {
        if len == 0 {
            return Self { values: Vec::new(), len };
        }
        let used = if len * size_of::<T>() <= SMALL {
            T::own_shelf().with_borrow_mut(|shelf| shelf.take(len))
        } else {
            T::shelf().lock().unwrap_or_else(PoisonError::into_inner).take(len)
        };
        // New memory comes as nought, and numbers are not touched before they are written.
        Self { values: used.unwrap_or_else(|| vec![T::ZERO; len]), len }
    }

    /// One that holds nought.
    pub(super) fn zeros(len: usize) -> Self {
        let mut own = Self::new(len);
        own.fill(T::ZERO);
        own
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
        let values = std::mem::take(&mut self.values);
        if values.is_empty() {
            return;
        }
        if size_of_val(&values[..]) <= SMALL {
            // At a thread's end there is no shelf any more.
            let _ = T::own_shelf().try_with(|shelf| drop(shelf.borrow_mut().put(values, KEPT_SMALL)));
            return;
        }
        let left_over = T::shelf().lock().unwrap_or_else(PoisonError::into_inner).put(values, KEPT);
        // Given back to the system while nobody waits for the shelf.
        drop(left_over);
    }
}

impl<T: Shelved> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T: Shelved> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

/// Gives the memory on the shelves back to the system, but for the little that threads have on their own: after a run, or
/// before a step of another size.
pub fn release_buffers() {
    *f32::shelf().lock().unwrap_or_else(PoisonError::into_inner) = Shelf::EMPTY;
    *i32::shelf().lock().unwrap_or_else(PoisonError::into_inner) = Shelf::EMPTY;
    *Line::shelf().lock().unwrap_or_else(PoisonError::into_inner) = Shelf::EMPTY;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_gives_the_smallest_that_is_large_enough_and_keeps_no_more_than_it_may() {
        let mut shelf = Shelf::<f32>::EMPTY;
        for len in [90_000, 10_000, 12_000, 10_000] {
            assert!(shelf.put(vec![0.0; len], KEPT).is_none());
        }
        let mut room = |len| shelf.take(len).map(|values| values.len());
        assert_eq!(
            [room(11_000), room(9_000), room(9_000), room(9_000)],
            [Some(12_000), Some(10_000), Some(10_000), None]
        );
        assert_eq!(room(80_000), Some(90_000));
        assert_eq!(shelf.n_bytes, 0);
        shelf.n_bytes = KEPT - 100;
        assert!(shelf.put(vec![0.0; 26], KEPT).is_some() && shelf.put(vec![0.0; 25], KEPT).is_none());
    }

    #[test]
    fn a_buffer_has_the_length_asked_for_whatever_it_was_before() {
        for len in [1_000_003, 999_999, 1_000_003, 100, SMALL / 4, 99, SMALL / 4 + 1, SMALL / 4] {
            let mut buffer: Buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(1.0);
        }
    }
}
