//! Bytes that are sent from where the caller has them. Then there is more to send than one buffer: pieces in a row, some
//! copied and some lent. The first is the writer's output, as ever; the others wait in `rare`.

use std::collections::VecDeque;

use super::{Connection, Hub, face, is};
use crate::callback::Callback;
use crate::error::Refusal;
use crate::hub::Call;
use crate::memory::Memory;
use crate::stream::{Buffer, NoMemory, Pool};
use crate::table::Id;

/// Less than this is copied all the same: that costs less than to send it by itself.
const WORTH_LENDING: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// What follows the output, and how much that is.
    queue: VecDeque<Box<Buffer>>,
    queued: usize,
    /// What is copied behind them.
    last: Option<Box<Buffer>>,
    /// Who is to be told that what they lent is theirs again.
    released: VecDeque<Callback>,
}

impl Pieces {
    fn unsent(&self) -> usize {
        self.queued + self.last.as_ref().map_or(0, |last| last.len())
    }

    /// Nobody is owed a call.
    pub fn is_quiet(&self) -> bool {
        self.released.is_empty()
    }
}

impl Connection {
    /// Bytes written and not sent yet.
    #[inline]
    pub(in crate::hub) fn unsent(&self) -> usize {
        let rest = match &self.rare {
            Some(rare) if self.is(is::PIECES | is::TLS) => {
                rare.pieces.unsent() + rare.tls.as_ref().map_or(0, |tls| tls.sealed())
            }
            _ => 0,
        };
        self.writer.buffered() + rest
    }

    /// Where what is written next is copied to.
    pub(super) fn last_output(&mut self) -> &mut Option<Box<Buffer>> {
        if self.is(is::PIECES) { &mut self.rare().pieces.last } else { &mut self.writer.output }
    }

    /// So many bytes of the first piece have gone out.
    #[cold]
    pub(super) fn sent_of_piece(&mut self, n: usize, pool: &mut Pool) {
        if let Some(output) = &mut self.writer.output {
            output.consume(n);
        }
        if self.writer.buffered() > 0 {
            return;
        }
        if let Some(sent) = self.writer.output.take() {
            self.release_piece(sent, pool);
        }
        let pieces = &mut self.rare().pieces;
        let next = pieces.queue.pop_front();
        pieces.queued -= next.as_ref().map_or(0, |next| next.len());
        let is_last = next.is_none();
        self.writer.output = if is_last { self.rare().pieces.last.take() } else { next };
        if is_last {
            self.flags &= !is::PIECES;
        }
    }

    fn release_piece(&mut self, piece: Box<Buffer>, pool: &mut Pool) {
        match piece.released() {
            Some(released) => self.release(released),
            None => pool.give(piece),
        }
    }

    fn release(&mut self, released: Callback) {
        self.rare().pieces.released.push_back(released);
        self.flags |= is::RELEASES;
    }

    /// Nothing of it is ever sent.
    pub(super) fn discard_output(&mut self, pool: &mut Pool) {
        if let Some(output) = self.writer.output.take() {
            self.release_piece(output, pool);
        }
        if self.is(is::PIECES) {
            self.flags &= !is::PIECES;
            let pieces = &mut self.rare().pieces;
            let (queue, last) = (std::mem::take(&mut pieces.queue), pieces.last.take());
            pieces.queued = 0;
            for piece in queue.into_iter().chain(last) {
                self.release_piece(piece, pool);
            }
        }
    }

    /// One more piece. Nothing can be added to it: what is written next is copied behind it.
    fn lend(&mut self, piece: Box<Buffer>) -> Result<(), NoMemory> {
        if self.writer.output.is_none() {
            self.writer.output = Some(piece);
            self.flags |= is::PIECES;
            return Ok(());
        }
        let was_row = self.is(is::PIECES);
        let pieces = &mut self.rare().pieces;
        pieces.queue.try_reserve(2).map_err(|_| NoMemory)?;
        let last = if was_row { pieces.last.take() } else { None };
        for piece in last.into_iter().chain([piece]) {
            pieces.queued += piece.len();
            pieces.queue.push_back(piece);
        }
        self.flags |= is::PIECES;
        Ok(())
    }
}

impl Hub {
    /// Without a copy. True: it is time to drain.
    pub fn write_static(
        &mut self,
        id: Id<Connection>,
        memory: Memory,
        released: Callback,
    ) -> Result<bool, Refusal> {
        self.accepting()?;
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        let is_lost = !connection.takes_output()?;
        connection.has_room_for(memory.len())?;
        if is_lost || memory.len() < WORTH_LENDING || connection.is(is::CUSTOM) {
            let full = !is_lost && self.write(id, memory.bytes())?;
            self.owe_release(id, released);
            return Ok(full);
        }
        let first = connection.writer.output.is_none();
        let sent = if first { self.send_now(id, memory.bytes()) } else { Some(0) };
        // All of it is sent, or the connection is lost by it and the rest never will be.
        let Some(sent) = sent.filter(|sent| *sent < memory.len()) else {
            self.owe_release(id, released);
            return Ok(false);
        };
        let mut piece = Buffer::of(memory, released);
        piece.consume(sent);
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        connection.lend(Box::new(piece)).map_err(|_| Refusal::Full)?;
        self.waiting += 1;
        Ok(self.gathered(id))
    }

    /// The caller's bytes are the caller's again, and the caller is told so in the next round.
    fn owe_release(&mut self, id: Id<Connection>, released: Callback) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.release(released);
            self.waiting += 1;
            self.enqueue(id);
        }
    }

    pub(super) fn next_release(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        let released = &mut connection.rare().pieces.released;
        let callback = released.pop_front();
        if released.is_empty() {
            connection.flags &= !is::RELEASES;
        }
        self.waiting -= usize::from(callback.is_some());
        Some(Call::Release { callback: callback? })
    }

    /// Sends what is gathered now.
    pub fn writer_flush(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.flush_one(id);
        Ok(())
    }
}
