//! The only part of a loop that other threads touch: a queue, and a bell.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::error::Refusal;

/// How soon an answer is tried again that there was no memory for.
const NO_MEMORY: Duration = Duration::from_millis(10);

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

    /// Stale once the loop has been closed: then it will never be looked at.
    pub fn post(&self, item: T) -> Result<(), Refusal> {
        self.try_post(item).map_err(|(_, refusal)| refusal)
    }

    /// For what must not be lost: waits until there is memory for it. To be called on a thread that can wait.
    pub fn deliver(&self, mut item: T) {
        while let Err((back, Refusal::Full)) = self.try_post(item) {
            item = back;
            thread::sleep(NO_MEMORY);
        }
    }

    fn try_post(&self, item: T) -> Result<(), (T, Refusal)> {
        let mut open = self.lock();
        let Some(open) = &mut *open else { return Err((item, Refusal::Stale)) };
        if open.queue.try_reserve(1).is_err() {
            return Err((item, Refusal::Full));
        }
        open.queue.push(item);
        self.any.store(true, Ordering::Release);
        if open.queue.len() == 1 {
            // Else it has been rung, and nobody has looked since.
            open.ring();
        }
        Ok(())
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// In the order in which they came, if there is room for so many; else they stay.
    pub fn take_if(&self, has_room: impl FnOnce(usize) -> bool) -> Vec<T> {
        if !self.any() {
            return Vec::new();
        }
        match &mut *self.lock() {
            Some(open) if has_room(open.queue.len()) => {
                self.any.store(false, Ordering::Release);
                std::mem::take(&mut open.queue)
            }
            _ => Vec::new(),
        }
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
