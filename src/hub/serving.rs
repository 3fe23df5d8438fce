//! Servers: listening sockets, the clients that come out of them, and those who wait until the last one is gone.
//!
//! The poll tells once that clients wait. A listener that may not accept them now, since its server is paused or full,
//! or since something has run out, keeps that in mind: whatever ends that state gives it its turn.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::Duration;

use super::connection::{Established, Secure, Waiter};
use super::{Connection, Hub, Limits, Options, Receipt};
use crate::callback::Callback;
use crate::error::{Error, Refusal, errno};
use crate::hub::Call;
use crate::net::{self, Listener, SocketFile, SocketOptions};
use crate::table::Id;

/// The most that a listener accepts in its turn, whatever its backlog.
const ACCEPTS: u32 = 64;
/// How soon accepting is tried again when descriptors or memory have run out, which no event ends.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// Accepts that may fail, one after the other, for reasons of the clients' own: so many do not come by chance.
const FAILURES: u32 = 100;
/// A trouble that comes and goes is not reported more often than this.
const REPORT_AGAIN: Duration = Duration::from_secs(60);
/// Reasons why handshakes failed that are told apart; peers choose them.
const REASONS: usize = 32;

#[derive(Debug)]
pub struct Server {
    client: Callback,
    limits: Limits,
    max_clients: usize,
    socket: SocketOptions,
    listeners: Vec<Id<Listening>>,
    names: Vec<CString>,
    file: Option<SocketFile>,
    clients: usize,
    /// ... and those that are gone, but perhaps have not been told so yet: for `max_clients` they count.
    seats: usize,
    /// Listeners that have found it full, in the order in which they may accept when there is room.
    line: VecDeque<Id<Listening>>,
    /// Those who wait until it is closed and empty, and those of them that gave up.
    waiting: VecDeque<Waiting>,
    canceled: VecDeque<Callback>,
    /// When the timer comes up that was set for the earliest end of a grace.
    alarm: Option<Duration>,
    /// The trouble with accepting that was reported last, and when.
    reported: Option<(i32, Duration)>,
    secure: Option<Secure>,
    /// Handshakes that failed.
    failed: Vec<Failed>,
    paused: bool,
    closed: bool,
    freed: bool,
    queued: bool,
}

/// Handshakes that failed for the same reason: how many since that was reported last, and when it was.
#[derive(Debug)]
struct Failed {
    why: String,
    count: u32,
    reported: Duration,
}

#[derive(Debug)]
struct Waiting {
    callback: Callback,
    serial: u32,
    /// It has asked for a shutdown, and learns how that went.
    shutdown: bool,
    /// When its grace is over; None: never.
    due: Option<Duration>,
    /// Clients had to be ended while it waited.
    error: Option<Box<Error>>,
}

#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    server: Id<Server>,
    backlog: u32,
    /// Accepted in this turn, and failed for a reason that was the client's.
    accepted: u32,
    failed: u32,
    /// Clients may wait; the edge was seen and not used up.
    readable: bool,
    /// Accepting has failed, and has not worked since.
    troubled: bool,
    /// It is tried again when a timer says so, and not before.
    retrying: bool,
    queued: bool,
}

impl Server {
    fn has_room(&self) -> bool {
        self.seats < self.max_clients
    }

    /// Whether this listener may accept a client now. Where several want to, each may accept one in its turn, so that
    /// those who come to one address do not shut out those who come to another.
    fn lets_in(&mut self, id: Id<Listening>) -> bool {
        let first = self.line.front().is_none_or(|first| *first == id);
        if first && self.has_room() {
            self.line.pop_front();
            return true;
        }
        if !self.line.contains(&id) {
            self.line.push_back(id);
        }
        false
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed
    }

