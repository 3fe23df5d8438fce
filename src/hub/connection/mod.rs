//! A connection: one record with up to four faces. Its reader and its writer are pure; here they meet the socket.

mod closing;
mod deadlines;
mod looking;
mod pair;
mod pieces;
mod pipe;
mod reading;
mod tls;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::Domain;

use self::deadlines::{Deadline, Deadlines};
use self::pieces::Pieces;
use self::pipe::Pipe;
use self::reading::Received;
pub use self::tls::Secure;
use self::tls::Tls;
pub(super) use self::tls::Waiter;
use super::custom::Custom;
use super::{Hub, LITTLE_WORK, Server, TURN_CALLS};
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::event::Event;
use crate::hub::{Call, Read};
use crate::memory::Memory;
use crate::net;
use crate::stream::{Marks, Reader, Separators, Settled, Turn, Want, Writer};
use crate::table::Id;

/// One stream's receives in a turn, so that one peer cannot starve the rest.
const TURN_READS: u32 = 8;
/// The share of one that had little to do in its last turn, in calls and in receives that it is taken to have had:
/// what it has, and a look whether there is more.
const LITTLE: (u32, u32) = (LITTLE_WORK, TURN_READS - 2);

/// Which handles of a connection are alive: flags like the others, so that one comparison looks at all that matters.
pub mod face {
    pub const READER: u64 = 1 << 28;
    pub const WRITER: u64 = 1 << 29;
    pub const TRANSPORT: u64 = 1 << 30;
    pub const PROTOCOL: u64 = 1 << 31;
    pub const ALL: u64 = READER | WRITER | TRANSPORT | PROTOCOL;
}

/// What is so of a connection. Those in `SPECIAL` mean that there is more to look at in its turn than reads.
pub mod is {
    /// The socket may have something to receive; the edge was seen and not used up.
    pub const READABLE: u64 = 1;
    /// The socket takes bytes, as far as we know.
    pub const WRITABLE: u64 = 1 << 1;
    /// A short read does not mean that nothing is left: receive until the socket says so.
    pub const MORE: u64 = 1 << 2;
    /// ... on this kind of socket it never does.
    pub const ALWAYS_MORE: u64 = 1 << 3;
    /// In the hub's queue.
    pub const QUEUED: u64 = 1 << 4;
    /// In the hub's list of those that have something to send, or to finish, at the end of the batch.
    pub const DIRTY: u64 = 1 << 5;
    /// Counted among those whose output the socket did not take.
    pub const BLOCKED: u64 = 1 << 6;
    /// Reading was paused by whoever holds the transport.
    pub const USER_PAUSED: u64 = 1 << 7;
    /// More than twice the limit is buffered, and not yet down to the limit.
    pub const READ_PAUSED: u64 = 1 << 8;
    /// The peer will send no more.
    pub const PEER_EOF: u64 = 1 << 9;
    pub const EOF_SENT: u64 = 1 << 10;
    /// This side has closed or aborted it.
    pub const CLOSING: u64 = 1 << 11;
    /// Counted among those that are on their way out.
    pub const LEAVING: u64 = 1 << 12;
    /// Reading was paused for the sake of another reader, which holds this transport.
    pub const REGULATED: u64 = 1 << 13;
    /// asyncio's connection_lost has happened.
    pub const LOST: u64 = 1 << 14;
    /// Closed and told so; the socket waits for the peer's end, lest unread input turn our last bytes into a reset.
    pub const LINGERING: u64 = 1 << 15;
    /// There are drains or other answers in `rare`.
    pub const ANSWERS: u64 = 1 << 16;
    /// The transport is made of C functions.
    pub const CUSTOM: u64 = 1 << 17;
    /// The client callback of a protocol is to be called.
    pub const ANNOUNCE: u64 = 1 << 18;
    /// A protocol's connection_made has been called.
    pub const MADE: u64 = 1 << 19;
    /// The user's transport cannot take more for now: drains wait.
    pub const WRITING_PAUSED: u64 = 1 << 20;
    /// What a custom transport has been told.
    pub const PAUSE_TOLD: u64 = 1 << 21;
    pub const CLOSE_TOLD: u64 = 1 << 22;
    pub const ABORT_TOLD: u64 = 1 << 23;
    pub const ABORTED: u64 = 1 << 24;
    /// A drain came after the close: it is answered in the next turn, when the close may have shown its end.
    pub const DRAIN_LATER: u64 = 1 << 25;
    /// No more is to be written after what is gathered.
    pub const WRITE_EOF: u64 = 1 << 26;
    /// Its reads have a deadline, or had one.
    pub const TIMED: u64 = 1 << 27;
    /// The deadline of the read that waits is over.
    pub const LATE: u64 = 1 << 32;
    /// There is an exception in `rare`.
    pub const FAILED: u64 = 1 << 33;
    /// What its writer has gathered is judged by more than the default marks.
    pub const MARKED: u64 = 1 << 34;
    /// There is more to send than the output: pieces in a row, or one that is lent.
    pub const PIECES: u64 = 1 << 35;
    /// Lent pieces are to be given back.
    pub const RELEASES: u64 = 1 << 36;
    /// The read that waits wants its bytes in memory of its owner's.
    pub const INTO: u64 = 1 << 37;
    /// Its writer was freed, or its protocol; another would have the same handle, and a freed one lives no more.
    pub const HAD_WRITER: u64 = 1 << 38;
    pub const HAD_PROTOCOL: u64 = 1 << 39;
    /// It has the ends of pipes instead of a socket.
    pub const PIPE: u64 = 1 << 40;
    /// The end that was written to is gone for good, while the other is still read from.
    pub const BROKEN: u64 = 1 << 41;
    /// There was never anything to write to.
    pub const MUTE: u64 = 1 << 42;
    /// It is joined to another connection in memory.
    pub const PAIR: u64 = 1 << 43;

