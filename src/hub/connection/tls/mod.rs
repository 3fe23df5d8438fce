//! TLS on a connection. The engine stands between the socket and everything else: ciphertext is received into a buffer
//! of its own, and plaintext goes into the turn's room as if it had been received; what was gathered is sealed at the
//! flush, and goes out in one send. So lines, limits, marks and half-close are the same as without.
//!
//! Bounded both ways: the engine takes ciphertext in only while its plaintext has room, and no more than [`SEAL`] is
//! sealed before the socket has taken what was sealed before.

mod handshake;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub use self::handshake::Secure;
pub(in crate::hub) use self::handshake::Waiter;
use super::closing::LINGER;
use super::deadlines::Deadline;
use super::reading::Received;
use super::writing::{Sent, TURN_SENDS, is_full};
use super::{Connection, Hub, TURN_READS, face, is, no_memory};
use crate::error::Error;
use crate::net;
use crate::stream::{Buffer, Pool, READ_SIZE, Reader};
use crate::table::Id;
use crate::tls::Session;

/// So much is sealed at once.
const SEAL: usize = 64 * 1024;
/// What a step of a handshake takes, some 200 us, in bytes that could be received meanwhile.
const HANDSHAKE_WORK: u64 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Tls {
    session: Session,
    /// Who learns what becomes of the handshake; None: they have.
    waiter: Option<Waiter>,
    /// The handshake is over, and well.
    secured: bool,
    /// So much of the output was written before TLS began, and goes out as it is.
    clear: usize,
    /// Ciphertext that the engine has not taken in; that the socket has not taken.
    input: Option<Box<Buffer>>,
    sealed: Option<Box<Buffer>>,
    /// The engine may hold plaintext that there was no room for.
    holds: bool,
    /// The socket has ended.
    ended: bool,
    /// Our goodbye is sealed.
    closed: bool,
    /// The engine has failed: what comes is dropped.
    dead: bool,
    /// When the handshake, or the wait for the peer's goodbye, is over.
    pub due: Option<Deadline>,
    shutdown: Option<Duration>,
}

/// What came of an attempt to fill a room with plaintext.
enum Filled {
    /// The socket has, or had, something.
    Something,
    Nothing,
    Failed(io::Error),
    Broken(Error),
    NoMemory,
}

/// Not inlined, since valgrind has to be told of it by name: it takes a part of what ring's assembly makes for
/// uninitialised.
#[inline(never)]
fn send_sealed(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    net::send(socket, bytes)
}

fn broken(what: &str) -> Error {
    Error::Tls { what: what.into() }
}

impl Tls {
    fn is_handshaking(&self) -> bool {
        self.waiter.is_some()
    }

    /// Receives, if all that came before is taken in, and fills the room as far as that goes.
    fn fill(
        &mut self,
        socket: &OwnedFd,
        flags: &mut u64,
        room: &mut [u8],
        pool: &mut Pool,
    ) -> (usize, Filled) {
        self.holds = false;
        let mut filled = self.session.plaintext(room);
        let mut outcome = if filled > 0 { Filled::Something } else { Filled::Nothing };
        if filled < room.len() && self.input.is_none() && *flags & is::READABLE != 0 && !self.ended {
            let mut buffer = pool.take();
            let Ok(space) = buffer.room(READ_SIZE) else { return (filled, Filled::NoMemory) };
            match net::receive(socket, space) {
                Ok(0) => {
                    self.ended = true;
                    outcome = Filled::Something;
                }
                Ok(n) => {
                    buffer.grow(n);
                    if n < READ_SIZE && *flags & (is::MORE | is::ALWAYS_MORE) == 0 {
                        *flags &= !is::READABLE;
                    }
                    outcome = Filled::Something;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *flags &= !(is::READABLE | is::MORE);
                }
                Err(error) => outcome = Filled::Failed(error),
            }
            self.input = Some(buffer);
            pool.reclaim(&mut self.input);
        }
        while filled < room.len()
            && let Some(input) = &mut self.input
        {
            let before = filled;
            let taken = match self.session.take(input.as_slice()) {
                Ok(taken) => taken,
                Err(error) => {
                    // What came before it is good. (The engine says the same again.)
                    filled += self.session.plaintext(&mut room[filled..]);
                    if filled < room.len() {
                        return (filled, Filled::Broken(error));
                    }
                    break;
                }
            };
            input.consume(taken);
            pool.reclaim(&mut self.input);
            if taken > 0 {
                // Though it may be less than a record: there may be more in the socket.
                outcome = Filled::Something;
            }
            filled += self.session.plaintext(&mut room[filled..]);
            if self.session.is_closed_by_peer() || (taken == 0 && filled == before) {
                break;
            }
        }
        self.holds = filled == room.len();
        (filled, outcome)
    }

