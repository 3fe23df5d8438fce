//! The only part of a loop that other threads touch: a queue, and a bell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Waker;

#[derive(Debug)]
pub struct Remote<T> {
    /// None once the loop is closed, whoever still holds this: then the bell's descriptor is gone too.
    open: Mutex<Option<Open<T>>>,
    /// So that a loop with nothing in its queue need not take the lock.
    any: AtomicBool,
}

#[derive(Debug)]
struct Open<T> {
    queue: Vec<T>,
    waker: Waker,
}

impl<T> Open<T> {
    fn ring(&self) {
        // A bell that cannot ring is one that rings already.
        let _ = self.waker.wake();
    }
}

impl<T> Remote<T> {
    pub fn new(waker: Waker) -> Remote<T> {
        Remote { open: Mutex::new(Some(Open { queue: Vec::new(), waker })), any: AtomicBool::new(false) }
    }

    /// False once the loop has been closed: then it will never be looked at.
    pub fn post(&self, item: T) -> bool {
        let mut open = self.lock();
        let Some(open) = &mut *open else { return false };
        open.queue.push(item);
        self.any.store(true, Ordering::Release);
        open.ring();
        true
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// In the order in which they came.
    pub fn take(&self) -> Vec<T> {
        if !self.any() {
            return Vec::new();
        }
        let mut open = self.lock();
        self.any.store(false, Ordering::Release);
        open.as_mut().map(|open| std::mem::take(&mut open.queue)).unwrap_or_default()
    }

    /// What was still waiting; nothing comes after it.
    pub fn close(&self) -> Vec<T> {
        self.any.store(false, Ordering::Release);
        self.lock().take().map(|open| open.queue).unwrap_or_default()
    }

    /// Ends a wait, or makes the loop's descriptor readable.
    pub fn wake(&self) {
        if let Some(open) = &*self.lock() {
            open.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
