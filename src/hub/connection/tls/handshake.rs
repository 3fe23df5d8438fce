//! Handshakes: begun for an opening, for a server's client, or on a stream that has been in clear; and who learns what
//! becomes of them.

use std::time::Duration;

use super::super::deadlines::Deadline;
use super::super::{Connection, Hub, Waiting, face, is};
use super::Tls;
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::hub::{Opening, Receipt, Server};
use crate::table::Id;
use crate::tls::{Config, Session};

/// What a connection that speaks TLS is made with.
#[derive(Clone, Debug)]
pub struct Secure {
    pub config: Config,
    /// A client's: whom to ask for and to verify.
    pub name: Option<String>,
    /// How long the handshake may take. None: as long as it takes.
    pub handshake: Option<Duration>,
    /// How long the peer's goodbye is waited for. None: as long as it takes.
    pub shutdown: Option<Duration>,
    /// start_tls: what came in clear goes to the engine.
    pub takes_buffered: bool,
}

/// Who waits for a handshake.
#[derive(Debug)]
pub(in crate::hub) enum Waiter {
    Opening(Id<Opening>),
    Client { callback: Callback, server: Id<Server> },
    StartTls(Waiting),
}

impl Connection {
    pub(super) fn is_in_handshake(&self) -> bool {
        self.tls().is_some_and(Tls::is_handshaking)
    }

    /// Closing now leaves a handshake undone; nobody is there to say goodbye to, and nothing that was written before.
    pub(in crate::hub::connection) fn is_only_in_handshake(&self) -> bool {
        self.tls().is_some_and(|tls| tls.is_handshaking() && tls.clear == 0)
    }

    /// The handshake is over, and well.
    pub(in crate::hub) fn is_secured(&self) -> bool {
        self.tls().is_some_and(|tls| tls.secured)
    }

    /// Nobody has been told of it: that waits for the handshake.
    pub(in crate::hub) fn is_unknown(&self) -> bool {
        let waiter = self.tls().and_then(|tls| tls.waiter.as_ref());
        matches!(waiter, Some(Waiter::Opening(_) | Waiter::Client { .. }))
    }

    fn is_starting_tls(&self, serial: u32) -> bool {
        let waiter = self.tls().and_then(|tls| tls.waiter.as_ref());
        matches!(waiter, Some(Waiter::StartTls(waiting)) if waiting.serial == serial)
    }

    /// How many wait for a handshake that they have begun themselves.
    pub(in crate::hub) fn upgrades(&self) -> usize {
        usize::from(self.is_in_handshake() && !self.is_unknown())
    }
}

impl Hub {
    /// The connection speaks TLS from now on; `waiter` learns what becomes of the handshake.
    pub(in crate::hub) fn begin_tls(
        &mut self,
        id: Id<Connection>,
        secure: &Secure,
        waiter: Waiter,
    ) -> Result<(), Error> {
        let session = Session::new(&secure.config, secure.name.as_deref())?;
        let due = Deadline::after(self.timers.now(), secure.handshake);
        let Some(connection) = self.connections.get_mut(id) else { return Err(Error::Canceled) };
        if connection.is(is::LOST) {
            let lost = connection.rare.as_ref().and_then(|rare| rare.lost.clone());
            return Err(lost.unwrap_or(Error::Lost { errno: 0 }));
        }
        connection.flags |= is::TLS | is::BULKY;
        let clear = connection.unsent();
        connection.rare().tls = Some(Box::new(Tls {
            session,
            waiter: Some(waiter),
            secured: false,
            clear,
            input: None,
            sealed: None,
            holds: false,
            ended: false,
            closed: false,
            dead: false,
            due,
            shutdown: secure.shutdown,
        }));
        self.keep_deadline(id, due);
        // A client speaks first; and something may have come already.
        self.touch(id);
        self.enqueue(id);
        Ok(())
    }

