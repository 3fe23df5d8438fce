//! Bytes that are added at one end and taken from the other, and the pool that lends such buffers, so that a stream
//! which holds nothing owns nothing.

use crate::callback::Callback;
use crate::memory::Memory;

/// A peer decides how much there is to keep, so growing may fail and must be survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// So much is initialised beyond what is appended: small pieces then are only copied.
const SLACK: usize = 512;

#[derive(Debug, Default)]
pub struct Buffer {
    /// Always longer than what is in it, by a byte for the NUL behind what is lent.
    storage: Vec<u8>,
    /// What is left lies from here ...
    head: usize,
    /// ... to here.
    tail: usize,
    /// How much of what is left a search has seen in vain.
    pub searched: usize,
    /// The bytes lie with the caller instead, who is told when they have been sent.
    lent: Option<(Memory, Callback)>,
}

impl Buffer {
    /// Bytes that lie with the caller: nothing can be added to them.
    pub fn of(memory: Memory, released: Callback) -> Buffer {
        Buffer { tail: memory.len(), lent: Some((memory, released)), ..Buffer::default() }
    }

    /// Whom to tell that they have been sent, or never will be.
    pub fn released(&self) -> Option<Callback> {
        self.lent.map(|(_, released)| released)
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.lent {
            None => &self.storage[self.head..self.tail],
            Some((memory, _)) => &memory.bytes()[self.head..self.tail],
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Takes all or nothing.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NoMemory> {
        if self.append_within(bytes, usize::MAX).is_none() {
            self.move_to_front();
            self.storage.try_reserve(bytes.len().saturating_add(SLACK)).map_err(|_| NoMemory)?;
            self.storage.truncate(self.tail);
            self.storage.extend_from_slice(bytes);
            self.tail = self.storage.len();
            self.storage.resize(self.tail + SLACK, 0);
        }
        Ok(())
    }

    /// The same, if there is room already, and less than `most` in all then. None: nothing was taken.
    #[inline(always)]
    pub fn append_within(&mut self, bytes: &[u8], most: usize) -> Option<()> {
        let room = self.storage.get_mut(self.tail..)?;
        let tail = self.tail + bytes.len();
        if room.len() <= bytes.len() || tail - self.head >= most {
            return None;
        }
        self.tail = tail;
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// Room for so many: appending them will not fail.
    fn make_room(&mut self, more: usize) -> Result<(), NoMemory> {
        self.move_to_front();
        let needed = self.tail.saturating_add(more).saturating_add(1);
        if needed > self.storage.len() {
            self.storage.try_reserve(needed - self.storage.len()).map_err(|_| NoMemory)?;
            self.storage.resize(needed, 0);
        }
        Ok(())
    }

    /// Room for so many at the end, to be filled; [`grow`](Buffer::grow) then says how far.
    pub fn room(&mut self, len: usize) -> Result<&mut [u8], NoMemory> {
        self.make_room(len)?;
        Ok(&mut self.storage[self.tail..self.tail + len])
    }

    pub fn grow(&mut self, n: usize) {
        self.tail += n;
    }

    /// Once what is left is no more than what was taken, so that each byte is moved at most once.
    fn move_to_front(&mut self) {
        if self.head >= self.len() {
            self.storage.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.len());
        }
    }

    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.head += n;
        self.searched = self.searched.saturating_sub(n);
        if self.is_empty() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        (self.head, self.tail, self.searched) = (0, 0, 0);
    }

    pub(super) fn start(&self) -> usize {
        self.head
    }

    /// Lends its storage for another one's, or takes it back.
    pub(super) fn swap(&mut self, other: &mut Vec<u8>) {
        std::mem::swap(&mut self.storage, other);
    }

    /// What comes before `head` has been taken; the search has seen so much of the rest.
    pub(super) fn keep_from(&mut self, head: usize, searched: usize) {
        self.head = head;
        self.searched = searched;
    }

    fn capacity(&self) -> usize {
        self.storage.len()
    }
}

/// What is kept for the next stream that needs a buffer; larger ones, and more than these, go back to the heap.
const KEEP_EACH: usize = 128 * 1024;
const KEEP_ALL: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Pool {
    // Boxed because a stream holds a pointer, not the buffer: an idle one pays 8 bytes.
    #[allow(clippy::vec_box)]
    free: Vec<Box<Buffer>>,
    kept: usize,
}

impl Pool {
    #[inline]
    pub fn take(&mut self) -> Box<Buffer> {
        match self.free.pop() {
            Some(buffer) => {
                self.kept -= buffer.capacity();
                buffer
            }
            None => Box::default(),
        }
    }

    /// One with these bytes in it, if there is one that has room for them.
    #[inline(always)]
    fn take_with(&mut self, bytes: &[u8]) -> Option<Box<Buffer>> {
        let buffer = self.free.last_mut()?;
        buffer.append_within(bytes, usize::MAX)?;
        self.kept -= buffer.capacity();
        self.free.pop()
    }

    #[inline(always)]
    pub fn give(&mut self, mut buffer: Box<Buffer>) {
        let capacity = buffer.capacity();
        let worth_it = capacity <= KEEP_EACH && self.kept + capacity <= KEEP_ALL && buffer.lent.is_none();
        if worth_it && (self.free.len() < self.free.capacity() || self.grow()) {
            buffer.clear();
            self.kept += capacity;
            self.free.push(buffer);
        }
    }

    #[cold]
    fn grow(&mut self) -> bool {
        self.free.try_reserve(1).is_ok()
    }

    /// Appends to a buffer that may not be there yet.
    pub fn append(&mut self, to: &mut Option<Box<Buffer>>, bytes: &[u8]) -> Result<(), NoMemory> {
        match to {
            Some(buffer) => buffer.append(bytes),
            None if bytes.is_empty() => Ok(()),
            None => {
                if let Some(buffer) = self.take_with(bytes) {
                    *to = Some(buffer);
                    return Ok(());
                }
                let buffer = to.insert(self.take());
                let result = buffer.append(bytes);
                self.reclaim(to);
                result
            }
        }
    }

    /// Room for so many bytes: appending them will not fail.
    pub fn reserve(&mut self, to: &mut Option<Box<Buffer>>, more: usize) -> Result<(), NoMemory> {
        if more == 0 {
            return Ok(());
        }
        let mut buffer = to.take().unwrap_or_else(|| self.take());
        let result = buffer.make_room(more);
        if buffer.is_empty() && result.is_err() {
            self.give(buffer);
        } else {
            *to = Some(buffer);
        }
        result
    }

    /// Gives a buffer back if nothing is left in it.
    #[inline]
    pub fn reclaim(&mut self, from: &mut Option<Box<Buffer>>) {
        if from.as_ref().is_some_and(|buffer| buffer.is_empty())
            && let Some(buffer) = from.take()
        {
            self.give(buffer);
        }
    }
}
