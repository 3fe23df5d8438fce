//! What a connection tells of itself.

use std::os::fd::AsRawFd;

use super::{Connection, Hub, Peer, face, is};
use crate::callback::Lent;
use crate::error::Refusal;
use crate::net;
use crate::table::{Id, Kind};

impl Connection {
    pub(in crate::hub) fn drains(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.drains.len())
    }

    /// How many wait for its end.
    pub(in crate::hub) fn waiters(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.closed.len())
    }
}

impl Hub {
    /// A text about the connection, and its length: lent until the connection is gone.
    pub fn extra_info(&mut self, id: Id<Connection>, face: u64, name: &str) -> Result<Option<Lent>, Refusal> {
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
        self.set_extra_info(id, face, name, &value)?;
        Ok(known(self.alive(id, face)?))
    }

    /// What is set again is kept beside what was lent before.
    pub fn set_extra_info(
        &mut self,
        id: Id<Connection>,
        face: u64,
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

    pub fn is_closing(&mut self, id: Id<Connection>, face: u64) -> Result<bool, Refusal> {
        self.alive(id, face).map(|connection| connection.is_closing())
    }

    /// The transport's handle: the user's own for one made of C functions.
    pub fn transport_of(&mut self, id: Id<Connection>) -> Result<usize, Refusal> {
        let connection = self.alive(id, face::WRITER)?;
        let own = connection.rare.as_ref().map_or(0, |rare| match &rare.custom {
            Some(custom) => custom.handle,
            None => rare.released,
        });
        Ok(if own != 0 { own } else { id.face(Kind::Transport) })
    }

    /// For `eddy_repr`: what asyncio's own repr tells.
    pub(in crate::hub) fn describe_connection(&self, id: Id<Connection>, kind: Kind) -> Option<String> {
        let connection = self.connections.get(id)?;
        let (name, alive) = match kind {
            Kind::Reader => ("reader", face::READER),
            Kind::Writer => ("writer", face::WRITER),
            Kind::Transport => ("transport", face::TRANSPORT),
            _ => ("protocol", face::PROTOCOL),
        };
        if !connection.is(alive) {
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
            match connection.unsent() {
                0 => {}
                buffered => say(format!("{buffered} bytes to send")),
            }
            if connection.is(is::WRITE_EOF) {
                say("eof".into());
            }
        }
        if connection.is(is::TLS) {
            say("tls".into());
        }
        if let Some(socket) = &connection.socket {
            say(format!("fd={}", socket.as_raw_fd()));
        } else if let Some(pipe) = connection.rare.as_ref().and_then(|rare| rare.pipe.as_ref()) {
            say(format!("pipe={pipe}"));
        } else if connection.is(is::PAIR) {
            say("pair".into());
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

fn look_up(connection: &Connection, name: &str) -> Option<Vec<u8>> {
    let socket = connection.socket.as_ref();
    let text = match (name, &connection.peer) {
        ("peername", Peer::V4(address)) => Some(address.to_string()),
        ("peername", Peer::V6(address)) => Some(address.to_string()),
        ("peername", Peer::Unknown) => net::display(&net::peer_address(socket?)?),
        ("sockname", _) => net::display(&net::local_address(socket?)?),
        ("pipe", _) => Some(connection.rare.as_ref()?.pipe.as_ref()?.to_string()),
        ("socket", _) => Some(socket?.as_raw_fd().to_string()),
        _ => return connection.tell_tls(name),
    };
    text.map(String::into_bytes)
}
