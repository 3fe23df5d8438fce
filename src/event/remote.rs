//! The only part of a loop that other threads touch: a queue, and a bell.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    waker: Arc<Waker>,
}

/// A bell that cannot ring is one that rings already, unless a signal came in between.
pub fn ring(bell: &Waker) {
    while bell.wake().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
}

impl<T> Open<T> {
    fn ring(&self) {
        ring(&self.waker);
    }
}

impl<T> Remote<T> {
    pub fn new(waker: Waker) -> Remote<T> {
        Remote {
            open: Mutex::new(Some(Open { queue: Vec::new(), waker: Arc::new(waker) })),
            any: AtomicBool::new(false),
        }
    }

    /// False once the loop has been closed: then it will never be looked at.
    pub fn post(&self, item: T) -> bool {
        let mut open = self.lock();
        let Some(open) = &mut *open else { return false };
        open.queue.push(item);
        self.any.store(true, Ordering::Release);
        if open.queue.len() == 1 {
            // Else it has been rung, and nobody has looked since.
            open.ring();
        }
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

    /// For those who ring without the lock. None once the loop is closed.
    pub fn bell(&self) -> Option<Arc<Waker>> {
        self.lock().as_ref().map(|open| open.waker.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
