//! Two connections joined in memory. What one of them has gathered stays with it until the other takes it, in its own
//! turn and only while it has room: as much flow control as two sockets have, without the kernel's buffers between.
//!
//! Nothing from outside can ever happen to a pair, so that by itself it keeps no run going: what waits for one side waits
//! for a call of the other.

use std::io;

use super::writing::Sent;
use super::{Connection, Hub, Limits, Received, face, is};
use crate::error::{Error, Refusal};
use crate::table::Id;

impl Connection {
    /// How much it takes at a time: just more than what makes it pause, or, when that is no reason to pause, as much as
    /// there is.
    fn appetite(&self, buffered: usize) -> usize {
        if !self.is(face::READER) {
            return usize::MAX;
        }
        match self.reader.limit.saturating_mul(2).saturating_add(1).saturating_sub(buffered) {
            0 => usize::MAX,
            room => room,
        }
    }
}

impl Hub {
    pub fn open_pair(&mut self, limits: Limits) -> Result<[Id<Connection>; 2], Refusal> {
        self.accepting()?;
        let side = || {
            let mut side = Connection::bare(limits.input, face::READER | face::WRITER | face::TRANSPORT);
            side.bound(limits);
            side.flags |= is::PAIR;
            side
        };
        let first = self.settle_in(side()).ok_or(Refusal::Full)?;
        let Some(second) = self.settle_in(side()) else {
            self.connections.remove(first);
            return Err(Refusal::Full);
        };
        for (one, other) in [(first, second), (second, first)] {
            if let Some(connection) = self.connections.get_mut(one) {
                connection.rare().peer = Some(other);
            }
        }
        Ok([first, second])
    }

    /// The other side, which may be gone.
    fn peer(&self, id: Id<Connection>) -> Option<Id<Connection>> {
        self.connections.get(id)?.rare.as_ref()?.peer
    }

    /// There is something new for the other side: bytes, or the end of them.
    pub(super) fn wake_peer(&mut self, id: Id<Connection>) {
        if let Some(peer) = self.peer(id)
            && let Some(connection) = self.connections.get_mut(peer)
        {
            connection.flags |= is::READABLE;
            self.enqueue(peer);
        }
    }

    /// The other side is shown what there is.
    pub(super) fn send_to_peer(&mut self, id: Id<Connection>) -> Sent {
        let Some(peer) = self.peer(id) else { return Sent::All };
        let other = self.connections.get(peer).map_or(is::LOST, |connection| connection.flags);
        let Some(connection) = self.connections.get_mut(id) else { return Sent::All };
        if connection.writer.output.is_some() {
            if other & is::LOST != 0 {
                return Sent::Failed(io::Error::from_raw_os_error(libc::EPIPE));
            }
            if other & is::CLOSING != 0 {
                connection.discard_output(&mut self.pool);
            } else {
                self.wake_peer(id);
            }
        }
        if self.connections.get(id).is_some_and(|connection| connection.is(is::CLOSING))
            && let Some(connection) = self.connections.get_mut(peer)
        {
            // What was on its way here goes where a closed socket sends it.
            connection.discard_output(&mut self.pool);
            self.flushed(peer);
        }
        Sent::Some
    }

    /// Takes what the other side has gathered.
    pub(super) fn receive_from_peer(&mut self, id: Id<Connection>) -> Received {
        let Some(peer) = self.peer(id) else { return Received::Nothing };
        let (output, ended) = match self.connections.get_mut(peer) {
            Some(other) => (&mut other.writer.output, other.flags & (is::EOF_SENT | is::LOST) != 0),
            None => (&mut None, true),
        };
        let taken = output.take();
        let mut sent = 0;
        let Some(connection) = self.connections.get_mut(id) else { return Received::Nothing };
        let appetite = connection.appetite(self.turn.len() + connection.reader.buffered());
        let received = match (self.turn.room(&mut connection.reader, &mut self.pool), &taken) {
            (Err(_), _) => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            (Ok(room), Some(bytes)) if !bytes.is_empty() => {
                sent = bytes.len().min(room.len()).min(appetite);
                room[..sent].copy_from_slice(&bytes.as_slice()[..sent]);
                Ok(sent)
            }
            _ if ended => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        let received = connection.received(received, &mut self.turn, &mut self.pool);
        if let Some(other) = self.connections.get_mut(peer) {
            other.writer.output = taken;
            other.sent(sent, &mut self.pool);
            self.stats.bytes_out += sent as u64;
            self.flushed(peer);
        }
        received
    }

    /// One side is gone: the other has its end, or a reset.
    #[cold]
    pub(super) fn lose_peer(&mut self, id: Id<Connection>, failed: bool) {
        let Some(peer) = self.peer(id) else { return };
        if failed {
            let reset = io::Error::from_raw_os_error(libc::ECONNRESET);
            self.lose(peer, Some(Error::lost(&reset)));
        } else {
            self.wake_peer(id);
        }
    }
}