    /// On a connection that has begun in clear.
    pub fn start_tls(
        &mut self,
        id: Id<Connection>,
        secure: &Secure,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        self.accepting()?;
        let turn = if self.turn_of == Some(id) { self.turn.len() } else { 0 };
        let connection = self.alive(id, face::WRITER)?;
        if connection.is(is::CUSTOM | is::PIPE | is::PAIR) {
            return Err(Refusal::Unsupported);
        }
        let over = connection.is(is::CLOSING | is::LOST | is::WRITE_EOF | is::PEER_EOF | is::TLS);
        let buffered = turn + connection.reader.buffered();
        if over
            || connection.socket.is_none()
            || connection.reader.skipping
            || (buffered > 0 && !secure.takes_buffered)
        {
            return Err(Refusal::State);
        }
        self.leave_turn(id)?;
        let serial = self.next_serial();
        let waiter = Waiter::StartTls(Waiting { callback, serial });
        self.begin_tls(id, secure, waiter).map_err(|error| match error.errno() {
            libc::ENOMEM => Refusal::Full,
            _ => Refusal::Invalid,
        })?;
        let connection = self.alive(id, face::WRITER)?;
        let input = connection.reader.input.take();
        if let Some(tls) = connection.tls_mut() {
            tls.input = input;
        }
        self.waiting += 1;
        self.regulate(id);
        Ok(self.receipt(Receipt::StartTls, id.place(), serial))
    }

    pub(in crate::hub::connection) fn cancel_start_tls(&mut self, id: Id<Connection>, serial: u32) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if !connection.is_starting_tls(serial) {
            return false;
        }
        if let Some(Waiter::StartTls(waiting)) = connection.tls_mut().and_then(|tls| tls.waiter.take()) {
            connection.rare().decided.push_back((waiting.callback, Some(Box::new(Error::Canceled))));
            connection.flags |= is::ANSWERS;
        }
        // As in asyncio: half a handshake is good for nothing.
        self.abort(id);
        self.enqueue(id);
        true
    }

    /// The engine has something to send, or has come to the end of its handshake.
    pub(in crate::hub::connection) fn tls_moved(&mut self, id: Id<Connection>) {
        self.touch(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(tls) = connection.tls_mut().filter(|tls| !tls.session.is_handshaking()) else { return };
        let Some(waiter) = tls.waiter.take() else { return };
        tls.due = None;
        tls.secured = true;
        match waiter {
            Waiter::Opening(opening) => self.queue(opening.number()),
            Waiter::Client { callback, .. } => {
                connection.rare().client = callback;
                connection.flags |= is::ANNOUNCE;
            }
            Waiter::StartTls(waiting) => {
                connection.rare().decided.push_back((waiting.callback, None));
                connection.flags |= is::ANSWERS;
            }
        }
    }

    /// The connection is gone: whoever waited for its handshake learns why.
    pub(in crate::hub::connection) fn tls_lost(&mut self, id: Id<Connection>, error: Option<Error>) {
        let ending = self.ending;
        let Some(connection) = self.connections.get_mut(id) else { return };
        // Then there may be a goodbye in what has come.
        let lingering = connection.is(is::LINGERING);
        let Some(tls) = connection.tls_mut() else { return };
        tls.forget_sealed(&mut self.pool);
        if !lingering && let Some(input) = tls.input.take() {
            self.pool.give(input);
        }
        let Some(waiter) = tls.waiter.take() else { return };
        match waiter {
            Waiter::Opening(opening) => {
                self.drop_faces(id, face::ALL);
                self.opening_failed(opening, error.unwrap_or(Error::Lost { errno: 0 }));
            }
            Waiter::Client { server, .. } => {
                self.drop_faces(id, face::ALL);
                if let Some(error) = error {
                    self.handshake_failed(server, error);
                }
            }
            Waiter::StartTls(waiting) => {
                let freed = ending || !connection.is(face::WRITER);
                let error = error.unwrap_or(if freed { Error::Canceled } else { Error::Lost { errno: 0 } });
                connection.rare().decided.push_back((waiting.callback, Some(Box::new(error))));
                connection.flags |= is::ANSWERS;
                self.enqueue(id);
            }
        }
    }

    /// Its clients that nobody has been told of will not be told of any more.
    pub(in crate::hub) fn turn_away_handshakes(&mut self, server: Id<Server>) {
        let mut places = 0..self.connections.places();
        while let Some(id) = self.connections.next(&mut places) {
            if let Some(connection) = self.connections.get(id)
                && connection.is_client_of(server)
                && connection.is(is::TLS)
                && (connection.is(is::ANNOUNCE) || connection.is_unknown())
            {
                self.abort(id);
                self.drop_faces(id, face::ALL);
            }
        }
    }
}
