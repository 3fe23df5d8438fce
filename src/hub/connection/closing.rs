//! How connections end: closed, aborted or lost, and who is told.

use std::collections::VecDeque;
use std::io;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use super::{Connection, Drain, Hub, TURN_READS, Waiting, decide_drains, face, is};
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::hub::{Call, Receipt};
use crate::net;
use crate::stream::READ_SIZE;
use crate::table::Id;

/// How often, and how many times at the most, a closed socket is looked at while the peer has not closed.
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGERS: u8 = 15;

impl Hub {
    pub fn writer_close(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.close(id);
        Ok(())
    }

    /// Stops reading; the connection ends when what is gathered has gone out.
    pub(in crate::hub) fn close(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::CLOSING | is::LOST) {
            // Also of what the network took before: nothing more is to be written to it.
            connection.flags |= is::CLOSING;
            return;
        }
        if connection.is_only_in_handshake() {
            return self.abort(id);
        }
        connection.flags |= is::CLOSING;
        if !connection.has_transport() {
            return;
        }
        self.leaving(id, true);
        self.touch(id);
        self.time_flush(id);
    }

    pub fn writer_abort(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.abort(id);
        Ok(())
    }

    /// Ends it now: what is gathered is dropped, and the peer is told by a reset.
    pub(in crate::hub) fn abort(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::LINGERING) {
            return self.hang_up(id);
        }
        if connection.is(is::LOST | is::ABORTED) {
            connection.flags |= is::CLOSING;
            return;
        }
        connection.flags |= is::CLOSING | is::ABORTED;
        connection.discard_output(&mut self.pool);
        if connection.is(is::CUSTOM) {
            self.leaving(id, true);
            return self.enqueue(id);
        }
        if let Some(socket) = &connection.socket {
            net::reset_on_close(socket);
        }
        self.lose(id, None);
    }

    pub(super) fn leaving(&mut self, id: Id<Connection>, leaving: bool) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.is(is::LEAVING) != leaving
            && !connection.is(is::PAIR)
        {
            connection.put(is::LEAVING, leaving);
            if leaving { self.leaving += 1 } else { self.leaving -= 1 }
        }
    }

    /// All has gone out. A peer that has not closed yet may still be sending: a socket closed with unread input resets
    /// the connection and takes our last bytes along. So shut down, and wait for the peer's end in the background.
    pub(super) fn finish_close(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let lingering = match &connection.socket {
            Some(socket) if !connection.is(is::PEER_EOF) => net::shutdown_write(socket).is_ok(),
            _ => false,
        };
        if lingering {
            connection.flags |= is::LINGERING;
            if connection.is(is::TLS) {
                self.time_goodbye(id);
            } else {
                self.timers.set(LINGER, id.number());
            }
        }
        self.lose(id, None);
    }

    /// Receives what comes after the close, and drops it; once in a turn, since a peer that sends on and on has no claim
    /// to the others' time.
    pub(super) fn linger(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::TLS) {
            return self.linger_tls(id);
        }
        if !connection.is(is::READABLE) {
            return;
        }
        let Some(socket) = &connection.socket else { return };
        let received =
            self.turn.room(&mut connection.reader, &mut self.pool).map(|room| net::receive(socket, room));
        self.turn.begin(&mut connection.reader);
        match received {
            Ok(Ok(n)) if n > 0 => {
                self.turn.received += n as u64;
                self.again(id);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => connection.flags &= !is::READABLE,
            _ => self.hang_up(id),
        }
    }

    pub(super) fn hang_up(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.flags &= !is::LINGERING;
            connection.socket = None;
        }
        self.close_pipe(id);
        self.leaving(id, false);
        self.remove_if_over(id);
    }

    /// A timer: a lingering socket, or one that the kernel had no memory for.
    pub(in crate::hub) fn connection_timer(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.is(is::LINGERING) {
            connection.flags |= is::WRITABLE;
            return self.touch(id);
        }
        if connection.is(is::TLS) {
            // The peer's goodbye has its own time.
            return;
        }
        connection.lingered += 1;
        let unacknowledged = connection.socket.as_ref().map_or(0, net::unacknowledged);
        if unacknowledged == 0 || connection.lingered >= LINGERS {
            self.hang_up(id);
        } else {
            self.timers.set(LINGER, id.number());
        }
    }

    /// Sending failed, which loses the connection; but what the peer had sent before is the reader's still.
    pub(in crate::hub) fn break_off(&mut self, id: Id<Connection>, error: &io::Error) {
        if self.connections.get(id).is_some_and(|connection| connection.is(is::PIPE)) {
            return self.break_pipe(id, error);
        }
        let is_ours = !matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK));
        if is_ours {
            self.rescue(id);
        }
        self.lose(id, Some(Error::lost(error)));
        if !is_ours && let Some(socket) = self.connections.get_mut(id).and_then(|found| found.socket.take()) {
            // The host has closed it. What is in its place by now is the host's own, and not to be closed here.
            let _ = socket.into_raw_fd();
        }
    }

    /// Receives what is left in a dead socket, whether or not reading is paused: the kernel holds it already, and no more
    /// is to come. Into memory of its own, since a callback may hold what lies in the turn's.
    fn rescue(&mut self, id: Id<Connection>) {
        if self.leave_turn(id).is_err() {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut room = Vec::new();
        if connection.is(is::CLOSING | is::PEER_EOF)
            || !connection.is(face::READER)
            || room.try_reserve_exact(READ_SIZE).is_err()
        {
            return;
        }
        room.resize(READ_SIZE, 0);
        if connection.is(is::TLS) {
            return self.rescue_tls(id, &mut room);
        }
        for _ in 0..TURN_READS {
            match connection.socket.as_ref().map(|socket| net::receive(socket, &mut room)) {
                Some(Ok(n)) if n > 0 && connection.reader.feed(&room[..n], &mut self.pool).is_ok() => {
                    self.turn.received += n as u64;
                }
                _ => return,
            }
        }
    }

    /// asyncio's connection_lost: the reader gets the end or the error, drains and those who wait for the end are
    /// answered in its next turn.
    pub(in crate::hub) fn lose(&mut self, id: Id<Connection>, error: Option<Error>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::LOST) {
            return;
        }
        connection.flags |= is::LOST;
        if connection.socket.is_some() {
            self.stats.connections_open -= 1;
        }
        let lingering = connection.is(is::LINGERING);
        connection.discard_output(&mut self.pool);
        if connection.is(is::BLOCKED) {
            connection.flags &= !is::BLOCKED;
            self.blocked -= 1;
        }
        let told = if connection.is(is::TLS) { error.clone() } else { None };
        decide_drains(connection, error.clone().or(Some(Error::Lost { errno: 0 })));
        connection.writer.paused = false;
        let paired = connection.is(is::PAIR);
        let failed = connection.is(is::ABORTED) || error.is_some();
        match error {
            None => connection.reader.eof = true,
            Some(error) => {
                connection.set_exception(error.clone());
                connection.rare().lost = Some(error);
            }
        }
        let tls = connection.is(is::TLS);
        let server = std::mem::take(&mut connection.server);
        if server != 0 {
            self.client_went(Id::from_number(server));
        }
        if !lingering {
            self.leaving(id, false);
        }
        self.enqueue(id);
        if paired {
            self.lose_peer(id, failed);
        }
        if tls {
            self.tls_lost(id, told);
            self.drop_starved(id);
        }
    }

    pub fn wait_closed(&mut self, id: Id<Connection>, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        let connection = self.alive(id, face::WRITER)?;
        connection.rare().closed.push_back(Waiting { callback, serial });
        self.waiting += 1;
        self.enqueue(id);
        Ok(self.receipt(Receipt::WaitClosed, id.place(), serial))
    }

    /// The last that is told: the end of the connection, and the release of a custom transport.
    #[cold]
    #[inline(never)]
    pub(super) fn farewell(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if !connection.is(is::LOST) {
            return None;
        }
        if let Some(rare) = connection.rare.as_deref_mut()
            && let Some(waiting) = rare.closed.pop_front()
        {
            let error = rare.lost.clone().map(Box::new);
            self.waiting -= 1;
            return Some(Call::Writer { callback: waiting.callback, stream: id, error });
        }
        if !connection.is(is::LINGERING) {
            // As in asyncio, only now.
            connection.socket = None;
            self.close_pipe(id);
        }
        self.release(id)
    }

    /// Takes back what a receipt stands for. False: it stands for nothing any more.
    pub(in crate::hub) fn cancel_connection(
        &mut self,
        id: Id<Connection>,
        what: Receipt,
        serial: u32,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let found = match what {
            Receipt::StartTls => return self.cancel_start_tls(id, serial),
            Receipt::Read => {
                let found = connection.reader.is_waiting()
                    && connection.reader.serial == serial
                    && !connection.reader.canceled;
                connection.reader.canceled |= found;
                found
            }
            _ => {
                if what == Receipt::Drain
                    && self.turn_of == Some(id)
                    && let Some(drain) = self.turn_drain.take_if(|drain| drain.serial == serial)
                {
                    let Waiting { callback, serial } = drain;
                    connection.rare().drains.push_back(Drain { callback, serial, deadline: None });
                }
                let Some(rare) = connection.rare.as_deref_mut() else { return false };
                let callback = if what == Receipt::Drain {
                    take_from(&mut rare.drains, |drain| drain.serial == serial).map(|drain| drain.callback)
                } else {
                    take_from(&mut rare.closed, |waiting| waiting.serial == serial)
                        .map(|waiting| waiting.callback)
                };
                if let Some(callback) = callback {
                    rare.decided.push_back((callback, Some(Box::new(Error::Canceled))));
                    connection.flags |= is::ANSWERS;
                }
                callback.is_some()
            }
        };
        if found {
            self.enqueue(id);
        }
        found
    }

    /// The loop ends: everything that waits is cancelled, in its order.
    pub(in crate::hub) fn end_connection(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.reader.canceled = connection.reader.is_waiting();
        connection.flags &= !is::ANNOUNCE;
        decide_drains(connection, Some(Error::Canceled));
        if let Some(rare) = connection.rare.as_deref_mut() {
            for waiting in rare.closed.drain(..) {
                rare.decided.push_back((waiting.callback, Some(Box::new(Error::Canceled))));
                connection.flags |= is::ANSWERS;
            }
        }
        if connection.is(is::TLS) {
            self.part(id);
        }
        self.lose(id, None);
        self.hang_up(id);
        self.enqueue(id);
    }
}

fn take_from<T>(list: &mut VecDeque<T>, is_it: impl Fn(&T) -> bool) -> Option<T> {
    let place = list.iter().position(is_it)?;
    list.remove(place)
}
