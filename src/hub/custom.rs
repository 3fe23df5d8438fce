//! Transports made of the user's own C functions, and the protocol that feeds a reader from them. They obey the law of
//! the house: what a transport is to do is a command, delivered from run, never from within the user's call.
//!
//! A custom transport begins as a record of its own. When it meets a stream (by a protocol's connection_made, a
//! reader's set_transport, or a new writer) it joins that record, so that from then on there is one connection as any
//! other, and the transport's handle leads to it.

use super::connection::{face, is};
use super::{Connection, Hub};
use crate::callback::{Callback, Lent, TransportOps};
use crate::error::{Error, Refusal};
use crate::hub::Call;
use crate::stream::DEFAULT_LIMIT;
use crate::table::{Id, Kind};

#[derive(Debug)]
pub struct Custom {
    pub ops: TransportOps,
    pub argument: usize,
    /// The handle by which its owner knows it.
    pub handle: usize,
}

impl Custom {
    fn call(&self, function: usize) -> Callback {
        Callback { function, argument: self.argument }
    }
}

/// One that has joined a stream, or had a writer, is that stream's, also when nothing else is left of it.
fn is_lone(connection: &Connection, id: Id<Connection>) -> bool {
    let custom = connection.rare.as_ref().and_then(|rare| rare.custom.as_ref());
    let began_here = custom.is_some_and(|custom| Id::behind_face(custom.handle, Kind::Transport) == id);
    began_here && connection.faces() == face::TRANSPORT && !connection.is(is::HAD_WRITER)
}

