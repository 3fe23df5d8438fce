//! A connection: one record with up to four faces. Its reader and its writer are pure; here they meet the socket.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::Domain;

use super::custom::Custom;
use super::{Hub, Receipt, Server};
use crate::call::{Call, Callback, Lent};
use crate::error::{Error, Refusal};
use crate::event::Event;
use crate::net;
use crate::stream::{Buffer, Marks, READ_SIZE, Reader, Separators, Settled, Want, Writer};
use crate::table::{Id, Kind};

/// A write of at least so much, with nothing before it, is sent from where the caller has it.
const DIRECT_WRITE: usize = 16 * 1024;
/// So much gathered is sent without waiting for the end of the batch.
const GATHER: usize = 64 * 1024;
/// One stream's share of a turn, so that one peer cannot starve the rest.
const TURN_CALLS: u32 = 1024;
const TURN_READS: u32 = 16;
/// How often, and how many times at the most, a closed socket is looked at while the peer has not closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGERS: u8 = 15;
/// When the kernel has no memory to send from, which it never tells that it has again.
const SEND_RETRY: Duration = Duration::from_millis(10);

/// Which handles of a connection are alive.
pub mod face {
    pub const READER: u8 = 1;
    pub const WRITER: u8 = 2;
    pub const TRANSPORT: u8 = 4;
    pub const PROTOCOL: u8 = 8;
}

/// What is so of a connection. Those in `SPECIAL` mean that there is more to look at in its turn than reads.
pub mod is {
    /// The socket may have something to receive; the edge was seen and not used up.
    pub const READABLE: u32 = 1;
    /// The socket takes bytes, as far as we know.
    pub const WRITABLE: u32 = 1 << 1;
    /// A short read does not mean that nothing is left: receive until the socket says so.
    pub const MORE: u32 = 1 << 2;
    /// ... on this kind of socket it never does.
    pub const ALWAYS_MORE: u32 = 1 << 3;
    /// In the hub's queue.
    pub const QUEUED: u32 = 1 << 4;
    /// In the hub's list of those that have something to send, or to finish, at the end of the batch.
    pub const DIRTY: u32 = 1 << 5;
    /// Counted among those whose output the socket did not take.
    pub const BLOCKED: u32 = 1 << 6;
    /// Reading was paused by whoever holds the transport.
    pub const USER_PAUSED: u32 = 1 << 7;
    /// More than twice the limit is buffered, and not yet down to the limit.
    pub const READ_PAUSED: u32 = 1 << 8;
    /// The peer will send no more.
    pub const PEER_EOF: u32 = 1 << 9;
    pub const EOF_SENT: u32 = 1 << 10;
    /// This side has closed or aborted it.
    pub const CLOSING: u32 = 1 << 11;
    /// Counted among those that are on their way out.
    pub const LEAVING: u32 = 1 << 12;
    /// Sending failed; what the peer had sent before is still to be received.
    pub const BROKEN: u32 = 1 << 13;
    /// asyncio's connection_lost has happened.
    pub const LOST: u32 = 1 << 14;
    /// Closed and told so; the socket waits for the peer's end, lest unread input turn our last bytes into a reset.
    pub const LINGERING: u32 = 1 << 15;
    /// There are drains or other answers in `rare`.
    pub const ANSWERS: u32 = 1 << 16;
    /// The transport is made of C functions.
    pub const CUSTOM: u32 = 1 << 17;
    /// The client callback of a protocol is to be called.
    pub const ANNOUNCE: u32 = 1 << 18;
    /// A protocol's connection_made has been called.
    pub const MADE: u32 = 1 << 19;
    /// The user's transport cannot take more for now: drains wait.
    pub const WRITING_PAUSED: u32 = 1 << 20;
    /// What a custom transport has been told.
    pub const PAUSE_TOLD: u32 = 1 << 21;
    pub const CLOSE_TOLD: u32 = 1 << 22;
    pub const ABORT_TOLD: u32 = 1 << 23;
    pub const ABORTED: u32 = 1 << 24;

    pub const SPECIAL: u32 = BROKEN | LOST | LINGERING | ANSWERS | CUSTOM | ANNOUNCE;
}

