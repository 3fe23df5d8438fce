//! Receiving, back-pressure, and what a reader is asked for.

use std::io;

use super::{Connection, Hub, TURN_READS, face, is};
use crate::callback::{Callback, Lent};
use crate::error::{Error, Refusal};
use crate::hub::Receipt;
use crate::memory::Memory;
use crate::net;
use crate::stream::{Buffer, Pool, READ_SIZE, Separators, Turn, Want};
use crate::table::Id;

/// What came of an attempt to receive.
pub(super) enum Received {
    /// Bytes, or the end.
    Something,
    Nothing,
    /// Reading is to be paused or resumed first.
    Regulate,
    /// It has had its share.
    Later,
    /// What it can receive from is no plain socket.
    Elsewhere,
    Failed(io::Error),
}

impl Connection {
    /// Receives once, if the socket has something and the reader has room.
    #[inline]
    pub(super) fn receive(&mut self, turn: &mut Turn, pool: &mut Pool, reads: &mut u32) -> Received {
        if self.should_pause(turn.len() + self.reader.buffered()) != self.is(is::READ_PAUSED) {
            return Received::Regulate;
        }
        if !self.may_receive() || self.is(is::READ_PAUSED | is::TLS) {
            // A handshake goes on while reading is paused.
            return if self.is(is::TLS) { Received::Elsewhere } else { Received::Nothing };
        }
        if *reads >= TURN_READS {
            return Received::Later;
        }
        *reads += 1;
        if self.is(is::INTO)
            && self.socket.is_some()
            && turn.is_empty()
            && self.reader.input.is_none()
            && !self.reader.skipping
        {
            return self.receive_into(turn);
        }
        let Some(socket) = &self.socket else { return Received::Elsewhere };
        let no_memory = |_| Received::Failed(io::Error::from_raw_os_error(libc::ENOMEM));
        let room = match turn.room(&mut self.reader, pool).map_err(no_memory) {
            Ok(room) => room,
            Err(failed) => return failed,
        };
        match net::receive(socket, room) {
            Ok(n) if n > 0 => {
                if n < READ_SIZE && !self.is(is::MORE | is::ALWAYS_MORE) {
                    self.flags &= !is::READABLE;
                }
                if self.is(face::READER)
                    && let Err(failed) = turn.received(n, &mut self.reader, pool).map_err(no_memory)
                {
                    return failed;
                }
                Received::Something
            }
            nothing => self.received_nothing(nothing, turn),
        }
    }

    /// Straight to where the read wants it.
    #[cold]
    fn receive_into(&mut self, turn: &mut Turn) -> Received {
        let (Some(socket), Some(rare)) = (&self.socket, &mut self.rare) else { return Received::Nothing };
        let room = rare.into.memory.len();
        match net::receive_into(socket, rare.into.memory.room()) {
            Ok(n) if n > 0 => {
                rare.into.received = n;
                turn.received += n as u64;
                if n < room && !self.is(is::MORE | is::ALWAYS_MORE) {
                    self.flags &= !is::READABLE;
                }
                Received::Something
            }
            nothing => self.received_nothing(nothing, turn),
        }
    }

    /// What has been received where the read wants it.
    pub(super) fn received_into(&mut self) -> Option<Lent> {
        let into = &self.rare.as_ref()?.into;
        (into.received > 0).then(|| Lent { start: into.memory.start(), len: into.received })
    }

    /// Copies what had come before to where the read wants it.
    pub(super) fn fill_into(&mut self, turn: &Turn, bytes: Lent) -> Lent {
        let into = &mut self.rare().into;
        let len = into.memory.fill(turn.lent(bytes));
        Lent { start: into.memory.start(), len }
    }

    #[cold]
    pub(super) fn received_nothing(&mut self, received: io::Result<usize>, turn: &mut Turn) -> Received {
        turn.begin(&mut self.reader);
        match received {
            Ok(_) => {
                self.flags |= is::PEER_EOF;
                self.reader.eof = true;
                Received::Something
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.flags &= !(is::READABLE | is::MORE);
                // A read that an error stands behind waited for what might still come.
                if self.reader.is_waiting() && self.exception().is_some() {
                    Received::Something
                } else {
                    Received::Nothing
                }
            }
            Err(error) => Received::Failed(error),
        }
    }
}

impl Hub {
    /// True: there may be something to tell all the same.
    #[cold]
    pub(super) fn did_not_receive(&mut self, id: Id<Connection>, received: Received) -> bool {
        match received {
            Received::Something => true,
            Received::Nothing => false,
            Received::Regulate => {
                self.regulate(id);
                true
            }
            Received::Later => {
                self.again(id);
                false
            }
            Received::Elsewhere => {
                let received = self.receive_elsewhere(id);
                self.did_not_receive(id, received)
            }
            Received::Failed(error) => {
                self.lose(id, Some(Error::lost(&error)));
                true
            }
        }
    }

    /// Where there is more than a socket, or something else.
    #[cold]
    fn receive_elsewhere(&mut self, id: Id<Connection>) -> Received {
        match self.connections.get(id) {
            Some(connection) if connection.is(is::TLS) => self.receive_tls(id),
            Some(connection) if connection.is(is::PIPE) => self.receive_from_pipe(id),
            Some(connection) if connection.is(is::PAIR) => self.receive_from_peer(id),
            _ => Received::Nothing,
        }
    }