impl Hub {
    pub fn transport_new(&mut self, ops: TransportOps, argument: usize) -> Result<Id<Connection>, Refusal> {
        self.accepting()?;
        let mut connection = Connection::bare(DEFAULT_LIMIT, face::TRANSPORT);
        connection.flags |= is::CUSTOM;
        let id = self.settle_in(connection).ok_or(Refusal::Full)?;
        let handle = id.face(Kind::Transport);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.rare().custom = Some(Custom { ops, argument, handle });
        }
        Ok(id)
    }

    /// The connection that a transport belongs to by now.
    pub fn transport(&self, id: Id<Connection>) -> Id<Connection> {
        self.connections.get(id).and_then(|connection| connection.rare.as_ref()?.joined).unwrap_or(id)
    }

    /// Makes a lone custom transport part of a stream that has none.
    fn join(&mut self, stream: Id<Connection>, transport: Id<Connection>) -> Result<(), Refusal> {
        if self.transport(transport) == stream {
            return Ok(());
        }
        let has_one = |connection: &Connection| connection.is(is::LOST) || connection.has_transport();
        let taken = self.connections.get(stream).is_none_or(has_one);
        let Some(lone) = self.connections.get_mut(transport) else { return Err(Refusal::Stale) };
        if taken || !is_lone(lone, transport) || lone.is(is::LOST) {
            return Err(Refusal::State);
        }
        let moved = is::CUSTOM | is::CLOSING | is::ABORTED | is::USER_PAUSED | is::PAUSE_TOLD | is::LEAVING;
        let flags = lone.flags & moved;
        lone.flags &= !moved;
        let old = std::mem::take(lone.rare());
        lone.rare().joined = Some(stream);
        if let Some(connection) = self.connections.get_mut(stream) {
            connection.flags |= flags;
            connection.flags |= face::TRANSPORT;
            connection.rare().custom = old.custom;
            connection.rare().take_extra(old.extra);
        }
        self.enqueue(stream);
        Ok(())
    }

    /// For flow control only where the transport has a stream of its own already: its reading is paused and resumed.
    pub fn set_transport(
        &mut self,
        reader: Id<Connection>,
        transport: Id<Connection>,
    ) -> Result<(), Refusal> {
        let connection = self.alive(reader, face::READER)?;
        let has_one = connection.has_transport()
            || connection.rare.as_ref().is_some_and(|rare| rare.regulates.is_some());
        let transport = self.transport(transport);
        let other = self.alive(transport, face::TRANSPORT)?;
        if has_one || transport == reader {
            return Err(Refusal::State);
        }
        if is_lone(other, transport) {
            return self.join(reader, transport);
        }
        let connection = self.alive(reader, face::READER)?;
        connection.rare().regulates = Some(transport);
        // It may be too full already.
        if connection.is(is::READ_PAUSED) {
            self.regulate_other(transport, true);
        }
        Ok(())
    }

    pub fn writer_new(
        &mut self,
        transport: Id<Connection>,
        protocol: Option<Id<Connection>>,
        reader: Option<Id<Connection>>,
    ) -> Result<Id<Connection>, Refusal> {
        self.accepting()?;
        let joined = self.transport(transport);
        self.alive(joined, face::TRANSPORT)?;
        if let Some(protocol) = protocol {
            self.alive(protocol, face::PROTOCOL)?;
        }
        if let Some(reader) = reader {
            self.alive(reader, face::READER)?;
        }
        if protocol.is_some() && reader.is_some() && protocol != reader {
            return Err(Refusal::OtherReader);
        }
        let stream = protocol.or(reader).unwrap_or(joined);
        if self.alive(joined, face::TRANSPORT)?.is(face::WRITER | is::HAD_WRITER)
            || self
                .connections
                .get(stream)
                .is_some_and(|connection| connection.is(face::WRITER | is::HAD_WRITER))
        {
            return Err(Refusal::Busy);
        }
        if self.connections.get(stream).is_some_and(|connection| connection.is(is::LOST)) {
            return Err(Refusal::State);
        }
        self.join(stream, transport)?;
        self.alive(stream, face::TRANSPORT)?.flags |= face::WRITER;
        Ok(stream)
    }

    /// What a custom transport is to do next.
    pub(super) fn command(&mut self, id: Id<Connection>) -> Option<Call> {
        if let Some(output) = self.lent_output.take() {
            self.pool.give(output);
        }
        let connection = self.connections.get_mut(id)?;
        if connection.is(is::LOST) {
            return None;
        }
        let flags = connection.flags;
        let reading_paused = flags & (is::USER_PAUSED | is::REGULATED | is::READ_PAUSED) != 0;
        let custom = connection.rare.as_ref()?.custom.as_ref()?;
        let (ops, transport) = (custom.ops, custom.handle);
        let call = |callback| Some(Call::Transport { callback, transport });
        if flags & (is::ABORTED | is::ABORT_TOLD) == is::ABORTED {
            let abort = custom.call(ops.abort);
            connection.flags |= is::ABORT_TOLD;
            self.lose_unheard(id);
            return call(abort);
        }
        if flags & (is::ABORT_TOLD | is::CLOSE_TOLD) != 0 {
            return None;
        }
        if let Some(output) = connection.writer.output.take() {
            let callback = custom.call(ops.write);
            let bytes = Lent { start: output.as_slice().as_ptr(), len: output.len() };
            self.lent_output = Some(output);
            return Some(Call::TransportWrite { callback, transport, bytes });
        }
        if flags & (is::WRITE_EOF | is::EOF_SENT) == is::WRITE_EOF {
            let write_eof = custom.call(ops.write_eof?);
            connection.flags |= is::EOF_SENT;
            return call(write_eof);
        }
        if flags & is::CLOSING != 0 {
            let close = custom.call(ops.close);
            connection.flags |= is::CLOSE_TOLD;
            self.lose_unheard(id);
            return call(close);
        }
        let told = flags & is::PAUSE_TOLD != 0;
        if reading_paused != told {
            let function = if reading_paused { ops.pause_reading } else { ops.resume_reading };
            let change = custom.call(function?);
            connection.flags ^= is::PAUSE_TOLD;
            return call(change);
        }
        None
    }

    /// Where there is no protocol nobody will ever say that the connection is lost: closed is lost.
    fn lose_unheard(&mut self, id: Id<Connection>) {
        if self.connections.get(id).is_some_and(|connection| !connection.is(face::PROTOCOL)) {
            self.lose(id, None);
        }
    }

    /// The last call of a custom transport.
    pub(super) fn release(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        let rare = connection.rare.as_mut()?;
        let custom = rare.custom.take()?;
        rare.released = custom.handle;
        connection.flags &= !is::CUSTOM;
        connection.flags &= !face::TRANSPORT;
        // The record that it began as has only led here.
        let own = Id::behind_face(custom.handle, Kind::Transport);
        if own != id {
            self.connections.remove(own);
        }
        Some(Call::Release { callback: custom.call(custom.ops.release) })
    }

    // ---- the transport's own calls ----------------------------------------------------------------------------

    pub fn transport_close(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::TRANSPORT)?;
        self.close(id);
        Ok(())
    }

    pub fn transport_abort(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        self.alive(id, face::TRANSPORT)?;
        self.abort(id);
        Ok(())
    }

    /// As in asyncio: to pause what is paused, or closing, changes nothing.
    pub fn pause_reading(&mut self, id: Id<Connection>, pause: bool) -> Result<(), Refusal> {
        let connection = self.alive(id, face::TRANSPORT)?;
        if let Some(custom) = connection.rare.as_ref().and_then(|rare| rare.custom.as_ref())
            && custom.ops.pause_reading.is_none()
        {
            return Err(Refusal::Unsupported);
        }
        connection.put(is::USER_PAUSED, pause);
        self.enqueue(id);
        Ok(())
    }

    /// For the sake of a reader that is not this stream's own; there may be several.
    pub(super) fn regulate_other(&mut self, id: Id<Connection>, pause: bool) {
        if let Some(connection) = self.connections.get_mut(id) {
            let rare = connection.rare();
            rare.regulated = if pause { rare.regulated + 1 } else { rare.regulated.saturating_sub(1) };
            let held = rare.regulated > 0;
            connection.put(is::REGULATED, held);
            self.enqueue(id);
        }
    }

    pub fn is_reading(&mut self, id: Id<Connection>) -> Result<bool, Refusal> {
        let connection = self.alive(id, face::TRANSPORT)?;
        const NOT: u64 =
            is::CLOSING | is::LOST | is::USER_PAUSED | is::REGULATED | is::READ_PAUSED | is::PEER_EOF;
        // Of one's own making it is at the end when that was told.
        let is_over = connection.is(NOT) || (connection.is(is::CUSTOM) && connection.reader.eof);
        Ok(!is_over)
    }

    // ---- the protocol -----------------------------------------------------------------------------------------

    pub fn protocol_new(&mut self, reader: Id<Connection>, client: Callback) -> Result<(), Refusal> {
        self.accepting()?;
        let connection = self.alive(reader, face::READER)?;
        if connection.socket.is_some()
            || connection.is(is::PIPE | is::PAIR | face::PROTOCOL | is::HAD_PROTOCOL)
        {
            return Err(Refusal::Busy);
        }
        connection.flags |= face::PROTOCOL;
        connection.rare().client = client;
        Ok(())
    }

    pub fn connection_made(&mut self, id: Id<Connection>, transport: Id<Connection>) -> Result<(), Refusal> {
        let connection = self.alive(id, face::PROTOCOL)?;
        if connection.is(is::MADE | is::LOST) {
            return Err(Refusal::State);
        }
        let reader_is_gone = !connection.is(face::READER);
        self.join(id, transport)?;
        let connection = self.alive(id, face::PROTOCOL)?;
        connection.flags |= is::MADE;
        let announce = connection.rare().client.function != 0;
        if reader_is_gone {
            let message =
                "eddy_protocol_connection_made: the reader was freed before; the transport is aborted";
            self.report(message.into(), None);
            self.abort(id);
        } else if announce && !connection.is(face::WRITER | is::HAD_WRITER) {
            connection.flags |= face::WRITER;
            connection.flags |= is::ANNOUNCE;
        }
        self.enqueue(id);
        Ok(())
    }

    pub fn data_received(&mut self, id: Id<Connection>, bytes: &[u8]) -> Result<(), Refusal> {
        let connection = self.alive(id, face::PROTOCOL)?;
        if connection.is(is::LOST) || connection.reader.eof {
            return Err(Refusal::State);
        }
        // Whoever freed the reader does not want to know.
        if connection.is(face::READER) { self.feed_data(id, bytes) } else { Ok(()) }
    }

    pub fn eof_received(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        let connection = self.alive(id, face::PROTOCOL)?;
        if connection.is(is::LOST) {
            return Err(Refusal::State);
        }
        connection.reader.eof = true;
        self.enqueue(id);
        Ok(())
    }

    pub fn pause_writing(&mut self, id: Id<Connection>, pause: bool) -> Result<(), Refusal> {
        self.alive(id, face::PROTOCOL)?.put(is::WRITING_PAUSED, pause);
        self.enqueue(id);
        Ok(())
    }

    pub fn connection_lost(&mut self, id: Id<Connection>, error: Option<Error>) -> Result<(), Refusal> {
        if self.alive(id, face::PROTOCOL)?.is(is::LOST) {
            return Err(Refusal::State);
        }
        self.lose(id, error);
        Ok(())
    }

    /// Without its protocol a transport has nobody to tell that the connection is lost: so it is.
    pub fn protocol_free(&mut self, id: Id<Connection>) -> Result<(), Refusal> {
        if self.alive(id, face::PROTOCOL)?.is(is::MADE | is::CUSTOM) {
            self.lose(id, None);
        }
        self.drop_faces(id, face::PROTOCOL);
        Ok(())
    }
}
