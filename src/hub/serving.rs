//! Servers: listening sockets, the clients that come out of them, and those who wait until the last one is gone.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::connection::Established;
use super::{Connection, Hub, Options, Receipt};
use crate::callback::Callback;
use crate::error::{Error, Refusal, errno};
use crate::hub::Call;
use crate::net::{self, Listener, SocketFile, SocketOptions};
use crate::table::Id;

/// How soon accepting is tried again when descriptors or memory have run out, which no event ends.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Server {
    client: Callback,
    limit: usize,
    socket: SocketOptions,
    listeners: Vec<Id<Listening>>,
    names: Vec<CString>,
    file: Option<SocketFile>,
    clients: usize,
    /// Those who wait until it is closed and empty, and those of them that gave up.
    waiting: VecDeque<(Callback, u32)>,
    canceled: VecDeque<Callback>,
    closed: bool,
    freed: bool,
    queued: bool,
}

#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    server: Id<Server>,
    backlog: u32,
    /// Accepted in this turn, and failed for a reason that was the client's.
    accepted: u32,
    failed: u32,
    readable: bool,
    /// Accepting failed for want of something, and has been reported.
    exhausted: bool,
    /// It is tried again when a timer says so, and not before.
    retrying: bool,
}

impl Hub {
    pub(super) fn serve(
        &mut self,
        listeners: Vec<Listener>,
        file: Option<SocketFile>,
        options: &Options,
        client: Callback,
        registered: bool,
    ) -> Result<Id<Server>, Error> {
        let names = listeners.iter().map(|listener| {
            CString::new(listener.name().unwrap_or_default().replace('\0', "@")).unwrap_or_default()
        });
        let server = Server {
            client,
            limit: options.limit,
            socket: options.socket,
            listeners: Vec::new(),
            names: names.collect(),
            file,
            clients: 0,
            waiting: VecDeque::new(),
            canceled: VecDeque::new(),
            closed: false,
            freed: false,
            queued: false,
        };
        let no_memory = || Error::system("make a server", &io::Error::from_raw_os_error(libc::ENOMEM));
        let id = self.servers.insert(server).ok_or_else(no_memory)?;
        self.serving += 1;
        for listener in listeners {
            let raw_fd = listener.raw_fd();
            let backlog = options.backlog.max(1) as u32;
            let listening = Listening {
                listener,
                server: id,
                backlog,
                accepted: 0,
                failed: 0,
                readable: false,
                exhausted: false,
                retrying: false,
            };
            let added = match self.listeners.insert(listening) {
                Some(listening) => {
                    if let Some(server) = self.servers.get_mut(id) {
                        server.listeners.push(listening);
                    }
                    let number = listening.number();
                    if registered {
                        self.poll.reregister(raw_fd, number)
                    } else {
                        self.poll.register(raw_fd, number)
                    }
                }
                None => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            };
            if let Err(error) = added {
                let _ = self.server_free(id);
                return Err(Error::system("register a listening socket", &error));
            }
        }
        Ok(id)
    }

    // ---- accepting --------------------------------------------------------------------------------------------