    /// Moves what the engine has to send to where it is sent from.
    fn unload(&mut self, pool: &mut Pool) -> io::Result<()> {
        let taken = !self.session.has_output()
            || self.session.output(|bytes| pool.append(&mut self.sealed, bytes).is_ok());
        if !taken || self.session.is_starved() {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        Ok(())
    }

    fn forget_sealed(&mut self, pool: &mut Pool) {
        if let Some(sealed) = self.sealed.take() {
            pool.give(sealed);
        }
    }

    /// Encrypted, and not sent yet.
    pub fn sealed(&self) -> usize {
        self.sealed.as_ref().map_or(0, |sealed| sealed.len())
    }
}

/// An engine, and what it works between.
struct Engine<'a> {
    socket: &'a OwnedFd,
    flags: &'a mut u64,
    reader: &'a mut Reader,
    tls: &'a mut Tls,
}

impl Connection {
    fn engine(&mut self) -> Option<Engine<'_>> {
        let tls = self.rare.as_mut()?.tls.as_deref_mut()?;
        Some(Engine { socket: self.socket.as_ref()?, flags: &mut self.flags, reader: &mut self.reader, tls })
    }

    fn tls(&self) -> Option<&Tls> {
        self.rare.as_ref()?.tls.as_deref()
    }

    fn tls_mut(&mut self) -> Option<&mut Tls> {
        self.rare.as_mut()?.tls.as_deref_mut()
    }

    /// When the handshake is late, or the peer's goodbye.
    pub(super) fn tls_due(&self) -> Option<Deadline> {
        self.tls()?.due
    }

    /// Our goodbye is to be said yet.
    pub(super) fn owes_goodbye(&self) -> bool {
        self.tls().is_some_and(|tls| tls.secured && !tls.closed && !tls.dead)
    }

    /// What get_extra_info() tells of TLS.
    pub(super) fn tell_tls(&self, name: &str) -> Option<Vec<u8>> {
        self.tls().filter(|tls| tls.secured)?.session.tell(name)
    }

    /// Makes records of what is to go out next, if what was sealed before is gone.
    fn seal(&mut self, tls: &mut Tls, pool: &mut Pool) -> io::Result<()> {
        tls.unload(pool)?;
        if tls.sealed.is_some() || tls.is_handshaking() {
            return Ok(());
        }
        if let Some(output) = &self.writer.output {
            if self.is(is::WRITABLE) {
                let bytes = output.as_slice();
                let taken = tls.session.seal(&bytes[..bytes.len().min(SEAL)]);
                if taken == 0 && !tls.session.is_starved() {
                    // A key of TLS 1.2 is used up.
                    return Err(io::Error::from_raw_os_error(libc::EPROTO));
                }
                self.sent(taken, pool);
            }
        } else if self.is(is::CLOSING | is::WRITE_EOF) && !tls.closed {
            tls.closed = true;
            tls.session.close();
        }
        tls.unload(pool)
    }

    /// Sends through the engine until the socket takes no more. What was written before TLS began goes first, as it is.
    fn send_through(&mut self, tls: &mut Tls, pool: &mut Pool) -> Sent {
        const MORE: u64 = is::BLOCKED | is::CLOSING | is::WRITE_EOF | is::RELEASES;
        for _ in 0..TURN_SENDS {
            if tls.clear == 0 && tls.is_handshaking() && self.is(is::CLOSING) {
                // What waited for the end of the handshake goes nowhere, and half a handshake is good for nothing.
                tls.dead = true;
                tls.forget_sealed(pool);
                self.discard_output(pool);
                return Sent::Some;
            }
            let bytes = if tls.clear > 0 {
                self.writer.output.as_ref().map(|output| &output.as_slice()[..output.len().min(tls.clear)])
            } else if let Err(error) = self.seal(tls, pool) {
                return Sent::Failed(error);
            } else {
                tls.sealed.as_ref().map(|sealed| sealed.as_slice())
            };
            let (Some(bytes), Some(socket), true) = (bytes, &self.socket, self.is(is::WRITABLE)) else {
                let all = self.writer.is_quiet() && tls.sealed.is_none() && !self.is(MORE);
                return if all { Sent::All } else { Sent::Some };
            };
            match send_sealed(socket, bytes) {
                Ok(sent) if tls.clear > 0 => {
                    tls.clear -= sent;
                    self.sent(sent, pool);
                }
                Ok(sent) => {
                    if let Some(sealed) = &mut tls.sealed {
                        sealed.consume(sent);
                    }
                    pool.reclaim(&mut tls.sealed);
                }
                Err(error) if !is_full(&error) => return Sent::Failed(error),
                Err(error) => {
                    self.flags &= !is::WRITABLE;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Sent::NoMemory;
                    }
                }
            }
        }
        Sent::Enough
    }
}