/// Who is at the other end, kept since a reset makes the system forget it. Small, as most are.
#[derive(Debug)]
pub enum Peer {
    Unknown,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl From<Option<SocketAddr>> for Peer {
    fn from(address: Option<SocketAddr>) -> Peer {
        match address {
            None => Peer::Unknown,
            Some(SocketAddr::V4(address)) => Peer::V4(address),
            Some(SocketAddr::V6(address)) => Peer::V6(Box::new(address)),
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    pub(super) socket: Option<OwnedFd>,
    pub(super) flags: u32,
    pub(super) faces: u8,
    lingered: u8,
    /// 0: not a server's client.
    server: usize,
    peer: Peer,
    pub(super) rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub struct Rare {
    pub separators: Separators,
    marks: Option<Marks>,
    drains: VecDeque<Waiting>,
    /// Drains that have been decided.
    decided: VecDeque<(Callback, Option<Box<Error>>)>,
    /// Those who wait for the end.
    closed: VecDeque<Waiting>,
    pub exception: Option<Error>,
    lost: Option<Error>,
    pub extra: Vec<(String, Box<[u8]>)>,
    pub custom: Option<Custom>,
    /// Another connection's transport, which this reader's flow control pauses.
    pub regulates: Option<Id<Connection>>,
    /// This was only a custom transport, and has joined that stream.
    pub joined: Option<Id<Connection>>,
    pub client: Callback,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    callback: Callback,
    serial: u32,
}

impl Rare {
    pub(super) fn take_extra(&mut self, extra: Vec<(String, Box<[u8]>)>) {
        self.extra.extend(extra);
    }
}

static NO_SEPARATORS: Separators = Separators::none();

impl Connection {
    pub fn bare(limit: usize, faces: u8) -> Connection {
        Connection {
            reader: Reader::new(limit),
            writer: Writer::default(),
            socket: None,
            flags: 0,
            faces,
            lingered: 0,
            server: 0,
            peer: Peer::Unknown,
            rare: None,
        }
    }

    #[inline]
    pub fn is(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn put(&mut self, flags: u32, on: bool) {
        if on { self.flags |= flags } else { self.flags &= !flags }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub fn exception(&self) -> Option<&Error> {
        self.rare.as_ref()?.exception.as_ref()
    }

    #[inline]
    fn marks(&self) -> Marks {
        self.rare.as_ref().and_then(|rare| rare.marks).unwrap_or_default()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is(is::CLOSING | is::LOST | is::BROKEN)
    }

    #[inline]
    fn may_receive(&self) -> bool {
        self.flags & (is::READABLE | is::CLOSING | is::LOST | is::USER_PAUSED | is::PEER_EOF) == is::READABLE
    }

    /// asyncio's back-pressure: reading pauses above twice the limit, and goes on at the limit, or when somebody waits
    /// for more than that.
    #[inline]
    fn should_pause(&self, buffered: usize) -> bool {
        if self.reader.is_waiting() {
            false
        } else if self.reader.skipping {
            // The rest of an over-long line is received only for the sake of the next one.
            true
        } else if self.is(is::READ_PAUSED) {
            buffered > self.reader.limit
        } else {
            buffered > self.reader.limit.saturating_mul(2)
        }
    }

    #[inline]
    pub fn has_face(&self, face: u8) -> bool {
        self.faces & face != 0
    }

    pub(super) fn is_client_of(&self, server: Id<Server>) -> bool {
        self.server == server.number()
    }

    /// False: what is written is dropped. It is the network's doing, not the caller's: drain and the next read tell.
    #[inline]
    fn takes_output(&self) -> Result<bool, Refusal> {
        if !self.has_face(face::WRITER) {
            Err(Refusal::Stale)
        } else if self.is(is::CLOSING) || self.writer.eof {
            Err(Refusal::State)
        } else {
            Ok(!self.is(is::LOST | is::BROKEN))
        }
    }

    /// Nobody holds it and nothing is owed to anybody.
    fn is_over(&self) -> bool {
        self.faces & !face::TRANSPORT == 0
            && self.socket.is_none()
            && !self.is(is::ANNOUNCE | is::QUEUED)
            && !self.reader.is_waiting()
            && (self.is(is::LOST) || self.faces == 0)
            && self.rare.as_ref().is_none_or(|rare| {
                rare.custom.is_none()
                    && rare.drains.is_empty()
                    && rare.decided.is_empty()
                    && rare.closed.is_empty()
            })
    }
}

fn no_memory() -> Error {
    Error::lost(&io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Made, or accepted: what becomes a connection.
pub(super) struct Established {
    pub socket: OwnedFd,
    pub domain: Domain,
    pub peer: Option<SocketAddr>,
    pub limit: usize,
    pub server: Option<Id<Server>>,
    /// Already registered, under another number.
    pub registered: bool,
}

impl Hub {
    // ---- life -------------------------------------------------------------------------------------------------

    pub(super) fn establish(&mut self, made: Established) -> Result<Id<Connection>, Error> {
        let mut connection = Connection::bare(made.limit, face::READER | face::WRITER | face::TRANSPORT);
        let raw_fd = made.socket.as_raw_fd();
        connection.socket = Some(made.socket);
        connection.put(is::WRITABLE, true);
        connection.put(is::ALWAYS_MORE, !net::short_read_means_drained(made.domain));
        connection.server = made.server.map_or(0, Id::number);
        connection.peer = made.peer.into();
        let id = self
            .connections
            .insert(connection)
            .ok_or_else(|| Error::system("make a connection", &io::Error::from_raw_os_error(libc::ENOMEM)))?;
        let registered = if made.registered {
            self.poll.reregister(raw_fd, id.number())
        } else {
            self.poll.register(raw_fd, id.number())
        };
        if let Err(error) = registered {
            self.connections.remove(id);
            return Err(Error::system("register a socket", &error));
        }
        if let Some(server) = made.server {
            self.client_came(server);
        }
        Ok(id)
    }

    /// A connection of which `face` is alive.
    #[inline]
    pub(super) fn alive(&mut self, id: Id<Connection>, face: u8) -> Result<&mut Connection, Refusal> {
        match self.connections.get_mut(id) {
            Some(connection) if connection.has_face(face) => Ok(connection),
            _ => Err(Refusal::Stale),
        }
    }

    pub fn reader_new(&mut self, limit: usize) -> Result<Id<Connection>, Refusal> {
        self.accepting()?;
        self.connections.insert(Connection::bare(limit, face::READER)).ok_or(Refusal::Full)
    }

    /// What comes from now on goes nowhere.
    pub fn reader_free(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::READER)?;
        self.drop_faces(id, face::READER);
        Ok(())
    }

    /// Closes the connection, and frees its reader.
    pub fn writer_free(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.drop_faces(id, face::READER | face::WRITER);
        self.close(id);
        self.remove_if_over(id);
        Ok(())
    }

    pub(super) fn drop_faces(&mut self, id: Id<Connection>, faces: u8) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let gone = connection.faces & faces;
        connection.faces &= !faces;
        if gone & face::WRITER != 0 {
            connection.flags &= !is::ANNOUNCE;
            decide_drains(connection, Some(Error::Canceled));
        }
        if gone & face::READER != 0 {
            connection.reader.canceled = connection.reader.is_waiting();
            if self.turn_of == Some(id) {
                self.turn.discard();
            }
            if let Some(input) = connection.reader.input.take() {
                self.pool.give(input);
            }
            self.regulate(id);
        }
        if !self.remove_if_over(id) {
            self.enqueue(id);
        }
    }

    pub(super) fn remove_if_over(&mut self, id: Id<Connection>) -> bool {
        let over = self.turn_of != Some(id) && self.connections.get(id).is_some_and(Connection::is_over);
        if over {
            self.connections.remove(id);
        }
        over
    }

    /// Something about it is to be looked at in the next round, unless its turn is now.
    #[inline]
    pub(super) fn enqueue(&mut self, id: Id<Connection>) {
        if self.turn_of == Some(id) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is(is::QUEUED)
        {
            connection.flags |= is::QUEUED;
            self.queue(id.number());
        }
    }

    // ---- its turn ---------------------------------------------------------------------------------------------

    #[inline]
    pub(super) fn connection_event(&mut self, id: Id<Connection>, event: Event) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if event.readable {
            connection.flags |= is::READABLE;
        }
        if event.more {
            connection.flags |= is::MORE;
        }
        if event.writable {
            connection.flags |= is::WRITABLE;
            if connection.is(is::BLOCKED) {
                self.touch(id);
            }
        }
    }

    #[inline]
    pub(super) fn begin_turn(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.flags &= !is::QUEUED;
        self.turn_of = Some(id);
        self.turn_calls = 0;
        self.turn_reads = 0;
        self.turn.begin(&mut connection.reader);
    }

    #[inline]
    pub(super) fn end_turn(&mut self, id: Id<Connection>) {
        self.turn_of = None;
        let Some(connection) = self.connections.get_mut(id) else {
            return self.turn.abandon(&mut self.pool);
        };
        if self.turn.finish(&mut connection.reader, &mut self.pool).is_err() {
            self.lose(id, Some(no_memory()));
        }
        self.remove_if_over(id);
    }

    /// The next thing to tell somebody about this connection. None: its turn is over.
    #[inline]
    pub(super) fn connection_turn(&mut self, id: Id<Connection>) -> Option<Call> {
        if self.turn_moved {
            self.rejoin(id);
        }
        loop {
            if self.connections.get(id)?.is(is::SPECIAL)
                && let Some(call) = self.special(id)
            {
                return Some(call);
            }
            let connection = self.connections.get_mut(id)?;
            if connection.reader.is_waiting() {
                let (separators, failed) = match &connection.rare {
                    None => (&NO_SEPARATORS, false),
                    Some(rare) => (&rare.separators, rare.exception.is_some()),
                };
                if self.turn_calls >= TURN_CALLS {
                    self.again(id);
                } else {
                    match self.turn.settle(&mut connection.reader, separators, failed) {
                        Settled::Bytes(bytes) => {
                            let callback = connection.reader.disarm();
                            self.waiting -= 1;
                            self.turn_calls += 1;
                            return Some(Call::Read { callback, stream: id, bytes });
                        }
                        Settled::Waiting if !failed => {}
                        settled => {
                            if let Some(call) = self.read_failed(id, settled) {
                                return Some(call);
                            }
                        }
                    }
                }
            }
            if !self.receive(id) {
                return if self.connections.get(id)?.is(is::LOST) { self.farewell(id) } else { None };
            }
        }
    }

    /// A callback had the turn's bytes moved to the stream: the turn goes on from there.
    #[cold]
    fn rejoin(&mut self, id: Id<Connection>) {
        self.turn_moved = false;
        if let Some(connection) = self.connections.get_mut(id) {
            if self.turn.finish(&mut connection.reader, &mut self.pool).is_err() {
                return self.lose(id, Some(no_memory()));
            }
            self.turn.begin(&mut connection.reader);
        }
    }

    /// Everything but reads: what a custom transport is to do, the client callback, drains.
    #[cold]
    fn special(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if connection.is(is::LINGERING) {
            self.linger(id);
        } else if connection.is(is::CUSTOM)
            && let Some(call) = self.command(id)
        {
            return Some(call);
        }
        let connection = self.connections.get_mut(id)?;
        if connection.is(is::ANNOUNCE) {
            connection.flags &= !is::ANNOUNCE;
            let callback = connection.rare().client;
            return Some(Call::Stream { callback, stream: Some(id), error: None });
        }
        if connection.is(is::ANSWERS) { self.answer_drain(id) } else { None }
    }

    /// A read that got no bytes; None: it waits for what the peer had sent before it failed.
    #[cold]
    fn read_failed(&mut self, id: Id<Connection>, settled: Settled) -> Option<Call> {
        let error = match settled {
            Settled::Canceled => Error::Canceled,
            Settled::Incomplete { partial, expected } => Error::Incomplete { partial, expected },
            Settled::Overrun { consumed, found } => Error::Limit { consumed, found },
            Settled::NoMemory => no_memory(),
            Settled::Waiting if self.may_receive(id) => return None,
            Settled::Waiting | Settled::Bytes(_) => self.connections.get(id)?.exception()?.clone(),
        };
        let callback = self.connections.get_mut(id)?.reader.disarm();
        self.waiting -= 1;
        self.turn_calls += 1;
        Some(Call::ReadFailed { callback, stream: id, error: Box::new(error) })
    }

    // ---- receiving --------------------------------------------------------------------------------------------

    fn may_receive(&self, id: Id<Connection>) -> bool {
        self.connections.get(id).is_some_and(Connection::may_receive)
    }

    /// Receives once, if the socket has something and the reader has room. True: there is news.
    #[inline]
    fn receive(&mut self, id: Id<Connection>) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let pause = connection.should_pause(self.turn.len() + connection.reader.buffered());
        if pause != connection.is(is::READ_PAUSED) && self.regulate(id) {
            return true;
        }
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if !connection.may_receive() || connection.is(is::READ_PAUSED) {
            return false;
        }
        if self.turn_reads >= TURN_READS || self.turn_calls >= TURN_CALLS {
            self.again(id);
            return false;
        }
        self.turn_reads += 1;
        let Some(socket) = &connection.socket else { return false };
        let received = match self.turn.room(&mut connection.reader, &mut self.pool) {
            Ok(room) => net::receive(socket, room),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        };
        match received {
            Ok(0) => {
                connection.flags |= is::PEER_EOF;
                connection.reader.eof = true;
                self.turn.begin(&mut connection.reader);
                if connection.is(is::BROKEN) {
                    self.lose_broken(id);
                }
                true
            }
            Ok(n) => {
                if n < READ_SIZE && !connection.is(is::MORE | is::ALWAYS_MORE) {
                    connection.flags &= !is::READABLE;
                }
                if !connection.has_face(face::READER) {
                    return true;
                }
                if self.turn.received(n, &mut connection.reader, &mut self.pool).is_err() {
                    self.lose(id, Some(no_memory()));
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.flags &= !(is::READABLE | is::MORE);
                self.turn.begin(&mut connection.reader);
                if connection.is(is::BROKEN) {
                    self.lose_broken(id);
                    return true;
                }
                false
            }
            Err(error) => {
                self.turn.begin(&mut connection.reader);
                self.lose(id, Some(Error::lost(&error)));
                true
            }
        }
    }

    /// Its share of this round is used up: the rest in the next.
    fn again(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is(is::QUEUED)
        {
            connection.flags |= is::QUEUED;
            self.queue(id.number());
        }
    }

    /// Pauses or resumes reading, as [`should_pause`](Connection::should_pause) says. True: there is a transport to be
    /// told.
    pub(super) fn regulate(&mut self, id: Id<Connection>) -> bool {
        let turn = if self.turn_of == Some(id) { self.turn.len() } else { 0 };
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let pause = connection.should_pause(turn + connection.reader.buffered());
        if pause == connection.is(is::READ_PAUSED) {
            return false;
        }
        connection.put(is::READ_PAUSED, pause);
        let custom = connection.is(is::CUSTOM);
        if let Some(other) = connection.rare.as_ref().and_then(|rare| rare.regulates) {
            let _ = self.pause_reading(other, pause);
        }
        self.enqueue(id);
        custom
    }

    // ---- asking to read ---------------------------------------------------------------------------------------

    #[inline]
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
            || connection.reader.eof
            || matches!(want, Want::Some(0) | Want::Exactly(0))
            || connection.exception().is_some()
        {
            self.enqueue(id);
        }
        self.waiting += 1;
        Ok(self.receipt(Receipt::Read, id.place(), serial))
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
    fn leave_turn(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
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
        self.alive(id, face::READER)?.rare().exception = Some(error);
        self.enqueue(id);
        Ok(())
    }

    pub fn exception(&mut self, id: Id<Connection>) -> Result<Option<Error>, Refusal> {
        Ok(self.alive(id, face::READER)?.exception().cloned())
    }

    // ---- writing ----------------------------------------------------------------------------------------------

    /// True: it is time to drain.
    #[inline]
    pub fn write(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<bool, Refusal> {
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        if !connection.takes_output()? {
            return Ok(false);
        }
        if bytes.len() >= DIRECT_WRITE && connection.writer.output.is_none() {
            return self.write_through(id, bytes);
        }
        self.pool.append(&mut connection.writer.output, bytes).map_err(|_| Refusal::Full)?;
        Ok(self.gathered(id))
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
        self.pool.reserve(&mut connection.writer.output, all).map_err(|_| Refusal::Full)?;
        for bytes in lines {
            // There is room for it.
            let _ = self.pool.append(&mut connection.writer.output, bytes);
        }
        Ok(self.gathered(id))
    }

    /// Sends from where the caller has it, and keeps what the socket does not take.
    fn write_through(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<bool, Refusal> {
        let Some(connection) = self.connections.get_mut(id) else { return Err(Refusal::Stale) };
        let mut sent = 0;
        if connection.is(is::WRITABLE)
            && let Some(socket) = &connection.socket
        {
            match net::send(socket, bytes) {
                Ok(some) => sent = some,
                Err(error) if is_full(&error) => {}
                Err(error) => {
                    self.break_off(id, &error);
                    return Ok(false);
                }
            }
        }
        match self.pool.append(&mut connection.writer.output, &bytes[sent..]) {
            Ok(()) => Ok(self.gathered(id)),
            Err(_) if sent == 0 => Err(Refusal::Full),
            Err(_) => {
                // What has gone out cannot be taken back.
                self.break_off(id, &io::Error::from_raw_os_error(libc::ENOMEM));
                Ok(false)
            }
        }
    }

    /// Something may be new in the output. True: it stands above the high mark.
    #[inline]
    fn gathered(&mut self, id: Id<Connection>) -> bool {
        self.touch(id);
        let Some(connection) = self.connections.get(id) else { return false };
        let buffered = connection.writer.buffered();
        if buffered < GATHER {
            return buffered > connection.marks().high;
        }
        if connection.is(is::WRITABLE) {
            self.flush_one(id);
        }
        self.connections
            .get(id)
            .is_some_and(|connection| connection.writer.buffered() > connection.marks().high)
    }

    /// It has something to send, or to finish, at the end of the batch.
    #[inline]
    pub(super) fn touch(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is(is::DIRTY)
        {
            connection.flags |= is::DIRTY;
            self.dirty.push(id);
            self.stir();
        }
    }

    /// One send for each stream that has gathered something since the last poll.
    pub(super) fn flush(&mut self) {
        let mut next = 0;
        while let Some(id) = self.dirty.get(next).copied() {
            next += 1;
            if let Some(connection) = self.connections.get_mut(id) {
                connection.flags &= !is::DIRTY;
                self.flush_one(id);
            }
        }
        self.dirty.clear();
    }

    /// Sends until the socket takes no more. A short send does not say so, and without a word there is no edge.
    fn flush_one(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::CUSTOM) {
            return self.enqueue(id);
        }
        if connection.is(is::LOST) {
            return;
        }
        let Some(socket) = &connection.socket else { return };
        while connection.flags & is::WRITABLE != 0
            && let Some(output) = &connection.writer.output
        {
            match net::send(socket, output.as_slice()) {
                Ok(sent) => connection.writer.sent(sent, &mut self.pool),
                Err(error) if is_full(&error) => {
                    connection.flags &= !is::WRITABLE;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.timers.set(SEND_RETRY, id.number());
                    }
                }
                Err(error) => return self.break_off(id, &error),
            }
        }
        self.flushed(id);
    }

    /// After an attempt to send: the marks, and what waits for the output to be empty.
    fn flushed(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let marks = connection.marks();
        let resume = connection.writer.judge(marks);
        let blocked = connection.writer.output.is_some();
        if blocked != connection.is(is::BLOCKED) {
            connection.put(is::BLOCKED, blocked);
            if blocked { self.blocked += 1 } else { self.blocked -= 1 }
        }
        if resume {
            decide_drains(connection, None);
        }
        let drains = connection.is(is::ANSWERS) && resume;
        if !blocked {
            if connection.writer.eof && !connection.is(is::EOF_SENT) {
                connection.flags |= is::EOF_SENT;
                if let Some(socket) = &connection.socket {
                    // A connection that is gone by now tells when it is read.
                    let _ = net::shutdown_write(socket);
                }
            }
            if connection.is(is::CLOSING) && !connection.is(is::LOST) {
                return self.finish_close(id);
            }
        }
        if drains {
            self.enqueue(id);
        }
    }

    pub fn write_eof(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        let connection = self.alive(id, face::WRITER)?;
        if !can_write_eof(connection) {
            return Err(Refusal::Unsupported);
        }
        if !connection.is_closing() {
            connection.writer.eof = true;
            self.touch(id);
        }
        Ok(())
    }

    pub fn can_write_eof(&mut self, id: Id<Connection>) -> Result<bool, Refusal> {
        self.alive(id, face::WRITER).map(|connection| can_write_eof(connection))
    }

    pub fn set_marks(&mut self, id: Id<Connection>, marks: Marks) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?.rare().marks = Some(marks);
        // New marks may pause or resume at once.
        self.touch(id);
        Ok(())
    }

    pub fn write_buffer_size(&mut self, id: Id<Connection>) -> Result<usize, Refusal> {
        Ok(self.alive(id, face::WRITER)?.writer.buffered())
    }

    pub fn drain(&mut self, id: Id<Connection>, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        let connection = self.alive(id, face::WRITER)?;
        match connection.exception().cloned() {
            // As in asyncio: an error that the reader has by now is told, one that comes later is not.
            Some(error) => connection.rare().decided.push_back((callback, Some(Box::new(error)))),
            None => connection.rare().drains.push_back(Waiting { callback, serial }),
        }
        connection.flags |= is::ANSWERS;
        self.waiting += 1;
        self.enqueue(id);
        Ok(self.receipt(Receipt::Drain, id.place(), serial))
    }

    fn answer_drain(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if connection.writer.buffered() > connection.marks().high && connection.is(is::DIRTY) {
            // The marks are judged after an attempt to send.
            self.flush_one(id);
        }
        let connection = self.connections.get_mut(id)?;
        let paused = connection.writer.paused || connection.is(is::WRITING_PAUSED);
        let lost = connection.is(is::LOST | is::BROKEN);
        let rare = connection.rare.as_deref_mut()?;
        let told = match rare.decided.pop_front() {
            Some(told) => Some(told),
            None => {
                let failed = lost.then(|| rare.lost.clone().unwrap_or(Error::Lost { errno: 0 }));
                if failed.is_some() || !paused {
                    rare.drains.pop_front().map(|drain| (drain.callback, failed.map(Box::new)))
                } else {
                    None
                }
            }
        };
        if rare.drains.is_empty() && rare.decided.is_empty() {
            connection.flags &= !is::ANSWERS;
        }
        let (callback, error) = told?;
        self.waiting -= 1;
        self.turn_calls += 1;
        Some(Call::Writer { callback, stream: id, error })
    }

    // ---- the end ----------------------------------------------------------------------------------------------

    pub fn writer_close(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.close(id);
        Ok(())
    }

    /// Stops reading; the connection ends when what is gathered has gone out.
    pub(super) fn close(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::CLOSING | is::LOST) {
            return;
        }
        connection.flags |= is::CLOSING;
        if connection.is(is::BROKEN) {
            return self.lose_broken(id);
        }
        if connection.socket.is_none() && !connection.is(is::CUSTOM) {
            return;
        }
        self.leaving(id, true);
        self.touch(id);
    }

    pub fn writer_abort(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?;
        self.abort(id);
        Ok(())
    }

    /// Ends it now: what is gathered is dropped, and the peer is told by a reset.
    pub(super) fn abort(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::LINGERING) {
            return self.hang_up(id);
        }
        if connection.is(is::LOST | is::ABORTED) {
            return;
        }
        connection.flags |= is::CLOSING | is::ABORTED;
        connection.writer.discard(&mut self.pool);
        if connection.is(is::CUSTOM) {
            self.leaving(id, true);
            return self.enqueue(id);
        }
        if let Some(socket) = &connection.socket {
            net::reset_on_close(socket);
        }
        self.lose(id, None);
    }

    fn leaving(&mut self, id: Id<Connection>, leaving: bool) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.is(is::LEAVING) != leaving
        {
            connection.put(is::LEAVING, leaving);
            if leaving { self.leaving += 1 } else { self.leaving -= 1 }
        }
    }

    /// All has gone out. A peer that has not closed yet may still be sending: a socket closed with unread input resets
    /// the connection and takes our last bytes along. So shut down, and wait for the peer's end in the background.
    fn finish_close(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let lingering = match &connection.socket {
            Some(socket) if !connection.is(is::PEER_EOF) => net::shutdown_write(socket).is_ok(),
            _ => false,
        };
        if lingering {
            connection.flags |= is::LINGERING;
            self.timers.set(LINGER, id.number());
        }
        self.lose(id, None);
    }

    /// Receives what comes after the close, and drops it.
    fn linger(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        for _ in 0..TURN_READS {
            if !connection.is(is::READABLE) {
                return;
            }
            let Some(socket) = &connection.socket else { return };
            match self
                .turn
                .room(&mut connection.reader, &mut self.pool)
                .map(|room| net::receive(socket, room))
            {
                Ok(Ok(n)) if n > 0 => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.flags &= !is::READABLE;
                }
                _ => {
                    self.turn.begin(&mut connection.reader);
                    return self.hang_up(id);
                }
            }
            self.turn.begin(&mut connection.reader);
        }
        self.again(id);
    }

