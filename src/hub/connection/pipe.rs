//! Connections over the ends of pipes: one that is read from, one that is written to, each of which may be missing from
//! the beginning or end before the other. When neither is left there is no connection any more.

use std::fmt;
use std::io;

use super::writing::{Sent, TURN_SENDS};
use super::{Connection, Hub, Limits, Received, decide_drains, face, is};
use crate::error::Error;
use crate::net::PipeEnd;
use crate::stream::{Pool, Turn};
use crate::table::{Id, Kind};

/// Each end is registered under a number of its own, since what happens to one is no news of the other: the one that is
/// read from under the connection's, the one that is written to under its writer's.
#[derive(Debug)]
pub struct Pipe {
    read: Option<PipeEnd>,
    write: Option<PipeEnd>,
    /// Something happened to that; perhaps nobody reads there any more.
    stirred: bool,
}

impl Pipe {
    fn ends(&mut self) -> impl Iterator<Item = &mut PipeEnd> {
        self.read.iter_mut().chain(&mut self.write)
    }

    pub(super) fn forget(&mut self) {
        self.ends().for_each(PipeEnd::forget);
    }
}

/// The descriptors, the one to read from first; -1: none.
impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |end: &Option<PipeEnd>| end.as_ref().map_or(-1, PipeEnd::raw_fd);
        write!(f, "{},{}", number(&self.read), number(&self.write))
    }
}

impl Connection {
    fn pipe(&mut self) -> Option<&mut Pipe> {
        self.rare.as_mut()?.pipe.as_mut()
    }

    fn write_end(&self) -> Option<&PipeEnd> {
        self.rare.as_ref()?.pipe.as_ref()?.write.as_ref()
    }

    /// What came into the turn's room from where there is no socket.
    pub(super) fn received(
        &mut self,
        received: io::Result<usize>,
        turn: &mut Turn,
        pool: &mut Pool,
    ) -> Received {
        match received {
            Ok(n) if n > 0 => {
                if self.is(face::READER) && turn.received(n, &mut self.reader, pool).is_err() {
                    return Received::Failed(io::Error::from_raw_os_error(libc::ENOMEM));
                }
                Received::Something
            }
            nothing => self.received_nothing(nothing, turn),
        }
    }