    /// What goes over the socket is encrypted: the engine is in `rare`.
    pub const TLS: u64 = 1 << 44;
    /// It had much to do in its last turn.
    pub const BULKY: u64 = 1 << 45;

    pub const SPECIAL: u64 = LOST | LINGERING | ANSWERS | CUSTOM | ANNOUNCE | LATE | RELEASES;
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
    pub(super) flags: u64,
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
    drains: VecDeque<Drain>,
    /// Drains that have been decided.
    decided: VecDeque<(Callback, Option<Box<Error>>)>,
    /// Those who wait for the end.
    closed: VecDeque<Waiting>,
    exception: Option<Error>,
    lost: Option<Error>,
    pub extra: Vec<(String, Box<[u8]>)>,
    pub custom: Option<Custom>,
    pipe: Option<Pipe>,
    /// The other side of a pair.
    peer: Option<Id<Connection>>,
    /// Another connection's transport, which this reader's flow control pauses.
    pub regulates: Option<Id<Connection>>,
    /// The handle of the custom transport that it had, for a writer that outlives it; 0: none.
    pub released: usize,
    /// How many readers of other connections hold back this one's transport.
    pub regulated: u32,
    /// This was only a custom transport, and has joined that stream.
    pub joined: Option<Id<Connection>>,
    pub client: Callback,
    deadlines: Deadlines,
    pieces: Pieces,
    /// The most that may be written and not sent.
    max_output: Option<usize>,
    into: Into,
    tls: Option<Box<Tls>>,
}

/// Where a read wants its bytes, and how many have been received there.
#[derive(Debug, Default)]
struct Into {
    memory: Memory,
    received: usize,
}

/// What a stream may buffer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest line, and half the most that is received ahead.
    pub input: usize,
    /// The most that is written and not sent; None: no bound.
    pub output: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    callback: Callback,
    serial: u32,
}

#[derive(Debug)]
struct Drain {
    callback: Callback,
    serial: u32,
    deadline: Option<Deadline>,
}

impl Rare {
    pub(super) fn take_extra(&mut self, extra: Vec<(String, Box<[u8]>)>) {
        self.extra.extend(extra);
    }
}

static NO_SEPARATORS: Separators = Separators::none();

impl Connection {
    pub fn bare(limit: usize, faces: u64) -> Connection {
        Connection {
            reader: Reader::new(limit),
            writer: Writer::default(),
            socket: None,
            flags: faces,
            lingered: 0,
            server: 0,
            peer: Peer::Unknown,
            rare: None,
        }
    }

