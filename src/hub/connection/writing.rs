//! What a writer gathers, sending it, and drains.

use std::io;
use std::time::Duration;

use super::{Connection, Drain, Hub, Waiting, decide_drains, face, is};
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::hub::{Call, Receipt};
use crate::net;
use crate::stream::{Marks, Pool};
use crate::table::Id;

/// A write of at least so much, with nothing before it, is sent from where the caller has it.
const DIRECT_WRITE: usize = 16 * 1024;
/// One stream's sends at the end of a batch.
pub(super) const TURN_SENDS: u32 = 16;
/// So much gathered is sent without waiting for the end of the batch.
const GATHER: usize = 64 * 1024;
/// When the kernel has no memory to send from, which it never tells that it has again.
const SEND_RETRY: Duration = Duration::from_millis(10);

/// What came of an attempt to send.
pub(super) enum Sent {
    /// Nothing is left, and nobody waits for that.
    All,
    Some,
    /// A peer takes it all as fast as it comes: the others first.
    Enough,
    NoMemory,
    Failed(io::Error),
    /// Its transport is not ours, and is to be told.
    Commanded,
    /// What it can send to is no plain socket.
    Elsewhere,
}

impl Connection {
    /// Sends until the socket takes no more. A short send does not say so, and without a word there is no edge.
    #[inline]
    fn send(&mut self, pool: &mut Pool) -> Sent {
        if self.is(is::CUSTOM | is::LOST) {
            return if self.is(is::CUSTOM) { Sent::Commanded } else { Sent::All };
        }
        if self.socket.is_none() || self.is(is::TLS) {
            return Sent::Elsewhere;
        }
        let mut sends = 0;
        while self.flags & is::WRITABLE != 0
            && let (Some(output), Some(socket)) = (&self.writer.output, &self.socket)
        {
            if sends == TURN_SENDS {
                return Sent::Enough;
            }
            sends += 1;
            match net::send(socket, output.as_slice()) {
                Ok(sent) => self.sent(sent, pool),
                Err(error) => {
                    if !is_full(&error) {
                        return Sent::Failed(error);
                    }
                    self.flags &= !is::WRITABLE;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Sent::NoMemory;
                    }
                }
            }
        }
        if self.writer.is_quiet() && !self.is(is::BLOCKED | is::CLOSING | is::WRITE_EOF | is::RELEASES) {
            Sent::All
        } else {
            Sent::Some
        }
    }

    /// So much has gone out.
    #[inline]
    pub(super) fn sent(&mut self, n: usize, pool: &mut Pool) {
        if self.is(is::PIECES) { self.sent_of_piece(n, pool) } else { self.writer.sent(n, pool) }
    }
}

impl Hub {
    /// The hot path: one more for what is gathered already, while that is little. None: not so simple.
    #[inline(always)]
    pub fn write_more(&mut self, id: Id<Connection>, bytes: &[u8]) -> Option<()> {
        const BATCH: u64 = face::WRITER | is::DIRTY;
        const SHUT: u64 = is::CLOSING | is::LOST | is::WRITE_EOF | is::MARKED | is::PIECES | is::TLS;
        let connection = self.connections.get_mut(id)?;
        if connection.flags & (BATCH | SHUT) != BATCH {
            return None;
        }
        connection.writer.output.as_mut()?.append_within(bytes, GATHER)
    }

