//! The turn of one stream: its bytes lie in one place, and its reads are served from there one after the other.
//!
//! The place is the loop's one read buffer while the bytes have just come, or the stream's own buffer when it had kept
//! some. Either way a callback is lent them where they lie, followed by a NUL; what the NUL covers is put back before
//! anything looks at the buffer again. Only what nobody has asked for when the turn ends is copied to the stream.

use super::buffer::{Buffer, NoMemory, Pool};
use super::reader::{Reader, Separators, Verdict, Want};
use super::search::find;
use crate::callback::Lent;

/// One receive takes at most so much. 16 KiB costs twice the time in bulk; 256 KiB gains nothing.
pub const READ_SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub struct Turn {
    /// Where the bytes lie, and room for a NUL: the loop's read buffer, or what the stream had kept ...
    storage: Vec<u8>,
    /// ... and then its buffer holds the loop's meanwhile.
    own: Option<Box<Buffer>>,
    /// What is left for the stream, and how far a search has seen it in vain.
    start: usize,
    seen: usize,
    end: usize,
    /// The byte at `start`, which a NUL may cover.
    covered: u8,
    /// All that was ever received, of whatever stream.
    pub received: u64,
    /// A copy of what was last shown and not taken: no NUL may cover what follows it.
    shown: Vec<u8>,
}

/// What became of a read.
#[derive(Debug)]
pub enum Settled {
    Waiting,
    Bytes(Lent),
    Incomplete { partial: Vec<u8>, expected: Option<usize> },
    Overrun { consumed: usize, found: bool },
    Canceled,
    NoMemory,
}

impl Turn {
    pub fn new() -> Result<Turn, NoMemory> {
        let mut storage = Vec::new();
        storage.try_reserve_exact(READ_SIZE + 1).map_err(|_| NoMemory)?;
        storage.resize(READ_SIZE + 1, 0);
        Ok(Turn { storage, own: None, start: 0, seen: 0, end: 0, covered: 0, received: 0, shown: Vec::new() })
    }

    /// Begins with what the stream has kept.
    #[inline]
    pub fn begin(&mut self, reader: &mut Reader) {
        let (mut start, mut searched, mut len) = (0, 0, 0);
        if let Some(mut own) = reader.input.take() {
            (start, searched, len) = (own.start(), own.searched, own.len());
            own.swap(&mut self.storage);
            self.own = Some(own);
        }
        self.stand_at(start);
        (self.seen, self.end) = (start + searched, start + len);
    }

    /// What comes before `start` has been taken.
    #[inline]
    fn stand_at(&mut self, start: usize) {
        self.start = start;
        self.seen = start;
        self.covered = self.storage[start];
    }

    /// Bytes that are left for the stream.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// There is nothing that a search has not seen.
    #[inline]
    pub fn is_searched(&self) -> bool {
        self.seen == self.end
    }

    /// A new read starts its own search.
    #[inline]
    pub fn rearm(&mut self) {
        self.seen = self.start;
    }

    #[inline]
    fn uncover(&mut self) {
        self.storage[self.start] = self.covered;
    }

    /// Room to receive into. What is left for the stream is kept by it first.
    // Always: beside the sockets there are others that ask for it, seldom.
    #[inline(always)]
    pub fn room(&mut self, reader: &mut Reader, pool: &mut Pool) -> Result<&mut [u8], NoMemory> {
        if self.start < self.end || self.own.is_some() {
            self.finish(reader, pool)?;
        }
        Ok(&mut self.storage[..READ_SIZE])
    }

    /// So many bytes have been received into the room.
    #[inline(always)]
    pub fn received(&mut self, n: usize, reader: &mut Reader, pool: &mut Pool) -> Result<(), NoMemory> {
        self.received += n as u64;
        let start = reader.skip(&self.storage[..n]);
        if reader.input.is_some() {
            pool.append(&mut reader.input, &self.storage[start..n])?;
            self.begin(reader);
        } else {
            self.stand_at(start);
            self.end = n;
        }
        Ok(())
    }

    /// Serves a readline that waits, if its line is here whole: nearly always, and with no more than it takes.
    #[inline(always)]
    pub fn line(&mut self, reader: &Reader) -> Option<Lent> {
        if reader.want != Want::Line || reader.canceled {
            return None;
        }
        *self.storage.get_mut(self.start)? = self.covered;
        let end = self.seen + find(b'\n', self.storage.get(self.seen..self.end)?)? + 1;
        // One pointer for the line and the byte behind it: had the line one of its own, the NUL would not be its.
        let (next, line) = self.storage.get_mut(self.start..end + 1)?.split_last_mut()?;
        let len = line.len();
        if len > reader.limit + 1 {
            return None;
        }
        self.covered = std::mem::replace(next, 0);
        let lent = Lent { start: self.storage.get(self.start..)?.as_ptr(), len };
        (self.start, self.seen) = (end, end);
        Some(lent)
    }

