//! Memory of the caller's that is lent for longer than a call: to be received into, or to be sent from.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;

/// Where it is. A number, so that it can be kept; looked at only between the call that lent it and the callback that
/// gives it back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    start: usize,
    len: usize,
}

impl Memory {
    /// # Safety
    /// Until it is given back there are `len` bytes at `start`: initialised and unchanged, if [`bytes`](Memory::bytes)
    /// is to look at them; nobody else's meanwhile, if [`room`](Memory::room) is to write to them.
    pub unsafe fn lent(start: *const c_void, len: usize) -> Memory {
        Memory { start: start as usize, len }
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.len
    }

    pub fn start(self) -> *const u8 {
        self.start as *const u8
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the promise of whoever lent it.
        unsafe { std::slice::from_raw_parts(self.start as *const u8, self.len) }
    }

    pub fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the promise of whoever lent it; nothing is said of what the bytes are.
        unsafe { std::slice::from_raw_parts_mut(self.start as *mut MaybeUninit<u8>, self.len) }
    }

    /// Copies as much as there is room for.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.len);
        for (to, from) in self.room().iter_mut().zip(bytes) {
            to.write(*from);
        }
        n
    }
}