    /// True: it is time to drain.
    pub fn write(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<bool, Refusal> {
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        if !connection.takes_output()? {
            return Ok(false);
        }
        connection.has_room_for(bytes.len())?;
        if bytes.len() >= DIRECT_WRITE && connection.writer.output.is_none() {
            return self.write_through(id, bytes);
        }
        self.pool.append(connection.last_output(), bytes).map_err(|_| Refusal::Full)?;
        let (buffered, high) = (connection.unsent(), connection.marks().high);
        if buffered >= GATHER {
            return Ok(self.gathered(id));
        }
        if buffered > 0 && !connection.is(is::DIRTY) {
            connection.flags |= is::DIRTY;
            self.dirty.push(id);
            self.stir();
        }
        Ok(buffered > high)
    }

    /// All of them, or none.
    pub fn writelines<'a>(
        &mut self,
        id: Id<Connection>,
        lines: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<bool, Refusal> {
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        if !connection.takes_output()? {
            return Ok(false);
        }
        let all = lines.clone().map(<[u8]>::len).fold(0, usize::saturating_add);
        connection.has_room_for(all)?;
        let output = connection.last_output();
        self.pool.reserve(output, all).map_err(|_| Refusal::Full)?;
        for bytes in lines {
            // There is room for it.
            let _ = self.pool.append(output, bytes);
        }
        Ok(self.gathered(id))
    }

    /// Sends from where the caller has it, and keeps what the socket does not take.
    fn write_through(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<bool, Refusal> {
        let Some(sent) = self.send_now(id, bytes) else { return Ok(false) };
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        match self.pool.append(connection.last_output(), &bytes[sent..]) {
            Ok(()) => Ok(self.gathered(id)),
            Err(_) if sent == 0 => Err(Refusal::Full),
            Err(_) => {
                // What has gone out cannot be taken back.
                self.break_off(id, &io::Error::from_raw_os_error(libc::ENOMEM));
                Ok(false)
            }
        }
    }

    /// How much of it the socket takes at once, where nothing has been gathered before it. None: that loses the connection.
    pub(super) fn send_now(&mut self, id: Id<Connection>, bytes: &[u8]) -> Option<usize> {
        let connection = self.connections.get(id)?;
        let ready = connection.flags & (is::WRITABLE | is::TLS) == is::WRITABLE;
        let Some(socket) = connection.socket.as_ref().filter(|_| ready) else {
            return Some(0);
        };
        match net::send(socket, bytes) {
            Ok(sent) => {
                self.stats.bytes_out += sent as u64;
                Some(sent)
            }
            Err(error) if is_full(&error) => Some(0),
            Err(error) => {
                self.break_off(id, &error);
                None
            }
        }
    }

    /// Something may be new in the output, perhaps much. True: it stands above the high mark.
    pub(super) fn gathered(&mut self, id: Id<Connection>) -> bool {
        match self.connections.get(id).map_or(0, Connection::unsent) {
            0 => {}
            GATHER.. => {
                self.touch(id);
                self.flush_one(id);
            }
            _ => self.touch(id),
        }
        self.connections.get(id).is_some_and(|found| found.unsent() > found.marks().high)
    }

    /// It has something to send, or to finish, at the end of the batch.
    #[inline]
    pub(in crate::hub) fn touch(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is(is::DIRTY)
        {
            connection.flags |= is::DIRTY;
            self.dirty.push(id);
            self.stir();
        }
    }

    /// One send for each stream that has gathered something since the last poll.
    pub(in crate::hub) fn flush(&mut self) {
        let batch = self.dirty.len();
        for at in 0..batch {
            let Some(id) = self.dirty.get(at).copied() else { break };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.flags &= !is::DIRTY;
                let unsent = connection.unsent();
                let sent = connection.send(&mut self.pool);
                match sent {
                    Sent::All => self.stats.bytes_out += unsent as u64,
                    other => {
                        self.stats.bytes_out += (unsent - connection.unsent()) as u64;
                        self.did_not_send_all(id, other);
                    }
                }
            }
        }
        // What sending has made dirty again belongs to the next batch.
        self.dirty.drain(..batch);
    }

    pub(super) fn flush_one(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let unsent = connection.unsent();
        let sent = connection.send(&mut self.pool);
        self.stats.bytes_out += (unsent - connection.unsent()) as u64;
        self.did_not_send_all(id, sent);
    }

    /// Where there is more than a socket, or something else.
    #[cold]
    fn send_elsewhere(&mut self, id: Id<Connection>) -> Sent {
        match self.connections.get(id) {
            Some(connection) if connection.is(is::TLS) => self.send_tls(id),
            Some(connection) if connection.is(is::PIPE) => self.send_to_pipe(id),
            Some(connection) if connection.is(is::PAIR) => self.send_to_peer(id),
            _ => Sent::All,
        }
    }

    #[cold]
    fn did_not_send_all(&mut self, id: Id<Connection>, sent: Sent) {
        match sent {
            Sent::All => {}
            Sent::Some => self.flushed(id),
            Sent::Commanded => self.enqueue(id),
            Sent::Elsewhere => {
                let sent = self.send_elsewhere(id);
                self.did_not_send_all(id, sent);
            }
            Sent::Enough => {
                self.touch(id);
                self.flushed(id);
            }
            Sent::NoMemory => {
                self.timers.set(SEND_RETRY, id.number());
                self.flushed(id);
            }
            Sent::Failed(error) => self.break_off(id, &error),
        }
    }

    /// After an attempt to send: the marks, and what waits for the output to be empty.
    pub(super) fn flushed(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let marks = connection.marks();
        let unsent = connection.unsent();
        let resume = connection.writer.judge(marks, unsent);
        let blocked = unsent > 0;
        if blocked != connection.is(is::BLOCKED) && !connection.is(is::PAIR) {
            connection.put(is::BLOCKED, blocked);
            if blocked { self.blocked += 1 } else { self.blocked -= 1 }
        }
        if resume {
            decide_drains(connection, None);
        }
        let news = connection.is(is::ANSWERS) && resume || connection.is(is::RELEASES);
        if !blocked {
            if connection.is(is::WRITE_EOF) && !connection.is(is::EOF_SENT) {
                connection.flags |= is::EOF_SENT;
                match &connection.socket {
                    // The engine has said so.
                    Some(_) if connection.is(is::TLS) => {}
                    // A connection that is gone by now tells when it is read.
                    Some(socket) => drop(net::shutdown_write(socket)),
                    None => self.end_writing(id),
                }
            }
            let Some(connection) = self.connections.get_mut(id) else { return };
            if connection.is(is::CLOSING) && !connection.is(is::LOST) && !connection.owes_goodbye() {
                return self.finish_close(id);
            }
        }
        if news {
            self.enqueue(id);
        }
    }

    pub fn write_eof(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        let connection = self.alive(id, face::WRITER)?;
        if !can_write_eof(connection) {
            return Err(Refusal::Unsupported);
        }
        if !connection.is(is::CLOSING) {
            connection.flags |= is::WRITE_EOF;
            self.touch(id);
        }
        Ok(())
    }

    pub fn can_write_eof(&mut self, id: Id<Connection>) -> Result<bool, Refusal> {
        self.alive(id, face::WRITER).map(|connection| can_write_eof(connection))
    }

    pub fn set_marks(&mut self, id: Id<Connection>, marks: Marks) -> Result<(), Refusal> {
        let connection = self.alive(id, face::WRITER)?;
        connection.rare().marks = Some(marks);
        connection.flags |= is::MARKED;
        // New marks may pause or resume at once.
        self.touch(id);
        Ok(())
    }

    pub fn write_buffer_size(&mut self, id: Id<Connection>) -> Result<usize, Refusal> {
        Ok(self.alive(id, face::WRITER)?.unsent())
    }

    /// The hot path: a callback of this stream's turn drains, and there is nothing to wait for, and nothing to tell. None:
    /// not so simple.
    #[inline(always)]
    pub fn drain_on(&mut self, id: Id<Connection>, callback: Callback) -> Option<i64> {
        const NOT_NOW: u64 = is::CLOSING
            | is::LOST
            | is::ANSWERS
            | is::WRITING_PAUSED
            | is::MARKED
            | is::FAILED
            | is::PIECES
            | is::TLS;
        if self.turn_of != Some(id) || self.turn_drain.is_some() || self.ending {
            return None;
        }
        let connection = self.connections.get_mut(id)?;
        if connection.flags & (face::WRITER | NOT_NOW) != face::WRITER
            || connection.writer.paused
            || connection.writer.buffered() > Marks::DEFAULT.high
        {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        self.turn_drain = Some(Waiting { callback, serial: self.serial });
        self.waiting += 1;
        Some(self.receipt(Receipt::Drain, id.place(), self.serial))
    }

    /// ... and who is told so: what has become of the connection since is for the long way to see.
    #[inline(always)]
    pub fn next_drained(&mut self) -> Option<(Callback, Id<Connection>)> {
        let drain = self.turn_drain?;
        let id = self.turn_of?;
        let connection = self.connections.get_mut(id)?;
        if connection.flags & (face::WRITER | is::LOST) != face::WRITER
            || self.turn_left == 0
            || !self.hurried
        {
            return None;
        }
        self.turn_drain = None;
        self.turn_left -= 1;
        self.waiting -= 1;
        Some((drain.callback, id))
    }

    pub fn drain(&mut self, id: Id<Connection>, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        let deadline = self.drain_deadline(id);
        let connection = self.alive(id, face::WRITER)?;
        match connection.exception().cloned() {
            // As in asyncio: an error that the reader has by now is told, one that comes later is not.
            Some(error) => connection.rare().decided.push_back((callback, Some(Box::new(error)))),
            None => connection.rare().drains.push_back(Drain { callback, serial, deadline }),
        }
        connection.flags |= is::ANSWERS;
        if connection.is(is::CLOSING) {
            connection.flags |= is::DRAIN_LATER;
        }
        self.waiting += 1;
        self.enqueue(id);
        self.keep_deadline(id, deadline);
        Ok(self.receipt(Receipt::Drain, id.place(), serial))
    }

    /// A drain that found nothing to wait for is answered next, in place, whatever its callback's author did since.
    pub(super) fn answer_turn_drain(&mut self, id: Id<Connection>) -> Option<Call> {
        let Waiting { callback, .. } = self.turn_drain.take()?;
        let connection = self.connections.get(id)?;
        let error = if !connection.is(face::WRITER) {
            Some(Error::Canceled)
        } else if connection.is(is::LOST) {
            Some(connection.loss())
        } else {
            None
        };
        self.waiting -= 1;
        Some(Call::Writer { callback, stream: id, error: error.map(Box::new) })
    }

    /// Its turn ends before that drain was answered: it gets in line.
    #[cold]
    pub(super) fn defer_turn_drain(&mut self, id: Id<Connection>) {
        let Some(Waiting { callback, serial }) = self.turn_drain.take() else { return };
        // Whoever drained may have written much since.
        let deadline = self.drain_deadline(id);
        if let Some(connection) = self.connections.get_mut(id) {
            let freed = !connection.is(face::WRITER);
            connection.rare().drains.push_back(Drain { callback, serial, deadline });
            connection.flags |= is::ANSWERS;
            if freed {
                decide_drains(connection, Some(Error::Canceled));
            }
        }
        self.keep_deadline(id, deadline);
        self.again(id);
    }

    pub(super) fn answer_drain(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if connection.unsent() > connection.marks().high && connection.is(is::DIRTY) {
            // The marks are judged after an attempt to send.
            self.flush_one(id);
        }
        let connection = self.connections.get_mut(id)?;
        let paused = connection.writer.paused || connection.is(is::WRITING_PAUSED);
        let lost = connection.is(is::LOST | is::BROKEN);
        let later = connection.is(is::DRAIN_LATER) && !lost;
        connection.flags &= !is::DRAIN_LATER;
        let loss = lost.then(|| connection.loss());
        let rare = connection.rare.as_deref_mut()?;
        let told = match rare.decided.pop_front() {
            Some(told) => Some(told),
            None => {
                if lost || !(paused || later) {
                    rare.drains.pop_front().map(|drain| (drain.callback, loss.map(Box::new)))
                } else {
                    None
                }
            }
        };
        if rare.drains.is_empty() && rare.decided.is_empty() {
            connection.flags &= !is::ANSWERS;
        }
        if later && told.is_none() {
            self.again(id);
        }
        let (callback, error) = told?;
        self.waiting -= 1;
        Some(Call::Writer { callback, stream: id, error })
    }
}

fn can_write_eof(connection: &Connection) -> bool {
    match connection.rare.as_ref().and_then(|rare| rare.custom.as_ref()) {
        Some(custom) => custom.ops.write_eof.is_some(),
        None => !connection.is(is::MUTE),
    }
}

/// The socket takes no more for now. (A kernel without memory says so in other words, and never says when it has some.)
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}
