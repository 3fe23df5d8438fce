//! The only part of a loop that other threads touch: a queue, and a bell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Waker;

#[derive(Debug)]
pub struct Remote<T> {
    queue: Mutex<Option<Vec<T>>>,
    /// So that a loop with nothing in its queue need not take the lock.
    any: AtomicBool,
    waker: Waker,
}

impl<T> Remote<T> {
    pub fn new(waker: Waker) -> Remote<T> {
        Remote { queue: Mutex::new(Some(Vec::new())), any: AtomicBool::new(false), waker }
    }

    /// False once the loop has been closed: then it will never be looked at.
    pub fn post(&self, item: T) -> bool {
        match &mut *self.lock() {
            None => return false,
            Some(queue) => queue.push(item),
        }
        self.any.store(true, Ordering::Release);
        self.wake();
        true
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// In the order in which they came.
    pub fn take(&self) -> Vec<T> {
        if !self.any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What was still waiting; nothing comes after it.
    pub fn close(&self) -> Vec<T> {
        self.lock().take().unwrap_or_default()
    }

    /// Ends a wait, or makes the loop's descriptor readable.
    pub fn wake(&self) {
        // A bell that cannot ring is one that rings already.
        let _ = self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