    fn hang_up(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.flags &= !is::LINGERING;
            connection.socket = None;
        }
        self.leaving(id, false);
        self.remove_if_over(id);
    }

    /// A timer: a lingering socket, or one that the kernel had no memory for.
    pub(super) fn connection_timer(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.is(is::LINGERING) {
            connection.flags |= is::WRITABLE;
            return self.touch(id);
        }
        connection.lingered += 1;
        let unacknowledged = connection.socket.as_ref().map_or(0, net::unacknowledged);
        if unacknowledged == 0 || connection.lingered >= LINGERS {
            self.hang_up(id);
        } else {
            self.timers.set(LINGER, id.number());
        }
    }

    /// Sending failed: what is gathered is lost, drains end, and reading goes on to what the peer had sent before.
    pub(super) fn break_off(&mut self, id: Id<Connection>, error: &io::Error) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.writer.discard(&mut self.pool);
        connection.rare().lost = Some(Error::lost(error));
        decide_drains(connection, Some(Error::lost(error)));
        connection.flags |= is::BROKEN | is::READABLE | is::MORE;
        if connection.is(is::CLOSING | is::PEER_EOF) || !connection.has_face(face::READER) {
            return self.lose_broken(id);
        }
        self.flushed(id);
        self.enqueue(id);
    }

    fn lose_broken(&mut self, id: Id<Connection>) {
        let error = self.connections.get(id).and_then(|connection| connection.rare.as_ref()?.lost.clone());
        self.lose(id, error);
    }

    /// asyncio's connection_lost: the reader gets the end or the error, drains and those who wait for the end are
    /// answered in its next turn.
    pub(super) fn lose(&mut self, id: Id<Connection>, error: Option<Error>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::LOST) {
            return;
        }
        connection.flags |= is::LOST;
        connection.flags &= !is::BROKEN;
        let lingering = connection.is(is::LINGERING);
        connection.writer.discard(&mut self.pool);
        if connection.is(is::BLOCKED) {
            connection.flags &= !is::BLOCKED;
            self.blocked -= 1;
        }
        decide_drains(connection, error.clone().or(Some(Error::Lost { errno: 0 })));
        connection.writer.paused = false;
        match error {
            None => connection.reader.eof = true,
            Some(error) => {
                let rare = connection.rare();
                rare.exception = Some(error.clone());
                rare.lost = Some(error);
            }
        }
        let server = std::mem::take(&mut connection.server);
        if server != 0 {
            self.client_went(Id::from_number(server));
        }
        if !lingering {
            self.leaving(id, false);
        }
        self.enqueue(id);
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
    fn farewell(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if self.turn_calls >= TURN_CALLS && connection.reader.is_waiting() {
            self.again(id);
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
        }
        self.release(id)
    }

    /// Takes back what a receipt stands for. False: it stands for nothing any more.
    pub(super) fn cancel_connection(&mut self, id: Id<Connection>, what: Receipt, serial: u32) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let found = match what {
            Receipt::Read => {
                let found = connection.reader.is_waiting()
                    && connection.reader.serial == serial
                    && !connection.reader.canceled;
                connection.reader.canceled |= found;
                found
            }
            _ => {
                let Some(rare) = connection.rare.as_deref_mut() else { return false };
                let list = if what == Receipt::Drain { &mut rare.drains } else { &mut rare.closed };
                let place = list.iter().position(|waiting| waiting.serial == serial);
                let waiting = place.and_then(|place| list.remove(place));
                if let Some(waiting) = waiting {
                    rare.decided.push_back((waiting.callback, Some(Box::new(Error::Canceled))));
                    connection.flags |= is::ANSWERS;
                }
                waiting.is_some()
            }
        };
        if found {
            self.enqueue(id);
        }
        found
    }

    /// The loop ends: everything that waits is cancelled, in its order.
    pub(super) fn end_connection(&mut self, id: Id<Connection>) {
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
        self.lose(id, None);
        self.hang_up(id);
        self.enqueue(id);
    }

    // ---- looking ----------------------------------------------------------------------------------------------

    /// A text about the connection, and its length: lent until the connection is gone.
    pub fn extra_info(&mut self, id: Id<Connection>, face: u8, name: &str) -> Result<Option<Lent>, Refusal> {
        let connection = self.alive(id, face)?;
        let known = |connection: &Connection| {
            let extra = &connection.rare.as_ref()?.extra;
            let (_, value) = extra.iter().rev().find(|(known, _)| known == name)?;
            Some(Lent { start: value.as_ptr(), len: value.len() - 1 })
        };
        if let Some(value) = known(connection) {
            return Ok(Some(value));
        }
        let Some(value) = look_up(connection, name) else { return Ok(None) };
        self.set_extra_info(id, face, name, value.as_bytes())?;
        Ok(known(self.alive(id, face)?))
    }

    /// What is set again is kept beside what was lent before.
    pub fn set_extra_info(
        &mut self,
        id: Id<Connection>,
        face: u8,
        name: &str,
        value: &[u8],
    ) -> Result<(), Refusal> {
        let extra = &mut self.alive(id, face)?.rare().extra;
        let mut kept = Vec::new();
        kept.try_reserve_exact(value.len() + 1).map_err(|_| Refusal::Full)?;
        kept.extend_from_slice(value);
        kept.push(0);
        let last = extra.iter().rev().find(|(known, _)| known == name);
        if last.is_none_or(|(_, value)| **value != *kept) {
            extra.push((name.into(), kept.into_boxed_slice()));
        }
        Ok(())
    }

    pub fn is_closing(&mut self, id: Id<Connection>, face: u8) -> Result<bool, Refusal> {
        self.alive(id, face).map(|connection| connection.is_closing())
    }

    /// The transport's handle: the user's own for one made of C functions.
    pub fn transport_of(&mut self, id: Id<Connection>) -> Result<usize, Refusal> {
        let connection = self.alive(id, face::WRITER)?;
        let custom =
            connection.rare.as_ref().and_then(|rare| rare.custom.as_ref()).map(|custom| custom.handle);
        Ok(custom.unwrap_or_else(|| id.face(Kind::Transport)))
    }

    /// For `eddy_repr`: what asyncio's own repr tells.
    pub(super) fn describe_connection(&self, id: Id<Connection>, kind: Kind) -> Option<String> {
        let connection = self.connections.get(id)?;
        let (name, alive) = match kind {
            Kind::Reader => ("reader", face::READER),
            Kind::Writer => ("writer", face::WRITER),
            Kind::Transport => ("transport", face::TRANSPORT),
            _ => ("protocol", face::PROTOCOL),
        };
        if !connection.has_face(alive) {
            return None;
        }
        let mut text = format!("<eddy_{name}");
        let mut say = |words: String| {
            text.push(' ');
            text.push_str(&words);
        };
        if kind == Kind::Reader {
            let turn = if self.turn_of == Some(id) { self.turn.len() } else { 0 };
            match turn + connection.reader.buffered() {
                0 => {}
                buffered => say(format!("{buffered} bytes")),
            }
            if connection.reader.eof {
                say("eof".into());
            }
            if connection.reader.limit != crate::stream::DEFAULT_LIMIT {
                say(format!("limit={}", connection.reader.limit));
            }
            if connection.reader.is_waiting() {
                say("waiting".into());
            }
            if let Some(error) = connection.exception() {
                say(format!("exception=\"{error}\""));
            }
            if connection.is(is::READ_PAUSED) {
                say("paused".into());
            }
        } else {
            match connection.writer.buffered() {
                0 => {}
                buffered => say(format!("{buffered} bytes to send")),
            }
            if connection.writer.eof {
                say("eof".into());
            }
        }
        if let Some(socket) = &connection.socket {
            say(format!("fd={}", socket.as_raw_fd()));
        } else if connection.is(is::CUSTOM) {
            say("custom".into());
        }
        if connection.is(is::LOST) {
            say("lost".into());
        } else if connection.is_closing() {
            say("closing".into());
        }
        text.push('>');
        Some(text)
    }
}

fn can_write_eof(connection: &Connection) -> bool {
    match connection.rare.as_ref().and_then(|rare| rare.custom.as_ref()) {
        Some(custom) => custom.ops.write_eof.is_some(),
        None => true,
    }
}

fn decide_drains(connection: &mut Connection, error: Option<Error>) {
    if let Some(rare) = connection.rare.as_deref_mut() {
        for drain in rare.drains.drain(..) {
            rare.decided.push_back((drain.callback, error.clone().map(Box::new)));
        }
    }
}

/// The socket takes no more for now. (A kernel without memory says so in other words, and never says when it has some.)
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

fn look_up(connection: &Connection, name: &str) -> Option<String> {
    let socket = connection.socket.as_ref();
    match (name, &connection.peer) {
        ("peername", Peer::V4(address)) => Some(address.to_string()),
        ("peername", Peer::V6(address)) => Some(address.to_string()),
        ("peername", Peer::Unknown) => net::display(&net::peer_address(socket?)?),
        ("sockname", _) => net::display(&net::local_address(socket?)?),
        ("socket", _) => Some(socket?.as_raw_fd().to_string()),
        _ => None,
    }
}