    /// How many wait for its end.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len()
    }
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
            limits: options.limits,
            max_clients: options.max_clients,
            socket: options.socket,
            listeners: Vec::new(),
            names: names.collect(),
            file,
            clients: 0,
            seats: 0,
            line: VecDeque::new(),
            waiting: VecDeque::new(),
            canceled: VecDeque::new(),
            alarm: None,
            reported: None,
            secure: options.secure.clone(),
            failed: Vec::new(),
            paused: false,
            closed: false,
            freed: false,
            queued: false,
        };
        let no_memory = || Error::system("make a server", &io::Error::from_raw_os_error(libc::ENOMEM));
        let id = if self.make_room(1) { self.servers.insert(server) } else { None }.ok_or_else(no_memory)?;
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
                troubled: false,
                retrying: false,
                queued: false,
            };
            let added = match if self.make_room(1) { self.listeners.insert(listening) } else { None } {
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

    pub(super) fn enqueue_listener(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id)
            && !std::mem::replace(&mut listening.queued, true)
        {
            self.queue(id.number());
        }
    }

    pub(super) fn begin_listener(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.accepted = 0;
            listening.failed = 0;
        }
    }

    pub(super) fn listener_left_queue(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.queued = false;
        }
    }

    /// Accepting is tried again, whether or not anything says that it would work.
    pub(super) fn listener_timer(&mut self, id: Id<Listening>) {
        if let Some(listening) = self.listeners.get_mut(id) {
            listening.readable = true;
            listening.retrying = false;
            self.enqueue_listener(id);
        }
    }

    pub(super) fn listener_turn(&mut self, id: Id<Listening>) -> Option<Call> {
        let server = self.listeners.get(id)?.server;
        let call = self.accept(id);
        if call.is_none() {
            // It has left some room, perhaps.
            self.call_first(server);
        }
        call
    }

    /// The next client. None: there is none, or none may come in now.
    fn accept(&mut self, id: Id<Listening>) -> Option<Call> {
        loop {
            let listening = self.listeners.get_mut(id)?;
            let server = self.servers.get_mut(listening.server)?;
            if !listening.readable || listening.retrying || server.paused {
                return None;
            }
            if listening.accepted >= listening.backlog.min(ACCEPTS) {
                self.enqueue_listener(id);
                return None;
            }
            if !server.lets_in(id) {
                return None;
            }
            let (client, limits) = (server.client, server.limits);
            match net::accept(&listening.listener, server.socket) {
                Ok(accepted) => {
                    listening.accepted += 1;
                    let made = Established {
                        socket: accepted.fd,
                        domain: listening.listener.domain(),
                        peer: accepted.peer,
                        limits,
                        server: Some(listening.server),
                        registered: false,
                    };
                    match self.establish(made) {
                        Ok(stream) => {
                            let listening = self.listeners.get_mut(id)?;
                            listening.troubled = false;
                            let server = listening.server;
                            if self.secured(server, stream, client) {
                                continue;
                            }
                            return Some(Call::Stream {
                                callback: client,
                                stream: Some(stream),
                                error: None,
                            });
                        }
                        // What it lacked, the next one would lack too.
                        Err(error) => {
                            self.rest(id, format!("a client was turned away: {error}"), error);
                            return None;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listening.readable = false;
                    return None;
                }
                Err(error) => {
                    listening.failed += 1;
                    // One after the other, it is not the clients' fault.
                    if !net::is_transient(errno(&error)) || listening.failed >= FAILURES {
                        let error = Error::system("accept a client", &error);
                        self.rest(id, format!("{error}; it is tried again"), error);
                        return None;
                    }
                }
            }
        }
    }

    /// True: the client callback waits for a handshake.
    fn secured(&mut self, id: Id<Server>, stream: Id<Connection>, callback: Callback) -> bool {
        let Some(secure) = self.servers.get(id).and_then(|server| server.secure.clone()) else {
            return false;
        };
        if let Err(error) = self.begin_tls(stream, &secure, Waiter::Client { callback, server: id }) {
            self.give_up(stream);
            self.handshake_failed(id, error);
        }
        true
    }

    /// A client that nobody will be told of, except the exception handler: of each reason at once, and of more like it
    /// after a while, counted.
    pub(super) fn handshake_failed(&mut self, id: Id<Server>, error: Error) {
        let now = self.timers.now();
        let why = error.to_string();
        self.stats.handshakes_failed += 1;
        let Some(server) = self.servers.get_mut(id) else { return };
        let place = server.failed.iter().position(|failed| failed.why == why);
        let place = place.unwrap_or_else(|| {
            // The last is for all that there is no room for.
            if server.failed.len() <= REASONS {
                server.failed.push(Failed { why: why.clone(), count: 0, reported: Duration::ZERO });
            }
            server.failed.len() - 1
        });
        let failed = &mut server.failed[place];
        failed.count += 1;
        let first = failed.reported == Duration::ZERO;
        if first || now >= failed.reported + REPORT_AGAIN {
            let times = if failed.count > 1 { format!(" ({} times)", failed.count) } else { String::new() };
            failed.count = 0;
            failed.reported = now.max(Duration::from_nanos(1));
            self.report(format!("a client was turned away{times}: {why}"), Some(error));
        }
    }

    /// No event will tell when accepting works again: it is tried again after a while. This is reported when it begins.
    fn rest(&mut self, id: Id<Listening>, message: String, error: Error) {
        let now = self.timers.now();
        let Some(listening) = self.listeners.get_mut(id) else { return };
        listening.retrying = true;
        let begins = !std::mem::replace(&mut listening.troubled, true);
        self.timers.set(ACCEPT_RETRY, id.number());
        let Some(server) = self.servers.get_mut(listening.server) else { return };
        let errno = error.errno();
        let lately = |(last, when)| last == errno && now < when + REPORT_AGAIN;
        if begins && !server.reported.is_some_and(lately) {
            server.reported = Some((errno, now));
            self.report(message, Some(error));
        }
    }

    /// If there is room, the first in line may accept.
    fn call_first(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get(id)
            && server.has_room()
            && !server.paused
            && let Some(first) = server.line.front()
        {
            self.enqueue_listener(*first);
        }
    }

    pub(super) fn client_came(&mut self, id: Id<Server>) {
        if let Some(server) = self.servers.get_mut(id) {
            server.clients += 1;
            server.seats += 1;
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

    /// No new clients for a while: they wait in the kernel.
    pub fn server_pause(&mut self, id: Id<Server>) -> Result<(), Refusal> {
        let server = self.server(id)?;
        if server.closed {
            return Err(Refusal::State);
        }
        server.paused = true;
        Ok(())
    }

    /// Those who came in the meantime are accepted; what the poll said of them was kept.
    pub fn server_resume(&mut self, id: Id<Server>) -> Result<(), Refusal> {
        let server = self.server(id)?;
        if server.closed {
            return Err(Refusal::State);
        }
        if std::mem::replace(&mut server.paused, false) {
            for listening in server.listeners.clone() {
                self.enqueue_listener(listening);
            }
        }
        Ok(())
    }

    /// No new clients; the present ones stay.
    pub fn server_close(&mut self, id: Id<Server>) -> Result<(), Refusal> {
        let server = self.server(id)?;
        if std::mem::replace(&mut server.closed, true) {
            return Ok(());
        }
        server.names.clear();
        server.line.clear();
        let secure = server.secure.take().is_some();
        if let Some(file) = server.file.take() {
            file.remove();
        }
        for listening in std::mem::take(&mut server.listeners) {
            self.listeners.remove(listening);
        }
        self.serving -= 1;
        if secure {
            self.turn_away_handshakes(id);
        }
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
        self.wait_for_server(id, false, None, callback)
    }

    /// Closes it now, gives its clients so long to end, and ends them then.
    pub fn server_shutdown(
        &mut self,
        id: Id<Server>,
        grace: Duration,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        self.accepting()?;
        self.server_close(id)?;
        let due = self.timers.now().checked_add(grace);
        let receipt = self.wait_for_server(id, true, due, callback);
        self.set_alarm(id);
        receipt
    }

    fn wait_for_server(
        &mut self,
        id: Id<Server>,
        shutdown: bool,
        due: Option<Duration>,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        let serial = self.next_serial();
        let waiting = Waiting { callback, serial, shutdown, due, error: None };
        self.server(id)?.waiting.push_back(waiting);
        self.waiting += 1;
        self.enqueue_server(id);
        Ok(self.receipt(Receipt::ServerClosed, id.place(), serial))
    }

    /// Closes every client, or aborts it.
    pub fn server_end_clients(&mut self, id: Id<Server>, abort: bool) -> Result<(), Refusal> {
        self.server(id)?;
        let mut places = 0..self.connections.places();
        while let Some(client) = self.next_client(id, &mut places) {
            if abort { self.abort(client) } else { self.close(client) }
        }
        Ok(())
    }

    fn next_client(&self, id: Id<Server>, places: &mut Range<usize>) -> Option<Id<Connection>> {
        let is_its = |client: &Id<Connection>| {
            self.connections.get(*client).is_some_and(|connection| connection.is_client_of(id))
        };
        std::iter::from_fn(|| self.connections.next(places)).find(is_its)
    }

    /// Sets a timer for the end of the shortest grace, unless one comes up before that anyway.
    fn set_alarm(&mut self, id: Id<Server>) {
        let now = self.timers.now();
        if let Some(server) = self.servers.get_mut(id)
            && let Some(due) = server.waiting.iter().filter_map(|waiting| waiting.due).min()
            && server.alarm.is_none_or(|alarm| due < alarm)
        {
            server.alarm = Some(due);
            self.timers.set(due.saturating_sub(now), id.number());
            self.stir();
        }
    }

    /// A timer: a grace is over, unless it was for one that has been cancelled since.
    pub(super) fn server_timer(&mut self, id: Id<Server>) {
        let now = self.timers.now();
        let Some(server) = self.servers.get_mut(id) else { return };
        server.alarm = None;
        if server.waiting.iter().any(|waiting| waiting.due.is_some_and(|due| due <= now)) {
            self.end_grace(id);
        } else {
            self.set_alarm(id);
        }
    }

    /// Nothing can hold up the end any more: what was gathered has been offered to the sockets just now. Clients with
    /// nothing left to send are closed, the others aborted; whoever has asked for a shutdown learns of it.
    fn end_grace(&mut self, id: Id<Server>) {
        let (mut closed, mut aborted) = (0, 0);
        let mut places = 0..self.connections.places();
        while let Some(client) = self.next_client(id, &mut places) {
            if self.connections.get(client).is_some_and(|connection| connection.unsent() > 0) {
                aborted += 1;
                self.abort(client);
            } else {
                closed += 1;
                self.close(client);
            }
        }
        let error = (closed + aborted > 0).then(|| {
            let what = format!("the grace was over; clients closed: {closed}, aborted: {aborted}");
            Box::new(Error::TimedOut { what })
        });
        if let Some(server) = self.servers.get_mut(id) {
            for waiting in server.waiting.iter_mut().filter(|waiting| waiting.shutdown) {
                waiting.due = None;
                waiting.error.clone_from(&error);
            }
        }
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
            // Those that have gone since the last turn are told so in this round, and new ones come in the next.
            server.seats = server.clients;
            self.call_first(id);
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
            None if over => server.waiting.pop_front().map(|waiting| {
                error = waiting.error;
                waiting.callback
            }),
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
        let place = server.waiting.iter().position(|waiting| waiting.serial == serial);
        let Some(Waiting { callback, .. }) = place.and_then(|place| server.waiting.remove(place)) else {
            return false;
        };
        server.canceled.push_back(callback);
        self.enqueue_server(id);
        true
    }

    pub(super) fn end_server(&mut self, id: Id<Server>) {
        let _ = self.server_free(id);
        if let Some(server) = self.servers.get_mut(id) {
            server.canceled.extend(server.waiting.drain(..).map(|waiting| waiting.callback));
            self.enqueue_server(id);
        }
    }

    pub(super) fn describe_server(&self, id: Id<Server>) -> Option<String> {
        let server = self.servers.get(id).filter(|server| !server.freed)?;
        let names: Vec<_> = server.names.iter().map(|name| name.to_string_lossy()).collect();
        let state = if server.closed { "closed".into() } else { names.join(" ") };
        let paused = if server.paused && !server.closed { " paused" } else { "" };
        Some(format!("<eddy_server {state}{paused}, {} clients>", server.clients))
    }
}