impl Hub {
    // ---- receiving and sending --------------------------------------------------------------------------------

    /// As `receive`, for what is encrypted.
    pub(super) fn receive_tls(&mut self, id: Id<Connection>) -> Received {
        const NOT_NOW: u64 = is::READ_PAUSED | is::USER_PAUSED | is::REGULATED | is::PEER_EOF;
        let Some(connection) = self.connections.get_mut(id) else { return Received::Nothing };
        if connection.is(is::CLOSING | is::LOST) {
            return Received::Nothing;
        }
        let Some(Engine { socket, flags, reader, tls }) = connection.engine() else {
            return Received::Nothing;
        };
        let handshaking = tls.is_handshaking();
        if !handshaking && *flags & NOT_NOW != 0 {
            return Received::Nothing;
        }
        if (*flags & is::READABLE == 0 || tls.ended) && tls.input.is_none() && !tls.holds {
            return Received::Nothing;
        }
        if self.turn_reads >= TURN_READS {
            return Received::Later;
        }
        self.turn_reads += 1;
        if handshaking {
            // As if so much had come.
            self.turn_received = self.turn_received.wrapping_sub(HANDSHAKE_WORK);
        }
        let Ok(room) = self.turn.room(reader, &mut self.pool) else {
            return self.end_tls(id, no_memory());
        };
        let (filled, outcome) = tls.fill(socket, flags, room, &mut self.pool);
        if filled == 0 {
            self.turn.begin(reader);
        } else if *flags & face::READER != 0 && self.turn.received(filled, reader, &mut self.pool).is_err() {
            return self.end_tls(id, no_memory());
        }
        match outcome {
            Filled::Failed(error) => return Received::Failed(error),
            Filled::NoMemory => return self.end_tls(id, no_memory()),
            Filled::Broken(error) => {
                tls.dead = true;
                return self.end_tls(id, error);
            }
            Filled::Something | Filled::Nothing => {}
        }
        if tls.session.is_closed_by_peer() && !tls.holds {
            if tls.session.is_handshaking() {
                return self.end_tls(id, broken("TLS handshake failed: the peer has ended it"));
            }
            if let Some(input) = tls.input.take() {
                self.pool.give(input);
            }
            *flags |= is::PEER_EOF;
            reader.eof = true;
        } else if tls.ended && tls.input.is_none() && !tls.holds {
            return self.end_tls(id, broken(if handshaking {
                "TLS handshake failed: the peer has closed the connection"
            } else {
                "TLS: the connection ended without a goodbye (close_notify), so what came may be cut short"
            }));
        }
        if tls.session.has_output() || handshaking && !tls.session.is_handshaking() {
            self.tls_moved(id);
            return Received::Something;
        }
        let again = reader.is_waiting() && connection.exception().is_some();
        match outcome {
            Filled::Nothing if !again => Received::Nothing,
            _ => Received::Something,
        }
    }

    /// As `send`, for what is to be encrypted.
    pub(super) fn send_tls(&mut self, id: Id<Connection>) -> Sent {
        let Some(connection) = self.connections.get_mut(id) else { return Sent::All };
        let Some(mut tls) = connection.rare.as_mut().and_then(|rare| rare.tls.take()) else {
            return Sent::All;
        };
        // Without the engine, what is unsent is what is not sealed.
        let before = connection.unsent();
        let sent = connection.send_through(&mut tls, &mut self.pool);
        self.stats.bytes_out += (before - connection.unsent()) as u64;
        connection.rare().tls = Some(tls);
        sent
    }

    // ---- the end ----------------------------------------------------------------------------------------------