    /// Pauses or resumes reading, as [`should_pause`](Connection::should_pause) says.
    pub(in crate::hub) fn regulate(&mut self, id: Id<Connection>) {
        let turn = if self.turn_of == Some(id) { self.turn.len() } else { 0 };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let pause = connection.should_pause(turn + connection.reader.buffered());
        if pause == connection.is(is::READ_PAUSED) {
            return;
        }
        connection.put(is::READ_PAUSED, pause);
        if let Some(other) = connection.rare.as_ref().and_then(|rare| rare.regulates) {
            self.regulate_other(other, pause);
        }
        self.enqueue(id);
    }

    // ---- asking to read ---------------------------------------------------------------------------------------

    /// The hot path: a callback of this stream's turn reads on. None: not so simple.
    #[inline(always)]
    pub fn read_on(&mut self, id: Id<Connection>, want: Want, callback: Callback) -> Option<i64> {
        if self.turn_of != Some(id) || self.ending {
            return None;
        }
        let connection = self.connections.get_mut(id)?;
        if !connection.is(face::READER) || connection.reader.is_waiting() || connection.reader.input.is_some()
        {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        connection.reader.want = want;
        connection.reader.callback = callback;
        connection.reader.serial = self.serial;
        self.turn.rearm();
        self.waiting += 1;
        Some(self.receipt(Receipt::Read, id.place(), self.serial))
    }

    pub fn read(&mut self, id: Id<Connection>, want: Want, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        let turn_is_here = self.turn_of == Some(id);
        let connection = self.alive(id, face::READER)?;
        connection.reader.arm(want, callback, serial)?;
        if turn_is_here {
            self.turn.rearm();
        } else if connection.flags & (is::READABLE | is::LOST | is::READ_PAUSED) != 0
            || connection.reader.input.is_some()
            || connection.may_settle_empty()
        {
            self.enqueue(id);
        }
        self.waiting += 1;
        if !turn_is_here && self.connections.get(id).is_some_and(|connection| connection.is(is::TIMED)) {
            self.time_read(id);
        }
        Ok(self.receipt(Receipt::Read, id.place(), serial))
    }

    /// What is there, into memory of the caller's.
    pub fn read_into(
        &mut self,
        id: Id<Connection>,
        memory: Memory,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        let receipt = self.read(id, Want::Some(memory.len()), callback)?;
        let connection = self.alive(id, face::READER)?;
        connection.rare().into = super::Into { memory, received: 0 };
        connection.flags |= is::INTO;
        Ok(receipt)
    }

    pub fn read_until<'a>(
        &mut self,
        id: Id<Connection>,
        separators: impl Iterator<Item = &'a [u8]> + Clone,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        let connection = self.alive(id, face::READER)?;
        Separators::check(separators.clone())?;
        if connection.reader.is_waiting() {
            return Err(Refusal::Busy);
        }
        connection.rare().separators.set(separators)?;
        self.read(id, Want::Until, callback)
    }

    pub fn at_eof(&mut self, id: Id<Connection>) -> Result<bool, Refusal> {
        let turn = if self.turn_of == Some(id) { self.turn.len() } else { 0 };
        let connection = self.alive(id, face::READER)?;
        Ok(connection.reader.eof && turn + connection.reader.buffered() == 0)
    }

    /// All that has come and is not asked for, where it can be looked at.
    pub fn buffered(&mut self, id: Id<Connection>) -> Result<&[u8], Refusal> {
        self.alive(id, face::READER)?;
        self.leave_turn(id)?;
        let connection = self.alive(id, face::READER)?;
        Ok(connection.reader.input.as_deref().map_or(&[], Buffer::as_slice))
    }

    /// What lies in the turn's buffer moves to the stream's own: it is to be seen whole, or added to.
    pub(super) fn leave_turn(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        if self.turn_of == Some(id)
            && let Some(connection) = self.connections.get_mut(id)
        {
            self.turn.leave(&mut connection.reader, &mut self.pool).map_err(|_| Refusal::Full)?;
            self.turn_moved = true;
        }
        Ok(())
    }

    pub fn feed_data(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<(), Refusal> {
        if self.alive(id, face::READER)?.reader.eof {
            return Err(Refusal::State);
        }
        self.leave_turn(id)?;
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        connection.reader.feed(bytes, &mut self.pool).map_err(|_| Refusal::Full)?;
        let waiting = connection.reader.is_waiting();
        self.regulate(id);
        if waiting && !bytes.is_empty() {
            self.enqueue(id);
        }
        Ok(())
    }

    pub fn feed_eof(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::READER)?.reader.eof = true;
        self.enqueue(id);
        Ok(())
    }

    pub fn set_exception(&mut self, id: Id<Connection>, error: Error) -> Result<(), Refusal> {
        self.alive(id, face::READER)?.set_exception(error);
        self.enqueue(id);
        Ok(())
    }

    pub fn exception(&mut self, id: Id<Connection>) -> Result<Option<Error>, Refusal> {
        Ok(self.alive(id, face::READER)?.exception().cloned())
    }
}