    #[inline]
    pub fn is(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn put(&mut self, flags: u64, on: bool) {
        if on { self.flags |= flags } else { self.flags &= !flags }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub fn exception(&self) -> Option<&Error> {
        self.rare.as_ref()?.exception.as_ref()
    }

    /// Every read ends with it, once what came before is read.
    pub(super) fn set_exception(&mut self, error: Error) {
        self.flags |= is::FAILED;
        self.rare().exception = Some(error);
    }

    #[inline]
    fn marks(&self) -> Marks {
        self.rare.as_ref().and_then(|rare| rare.marks).unwrap_or_default()
    }

    /// Why a lost connection is lost, for those who gave no time for it. (A close that was late is an end by this side.)
    fn loss(&self) -> Error {
        match self.rare.as_ref().and_then(|rare| rare.lost.as_ref()) {
            None | Some(Error::TimedOut { .. }) => Error::Lost { errno: 0 },
            Some(error) => error.clone(),
        }
    }

    /// Nothing more can be written to it.
    pub(super) fn is_closing(&self) -> bool {
        self.is(is::CLOSING | is::LOST | is::BROKEN)
    }

    /// It is joined to something that bytes come from and go to.
    pub(super) fn has_transport(&self) -> bool {
        self.socket.is_some() || self.is(is::CUSTOM | is::PIPE | is::PAIR)
    }

    /// True: the socket takes bytes again, and there are some.
    #[inline]
    fn note(&mut self, event: Event) -> bool {
        if event.readable {
            self.flags |= is::READABLE;
        }
        if event.more {
            self.flags |= is::MORE;
        }
        if event.writable {
            self.flags |= is::WRITABLE;
        }
        event.writable && self.is(is::BLOCKED)
    }

    #[inline]
    fn may_receive(&self) -> bool {
        const NOT_NOW: u64 = is::CLOSING | is::LOST | is::USER_PAUSED | is::REGULATED | is::PEER_EOF;
        self.flags & (is::READABLE | NOT_NOW) == is::READABLE
    }

    /// A read may be over though there is no byte: at the end, after an error, when cancelled, when none was asked for.
    #[inline]
    fn may_settle_empty(&self) -> bool {
        self.reader.eof
            || self.reader.canceled
            || self.is(is::FAILED | is::INTO)
            || matches!(self.reader.want, Want::Some(0) | Want::Exactly(0) | Want::Peek(0))
    }

    /// asyncio's back-pressure: reading pauses above twice the limit, and goes on at the limit, or when somebody waits
    /// for more than that.
    #[inline]
    fn should_pause(&self, buffered: usize) -> bool {
        if self.reader.is_waiting() || !self.is(face::READER) {
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

    pub(super) fn faces(&self) -> u64 {
        self.flags & face::ALL
    }

    pub(super) fn drop_socket(&mut self) {
        self.socket = None;
        if let Some(rare) = &mut self.rare
            && let Some(mut pipe) = rare.pipe.take()
        {
            pipe.forget();
        }
    }

    pub(super) fn is_client_of(&self, server: Id<Server>) -> bool {
        self.server == server.number()
    }

    fn bound(&mut self, limits: Limits) {
        if limits.output.is_some() {
            self.rare().max_output = limits.output;
            self.flags |= is::MARKED;
        }
    }

    /// There may be so much more to send.
    fn has_room_for(&self, more: usize) -> Result<(), Refusal> {
        let most = self.rare.as_ref().and_then(|rare| rare.max_output);
        match most {
            Some(most) if more > most.saturating_sub(self.unsent()) => Err(Refusal::Full),
            _ => Ok(()),
        }
    }

    /// False: what is written is dropped. It is the network's doing, not the caller's: drain and the next read tell.
    #[inline]
    fn takes_output(&self) -> Result<bool, Refusal> {
        if !self.is(face::WRITER) {
            Err(Refusal::Stale)
        } else if self.is(is::CLOSING | is::WRITE_EOF) {
            Err(if self.is(is::MUTE) { Refusal::Unsupported } else { Refusal::State })
        } else {
            Ok(!self.is(is::LOST | is::BROKEN))
        }
    }

    /// Ends the waiting for a read: whom to tell.
    fn disarm(&mut self) -> Callback {
        self.flags &= !(is::INTO | is::LATE);
        self.reader.disarm()
    }

    /// Settles the read that waits, if it can be.
    #[inline(never)]
    fn settle(&mut self, turn: &mut Turn, id: Id<Connection>) -> Option<Call> {
        if self.is(is::INTO)
            && let Some(bytes) = self.received_into()
        {
            return Some(Call::Read(Read { callback: self.disarm(), stream: id, bytes }));
        }
        let (separators, failed) = match &self.rare {
            None => (&NO_SEPARATORS, false),
            Some(rare) => (&rare.separators, rare.exception.is_some()),
        };
        let error = match turn.settle(&mut self.reader, separators, failed) {
            Settled::Bytes(bytes) => {
                let bytes = if self.is(is::INTO) { self.fill_into(turn, bytes) } else { bytes };
                return Some(Call::Read(Read { callback: self.disarm(), stream: id, bytes }));
            }
            Settled::Waiting if !failed => return None,
            // What the peer had sent before it failed is received first.
            Settled::Waiting if self.may_receive() => return None,
            Settled::Waiting => self.exception()?.clone(),
            Settled::Canceled => Error::Canceled,
            Settled::Incomplete { partial, expected } => Error::Incomplete { partial, expected },
            Settled::Overrun { consumed, found } => Error::Limit { consumed, found },
            Settled::NoMemory => no_memory(),
        };
        Some(Call::ReadFailed { callback: self.disarm(), stream: id, error: Box::new(error) })
    }

    /// Nobody holds it and nothing is owed to anybody.
    fn is_over(&self) -> bool {
        self.faces() & !face::TRANSPORT == 0
            && self.socket.is_none()
            && !self.is(is::ANNOUNCE | is::QUEUED)
            && !self.reader.is_waiting()
            && (self.is(is::LOST) || self.faces() == 0)
            && self.rare.as_ref().is_none_or(|rare| {
                rare.custom.is_none()
                    && rare.pipe.is_none()
                    && rare.drains.is_empty()
                    && rare.decided.is_empty()
                    && rare.closed.is_empty()
                    && rare.pieces.is_quiet()
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
    pub limits: Limits,
    pub server: Option<Id<Server>>,
    /// Already registered, under another number.
    pub registered: bool,
}

impl Hub {
    // ---- life -------------------------------------------------------------------------------------------------

    /// None: there is no memory for it, or for what it may ask for.
    pub(super) fn settle_in(&mut self, connection: Connection) -> Option<Id<Connection>> {
        if self.make_room(1) { self.connections.insert(connection) } else { None }
    }

    pub(super) fn establish(&mut self, made: Established) -> Result<Id<Connection>, Error> {
        let mut connection =
            Connection::bare(made.limits.input, face::READER | face::WRITER | face::TRANSPORT);
        connection.bound(made.limits);
        let raw_fd = made.socket.as_raw_fd();
        connection.socket = Some(made.socket);
        connection.put(is::WRITABLE, true);
        connection.put(is::ALWAYS_MORE, !net::short_read_means_drained(made.domain));
        connection.server = made.server.map_or(0, Id::number);
        connection.peer = made.peer.into();
        let id = self
            .settle_in(connection)
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
        self.stats.connections_open += 1;
        self.stats.connections_total += 1;
        Ok(id)
    }

    /// A connection of which `face` is alive.
    #[inline]
    pub(super) fn alive(&mut self, id: Id<Connection>, face: u64) -> Result<&mut Connection, Refusal> {
        match self.connections.get_mut(id) {
            Some(connection) if connection.is(face) => Ok(connection),
            _ => Err(Refusal::Stale),
        }
    }

    pub fn reader_new(&mut self, limit: usize) -> Result<Id<Connection>, Refusal> {
        self.accepting()?;
        self.settle_in(Connection::bare(limit, face::READER)).ok_or(Refusal::Full)
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

    pub(super) fn drop_faces(&mut self, id: Id<Connection>, faces: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let gone = connection.flags & faces;
        connection.flags &= !faces;
        if gone & face::PROTOCOL != 0 {
            connection.flags |= is::HAD_PROTOCOL;
        }
        if gone & face::WRITER != 0 {
            connection.flags |= is::HAD_WRITER;
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
            connection.reader.skipping = false;
            self.regulate(id);
        }
        if !self.remove_if_over(id) {
            self.enqueue(id);
        }
    }

    pub(super) fn remove_if_over(&mut self, id: Id<Connection>) -> bool {
        let over = self.turn_of != Some(id) && self.connections.get(id).is_some_and(Connection::is_over);
        if over
            && let Some(gone) = self.connections.remove(id)
            && gone.deadline_timer().is_some()
        {
            self.forget_timers(1);
        }
        over
    }

    /// Something about it is to be looked at in the next round, unless its turn is now.
    #[inline]
    pub(super) fn enqueue(&mut self, id: Id<Connection>) {
        if self.turn_of != Some(id) {
            self.line_up(id);
        }
    }

    /// Its share of this round is used up: it has another turn, among those who have much to do.
    pub(in crate::hub) fn again(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.flags |= is::BULKY;
        }
        self.line_up(id);
    }

    #[inline]
    fn line_up(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is(is::QUEUED)
        {
            connection.flags |= is::QUEUED;
            if connection.is(is::BULKY) {
                self.bulk.push_back(id.number());
                self.stir();
            } else {
                self.queue(id.number());
            }
        }
    }

    // ---- its turn ---------------------------------------------------------------------------------------------

    /// Notes what happened to its socket.
    #[inline]
    pub(super) fn connection_event(&mut self, id: Id<Connection>, event: Event) {
        if self.connections.get_mut(id).is_some_and(|connection| connection.note(event)) {
            self.touch(id);
        }
    }

    /// Its turn begins, because of an event or because it was queued.
    #[inline(always)]
    pub(super) fn begin_turn(&mut self, id: Id<Connection>, event: Option<Event>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match event {
            Some(event) if connection.is(is::BULKY) => return self.stand_in_line(id, event),
            // If it is in the queue, it is so still, and has a turn to come.
            Some(_) => {}
            None => connection.flags &= !is::QUEUED,
        }
        self.turn_of = Some(id);
        let (calls, reads) = if connection.is(is::BULKY) { (TURN_CALLS, 0) } else { LITTLE };
        self.turn_share = calls;
        self.turn_left = calls;
        self.turn_reads = reads;
        self.turn_received = self.turn.received;
        self.turn.begin(&mut connection.reader);
        if event.is_some_and(|event| connection.note(event)) {
            self.touch(id);
        }
    }

    /// Its turn comes in this round, if others leave it the time.
    #[inline(never)]
    fn stand_in_line(&mut self, id: Id<Connection>, event: Event) {
        self.current = 0;
        self.connection_event(id, event);
        let before = self.bulk.len();
        self.line_up(id);
        self.round_bulk += self.bulk.len() - before;
    }

    /// It has taken so many `calls`.
    #[inline(always)]
    pub(super) fn end_turn(&mut self, id: Id<Connection>, calls: u32) {
        self.turn_of = None;
        if self.turn_drain.is_some() {
            self.defer_turn_drain(id);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return self.turn.abandon(&mut self.pool);
        };
        if self.turn.finish(&mut connection.reader, &mut self.pool).is_err() {
            return self.lose(id, Some(no_memory()));
        }
        let received = self.turn.received.wrapping_sub(self.turn_received);
        let work = calls + (received >> 10) as u32;
        connection.flags &= !is::BULKY;
        if work > LITTLE_WORK {
            connection.flags |= is::BULKY;
            self.round_work += work;
        }
        if connection.is(is::LOST | is::TIMED) || connection.faces() == 0 {
            if connection.is(is::TIMED) && connection.reader.is_waiting() {
                self.time_read(id);
            }
            self.remove_if_over(id);
        }
    }

    /// The hot path: the stream whose turn it is has the line that its reader waits for, and nothing else to tell.
    #[inline]
    pub fn next_line(&mut self) -> Option<Read> {
        let id = self.turn_of?;
        if self.turn.is_searched() || self.turn_left == 0 || self.turn_drain.is_some() || !self.hurried {
            return None;
        }
        let connection = self.connections.get_mut(id)?;
        if connection.is(is::SPECIAL) {
            return None;
        }
        let bytes = self.turn.line(&connection.reader)?;
        self.turn_left -= 1;
        self.waiting -= 1;
        Some(Read { callback: connection.reader.disarm(), stream: id, bytes })
    }

    /// The next thing to tell somebody about this connection. None: its turn is over.
    #[inline]
    pub(super) fn connection_turn(&mut self, id: Id<Connection>) -> Option<Call> {
        if self.turn_moved {
            self.rejoin(id);
        }
        'again: loop {
            if self.turn_drain.is_some() {
                return self.answer_turn_drain(id);
            }
            let mut connection = self.connections.get_mut(id)?;
            let special = connection.is(is::SPECIAL);
            if special {
                if let Some(call) = self.special(id) {
                    return Some(call);
                }
                connection = self.connections.get_mut(id)?;
            }
            loop {
                if connection.reader.is_waiting() && (!self.turn.is_empty() || connection.may_settle_empty())
                {
                    if let Some(bytes) = self.turn.line(&connection.reader) {
                        self.waiting -= 1;
                        let callback = connection.reader.disarm();
                        return Some(Call::Read(Read { callback, stream: id, bytes }));
                    }
                    if let Some(call) = connection.settle(&mut self.turn, id) {
                        self.waiting -= 1;
                        return Some(call);
                    }
                }
                match connection.receive(&mut self.turn, &mut self.pool, &mut self.turn_reads) {
                    Received::Something => continue,
                    Received::Nothing => {}
                    other => {
                        if self.did_not_receive(id, other) {
                            continue 'again;
                        }
                    }
                }
                return if special { self.too_late(id).or_else(|| self.farewell(id)) } else { None };
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
        if connection.is(is::RELEASES)
            && let Some(call) = self.next_release(id)
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
}

fn decide_drains(connection: &mut Connection, error: Option<Error>) {
    if let Some(rare) = connection.rare.as_deref_mut() {
        for drain in rare.drains.drain(..) {
            rare.decided.push_back((drain.callback, error.clone().map(Box::new)));
        }
    }
}