    fn read_from_pipe(&mut self, turn: &mut Turn, pool: &mut Pool) -> Received {
        let Some(end) = self.rare.as_ref().and_then(|rare| rare.pipe.as_ref()?.read.as_ref()) else {
            return Received::Nothing;
        };
        match turn.room(&mut self.reader, pool) {
            Ok(room) => {
                let received = end.read(room);
                self.received(received, turn, pool)
            }
            Err(_) => Received::Failed(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    fn write_to_pipe(&mut self, pool: &mut Pool) -> Sent {
        let mut sends = 0;
        while self.flags & is::WRITABLE != 0
            && let (Some(output), Some(end)) = (&self.writer.output, self.write_end())
        {
            if sends == TURN_SENDS {
                return Sent::Enough;
            }
            sends += 1;
            match end.write(output.as_slice()) {
                Ok(sent) => self.sent(sent, pool),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.flags &= !is::WRITABLE,
                Err(error) => return Sent::Failed(error),
            }
        }
        let stirred = self.pipe().is_some_and(|pipe| std::mem::take(&mut pipe.stirred));
        if stirred && self.write_end().is_some_and(PipeEnd::is_broken) {
            return Sent::Failed(io::Error::from_raw_os_error(libc::EPIPE));
        }
        Sent::Some
    }
}

impl Hub {
    pub(in crate::hub) fn establish_pipe(
        &mut self,
        read: Option<PipeEnd>,
        write: Option<PipeEnd>,
        limits: Limits,
    ) -> Result<Id<Connection>, Error> {
        let mut faces = face::WRITER | face::TRANSPORT;
        faces |= if read.is_some() { face::READER } else { 0 };
        let mut connection = Connection::bare(limits.input, faces);
        connection.bound(limits);
        connection.flags |= is::PIPE | is::WRITABLE;
        connection.put(is::PEER_EOF, read.is_none());
        connection.put(is::MUTE | is::WRITE_EOF | is::EOF_SENT, write.is_none());
        let (reads_at, writes_at) = (read.as_ref().map(PipeEnd::raw_fd), write.as_ref().map(PipeEnd::raw_fd));
        connection.rare().pipe = Some(Pipe { read, write, stirred: false });
        let no_memory = || io::Error::from_raw_os_error(libc::ENOMEM);
        let id =
            self.settle_in(connection).ok_or_else(|| Error::system("make a connection", &no_memory()))?;
        let ends = [(reads_at, id.number(), false), (writes_at, id.face(Kind::Writer), true)];
        for (raw_fd, number, write) in ends {
            if let Some(raw_fd) = raw_fd
                && let Err(error) = self.poll.register_end(raw_fd, number, write)
            {
                self.close_pipe(id);
                self.connections.remove(id);
                return Err(Error::system("register the end of a pipe", &error));
            }
        }
        Ok(id)
    }

    pub(in crate::hub) fn can_be_read(&self, id: Id<Connection>) -> bool {
        self.connections.get(id).is_some_and(|connection| connection.is(face::READER))
    }

    /// One of the standard descriptors, which stays open beside the copy that is read from or written to.
    pub(in crate::hub) fn has_copy_of(&mut self, standard: i32) -> bool {
        let mut found = false;
        self.each_end(|end| found |= end.standard == Some(standard));
        found
    }

    fn each_end(&mut self, mut f: impl FnMut(&mut PipeEnd)) {
        let mut places = 0..self.connections.places();
        while let Some(id) = self.connections.next(&mut places) {
            if let Some(pipe) = self.connections.get_mut(id).and_then(Connection::pipe) {
                pipe.ends().for_each(&mut f);
            }
        }
    }

    // ---- receiving and sending --------------------------------------------------------------------------------

    pub(super) fn receive_from_pipe(&mut self, id: Id<Connection>) -> Received {
        let Some(connection) = self.connections.get_mut(id) else { return Received::Nothing };
        let received = connection.read_from_pipe(&mut self.turn, &mut self.pool);
        if connection.is(is::PEER_EOF)
            && let Some(end) = connection.pipe().and_then(|pipe| pipe.read.take())
        {
            self.close_end(end);
            self.lose_empty(id);
        }
        received
    }

    pub(super) fn send_to_pipe(&mut self, id: Id<Connection>) -> Sent {
        let Some(connection) = self.connections.get_mut(id) else { return Sent::All };
        let unsent = connection.unsent();
        let sent = connection.write_to_pipe(&mut self.pool);
        self.stats.bytes_out += (unsent - connection.unsent()) as u64;
        sent
    }

    /// Something happened to the end that is written to.
    #[cold]
    pub(in crate::hub) fn write_end_event(&mut self, id: Id<Connection>) {
        if let Some(connection) = self.connections.get_mut(id)
            && let Some(pipe) = connection.pipe()
        {
            pipe.stirred = true;
            connection.flags |= is::WRITABLE;
            self.touch(id);
        }
    }

    // ---- the end ----------------------------------------------------------------------------------------------

    /// All has been written. For whoever reads there, closing is the end.
    #[cold]
    pub(super) fn end_writing(&mut self, id: Id<Connection>) {
        self.wake_peer(id);
        let pipe = self.connections.get_mut(id).and_then(Connection::pipe);
        if let Some(end) = pipe.and_then(|pipe| pipe.write.take()) {
            end.end_writing();
            self.close_end(end);
            self.lose_empty(id);
        }
    }

    /// What is written goes nowhere, and the writer's owner hears of it. The other end is another pipe, and has an end of
    /// its own.
    #[cold]
    pub(super) fn break_pipe(&mut self, id: Id<Connection>, error: &io::Error) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(end) = connection.pipe().and_then(|pipe| pipe.write.take()) else { return };
        let error = Error::lost(error);
        connection.flags |= is::BROKEN;
        connection.discard_output(&mut self.pool);
        connection.writer.paused = false;
        if connection.is(is::BLOCKED) {
            connection.flags &= !is::BLOCKED;
            self.blocked -= 1;
        }
        connection.rare().lost = Some(error.clone());
        decide_drains(connection, Some(error));
        self.close_end(end);
        self.lose_empty(id);
        if self.connections.get(id).is_some_and(|connection| connection.is(is::CLOSING)) {
            self.lose(id, None);
        }
        self.enqueue(id);
    }

    /// With neither end left the connection is over, in peace for the reader: it has been told its end.
    fn lose_empty(&mut self, id: Id<Connection>) {
        let pipe = self.connections.get_mut(id).and_then(Connection::pipe);
        if pipe.is_some_and(|pipe| pipe.read.is_none() && pipe.write.is_none()) {
            self.lose(id, None);
        }
    }

    /// Closes what is left of it.
    #[cold]
    pub(super) fn close_pipe(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is(is::PIPE))
        else {
            return;
        };
        let pipe = connection.rare.as_mut().and_then(|rare| rare.pipe.take());
        for end in pipe.into_iter().flat_map(|pipe| [pipe.read, pipe.write]).flatten() {
            self.close_end(end);
        }
    }

    fn close_end(&mut self, end: PipeEnd) {
        // Somebody else may have the same open file, and then its events would go on.
        let _ = self.poll.deregister_end(end.raw_fd());
        let changed = end.changes();
        drop(end);
        if let Some(inode) = changed {
            // Blocking again, and so perhaps is another end that had it, and goes on.
            self.each_end(|end| {
                if end.is_at(inode) {
                    // One that fails says so when it is used.
                    let _ = end.stay_ready();
                }
            });
        }
    }
}