    pub(super) fn listener_event(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.readable = true;
        }
    }

    pub(super) fn begin_listener(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.accepted = 0;
            listening.failed = 0;
        }
    }

    /// Accepting is tried again, whether or not anything says that it would work.
    pub(super) fn listener_timer(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.readable = true;
            listening.retrying = false;
            self.queue(id.number());
        }
    }

    pub(super) fn listener_turn(&mut self, id: Id<Listening>) -> Option<Call> {
        loop {
            let listening = self.listeners.get_mut(id)?;
            if !listening.readable || listening.retrying {
                return None;
            }
            if listening.failed >= listening.backlog {
                // One after the other, so it is not the clients' fault: a rest does no harm.
                listening.retrying = true;
                self.timers.set(ACCEPT_RETRY, id.number());
                return None;
            }
            if listening.accepted >= listening.backlog {
                self.queue(id.number());
                return None;
            }
            let server = self.servers.get(listening.server)?;
            let (client, limit) = (server.client, server.limit);
            match net::accept(&listening.listener, server.socket) {
                Ok(accepted) => {
                    listening.accepted += 1;
                    listening.exhausted = false;
                    let made = Established {
                        socket: accepted.fd,
                        domain: listening.listener.domain(),
                        peer: accepted.peer,
                        limit,
                        server: Some(listening.server),
                        registered: false,
                    };
                    match self.establish(made) {
                        Ok(stream) => {
                            return Some(Call::Stream {
                                callback: client,
                                stream: Some(stream),
                                error: None,
                            });
                        }
                        Err(error) => self.report("a client was turned away".into(), Some(error)),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listening.readable = false;
                    return None;
                }
                Err(error) if net::is_transient(errno(&error)) => listening.failed += 1,
                Err(error) => {
                    listening.retrying = true;
                    self.timers.set(ACCEPT_RETRY, id.number());
                    if !std::mem::replace(&mut listening.exhausted, true) {
                        let error = Error::system("accept a client", &error);
                        self.report(format!("{error}; it is tried again"), Some(error));
                    }
                    return None;
                }
            }
        }
    }

    pub(super) fn client_came(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get_mut(id) {
            server.clients += 1;
        }
    }

    pub(super) fn client_went(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get_mut(id) {
            server.clients -= 1;
            self.enqueue_server(id);
        }
    }

    // ---- its handle -------------------------------------------------------------------------------------------

    pub(super) fn server(&mut self, id: Id<Server>) -> Result<&mut Server, Refusal> {
        self.servers.get_mut(id).filter(|server| !server.freed).ok_or(Refusal::Stale)
    }

    /// No new clients; the present ones stay.
    pub fn server_close(&mut self, id: Id<Server>) -> Result<(), Refusal> {
        let server = self.server(id)?;
        if std::mem::replace(&mut server.closed, true) {
            return Ok(());
        }
        server.names.clear();
        if let Some(file) = server.file.take() {
            file.remove();
        }
        for listening in std::mem::take(&mut server.listeners) {
            self.listeners.remove(listening);
        }
        self.serving -= 1;
        self.enqueue_server(id);
        Ok(())
    }

    pub fn server_free(&mut self, id: Id<Server>) -> Result<(), Refusal> {
        self.server_close(id)?;
        self.server(id)?.freed = true;
        self.enqueue_server(id);
        Ok(())
    }

    pub fn server_wait_closed(&mut self, id: Id<Server>, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        self.server(id)?.waiting.push_back((callback, serial));
        self.waiting += 1;
        self.enqueue_server(id);
        Ok(self.receipt(Receipt::ServerClosed, id.place(), serial))
    }

    /// Closes every client, or aborts it.
    pub fn server_end_clients(&mut self, id: Id<Server>, abort: bool) -> Result<(), Refusal> {
        self.server(id)?;
        for client in self.connections.ids() {
            if self.connections.get(client).is_some_and(|connection: &Connection| connection.is_client_of(id))
            {
                if abort { self.abort(client) } else { self.close(client) }
            }
        }
        Ok(())
    }

    pub fn is_serving(&mut self, id: Id<Server>) -> Result<bool, Refusal> {
        Ok(!self.server(id)?.closed)
    }

    /// What it listens on: lent until it is closed.
    pub fn server_name(&mut self, id: Id<Server>, index: usize) -> Result<Option<&CString>, Refusal> {
        Ok(self.server(id)?.names.get(index))
    }

    pub fn server_socket(&mut self, id: Id<Server>, index: usize) -> Result<Option<RawFd>, Refusal> {
        let listening = self.server(id)?.listeners.get(index).copied();
        Ok(listening.and_then(|id| self.listeners.get(id)).map(|listening| listening.listener.raw_fd()))
    }

    // ---- its turn ---------------------------------------------------------------------------------------------

    pub(super) fn enqueue_server(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get_mut(id)
            && !std::mem::replace(&mut server.queued, true)
        {
            self.queue(id.number());
        }
    }

    pub(super) fn begin_server(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get_mut(id) {
            server.queued = false;
        }
    }

    pub(super) fn server_turn(&mut self, id: Id<Server>) -> Option<Call> {
        let server = self.servers.get_mut(id)?;
        let over = server.closed && server.clients == 0;
        let mut error = None;
        let callback = match server.canceled.pop_front() {
            Some(callback) => {
                error = Some(Box::new(Error::Canceled));
                Some(callback)
            }
            None if over => server.waiting.pop_front().map(|(callback, _)| callback),
            None => None,
        };
        let Some(callback) = callback else {
            if over && server.freed {
                self.servers.remove(id);
            }
            return None;
        };
        self.waiting -= 1;
        Some(Call::Server { callback, server: Some(id), error })
    }

    pub(super) fn cancel_server(&mut self, id: Id<Server>, serial: u32) -> bool {
        let Some(server) = self.servers.get_mut(id) else { return false };
        let place = server.waiting.iter().position(|(_, waiting)| *waiting == serial);
        let Some((callback, _)) = place.and_then(|place| server.waiting.remove(place)) else { return false };
        server.canceled.push_back(callback);
        self.enqueue_server(id);
        true
    }

    pub(super) fn end_server(&mut self, id: Id<Server>) {
        let _ = self.server_free(id);
        if let Some(server) = self.servers.get_mut(id) {
            server.canceled.extend(server.waiting.drain(..).map(|(callback, _)| callback));
            self.enqueue_server(id);
        }
    }

    pub(super) fn describe_server(&self, id: Id<Server>) -> Option<String> {
        let server = self.servers.get(id).filter(|server| !server.freed)?;
        let names: Vec<_> = server.names.iter().map(|name| name.to_string_lossy()).collect();
        let state = if server.closed { "closed".into() } else { names.join(" ") };
        Some(format!("<eddy_server {state}, {} clients>", server.clients))
    }
}