    /// The engine has failed, or the peer has: it is told why, if it still listens.
    pub(super) fn end_tls(&mut self, id: Id<Connection>, error: Error) -> Received {
        let goodbye = Deadline::after(self.timers.now(), Some(LINGER));
        let Some(connection) = self.connections.get_mut(id) else { return Received::Something };
        if connection.is(is::LOST) {
            return Received::Something;
        }
        if let Some(Engine { socket, flags, tls, .. }) = connection.engine() {
            let starved = tls.session.is_starved();
            if tls.clear == 0
                && !starved
                && tls.unload(&mut self.pool).is_ok()
                && let Some(alert) = &tls.sealed
            {
                // What it does not take now, the peer will not miss.
                let _ = send_sealed(socket, alert.as_slice());
            }
            tls.dead = true;
            // A socket closed with unread input would take the alert along.
            if !tls.ended && !starved && net::shutdown_write(socket).is_ok() {
                tls.due = goodbye;
                *flags |= is::LINGERING;
                self.leaving(id, true);
                self.keep_deadline(id, goodbye);
            }
        }
        self.lose(id, Some(error));
        Received::Something
    }

    /// The loop ends. What was gathered has been offered to the socket; that this was all is said too, lest the peer take
    /// it for cut short.
    pub(super) fn part(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::LOST) || connection.unsent() > 0 {
            return;
        }
        if connection.owes_goodbye()
            && let Some(Engine { socket, tls, .. }) = connection.engine()
        {
            tls.closed = true;
            tls.session.close();
            if tls.unload(&mut self.pool).is_ok()
                && let Some(goodbye) = &tls.sealed
            {
                let _ = send_sealed(socket, goodbye.as_slice());
            }
        }
    }

    /// What the engine has of the memory that is set apart goes back, whoever still holds the connection.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_starved(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.tls().is_some_and(|tls| tls.session.is_starved())
        {
            connection.rare().tls = None;
        }
    }

    /// The peer's goodbye is waited for.
    pub(super) fn time_goodbye(&mut self, id: Id<Connection>) {
        let now = self.timers.now();
        let Some(tls) = self.connections.get_mut(id).and_then(Connection::tls_mut) else { return };
        tls.due = Deadline::after(now, tls.shutdown);
        let due = tls.due;
        self.keep_deadline(id, due);
    }

    /// A handshake is late, or a goodbye.
    pub(super) fn tls_late(&mut self, id: Id<Connection>, now: Duration) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let lingering = connection.is(is::LINGERING);
        let Some(tls) = connection.tls_mut() else { return };
        let handshaking = tls.is_handshaking();
        let Some(due) = tls.due.take_if(|due| due.is_over(now)) else { return };
        if lingering {
            self.hang_up(id);
        } else if handshaking {
            self.end_tls(id, due.error("TLS handshake"));
        }
    }

    /// Receives what comes after our goodbye, and drops it, until the peer has said its own.
    pub(super) fn linger_tls(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(Engine { socket, flags, reader, tls }) = connection.engine() else { return };
        if *flags & is::READABLE == 0 && (tls.dead || tls.input.is_none() && !tls.holds) {
            return;
        }
        let over = match self.turn.room(reader, &mut self.pool) {
            Err(_) => true,
            Ok(room) if tls.dead => match net::receive(socket, room) {
                Ok(n) => n == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *flags &= !is::READABLE;
                    false
                }
                Err(_) => true,
            },
            Ok(room) => match tls.fill(socket, flags, room, &mut self.pool).1 {
                Filled::Something | Filled::Nothing => tls.ended || tls.session.is_closed_by_peer(),
                Filled::Broken(_) => {
                    tls.dead = true;
                    false
                }
                Filled::Failed(_) | Filled::NoMemory => true,
            },
        };
        let more = *flags & is::READABLE != 0 || tls.holds;
        self.turn.begin(reader);
        if over {
            self.hang_up(id);
        } else if more {
            self.again(id);
        }
    }

    /// As `rescue`: what a dead socket still holds is decrypted, and the reader's.
    pub(super) fn rescue_tls(&mut self, id: Id<Connection>, room: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        for _ in 0..TURN_READS {
            let Some(Engine { socket, flags, reader, tls }) = connection.engine() else { return };
            *flags |= is::READABLE;
            let (filled, outcome) = tls.fill(socket, flags, room, &mut self.pool);
            let fed = filled == 0 || reader.feed(&room[..filled], &mut self.pool).is_ok();
            self.turn.received += filled as u64;
            if !fed || !matches!(outcome, Filled::Something) || tls.ended {
                return;
            }
        }
    }
}