    /// Serves the read that waits, if what is here will do.
    #[inline]
    pub fn settle(&mut self, reader: &mut Reader, separators: &Separators, failed: bool) -> Settled {
        self.uncover();
        if reader.canceled {
            return Settled::Canceled;
        }
        let (start, end) = (self.start, self.end);
        let mut searched = self.seen - start;
        let verdict = reader.verdict(separators, &self.storage[start..end], &mut searched, failed);
        self.seen = start + searched;
        match verdict {
            Verdict::Take(n) => Settled::Bytes(self.lend(start + n)),
            Verdict::Show(n) => self.show(n),
            Verdict::Wait => Settled::Waiting,
            Verdict::Incomplete => {
                let mut partial = Vec::new();
                // With room for the NUL that C will find behind it.
                if partial.try_reserve_exact(self.len() + 1).is_err() {
                    return Settled::NoMemory;
                }
                partial.extend_from_slice(&self.storage[start..end]);
                let expected = match reader.want {
                    Want::Exactly(n) | Want::Peek(n) => Some(n),
                    _ => None,
                };
                if !matches!(reader.want, Want::Peek(_)) {
                    self.stand_at(end);
                }
                Settled::Incomplete { partial, expected }
            }
            Verdict::Overrun { consumed, found } => {
                if reader.want == Want::Line {
                    // The whole line goes, also what of it is yet to come: its tail is not a line.
                    self.stand_at(if found { start + consumed + 1 } else { end });
                    reader.skipping = !found;
                }
                self.rearm();
                Settled::Overrun { consumed, found }
            }
        }
    }

    /// Lends a copy of the first `n`.
    fn show(&mut self, n: usize) -> Settled {
        self.shown.clear();
        if self.shown.try_reserve(n + 1).is_err() {
            return Settled::NoMemory;
        }
        self.shown.extend_from_slice(&self.storage[self.start..self.start + n]);
        self.shown.push(0);
        Settled::Bytes(Lent { start: self.shown.as_ptr(), len: n })
    }

    /// Lends what lies before `to`.
    fn lend(&mut self, to: usize) -> Lent {
        let from = self.start;
        self.stand_at(to);
        self.storage[to] = 0;
        // Last: what is then written to by another way than the pointer is no longer the pointer's.
        Lent { start: self.storage[from..].as_ptr(), len: to - from }
    }

    /// What was just lent.
    pub fn lent(&self, lent: Lent) -> &[u8] {
        &self.storage[self.start - lent.len..self.start]
    }

    /// Moves what is left to the stream's keeping, while a callback may still hold what it was lent: somebody wants
    /// to see all that is buffered, or to add to it.
    pub fn leave(&mut self, reader: &mut Reader, pool: &mut Pool) -> Result<(), NoMemory> {
        if self.is_empty() {
            return Ok(());
        }
        let (start, end) = (self.start, self.end);
        let mut kept = Some(pool.take());
        pool.append(&mut kept, &[self.covered])?;
        pool.append(&mut kept, &self.storage[start + 1..end])?;
        reader.input = kept;
        self.end = start;
        Ok(())
    }

    /// Ends the turn: what nobody asked for stays with the stream.
    #[inline]
    pub fn finish(&mut self, reader: &mut Reader, pool: &mut Pool) -> Result<(), NoMemory> {
        if self.is_empty() && self.own.is_none() { Ok(()) } else { self.keep(reader, pool) }
    }

    fn keep(&mut self, reader: &mut Reader, pool: &mut Pool) -> Result<(), NoMemory> {
        self.uncover();
        let (start, end, searched) = (self.start, self.end, self.seen - self.start);
        if let Some(mut own) = self.own.take() {
            own.swap(&mut self.storage);
            if start < end && reader.input.is_none() {
                own.keep_from(start, searched);
                reader.input = Some(own);
            } else {
                pool.give(own);
            }
        } else if start < end {
            pool.append(&mut reader.input, &self.storage[start..end])?;
            if let Some(input) = &mut reader.input {
                input.searched = searched;
            }
        }
        self.end = 0;
        self.stand_at(0);
        Ok(())
    }

    /// Nobody wants what is left, though a callback may still hold what it was lent.
    pub fn discard(&mut self) {
        self.end = self.start;
    }

    /// Ends the turn of a stream that is gone.
    pub fn abandon(&mut self, pool: &mut Pool) {
        if let Some(mut own) = self.own.take() {
            own.swap(&mut self.storage);
            pool.give(own);
        }
        self.end = 0;
        self.stand_at(0);
    }
}
